/* mm2/model.h: a loaded checkpoint. Immutable; any number of engines on any threads share it. */
#ifndef MM2_MODEL_H
#define MM2_MODEL_H

#include "host.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mm2_model mm2_model;
typedef struct mm2_comm mm2_comm; /* several ranks: a name kept for a later version */

#define MM2_DEVICE_CPU 0
#define MM2_DEVICE_CUDA 1 /* an NVIDIA GPU, through the plug-in libmm2_cuda.so (docs/cuda.md) */

/* Instruction sets of the CPU backend. Logits are the same bits on every one of the first four;
 * what a machine lacks is MM2_E_UNSUPPORTED. */
#define MM2_ISA_AUTO 0 /* the best that this machine has */
#define MM2_ISA_GENERIC 1
#define MM2_ISA_AVX2 2
#define MM2_ISA_AVX512 3
/* The scalar specification of every operation: slow, for checking. */
#define MM2_ISA_REFERENCE 100     /* accumulates in F32 as the kernels do */
#define MM2_ISA_REFERENCE_F64 101 /* everything in F64 on the exactly dequantized weights */

typedef struct mm2_model_options {
  uint32_t struct_size;
  int32_t device;        /* MM2_DEVICE_* */
  int32_t device_index;  /* which GPU, from 0; 0 for the CPU */
  int32_t isa;           /* MM2_ISA_* */
  int32_t metadata_only; /* 1: configuration and tensor list are read and checked, no weights */
  int32_t map_weights;   /* MM2_AUTO: where the file's layout suits the kernels, and to read what is
                            packed; MM2_NO: read and copy all, safe when somebody may truncate the
                            files; MM2_YES: fail if the files cannot be mapped */
  int32_t n_threads;     /* for loading, without an executor; 0 = every usable core */
  int32_t reserved;      /* 0 */
  const char* packed_cache;  /* folder for packed weights; NULL = none. The first load writes a file
                                there, as large as the weights; later ones map it after comparing
                                it with its hashes. A shard that changed (name, size, time, contents
                                at its tensors' ends) gets a new file; old ones are the host's to
                                remove. Not writable: a warning in the log. CPU only */
  const mm2_host* host;      /* NULL = all defaults; copied */
  const mm2_comm* comm;      /* NULL = one rank, all that 0.1 supports */
  const char* device_plugin; /* MM2_DEVICE_CUDA: file of the plug-in, and no other is tried; NULL =
                                libmm2_cuda.so beside this library, then where the loader looks. It
                                stays loaded until the process ends. NULL for the CPU */
} mm2_model_options;

/* Shape and size. Filled by the library. */
typedef struct mm2_model_info {
  uint32_t struct_size;
  int32_t n_layers, hidden, n_heads, n_kv_heads, head_dim, rotary_dim, n_experts;
  int32_t top_k;        /* experts per token */
  int32_t intermediate; /* width of one expert */
  int32_t n_vocab;      /* width of a row of logits; the tokenizer may name fewer ids */
  int32_t reserved;     /* 0 */
  int64_t max_positions;
  double rope_theta;
  uint64_t n_parameters;
  uint64_t weight_bytes;           /* that the weights take, packed for this device */
  uint64_t active_bytes_per_token; /* of weights that decoding one token reads */
  int32_t device, isa;             /* in use; isa is MM2_ISA_AUTO on CUDA only */
  int32_t has_weights;             /* 0 after metadata_only */
  int32_t activations;             /* default MM2_ACTIVATIONS_* of its engines (mm2/engine.h) */
} mm2_model_info;

/* As mm2_error_init. */
MM2_API mm2_status mm2_model_options_init(mm2_model_options* options, size_t size);
MM2_API mm2_status mm2_model_info_init(mm2_model_info* info, size_t size);

/* Loads a checkpoint.
 *   path     a checkpoint folder (config.json, *.safetensors), NUL-terminated; nothing is
 *            downloaded
 *   options  NULL = all defaults
 *   out      the model, owned by the caller
 * The checkpoint is checked against its configuration before weights are read; shards are read in
 * parallel through bounded staging memory. host->progress may cancel.
 * On MM2_DEVICE_CUDA weights are packed on the device while they are read, and nothing of them stays
 * in the host's memory; metadata_only needs the plug-in but no device.
 * Errors: NOT_FOUND and IO for files; FORMAT for a file that breaks its format; UNSUPPORTED for
 * another architecture, weight format, device or ISA, and where there is no plug-in, driver or
 * device; OUT_OF_MEMORY, on a device with what is wanted and what is free; DEVICE, DEVICE_LOST;
 * CANCELLED. Nothing is left behind after any of them. */
MM2_API mm2_status mm2_model_load(const char* path, const mm2_model_options* options,
                                  mm2_model** out, mm2_error* err);

/* Copies out shape and size; info->struct_size must be set. */
MM2_API mm2_status mm2_model_get_info(const mm2_model* model, mm2_model_info* info, mm2_error* err);

/* Configuration, schemes per class of tensor, defaults for generation and memory, as JSON. */
MM2_API mm2_status mm2_model_describe(const mm2_model* model, mm2_buffer* json, mm2_error* err);

/* Gives up the caller's ownership; the weights are freed when the last engine on them is gone. NULL
 * is fine. */
MM2_API void mm2_model_destroy(mm2_model* model);

#ifdef __cplusplus
}
#endif
#endif
