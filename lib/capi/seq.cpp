#include "mm2/seq.h"

#include "capi/engine.h"
#include "capi/guard.h"

using namespace mm2::capi;  // NOLINT: this file is the border itself
using mm2::Status;

mm2_status mm2_seq_length(const mm2_engine* engine, int32_t seq_id, int32_t* length,
                          mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    MM2_RETURN_IF_ERROR(need(length, "length"));
    MM2_RETURN_IF_ERROR(need_range("seq_id", seq_id, 0, INT32_MAX));
    *length = engine->engine->seq_length(seq_id);
    return {};
  });
}

mm2_status mm2_seq_fork(mm2_engine* engine, int32_t from, int32_t to, int32_t length,
                        mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    return engine->engine->seq_fork(from, to, length);
  });
}

mm2_status mm2_seq_truncate(mm2_engine* engine, int32_t seq_id, int32_t length, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    return engine->engine->seq_truncate(seq_id, length);
  });
}

mm2_status mm2_seq_free(mm2_engine* engine, int32_t seq_id, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    return engine->engine->seq_free(seq_id);
  });
}

mm2_status mm2_kv_pool(const mm2_engine* engine, int64_t* free_blocks, int64_t* total_blocks,
                       int32_t* block_size, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    const mm2::BlockPool& pool = engine->engine->kv_pool();
    if (free_blocks != nullptr) *free_blocks = pool.n_free();
    if (total_blocks != nullptr) *total_blocks = pool.n_blocks();
    if (block_size != nullptr) *block_size = engine->engine->options().kv_block_size;
    return {};
  });
}
