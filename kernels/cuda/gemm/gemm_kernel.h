// The kernel of products of many tokens: two warpgroups multiply, each 64 rows by the tile, and a warp of
// which one thread has records of weights and of the tile copied into a ring of stages.
#pragma once

#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/common/ptx.h"
#include "kernels/cuda/decode/math.h"
#include "kernels/cuda/gemm/gemm.h"

namespace mm2::kernels::cuda::gemm {

constexpr int kGroupThreads = 128, kConsumerThreads = 256,
              kGemmThreads = kConsumerThreads + kGroupThreads;
/// Registers: 168 for each thread at first; 24 and 2 times 240 in the end.
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;
constexpr unsigned kConsumersMeet = 1;  // named barrier
constexpr size_t kMostShared = 227 << 10;

/// One side's walk around the stages.
struct Walk {
  int32_t stage = 0;
  uint32_t parity = 0;
  __device__ void next(int32_t n_stages) {
    if (++stage < n_stages) return;
    stage = 0;
    parity ^= 1;
  }
};

struct Stages {
  uint8_t* shared;
  Mbarrier *full, *empty;  // [n_stages]
  __device__ explicit Stages(const GemmShared& s)
      : shared(shared_memory<uint8_t>()),
        full(reinterpret_cast<Mbarrier*>(shared + s.barriers)),
        empty(full + s.n_stages) {}
};

/// An item's matrices and records.
struct Job {
  Item item;
  WeightView w0, w1;  // of each warpgroup
  int32_t block0, block1;
  int32_t first, end;

  __device__ Job(const GemmArgs& a, bool gated, int64_t i)
      : item(item_at(i, a.n_units, a.splits != 0 ? a.n_pieces : 1)), first(0), end(a.n_records) {
    if (a.splits != 0) {
      first = item.piece * a.piece_records;
      end = first + a.piece_records < end ? first + a.piece_records : end;
    }
    w0 = w1 = a.one;
    block0 = block1 = item.unit;
    if (a.experts != nullptr) {
      const DeviceExpert& e = a.experts[a.tile_expert[item.tile]];
      w0 = view_of(gated ? e.gate : e.down);
      w1 = view_of(gated ? e.up : e.down);
    }
    if (!gated) {
      block0 = item.unit * 2;
      block1 = block0 + 1 < a.n_blocks ? block0 + 1 : block0;
    }
  }
};

__device__ inline int64_t n_items(const GemmArgs& a) {
  const int64_t tiles = a.n_tiles_at != nullptr ? *a.n_tiles_at : a.n_tiles;
  return tiles * a.n_units * (a.splits != 0 ? a.n_pieces : 1);
}

template <int kN>
__device__ void produce(const GemmArgs& a, bool gated, const Stages& s) {
  constexpr auto kXBytes = static_cast<unsigned>(kN * 2 * kTileRowBytes);
  const auto bytes = static_cast<unsigned>(a.records.bytes);
  Walk walk;
  for (int64_t i = blockIdx.x, n = n_items(a); i < n; i += gridDim.x) {
    const Job job(a, gated, i);
    const uint8_t* x = a.x + (int64_t{job.item.tile} * a.n_records + job.first) * kXBytes;
    const int64_t at = int64_t{job.first} * a.records.bytes;
    const char* w0 = job.w0.data + job.block0 * a.block_bytes + at;
    const char* w1 = job.w1.data + job.block1 * a.block_bytes + at;
    for (int32_t r = job.first; r < job.end; ++r, x += kXBytes, w0 += bytes, w1 += bytes) {
      mbarrier_wait(s.empty + walk.stage, walk.parity ^ 1);
      uint8_t* to = s.shared + walk.stage * a.shared.stage_bytes;
      Mbarrier* full = s.full + walk.stage;
      mbarrier_arrive_expect(full, kXBytes + 2 * bytes);
      bulk_copy(to, x, kXBytes, full);
      bulk_copy(to + kXBytes, w0, bytes, full);
      bulk_copy(to + kXBytes + bytes, w1, bytes, full);
      walk.next(a.shared.n_stages);
    }
  }
}

/// A warpgroup that multiplies.
template <typename P, int kN, bool kGated>
struct Consumer {
  const GemmArgs& a;
  const Stages& s;
  const int group, thread;
  Walk walk = {};
  Wgmma mma = {};

