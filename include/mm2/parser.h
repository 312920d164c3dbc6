/* mm2/parser.h: a model's output in, reasoning, text and tool calls out. Push bytes as they come,
 * pull events; however the bytes are cut, the events join to the same result. Linear time, bounded
 * look-ahead, strings of arguments stream while they arrive. */
#ifndef MM2_PARSER_H
#define MM2_PARSER_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mm2_parser mm2_parser;

#define MM2_PARSER_MINIMAX_M2 0              /* reasoning is told apart from text */
#define MM2_PARSER_MINIMAX_M2_APPEND_THINK 1 /* "<think>" and the whole output are text */
#define MM2_PARSER_MINIMAX_M2_OPTTHINK 2     /* as 0, but all is text unless starts_in_think */

typedef struct mm2_parser_options {
  uint32_t struct_size;
  int32_t mode;            /* MM2_PARSER_* */
  int32_t starts_in_think; /* 1: the prompt ended inside the reasoning, as the M2 templates do */
  int32_t reserved;        /* 0 */
  const char* tools_json;  /* array of tool definitions, for the types of arguments; NULL = none;
                              copied */
  size_t tools_json_length;
} mm2_parser_options;

#define MM2_EVENT_REASONING 1
#define MM2_EVENT_TEXT 2
#define MM2_EVENT_CALL_BEGIN 3     /* data: the tool's name */
#define MM2_EVENT_CALL_ARGUMENTS 4 /* data: a fragment; those of a call join to one JSON object */
#define MM2_EVENT_CALL_END 5 /* the call is complete; one that never gets this is to be dropped */
#define MM2_EVENT_FINISH 6   /* the last one; incomplete 1: the output broke off in a tool block */

/* Filled by the library. */
typedef struct mm2_event {
  uint32_t struct_size;
  int32_t kind;       /* MM2_EVENT_* */
  int32_t call_index; /* of CALL_*: 0, 1, ... in order of appearance; -1 otherwise */
  int32_t incomplete; /* of FINISH */
  const char* data;   /* UTF-8, not NUL-terminated; borrowed until the parser is next called */
  size_t length;
} mm2_event;

/* As mm2_error_init. */
MM2_API mm2_status mm2_parser_options_init(mm2_parser_options* options, size_t size);
MM2_API mm2_status mm2_event_init(mm2_event* event, size_t size);

/* *mode becomes the MM2_PARSER_* that servers know under this name: "minimax_m2", "minimax-m2" or
 * "minimax"; "minimax_m2_append_think" or "minimax-append-think"; "minimax_m2_optthink". Errors:
 * INVALID_ARGUMENT for any other. */
MM2_API mm2_status mm2_parser_mode(const char* name, int32_t* mode, mm2_error* err);

/* options: NULL = all defaults. Owned by the caller. Errors: INVALID_ARGUMENT; FORMAT for
 * tools_json that is not a JSON array (a malformed schema inside is no error: its values stay
 * strings); OUT_OF_MEMORY. */
MM2_API mm2_status mm2_parser_create(const mm2_parser_options* options, mm2_parser** out,
                                     mm2_error* err);

/* Appends output of the model: any bytes, cut anywhere. After finish: INVALID_ARGUMENT. */
MM2_API mm2_status mm2_parser_push(mm2_parser* parser, const char* bytes, size_t length,
                                   mm2_error* err);

/* The same from token ids: their bytes, added tokens included, as mm2_tokenizer_decode gives them
 * for all ids together; a character that is not complete waits for the next ids. `ids` may be NULL
 * when n_ids is 0. Errors: INVALID_ARGUMENT, also for an id that has no name: nothing was taken. */
MM2_API mm2_status mm2_parser_push_ids(mm2_parser* parser, const mm2_tokenizer* tokenizer,
                                       const int32_t* ids, size_t n_ids, mm2_error* err);

/* The output ends here: releases what was held back. A second call: INVALID_ARGUMENT. */
MM2_API mm2_status mm2_parser_finish(mm2_parser* parser, mm2_error* err);

/* The next event; MM2_NO_MORE (err is not filled) when there is none now. event->struct_size must
 * be set. */
MM2_API mm2_status mm2_parser_next(mm2_parser* parser, mm2_event* event, mm2_error* err);

/* Ready for another output with the same options. NULL is fine. */
MM2_API void mm2_parser_reset(mm2_parser* parser);

/* NULL is fine. */
MM2_API void mm2_parser_destroy(mm2_parser* parser);

#ifdef __cplusplus
}
#endif
#endif
