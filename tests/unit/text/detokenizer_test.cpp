#include "text/detokenizer.h"
#include "text/utf8.h"
#include "unit/text/text_support.h"

using namespace mm2;
using namespace text_support;

namespace {

void check_stream(const std::shared_ptr<const Tokenizer>& tokenizer, const Json& record, bool skip,
                  const Json& pieces, const Json& flush) {
  INFO(record["id"] << (skip ? " without special tokens" : ""));
  Detokenizer stream(tokenizer, skip);
  std::vector<std::string> given;
  for (const Json& id : record["ids"]) {
    given.emplace_back();
    REQUIRE(stream.push(id.get<int32_t>(), &given.back()).ok());
  }
  std::string rest;
  stream.flush(&rest);
  CHECK(given == pieces.get<std::vector<std::string>>());
  CHECK(rest == flush.get<std::string>());
}

}  // namespace

TEST_CASE("detokenizer: each id gives the recorded text") {
  const auto tokenizer = load(kModel);
  for (const Json& record : read_lines(kData + "stream.jsonl")) {
    check_stream(tokenizer, record, false, record["pieces"], record["flush"]);
    check_stream(tokenizer, record, true, record.value("pieces_skip_special", record["pieces"]),
                 record.value("flush_skip_special", record["flush"]));
  }
}

TEST_CASE("detokenizer: joined pieces are the decoded text, for all short byte sequences") {
  const auto tokenizer = load(kModel);
  // One byte of every kind that UTF-8 knows, and the neighbours of every border.
  const std::vector<int32_t> kinds = {0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xE0,
                                      0xE1, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
  size_t wrong = 0;
  std::vector<int32_t> ids(4);
  for (size_t n = 0; n < kinds.size() * kinds.size() * kinds.size() * kinds.size(); ++n) {
    for (size_t i = 0, rest = n; i < ids.size(); ++i, rest /= kinds.size())
      ids[i] = kinds[rest % kinds.size()];
    Detokenizer stream(tokenizer, false);
    std::string text;
    for (const int32_t id : ids) {
      REQUIRE(stream.push(id, &text).ok());
      wrong += utf8::valid_prefix(text) != text.size();
    }
    stream.flush(&text);
    wrong += text != decode(*tokenizer, ids);
  }
  CHECK(wrong == 0);
}

TEST_CASE("detokenizer: an id without a token is refused and changes nothing") {
  Detokenizer stream(load(kModel), false);
  std::string text;
  REQUIRE(stream.push(0xE4, &text).ok());
  for (const int32_t id : {-1, 4150, INT32_MAX, INT32_MIN})
    CHECK(stream.push(id, &text).code() == Code::invalid_argument);
  CHECK(text.empty());
  REQUIRE(stream.push(0xB8, &text).ok());
  REQUIRE(stream.push(0xAD, &text).ok());
  CHECK(text == "\xE4\xB8\xAD");
}

TEST_CASE("detokenizer: after a flush the stream begins anew") {
  Detokenizer stream(load(kModel), false);
  std::string text;
  REQUIRE(stream.push(0xE4, &text).ok());
  stream.flush(&text);
  CHECK(text == "\xEF\xBF\xBD");
  REQUIRE(stream.push('a', &text).ok());
  CHECK(text ==
        "\xEF\xBF\xBD"
        "a");
}
