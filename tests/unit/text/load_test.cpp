#include <algorithm>

#include "unit/text/text_support.h"

using namespace mm2;
using namespace text_support;

namespace {

// The M2 pipeline over single bytes and four tokens more; small, so that it can be cut everywhere.
Json small_tokenizer() {
  Json document = Json::parse(read_file(kModel + "/tokenizer.json"));
  Json vocab = Json::object();
  for (const auto& [token, id] : document["model"]["vocab"].items())
    if (id < 256) vocab[token] = id;
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  document["model"]["vocab"] = std::move(vocab);
  document["model"]["merges"] = Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"})});
  document["added_tokens"] = {{{"id", 258}, {"content", "<s>"}, {"special", true}},
                              {{"id", 260}, {"content", "[e~["}, {"special", true}},
                              {{"id", 259}, {"content", "<t>"}, {"normalized", false}}};
  for (Json& token : document["added_tokens"]) token["special"] = token["content"] != "<t>";
  return document;
}

Result<std::shared_ptr<const Tokenizer>> load_json(const Json& document) {
  return load_memory({{"tokenizer.json", document.dump()}});
}

std::shared_ptr<const Tokenizer> loaded(const Json& document) {
  auto tokenizer = load_json(document);
  INFO(tokenizer.status().message());
  REQUIRE(tokenizer.ok());
  return *tokenizer;
}

// Loading fails with this code and names all of `words`.
void check_refused(const Json& document, Code code, std::initializer_list<const char*> words) {
  const auto tokenizer = load_json(document);
  INFO(tokenizer.status().message());
  REQUIRE(!tokenizer.ok());
  CHECK(tokenizer.status().code() == code);
  for (const char* word : words)
    CHECK(tokenizer.status().message().find(word) != std::string::npos);
}

}  // namespace

TEST_CASE("tokenizer: knows its tokens, their kinds and its stop ids") {
  const auto tokenizer = load(kModel);
  CHECK(tokenizer->n_tokens() == 4150);
  CHECK(tokenizer->id_end() == 4150);
  CHECK(tokenizer->find("<think>") == 4146);
  CHECK(tokenizer->find("]~b]") == 4115);
  CHECK(!tokenizer->find("no such token"));
  CHECK(tokenizer->bytes(4146) == "<think>");
  CHECK(tokenizer->bytes(0xFF) == "\xFF");
  CHECK(tokenizer->bytes(-1).empty());
  CHECK(tokenizer->is_special(4115));
  CHECK(!tokenizer->is_special(4146));
  CHECK(tokenizer->is_added(4146));
  CHECK(!tokenizer->is_added(4095));
  CHECK(tokenizer->stop_ids() == std::vector<int32_t>{4116});
  CHECK(tokenizer->is_stop(4116));
  CHECK(!tokenizer->is_stop(INT32_MAX));
  for (int32_t id = 0; id < 4096; ++id) REQUIRE(tokenizer->find(tokenizer->bytes(id)) == id);
}

TEST_CASE("tokenizer: describes itself as JSON") {
  const Json description = Json::parse(load(kModel)->describe());
  CHECK(description["normalizer"] == "NFC");
  CHECK(description["n_tokens"] == 4150);
  CHECK(description["n_merges"] == 3840);
  CHECK(description["stop_ids"] == Json::array({4116}));
  CHECK(description["added_tokens"].size() == 54);
  CHECK(description["added_tokens"][50]["content"] == "<think>");
  CHECK(description["added_tokens"][50]["special"] == false);
}

TEST_CASE("tokenizer: stop ids come from both files beside it, else from the family") {
  const std::string file = small_tokenizer().dump();
  const auto stops = [&](std::map<std::string, std::string> files) {
    files["tokenizer.json"] = file;
    auto tokenizer = load_memory(std::move(files));
    INFO(tokenizer.status().message());
    REQUIRE(tokenizer.ok());
    return (*tokenizer)->stop_ids();
  };
  using Ids = std::vector<int32_t>;
  CHECK(stops({}) == Ids{260});
  CHECK(stops({{"generation_config.json", R"({"eos_token_id": 258})"}}) == Ids{258});
  CHECK(stops({{"generation_config.json", R"({"eos_token_id": [260, 258, 258]})"}}) ==
        Ids{258, 260});
  CHECK(stops({{"generation_config.json", R"({"eos_token_id": 200020})"}}).empty());
  CHECK(stops({{"tokenizer_config.json", R"({"eos_token": "<s>"})"}}) == Ids{258});
  CHECK(stops({{"tokenizer_config.json", R"({"eos_token": {"content": "<s>"}})"},
               {"generation_config.json", R"({"eos_token_id": 260})"}}) == Ids{258, 260});
}

