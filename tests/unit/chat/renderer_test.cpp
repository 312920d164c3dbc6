#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <sstream>

#include "base/json.h"
#include "chat/chat_template.h"
#include "chat/document.h"

using namespace mm2;
using namespace mm2::chat;

namespace {

const std::string kData = MM2_TEST_DATA "/chat/";

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<Json> read_lines(const std::string& path) {
  std::vector<Json> out;
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  for (std::string line; std::getline(in, line);) out.push_back(Json::parse(line));
  REQUIRE(!out.empty());
  return out;
}

std::shared_ptr<const ChatTemplate> load(const std::string& path) {
  auto loaded = ChatTemplate::load(path, Host{});
  INFO(path << ": " << loaded.status().message());
  REQUIRE(loaded.ok());
  return *loaded;
}

Document document_of(const std::string& json) {
  auto document = parse_document(json, "test data");
  REQUIRE(document.ok());
  return *std::move(document);
}

// The goldens give template variables flat; a request keeps its own fields apart from them.
std::string request_of(const Value& context) {
  std::string own = "{", kwargs = "{";
  for (size_t i = 0; i < context.keys.size(); ++i) {
    const std::string key(context.keys[i]);
    std::string& to =
        key == "messages" || key == "tools" || key == "add_generation_prompt" ? own : kwargs;
    if (to.size() > 1) to += ", ";
    to += '"' + key + "\": ";
    append_json(to, context.items[i]);
  }
  return own + (own.size() > 1 ? ", " : "") + "\"kwargs\": " + kwargs + "}}";
}
std::string request_of(const Json& context) {
  const std::string text = context.dump();
  return request_of(*document_of(text));
}

const std::vector<std::string> kTemplates = {"minimax_m2_official_reconstructed",
                                             "minimax_m2.1_official_reconstructed",
                                             "minimax_m2.5_official_reconstructed",
                                             "minimax_m2.7_official_reconstructed",
                                             "modelopt_MiniMax-M2.7_train_generation_tags",
                                             "llamacpp_fork_anemll_MiniMax-M2_enable_thinking",
                                             "llamacpp_fork_pwilkin_MiniMax-M2",
                                             "vmlx_minimaxM2Minimal_enable_thinking",
                                             "mm2-tiny"};

std::string template_file(const std::string& name) {
  if (name == "mm2-tiny") return MM2_SOURCE_DIR "/examples/models/mm2-tiny/chat_template.jinja";
  return kData + "templates/" + name + ".jinja";
}

}  // namespace

TEST_CASE("renderer: equals Jinja2 on the 26 renderings of the M2.7 template") {
  const auto chat = load(kData + "templates/minimax_m2.7_official_reconstructed.jinja");
  const Json golden = Json::parse(read_file(kData + "golden_renderings_m2.7.json"));
  REQUIRE(golden["cases"].size() == 26);
  for (const Json& c : golden["cases"]) {
    INFO(c["name"]);
    const auto prompt = chat->render(request_of(c["input"]));
    if (c.contains("error")) {
      REQUIRE_FALSE(prompt.ok());
      CHECK(c["error"].get<std::string>().find(prompt.status().message()) != std::string::npos);
    } else {
      REQUIRE(prompt.ok());
      CHECK(prompt->text == c["expected"].get<std::string>());
    }
  }
}

TEST_CASE("renderer: equals Jinja2 for every template of the family over all conversations") {
  const std::string name =
      GENERATE(as<std::string>{}, "minimax_m2_official_reconstructed",
               "minimax_m2.1_official_reconstructed", "minimax_m2.5_official_reconstructed",
               "minimax_m2.7_official_reconstructed", "modelopt_MiniMax-M2.7_train_generation_tags",
               "llamacpp_fork_anemll_MiniMax-M2_enable_thinking",
               "llamacpp_fork_pwilkin_MiniMax-M2", "vmlx_minimaxM2Minimal_enable_thinking");
  const auto chat = load(template_file(name));
  std::map<std::string, Json> expected;
  for (Json& line : read_lines(kData + "renderings/" + name + ".jsonl")) {
    expected[line["conversation"]] = line;
  }
  const auto conversations = read_lines(kData + "conversations.jsonl");
  REQUIRE(conversations.size() == 131);
  for (const Json& c : conversations) {
    INFO(name << ": " << c["id"]);
    const Json& want = expected.at(c["id"]);
    const auto prompt = chat->render(request_of(c["context"]));
    if (want.contains("error")) {
      CHECK_FALSE(prompt.ok());
      if (want["error"]["class"] == "TemplateError") {
        CHECK(prompt.status().message() == want["error"]["message"].get<std::string>());
      }
    } else {
      INFO(prompt.status().message());
      REQUIRE(prompt.ok());
      CHECK(prompt->text == want["output"].get<std::string>());
    }
  }
}

TEST_CASE("renderer: equals Jinja2 on values that chats rarely hold, for every template") {
  std::map<std::string, std::shared_ptr<const ChatTemplate>> chats;
  for (const std::string& name : kTemplates) chats[name] = load(template_file(name));
  std::ifstream in(kData + "odd_requests.jsonl", std::ios::binary);
  size_t n_compared = 0;
  for (std::string line; std::getline(in, line);) {
    const Document test = document_of(line);
    const std::string request = request_of(*test->find("context"));
    for (const Value& outcome : test->find("expect")->items) {
      for (const Value& name : outcome.find("templates")->items) {
        INFO(test->find("id")->text << " with " << name.text);
        const auto prompt = chats.at(std::string(name.text))->render(request);
        INFO(prompt.status().message());
        ++n_compared;
        if (const Value* raised = outcome.find("error")) {
          CHECK_FALSE(prompt.ok());
          if (raised->find("class")->text == "TemplateError") {
            CHECK(prompt.status().message() == raised->find("message")->text);
          }
        } else {
          REQUIRE(prompt.ok());
          CHECK(prompt->text == outcome.find("output")->text);
        }
      }
    }
  }
  CHECK(n_compared == 400 * kTemplates.size());
}
