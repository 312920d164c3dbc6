/* mm2/seq.h: sequences by name. A sequence is the KV of the tokens that steps have committed under
 * an id of the host; an id that holds nothing has length 0. Calls that change sequences exclude
 * steps of the same engine. */
#ifndef MM2_SEQ_H
#define MM2_SEQ_H

#include "engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Committed tokens of a sequence; 0 for an id that holds none. */
MM2_API mm2_status mm2_seq_length(const mm2_engine* engine, int32_t seq_id, int32_t* length,
                                  mm2_error* err);

/* Makes `to` share the first `length` tokens of `from`. Nothing is copied: blocks are shared, and a
 * started one is copied when either of the two appends to it. `to` must hold nothing;
 * 0 <= length <= length of `from`. Errors: INVALID_ARGUMENT; KV_EXHAUSTED when all max_seqs are
 * taken. */
MM2_API mm2_status mm2_seq_fork(mm2_engine* engine, int32_t from, int32_t to, int32_t length,
                                mm2_error* err);

/* Forgets every token from position `length` on; 0 <= length <= its length. */
MM2_API mm2_status mm2_seq_truncate(mm2_engine* engine, int32_t seq_id, int32_t length,
                                    mm2_error* err);

/* Forgets the sequence. One that holds nothing is fine. */
MM2_API mm2_status mm2_seq_free(mm2_engine* engine, int32_t seq_id, mm2_error* err);

/* State of the KV pool, for admission and preemption. Any of the outputs may be NULL. */
MM2_API mm2_status mm2_kv_pool(const mm2_engine* engine, int64_t* free_blocks,
                               int64_t* total_blocks, int32_t* block_size, mm2_error* err);

#ifdef __cplusplus
}
#endif
#endif
