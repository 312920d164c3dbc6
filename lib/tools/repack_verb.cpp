// repack: 4-bit codes into another layout without changing a number.
#include <cstring>
#include <mutex>
#include <set>

#include "tools/config_words.h"
#include "tools/derived.h"
#include "tools/quantize/repack.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

struct Matrix {
  const ViewWeight* weight;
  PackSpec from, to;
  std::vector<PlannedPart> parts;
};

// All stored parts of a matrix, read into scratch.
Result<std::vector<StoredPart>> read_stored(const CheckpointView& view, const ViewWeight& weight,
                                            std::span<std::byte> scratch) {
  std::vector<StoredPart> stored;
  size_t at = 0;
  for (size_t i = 0; i < weight.description.scheme->parts.size(); ++i) {
    const TensorInfo* part = weight.description.parts[i];
    if (part == nullptr) continue;
    MM2_RETURN_IF_ERROR(
        view.source().read(*part, 0, static_cast<size_t>(part->bytes), scratch.data() + at));
    stored.push_back({weight.description.scheme->parts[i].kind, part->dtype, scratch.data() + at});
    at += static_cast<size_t>((part->bytes + 63) / 64 * 64);
  }
  return stored;
}

Status run_matrix(const CheckpointView& view, const Matrix& matrix, const RepackOptions& options,
                  PieceRun& run) {
  MM2_ASSIGN_OR_RETURN(const auto stored, read_stored(view, *matrix.weight, run.scratch));
  std::vector<std::string> remarks;
  MM2_ASSIGN_OR_RETURN(CodedWhole coded,
                       unpack_matrix(matrix.from, stored, options.v1_zeros, remarks));
  MM2_RETURN_IF_ERROR(repack(matrix.from, matrix.to, options, coded, remarks));
  std::vector<std::byte*> memory;
  for (const std::span<std::byte> output : run.outputs) memory.push_back(output.data());
  MM2_RETURN_IF_ERROR(pack_rows(matrix.to, matrix.parts, coded.rows(matrix.to.n_rows), memory));
  if (!remarks.empty()) run.note = {{"remarks", remarks}};
  return {};
}

Status plan_matrix(const CheckpointView& view, const ViewWeight& weight, const Dialect& to,
                   const RepackOptions& options, WritePlan& plan, WrittenWeights& written) {
  auto matrix = std::make_shared<Matrix>();
  matrix->weight = &weight;
  MM2_ASSIGN_OR_RETURN(matrix->from,
                       pack_spec(weight.description, weight.place.n_rows(), weight.place.n_cols()));
  MM2_ASSIGN_OR_RETURN(matrix->to, plan_repack(matrix->from, to, options));
  MM2_ASSIGN_OR_RETURN(matrix->parts, plan_parts(matrix->to));
  Piece piece;
  for (const PlannedPart& part : matrix->parts) {
    piece.outputs.push_back(
        {plan.add(module_name(weight) + part.suffix, part.dtype, part.shape), 0, part.bytes});
  }
  for (const TensorInfo* part : weight.description.parts) {
    if (part == nullptr) continue;
    piece.bytes_read += part->bytes;
    piece.scratch += (part->bytes + 63) / 64 * 64;
  }
  piece.run = [&view, matrix, options](PieceRun& run) {
    return run_matrix(view, *matrix, options, run).in(matrix->weight->place.name);
  };
  plan.pieces.push_back(std::move(piece));
  written.spec = matrix->to;
  return {};
}

Status read_repack_options(const OptionReader& reader, std::string& to, RepackOptions& options) {
  static constexpr std::string_view kScales[] = {"F32", "BF16", "F16"};
  static constexpr std::string_view kZeros[] = {"refuse", "words", "fields"};
  std::string scales, zeros = "refuse";
  MM2_RETURN_IF_ERROR(reader.text("to", to));
  MM2_RETURN_IF_ERROR(reader.word("scale_dtype", kScales, scales));
  MM2_RETURN_IF_ERROR(reader.word("v1_zeros", kZeros, zeros));
  MM2_RETURN_IF_ERROR(reader.boolean("may_round_scales", options.may_round_scales));
  MM2_RETURN_IF_ERROR(reader.boolean("positive_scales", options.positive_scales));
  MM2_RETURN_IF_ERROR(reader.integer("group", 0, INT32_MAX, options.group));
  if (const Json* sym = reader.find("sym")) {
    if (!sym->is_boolean()) return reader.wrong("sym", "must be true or false");
    options.symmetric = sym->get<bool>();
  }
  if (!scales.empty()) options.scale_dtype = dtype_from_name(scales);
  options.v1_zeros = zeros == "words"    ? V1Zeros::words
                     : zeros == "fields" ? V1Zeros::fields
                                         : V1Zeros::refuse;
  return {};
}

// What the pieces remarked, each sentence once.
void report_remarks(WritePlan& plan) {
  plan.finish = [](std::span<const Json> notes, Json& report, std::vector<SideFile>&) {
    std::set<std::string> remarks;
    for (const Json& note : notes) {
      if (!note.is_object() || !note.contains("remarks")) continue;
      for (const Json& remark : note["remarks"]) remarks.insert(remark.get<std::string>());
    }
    report["remarks"] = remarks;
    return Status();
  };
}

}  // namespace

Status run_repack(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kOwn[] = {
      "model",           "to",    "scale_dtype", "v1_zeros", "may_round_scales",
      "positive_scales", "group", "sym"};
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("repack", json, kOwn, host));
  std::string model, name;
  RepackOptions options;
  MM2_RETURN_IF_ERROR(verb.reader().text("model", model));
  MM2_RETURN_IF_ERROR(read_repack_options(verb.reader(), name, options));
  if (name.empty()) return verb.reader().wrong("to", "must name a layout");
  MM2_ASSIGN_OR_RETURN(const Dialect* to, named_dialect(name));
  MM2_ASSIGN_OR_RETURN(const auto view, verb.open_input(model));
  WritePlan plan = verb.plan_for(*view);
  WrittenWeights written;
  written.n_layers = view->config().n_layers;
  size_t n = 0;
  for (const ViewWeight& weight : view->weights()) {
    if (is_tied(*view, weight)) continue;
    if (weight.description.is_plain()) {
      if (is_linear(weight.place.role)) written.plain.push_back(module_name(weight));
      MM2_RETURN_IF_ERROR(carry_over(*view, weight, plan));
      continue;
    }
    MM2_RETURN_IF_ERROR(
        plan_matrix(*view, weight, *to, options, plan, written).in(weight.place.name));
    ++n;
  }
  if (n == 0) {
    return error(Code::invalid_argument, "repack: ", model, " has no quantized matrix");
  }
  for (const TensorInfo* tensor : view->others()) carry_over(*view, *tensor, plan);
  if (view->config().quantization.is_object()) {
    written.kv_cache_scheme = view->config().quantization.value("kv_cache_scheme", Json());
  }
  const Json words = quantization_words(written);
  const auto files = quantization_files(written, words);
  plan.files.insert(plan.files.end(), files.begin(), files.end());
  plan.files.push_back(
      {"config.json", config_text(with_quantization(view->config_json(), words, "")), ""});
  report_remarks(plan);
  Json made;
  MM2_RETURN_IF_ERROR(verb.write(plan, &made));
  made["matrices"] = n;
  *report = std::move(made);
  return {};
}

}  // namespace mm2
