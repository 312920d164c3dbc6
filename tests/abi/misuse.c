/* Calls every function of the ABI with nothing and with garbage. Prints nothing, as the library
 * must not either: the number of the first line whose claim is false goes into the file argv[1]. */
#include <stdio.h>
#include <string.h>

#include "mm2/mm2.h"

static const char* report_path;
static int n_failures;

static void claim(int holds, int line) {
  FILE* report;
  if (holds || n_failures++ > 0) return;
  report = fopen(report_path, "w");
  if (report == NULL) return;
  fprintf(report, "misuse.c:%d\n", line);
  fclose(report);
}

#define CLAIM(condition) claim(condition, __LINE__)

/* A call that must be refused, with a message, and again without anywhere to put it. */
#define REFUSED(with_err, without_err)                                                  \
  do {                                                                                  \
    mm2_error_init(&err, sizeof err);                                                   \
    CLAIM((with_err) == MM2_E_INVALID_ARGUMENT && err.code == MM2_E_INVALID_ARGUMENT && \
          err.message[0] != '\0');                                                      \
    CLAIM((without_err) == MM2_E_INVALID_ARGUMENT);                                     \
  } while (0)

static mm2_error err;
static mm2_buffer* buffer;
static char garbage[4096]; /* no struct starts with a size like this */

static void refuse_inits(void) {
  char room[64];
  mm2_status (*const inits[])(void*, size_t) = {
      (mm2_status(*)(void*, size_t))mm2_error_init,
      (mm2_status(*)(void*, size_t))mm2_allocator_init,
      (mm2_status(*)(void*, size_t))mm2_executor_init,
      (mm2_status(*)(void*, size_t))mm2_log_init,
      (mm2_status(*)(void*, size_t))mm2_source_init,
      (mm2_status(*)(void*, size_t))mm2_host_init,
      (mm2_status(*)(void*, size_t))mm2_model_options_init,
      (mm2_status(*)(void*, size_t))mm2_model_info_init,
      (mm2_status(*)(void*, size_t))mm2_engine_options_init,
      (mm2_status(*)(void*, size_t))mm2_engine_info_init,
      (mm2_status(*)(void*, size_t))mm2_memory_init,
      (mm2_status(*)(void*, size_t))mm2_batch_init,
      (mm2_status(*)(void*, size_t))mm2_sampler_options_init,
      (mm2_status(*)(void*, size_t))mm2_budget_init,
      (mm2_status(*)(void*, size_t))mm2_parser_options_init,
      (mm2_status(*)(void*, size_t))mm2_event_init};
  size_t i;
  for (i = 0; i < sizeof inits / sizeof inits[0]; i++) {
    uint32_t struct_size = 0;
    CLAIM(inits[i](NULL, 64) == MM2_E_INVALID_ARGUMENT);
    CLAIM(inits[i](room, 3) == MM2_E_INVALID_ARGUMENT);
    CLAIM(inits[i](room, 4097) == MM2_E_INVALID_ARGUMENT);
    memset(room, 7, sizeof room);
    CLAIM(inits[i](room, 32) == MM2_OK);
    memcpy(&struct_size, room, sizeof struct_size);
    CLAIM(struct_size == 32 && room[4] == 0 && room[31] == 0 && room[32] == 7);
  }
}

static void refuse_status(void) {
  CLAIM(mm2_abi_version() == MM2_ABI_VERSION);
  CLAIM(mm2_version_string()[0] != '\0');
  CLAIM(strcmp(mm2_status_name(MM2_E_FORMAT), "MM2_E_FORMAT") == 0);
  CLAIM(strcmp(mm2_status_name(12345), "unknown status") == 0);
  REFUSED(mm2_buffer_create(NULL, &err), mm2_buffer_create(NULL, NULL));
  CLAIM(mm2_buffer_data(NULL) == NULL);
  CLAIM(mm2_buffer_size(NULL) == 0);
  mm2_buffer_clear(NULL);
  mm2_buffer_destroy(NULL);
  REFUSED(mm2_build_info(NULL, &err), mm2_build_info(NULL, NULL));
  REFUSED(mm2_system_info(NULL, &err), mm2_system_info(NULL, NULL));
  CLAIM(mm2_build_info(buffer, NULL) == MM2_OK && mm2_buffer_size(buffer) > 2);
  CLAIM(mm2_system_info(buffer, NULL) == MM2_OK && mm2_buffer_size(buffer) > 2);
  CLAIM(((const char*)mm2_buffer_data(buffer))[mm2_buffer_size(buffer)] == '\0');
}

