#include "model/weight_loader.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>

#include "base/checked.h"
#include "quant/decode.h"
#include "tensor/convert.h"

namespace mm2 {
namespace {

/// Some rows of one weight.
struct Piece {
  size_t weight;  // in the plan
  int64_t first_row, n_rows;
};

int64_t row_bytes(const PlannedWeight& w) {
  return w.place.n_cols() * (dtype_bits(w.tensor->dtype) / 8);
}

// Where a piece of a weight begins in its tensor, about where rows are columns there.
uint64_t position_in_tensor(const PlannedWeight& w, int64_t first_row) {
  const int64_t row = w.place.first_row + first_row;
  if (!w.coded) return static_cast<uint64_t>(row * row_bytes(w));
  return w.tensor->bytes / static_cast<uint64_t>(w.coded->stored_rows) * static_cast<uint64_t>(row);
}

std::vector<Piece> cut(const WeightPlan& plan) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < plan.weights.size(); ++i) {
    const PlannedWeight& w = plan.weights[i];
    if (w.mapped) continue;
    for (int64_t row = 0; row < w.place.n_rows(); row += w.rows_per_job) {
      pieces.push_back({i, row, std::min(w.rows_per_job, w.place.n_rows() - row)});
    }
  }
  // File order: disks and readahead like it.
  std::ranges::stable_sort(pieces, [&](const Piece& a, const Piece& b) {
    const PlannedWeight& wa = plan.weights[a.weight];
    const PlannedWeight& wb = plan.weights[b.weight];
    if (wa.tensor->shard != wb.tensor->shard) return wa.tensor->shard < wb.tensor->shard;
    return wa.tensor->offset + position_in_tensor(wa, a.first_row) <
           wb.tensor->offset + position_in_tensor(wb, b.first_row);
  });
  return pieces;
}

void widen(Dtype dtype, const std::byte* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i) {
    uint16_t half;
    if (dtype != Dtype::f32) std::memcpy(&half, from + 2 * i, 2);
    switch (dtype) {
      case Dtype::bf16:
        to[i] = bf16_to_f32(half);
        break;
      case Dtype::f16:
        to[i] = f16_to_f32(half);
        break;
      default:
        std::memcpy(&to[i], from + 4 * i, 4);
    }
  }
}

// Norms and the router's bias reach every token: one bad value would spoil all of them.
Status check_vector(const PlannedWeight& w, const TensorSource& source, const float* values) {
  for (int64_t i = 0; i < w.place.n_cols(); ++i) {
    if (std::isfinite(values[i])) continue;
    return error(Code::format, file_and_name(source, *w.tensor), ": [", i, "] is ",
                 std::isnan(values[i]) ? "NaN"
                 : values[i] > 0       ? "infinity"
                                       : "-infinity",
                 ", must be finite");
  }
  return {};
}

class Loader {
 public:
  Loader(const WeightPlan& plan, const TensorSource& source, const kernels::Backend& backend,
         const Host& host, WeightMemory& memory)
      : plan_(plan),
        source_(source),
        backend_(backend),
        host_(host),
        memory_(memory),
        global_scales_(plan.weights.size(), 1.0f) {}

  Status run(Executor& executor) {
    const auto n_workers = static_cast<size_t>(executor.n_workers());
    const size_t slice = plan_.staging_bytes;
    MM2_ASSIGN_OR_RETURN(Buffer staging, Buffer::make(host_.allocator, slice * n_workers));
    const std::vector<Piece> pieces = cut(plan_);
    MM2_RETURN_IF_ERROR(report("", 0));
    executor.run(static_cast<int32_t>(pieces.size()), [&](int32_t task, int32_t worker) {
      if (stopped_.load(std::memory_order_relaxed)) return;
      const Piece& piece = pieces[static_cast<size_t>(task)];
      fail_first(task, load(piece, staging.data() + static_cast<size_t>(worker) * slice));
    });
    if (first_failure_.ok() && notes_.n_other_zeros > 0) {
      host_.log.write(LogLevel::warning, "model", "symmetric codes whose stored zeros follow the ",
                      "other of gptq and gptq_v2 than the configuration names; sym tells the zero");
    }
    return first_failure_;
  }

  /// Of each weight of the plan; 1 where it has none.
  const std::vector<float>& global_scales() const { return global_scales_; }

 private:
  Status load(const Piece& piece, std::byte* staging) {
    const PlannedWeight& w = plan_.weights[piece.weight];
    MM2_RETURN_IF_ERROR(w.coded ? load_coded(w, piece, staging) : load_plain(w, piece, staging));
    return report(w.tensor->name, piece_read_bytes(w, piece.first_row, piece.n_rows));
  }

