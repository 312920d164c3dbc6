#include "mm2/chat.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host.h"
#include "capi/structs.h"
#include "capi/tokenizer.h"
#include "chat/chat_template.h"

struct mm2_chat_template {
  std::shared_ptr<const mm2::chat::ChatTemplate> chat;
};

namespace mm2::capi {
namespace {

Result<chat::RenderBudget> read_budget(const mm2_budget* from) {
  MM2_ASSIGN_OR_RETURN(const mm2_budget given, read_struct(from, "budget"));
  chat::RenderBudget budget;
  if (given.max_output_bytes != 0) budget.max_output_bytes = given.max_output_bytes;
  if (given.max_steps != 0) budget.max_steps = given.max_steps;
  if (given.max_memory_bytes != 0) budget.max_memory_bytes = given.max_memory_bytes;
  // Deeper than the default would outgrow the stack that the interpreter was written for.
  if (given.max_depth != 0) budget.max_depth = std::min(given.max_depth, budget.max_depth);
  return budget;
}

std::string json_of(const chat::jinja::Failure& failure) {
  Json out = {{"class", failure.kind}, {"message", failure.message}};
  if (failure.line > 0) out["line"] = failure.line;
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace
}  // namespace mm2::capi

using namespace mm2::capi;  // NOLINT: this file is the border itself
using mm2::Status;

mm2_status mm2_budget_init(mm2_budget* budget, size_t size) {
  return init_struct(budget, size);
}

mm2_status mm2_chat_template_load(const char* path, const mm2_host* host, mm2_chat_template** out,
                                  mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(path, "path"));
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_ASSIGN_OR_RETURN(const mm2::Host services, read_host(host));
    MM2_ASSIGN_OR_RETURN(auto chat, mm2::chat::ChatTemplate::load(path, services));
    give(out, std::move(chat));
    return {};
  });
}

mm2_status mm2_chat_template_parse(const char* source, size_t length, mm2_chat_template** out,
                                   mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_ASSIGN_OR_RETURN(const auto text, need_text(source, length, "source"));
    MM2_ASSIGN_OR_RETURN(auto chat, mm2::chat::ChatTemplate::parse(text, "chat template"));
    give(out, std::move(chat));
    return {};
  });
}

mm2_status mm2_chat_template_describe(const mm2_chat_template* chat, mm2_buffer* json,
                                      mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(chat, "chat"));
    MM2_RETURN_IF_ERROR(need(json, "json"));
    json->bytes = chat->chat->describe();
    return {};
  });
}

mm2_status mm2_chat_render(const mm2_chat_template* chat, const mm2_tokenizer* tokenizer,
                           const char* request_json, size_t length, const mm2_budget* budget,
                           mm2_buffer* text, mm2_buffer* ids, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(chat, "chat"));
    if (ids != nullptr) MM2_RETURN_IF_ERROR(need(tokenizer, "tokenizer, which ids need,"));
    MM2_ASSIGN_OR_RETURN(const auto request, need_text(request_json, length, "request_json"));
    MM2_ASSIGN_OR_RETURN(const auto limits, read_budget(budget));
    MM2_ASSIGN_OR_RETURN(mm2::chat::Prompt prompt, chat->chat->render(request, limits));
    if (ids != nullptr) {
      MM2_ASSIGN_OR_RETURN(const auto encoded,
                           mm2::chat::encode_prompt(prompt, *tokenizer->tokenizer));
      ids->bytes = bytes_of(encoded);
    }
    if (text != nullptr) text->bytes = std::move(prompt.text);
    return {};
  });
}

void mm2_chat_template_destroy(mm2_chat_template* chat) {
  delete chat;
}

mm2_status mm2_jinja_render(const char* source, size_t source_length, const char* context_json,
                            size_t context_length, const char* now, const mm2_budget* budget,
                            mm2_buffer* text, mm2_buffer* failure, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_ASSIGN_OR_RETURN(const auto program, need_text(source, source_length, "source"));
    MM2_ASSIGN_OR_RETURN(const auto context,
                         need_text(context_json, context_length, "context_json"));
    MM2_ASSIGN_OR_RETURN(const auto limits, read_budget(budget));
    std::optional<mm2::chat::jinja::DateTime> time;
    if (now != nullptr) {
      time = mm2::chat::jinja::parse_date_time(now);
      if (!time) {
        return mm2::error(mm2::Code::invalid_argument,
                          "now: local time as in \"2026-01-02T03:04:05\" is needed");
      }
    }
    mm2::chat::jinja::Failure what;
    auto out = mm2::chat::run_template(program, context, time, limits, &what);
    if (failure != nullptr) failure->bytes = what.kind.empty() ? std::string() : json_of(what);
    if (!out.ok()) return out.status();
    if (text != nullptr) text->bytes = *std::move(out);
    return {};
  });
}
