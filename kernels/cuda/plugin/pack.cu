// Packing on the device: some rows of the checkpoint's numbers are sent as they are, then each thread
// makes dwords of the packed matrix.
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/layout/pack.h"
#include "kernels/cuda/plugin/copies.h"

namespace mm2::kernels::cuda {
namespace {

constexpr unsigned kThreads = 256, kMostBlocks = 4096;
constexpr int64_t kRawBytes = int64_t{32} << 20;  // of a slice, unless 64 rows are more

__global__ void pack_kernel(WeightLayout l, MatrixRows rows, char* to, int64_t n_dwords) {
  const int64_t of_block = l.block_bytes / 4;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n_dwords; i += step) {
    const uint32_t dword = pack_dword(l, rows, i / of_block * kBlockRows, i % of_block);
    memcpy(to + i * 4, &dword, 4);
  }
}

__global__ void pack_order_kernel(MatrixRows rows, char* to, int64_t n_dwords) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n_dwords) return;
  const uint32_t dword = pack_dword_of_order(rows, i);
  memcpy(to + i * 4, &dword, 4);
}

/// Codes of n rows from `row` of `rows` on, and the distance at which they will lie.
struct CodeLines {
  Lines lines;
  int64_t stride;  // dwords
};

CodeLines code_lines(const MatrixRows& rows, int64_t row, int64_t n) {
  const char* codes = static_cast<const char*>(rows.codes);
  const int64_t pitch = rows.code_stride * 4;
  switch (rows.code_layout) {
    case kNibblesOfRows: {
      const int64_t dwords = (rows.n_in + 7) / 8;
      return {{codes + row * pitch, n, dwords * 4, pitch}, dwords};
    }
    case kNibblesOfWords:
      return {{codes + row * 4, (rows.n_in + 7) / 8, n * 4, pitch}, n};
    case kNibblesOfEight: {
      const int64_t dwords = (n + 7) / 8;
      return {{codes + row / 8 * 4, rows.n_in, dwords * 4, pitch}, dwords};
    }
    default: {
      const int64_t width = rows.n_in * (is_plain(rows.format) ? bytes_of(rows.format.number) : 1);
      return {{codes + row * width, n, width, width}, 0};
    }
  }
}

/// The parts of a slice in Slot::raw.
class Slice {
 public:
  Slice(const MatrixRows& rows, int64_t row, int64_t n) : rows_(rows), row_(row) {
    const int64_t patches = n_patches(rows.format, rows.n_in);
    const CodeLines codes = code_lines(rows, row, n);
    parts_[0] = codes.lines;
    parts_[1] = part(rows.scales, 4, row * patches, n * patches);
    parts_[2] = part(rows.zeros, 1, row * patches, n * patches);
    parts_[3] = part(rows.scale_codes, 1, row * patches, n * patches);
    parts_[4] = part(rows.order, 4, 0, rows.n_in);
    for (int i = 0; i < 5; ++i) {
      at_[i] = bytes_;
      bytes_ += round_up(parts_[i].n_lines * parts_[i].width, 16);
    }
    stride_ = codes.stride;
    n_ = n;
  }

  int64_t bytes() const { return bytes_; }

  cudaError_t send_to(Slot* slot) const {
    cudaError_t result = cudaSuccess;
    for (int i = 0; i < 5 && result == cudaSuccess; ++i) {
      if (parts_[i].data != nullptr) result = send(slot, slot->raw + at_[i], parts_[i]);
    }
    return result;
  }

  /// The slice as the kernel sees it.
  MatrixRows on_device(char* raw) const {
    MatrixRows rows = rows_;
    rows.first_row += row_;
    rows.n_rows = n_;
    rows.codes = raw + at_[0];
    rows.scales = rows.scales == nullptr ? nullptr : reinterpret_cast<float*>(raw + at_[1]);
    rows.zeros = rows.zeros == nullptr ? nullptr : reinterpret_cast<uint8_t*>(raw + at_[2]);
    rows.scale_codes =
        rows.scale_codes == nullptr ? nullptr : reinterpret_cast<uint8_t*>(raw + at_[3]);
    rows.order = rows.order == nullptr ? nullptr : reinterpret_cast<int32_t*>(raw + at_[4]);
    rows.code_stride = stride_;
    return rows;
  }

