// From a conversation to token ids, with the tokenizer.
#include <catch2/catch.hpp>
#include <fstream>
#include <map>

#include "base/json.h"
#include "chat/chat_template.h"
#include "text/tokenizer.h"

using namespace mm2;
using namespace mm2::chat;

namespace {

const std::string kControl[] = {
    "]~!b[", "]~b]", "[e~[", "<think>", "</think>", "<minimax:tool_call>", "</minimax:tool_call>"};

std::map<std::string, Json> by_name(const std::string& path, const char* name) {
  std::map<std::string, Json> out;
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  for (std::string line; std::getline(in, line);) {
    const Json record = Json::parse(line);
    out[record[name].get<std::string>()] = record;
  }
  return out;
}

}  // namespace

TEST_CASE(
    "prompt ids: equal to Hugging Face's where no user text spells a control token, and "
    "ordinary pieces where one does") {
  const auto tokenizer = Tokenizer::load(MM2_TEST_DATA "/text/model_4096", Host{});
  INFO(tokenizer.status().message());
  REQUIRE(tokenizer.ok());
  const auto chat = ChatTemplate::load(
      MM2_TEST_DATA "/chat/templates/minimax_m2.7_official_reconstructed.jinja", Host{});
  REQUIRE(chat.ok());
  const auto conversations = by_name(MM2_TEST_DATA "/chat/conversations.jsonl", "id");
  size_t n_equal = 0, n_spelled = 0;
  for (const auto& [name, golden] :
       by_name(MM2_TEST_DATA "/text/prompt_ids_m2.7.jsonl", "conversation")) {
    Json request = conversations.at(name)["context"];
    request["kwargs"] = Json::object();
    if (request.contains("model_identity")) {
      request["kwargs"]["model_identity"] = request["model_identity"];
    }
    const auto prompt = (*chat)->render(request.dump());
    REQUIRE(prompt.ok());
    const auto ids = encode_prompt(*prompt, **tokenizer);
    REQUIRE(ids.ok());
    size_t n_markup = 0, n_control = 0;
    bool spelled = false;
    for (const Segment& s : prompt->segments) {
      n_markup += s.is_markup;
      for (const std::string& token : kControl) {
        spelled |= !s.is_markup && prompt->slice(s).find(token) != std::string_view::npos;
      }
    }
    for (const int32_t id : *ids) n_control += (*tokenizer)->is_added(id);
    INFO(name);
    CHECK(n_control == n_markup);
    CHECK((*ids == golden["ids"].get<std::vector<int32_t>>()) == !spelled);
    const auto text = (*tokenizer)->decode(*ids, false);
    REQUIRE(text.ok());
    CHECK(*text == prompt->text);
    ++(spelled ? n_spelled : n_equal);
  }
  CHECK(n_equal >= 106);
  CHECK(n_spelled >= 4);
}
