/* mm2/tokenizer.h: text to token ids and back. A tokenizer is immutable: any number of threads. */
#ifndef MM2_TOKENIZER_H
#define MM2_TOKENIZER_H

#include "host.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mm2_tokenizer mm2_tokenizer;
typedef struct mm2_detokenizer mm2_detokenizer;

/* Flags of encode. Without it the spelling of an added token in the text is ordinary text, which is
 * right for anything that a user wrote. */
#define MM2_PARSE_SPECIAL 1u

/* Flag of decode and of a detokenizer: added tokens marked as special give no text. */
#define MM2_SKIP_SPECIAL 1u

/* Loads a tokenizer.json. path: a checkpoint folder or the file itself. host: NULL = defaults; only
 * its source and log are used. out is owned by the caller. Errors: NOT_FOUND, IO, FORMAT,
 * UNSUPPORTED (another kind of tokenizer), OUT_OF_MEMORY. */
MM2_API mm2_status mm2_tokenizer_load(const char* path, const mm2_host* host, mm2_tokenizer** out,
                                      mm2_error* err);

/* Token ids of a text, in linear time.
 *   text, length  any bytes; bytes that are not UTF-8 count as U+FFFD, one per maximal broken part.
 *                 text may be NULL when length is 0
 *   flags         0 or MM2_PARSE_SPECIAL
 *   ids           becomes [n] int32_t
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. */
MM2_API mm2_status mm2_tokenizer_encode(const mm2_tokenizer* tokenizer, const char* text,
                                        size_t length, uint32_t flags, mm2_buffer* ids,
                                        mm2_error* err);

/* Text of token ids; bytes that do not make whole characters become U+FFFD.
 *   ids, n_ids  may be NULL when n_ids is 0
 *   flags       0 or MM2_SKIP_SPECIAL
 *   text        becomes UTF-8
 * Errors: INVALID_ARGUMENT, also for an id that has no name; OUT_OF_MEMORY. */
MM2_API mm2_status mm2_tokenizer_decode(const mm2_tokenizer* tokenizer, const int32_t* ids,
                                        size_t n_ids, uint32_t flags, mm2_buffer* text,
                                        mm2_error* err);

/* {"type", "normalizer", "n_tokens", "id_end", "n_merges", "stop_ids": [...], "added_tokens":
 * [{"id", "content", "special", ...}]} */
MM2_API mm2_status mm2_tokenizer_describe(const mm2_tokenizer* tokenizer, mm2_buffer* json,
                                          mm2_error* err);

/* *n_tokens becomes the highest id that has a name, plus one. Rows of logits may be wider: see
 * mm2_sampler_options.n_tokens. */
MM2_API mm2_status mm2_tokenizer_n_tokens(const mm2_tokenizer* tokenizer, int32_t* n_tokens,
                                          mm2_error* err);

/* *stop becomes 1 if generation ends at this id (the checkpoint's end-of-turn and end-of-text
 * tokens), else 0; ids without a name are 0. */
MM2_API mm2_status mm2_tokenizer_is_stop(const mm2_tokenizer* tokenizer, int32_t id, int32_t* stop,
                                         mm2_error* err);

/* Streams hold what they need; NULL is fine. */
MM2_API void mm2_tokenizer_destroy(mm2_tokenizer* tokenizer);

/* ---- streaming ----
 * The pieces of a stream, joined, equal mm2_tokenizer_decode of all ids. */

/* flags: 0 or MM2_SKIP_SPECIAL. Owned by the caller; holds the tokenizer. */
MM2_API mm2_status mm2_detokenizer_create(const mm2_tokenizer* tokenizer, uint32_t flags,
                                          mm2_detokenizer** out, mm2_error* err);

/* text becomes what this id completes: whole characters only, often empty. Errors:
 * INVALID_ARGUMENT for an id without a name; the stream is as before. */
MM2_API mm2_status mm2_detokenizer_push(mm2_detokenizer* stream, int32_t id, mm2_buffer* text,
                                        mm2_error* err);

/* text becomes what was held back (U+FFFD for a started character); the stream can be used anew. */
MM2_API mm2_status mm2_detokenizer_flush(mm2_detokenizer* stream, mm2_buffer* text, mm2_error* err);

/* NULL is fine. */
MM2_API void mm2_detokenizer_destroy(mm2_detokenizer* stream);

#ifdef __cplusplus
}
#endif
#endif
