/* mm2/sampler.h: from a row of logits to a token. One sampler per sequence; it knows no engine.
 *
 * The chain, in this order (switched off parts are skipped; a logit of -infinity is never chosen):
 *   1. edit_logits          the host's callback on a private copy; -infinity forbids a token
 *   2. ids >= n_tokens      are forbidden
 *   3. repetition_penalty   r: for tokens of the window, prompt and output: x > 0 ? x / r : x * r
 *   4. frequency_penalty    f: x - f * (how often the token is in the window's output)
 *      presence_penalty     p: x - p for tokens in the window's output
 *   5. biases               x + bias
 *   6. temperature          0: the greatest x, ties to the lower id, and the chain ends here;
 *                           otherwise x / temperature
 *   7. top_k                the k greatest, ties to the lower id
 *   8. top_p                the fewest of those, from the most likely on, that reach this share of
 *                           their probability; at least one
 *   9. min_p                those at least min_p times as likely as the most likely
 *  10. a draw               in proportion to probability
 *
 * Draw i of seed s is u(s, i) in [0, 1): Philox4x32-10 with key s (low word first) and counter
 * (i, 0) as four 32-bit words, low first; the first two outputs (a, b) give
 * ((a * 2^32 + b) >> 11) * 2^-53. i counts successful calls of sample since create, reset or
 * set_seed. The token is the first, by ascending id among those kept, at which the running sum of
 * probabilities exceeds u times their sum. Same options, logits, history and i: the same token. */
#ifndef MM2_SAMPLER_H
#define MM2_SAMPLER_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mm2_sampler mm2_sampler;

typedef struct mm2_logit_bias {
  int32_t token;
  float bias; /* -infinity forbids the token; NaN and +infinity are errors */
} mm2_logit_bias;

/* Which distribution log probabilities are taken from. */
#define MM2_LOGPROBS_RAW 0 /* softmax of the logits as handed to sample, before the chain */
/* softmax after temperature (steps 1 to 6), before the filters; temperature 0 counts as 1 here */
#define MM2_LOGPROBS_PROCESSED 1

typedef struct mm2_sampler_options {
  uint32_t struct_size;
  int32_t top_k;            /* 0 = off */
  float temperature;        /* 0 = greedy; finite, not negative */
  float top_p;              /* 0 or 1 = off; in [0, 1] */
  float min_p;              /* 0 = off; in [0, 1] */
  float repetition_penalty; /* 0 or 1 = off; positive */
  float frequency_penalty;  /* 0 = off; finite */
  float presence_penalty;   /* 0 = off; finite */
  int32_t penalty_window;   /* the last so many accepted tokens count; 0 = all */
  int32_t n_logprobs;       /* most likely tokens reported beside the chosen one; 0 to n_vocab */
  int32_t n_biases;
  int32_t n_tokens; /* ids from here on are never chosen (mm2_tokenizer_n_tokens); 0 = n_vocab */
  const mm2_logit_bias* biases; /* [n_biases], each token once; copied */
  uint64_t seed;                /* 0 is a seed like any other */
  int32_t logprobs;             /* MM2_LOGPROBS_* */
  int32_t reserved;             /* 0 */
  void* user_data;              /* for edit_logits */
  /* logits: [n_vocab] F32 that may be changed in place, borrowed for the call; NULL = none. */
  void (*edit_logits)(void* user_data, float* logits, int32_t n_vocab);
} mm2_sampler_options;

typedef struct mm2_token_logprob {
  int32_t token;
  float logprob; /* natural logarithm */
} mm2_token_logprob;

/* As mm2_error_init. */
MM2_API mm2_status mm2_sampler_options_init(mm2_sampler_options* options, size_t size);

/* Sets temperature, top_k, top_p, min_p and repetition_penalty to what the model's
 * generation_config.json says; a field that the file lacks is left alone. do_sample false gives
 * temperature 0. options must have been initialised. */
MM2_API mm2_status mm2_sampler_options_from_model(const mm2_model* model,
                                                  mm2_sampler_options* options, mm2_error* err);

/* Makes a sampler for rows of n_vocab logits, owned by the caller, with an empty history. options:
 * NULL = greedy. Errors: INVALID_ARGUMENT with the field and its range, OUT_OF_MEMORY. */
MM2_API mm2_status mm2_sampler_create(const mm2_sampler_options* options, int32_t n_vocab,
                                      mm2_sampler** out, mm2_error* err);

/* A copy with the same options, history and draw counter, owned by the caller. */
MM2_API mm2_status mm2_sampler_clone(const mm2_sampler* sampler, mm2_sampler** out, mm2_error* err);

/* Picks a token. It does not enter the history: see accept.
 *   logits  [n_vocab] F32, not changed
 *   token   the id picked
 *   top     [1 + n_logprobs] or NULL: the chosen token, then the most likely ones in falling order,
 *           ties by lower id; entries that do not exist have token -1 and logprob -infinity
 * Errors: NUMERIC when logits hold NaN or +infinity or when no token is left; the sampler is as
 * before then and the draw is not used up. */
MM2_API mm2_status mm2_sampler_sample(mm2_sampler* sampler, const float* logits, int32_t* token,
                                      mm2_token_logprob* top, mm2_error* err);

/* Adds a token of the output to the history, whether it was sampled or forced. Errors:
 * INVALID_ARGUMENT for an id outside [0, n_vocab). */
MM2_API mm2_status mm2_sampler_accept(mm2_sampler* sampler, int32_t token, mm2_error* err);

/* Adds tokens of the prompt to the history: they count for repetition_penalty only. (To have all
 * penalties see the prompt, accept its tokens instead.) All or none are added. */
MM2_API mm2_status mm2_sampler_accept_prompt(mm2_sampler* sampler, const int32_t* tokens,
                                             size_t n_tokens, mm2_error* err);

/* Another seed; the draw counter starts again at 0, the history stays. With clone: several answers
 * to one prompt. */
MM2_API mm2_status mm2_sampler_set_seed(mm2_sampler* sampler, uint64_t seed, mm2_error* err);

/* Empties the history and sets the draw counter to 0. NULL is fine. */
MM2_API void mm2_sampler_reset(mm2_sampler* sampler);

/* NULL is fine. */
MM2_API void mm2_sampler_destroy(mm2_sampler* sampler);

#ifdef __cplusplus
}
#endif
#endif
