// Compares with the results that Hugging Face tokenizers 0.23.3 gave.
#include "text/nfc.h"
#include "text/splitter.h"
#include "unit/text/text_support.h"

using namespace mm2;
using namespace text_support;

namespace {

void check_ids(const std::string& tokenizer_file, const std::string& records_file) {
  const auto tokenizer = load(kModel + "/" + tokenizer_file);
  size_t wrong = 0;
  for (const Json& record : read_lines(kData + records_file)) {
    const auto text = record["text"].get<std::string>();
    const auto ids = encode(*tokenizer, text, true);
    const std::string decoded = record.value("decoded", text);
    const std::string visible = record.value("decoded_skip_special", decoded);
    const bool same = ids == record["ids"].get<std::vector<int32_t>>() &&
                      decode(*tokenizer, ids) == decoded &&
                      decode(*tokenizer, ids, true) == visible;
    if (same) continue;
    UNSCOPED_INFO(record["id"] << " " << record["text"].dump().substr(0, 200));
    ++wrong;
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("tokenizer: ids equal Hugging Face on every recorded text") {
  check_ids("tokenizer.json", "ids.jsonl");
}

TEST_CASE("tokenizer: the older spelling of tokenizer.json gives the same ids") {
  check_ids("tokenizer_old_spelling.json", "ids.jsonl");
}

TEST_CASE("tokenizer: added tokens marked normalized are found after NFC") {
  const auto tokenizer = load(kModel + "/tokenizer_normalized_added.json");
  size_t wrong = 0;
  for (const Json& record : read_lines(kData + "ids_normalized_added.jsonl")) {
    const auto ids = encode(*tokenizer, record["text"].get<std::string>(), true);
    wrong += ids != record["ids"].get<std::vector<int32_t>>();
  }
  CHECK(wrong == 0);
}

TEST_CASE("splitter: the pieces of NFC text equal the recorded ones") {
  size_t wrong = 0, compared = 0;
  std::string buffer;
  for (const Json& record : read_lines(kData + "ids.jsonl")) {
    if (!record.contains("split")) continue;
    const auto text = record["text"].get<std::string>();
    const std::string_view normalized = nfc(text, &buffer);
    std::vector<size_t> lengths;
    for (size_t begin = 0; begin < normalized.size();) {
      const size_t end = next_piece(normalized, begin);
      lengths.push_back(end - begin);
      begin = end;
    }
    ++compared;
    if (lengths == record["split"].get<std::vector<size_t>>()) continue;
    UNSCOPED_INFO(record["id"] << " " << record["text"].dump());
    ++wrong;
  }
  CHECK(compared > 7000);
  CHECK(wrong == 0);
}

TEST_CASE("tokenizer: decoding of arbitrary ids equals Hugging Face") {
  const auto tokenizer = load(kModel);
  for (const Json& record : read_lines(kData + "decode.jsonl")) {
    INFO(record["id"]);
    const auto ids = record["ids"].get<std::vector<int32_t>>();
    const auto decoded = record["decoded"].get<std::string>();
    CHECK(decode(*tokenizer, ids) == decoded);
    CHECK(decode(*tokenizer, ids, true) == record.value("decoded_skip_special", decoded));
  }
}

TEST_CASE("tokenizer: rendered M2.7 conversations give the recorded prompt ids") {
  const auto tokenizer = load(kModel);
  std::map<std::string, std::string> renderings;
  const std::string path =
      MM2_TEST_DATA "/chat/renderings/minimax_m2.7_official_reconstructed.jsonl";
  for (const Json& record : read_lines(path))
    if (record.contains("output"))
      renderings[record["conversation"].get<std::string>()] = record["output"].get<std::string>();
  for (const Json& record : read_lines(kData + "prompt_ids_m2.7.jsonl")) {
    const auto name = record["conversation"].get<std::string>();
    INFO(name);
    REQUIRE(renderings.count(name) == 1);
    CHECK(encode(*tokenizer, renderings[name], true) == record["ids"].get<std::vector<int32_t>>());
  }
}
