// The structs of the DLPack exchange, as far as tensors on the CPU need them: version 1.0 and the
// older one without a version. Names and order are the protocol's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core.h"

namespace mm2::python {

constexpr int32_t kDlCpu = 1;
enum DlCode : uint8_t { kDlInt = 0, kDlUInt = 1, kDlFloat = 2, kDlBfloat = 4, kDlBool = 6 };

struct DlDevice {
  int32_t type, id;
};
struct DlType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DlTensor {
  void* data;
  DlDevice device;
  int32_t n_dims;
  DlType type;
  int64_t* shape;
  int64_t* strides;  // in elements; null = row after row
  uint64_t byte_offset;
};
struct DlManaged {
  DlTensor tensor;
  void* context;
  void (*release)(DlManaged* self);
};
struct DlManagedVersioned {
  uint32_t major, minor;
  void* context;
  void (*release)(DlManagedVersioned* self);
  uint64_t flags;
  DlTensor tensor;
};

/// A capsule with an F32 tensor; `owner` is kept until the consumer releases it.
py::object export_dlpack(std::shared_ptr<void> owner, void* data, std::vector<int64_t> shape,
                         bool versioned);

}  // namespace mm2::python