static void refuse_model(void) {
  mm2_model* const untouched = (mm2_model*)garbage;
  mm2_model* model = untouched;
  mm2_model_info info;
  const mm2_model_options* bad = (const mm2_model_options*)garbage;
  mm2_model_info_init(&info, sizeof info);
  REFUSED(mm2_model_load(NULL, NULL, &model, &err), mm2_model_load(NULL, NULL, &model, NULL));
  REFUSED(mm2_model_load("nowhere", NULL, NULL, &err), mm2_model_load("nowhere", NULL, NULL, NULL));
  REFUSED(mm2_model_load("nowhere", bad, &model, &err),
          mm2_model_load("nowhere", bad, &model, NULL));
  CLAIM(mm2_model_load("no/such/folder", NULL, &model, &err) == MM2_E_NOT_FOUND);
  CLAIM(strstr(err.message, "no/such/folder") != NULL);
  CLAIM(mm2_model_load("", NULL, &model, &err) != MM2_OK);
  CLAIM(model == untouched);
  REFUSED(mm2_model_get_info(NULL, &info, &err), mm2_model_get_info(NULL, NULL, NULL));
  REFUSED(mm2_model_describe(NULL, buffer, &err), mm2_model_describe(NULL, NULL, NULL));
  mm2_model_destroy(NULL);
}

static void refuse_engine(void) {
  mm2_engine* engine = NULL;
  mm2_memory memory;
  mm2_engine_info info;
  mm2_batch batch;
  mm2_memory_init(&memory, sizeof memory);
  mm2_engine_info_init(&info, sizeof info);
  mm2_batch_init(&batch, sizeof batch);
  REFUSED(mm2_engine_estimate(NULL, NULL, &memory, &err),
          mm2_engine_estimate(NULL, NULL, NULL, NULL));
  REFUSED(mm2_engine_create(NULL, NULL, &engine, &err), mm2_engine_create(NULL, NULL, NULL, NULL));
  REFUSED(mm2_engine_get_info(NULL, &info, &err), mm2_engine_get_info(NULL, NULL, NULL));
  REFUSED(mm2_engine_get_memory(NULL, &memory, &err), mm2_engine_get_memory(NULL, NULL, NULL));
  REFUSED(mm2_engine_step(NULL, &batch, NULL, 0, NULL, &err),
          mm2_engine_step(NULL, NULL, NULL, 0, NULL, NULL));
  REFUSED(mm2_engine_get_stats(NULL, buffer, &err), mm2_engine_get_stats(NULL, NULL, NULL));
  mm2_engine_interrupt(NULL);
  mm2_engine_clear_interrupt(NULL);
  mm2_engine_destroy(NULL);
}

static void refuse_seq(void) {
  int32_t n = 0;
  REFUSED(mm2_seq_length(NULL, 0, &n, &err), mm2_seq_length(NULL, 0, NULL, NULL));
  REFUSED(mm2_seq_fork(NULL, 0, 1, 0, &err), mm2_seq_fork(NULL, 0, 1, 0, NULL));
  REFUSED(mm2_seq_truncate(NULL, 0, 0, &err), mm2_seq_truncate(NULL, 0, 0, NULL));
  REFUSED(mm2_seq_free(NULL, 0, &err), mm2_seq_free(NULL, 0, NULL));
  REFUSED(mm2_kv_pool(NULL, NULL, NULL, &n, &err), mm2_kv_pool(NULL, NULL, NULL, NULL, NULL));
  REFUSED(mm2_seq_export(NULL, 0, NULL, &err), mm2_seq_export(NULL, 0, NULL, NULL));
  REFUSED(mm2_seq_import(NULL, 0, NULL, 0, &err), mm2_seq_import(NULL, 0, NULL, 0, NULL));
  REFUSED(mm2_prefix_match(NULL, 0, &n, 1, 0, &n, &err),
          mm2_prefix_match(NULL, 0, NULL, 0, 0, NULL, NULL));
  REFUSED(mm2_prefix_evict(NULL, 1, NULL, &err), mm2_prefix_evict(NULL, 1, NULL, NULL));
  REFUSED(mm2_prefix_clear(NULL, NULL, &err), mm2_prefix_clear(NULL, NULL, NULL));
}

