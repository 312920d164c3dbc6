#include "mm2/seq.h"

#include <optional>

#include "capi/engine.h"
#include "capi/guard.h"
#include "capi/handles.h"

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

mm2_status mm2_seq_export(const mm2_engine* engine, int32_t seq_id, mm2_buffer* out,
                          mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_ASSIGN_OR_RETURN(out->bytes, engine->engine->seq_export(seq_id));
    return {};
  });
}

mm2_status mm2_seq_import(mm2_engine* engine, int32_t seq_id, const void* data, size_t size,
                          mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    MM2_ASSIGN_OR_RETURN(const std::string_view bytes,
                         need_text(static_cast<const char*>(data), size, "data"));
    return engine->engine->seq_import(seq_id, bytes);
  });
}

mm2_status mm2_kv_pool(const mm2_engine* engine, int64_t* free_blocks, int64_t* total_blocks,
                       int32_t* block_size, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    const mm2::BlockPool& pool = engine->engine->kv_pool();
    if (free_blocks != nullptr) *free_blocks = pool.n_available();
    if (total_blocks != nullptr) *total_blocks = pool.n_blocks();
    if (block_size != nullptr) *block_size = engine->engine->options().kv_block_size;
    return {};
  });
}

mm2_status mm2_prefix_match(mm2_engine* engine, int32_t seq_id, const int32_t* tokens,
                            int32_t n_tokens, uint64_t salt, int32_t* matched, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    MM2_RETURN_IF_ERROR(need(tokens, "tokens"));
    MM2_RETURN_IF_ERROR(need_range("n_tokens", n_tokens, 1, INT32_MAX));
    MM2_RETURN_IF_ERROR(need(matched, "matched"));
    MM2_ASSIGN_OR_RETURN(*matched, engine->engine->prefix_match(
                                       seq_id, {tokens, static_cast<size_t>(n_tokens)}, salt));
    return {};
  });
}

mm2_status mm2_prefix_evict(mm2_engine* engine, int64_t n_blocks, int64_t* evicted,
                            mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    MM2_RETURN_IF_ERROR(need_range("n_blocks", n_blocks, 0, INT64_MAX));
    MM2_ASSIGN_OR_RETURN(const int64_t n, engine->engine->prefix_evict(n_blocks));
    if (evicted != nullptr) *evicted = n;
    return {};
  });
}

mm2_status mm2_prefix_clear(mm2_engine* engine, const uint64_t* salt, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    return engine->engine->prefix_clear(salt == nullptr ? std::nullopt : std::optional(*salt));
  });
}
