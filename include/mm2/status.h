/* mm2/status.h: results of calls, errors, growable results, versions. */
#ifndef MM2_STATUS_H
#define MM2_STATUS_H

#include "abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 0 is success, positive values are conditions that a host plans for, negative ones failures. */
typedef int32_t mm2_status;

#define MM2_OK 0

/* Conditions: nothing is broken, every object is as it was before the call. */
#define MM2_KV_EXHAUSTED 1 /* no free KV blocks for this step: free, preempt or retry later */
#define MM2_CANCELLED 2    /* an interrupt or a progress callback asked for it */
#define MM2_NO_MORE 3      /* nothing more to fetch */

/* Failures. */
#define MM2_E_INVALID_ARGUMENT (-1) /* the message names the argument and the allowed range */
#define MM2_E_OUT_OF_MEMORY (-2)
#define MM2_E_IO (-3)          /* native_code is errno */
#define MM2_E_FORMAT (-4)      /* a file or text breaks its format: file, tensor, field, numbers */
#define MM2_E_UNSUPPORTED (-5) /* well-formed, but not implemented: named, never ignored */
#define MM2_E_NOT_FOUND (-6)   /* a file, tensor, sequence or verb that does not exist */
#define MM2_E_BUDGET (-7)      /* a template or schema used up its steps, bytes or depth */
#define MM2_E_NUMERIC (-8)     /* NaN, +infinity or nothing left to choose from, in this sequence */
#define MM2_E_BUSY (-9)        /* the object is in use by another thread */
#define MM2_E_CHECK_FAILED (-10) /* a check that was asked for ran and failed */
#define MM2_E_DEVICE (-20)       /* a device error that the engine survives */
#define MM2_E_DEVICE_LOST (-21)  /* sticky: from now on only queries and destroy */
#define MM2_E_FORKED (-22)       /* used in a child of fork() */
#define MM2_E_INTERNAL (-99)     /* a bug in mm2; on an engine sticky like MM2_E_DEVICE_LOST */

/* Whose number mm2_error.native_code is. */
#define MM2_DOMAIN_NONE 0
#define MM2_DOMAIN_ERRNO 1
#define MM2_DOMAIN_CUDA 2
#define MM2_DOMAIN_CUBLAS 3
#define MM2_DOMAIN_NCCL 4
#define MM2_DOMAIN_MPI 5

/* The reason of a failure, in memory of the caller: no thread-local state, nothing allocated.
 * Set struct_size before the first use (`mm2_error err = {sizeof err}` in C, mm2_error_init
 * otherwise); struct_size 0 counts as "not wanted", as NULL does. Filled when a call returns
 * anything but MM2_OK, untouched when it returns MM2_OK. */
typedef struct mm2_error {
  uint32_t struct_size;
  mm2_status code;     /* what the call returned */
  uint32_t domain;     /* MM2_DOMAIN_* */
  int32_t native_code; /* errno, CUDA error, ...; 0 with MM2_DOMAIN_NONE */
  char message[480];   /* one sentence, UTF-8, NUL-terminated, cut at a whole character */
} mm2_error;

/* Zeroes `size` bytes at error and sets struct_size. size: sizeof(mm2_error) as the caller's header
 * has it, at least 4. Returns MM2_E_INVALID_ARGUMENT for NULL or another size and touches nothing.
 * Every mm2_<x>_init of this ABI does exactly this for its struct. Any thread. */
MM2_API mm2_status mm2_error_init(mm2_error* error, size_t size);

/* The library's MM2_ABI_VERSION; compare it with the header's. Any thread. */
MM2_API uint32_t mm2_abi_version(void);

/* The product version, "0.1.0"; static memory. Any thread. */
MM2_API const char* mm2_version_string(void);

/* "MM2_E_FORMAT" for -4 and so on, "unknown status" for a number that is none; static memory. Any
 * thread. */
MM2_API const char* mm2_status_name(mm2_status status);

/* ---- buffers ----------------------------------------------------------------------------------
 * Results whose length is not known beforehand (text, token ids, JSON) go into a buffer of the
 * caller. A call replaces the content when it succeeds and leaves it alone when it fails; memory is
 * kept and reused. */
typedef struct mm2_buffer mm2_buffer;

/* Makes an empty buffer, owned by the caller. Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. */
MM2_API mm2_status mm2_buffer_create(mm2_buffer** out, mm2_error* err);

/* The bytes; never NULL but for buffer NULL, aligned for int32_t, followed by a NUL that is not
 * counted. Borrowed: valid until the buffer is next written, cleared or destroyed. */
MM2_API const void* mm2_buffer_data(const mm2_buffer* buffer);

/* Size in bytes (token ids are int32_t: divide by 4); 0 for NULL. */
MM2_API size_t mm2_buffer_size(const mm2_buffer* buffer);

/* Empties the buffer and keeps its memory. NULL is fine. */
MM2_API void mm2_buffer_clear(mm2_buffer* buffer);

/* NULL is fine. */
MM2_API void mm2_buffer_destroy(mm2_buffer* buffer);

/* How this library was built, as JSON: {"version", "abi", "commit", "compiler", "build_type",
 * "isa": [...], "cuda": bool, "dependencies": {...}}. Any thread. */
MM2_API mm2_status mm2_build_info(mm2_buffer* json, mm2_error* err);

/* What this machine offers, as JSON: {"cpu": {"name", "features": [...], "cores"}, "isa": the
 * instruction set that MM2_ISA_AUTO picks, "memory": {"total", "available"} in bytes, "cuda":
 * {"available": bool, "detail": a sentence: which devices, or why there is none, with the places
 * where the plug-in was looked for and the loader's words, "plugin": its file or null, "devices":
 * [{"index", "name", "compute_capability", "multiprocessors", "memory", "free", "l2", "driver",
 * "runtime"}]}}. Reads /proc; loads the plug-in, where there is one, for good. Any thread. */
MM2_API mm2_status mm2_system_info(mm2_buffer* json, mm2_error* err);

#ifdef __cplusplus
}
#endif
#endif
