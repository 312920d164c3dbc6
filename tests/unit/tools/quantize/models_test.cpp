// Every quantised matrix of the golden models: taken apart and packed again, and through every other
// layout and back.
#include "tools/quantize/repack.h"
#include "tools/stream/checkpoint_view.h"
#include "unit/tools/quantize/tool_data.h"

using namespace mm2;

namespace {

using Bytes = std::vector<std::vector<std::byte>>;

/// The parts of one matrix, as the file has them.
struct Stored {
  PackSpec spec;
  std::vector<StoredPart> parts;
  Bytes bytes;
};

Stored stored(const CheckpointView& view, const ViewWeight& weight) {
  Stored s;
  auto spec = pack_spec(weight.description, weight.place.n_rows(), weight.place.n_cols());
  INFO(spec.status().message());
  REQUIRE(spec.ok());
  s.spec = *spec;
  const Scheme& scheme = *weight.description.scheme;
  for (size_t i = 0; i < scheme.parts.size(); ++i) {
    const TensorInfo* const tensor = weight.description.parts[i];
    if (tensor == nullptr) continue;
    s.bytes.emplace_back(tensor->bytes);
    REQUIRE(view.source().read(*tensor, 0, tensor->bytes, s.bytes.back().data()).ok());
    s.parts.push_back({scheme.parts[i].kind, tensor->dtype, s.bytes.back().data()});
  }
  return s;
}

Stored packed(const PackSpec& spec, const CodedWhole& coded) {
  Stored s{spec, {}, {}};
  const auto planned = plan_parts(spec);
  INFO(planned.status().message());
  REQUIRE(planned.ok());
  std::vector<std::byte*> memory;
  for (const PlannedPart& part : *planned) s.bytes.emplace_back(part.bytes);
  for (size_t i = 0; i < planned->size(); ++i) {
    memory.push_back(s.bytes[i].data());
    s.parts.push_back({(*planned)[i].kind, (*planned)[i].dtype, memory.back()});
  }
  REQUIRE(pack_rows(spec, *planned, coded.rows(spec.n_rows), memory).ok());
  return s;
}

CodedWhole unpacked(const Stored& s) {
  std::vector<std::string> remarks;
  auto coded = unpack_matrix(s.spec, s.parts, V1Zeros::refuse, remarks);
  INFO(coded.status().message());
  REQUIRE(coded.ok());
  return *std::move(coded);
}

const std::vector<std::byte>* part(const Stored& s, PartKind kind) {
  for (size_t i = 0; i < s.parts.size(); ++i) {
    if (s.parts[i].kind == kind) return &s.bytes[i];
  }
  return nullptr;
}

// Whether all parts that both have are the same; some writers leave out g_idx or write more.
bool same(const Stored& a, const Stored& b) {
  for (const PartKind kind : {PartKind::codes, PartKind::scale, PartKind::zero, PartKind::group_map,
                              PartKind::global_scale, PartKind::shape}) {
    const auto *x = part(a, kind), *y = part(b, kind);
    if (x != nullptr && y != nullptr && *x != *y) return false;
  }
  return *part(a, PartKind::codes) == *part(b, PartKind::codes);
}

// There and back; false where the layout cannot say the matrix.
bool round_trip(const Stored& s, const CodedWhole& coded, const Dialect& there) {
  const auto to = plan_repack(s.spec, there, {});
  if (!to.ok()) {
    CHECK(to.status().code() == Code::unsupported);
    return false;
  }
  CodedWhole copy = coded;
  std::vector<std::string> remarks;
  const Status status = repack(s.spec, *to, {}, copy, remarks);
  if (!status.ok()) {  // scales that F16 does not hold
    CHECK(status.code() == Code::unsupported);
    return false;
  }
  const Stored other = packed(*to, copy);
  CodedWhole back = unpacked(other);
  RepackOptions options;
  options.scale_dtype = s.spec.scale_dtype;
  const auto home = plan_repack(*to, *s.spec.dialect, options);
  INFO(home.status().message());
  REQUIRE(home.ok());
  REQUIRE(repack(*to, *home, options, back, remarks).ok());
  // A global scale whose inverse of the inverse is another one is said to be so.
  const bool exact = std::none_of(remarks.begin(), remarks.end(), [](const std::string& remark) {
    return remark.find("does not restore it") != remark.npos;
  });
  if (exact) CHECK(same(s, packed(*home, back)));
  return true;
}

}  // namespace

TEST_CASE("repack: every quantised matrix of the golden models there and back, byte by byte") {
  int64_t n_matrices = 0, n_trips = 0;
  for (const std::string folder :
       {"autoround", "awq", "awq_tool_names", "ct_mixed", "ct_mxfp4", "ct_nvfp4", "ct_w4a16",
        "ct_w4a16_asym", "fp8", "gptq", "gptq_desc_act", "gptq_v2", "nvfp4_modelopt"}) {
    INFO(folder);
    const auto view =
        CheckpointView::open(std::string(MM2_TEST_DATA) + "/models/" + folder, Host{});
    INFO(view.status().message());
    REQUIRE(view.ok());
    for (const ViewWeight& weight : (*view)->weights()) {
      if (weight.description.is_plain()) continue;
      INFO(weight.place.name);
      const Stored s = stored(**view, weight);
      const CodedWhole coded = unpacked(s);
      CHECK(same(s, packed(s.spec, coded)));
      ++n_matrices;
      for (const Dialect& there : dialects()) n_trips += round_trip(s, coded, there) ? 1 : 0;
      // The numbers that readers make of it.
      std::vector<float> want(static_cast<size_t>(s.spec.n_rows * s.spec.n_cols));
      std::vector<float> numbers(want.size());
      REQUIRE((*view)->rows(weight, 0, s.spec.n_rows, want.data()).ok());
      dequantize_coded(s.spec, coded.rows(s.spec.n_rows), numbers.data());
      CHECK(support::n_different(numbers, want) == 0);
    }
  }
  CHECK(n_matrices > 100);
  CHECK(n_trips > 3 * n_matrices);
}