TEST_CASE("tokenizer: broken files beside it are errors that name them") {
  const std::string file = small_tokenizer().dump();
  const auto message = [&](const std::string& name, const std::string& text) {
    const auto tokenizer = load_memory({{"tokenizer.json", file}, {name, text}});
    CHECK(tokenizer.status().code() == Code::format);
    return tokenizer.status().message();
  };
  for (const char* text : {"{", "[]", R"({"eos_token_id": "x"})", R"({"eos_token_id": -1})",
                           R"({"eos_token_id": [1.5]})", R"({"eos_token_id": 4294967296})"})
    CHECK(message("generation_config.json", text).find("generation_config") != std::string::npos);
  for (const char* text : {"", R"({"eos_token": 5})", R"({"eos_token": "none"})"})
    CHECK(message("tokenizer_config.json", text).find("tokenizer_config") != std::string::npos);
}

TEST_CASE("tokenizer: a folder without tokenizer.json is not found") {
  CHECK(load_memory({}).status().code() == Code::not_found);
  CHECK(Tokenizer::load(kData + "nowhere", Host{}).status().code() == Code::not_found);
}

TEST_CASE("tokenizer: pipelines of other families are refused by name") {
  const Json good = small_tokenizer();
  loaded(good);
  const auto refused = [&](const char* pointer, Json value,
                           std::initializer_list<const char*> words) {
    Json document = good;
    document[Json::json_pointer(pointer)] = std::move(value);
    check_refused(document, Code::unsupported, words);
  };
  refused("/normalizer", {{"type", "NFKC"}}, {"normalizer", "NFKC"});
  refused("/normalizer", "NFC", {"normalizer"});
  refused("/pre_tokenizer", nullptr, {"pre_tokenizer"});
  refused("/pre_tokenizer", {{"type", "Whitespace"}}, {"pre_tokenizer", "Whitespace"});
  refused("/pre_tokenizer/pretokenizers/0/pattern/Regex", "(a+)+", {"pattern", "(a+)+"});
  refused("/pre_tokenizer/pretokenizers/0/invert", false, {"behavior"});
  refused("/pre_tokenizer/pretokenizers/0/behavior", "MergedWithNext", {"behavior"});
  refused("/pre_tokenizer/pretokenizers/1/use_regex", true, {"use_regex"});
  refused("/pre_tokenizer/pretokenizers/1/add_prefix_space", true, {"add_prefix_space"});
  refused("/model/type", "WordPiece", {"model.type", "WordPiece"});
  refused("/model/dropout", 0.1, {"model.dropout"});
  refused("/model/continuing_subword_prefix", "##", {"continuing_subword_prefix"});
  refused("/model/end_of_word_suffix", "</w>", {"end_of_word_suffix"});
  refused("/decoder", {{"type", "WordPiece"}}, {"decoder"});
  refused("/post_processor", {{"type", "TemplateProcessing"}}, {"post_processor"});
}

TEST_CASE("tokenizer: other spellings of the same pipeline are taken") {
  const std::string text = "caf\x65\xCC\x81 abc 1234";
  const auto expected = encode(*loaded(small_tokenizer()), text, true);
  Json document = small_tokenizer();
  Json& split = document["pre_tokenizer"]["pretokenizers"][0];
  split["behavior"] = "Isolated";
  split["invert"] = false;
  document["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", Json::array({Json::object({{"type", "NFC"}})})}};
  document["model"]["dropout"] = 0.0;
  document["model"].erase("type");
  document["truncation"] = {{"max_length", 4}};
  CHECK(encode(*loaded(document), text, true) == expected);
  document["normalizer"] = nullptr;
  CHECK(encode(*loaded(document), text, true) != expected);
}

TEST_CASE("tokenizer: ignore_merges takes a piece that is a token as it is") {
  Json document = small_tokenizer();
  document["model"]["merges"] = Json::array();
  CHECK(encode(*loaded(document), "abc", true) == std::vector<int32_t>{'a', 'b', 'c'});
  document["model"]["ignore_merges"] = true;
  CHECK(encode(*loaded(document), "abc ab", true) == std::vector<int32_t>{257, ' ', 'a', 'b'});
}

