#include "model/weight_plan.h"

#include <algorithm>

#include "base/checked.h"
#include "quant/decode.h"
#include "tensor/buffer.h"

namespace mm2 {
namespace {

constexpr uint64_t kDeviceAlignment = 256;  // what a device reads at once, and more
constexpr int64_t kTileRows = 128;  // decoded codes of so many rows stay in a core's own cache
// Where kernels take words whose columns are rows: of one stored row so much is next to each other.
constexpr int64_t kWordTileRows = 512;

uint64_t key_of(Role role, int32_t layer, int32_t expert) {
  return static_cast<uint64_t>(role) | static_cast<uint64_t>(layer + 1) << 8 |
         static_cast<uint64_t>(expert + 1) << 40;
}

int32_t number_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::bf16:
      return kernels::kBF16;
    case Dtype::f16:
      return kernels::kF16;
    default:
      return kernels::kF32;
  }
}

int64_t bytes_of(int32_t number) {
  return number == kernels::kF32 ? 4 : 2;
}

int64_t stored_row_bytes(const PlannedWeight& w) {
  return w.place.n_cols() * (dtype_bits(w.tensor->dtype) / 8);
}

bool is_aligned(const std::byte* p, int32_t number) {
  return reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes_of(number)) == 0;
}

// Where the weight's own bytes start in the mapped file, or null.
const std::byte* mapped_rows(const TensorSource& source, const PlannedWeight& w) {
  const std::byte* base = source.map(*w.tensor);
  if (base == nullptr) return nullptr;
  return base + w.place.first_row * stored_row_bytes(w);
}

Status describe(const DescribedWeights::Weight& weight, const TensorSource& source,
                PlannedWeight& w) {
  w.place = weight.place;
  w.tensor = &weight.description.codes();
  if (weight.description.is_plain()) {
    const bool widen = w.slot.vector != nullptr || w.slot.as_f32;
    w.format = kernels::plain(widen ? int32_t{kernels::kF32} : number_of(w.tensor->dtype));
    return {};
  }
  if (w.slot.vector != nullptr || w.slot.as_f32 || w.slot.rows_gathered) {
    return error(Code::unsupported, file_and_name(source, *w.tensor), ": it is ",
                 weight.description.to_string(), ", but ", role_name(w.slot.role),
                 " must be plain");
  }
  MM2_ASSIGN_OR_RETURN(w.coded, coded_matrix(weight.place, weight.description, source));
  w.format = w.coded->format;
  return {};
}

int64_t tile_rows(const kernels::Backend& backend, const PlannedWeight& w) {
  if (!w.coded) return kTileRows;
  const Packing packing = w.coded->description.scheme->packing;
  const int32_t layout = packing == Packing::gptq  ? kernels::kNibblesOfWords
                         : packing == Packing::awq ? kernels::kNibblesOfEight
                                                   : kernels::kByteEach;
  const bool as_stored =
      w.coded->description.bits == 4 && (w.format.ordered == 0 || packing == Packing::gptq);
  return as_stored && (backend.code_layouts & 1 << layout) != 0 ? kWordTileRows : kTileRows;
}

Status set_size(const kernels::Backend& backend, const DescribedWeights::Weight& weight,
                const TensorSource& source, PlannedWeight& w) {
  const int64_t n_rows = w.place.n_rows();
  const int64_t n_cols = w.place.n_cols();
  if (w.packed) {
    const int64_t bytes = backend.packed_bytes(&w.format, n_rows, n_cols);
    if (bytes < 0) {
      return error(Code::unsupported, file_and_name(source, *w.tensor), ": the ", backend.name,
                   " kernels do not take ", weight.description.to_string(), " weights of [", n_rows,
                   ", ", n_cols, "]");
    }
    w.bytes = static_cast<uint64_t>(bytes);
  } else {
    w.bytes = static_cast<uint64_t>(n_rows * n_cols * bytes_of(w.format.number));
  }
  const int64_t step = w.packed ? backend.pack_rows : 1;
  const auto all = static_cast<int64_t>(piece_read_bytes(w, 0, n_rows));
  const int64_t row_bytes = std::max<int64_t>(1, ceil_div(all, std::max<int64_t>(1, n_rows)));
  w.rows_per_tile = round_up(tile_rows(backend, w), step);
  const int64_t unit = w.coded ? w.rows_per_tile : step;
  const int64_t rows = static_cast<int64_t>(kLoadPieceBytes) / row_bytes;
  w.rows_per_job = std::max(unit, rows / unit * unit);
  return {};
}

