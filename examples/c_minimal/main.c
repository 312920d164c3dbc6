/* The C ABI in one page: load a model, tokenize a prompt, generate greedily, print.
 *
 *   c_minimal examples/models/mm2-tiny "The capital of Japan is" */
#include <mm2/mm2.h>
#include <stdio.h>
#include <stdlib.h>

enum { kMaxTokens = 48 };

static mm2_error err = {.struct_size = sizeof err};

/* Ends the program unless the call before it succeeded. */
static void check(mm2_status status, const char* doing) {
  if (status == MM2_OK) return;
  fprintf(stderr, "c_minimal: %s: %s\n", doing, err.message);
  exit(1);
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "examples/models/mm2-tiny";
  const char* prompt = argc > 2 ? argv[2] : "The capital of Japan is";
  size_t prompt_length = 0;
  while (prompt[prompt_length] != '\0') ++prompt_length;

  mm2_model* model = NULL;
  mm2_engine* engine = NULL;
  mm2_tokenizer* tokenizer = NULL;
  mm2_detokenizer* stream = NULL;
  mm2_sampler* sampler = NULL;
  mm2_buffer *ids = NULL, *text = NULL;
  check(mm2_buffer_create(&ids, &err), "making a buffer");
  check(mm2_buffer_create(&text, &err), "making a buffer");
  check(mm2_model_load(path, NULL, &model, &err), "loading the model");
  check(mm2_tokenizer_load(path, NULL, &tokenizer, &err), "loading the tokenizer");
  check(mm2_detokenizer_create(tokenizer, 0, &stream, &err), "starting a stream");

  const mm2_engine_options options = {.struct_size = sizeof options, .max_seqs = 1};
  check(mm2_engine_create(model, &options, &engine, &err), "making an engine");
  mm2_model_info info = {.struct_size = sizeof info};
  check(mm2_model_get_info(model, &info, &err), "reading the model's shape");
  mm2_sampler_options greedy = {.struct_size = sizeof greedy};
  check(mm2_tokenizer_n_tokens(tokenizer, &greedy.n_tokens, &err), "reading the tokenizer's size");
  check(mm2_sampler_create(&greedy, info.n_vocab, &sampler, &err), "making a sampler");
  float* logits = malloc((size_t)info.n_vocab * sizeof *logits);
  if (logits == NULL) return 1;

  check(mm2_tokenizer_encode(tokenizer, prompt, prompt_length, 0, ids, &err), "tokenizing");
  /* The first step takes the whole prompt, every later one the token that was just picked. */
  const int32_t* tokens = mm2_buffer_data(ids);
  int32_t n_tokens = (int32_t)(mm2_buffer_size(ids) / sizeof *tokens);
  int32_t position = 0, next = 0, stop = 0;
  printf("%s", prompt);
  for (int i = 0; i < kMaxTokens; ++i) {
    const mm2_seq_rows row = {0, position, n_tokens, 1};
    const mm2_batch batch = {.struct_size = sizeof batch,
                             .n_seqs = 1,
                             .seqs = &row,
                             .tokens = tokens,
                             .n_tokens = n_tokens};
    check(mm2_engine_step(engine, &batch, logits, (size_t)info.n_vocab, NULL, &err), "computing");
    check(mm2_sampler_sample(sampler, logits, &next, NULL, &err), "sampling");
    check(mm2_tokenizer_is_stop(tokenizer, next, &stop, &err), "asking for stop tokens");
    if (stop) break;
    check(mm2_detokenizer_push(stream, next, text, &err), "detokenizing");
    fwrite(mm2_buffer_data(text), 1, mm2_buffer_size(text), stdout);
    fflush(stdout);
    position += n_tokens;
    tokens = &next;
    n_tokens = 1;
  }
  printf("\n");

  free(logits);
  mm2_sampler_destroy(sampler);
  mm2_engine_destroy(engine);
  mm2_detokenizer_destroy(stream);
  mm2_tokenizer_destroy(tokenizer);
  mm2_model_destroy(model);
  mm2_buffer_destroy(text);
  mm2_buffer_destroy(ids);
  return 0;
}
