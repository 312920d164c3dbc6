// Positions of a sequence out of the cache and back, in the order that every backend knows:
// [n, n_layers, K or V, n_kv_heads, head_dim].
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/plugin/engine.h"

namespace mm2::kernels::cuda {
namespace {

constexpr unsigned kThreads = 64;

// A block has one position of one layer; each thread some bytes of its keys or values.
__global__ void move_kernel(DeviceKv kv, ModelShape s, int64_t first, char* plain, int reads) {
  const int64_t p = blockIdx.x;
  const auto layer = static_cast<int32_t>(blockIdx.y);
  const int64_t position = first + p;
  const int64_t block = kv.blocks[position / kv.layout.block_size];
  char* base = kv.data + layer * kv.layer_stride + block * kv.block_stride;
  const int64_t head_bytes = s.head_dim * bytes_of(kv.layout.number);
  const int64_t half = s.n_kv_heads * head_bytes;
  char* outside = plain + (p * s.n_layers + layer) * 2 * half;
  for (int64_t i = threadIdx.x; i < 2 * half; i += blockDim.x) {
    const int64_t in_half = i % half;
    const auto head = static_cast<int32_t>(in_half / head_bytes);
    char* inside = base + key_place(kv.layout, head, position % kv.layout.block_size) +
                   i / half * kv.layout.half_bytes + in_half % head_bytes;
    if (reads != 0) {
      outside[i] = *inside;
    } else {
      *inside = outside[i];
    }
  }
}

int32_t check_row(const DeviceEngine& e, const StepRow& row, int64_t first, int64_t n,
                  DeviceError* error) {
  if (first < 0 || n < 0 || n > e.options.max_positions || first > e.options.max_positions - n) {
    return refuse(error, kDeviceFailed, "CUDA: %lld positions from %lld on, of at most %d",
                  static_cast<long long>(n), static_cast<long long>(first),
                  e.options.max_positions);
  }
  const int32_t size = e.options.kv.block_size;
  for (int64_t i = first / size; i * size < first + n; ++i) {
    if (row.blocks[i] < 0 || row.blocks[i] >= e.options.n_blocks) {
      return refuse(error, kDeviceFailed, "CUDA: block %lld of a row is %d of %d",
                    static_cast<long long>(i), row.blocks[i], e.options.n_blocks);
    }
  }
  return kDeviceOk;
}

// `host` is read where it is not the target.
int32_t move(DeviceEngine* e, const StepRow& row, int64_t first, int64_t n, char* host, bool reads,
             DeviceError* error) {
  int32_t code = check_usable(*e->device, error);
  if (code == kDeviceOk) code = check_row(*e, row, first, n, error);
  if (code != kDeviceOk || n == 0) return code;
  const Current current(*e->device);
  const ModelShape& s = e->model->weights.shape;
  const int32_t size = e->options.kv.block_size;
  const int64_t n_blocks = (first + n + size - 1) / size;
  memcpy(e->pinned + e->room.blocks, row.blocks, static_cast<size_t>(n_blocks) * 4);
  cudaError_t result =
      cudaMemcpyAsync(e->memory + e->room.blocks, e->pinned + e->room.blocks,
                      static_cast<size_t>(n_blocks) * 4, cudaMemcpyHostToDevice, e->stream);
  const int64_t position_bytes =
      int64_t{2} * s.n_layers * s.n_kv_heads * s.head_dim * bytes_of(e->options.kv.number);
  char* staging = e->memory + e->room.staging;
  for (int64_t at = 0; at < n && result == cudaSuccess; at += e->room.staging_positions) {
    const int64_t left = n - at;
    const int64_t part = left < e->room.staging_positions ? left : e->room.staging_positions;
    const auto n_bytes = static_cast<size_t>(part * position_bytes);
    char* here = host + at * position_bytes;
    const Launch how{dim3(static_cast<unsigned>(part), static_cast<unsigned>(s.n_layers)), kThreads,
                     e->stream};
    if (!reads) {
      result = cudaMemcpyAsync(staging, here, n_bytes, cudaMemcpyHostToDevice, e->stream);
    }
    if (result == cudaSuccess) {
      result = launch(move_kernel, how, e->step.kv, s, first + at, staging, reads ? 1 : 0);
    }
    if (reads && result == cudaSuccess) {
      result = cudaMemcpyAsync(here, staging, n_bytes, cudaMemcpyDeviceToHost, e->stream);
    }
  }
  const cudaError_t waited = cudaStreamSynchronize(e->stream);
  if (result == cudaSuccess) result = waited;
  return judge(result, error, &e->device->lost, "%lld positions of the cache",
               static_cast<long long>(n));
}

}  // namespace

int32_t read_positions(DeviceEngine* engine, const StepRow* row, int64_t first, int64_t n, void* to,
                       DeviceError* error) {
  return move(engine, *row, first, n, static_cast<char*>(to), true, error);
}

int32_t write_positions(DeviceEngine* engine, const StepRow* row, int64_t first, int64_t n,
                        const void* from, DeviceError* error) {
  return move(engine, *row, first, n, const_cast<char*>(static_cast<const char*>(from)), false,
              error);
}

int32_t copy_block(DeviceEngine* e, int32_t from, int32_t to, DeviceError* error) {
  const int32_t code = check_usable(*e->device, error);
  if (code != kDeviceOk) return code;
  if (from < 0 || to < 0 || from >= e->options.n_blocks || to >= e->options.n_blocks) {
    return refuse(error, kDeviceFailed, "CUDA: block %d onto block %d, of %d", from, to,
                  e->options.n_blocks);
  }
  const Current current(*e->device);
  const DeviceKv& kv = e->step.kv;
  const ModelShape& s = e->model->weights.shape;
  cudaError_t result = cudaSuccess;
  // Layers may be farther apart than a pitch can be.
  for (int32_t layer = 0; layer < s.n_layers && result == cudaSuccess; ++layer) {
    char* base = kv.data + layer * kv.layer_stride;
    result = cudaMemcpyAsync(base + to * kv.block_stride, base + from * kv.block_stride,
                             static_cast<size_t>(kv.layout.block_bytes), cudaMemcpyDeviceToDevice,
                             e->stream);
  }
  const cudaError_t waited = cudaStreamSynchronize(e->stream);
  if (result == cudaSuccess) result = waited;
  return judge(result, error, &e->device->lost, "block %d onto block %d", from, to);
}

}  // namespace mm2::kernels::cuda
