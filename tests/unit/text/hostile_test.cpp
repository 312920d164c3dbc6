#include <random>

#include "text/nfc.h"
#include "text/splitter.h"
#include "text/utf8.h"
#include "unit/text/text_support.h"

using namespace mm2;
using namespace text_support;

namespace {

std::string repeated(std::string_view unit, size_t size) {
  std::string text;
  while (text.size() < size) text += unit;
  return text;
}

// What decoding must give back: the text as the tokenizer sees it.
std::string seen(const std::string& bytes) {
  std::string repaired, buffer;
  utf8::append_repaired(bytes, &repaired);
  return std::string(nfc(repaired, &buffer));
}

// Merges as they are defined, one at a time over the whole piece.
class NaiveBpe {
 public:
  explicit NaiveBpe(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    const Json document = Json::parse(read_file(kModel + "/tokenizer_old_spelling.json"));
    int rank = 0;
    for (const Json& merge : document["model"]["merges"]) ranks_[merge.get<std::string>()] = rank++;
    for (const auto& [spelling, id] : document["model"]["vocab"].items())
      spellings_[id.get<int32_t>()] = spelling;
  }
  std::vector<int32_t> encode(const std::string& piece) const {
    std::vector<int32_t> ids;
    for (const char c : piece) ids.push_back(*tokenizer_.find(std::string(1, c)));
    for (;;) {
      int best_rank = INT32_MAX;
      size_t best = 0;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = ranks_.find(join(spellings_.at(ids[i]), " ", spellings_.at(ids[i + 1])));
        if (found == ranks_.end() || found->second >= best_rank) continue;
        best_rank = found->second;
        best = i;
      }
      if (best_rank == INT32_MAX) return ids;
      const std::string joined =
          std::string(tokenizer_.bytes(ids[best])) + std::string(tokenizer_.bytes(ids[best + 1]));
      ids[best] = *tokenizer_.find(joined);
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
  }

 private:
  const Tokenizer& tokenizer_;
  std::map<std::string, int> ranks_;
  std::map<int32_t, std::string> spellings_;
};

}  // namespace

TEST_CASE("tokenizer: pieces of every length are merged as the definition says") {
  const auto tokenizer = load(kModel);
  const NaiveBpe naive(*tokenizer);
  std::mt19937 random(1);
  for (size_t length = 1; length < 260; length += length < 60 ? 1 : 20) {
    for (const std::string letters : {"aeinrst", "a", "abcdefghijklmnopqrstuvwxyz", "the"}) {
      std::string piece;
      while (piece.size() < length) piece += letters[random() % letters.size()];
      REQUIRE(next_piece(piece, 0) == piece.size());
      INFO(piece);
      CHECK(encode(*tokenizer, piece, true) == naive.encode(piece));
    }
  }
}

TEST_CASE("tokenizer: a piece gives the same ids alone and in a text where it came before") {
  const auto tokenizer = load(kModel);
  std::mt19937 random(4);
  std::string text;
  std::vector<int32_t> expected;
  for (int i = 0; i < 40000; ++i) {
    // Few letters and all lengths around 16, so that pieces come again and nearly equal ones too.
    std::string word = " ";
    for (size_t n = random() % 19; n > 0; --n) word += "aet"[random() % (i % 2 ? 1 : 3)];
    word += "ABC"[random() % 3];
    word += "\n";
    REQUIRE(word.size() < 1000);
    for (const int32_t id : encode(*tokenizer, word, true)) expected.push_back(id);
    text += word;
  }
  CHECK(encode(*tokenizer, text, true) == expected);
}

TEST_CASE("tokenizer: a megabyte of one character or marker comes back") {
  const auto tokenizer = load(kModel);
  for (const char* unit : {"a",
                           "A",
                           " ",
                           "\n",
                           "\r",
                           "!",
                           "/",
                           "<",
                           "</",
                           "7",
                           "'",
                           "'s",
                           "^",
                           "\xCC\x81",
                           "e\xCC\x81",
                           "\xE4\xB8\xAD",
                           "\xE1\x85\xA1",
                           "]~b]",
                           "<think>",
                           "<think",
                           "\x80",
                           "\xF0\x9F"}) {
    const std::string text = repeated(unit, 1 << 20);
    INFO(unit);
    const std::string expected = seen(text);
    const bool same_parsed = decode(*tokenizer, encode(*tokenizer, text, true)) == expected;
    const bool same_plain = decode(*tokenizer, encode(*tokenizer, text, false)) == expected;
    CHECK(same_parsed);
    CHECK(same_plain);
  }
}

TEST_CASE("tokenizer: a long run of marks of changing class is ordered once") {
  const auto tokenizer = load(kModel);
  std::string text = "a";
  text += repeated("\xCC\x81\xCC\xA3\xCC\xA7", 1 << 20);
  CHECK(decode(*tokenizer, encode(*tokenizer, text, true)) == seen(text));
}