  Status load_plain(const PlannedWeight& w, const Piece& piece, std::byte* staging) {
    const auto n_bytes = static_cast<size_t>(piece.n_rows * row_bytes(w));
    if (Status read =
            source_.read(*w.tensor, position_in_tensor(w, piece.first_row), n_bytes, staging);
        !read.ok()) {
      return std::move(read).in("tensor " + w.tensor->name);
    }
    const int64_t n_values = piece.n_rows * w.place.n_cols();
    const std::byte* rows = staging;
    const bool widened = w.format.number == kernels::kF32 && w.tensor->dtype != Dtype::f32;
    if (widened) {
      auto* wide = reinterpret_cast<float*>(staging + round_up(n_bytes, Buffer::kAlignment));
      widen(w.tensor->dtype, staging, n_values, wide);
      rows = reinterpret_cast<const std::byte*>(wide);
    }
    if (plan_.on_device && w.slot.vector != nullptr) {
      MM2_RETURN_IF_ERROR(check_vector(w, source_, reinterpret_cast<const float*>(rows)));
    }
    if (w.packed) {
      const kernels::MatrixRows part{w.format,        w.place.n_rows(), w.place.n_cols(),
                                     piece.first_row, piece.n_rows,     rows,
                                     nullptr,         nullptr,          nullptr};
      return memory_.pack(part, w.offset);
    }
    const size_t size = w.format.number == kernels::kF32 ? 4 : 2;
    return memory_.copy(
        rows, static_cast<size_t>(n_values) * size,
        w.offset + static_cast<uint64_t>(piece.first_row * w.place.n_cols()) * size);
  }

  // The parts of some rows are read at once, then decoded and packed tile by tile.
  Status load_coded(const PlannedWeight& w, const Piece& piece, std::byte* staging) {
    const CodedMatrix& m = *w.coded;
    MM2_ASSIGN_OR_RETURN(const RawParts raw, read_parts(m, source_, piece.first_row, piece.n_rows,
                                                        plan_.may_map, staging));
    if (piece.first_row == 0) global_scales_[piece.weight] = raw.global_scale;
    std::byte* decoded = staging + raw_bytes(m, piece.n_rows);
    const int64_t end = piece.first_row + piece.n_rows;
    for (int64_t row = piece.first_row; row < end; row += w.rows_per_tile) {
      const int64_t n = std::min(w.rows_per_tile, end - row);
      kernels::MatrixRows rows;
      MM2_RETURN_IF_ERROR(
          decode(m, source_, raw, row, n, decoded, rows, notes_, backend_.code_layouts));
      MM2_RETURN_IF_ERROR(memory_.pack(rows, w.offset));
    }
    let_go_of_parts(m, source_, raw);  // or the file would stay in the process beside the weights
    return {};
  }

  Status report(std::string_view subject, uint64_t n_bytes) {
    if (!host_.progress) return {};
    std::lock_guard lock(mutex_);
    done_ += n_bytes;
    if (host_.progress({kStageLoad, done_, plan_.read_bytes, subject})) return {};
    return error(Code::cancelled, "loading was cancelled by the progress callback after ", done_,
                 " of ", plan_.read_bytes, " bytes");
  }

  // The failure of the earliest piece is the one reported, whichever thread was first.
  void fail_first(int32_t task, Status status) {
    if (status.ok()) return;
    std::lock_guard lock(mutex_);
    stopped_.store(true, std::memory_order_relaxed);
    if (first_failure_.ok() || task < failed_task_) {
      first_failure_ = std::move(status);
      failed_task_ = task;
    }
  }

  const WeightPlan& plan_;
  const TensorSource& source_;
  const kernels::Backend& backend_;
  const Host& host_;
  WeightMemory& memory_;
  std::vector<float> global_scales_;
  DecodeNotes notes_;
  std::mutex mutex_;
  std::atomic<bool> stopped_{false};
  Status first_failure_;
  int32_t failed_task_ = 0;
  uint64_t done_ = 0;
};

void fill_slot(const PlannedWeight& w, const TensorSource& source, const std::byte* memory,
               float global_scale) {
  const std::byte* at = memory + w.offset;
  if (w.mapped) {
    at = source.map(*w.tensor) + w.place.first_row * row_bytes(w);
  }
  if (w.slot.vector != nullptr) {
    *w.slot.vector = reinterpret_cast<const float*>(at);
    return;
  }
  const bool divides = w.coded && w.coded->description.scheme->global_scale_divides;
  *w.slot.matrix = {w.format, w.place.n_rows(), w.place.n_cols(),
                    at,       global_scale,     divides ? 1 : 0};
}

}  // namespace

Status load_weights(const WeightPlan& plan, const TensorSource& source,
                    const kernels::Backend& backend, Executor& executor, const Host& host,
                    Buffer& memory, std::vector<float>& global_scales) {
  MM2_ASSIGN_OR_RETURN(memory, Buffer::make(host.allocator, plan.owned_bytes));
  HostWeights weights(backend, memory.data());
  return load_weights_into(plan, source, backend, executor, host, weights, global_scales);
}

Status load_weights_into(const WeightPlan& plan, const TensorSource& source,
                         const kernels::Backend& backend, Executor& executor, const Host& host,
                         WeightMemory& memory, std::vector<float>& global_scales) {
  Loader loader(plan, source, backend, host, memory);
  MM2_RETURN_IF_ERROR(loader.run(executor));
  global_scales = loader.global_scales();
  return {};
}

Status fill_slots(const WeightPlan& plan, const TensorSource& source, const std::byte* memory,
                  const std::vector<float>& global_scales) {
  for (size_t i = 0; i < plan.weights.size(); ++i) {
    const PlannedWeight& w = plan.weights[i];
    fill_slot(w, source, memory, global_scales[i]);
    if (plan.on_device || w.slot.vector == nullptr) continue;
    MM2_RETURN_IF_ERROR(check_vector(w, source, *w.slot.vector));
  }
  return {};
}

}  // namespace mm2
