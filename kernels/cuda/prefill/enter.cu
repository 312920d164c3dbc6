// Rows of q, k and v on their way into attention.
#include "kernels/cuda/decode/attention_tile.h"
#include "kernels/cuda/decode/rows.h"
#include "kernels/cuda/prefill/attention.h"

namespace mm2::kernels::cuda {
namespace {

constexpr int32_t kEnterThreads = 128;

/// A block of threads for each token.
template <int32_t number, int32_t kDim>
class Enter {
 public:
  __device__ Enter(const PrefillAttention& attention, int32_t token, int32_t position,
                   int32_t first_block)
      : a(attention),
        s(attention.step),
        t(token),
        at(position),
        blocks(attention.step.blocks + first_block),
        thread(static_cast<int32_t>(threadIdx.x)),
        qkv(s.qkv + int64_t{token} * (s.n_heads + 2 * s.n_kv_heads) * kDim) {}

  __device__ void run() const {
    const float q_factor = factor(qkv, s.n_heads * kDim);
    const float k_factor = factor(qkv + s.n_heads * kDim, s.n_kv_heads * kDim);
    MM2_ROLLED
    for (int32_t i = thread; i < s.n_heads * kQueryWidth / 8; i += kEnterThreads) {
      reinterpret_cast<uint4*>(a.q + int64_t{t} * s.n_heads * kQueryWidth)[i] = uint4{0, 0, 0, 0};
    }
    __syncthreads();
    MM2_ROLLED
    for (int32_t i = thread; i < s.n_heads * kDim; i += kEnterThreads) {
      const int32_t head = i / kDim, d = i % kDim;
      const float x = rotated(qkv + head * kDim, s.q_norm + head * kDim, q_factor, d);
      a.q[(int64_t{t} * s.n_heads + head) * kQueryWidth + column_of_component<number>(d)] =
          f32_to_bf16(x);
    }
    constexpr int32_t kBytes = number == kE4M3 ? 1 : 2;
    const int64_t half = int64_t{s.block_size} * kDim * kBytes;
    char* block =
        s.cache + blocks[at / s.block_size] * s.block_stride + at % s.block_size * kDim * kBytes;
    MM2_ROLLED
    for (int32_t i = thread; i < s.n_kv_heads * kDim; i += kEnterThreads) {
      const int32_t head = i / kDim, d = i % kDim;
      const float* k = qkv + (s.n_heads + head) * kDim;
      char* keys = block + head * 2 * half;
      store(keys, d, rotated(k, s.k_norm + head * kDim, k_factor, d), s.k_scales, head);
      store(keys + half, d, k[s.n_kv_heads * kDim + d], s.v_scales, head);
    }
  }

 private:
  __device__ float factor(const float* x, int32_t n) const {
    const float sum = sum_of_squares(x, n, thread, kEnterThreads, shared_memory<float>(),
                                     [] { __syncthreads(); });
    return norm_factor(sum, n, s.eps);
  }

  __device__ float rotated(const float* head, const float* norm, float factor, int32_t d) const {
    const auto normed = [&](int32_t i) { return head[i] * factor * norm[i]; };
    const int32_t n = s.rotary_dim / 2;
    if (d >= s.rotary_dim) return normed(d);
    const float* rope = s.rope + int64_t{t} * s.rotary_dim;
    const float c = rope[d % n], sine = rope[n + d % n];
    if (d < n) return normed(d) * c - normed(n + d) * sine;
    return normed(d) * c + normed(d - n) * sine;
  }

  __device__ void store(char* row, int32_t d, float x, const float* scales, int32_t head) const {
    if constexpr (number == kE4M3) {
      row[d] = static_cast<char>(f32_to_e4m3(__fdiv_rn(x, scales[head])));
    } else {
      reinterpret_cast<uint16_t*>(row)[d] = f32_to_bf16(x);
    }
  }

  const PrefillAttention& a;
  const AttentionStep& s;
  const int32_t t, at;
  const int32_t* blocks;
  const int32_t thread;
  const float* qkv;
};

template <int32_t number, int32_t kDim>
__global__ void __launch_bounds__(kEnterThreads) enter_kernel(PrefillAttention a) {
  const QueryTile tile = a.tiles[blockIdx.x];
  const auto i = static_cast<int32_t>(blockIdx.y);
  if (i >= tile.n_tokens) return;
  const Enter<number, kDim> enter(a, tile.first_token + i, tile.first_position + i,
                                  tile.first_block);
  enter.run();
}

template <int32_t number>
cudaError_t enter_for(const Launch& l, const PrefillAttention& a) {
  switch (a.step.head_dim) {
    case 16:
      return launch(enter_kernel<number, 16>, l, a);
    case 32:
      return launch(enter_kernel<number, 32>, l, a);
    case 64:
      return launch(enter_kernel<number, 64>, l, a);
    case 128:
      return launch(enter_kernel<number, 128>, l, a);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace

cudaError_t enter_rows(const PrefillAttention& a, cudaStream_t stream) {
  Launch l{};
  l.grid = dim3(static_cast<unsigned>(a.n_tiles),
                static_cast<unsigned>(tokens_of_tile(a.step.n_heads, a.step.n_kv_heads)));
  l.block = dim3(kEnterThreads);
  l.stream = stream;
  l.shared_bytes = kEnterThreads / 32 * sizeof(float);
  return a.step.number == kE4M3 ? enter_for<kE4M3>(l, a) : enter_for<kBF16>(l, a);
}

}  // namespace mm2::kernels::cuda