  /// Where this thread keeps number i of the sums of a warpgroup.
  __device__ float* sums(int of_group) const {
    return reinterpret_cast<float*>(s.shared + a.shared.sums) + of_group * 64 * kN + thread;
  }

  __device__ void multiply(const Job& job, float (&y)[kN / 2]) {
    float* earlier = sums(group);
    int32_t left = a.piece_records;
    bool is_first = true;
    MM2_UNROLL
    for (int i = 0; i < kN / 2; ++i) y[i] = 0.0f;
    for (int32_t r = job.first; r < job.end; ++r) {
      if (left-- == 0) {
        left = a.piece_records - 1;
        MM2_UNROLL
        for (int i = 0; i < kN / 2; ++i) {
          earlier[i * kGroupThreads] = is_first ? y[i] : earlier[i * kGroupThreads] + y[i];
          y[i] = 0.0f;
        }
        is_first = false;
      }
      mbarrier_wait(s.full + walk.stage, walk.parity);
      const uint8_t* x = s.shared + walk.stage * a.shared.stage_bytes;
      const uint8_t* record = x + kN * 2 * kTileRowBytes + group * a.records.bytes;
      add_record<P, kN>(mma, a.records, record, k_major(tile_address(x)), y);
      __syncwarp();
      if (threadIdx.x % 32 == 0) mbarrier_arrive(s.empty + walk.stage);
      walk.next(a.shared.n_stages);
    }
    if (is_first) return;
    MM2_UNROLL
    for (int i = 0; i < kN / 2; ++i) y[i] = earlier[i * kGroupThreads] + y[i];
  }

  /// silu(gate) * up of 64 rows: half a record of the tile that the next product reads.
  __device__ void finish_gated(const Job& job, float (&y)[kN / 2]) {
    float* mine = sums(group);
    const WeightView w = group == 0 ? job.w0 : job.w1;
    MM2_UNROLL
    for (int i = 0; i < kN / 2; ++i) mine[i * kGroupThreads] = scaled(w, y[i]);
    named_sync(kConsumersMeet, kConsumerThreads);
    const float *gate = sums(0), *up = sums(1);
    const int first = group * (kN / 4);
    uint16_t half[kN / 4];
    MM2_UNROLL
    for (int i = 0; i < kN / 4; ++i) {
      const int at = (first + i) * kGroupThreads;
      half[i] = static_cast<uint16_t>(round_to_pair(silu_fast(gate[at]) * up[at], 0.0f));
    }
    named_sync(kConsumersMeet, kConsumerThreads);
    uint8_t* tile = s.shared + a.shared.sums;
    MM2_UNROLL
    for (int i = 0; i < kN / 4; ++i) {
      const Element e = element_of_d(thread, first + i);
      const uint32_t at = tile_byte(static_cast<uint32_t>(e.column), static_cast<uint32_t>(e.row));
      *reinterpret_cast<uint16_t*>(tile + at) = half[i];
    }
    named_sync(kConsumersMeet, kConsumerThreads);
    constexpr int kBytes = kN * kTileRowBytes;
    uint8_t* to = a.inner + int64_t{job.item.tile} * a.n_inner_records * kBytes * 2 +
                  int64_t{job.item.unit} * kBytes;
    // Columns that fill up the last record.
    const bool fills = job.item.unit + 1 == a.n_blocks && a.n_blocks % 2 != 0;
    for (int at = static_cast<int>(threadIdx.x) * 16; at < kBytes; at += kConsumerThreads * 16) {
      *reinterpret_cast<uint4*>(to + at) = *reinterpret_cast<const uint4*>(tile + at);
      if (fills) *reinterpret_cast<uint4*>(to + kBytes + at) = make_uint4(0, 0, 0, 0);
    }
    named_sync(kConsumersMeet, kConsumerThreads);
  }

  __device__ int32_t slot_of(const Job& job, int column) const {
    const int32_t at = job.item.tile * kN + column;
    if (a.slots != nullptr) return a.slots[at];
    return at < a.n_slots ? at : -1;
  }

