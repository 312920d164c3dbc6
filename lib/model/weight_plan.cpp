#include "model/weight_plan.h"

#include <algorithm>

#include "base/checked.h"
#include "tensor/buffer.h"

namespace mm2 {
namespace {

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

bool is_aligned(const std::byte* p, int32_t number) {
  return reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes_of(number)) == 0;
}

// Where the weight's own bytes start in the mapped file, or null.
const std::byte* mapped_rows(const TensorSource& source, const PlannedWeight& w) {
  const std::byte* base = source.map(*w.tensor);
  if (base == nullptr) return nullptr;
  return base + w.place.first_row * w.place.n_cols() * (dtype_bits(w.tensor->dtype) / 8);
}

Status set_size(const kernels::Backend& backend, PlannedWeight& w) {
  const int64_t n_rows = w.place.n_rows();
  const int64_t n_cols = w.place.n_cols();
  if (w.packed) {
    const kernels::Format format = kernels::plain(w.number);
    const int64_t bytes = backend.packed_bytes(&format, n_rows, n_cols);
    if (bytes < 0) {
      return error(Code::unsupported, "tensor ", w.tensor->name, ": the ", backend.name,
                   " kernels do not take ", dtype_name(w.tensor->dtype), " weights");
    }
    w.bytes = static_cast<uint64_t>(bytes);
  } else {
    w.bytes = static_cast<uint64_t>(n_rows * n_cols * bytes_of(w.number));
  }
  const int64_t row_bytes = n_cols * (dtype_bits(w.tensor->dtype) / 8);
  const int64_t step = w.packed ? backend.pack_rows : 1;
  const int64_t rows = static_cast<int64_t>(kLoadPieceBytes) / std::max<int64_t>(row_bytes, 1);
  w.rows_per_job = std::max(step, rows / step * step);
  return {};
}

}  // namespace

Status plan_weights(const ModelConfig& config, const TensorSource& source,
                    const kernels::Backend& backend, bool may_map, int32_t layer,
                    const std::vector<WeightSlot>& slots, WeightPlan& plan) {
  for (const WeightSlot& slot : slots) {
    PlannedWeight w;
    w.slot = slot;
    w.place = locate(config, source, slot.role, layer, slot.expert);
    const std::string stored = w.place.stem + (w.place.bare ? "" : ".weight");
    w.tensor = source.find(stored);
    if (w.tensor == nullptr) {
      return error(Code::format, "tensor ", w.place.name, " is missing");
    }
    const bool widen = slot.vector != nullptr || slot.as_f32;
    w.number = widen ? int32_t{kernels::kF32} : number_of(w.tensor->dtype);
    w.packed = slot.matrix != nullptr && !slot.rows_gathered && !backend.keeps_file_layout;
    MM2_RETURN_IF_ERROR(set_size(backend, w));
    // The file's bytes serve as they are when nothing would change in them.
    if (may_map && !w.packed && w.number == number_of(w.tensor->dtype)) {
      const std::byte* at = mapped_rows(source, w);
      w.mapped = at != nullptr && is_aligned(at, w.number);
    }
    const int64_t row_bytes = w.place.n_cols() * (dtype_bits(w.tensor->dtype) / 8);
    if (w.mapped) {
      plan.mapped_bytes += w.bytes;
    } else {
      w.offset = plan.owned_bytes;
      plan.owned_bytes += round_up<uint64_t>(w.bytes, Buffer::kAlignment);
      plan.read_bytes += static_cast<uint64_t>(w.place.n_rows() * row_bytes);
      const int64_t piece_rows = std::min(w.rows_per_job, w.place.n_rows());
      // Raw rows, and the same rows in F32 where they are widened.
      plan.staging_bytes = std::max(
          plan.staging_bytes,
          round_up<uint64_t>(static_cast<uint64_t>(piece_rows * row_bytes), Buffer::kAlignment) +
              static_cast<uint64_t>(piece_rows * w.place.n_cols() * 4));
    }
    plan.weights.push_back(std::move(w));
  }
  return {};
}

}  // namespace mm2