TEST_CASE("tokenizer: a vocabulary that contradicts itself is refused") {
  const Json good = small_tokenizer();
  const auto refused = [&](auto change, std::initializer_list<const char*> words) {
    Json document = good;
    change(document);
    check_refused(document, Code::format, words);
  };
  refused([](Json& d) { d["model"]["vocab"]["zz"] = 256; }, {"vocab", "zz", "256"});
  refused([](Json& d) { d["model"]["vocab"]["zz"] = 2147483648u; }, {"zz", "2147483648"});
  refused([](Json& d) { d["model"]["vocab"]["zz"] = -1; }, {"line 1"});
  refused([](Json& d) { d["model"]["vocab"]["zz"] = 300.5; }, {"integer"});
  refused([](Json& d) { d["model"]["vocab"]["zz"] = "300"; }, {"integer"});
  refused([](Json& d) { d["model"]["vocab"].erase("a"); }, {"no token for byte 97"});
  refused([](Json& d) { d["model"]["vocab"] = Json::object(); }, {"no token for byte 0"});
  refused([](Json& d) { d["model"]["vocab"] = Json::array(); }, {"expected '{'"});
  refused([](Json& d) { d["model"].erase("vocab"); }, {"model.vocab is missing"});
  refused([](Json& d) { d["model"].erase("merges"); }, {"model.merges is missing"});
  refused([](Json& d) { d.erase("model"); }, {"model is missing"});
  refused([](Json& d) { d.erase("pre_tokenizer"); }, {"pre_tokenizer is missing"});
  refused([](Json& d) { d.erase("decoder"); }, {"decoder is missing"});
}

TEST_CASE("tokenizer: merges must join known tokens to a known token") {
  const auto refused = [](Json merge, std::initializer_list<const char*> words) {
    Json document = small_tokenizer();
    document["model"]["merges"].push_back(std::move(merge));
    check_refused(document, Code::format, words);
  };
  refused(Json::array({"a", "zz"}), {"merges[2]", "zz"});
  refused(Json::array({"abc", "abc"}), {"merges[2]", "abcabc", "6 bytes", "3 bytes"});
  refused("zz a", {"merges[2]", "zz"});
  refused("abc", {"not two tokens"});
  refused("a b c", {"merge"});
  refused(Json::array({"a"}), {"expected ','"});
  refused(Json::array({"a", "b", "c"}), {"expected ']'"});
  refused(7, {"expected '\"'"});
  refused(Json::array({"\xE4\xB8\xAD", "a"}), {"does not spell bytes"});
}

TEST_CASE("tokenizer: a token that stands twice in the text of the vocabulary is refused") {
  std::string text = small_tokenizer().dump();
  const std::string wanted = "\"ab\":256";
  REQUIRE(text.find(wanted) != std::string::npos);
  text.replace(text.find(wanted), wanted.size(), "\"ab\":256,\"ab\":300");
  const auto tokenizer = load_memory({{"tokenizer.json", text}});
  CHECK(tokenizer.status().message().find("\"ab\" stands there twice") != std::string::npos);
}

TEST_CASE("tokenizer: added tokens that contradict each other or the vocabulary are refused") {
  const auto refused = [](Json token, std::initializer_list<const char*> words) {
    Json document = small_tokenizer();
    document["added_tokens"].push_back(std::move(token));
    check_refused(document, Code::format, words);
  };
  refused({{"id", 258}, {"content", "<u>"}}, {"added_tokens[3]", "258"});
  refused({{"id", 300}, {"content", "<s>"}}, {"added_tokens[3]", "<s>"});
  refused({{"id", 97}, {"content", "<u>"}}, {"added_tokens[3]", "97", "model.vocab"});
  refused({{"id", 300}, {"content", "abc"}}, {"added_tokens[3]", "257"});
  refused({{"id", -1}, {"content", "<u>"}}, {"added_tokens[3].id"});
  refused({{"id", 2147483648u}, {"content", "<u>"}}, {"added_tokens[3].id", "2147483648"});
  refused({{"id", 300}, {"content", 5}}, {"added_tokens[3].content"});
  refused({{"id", 300}, {"content", "<u>"}, {"special", 1}}, {"added_tokens[3].special"});
  refused(5, {"added_tokens[3]"});
}