 private:
  static Lines part(const void* data, int64_t size, int64_t first, int64_t n) {
    if (data == nullptr) return {nullptr, 0, 0, 0};
    return {static_cast<const char*>(data) + first * size, 1, n * size, n * size};
  }

  const MatrixRows& rows_;
  int64_t row_, n_ = 0, stride_ = 0, bytes_ = 0;
  Lines parts_[5];
  int64_t at_[5];
};

cudaError_t launch_pack(Slot* slot, const WeightLayout& l, const MatrixRows& rows, char* matrix) {
  char* to = matrix + rows.first_row / kBlockRows * l.block_bytes;
  const int64_t n = (rows.n_rows + kBlockRows - 1) / kBlockRows * l.block_bytes / 4;
  const unsigned blocks = n_groups(n, kThreads);
  const Launch how{blocks < kMostBlocks ? blocks : kMostBlocks, kThreads, slot->stream};
  const cudaError_t result = launch(pack_kernel, how, l, rows, to, n);
  const int64_t n_order = (l.bytes - l.order) / 4;
  if (result != cudaSuccess || rows.first_row != 0 || n_order == 0) return result;
  return launch(pack_order_kernel, {n_groups(n_order, kThreads), kThreads, slot->stream}, rows,
                matrix + l.order, n_order);
}

}  // namespace

cudaError_t can_run_kernels() {
  return has_code(pack_kernel, BuiltFor::kAll);
}

int32_t pack(Device* device, const MatrixRows* rows, void* to, DeviceError* error) {
  if (packed_bytes(rows->format, rows->n_out, rows->n_in) < 0) {
    return refuse(error, kDeviceUnsupported,
                  "CUDA: no kernels for weights [%lld, %lld] of scheme %d, %d bits",
                  static_cast<long long>(rows->n_out), static_cast<long long>(rows->n_in),
                  rows->format.scheme, rows->format.bits);
  }
  if (rows->n_rows <= 0 || rows->n_in <= 0) return check_usable(*device, error);
  const WeightLayout l = layout_of(rows->format, rows->n_out, rows->n_in);
  const int64_t of_block = Slice(*rows, 0, kBlockRows).bytes();
  const int64_t blocks = kRawBytes > of_block ? kRawBytes / of_block : 1;
  const int64_t slice_rows = blocks * kBlockRows;

  const Current current(*device);
  SlotLease slot(device, error);
  if (slot.code() != kDeviceOk) return slot.code();
  // The first slice is the longest. Memory is taken before anything is sent: from there on the slot's
  // stream is waited for, whatever happens.
  const int64_t longest =
      Slice(*rows, 0, rows->n_rows < slice_rows ? rows->n_rows : slice_rows).bytes();
  const int32_t code = slot.need_raw(longest > kRawBytes ? longest : kRawBytes, error);
  if (code != kDeviceOk) return code;
  cudaError_t result = cudaSuccess;
  for (int64_t row = 0; row < rows->n_rows && result == cudaSuccess; row += slice_rows) {
    const int64_t left = rows->n_rows - row;
    const Slice slice(*rows, row, left < slice_rows ? left : slice_rows);
    result = slice.send_to(&*slot);
    if (result != cudaSuccess) break;
    result = launch_pack(&*slot, l, slice.on_device(slot->raw), static_cast<char*>(to));
  }
  const cudaError_t waited = cudaStreamSynchronize(slot->stream);
  if (result == cudaSuccess) result = waited;
  return judge(result, error, &device->lost, "packing %lld rows on device %d",
               static_cast<long long>(rows->n_rows), device->index);
}

}  // namespace mm2::kernels::cuda