static void refuse_sampler(void) {
  mm2_sampler* sampler = NULL;
  mm2_sampler* copy = NULL;
  mm2_sampler_options options;
  const mm2_sampler_options* bad = (const mm2_sampler_options*)garbage;
  const float logits[3] = {1, 3, 2};
  const int32_t prompt[2] = {0, 3};
  int32_t token = -1;
  mm2_sampler_options_init(&options, sizeof options);
  REFUSED(mm2_sampler_options_from_model(NULL, &options, &err),
          mm2_sampler_options_from_model(NULL, NULL, NULL));
  REFUSED(mm2_sampler_create(NULL, 3, NULL, &err), mm2_sampler_create(NULL, 3, NULL, NULL));
  REFUSED(mm2_sampler_create(NULL, 0, &sampler, &err),
          mm2_sampler_create(NULL, -1, &sampler, NULL));
  REFUSED(mm2_sampler_create(bad, 3, &sampler, &err), mm2_sampler_create(bad, 3, &sampler, NULL));
  options.n_biases = 2;
  REFUSED(mm2_sampler_create(&options, 3, &sampler, &err),
          mm2_sampler_create(&options, 3, &sampler, NULL));
  options.n_biases = 0;
  options.reserved = 1;
  REFUSED(mm2_sampler_create(&options, 3, &sampler, &err),
          mm2_sampler_create(&options, 3, &sampler, NULL));
  CLAIM(sampler == NULL);
  CLAIM(mm2_sampler_create(NULL, 3, &sampler, &err) == MM2_OK);
  REFUSED(mm2_sampler_clone(NULL, &copy, &err), mm2_sampler_clone(sampler, NULL, NULL));
  REFUSED(mm2_sampler_sample(NULL, logits, &token, NULL, &err),
          mm2_sampler_sample(sampler, NULL, &token, NULL, NULL));
  REFUSED(mm2_sampler_sample(sampler, logits, NULL, NULL, &err),
          mm2_sampler_sample(NULL, NULL, NULL, NULL, NULL));
  REFUSED(mm2_sampler_accept(NULL, 0, &err), mm2_sampler_accept(sampler, 3, NULL));
  REFUSED(mm2_sampler_accept_prompt(NULL, prompt, 2, &err),
          mm2_sampler_accept_prompt(sampler, NULL, 2, NULL));
  REFUSED(mm2_sampler_accept_prompt(sampler, prompt, 2, &err),
          mm2_sampler_accept_prompt(sampler, prompt, SIZE_MAX, NULL));
  REFUSED(mm2_sampler_set_seed(NULL, 1, &err), mm2_sampler_set_seed(NULL, 1, NULL));
  CLAIM(mm2_sampler_sample(sampler, logits, &token, NULL, &err) == MM2_OK && token == 1);
  mm2_sampler_reset(NULL);
  mm2_sampler_destroy(NULL);
  mm2_sampler_destroy(sampler);
}