  __device__ void finish(const Job& job, float (&y)[kN / 2]) {
    if (group == 1 && job.block1 == job.block0) return;
    const WeightView w = group == 0 ? job.w0 : job.w1;
    float* to = a.y + (a.splits != 0 ? job.item.piece * a.n_slots * a.n_out : 0);
    const int64_t row0 = int64_t{group == 0 ? job.block0 : job.block1} * kBlockRows;
    MM2_UNROLL
    for (int i = 0; i < kN / 2; i += 4) {
      MM2_UNROLL
      for (int odd = 0; odd < 2; ++odd) {
        const int64_t slot = slot_of(job, element_of_d(thread, i + odd).column);
        MM2_UNROLL
        for (int lower = 0; lower < 2; ++lower) {
          const int reg = i + odd + lower * 2;
          const int64_t row = row0 + element_of_d(thread, reg).row;
          if (slot < 0 || row >= a.n_out) continue;
          float sum = y[reg];
          if (a.splits == 0) {
            sum = scaled(w, sum);
            if (a.add != nullptr) sum = a.add[slot * a.y_stride + row] + sum;
          }
          to[slot * a.y_stride + row] = sum;
        }
      }
    }
  }

  __device__ void run() {
    for (int64_t i = blockIdx.x, n = n_items(a); i < n; i += gridDim.x) {
      const Job job(a, kGated, i);
      float y[kN / 2];
      multiply(job, y);
      if constexpr (kGated) {
        finish_gated(job, y);
      } else {
        finish(job, y);
      }
    }
  }
};

template <typename P, int kN, bool kGated>
__global__ void __launch_bounds__(kGemmThreads, 1) gemm_kernel(const __grid_constant__ GemmArgs a) {
  const Stages s(a.shared);
  if (threadIdx.x == 0) {
    for (int32_t i = 0; i < a.shared.n_stages; ++i) {
      mbarrier_init(s.full + i, 1);
      mbarrier_init(s.empty + i, kConsumerThreads / 32);
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= kConsumerThreads) {
    leave_registers<kProducerRegisters>();
    if (threadIdx.x == kConsumerThreads) produce<kN>(a, kGated, s);
    return;
  }
  take_registers<kConsumerRegisters>();
  Consumer<P, kN, kGated> consumer{a, s, static_cast<int>(threadIdx.x / kGroupThreads),
                                   static_cast<int>(threadIdx.x % kGroupThreads)};
  consumer.run();
}

/// Calls f(kernel) for the kernel of this width; cudaErrorInvalidValue where there is none.
template <typename P, bool kGated, typename F>
cudaError_t with_kernel(int32_t width, const F& f) {
  switch (width) {
    case 16:
      return f(gemm_kernel<P, 16, kGated>);
    case 32:
      return f(gemm_kernel<P, 32, kGated>);
    case 64:
      return f(gemm_kernel<P, 64, kGated>);
    case 128:
      return f(gemm_kernel<P, 128, kGated>);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace mm2::kernels::cuda::gemm

namespace mm2::kernels::cuda {

template <typename P>
cudaError_t start_gemm(int32_t width, bool gated, int32_t n_thread_blocks, cudaStream_t stream,
                       const GemmArgs& args) {
  Launch l{};
  l.grid = dim3(static_cast<unsigned>(n_thread_blocks));
  l.block = dim3(gemm::kGemmThreads);
  l.stream = stream;
  l.shared_bytes = static_cast<size_t>(args.shared.bytes);
  const auto start = [&](auto kernel) { return launch(kernel, l, args); };
  return gated ? gemm::with_kernel<P, true>(width, start)
               : gemm::with_kernel<P, false>(width, start);
}

template <typename P>
cudaError_t allow_gemm() {
  const auto allow = [](auto kernel) { return allow_shared(kernel, gemm::kMostShared); };
  for (const int32_t width : kWidths) {
    cudaError_t error = gemm::with_kernel<P, true>(width, allow);
    if (error == cudaSuccess) error = gemm::with_kernel<P, false>(width, allow);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace mm2::kernels::cuda