// What a worker holds while it loads a piece of the weight.
uint64_t staging_of(const PlannedWeight& w) {
  const int64_t n_rows = std::min(w.rows_per_job, w.place.n_rows());
  if (w.coded) {
    return raw_bytes(*w.coded, n_rows) + staged_bytes(*w.coded, std::min(w.rows_per_tile, n_rows));
  }
  // Raw rows, and the same rows in F32 where they are widened.
  const uint64_t raw = piece_read_bytes(w, 0, n_rows);
  return round_up<uint64_t>(raw, Buffer::kAlignment) +
         static_cast<uint64_t>(n_rows * w.place.n_cols() * 4);
}

}  // namespace

DescribedWeights::DescribedWeights(std::vector<WeightPlace> places,
                                   std::vector<WeightDescription> descriptions)
    : places_(std::move(places)), descriptions_(std::move(descriptions)) {
  by_key_.reserve(places_.size());
  for (size_t i = 0; i < places_.size(); ++i) {
    by_key_.emplace(key_of(places_[i].role, places_[i].layer, places_[i].expert), i);
  }
}

std::optional<DescribedWeights::Weight> DescribedWeights::find(Role role, int32_t layer,
                                                               int32_t expert) const {
  const auto found = by_key_.find(key_of(role, layer, expert));
  if (found == by_key_.end()) return std::nullopt;
  return (*this)[found->second];
}

uint64_t piece_read_bytes(const PlannedWeight& w, int64_t first_row, int64_t n_rows) {
  if (w.coded) return read_bytes(*w.coded, first_row, n_rows);
  return static_cast<uint64_t>(n_rows * stored_row_bytes(w));
}

Status plan_weights(const DescribedWeights& described, const TensorSource& source,
                    const kernels::Backend& backend, bool may_map, int32_t layer,
                    const std::vector<WeightSlot>& slots, WeightPlan& plan) {
  plan.may_map = may_map;
  for (const WeightSlot& slot : slots) {
    const auto weight = described.find(slot.role, layer, slot.expert);
    if (!weight) {
      return error(Code::internal, role_name(slot.role), " of layer ", layer, " was not described");
    }
    PlannedWeight w;
    w.slot = slot;
    MM2_RETURN_IF_ERROR(describe(*weight, source, w));
    w.packed =
        w.coded || (slot.matrix != nullptr && !slot.rows_gathered && !backend.keeps_file_layout);
    MM2_RETURN_IF_ERROR(set_size(backend, *weight, source, w));
    // The file's bytes serve as they are when nothing would change in them.
    if (may_map && !plan.on_device && !w.packed && w.format.number == number_of(w.tensor->dtype)) {
      const std::byte* at = mapped_rows(source, w);
      w.mapped = at != nullptr && is_aligned(at, w.format.number);
    }
    if (w.mapped) {
      plan.mapped_bytes += w.bytes;
    } else {
      w.offset = plan.owned_bytes;
      plan.owned_bytes += round_up<uint64_t>(
          w.bytes, plan.on_device ? kDeviceAlignment : uint64_t{Buffer::kAlignment});
      for (int64_t row = 0; row < w.place.n_rows(); row += w.rows_per_job) {
        const int64_t n = std::min(w.rows_per_job, w.place.n_rows() - row);
        plan.read_bytes += piece_read_bytes(w, row, n);
      }
      plan.staging_bytes =
          std::max(plan.staging_bytes, round_up<uint64_t>(staging_of(w), Buffer::kAlignment));
    }
    plan.weights.push_back(std::move(w));
  }
  return {};
}

}  // namespace mm2
