#pragma once

#include <memory>

#include "kernels/cuda/common/device_ops.h"
#include "kernels/cuda/plugin/device.h"

namespace mm2::kernels {

struct DeviceModel {
  Device* device;
  cuda::DeviceWeights weights;
  std::unique_ptr<cuda::DeviceLayer[]> layers;    // [n_layers]
  std::unique_ptr<cuda::DeviceExpert[]> experts;  // [n_layers, n_experts]
  void* device_experts;                           // the same in the device's memory
};

}  // namespace mm2::kernels

namespace mm2::kernels::cuda {

int32_t make_model(Device* device, const ModelShape* shape, const ModelWeights* weights,
                   DeviceModel** model, DeviceError* error);
void free_model(DeviceModel* model);

}  // namespace mm2::kernels::cuda