static void refuse_tokenizer(void) {
  mm2_tokenizer* tokenizer = NULL;
  mm2_detokenizer* stream = NULL;
  const int32_t id = 0;
  int32_t n = 0;
  REFUSED(mm2_tokenizer_load(NULL, NULL, &tokenizer, &err),
          mm2_tokenizer_load("x", NULL, NULL, NULL));
  REFUSED(mm2_tokenizer_load("x", (const mm2_host*)garbage, &tokenizer, &err),
          mm2_tokenizer_load("x", (const mm2_host*)garbage, &tokenizer, NULL));
  CLAIM(mm2_tokenizer_load("no/such/folder", NULL, &tokenizer, &err) == MM2_E_NOT_FOUND);
  CLAIM(tokenizer == NULL);
  REFUSED(mm2_tokenizer_encode(NULL, "a", 1, 0, buffer, &err),
          mm2_tokenizer_encode(NULL, NULL, 0, 0, NULL, NULL));
  REFUSED(mm2_tokenizer_decode(NULL, &id, 1, 0, buffer, &err),
          mm2_tokenizer_decode(NULL, NULL, 0, 0, NULL, NULL));
  REFUSED(mm2_tokenizer_describe(NULL, buffer, &err), mm2_tokenizer_describe(NULL, NULL, NULL));
  REFUSED(mm2_tokenizer_n_tokens(NULL, &n, &err), mm2_tokenizer_n_tokens(NULL, NULL, NULL));
  REFUSED(mm2_tokenizer_is_stop(NULL, 0, &n, &err), mm2_tokenizer_is_stop(NULL, 0, NULL, NULL));
  mm2_tokenizer_destroy(NULL);
  REFUSED(mm2_detokenizer_create(NULL, 0, &stream, &err),
          mm2_detokenizer_create(NULL, 0, NULL, NULL));
  REFUSED(mm2_detokenizer_push(NULL, 0, buffer, &err), mm2_detokenizer_push(NULL, 0, NULL, NULL));
  REFUSED(mm2_detokenizer_flush(NULL, buffer, &err), mm2_detokenizer_flush(NULL, NULL, NULL));
  mm2_detokenizer_destroy(NULL);
}

static void refuse_chat(void) {
  mm2_chat_template* chat = NULL;
  REFUSED(mm2_chat_template_load(NULL, NULL, &chat, &err),
          mm2_chat_template_load("x", NULL, NULL, NULL));
  CLAIM(mm2_chat_template_load("no/such/folder", NULL, &chat, &err) == MM2_E_NOT_FOUND);
  REFUSED(mm2_chat_template_parse(NULL, 5, &chat, &err),
          mm2_chat_template_parse("x", 1, NULL, NULL));
  REFUSED(mm2_chat_template_parse("x", SIZE_MAX, &chat, &err),
          mm2_chat_template_parse(NULL, SIZE_MAX, &chat, NULL));
  CLAIM(chat == NULL);
  REFUSED(mm2_chat_render(NULL, NULL, "{}", 2, NULL, buffer, NULL, &err),
          mm2_chat_render(NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL));
  REFUSED(mm2_chat_template_describe(NULL, buffer, &err),
          mm2_chat_template_describe(NULL, NULL, NULL));
  mm2_chat_template_destroy(NULL);
  REFUSED(mm2_jinja_render(NULL, 1, "{}", 2, NULL, NULL, buffer, NULL, &err),
          mm2_jinja_render("x", 1, NULL, 2, NULL, NULL, NULL, NULL, NULL));
  REFUSED(mm2_jinja_render("x", SIZE_MAX, "{}", 2, NULL, NULL, buffer, buffer, &err),
          mm2_jinja_render("x", 1, "{}", SIZE_MAX, NULL, NULL, buffer, buffer, NULL));
  REFUSED(mm2_jinja_render("x", 1, "{}", 2, "noon", NULL, buffer, NULL, &err),
          mm2_jinja_render("x", 1, "[]", 2, NULL, NULL, buffer, NULL, NULL));
  REFUSED(mm2_jinja_render("x", 1, "{}", 2, NULL, (const mm2_budget*)garbage, buffer, NULL, &err),
          mm2_jinja_render("x", 1, "{}", 2, NULL, (const mm2_budget*)garbage, buffer, NULL, NULL));
  CLAIM(mm2_jinja_render("{{", 2, "{}", 2, NULL, NULL, NULL, NULL, NULL) == MM2_E_FORMAT);
  CLAIM(mm2_jinja_render("x", 1, "{}", 2, NULL, NULL, NULL, NULL, NULL) == MM2_OK);
}

