// Every code point in 24 contexts against digests of what Hugging Face tokenizers gives
// (tests/data/text/make_code_points.py): splitting by Unicode 16.0, normalising by Unicode 9.0.
#include "text/utf8.h"
#include "tools/stream/hash.h"
#include "unit/text/text_support.h"

using namespace mm2;
using namespace text_support;

namespace {

// Sanitizers make it ten times slower: the planes that have characters with cases, marks or
// compositions are enough then.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr char32_t kPlanes = 2;
#else
constexpr char32_t kPlanes = 17;
#endif

std::string in_context(std::string_view context, const std::string& character) {
  std::string text;
  for (size_t at = 0; at < context.size();) {
    const size_t mark = std::min(context.find("{}", at), context.size());
    text += context.substr(at, mark - at);
    if (mark < context.size()) text += character;
    at = mark + 2;
  }
  return text;
}

std::string digest_of_plane(const Tokenizer& tokenizer, std::string_view context, char32_t plane) {
  Sha256 sha256;
  std::vector<int32_t> ids;
  std::string character;
  for (char32_t c = plane << 16; c < (plane + 1) << 16; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    character.clear();
    utf8::append(c, &character);
    if (!tokenizer.encode(in_context(context, character), true, &ids).ok()) return "no ids";
    ids.push_back(-1);
    if (ids.size() < 4096 && (c & 0xFFFF) != 0xFFFF) continue;
    sha256.update(ids.data(), ids.size() * sizeof(int32_t));
    ids.clear();
  }
  return sha256.finish();
}

void check_contexts(size_t begin, size_t end) {
  const auto tokenizer = load(kModel);
  const Json document = Json::parse(read_file(kData + "code_points.json"));
  REQUIRE(document["digests"].size() == 24);
  for (size_t i = begin; i < end; ++i) {
    const Json& expected = document["digests"][i];
    const auto context = expected["context"].get<std::string>();
    REQUIRE(context.find("{}") != std::string::npos);
    REQUIRE(expected["planes"].size() == 17);
    for (char32_t plane = 0; plane < kPlanes; ++plane) {
      INFO("context " << expected["context"].dump() << ", plane " << static_cast<uint32_t>(plane));
      CHECK(digest_of_plane(*tokenizer, context, plane) == expected["planes"][plane]);
    }
  }
}

}  // namespace

TEST_CASE("tokenizer: every code point alone and between letters and digits splits as in HF") {
  check_contexts(0, 8);
}

TEST_CASE("tokenizer: every code point beside spaces and punctuation splits as in HF") {
  check_contexts(8, 16);
}

TEST_CASE("tokenizer: every code point beside letters, marks and jamo is normalised as in HF") {
  check_contexts(16, 24);
}
