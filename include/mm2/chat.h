/* mm2/chat.h: messages in, prompt out. A chat template is immutable: any number of threads. */
#ifndef MM2_CHAT_H
#define MM2_CHAT_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mm2_chat_template mm2_chat_template;

/* Bounds on one rendering; 0 = the default, which no sensible conversation reaches: 2,000,000 steps,
 * 60 MB (64 with what allocators add), depth 200 (at most that: it takes less than 128 KiB of the
 * calling thread's stack), 256 MB of text. A hostile template ends within about 0.1 s. The native
 * renderer of the M2 family takes one pass over the request and keeps little but its output: of
 * these bounds only max_output_bytes can ever stop it. */
typedef struct mm2_budget {
  uint32_t struct_size;
  uint32_t max_depth;        /* of nested values and template constructs */
  uint64_t max_steps;        /* of a template's interpreter */
  uint64_t max_output_bytes; /* of text */
  uint64_t max_memory_bytes; /* held by values */
} mm2_budget;

/* As mm2_error_init. */
MM2_API mm2_status mm2_budget_init(mm2_budget* budget, size_t size);

/* Loads the chat template of a checkpoint. path: a folder (chat_template.jinja, else
 * tokenizer_config.json) or the template file. Templates of the M2 family are recognised and run
 * natively; every other one runs in a sandboxed Jinja interpreter. host: NULL = defaults; only its
 * source and log are used. out is owned by the caller. Errors: NOT_FOUND, IO, FORMAT. */
MM2_API mm2_status mm2_chat_template_load(const char* path, const mm2_host* host,
                                          mm2_chat_template** out, mm2_error* err);

/* The same from the template's text: `length` bytes of UTF-8. */
MM2_API mm2_status mm2_chat_template_parse(const char* source, size_t length,
                                           mm2_chat_template** out, mm2_error* err);

/* Which renderer this template gets, as JSON: {"renderer": "native", "template": the name of the
 * variant, "file", "identity": its default system sentence, "enable_thinking": what switching it
 * off does}, or {"renderer": "interpreter", "file"} for one that was not recognised. */
MM2_API mm2_status mm2_chat_template_describe(const mm2_chat_template* chat, mm2_buffer* json,
                                              mm2_error* err);

/* Renders a conversation.
 *   tokenizer     NULL: text only, ids must be NULL then
 *   request_json  {"messages": [...], "tools": [...], "add_generation_prompt": bool, "kwargs": {},
 *                 "now": "2026-01-02T03:04:05"}; messages and tools as in the OpenAI chat API, but
 *                 arguments of calls as objects; now is local time, for interpreted templates that
 *                 ask for it. Everything but messages is optional
 *   budget        NULL = defaults
 *   text          becomes the prompt; NULL = not wanted
 *   ids           becomes [n] int32_t; NULL = not wanted. Added tokens come only from the template:
 *                 their spelling inside a message stays ordinary text
 * Errors: FORMAT for broken JSON; INVALID_ARGUMENT for a request that does not fit (the field) or
 * that the template refuses (exactly its own words); BUDGET; OUT_OF_MEMORY. */
MM2_API mm2_status mm2_chat_render(const mm2_chat_template* chat, const mm2_tokenizer* tokenizer,
                                   const char* request_json, size_t length,
                                   const mm2_budget* budget, mm2_buffer* text, mm2_buffer* ids,
                                   mm2_error* err);

/* NULL is fine. */
MM2_API void mm2_chat_template_destroy(mm2_chat_template* chat);

/* Runs a template over any variables, always in the interpreter: what Jinja2 prints in the
 * environment that transformers gives to chat templates.
 *   source        the template, source_length bytes of UTF-8
 *   context_json  the variables, a JSON object
 *   now           local time for strftime_now, "2026-01-02T03:04:05"; NULL = templates do not find
 *                 that name
 *   budget        NULL = defaults
 *   text          becomes the output; NULL = not wanted
 *   failure       where the template is wrong or fails: becomes {"class": Jinja2's or Python's,
 *                 "message": all of it, "line": if known}; otherwise it is emptied. NULL = not
 *                 wanted
 * Errors: FORMAT for broken JSON or a broken template; INVALID_ARGUMENT for a context that is no
 * object, a time that is none, or a template that fails; BUDGET; OUT_OF_MEMORY. Any thread. */
MM2_API mm2_status mm2_jinja_render(const char* source, size_t source_length,
                                    const char* context_json, size_t context_length,
                                    const char* now, const mm2_budget* budget, mm2_buffer* text,
                                    mm2_buffer* failure, mm2_error* err);

#ifdef __cplusplus
}
#endif
#endif
