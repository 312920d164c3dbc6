#include "mm2/parser.h"

#include <memory>
#include <utility>

#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/structs.h"
#include "capi/tokenizer.h"
#include "chat/parser.h"

struct mm2_parser {
  std::unique_ptr<mm2::chat::Parser> parser;
};

using namespace mm2::capi;  // NOLINT: this file is the border itself
using mm2::Status;

mm2_status mm2_parser_options_init(mm2_parser_options* options, size_t size) {
  return init_struct(options, size);
}

mm2_status mm2_event_init(mm2_event* event, size_t size) {
  return init_struct(event, size);
}

mm2_status mm2_parser_mode(const char* name, int32_t* mode, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(name, "name"));
    MM2_RETURN_IF_ERROR(need(mode, "mode"));
    MM2_ASSIGN_OR_RETURN(const mm2::chat::ParserMode known, mm2::chat::parser_mode(name));
    *mode = static_cast<int32_t>(known);
    return {};
  });
}

mm2_status mm2_parser_create(const mm2_parser_options* options, mm2_parser** out, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_ASSIGN_OR_RETURN(const mm2_parser_options o, read_struct(options, "options"));
    MM2_RETURN_IF_ERROR(
        need_range("options.mode", o.mode, MM2_PARSER_MINIMAX_M2, MM2_PARSER_MINIMAX_M2_OPTTHINK));
    MM2_RETURN_IF_ERROR(need_range("options.starts_in_think", o.starts_in_think, 0, 1));
    MM2_RETURN_IF_ERROR(need_range("options.reserved", o.reserved, 0, 0));
    mm2::chat::ParserOptions wanted;
    wanted.mode = static_cast<mm2::chat::ParserMode>(o.mode);
    wanted.starts_in_think = o.starts_in_think == 1;
    MM2_ASSIGN_OR_RETURN(wanted.tools_json,
                         need_text(o.tools_json, o.tools_json_length, "options.tools_json"));
    MM2_ASSIGN_OR_RETURN(auto parser, mm2::chat::Parser::create(wanted));
    give(out, std::move(parser));
    return {};
  });
}

mm2_status mm2_parser_push(mm2_parser* parser, const char* bytes, size_t length, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(parser, "parser"));
    MM2_ASSIGN_OR_RETURN(const std::string_view text, need_text(bytes, length, "bytes"));
    return parser->parser->push(text);
  });
}

mm2_status mm2_parser_push_ids(mm2_parser* parser, const mm2_tokenizer* tokenizer,
                               const int32_t* ids, size_t n_ids, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(parser, "parser"));
    MM2_RETURN_IF_ERROR(need(tokenizer, "tokenizer"));
    MM2_ASSIGN_OR_RETURN(const auto given, need_array(ids, n_ids, "ids"));
    return parser->parser->push_ids(tokenizer->tokenizer, given);
  });
}

mm2_status mm2_parser_finish(mm2_parser* parser, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(parser, "parser"));
    return parser->parser->finish();
  });
}

mm2_status mm2_parser_next(mm2_parser* parser, mm2_event* event, mm2_error* err) {
  bool has_event = false;
  const mm2_status status = guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(parser, "parser"));
    MM2_RETURN_IF_ERROR(check_output(event, "event"));
    mm2::chat::Event next;
    has_event = parser->parser->next(next);
    if (!has_event) return {};
    mm2_event filled{};
    filled.kind = static_cast<int32_t>(next.kind);
    filled.call_index = next.call_index;
    filled.incomplete = next.incomplete ? 1 : 0;
    filled.data = next.data.empty() ? "" : next.data.data();
    filled.length = next.data.size();
    write_struct(event, filled);
    return {};
  });
  return status == MM2_OK && !has_event ? MM2_NO_MORE : status;
}

void mm2_parser_reset(mm2_parser* parser) {
  guarded(nullptr, [&]() -> Status {
    if (parser != nullptr) parser->parser->reset();
    return {};
  });
}

void mm2_parser_destroy(mm2_parser* parser) {
  delete parser;
}
