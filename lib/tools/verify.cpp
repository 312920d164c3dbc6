// verify: is a checkpoint whole, does it fit its configuration, are its values sound.
#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "format/names.h"
#include "quant/check.h"
#include "quant/coded_matrix.h"
#include "quant/kv_scales.h"
#include "tools/stream/hash.h"
#include "tools/subject.h"
#include "tools/tensor_pass.h"
#include "tools/tool_options.h"
#include "tools/verbs.h"

namespace mm2 {
namespace {

constexpr size_t kNamed = 100;
constexpr uint64_t kMaxManifest = 256'000'000;

// Collects the outcome of checks into a report.
class Verdict {
 public:
  void passed(const char* check, const std::string& detail) {
    checks_.push_back({{"check", check}, {"ok", true}, {"detail", detail}});
  }
  void failed(const char* check, const std::string& message) {
    checks_.push_back({{"check", check}, {"ok", false}, {"detail", message}});
    problem(check, message);
  }
  /// A finding of a check that is not over yet.
  void problem(const char* check, const std::string& message) {
    if (first_.empty()) first_ = message;
    if (++n_problems_ <= kNamed) problems_.push_back({{"check", check}, {"message", message}});
  }
  void remark(const std::string& text) {
    if (++n_remarks_ <= kNamed) remarks_.push_back(text);
  }
  size_t n_problems() const { return n_problems_; }
  size_t n_remarks() const { return n_remarks_; }
  const std::string& first() const { return first_; }

  void report(Json& to) const {
    to["checks"] = checks_;
    to["n_problems"] = n_problems_;
    if (n_problems_ > 0) to["problems"] = problems_;
    if (n_remarks_ > 0) to["n_remarks"] = n_remarks_;
    if (n_remarks_ > 0) to["remarks"] = remarks_;
  }

