/* mm2/host.h: what the host application may supply. Every part is optional.
 *
 * The structs are copied by the call that takes an mm2_host; what user_data points to must live as
 * long as the objects made with it. Callbacks must return normally: no exception, no longjmp. They
 * must not call back into the object on whose behalf they run. */
#ifndef MM2_HOST_H
#define MM2_HOST_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Memory for weights, KV pools and step buffers; small bookkeeping stays on the C++ heap.
 * Both functions are needed, from any thread. */
typedef struct mm2_allocator {
  uint32_t struct_size, reserved;
  void* user_data;
  /* `alignment` is a power of two, size is not 0; NULL means out of memory. Memory at another
   * alignment is given back at once, and the call that needed it is INVALID_ARGUMENT. */
  void* (*allocate)(void* user_data, size_t size, size_t alignment);
  /* The size and alignment that allocate was asked for. */
  void (*release)(void* user_data, void* pointer, size_t size, size_t alignment);
} mm2_allocator;

/* One task of a parallel_for: `task` in [0, n_tasks), `worker` in [0, n_workers), and no two tasks
 * run under one worker number at once. */
typedef void (*mm2_task_fn)(void* context, int32_t task, int32_t worker);

/* The host's threads. Without them an object makes its own team and joins it when destroyed. */
typedef struct mm2_executor {
  uint32_t struct_size;
  int32_t n_workers; /* at least 1 */
  void* user_data;
  /* Calls task(context, i, worker) once for every i and returns when all calls have. */
  void (*parallel_for)(void* user_data, int32_t n_tasks, mm2_task_fn task, void* context);
} mm2_executor;

#define MM2_LOG_ERROR 1
#define MM2_LOG_WARNING 2
#define MM2_LOG_INFO 3
#define MM2_LOG_DEBUG 4
#define MM2_LOG_TRACE 5

/* Where messages go; silence by default. Called from any thread, several at once. */
typedef struct mm2_log {
  uint32_t struct_size;
  int32_t level; /* the most talkative MM2_LOG_* wanted; 0 = MM2_LOG_WARNING */
  void* user_data;
  /* component: NUL-terminated ("format", "engine"); text: `length` bytes, UTF-8. Both are borrowed
   * for the call. */
  void (*write)(void* user_data, int32_t level, const char* component, const char* text,
                size_t length);
} mm2_log;

#define MM2_STAGE_OPEN 0 /* headers are read and checked */
#define MM2_STAGE_LOAD 1 /* weights are read */
#define MM2_STAGE_PACK 2 /* weights are packed for the kernels */
#define MM2_STAGE_TOOL 3 /* a verb of mm2_tool_run works */

/* A report on long work. Filled by the library. */
typedef struct mm2_progress {
  uint32_t struct_size;
  int32_t stage;        /* MM2_STAGE_* */
  uint64_t done, total; /* bytes; total 0 = unknown */
  const char* subject;  /* file or tensor, NUL-terminated, borrowed for the call */
} mm2_progress;

/* Non-zero cancels: the call that reports ends with MM2_CANCELLED. One thread at a time. */
typedef int32_t (*mm2_progress_fn)(void* user_data, const mm2_progress* progress);

/* Where checkpoint files come from, instead of the file system. A name is the path that the host
 * passed, "/" and a plain file name. Functions return MM2_OK or an MM2_E_* code and may fill err;
 * open says MM2_E_NOT_FOUND for a file that does not exist. */
typedef struct mm2_source {
  uint32_t struct_size, reserved;
  void* user_data;
  mm2_status (*open)(void* user_data, const char* name, void** file, uint64_t* size,
                     mm2_error* err);
  /* Exactly `size` bytes from `offset`, within the file. From any thread, several at once. */
  mm2_status (*read_at)(void* user_data, void* file, uint64_t offset, void* to, size_t size,
                        mm2_error* err);
  /* The whole file in memory until close; NULL result, or a NULL function = cannot, read_at is used
   * then. */
  const void* (*map)(void* user_data, void* file);
  void (*close)(void* user_data, void* file); /* NULL function = nothing to do */
} mm2_source;

/* All of it; NULL members mean the default. */
typedef struct mm2_host {
  uint32_t struct_size, reserved;
  const mm2_allocator* allocator;
  const mm2_executor* executor;
  const mm2_log* log;
  const mm2_source* source;
  mm2_progress_fn progress;
  void* progress_user_data;
} mm2_host;

/* As mm2_error_init. */
MM2_API mm2_status mm2_allocator_init(mm2_allocator* allocator, size_t size);
MM2_API mm2_status mm2_executor_init(mm2_executor* executor, size_t size);
MM2_API mm2_status mm2_log_init(mm2_log* log, size_t size);
MM2_API mm2_status mm2_source_init(mm2_source* source, size_t size);
MM2_API mm2_status mm2_host_init(mm2_host* host, size_t size);

#ifdef __cplusplus
}
#endif
#endif
