// Copies between the host's memory of any kind and the device's, through pinned halves: one is filled
// or emptied while the other travels. Several threads copy at once, each with a slot of its own.
#include "kernels/cuda/plugin/copies.h"

#include <cstring>

namespace mm2::kernels::cuda {
namespace {

// What was made so far is kept where something fails: close_device frees it.
cudaError_t make_slot(Slot* slot) {
  cudaError_t result = cudaSuccess;
  if (slot->stream == nullptr) {
    result = cudaStreamCreateWithFlags(&slot->stream, cudaStreamNonBlocking);
  }
  for (int half = 0; half < 2; ++half) {
    if (result == cudaSuccess && slot->done[half] == nullptr) {
      result = cudaEventCreateWithFlags(&slot->done[half], cudaEventDisableTiming);
    }
    if (result == cudaSuccess && slot->pinned[half] == nullptr) {
      void* memory = nullptr;
      result = cudaHostAlloc(&memory, static_cast<size_t>(kPinnedBytes), cudaHostAllocDefault);
      slot->pinned[half] = result == cudaSuccess ? static_cast<char*>(memory) : nullptr;
    }
  }
  slot->is_made = result == cudaSuccess;
  return result;
}

int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

}  // namespace

SlotLease::SlotLease(Device* device, DeviceError* error)
    : device_(device), code_(check_usable(*device, error)) {
  if (code_ != kDeviceOk) return;
  {
    std::unique_lock lock(device->mutex);
    while (slot_ == nullptr) {
      for (Slot& slot : device->slots) {
        if (!slot.is_busy && (slot_ == nullptr || slot.is_made)) slot_ = &slot;
      }
      if (slot_ == nullptr) device->slot_is_free.wait(lock);
    }
    slot_->is_busy = true;
  }
  if (slot_->is_made) return;
  code_ = judge(make_slot(slot_), error, &device->lost,
                "%lld bytes of pinned memory of the host for copies",
                static_cast<long long>(2 * kPinnedBytes));
}

SlotLease::~SlotLease() {
  if (slot_ == nullptr) return;
  {
    const std::lock_guard lock(device_->mutex);
    slot_->is_busy = false;
  }
  device_->slot_is_free.notify_one();
}

int32_t SlotLease::need_raw(int64_t n_bytes, DeviceError* error) {
  if (slot_->raw_bytes >= n_bytes) return kDeviceOk;
  if (slot_->raw != nullptr) cudaFree(slot_->raw);
  slot_->raw = nullptr;
  slot_->raw_bytes = 0;
  void* memory = nullptr;
  const int32_t code = take_memory(device_, n_bytes, &memory, "weights on their way", error);
  if (code != kDeviceOk) return code;
  slot_->raw = static_cast<char*>(memory);
  slot_->raw_bytes = n_bytes;
  return kDeviceOk;
}

cudaError_t send(Slot* slot, void* to, const Lines& from) {
  const int64_t n_bytes = from.n_lines * from.width;
  int64_t at = 0;
  for (int half = 0; at < n_bytes; half ^= 1) {
    const int64_t n = least(n_bytes - at, kPinnedBytes);
    cudaError_t result = cudaEventSynchronize(slot->done[half]);
    if (result != cudaSuccess) return result;
    for (int64_t done = 0; done < n;) {
      const int64_t line = (at + done) / from.width, column = (at + done) % from.width;
      const int64_t piece =
          from.pitch == from.width ? n - done : least(n - done, from.width - column);
      std::memcpy(slot->pinned[half] + done, from.data + line * from.pitch + column,
                  static_cast<size_t>(piece));
      done += piece;
    }
    result = cudaMemcpyAsync(static_cast<char*>(to) + at, slot->pinned[half],
                             static_cast<size_t>(n), cudaMemcpyHostToDevice, slot->stream);
    if (result == cudaSuccess) result = cudaEventRecord(slot->done[half], slot->stream);
    if (result != cudaSuccess) return result;
    at += n;
  }
  return cudaSuccess;
}

int32_t copy_to(Device* device, void* to, const void* from, int64_t n_bytes, DeviceError* error) {
  if (n_bytes <= 0) return check_usable(*device, error);
  const Current current(*device);
  const SlotLease slot(device, error);
  if (slot.code() != kDeviceOk) return slot.code();
  const Lines lines{static_cast<const char*>(from), 1, n_bytes, n_bytes};
  cudaError_t result = send(&*slot, to, lines);
  const cudaError_t waited = cudaStreamSynchronize(slot->stream);
  if (result == cudaSuccess) result = waited;
  return judge(result, error, &device->lost, "a copy of %lld bytes to device %d",
               static_cast<long long>(n_bytes), device->index);
}

// Chunk i is asked for while chunk i - 1 is copied out of the other half.
int32_t copy_from(Device* device, void* to, const void* from, int64_t n_bytes, DeviceError* error) {
  if (n_bytes <= 0) return check_usable(*device, error);
  const Current current(*device);
  const SlotLease slot(device, error);
  if (slot.code() != kDeviceOk) return slot.code();
  const int64_t n_chunks = (n_bytes + kPinnedBytes - 1) / kPinnedBytes;
  const auto size = [&](int64_t i) {
    return static_cast<size_t>(least(kPinnedBytes, n_bytes - i * kPinnedBytes));
  };
  cudaError_t result = cudaSuccess;
  for (int64_t i = 0; i <= n_chunks && result == cudaSuccess; ++i) {
    const int half = static_cast<int>(i % 2);
    if (i < n_chunks) {
      result =
          cudaMemcpyAsync(slot->pinned[half], static_cast<const char*>(from) + i * kPinnedBytes,
                          size(i), cudaMemcpyDeviceToHost, slot->stream);
      if (result == cudaSuccess) result = cudaEventRecord(slot->done[half], slot->stream);
    }
    if (i == 0 || result != cudaSuccess) continue;
    result = cudaEventSynchronize(slot->done[half ^ 1]);
    if (result != cudaSuccess) break;
    std::memcpy(static_cast<char*>(to) + (i - 1) * kPinnedBytes, slot->pinned[half ^ 1],
                size(i - 1));
  }
  const cudaError_t waited = cudaStreamSynchronize(slot->stream);
  if (result == cudaSuccess) result = waited;
  return judge(result, error, &device->lost, "a copy of %lld bytes from device %d",
               static_cast<long long>(n_bytes), device->index);
}

}  // namespace mm2::kernels::cuda