 private:
  Json checks_ = Json::array(), problems_ = Json::array(), remarks_ = Json::array();
  size_t n_problems_ = 0, n_remarks_ = 0;
  std::string first_;
};

std::optional<KvScalePlaces> check_kv_scales(const Subject& subject, Verdict& verdict) {
  const Checkpoint& checkpoint = *subject.checkpoint;
  Result<KvScalePlaces> places = locate_kv_scales(checkpoint, subject.config->n_layers);
  if (!places.ok()) {
    verdict.failed("kv_scales", places.status().message());
    return std::nullopt;
  }
  if (!places->remark.empty()) verdict.remark(places->remark);
  if (places->empty()) return *places;
  const Status read = read_kv_scales(*places, checkpoint, subject.config->n_kv_heads).status();
  if (read.ok()) {
    verdict.passed("kv_scales", join("of ", places->k.size(), " layers, all above 0"));
  } else {
    verdict.failed("kv_scales", read.message());
  }
  return *places;
}

void check_coverage(const Subject& subject, Verdict& verdict, Json& report) {
  const Checkpoint& checkpoint = *subject.checkpoint;
  const std::vector<WeightPlace> places = locate_all(*subject.config, checkpoint);
  const Result<WeightCheck> check =
      check_weights(places, checkpoint, subject.quant, {.executable = false, .scales = true});
  if (!check.ok()) {
    verdict.failed("coverage", check.status().message());
    return;
  }
  verdict.passed(
      "coverage",
      join(places.size(), " weights, all there with the right type and shape, scales finite"));
  bool executable = true;
  for (size_t i = 0; i < places.size(); ++i) {
    executable &= check_executable(places[i], check->descriptions[i], checkpoint).ok();
  }
  report["executable"] = executable;
  const std::optional<KvScalePlaces> kv = check_kv_scales(subject, verdict);
  absl::flat_hash_set<std::string_view> of_kv;
  if (kv) {
    for (const auto& tensors : {kv->k, kv->v}) {
      for (const TensorInfo* tensor : tensors) of_kv.insert(tensor->name);
    }
  }
  for (const std::string& remark : check->remarks) verdict.remark(remark);
  for (const std::string_view name : check->unused) {
    if (of_kv.contains(name)) continue;
    if (!is_ignored_name(*subject.config, name)) {
      verdict.remark(join("tensor ", name, " belongs to no weight of the model"));
    }
  }
}

std::string place_text(const TensorInfo& tensor, uint64_t element) {
  const auto n_cols = static_cast<uint64_t>(std::max<int64_t>(1, tensor.shape.n_cols()));
  return join("[", element / n_cols, ", ", element % n_cols, "]");
}

void judge_values(const TensorSource& source, std::span<const TensorFinding> findings,
                  Verdict& verdict) {
  size_t n_bad = 0, n_scanned = 0;
  for (size_t i = 0; i < findings.size(); ++i) {
    const TensorInfo& tensor = source.tensors()[i];
    const ValueCounts& values = findings[i].values;
    n_scanned += has_special_values(tensor.dtype) ? 1 : 0;
    if (values.n_nan == 0 && values.n_infinite == 0) continue;
    ++n_bad;
    verdict.problem("values",
                    join(source.file_of(tensor), ": tensor ", tensor.name, ": ", values.n_nan,
                         " NaN and ", values.n_infinite, " infinite values, the first at ",
                         place_text(tensor, values.first)));
  }
  if (n_bad == 0) {
    verdict.passed("values", join(n_scanned, " tensors without NaN or infinity"));
  } else {
    verdict.failed("values", join(n_bad, " of ", n_scanned, " tensors hold NaN or infinity"));
  }
}

Json hashes_report(const TensorSource& source, std::span<const TensorFinding> findings,
                   HashKind kind) {
  Json report = {{"algorithm", hash_name(kind)}, {"tensors", Json::object()}};
  auto& members =
      static_cast<Json::object_t::Container&>(report["tensors"].get_ref<Json::object_t&>());
  for (size_t i = 0; i < findings.size(); ++i) {
    members.emplace_back(source.tensors()[i].name, findings[i].digest);
  }
  return report;
}

// The manifest holds "tensors": {name: digest} at its top or under "hashes", as a report of verify
// does.
Status compare_manifest(const std::string& file, const TensorSource& source,
                        std::span<const TensorFinding> findings, HashKind kind, const Host& host,
                        Verdict& verdict) {
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, file, kMaxManifest));
  MM2_ASSIGN_OR_RETURN(Json manifest, parse_json(text, file));
  if (manifest.is_object() && manifest.contains("hashes")) manifest = Json(manifest["hashes"]);
  if (!manifest.is_object() || !manifest.contains("tensors") || !manifest["tensors"].is_object()) {
    return error(Code::format, file, ": no \"tensors\" with digests");
  }
  if (manifest.value("algorithm", Json()) != hash_name(kind)) {
    return error(Code::format, file, ": algorithm must be ", hash_name(kind),
                 " for this comparison");
  }
  absl::flat_hash_map<std::string_view, const Json*> wanted;
  for (const auto& member : manifest["tensors"].get_ref<const Json::object_t&>()) {
    wanted.emplace(member.first, &member.second);
  }
  size_t n_bad = 0;
  for (size_t i = 0; i < findings.size(); ++i) {
    const std::string& name = source.tensors()[i].name;
    const auto found = wanted.find(name);
    if (found == wanted.end()) {
      ++n_bad;
      verdict.problem("hashes", join(file, ": tensor ", name, " is not listed"));
      continue;
    }
    if (*found->second != findings[i].digest) {
      ++n_bad;
      verdict.problem("hashes",
                      join(file, ": tensor ", name, ": the digest is ", findings[i].digest,
                           ", the manifest says ", found->second->dump().substr(0, 100)));
    }
    wanted.erase(found);
  }
  for (const auto& [name, digest] : wanted) {
    ++n_bad;
    verdict.problem("hashes", join(file, ": tensor ", name, " is listed but not there"));
  }
  if (n_bad == 0) {
    verdict.passed("hashes", join(findings.size(), " tensors as in ", file));
  } else {
    verdict.failed("hashes", join(n_bad, " tensors differ from ", file));
  }
  return {};
}

