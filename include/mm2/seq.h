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

/* The sequence as bytes: what its keys and values were computed with, its tokens, keys and values,
 * a checksum. 4 bytes and 2 * n_layers * n_kv_heads * head_dim numbers of the KV cache for a token,
 * and about a hundred more. The sequence stays. out: its memory is the C++ heap's. Errors: NOT_FOUND
 * when it holds nothing; OUT_OF_MEMORY. Not during a step. */
MM2_API mm2_status mm2_seq_export(const mm2_engine* engine, int32_t seq_id, mm2_buffer* out,
                                  mm2_error* err);

/* Makes of them a sequence that goes on with the same bits: in this process or another, in an engine
 * of the same model (the weights are compared by a fingerprint), kv_dtype, kv_scales and
 * activations. Blocks, pool and threads may differ, and the ISA as far as logits are the same bits.
 * seq_id must hold nothing; a salt that mm2_prefix_match gave it stays. The checksum finds damage,
 * not intent: import only what you have exported.
 * Errors, each with the engine as it was: FORMAT (damaged, cut, or something else), UNSUPPORTED (of
 * a later version), INVALID_ARGUMENT (of another model or other options), KV_EXHAUSTED. */
MM2_API mm2_status mm2_seq_import(mm2_engine* engine, int32_t seq_id, const void* data, size_t size,
                                  mm2_error* err);

/* State of the KV pool, for admission and preemption: blocks that steps can have (those that only
 * the prefix cache holds among them), blocks in all, tokens of a block. Any output may be NULL. */
MM2_API mm2_status mm2_kv_pool(const mm2_engine* engine, int64_t* free_blocks,
                               int64_t* total_blocks, int32_t* block_size, mm2_error* err);

/* ---- prefix cache ------------------------------------------------------------------------------
 * Sequences that begin with mm2_prefix_match leave their full blocks behind for later ones, until a
 * step needs room: then those go first that were used longest ago. All others are private. */

/* Begins sequence seq_id, which must hold nothing, with the longest cached beginning of a prompt:
 * whole blocks, never all of the prompt, since its last token must run to give logits.
 *   tokens    [n_tokens], the whole prompt, n_tokens at least 1
 *   salt      of the tenant: what was cached under one salt is never found under another
 *   matched   tokens that need no step: the length of the sequence now; the next step continues there
 * The blocks are shared as after mm2_seq_fork; logits are the same bits as without them. The sequence
 * counts towards max_seqs until it is freed, also with 0 tokens matched; forks inherit its salt.
 * On an engine without a prefix cache *matched is 0 and nothing has changed. Allocates nothing.
 * Errors: INVALID_ARGUMENT; KV_EXHAUSTED when all max_seqs are taken. */
MM2_API mm2_status mm2_prefix_match(mm2_engine* engine, int32_t seq_id, const int32_t* tokens,
                                    int32_t n_tokens, uint64_t salt, int32_t* matched,
                                    mm2_error* err);

/* Drops up to n_blocks cached blocks that no sequence holds, those used longest ago first. evicted:
 * how many; may be NULL. Steps do this by themselves when they need room. */
MM2_API mm2_status mm2_prefix_evict(mm2_engine* engine, int64_t n_blocks, int64_t* evicted,
                                    mm2_error* err);

/* Forgets everything cached under *salt, or under all salts with NULL. Sequences go on unchanged,
 * and those of that salt are private from now on. */
MM2_API mm2_status mm2_prefix_clear(mm2_engine* engine, const uint64_t* salt, mm2_error* err);

#ifdef __cplusplus
}
#endif
#endif
