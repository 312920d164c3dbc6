// Text to ids and back. The first byte decides which tokenizer and whether added tokens are
// recognised; the rest is the text.
#include <string>
#include <vector>

#include "fuzz/input.h"
#include "fuzz/property.h"
#include "text/detokenizer.h"
#include "text/nfc.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

using namespace mm2;
using fuzz::require;

namespace {

std::shared_ptr<const Tokenizer> load(const char* file) {
  auto loaded = Tokenizer::load(std::string(MM2_TEST_DATA "/text/model_4096/") + file, Host{});
  require(loaded.ok(), "the tokenizer of the tests loads", loaded.status().message());
  return *std::move(loaded);
}

std::string repaired(std::string_view text) {
  std::string out;
  utf8::append_repaired(text, &out);
  return out;
}

std::string composed(std::string_view text) {
  std::string buffer;
  return std::string(nfc(text, &buffer));
}

// What decoding must give: well-formed text, and NFC between added tokens, which are looked for
// naively here. Counts them.
std::string expected_text(const Tokenizer& tokenizer, std::string_view text, bool normalized,
                          size_t* n_added) {
  std::string out, gap;
  const auto close_gap = [&] {
    out += normalized ? gap : composed(gap);
    gap.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const AddedToken* longest = nullptr;
    const bool begins = text[at] == '<' || text[at] == ']' || text[at] == '[';
    if (!begins) {  // as none of the tokens of these files
      gap += text[at++];
      continue;
    }
    for (const AddedToken& token : tokenizer.added_tokens()) {
      if (token.normalized != normalized || !text.substr(at).starts_with(token.content)) continue;
      if (longest == nullptr || token.content.size() > longest->content.size()) longest = &token;
    }
    if (longest == nullptr) {
      gap += text[at++];
      continue;
    }
    if (normalized) {
      close_gap();
    } else {
      std::string inner = composed(gap);
      gap.clear();
      out += expected_text(tokenizer, inner, true, n_added);
    }
    out += longest->content;
    at += longest->content.size();
    ++*n_added;
  }
  if (normalized) {
    close_gap();
  } else {
    std::string inner = composed(gap);
    gap.clear();
    out += expected_text(tokenizer, inner, true, n_added);
  }
  return out;
}

void check_stream(std::shared_ptr<const Tokenizer> tokenizer, const std::vector<int32_t>& ids,
                  const std::string& whole) {
  Detokenizer stream(std::move(tokenizer), false);
  std::string joined;
  for (const int32_t id : ids) {
    const size_t before = joined.size();
    require(stream.push(id, &joined).ok(), "an id of encode can be streamed");
    const std::string_view piece = std::string_view(joined).substr(before);
    require(utf8::valid_prefix(piece) == piece.size(), "a piece is whole characters");
  }
  stream.flush(&joined);
  require(joined == whole, "the pieces of a stream join to the text", joined);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto plain = load("tokenizer.json");
  static const auto normalizing = load("tokenizer_normalized_added.json");
  fuzz::Input in(data, size);
  const uint8_t flags = in.byte();
  const auto& tokenizer = flags & 1 ? normalizing : plain;
  const bool parse_special = (flags & 2) != 0;
  const std::string_view text = in.rest();

  const auto ids = tokenizer->encode(text, parse_special);
  require(ids.ok(), "any bytes have ids", ids.status().message());
  size_t n_added = 0;
  std::string bytes;
  for (const int32_t id : *ids) {
    require(tokenizer->has(id), "an id has a token");
    n_added += tokenizer->is_added(id);
    bytes += tokenizer->bytes(id);
  }
  size_t n_expected = 0;
  const std::string clean = repaired(text);
  const std::string expected =
      parse_special ? expected_text(*tokenizer, clean, false, &n_expected) : composed(clean);
  require(bytes == expected, "the pieces cover the text", bytes);
  require(n_added == n_expected, "added tokens are found leftmost and longest, or not at all");
  const auto decoded = tokenizer->decode(*ids, false);
  require(decoded.ok() && *decoded == expected, "decoding undoes encoding");
  check_stream(tokenizer, *ids, expected);
  return 0;
}
