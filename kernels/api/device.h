// A device with memory of its own: the table of a plug-in that is opened at run time.
//
// The library calls it as it calls a Backend, but weights, keys and values lie in the device's
// memory, and every call can fail. What it costs to be on the safe side: a plug-in is built from the
// same kernels/api as the library, or refused (kPluginVersion).
#pragma once

#include "kernels/api/backend.h"

namespace mm2::kernels {

/// Of everything in kernels/api that crosses into a plug-in. Raised with each change of it.
constexpr uint32_t kPluginVersion = 2;

/// extern "C" const mm2::kernels::Plugin* mm2_device_plugin(void): never null, any thread.
constexpr const char* kPluginSymbol = "mm2_device_plugin";

enum DeviceCode : int32_t {
  kDeviceOk = 0,
  kDeviceNone = 1,         // no driver, or no device of this index
  kDeviceUnsupported = 2,  // a device, a weight or a size that the plug-in has no kernels for
  kDeviceOutOfMemory = 3,  // nothing was taken
  kDeviceFailed = 4,       // this call failed, the device is usable
  kDeviceLost = 5,         // every later call on this device fails in this process
  kDeviceInterrupted = 6   // StepPlan::interrupted said so; nothing of the step counts
};

/// Why a call failed. Written only by calls that fail.
struct DeviceError {
  int32_t code;    // a DeviceCode
  int32_t native;  // of the device's own library (cudaError_t), 0 where none
  char text[240];  // one sentence, NUL-terminated, cut where it is too long
};

struct DeviceInfo {
  char name[96];
  int32_t major, minor;  // compute capability
  int32_t n_multiprocessors;
  int32_t driver_version, runtime_version;  // 13000 = 13.0
  int64_t memory_bytes, free_bytes, l2_bytes;
};

/// One opened device. Its calls may come from any thread, many at once.
struct Device;
/// Weights of a model in the memory of a device, as its kernels want to find them.
struct DeviceModel;
/// What one engine owns on a device beside its KV pool. One call at a time.
struct DeviceEngine;

/// Which kernels run a step. All of them give a sequence the same bits whatever shares its batch;
/// kSimple gives the bits of the CPU's kernels (the order of additions in ops.h). kResident is kFast, but
/// steps of few tokens are one launch for all layers where the device can do that: the bits of kFast.
enum DeviceKernels : int32_t { kFast = 0, kSimple = 1, kResident = 2 };

struct DeviceEngineOptions {
  KvCache kv;  // data in device memory, scales in the host's
  int32_t n_blocks;
  int32_t max_tokens, max_outputs, max_rows;  // of a step
  int32_t max_positions;                      // of a sequence
  int32_t activations;                        // of every step
  int32_t kernels;                            // a DeviceKernels
  void* stream;  // the host's, of the device's own library; null = one of the engine's own
};

/// Functions return a DeviceCode. Pointers called `device` memory are of Plugin::allocate.
struct Plugin {
  uint32_t version;  // kPluginVersion
  uint32_t size;     // sizeof(Plugin)
  const char* name;  // "cuda"

  /// What needs no device: packed_bytes, pack_rows, code_layouts, kv_block_bytes, scratch_bytes (about
  /// engine_bytes), name. `pack` writes the packed layout into the host's
  /// memory (tests, packed files); step, ops, read_ and write_positions are null.
  const Backend* backend;

  int32_t (*count)(int32_t* n_devices, DeviceError*);
  int32_t (*info)(int32_t index, DeviceInfo*, DeviceError*);
  int32_t (*open)(int32_t index, Device**, DeviceError*);
  void (*close)(Device*);  // after everything of it

  int32_t (*allocate)(Device*, int64_t n_bytes, void** device, DeviceError*);  // 256-byte aligned
  void (*release)(Device*, void* device);
  /// Host memory of any kind; returns when `from` may be reused and `to` can be read.
  int32_t (*copy_to)(Device*, void* device, const void* from, int64_t n_bytes, DeviceError*);
  int32_t (*copy_from)(Device*, void* to, const void* device, int64_t n_bytes, DeviceError*);
  /// Backend::pack into device memory, on the device: returns when `rows` may be reused; every
  /// make_model sees what was packed before it.
  int32_t (*pack)(Device*, const MatrixRows* rows, void* device, DeviceError*);

  /// Matrix::data and vectors of `weights` are device memory, the tables around them the host's and
  /// not needed afterwards.
  int32_t (*make_model)(Device*, const ModelShape*, const ModelWeights*, DeviceModel**,
                        DeviceError*);
  void (*free_model)(DeviceModel*);
  int32_t (*make_engine)(DeviceModel*, const DeviceEngineOptions*, DeviceEngine**, DeviceError*);
  void (*free_engine)(DeviceEngine*);
  /// plan: rows, tokens, positions, logits, row_results are host memory; weights, kv, scratch and
  /// executor are not looked at. The observer is told of topk_ids always, of the rest only where
  /// plan->observes_all. Takes no memory. After a failure no position of the step counts.
  int32_t (*step)(DeviceEngine*, const StepPlan* plan, DeviceError*);
  /// Block `from` of every layer onto block `to`; later steps see it.
  int32_t (*copy_block)(DeviceEngine*, int32_t from, int32_t to, DeviceError*);
  /// As in Backend; `to` and `from` are host memory.
  int32_t (*read_positions)(DeviceEngine*, const StepRow* row, int64_t first, int64_t n, void* to,
                            DeviceError*);
  int32_t (*write_positions)(DeviceEngine*, const StepRow* row, int64_t first, int64_t n,
                             const void* from, DeviceError*);
  /// A JSON object of the engine's last step: kernels launched, bytes read by plan, splits, which
  /// kernels ran. Valid until the next call on this engine.
  const char* (*describe)(DeviceEngine*);

  /// Bytes that make_engine takes of the device's memory, exactly; needs no device.
  int64_t (*engine_bytes)(const ModelShape*, const DeviceEngineOptions*);
};

}  // namespace mm2::kernels