Status check_data(const ToolOptions& options, const Subject& subject, const Host& host,
                  Verdict& verdict, Json& report) {
  const Checkpoint& checkpoint = *subject.checkpoint;
  MM2_ASSIGN_OR_RETURN(const std::shared_ptr<Executor> executor,
                       tool_executor(options.threads, host));
  MM2_ASSIGN_OR_RETURN(const std::vector<TensorFinding> findings,
                       pass_over_tensors(checkpoint, options.deep, options.hash, *executor, host));
  if (options.deep) judge_values(checkpoint, findings, verdict);
  if (options.hash == HashKind::none) return {};
  report["hashes"] = hashes_report(checkpoint, findings, options.hash);
  const bool named = !options.manifest.empty();
  const std::string file =
      named ? options.manifest : join_path(checkpoint.folder(), "manifest.json");
  if (!named && !host.source->open(file).ok()) return {};
  const Status compared = compare_manifest(file, checkpoint, findings, options.hash, host, verdict);
  // A file that only happens to be called manifest.json is no reason to fail.
  if (!compared.ok() && named) verdict.failed("hashes", compared.message());
  if (!compared.ok() && !named) verdict.remark(compared.message());
  return {};
}

Status conclude(const ToolOptions& options, const Status& opening, const Verdict& verdict, Json out,
                Json* report) {
  const bool strict_failure = options.strict && verdict.n_remarks() > 0;
  out["ok"] = verdict.n_problems() == 0 && !strict_failure;
  verdict.report(out);
  *report = std::move(out);
  if (!opening.ok()) return opening;
  if (verdict.n_problems() > 0) {
    const std::string more =
        verdict.n_problems() > 1 ? join(" (", verdict.n_problems(), " problems in all)") : "";
    return error(Code::check_failed, verdict.first(), more);
  }
  if (strict_failure) {
    return error(Code::check_failed, options.model,
                 ": there are remarks, and strict was asked for");
  }
  return {};
}

}  // namespace

Status run_verify(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kAllowed[] = {"model", "threads", "strict",
                                                  "deep",  "hash",    "manifest"};
  MM2_ASSIGN_OR_RETURN(ToolOptions options, read_tool_options("verify", json, kAllowed));
  if (!options.manifest.empty() && options.hash == HashKind::none) options.hash = HashKind::xxh3;
  Json out = {{"model", options.model}};
  Verdict verdict;
  const OpenedSubject opened = open_subject(options.model, host);
  const Subject& subject = opened.subject;
  out["kind"] = subject.kind;
  out["ok"] = false;
  for (const std::string& remark : subject.remarks) verdict.remark(remark);
  if (subject.config) verdict.passed("config", "read, its sizes agree");
  if (!opened.status.ok()) {
    verdict.failed(opened.failed_at.c_str(), opened.status.message());
    return conclude(options, opened.status, verdict, std::move(out), report);
  }
  if (subject.checkpoint != nullptr) {
    const Checkpoint& checkpoint = *subject.checkpoint;
    verdict.passed("headers",
                   join(checkpoint.shards().size(), " files, ", checkpoint.tensors().size(),
                        " tensors, every byte belongs to one"));
    if (!checkpoint.index_name().empty()) verdict.passed("index", "every tensor is where it says");
    if (subject.config) check_coverage(subject, verdict, out);
    if (options.deep || options.hash != HashKind::none) {
      MM2_RETURN_IF_ERROR(check_data(options, subject, host, verdict, out));
    }
  }
  return conclude(options, {}, verdict, std::move(out), report);
}

}  // namespace mm2
