/* Decoding in C, for tests/bench/python_overhead.py: the same calls as its Python loops make. */
#include <time.h>

#include "mm2/mm2.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Appends n_steps greedy tokens to a sequence of `position` tokens, the first of them `token`. Seconds,
 * or -1 after a failure. what: 0 = steps alone, with one fixed token; 1 = and sampling; 2 = and text. */
MM2_API double decode(mm2_engine* engine, const mm2_tokenizer* tokenizer, int32_t n_vocab,
                      int32_t seq, int32_t position, int32_t token, int32_t n_steps, int32_t what,
                      float* logits) {
  mm2_error err = {.struct_size = sizeof err};
  mm2_sampler* sampler = NULL;
  mm2_detokenizer* text = NULL;
  mm2_buffer* piece = NULL;
  int failed = mm2_sampler_create(NULL, n_vocab, &sampler, &err) ||
               mm2_detokenizer_create(tokenizer, 0, &text, &err) || mm2_buffer_create(&piece, &err);
  const double begin = now();
  for (int32_t i = 0; i < n_steps && !failed; ++i) {
    mm2_seq_rows row = {
        .seq_id = seq, .first_position = position + i, .n_tokens = 1, .n_outputs = 1};
    mm2_batch batch = {
        .struct_size = sizeof batch, .n_seqs = 1, .seqs = &row, .tokens = &token, .n_tokens = 1};
    failed = mm2_engine_step(engine, &batch, logits, (size_t)n_vocab, NULL, &err);
    if (what >= 1 && !failed)
      failed = mm2_sampler_sample(sampler, logits, &token, NULL, &err) ||
               mm2_sampler_accept(sampler, token, &err);
    if (what >= 2 && !failed) failed = mm2_detokenizer_push(text, token, piece, &err);
  }
  const double seconds = now() - begin;
  mm2_buffer_destroy(piece);
  mm2_detokenizer_destroy(text);
  mm2_sampler_destroy(sampler);
  return failed ? -1 : seconds;
}

/* The same on handles of its own, so that Python needs to hold none. */
typedef struct bench {
  mm2_model* model;
  mm2_engine* engine;
  mm2_tokenizer* tokenizer;
} bench;

MM2_API int bench_open(bench* b, const char* path, int32_t n_threads) {
  mm2_error err = {.struct_size = sizeof err};
  mm2_engine_options options = {
      .struct_size = sizeof options, .n_threads = n_threads, .prefix_cache = MM2_NO};
  return mm2_model_load(path, NULL, &b->model, &err) ||
         mm2_engine_create(b->model, &options, &b->engine, &err) ||
         mm2_tokenizer_load(path, NULL, &b->tokenizer, &err);
}

MM2_API int bench_prompt(bench* b, const int32_t* ids, int32_t n) {
  mm2_error err = {.struct_size = sizeof err};
  mm2_seq_rows row = {.seq_id = 0, .first_position = 0, .n_tokens = n, .n_outputs = 0};
  mm2_batch batch = {
      .struct_size = sizeof batch, .n_seqs = 1, .seqs = &row, .tokens = ids, .n_tokens = n};
  return mm2_seq_free(b->engine, 0, &err) ||
         mm2_engine_step(b->engine, &batch, NULL, 0, NULL, &err);
}

MM2_API double bench_decode(bench* b, int32_t n_vocab, int32_t position, int32_t token,
                            int32_t n_steps, int32_t what, float* logits) {
  return decode(b->engine, b->tokenizer, n_vocab, 0, position, token, n_steps, what, logits);
}
