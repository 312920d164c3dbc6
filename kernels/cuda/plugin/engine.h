// What an engine owns on a device, and the tables of functions that run its steps.
#pragma once

#include "kernels/cuda/common/device_ops.h"
#include "kernels/cuda/plugin/model.h"

namespace mm2::kernels::cuda {

constexpr int32_t kMostTables = 4;

/// Tables of functions in the order in which they are asked; the last one has every function.
struct Tables {
  int32_t n;
  const DeviceOps* ops[kMostTables];
  void* states[kMostTables];
};

/// The tables of a choice of kernels (DeviceKernels), without states: all that an engine has room for.
Tables tables_of(int32_t kernels);
/// Those of them that have kernels for the model and the device.
Tables tables_of_model(int32_t kernels, const Device& device, const DeviceWeights& weights,
                       int32_t kv_number);
/// Those of an engine that take a step: activations of kF32 are a matter of the simple ones.
Tables tables_of_step(const Tables& tables, int32_t activations);

/// Where things lie in the engine's memory on the device: bytes from its start.
struct EngineRoom {
  int64_t tokens, positions, token_rows, output_tokens, rows, blocks, inputs_end;
  int64_t results, ids, k_scales, v_scales, staging;
  int64_t h, x, rope, q, kv_work, attn, weights, outputs, logits, scratch;
  int64_t bytes;
  int64_t n_table_blocks;     // block numbers of all rows at most
  int64_t staging_positions;  // of read_positions and write_positions at a time
};
EngineRoom room_of(const ModelShape& shape, const DeviceEngineOptions& options);

/// What is told of a step that is over; n_tokens is 0 where there was none.
struct LastStep {
  int32_t n_tokens, n_rows, n_outputs, activations;
};

/// Kernels that such a step starts.
int64_t launches_of(const Tables& tables, const DeviceStep& step);

/// Sees what a step leaves between its parts; null members are not called.
struct WalkHooks {
  void* self;
  /// Before each layer: kDeviceInterrupted ends the step.
  int32_t (*before_layer)(void* self, int32_t layer);
  /// Values of the step on the device, when the functions that make them were started.
  int32_t (*show)(void* self, const char* name, int32_t layer, const void* values, int32_t number,
                  int64_t n_rows, int64_t width);
};

/// Starts all kernels of a step. A DeviceCode; `result` is the runtime's error where that is why.
int32_t walk(const Tables& tables, const DeviceStep& step, const WalkHooks& hooks,
             cudaError_t* result);

int32_t make_engine(DeviceModel* model, const DeviceEngineOptions* options, DeviceEngine** engine,
                    DeviceError* error);
void free_engine(DeviceEngine* engine);
int64_t engine_bytes(const ModelShape* shape, const DeviceEngineOptions* options);
int32_t step(DeviceEngine* engine, const StepPlan* plan, DeviceError* error);
int32_t copy_block(DeviceEngine* engine, int32_t from, int32_t to, DeviceError* error);
int32_t read_positions(DeviceEngine* engine, const StepRow* row, int64_t first, int64_t n, void* to,
                       DeviceError* error);
int32_t write_positions(DeviceEngine* engine, const StepRow* row, int64_t first, int64_t n,
                        const void* from, DeviceError* error);
const char* describe(DeviceEngine* engine);

}  // namespace mm2::kernels::cuda

namespace mm2::kernels {

struct DeviceEngine {
  Device* device;
  DeviceModel* model;
  DeviceEngineOptions options;
  cuda::EngineRoom room;
  cuda::Tables tables;
  cuda::DeviceStep step;  // pointers and limits of every step
  char* memory;           // of the device, room.bytes
  char* pinned;           // of the host, room.inputs_end, then the results
  cudaStream_t stream;
  bool owns_stream;
  cudaEvent_t layers[2];  // the layers before the last one
  cuda::LastStep last;    // its rows and positions are still in `pinned`
  char description[640];
};

}  // namespace mm2::kernels
