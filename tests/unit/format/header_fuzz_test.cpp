// Damage in bulk: every prefix, every bit, every small change of a length.
#include <catch2/catch.hpp>
#include <random>

#include "base/json.h"
#include "format/json_reader.h"
#include "format/safetensors.h"
#include "temp_folder.h"

using namespace mm2;

namespace {

const std::string kModel =
    std::string(MM2_TEST_DATA) + "/broken/37_valid_tiny_model/model.safetensors";

uint64_t header_length(const std::string& file) {
  uint64_t length = 0;
  for (size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(file[i]);
  return length;
}

// What our reader accepts, the general JSON parser must accept with the same content.
void check_agrees(const std::string& json, const SafetensorsHeader& header) {
  const Result<Json> document = parse_json(json, "header");
  REQUIRE(document.ok());
  const size_t n_tensors = document->size() - (document->contains("__metadata__") ? 1 : 0);
  REQUIRE(n_tensors == header.tensors.size());
  for (const TensorInfo& tensor : header.tensors) {
    const Json& entry = document->at(tensor.name);
    REQUIRE(entry.at("dtype").get<std::string>() == dtype_name(tensor.dtype));
    REQUIRE(entry.at("shape").size() == static_cast<size_t>(tensor.shape.rank()));
    REQUIRE(entry.at("data_offsets")[0].get<uint64_t>() == tensor.offset);
    REQUIRE(entry.at("data_offsets")[1].get<uint64_t>() == tensor.offset + tensor.bytes);
  }
}

}  // namespace

TEST_CASE("safetensors: a file cut anywhere is refused with a sentence") {
  const TempFolder folder;
  const std::string whole = read_file(kModel);
  REQUIRE(whole.size() > 3000);
  const size_t data_begin = 8 + header_length(whole);
  for (size_t n = 0; n < whole.size(); n += n < data_begin + 64 ? 1 : 7) {
    const auto opened = SafetensorsFile::open(folder.write("cut", whole.substr(0, n)), Host{});
    REQUIRE_FALSE(opened.ok());
    REQUIRE(opened.status().code() == Code::format);
    REQUIRE(opened.status().message().find("cut: ") != std::string::npos);
  }
  const auto longer = SafetensorsFile::open(folder.write("long", whole + "x"), Host{});
  CHECK_FALSE(longer.ok());
}

TEST_CASE("safetensors: every prefix of a header's JSON is refused") {
  const std::string whole = read_file(kModel);
  std::string json = whole.substr(8, header_length(whole));
  json.erase(json.find_last_not_of(' ') + 1);
  const uint64_t data_bytes = whole.size() - 8 - header_length(whole);
  REQUIRE(parse_safetensors_header(json, 0, data_bytes, "f").ok());
  for (size_t n = 0; n < json.size(); ++n) {
    REQUIRE_FALSE(parse_safetensors_header(json.substr(0, n), 0, data_bytes, "f").ok());
  }
}

TEST_CASE("safetensors: each flipped bit of a header gives an error or what JSON says it means") {
  const std::string whole = read_file(kModel);
  const std::string json = whole.substr(8, header_length(whole));
  const uint64_t data_bytes = whole.size() - 8 - json.size();
  size_t n_accepted = 0;
  for (size_t bit = 0; bit < json.size() * 8; ++bit) {
    std::string damaged = json;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const auto parsed = parse_safetensors_header(damaged, 0, data_bytes, "f");
    if (!parsed.ok()) continue;
    ++n_accepted;
    check_agrees(damaged, *parsed);
  }
  // Names may change freely; most of the header may not.
  CHECK(n_accepted > 0);
  CHECK(n_accepted < json.size() * 4);
}

TEST_CASE("safetensors: each flipped bit of the length is refused") {
  const TempFolder folder;
  const std::string whole = read_file(kModel);
  for (size_t bit = 0; bit < 64; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    REQUIRE_FALSE(SafetensorsFile::open(folder.write("flip", damaged), Host{}).ok());
  }
}

TEST_CASE("safetensors: random splices of a header never do more than fail") {
  const std::string whole = read_file(kModel);
  const std::string json = whole.substr(8, header_length(whole));
  const uint64_t data_bytes = whole.size() - 8 - json.size();
  std::mt19937 random(11);
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = json;
    for (uint32_t change = 0; change < 1 + random() % 3; ++change) {
      const size_t at = random() % damaged.size();
      const size_t from = random() % json.size();
      const size_t n = random() % 24;
      if (random() % 2 == 0) {
        damaged.insert(at, json.substr(from, n));
      } else {
        damaged.erase(at, n);
      }
      if (damaged.empty()) damaged.push_back('{');
    }
    const auto parsed = parse_safetensors_header(damaged, 0, data_bytes, "f");
    if (parsed.ok()) check_agrees(damaged, *parsed);
  }
}

TEST_CASE("json reader: skipping a value accepts exactly what the general parser accepts") {
  const std::vector<std::string> seeds = {
      R"({"a":[1,2.5,-3e-7,true,false,null,"x\u00e9\n"],"b":{"c":{},"d":[]}})",
      R"([[[]],{},"\ud83d\ude00",0,-0.0,1E+2])"};
  std::mt19937 random(5);
  size_t n_valid = 0;
  for (int i = 0; i < 40000; ++i) {
    std::string text = seeds[random() % seeds.size()];
    for (uint32_t change = 0; change < random() % 3; ++change) {
      static constexpr std::string_view kBytes = "{}[]\",:0123456789.eE+-\\u truefalsn\x80\xC3\t";
      text[random() % text.size()] = kBytes[random() % kBytes.size()];
    }
    JsonReader reader(text, "t");
    const bool ours = reader.skip_value() && reader.at_end();
    const bool theirs = parse_json(text, "t").ok();
    INFO(text << " ours: " << reader.status().message());
    REQUIRE(ours == theirs);
    n_valid += ours;
  }
  CHECK(n_valid > 1000);
}