TEST_CASE("tokenizer: decode undoes encode for random bytes and random text") {
  const auto tokenizer = load(kModel);
  std::mt19937 random(2);
  const std::vector<std::string> parts = {"<think>",
                                          "]~b]",
                                          "[e~[",
                                          "e",
                                          "\xCC\x81",
                                          " ",
                                          "\n",
                                          "A",
                                          std::string(1, '\0'),
                                          "\xF0\x9F\x98\x80",
                                          "\xE4\xB8\xAD",
                                          "'ll"};
  size_t wrong = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t n = random() % 24; n > 0; --n)
      text += i % 2 ? parts[random() % parts.size()] : std::string(1, static_cast<char>(random()));
    const std::string expected = seen(text);
    wrong += decode(*tokenizer, encode(*tokenizer, text, false)) != expected;
    // An added token ends what NFC looks at, so only texts without one are compared.
    const auto ids = encode(*tokenizer, text, true);
    const bool has_added =
        std::any_of(ids.begin(), ids.end(), [](int32_t id) { return id > 4095; });
    wrong += !has_added && decode(*tokenizer, ids) != expected;
  }
  CHECK(wrong == 0);
}

TEST_CASE("tokenizer: without parse_special no added token comes out of any text") {
  for (const char* file : {"/tokenizer.json", "/tokenizer_normalized_added.json"}) {
    const auto tokenizer = load(kModel + file);
    std::string all;
    for (const AddedToken& token : tokenizer->added_tokens()) {
      all += "x " + token.content;
      CHECK(encode(*tokenizer, token.content, true) == std::vector<int32_t>{token.id});
    }
    const auto ids = encode(*tokenizer, all, false);
    for (const int32_t id : ids) REQUIRE(!tokenizer->is_added(id));
    CHECK(decode(*tokenizer, ids) == all);
  }
}

TEST_CASE("tokenizer: NUL is a character, no text is no ids") {
  const auto tokenizer = load(kModel);
  const std::string text("a\0b", 3);
  CHECK(decode(*tokenizer, encode(*tokenizer, text, true)) == text);
  CHECK(encode(*tokenizer, "", true).empty());
  CHECK(encode(*tokenizer, {}, false).empty());
}

TEST_CASE("tokenizer: a text of 2^31 bytes is refused before it is read") {
  const auto tokenizer = load(kModel);
  std::vector<int32_t> ids = {1};
  const std::string_view huge("x", size_t{1} << 31);
  CHECK(tokenizer->encode(huge, true, &ids).code() == Code::invalid_argument);
  CHECK(ids == std::vector<int32_t>{1});
}

TEST_CASE("tokenizer: every truncation of tokenizer.json is an error") {
  Json document = Json::parse(read_file(kModel + "/tokenizer.json"));
  document["added_tokens"] = Json::array({document["added_tokens"][0]});
  for (size_t id = 4095; id > 300; --id) document["model"]["merges"].erase(id - 256);
  Json vocab = Json::object();
  for (const auto& [token, id] : document["model"]["vocab"].items())
    if (id < 320) vocab[token] = id;
  document["model"]["vocab"] = vocab;
  const std::string text = document.dump();
  REQUIRE(load_memory({{"tokenizer.json", text}}).ok());
  for (size_t n = 0; n < text.size(); ++n) {
    const auto tokenizer = load_memory({{"tokenizer.json", text.substr(0, n)}});
    REQUIRE(tokenizer.status().code() == Code::format);
  }
}

TEST_CASE(
    "tokenizer: changed bytes of tokenizer.json end in an error or in a tokenizer that works") {
  const std::string text = read_file(kModel + "/tokenizer.json");
  std::mt19937 random(3);
  const std::string bytes =
      "\"\\{}[],:0 \x01\xFF"
      "a";
  for (int i = 0; i < 300; ++i) {
    std::string changed = text;
    for (int k = 0; k < 3; ++k) changed[random() % changed.size()] = bytes[random() % bytes.size()];
    const auto tokenizer = load_memory({{"tokenizer.json", changed}});
    if (!tokenizer.ok()) {
      CHECK(!tokenizer.status().message().empty());
      continue;
    }
    const auto ids = encode(**tokenizer, "the quick brown fox <think>", true);
    CHECK((*tokenizer)->decode(ids, false).ok());
  }
}

TEST_CASE("tokenizer: documents that are deep, huge or not JSON are errors") {
  const auto code = [](const std::string& text) {
    return load_memory({{"tokenizer.json", text}}).status().code();
  };
  CHECK(code("") == Code::format);
  CHECK(code("[]") == Code::format);
  CHECK(code("{}") == Code::format);
  CHECK(code("null") == Code::format);
  CHECK(code(R"({"model": {}} x)") == Code::format);
  CHECK(code(R"({"model": {}, "model": {}})") == Code::format);
  CHECK(code(join("{\"model\": ", repeated("[", 100000))) == Code::format);
  CHECK(code(join("{\"model\": ", repeated("{\"a\":", 100000))) == Code::format);
  CHECK(code(join("{\"model\": \"", repeated("x", 10 << 20))) == Code::format);
  CHECK(code("{\"model\": \"\xC0\x80\"}") == Code::format);
  CHECK(code("{\"model\": {\"vocab\": {\"\\ud800\": 1}, \"merges\": []}}") == Code::format);
}
