// The whole input is a tokenizer.json.
#include "base/json.h"
#include "fuzz/memory_source.h"
#include "fuzz/property.h"
#include "text/tokenizer.h"

using namespace mm2;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto loaded =
      Tokenizer::load("m/tokenizer.json", fuzz::host_with({{"m/tokenizer.json", text}}));
  if (!loaded.ok()) {
    fuzz::require_told(loaded.status(), {Code::format, Code::unsupported});
    return 0;
  }
  const Tokenizer& tokenizer = **loaded;
  require(tokenizer.n_tokens() >= 0 && tokenizer.n_tokens() <= tokenizer.id_end(),
          "no more tokens than ids");
  for (const AddedToken& token : tokenizer.added_tokens()) {
    require(tokenizer.is_added(token.id), "an added token is one");
  }
  for (const char* sample : {"the quick brown fox, it's 1234 <think>", "\xC3\xA9\xF0\x9F\x98\x80",
                             "]~b]ai\n", " \n\n  x", "\xFF\x00"}) {
    for (const bool parse_special : {false, true}) {
      const auto ids = tokenizer.encode(sample, parse_special);
      if (!ids.ok()) continue;
      for (const int32_t id : *ids) {
        require(tokenizer.has(id), "an id has a token");
        require(parse_special || !tokenizer.is_added(id), "plain text has no added token");
      }
      require(tokenizer.decode(*ids, false).ok(), "ids of encode can be decoded");
    }
  }
  require(parse_json(tokenizer.describe(), "describe").ok(), "its description is JSON");
  return 0;
}