static void refuse_parser(void) {
  mm2_parser* parser = NULL;
  mm2_parser_options options;
  mm2_event event;
  mm2_event_init(&event, sizeof event);
  mm2_parser_options_init(&options, sizeof options);
  REFUSED(mm2_parser_create(NULL, NULL, &err), mm2_parser_create(NULL, NULL, NULL));
  REFUSED(mm2_parser_create((const mm2_parser_options*)garbage, &parser, &err),
          mm2_parser_create((const mm2_parser_options*)garbage, &parser, NULL));
  options.mode = 99;
  REFUSED(mm2_parser_create(&options, &parser, &err), mm2_parser_create(&options, &parser, NULL));
  options.mode = 0;
  options.tools_json_length = 4;
  REFUSED(mm2_parser_create(&options, &parser, &err), mm2_parser_create(&options, &parser, NULL));
  options.tools_json = "[}]}";
  CLAIM(mm2_parser_create(&options, &parser, &err) == MM2_E_FORMAT);
  CLAIM(parser == NULL);
  CLAIM(mm2_parser_create(NULL, &parser, &err) == MM2_OK);
  REFUSED(mm2_parser_push(NULL, "a", 1, &err), mm2_parser_push(parser, NULL, 1, NULL));
  REFUSED(mm2_parser_push_ids(NULL, NULL, NULL, 0, &err),
          mm2_parser_push_ids(parser, NULL, NULL, 0, NULL));
  REFUSED(mm2_parser_mode(NULL, &options.mode, &err), mm2_parser_mode("minimax", NULL, NULL));
  REFUSED(mm2_parser_mode("hermes", &options.mode, &err), mm2_parser_mode("", &options.mode, NULL));
  REFUSED(mm2_parser_next(NULL, &event, &err), mm2_parser_next(parser, NULL, NULL));
  event.struct_size = 0;
  REFUSED(mm2_parser_next(parser, &event, &err),
          mm2_parser_next(parser, (mm2_event*)garbage, NULL));
  mm2_event_init(&event, sizeof event);
  CLAIM(mm2_parser_next(parser, &event, &err) == MM2_NO_MORE && event.kind == 0);
  REFUSED(mm2_parser_finish(NULL, &err), mm2_parser_finish(NULL, NULL));
  CLAIM(mm2_parser_finish(parser, &err) == MM2_OK);
  REFUSED(mm2_parser_push(parser, "a", 1, &err), mm2_parser_finish(parser, NULL));
  mm2_parser_reset(NULL);
  mm2_parser_destroy(NULL);
  mm2_parser_destroy(parser);
}

static void refuse_tools(void) {
  REFUSED(mm2_tool_run(NULL, "{}", 2, NULL, buffer, &err),
          mm2_tool_run("inspect", "{}", 2, NULL, NULL, NULL));
  REFUSED(mm2_tool_run("inspect", NULL, 2, NULL, buffer, &err),
          mm2_tool_run("inspect", "{}", SIZE_MAX, NULL, buffer, NULL));
  CLAIM(mm2_tool_run("no-such-verb", "{}", 2, NULL, buffer, &err) == MM2_E_NOT_FOUND);
  CLAIM(mm2_tool_run("inspect", "{", 1, NULL, buffer, &err) != MM2_OK);
}

/* An error struct of any size gets what it has room for. */
static void fill_errors(void) {
  size_t size;
  for (size = 0; size <= sizeof(mm2_error) + 8; size++) {
    char room[sizeof(mm2_error) + 16];
    const uint32_t struct_size = (uint32_t)size;
    mm2_error* e = (mm2_error*)(void*)room;
    memset(room, 0x55, sizeof room);
    memcpy(room, &struct_size, sizeof struct_size);
    CLAIM(mm2_buffer_create(NULL, e) == MM2_E_INVALID_ARGUMENT);
    CLAIM(memcmp(room, &struct_size, sizeof struct_size) == 0);
    CLAIM(room[size < 4 ? 4 : size] == 0x55);
    if (size >= 8) CLAIM(e->code == MM2_E_INVALID_ARGUMENT);
    if (size > 16) CLAIM(memchr(e->message, '\0', size - 16) != NULL);
  }
  CLAIM(mm2_buffer_create(NULL, (mm2_error*)garbage) == MM2_E_INVALID_ARGUMENT);
  CLAIM(garbage[0] == (char)0xA5 && garbage[4095] == (char)0xA5);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  report_path = argv[1];
  memset(garbage, 0xA5, sizeof garbage);
  mm2_error_init(&err, sizeof err);
  CLAIM(mm2_buffer_create(&buffer, &err) == MM2_OK);
  refuse_inits();
  refuse_status();
  refuse_model();
  refuse_engine();
  refuse_seq();
  refuse_sampler();
  refuse_tokenizer();
  refuse_chat();
  refuse_parser();
  refuse_tools();
  fill_errors();
  mm2_buffer_destroy(buffer);
  return n_failures == 0 ? 0 : 1;
}