TEST_CASE("tokenizer: the order of the members of the file does not matter") {
  const Json document = small_tokenizer();
  Json turned = Json::object(), model = Json::object();
  const Json& old = document["model"];
  std::vector<std::string> names;
  for (const auto& [name, value] : old.items()) names.push_back(name);
  std::reverse(names.begin(), names.end());
  for (const std::string& name : names) model[name] = old[name];
  REQUIRE(names.front() == "merges");
  turned["model"] = std::move(model);
  for (const auto& [name, value] : document.items())
    if (name != "model") turned[name] = value;
  const auto tokenizer = loaded(turned);
  CHECK(encode(*tokenizer, "abc<s>", true) == std::vector<int32_t>{257, 258});
  CHECK(tokenizer->describe() == loaded(document)->describe());
}

TEST_CASE(
    "tokenizer: what is wrong with the vocabulary is told after what is wrong with the pipeline") {
  Json document = small_tokenizer();
  document["model"]["vocab"] = Json::array();
  check_refused(document, Code::format, {"expected '{'", "line"});
  document["model"]["type"] = "Unigram";
  check_refused(document, Code::unsupported, {"model.type", "Unigram"});
}

TEST_CASE("tokenizer: a merge gives the token that is spelled so, not one with the same bytes") {
  Json document = small_tokenizer();
  // U+4E2D spelled as itself stands for no bytes of a text; spelled bytewise it is E4 B8 AD.
  Json& model = document["model"];
  model["vocab"]["\u00e4\u00b8"] = 300;
  model["vocab"]["\u4e2d"] = 301;
  model["vocab"]["\u00e4\u00b8\u0143"] = 302;
  model["merges"].push_back({"\u00e4", "\u00b8"});
  model["merges"].push_back({"\u00e4\u00b8", "\u0143"});
  CHECK(encode(*loaded(document), "\xE4\xB8\xAD", true) == std::vector<int32_t>{302});
}

TEST_CASE("tokenizer: a merge that cannot be is named with its place, wherever it stands") {
  for (const size_t n_before : {0, 1, 254, 255, 256, 700}) {
    Json document = small_tokenizer();
    Json& merges = document["model"]["merges"];
    for (size_t i = 0; i < n_before; ++i) merges.push_back({"a", "b"});
    merges.push_back({"c", "nowhere"});
    merges.push_back({"a", "b"});
    const std::string index = join("merges[", n_before + 2, "]");
    check_refused(document, Code::format, {index.c_str(), "nowhere", "line 1, column"});
  }
}

TEST_CASE("tokenizer: ids without a token are gaps") {
  Json document = small_tokenizer();
  document["added_tokens"].push_back({{"id", 1000}, {"content", "<far>"}, {"special", false}});
  const auto tokenizer = loaded(document);
  CHECK(tokenizer->n_tokens() == 262);
  CHECK(tokenizer->id_end() == 1001);
  CHECK(!tokenizer->has(999));
  CHECK(tokenizer->has(1000));
  const std::vector<int32_t> ids = {'a', 999};
  const auto text = tokenizer->decode(ids, false);
  CHECK(text.status().code() == Code::invalid_argument);
  CHECK(text.status().message().find("999") != std::string::npos);
}

TEST_CASE("tokenizer: lstrip, rstrip and single_word work as in Hugging Face") {
  Json document = small_tokenizer();
  const auto add = [&](int id, const char* content, const char* flag) {
    document["added_tokens"].push_back(
        {{"id", id}, {"content", content}, {"normalized", false}, {flag, true}});
  };
  add(300, "<l>", "lstrip");
  add(301, "<r>", "rstrip");
  add(302, "word", "single_word");
  const auto tokenizer = loaded(document);
  using Ids = std::vector<int32_t>;
  CHECK(encode(*tokenizer, "x \n<l> y", true) == Ids{'x', 300, ' ', 'y'});
  CHECK(encode(*tokenizer, "x <r> \ny", true) == Ids{'x', ' ', 301, 'y'});
  CHECK(encode(*tokenizer, "<r>  <l>", true) == Ids{301, 300});
  CHECK(encode(*tokenizer, "word", true) == Ids{302});
  CHECK(encode(*tokenizer, "-word.", true) == Ids{'-', 302, '.'});
  CHECK(encode(*tokenizer, "wordy", true) == Ids{'w', 'o', 'r', 'd', 'y'});
  CHECK(encode(*tokenizer, "\xC3\xA9word", true).size() == 6);
  CHECK(encode(*tokenizer, "\xC2\xB2word", true).back() == 302);  // a superscript is no word
}
