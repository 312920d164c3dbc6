#include "format/safetensors.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "temp_folder.h"

using namespace mm2;

namespace {

std::string file_of(const std::string& header, size_t data_bytes) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + std::string(data_bytes, '\1');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return std::string("\"") + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

// "" when the header is accepted, else the message.
std::string verdict(const std::string& header, uint64_t data_bytes) {
  const auto parsed = parse_safetensors_header(header, 8 + header.size(), data_bytes, "f");
  return parsed.ok() ? "" : parsed.status().message();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("safetensors: tensors come by offset, with their place in the file and their bytes") {
  const TempFolder folder;
  const std::string header = std::string("{") + entry("b", "BF16", "[2,3]", "[4,16]") +
                             ",\"__metadata__\":{\"format\":\"pt\"}," +
                             entry("a", "F32", "[]", "[0,4]") + "}   ";
  std::string bytes = file_of(header, 16);
  const float value = 2.5f;
  std::memcpy(bytes.data() + 8 + header.size(), &value, 4);
  const auto opened = SafetensorsFile::open(folder.write("x.safetensors", bytes), Host{});
  REQUIRE(opened.ok());
  const SafetensorsFile& file = **opened;
  REQUIRE(file.tensors().size() == 2);
  CHECK(file.tensors()[0].name == "a");
  CHECK(file.tensors()[1].shape == Shape{2, 3});
  CHECK(file.tensors()[1].offset == 8 + header.size() + 4);
  CHECK(file.metadata() == std::vector<std::pair<std::string, std::string>>{{"format", "pt"}});
  const TensorInfo* a = file.find("a");
  REQUIRE(a != nullptr);
  CHECK(file.find("c") == nullptr);
  float read = 0;
  REQUIRE(file.read(*a, 0, 4, &read).ok());
  CHECK(read == 2.5f);
  CHECK(file.read(*a, 1, 4, &read).code() == Code::invalid_argument);
  CHECK(file.read(*a, UINT64_MAX, 1, &read).code() == Code::invalid_argument);
  REQUIRE(file.map(*a) != nullptr);
  CHECK(std::memcmp(file.map(*a), &value, 4) == 0);
}

TEST_CASE("safetensors: a file of no tensors is one") {
  CHECK(verdict("{}", 0).empty());
  CHECK(contains(verdict("{}", 1), "1 trailing"));
}

TEST_CASE("safetensors: a tensor of no elements stands at a boundary and takes nothing") {
  const std::string before = entry("z", "F32", "[0,4]", "[0,0]") + ",";
  CHECK(verdict(std::string("{") + before + entry("a", "F32", "[2]", "[0,8]") + "}", 8).empty());
  CHECK(contains(verdict(std::string("{") + entry("z", "F32", "[0]", "[4,4]") + "," +
                             entry("a", "F32", "[2]", "[0,8]") + "}",
                         8),
                 "overlap"));
  CHECK(contains(verdict(std::string("{") + entry("z", "F32", "[0]", "[8,12]") + "}", 12),
                 "needs 0 bytes"));
  CHECK(contains(verdict(std::string("{") + entry("z", "F32", "[0]", "[9,9]") + "}", 8),
                 "truncated"));
}

TEST_CASE("safetensors: unaligned tensors are accepted") {
  CHECK(verdict(std::string("{") + entry("a", "U8", "[1]", "[0,1]") + "," +
                    entry("b", "F32", "[1]", "[1,5]") + "}",
                5)
            .empty());
}

TEST_CASE("safetensors: duplicates are found at every level and through escapes") {
  const std::string a = entry("a", "F32", "[2]", "[0,8]");
  CHECK(contains(
      verdict(std::string("{") + a + "," + entry("\\u0061", "F32", "[2]", "[8,16]") + "}", 16),
      "duplicate"));
  CHECK(contains(
      verdict(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
      "duplicate"));
  CHECK(contains(
      verdict(R"({"a":{"dtype":"F32","shape":[2],"x":1,"\u0078":1,"data_offsets":[0,8]}})", 8),
      "duplicate"));
  CHECK(contains(
      verdict(R"({"a":{"dtype":"F32","shape":[2],"x":{"y":1,"y":2},"data_offsets":[0,8]}})", 8),
      "duplicate"));
  CHECK(contains(verdict(R"({"__metadata__":{"k":"1","k":"2"}})", 0), "duplicate"));
  CHECK(contains(verdict(R"({"__metadata__":{},"__metadata__":{}})", 0), "duplicate"));
}

TEST_CASE("safetensors: unknown fields of a tensor are checked and ignored") {
  CHECK(verdict(R"({"a":{"dtype":"F32","x":[1,{"y":null}],"shape":[2],"data_offsets":[0,8]}})", 8)
            .empty());
  CHECK_FALSE(
      verdict(R"({"a":{"dtype":"F32","x":[1,{"y":nul}],"shape":[2],"data_offsets":[0,8]}})", 8)
          .empty());
}

TEST_CASE("safetensors: missing fields are named") {
  CHECK(contains(verdict(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8), "no dtype"));
  CHECK(contains(verdict(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8), "no shape"));
  CHECK(contains(verdict(R"({"a":{"dtype":"F32","shape":[2]}})", 8), "no data_offsets"));
}

TEST_CASE("safetensors: numbers are whole, in range and spelled as JSON has them") {
  for (const char* shape :
       {"[01]", "[-0]", "[2.0]", "[2e0]", "[18446744073709551616]", "[9223372036854775808]",
        "[\"2\"]", "[null]", "[true]", "2", "[2,]", "[,2]", "[2 2]", "[+2]", "[0x2]", "{}"}) {
    INFO(shape);
    CHECK_FALSE(verdict(std::string("{") + entry("a", "F32", shape, "[0,8]") + "}", 8).empty());
  }
  for (const char* offsets : {"[0]", "[0,8,8]", "[]", "[0,8.0]", "[8,0]", "[0,9]", "{\"0\":8}"}) {
    INFO(offsets);
    CHECK_FALSE(verdict(std::string("{") + entry("a", "F32", "[2]", offsets) + "}", 8).empty());
  }
  CHECK(contains(
      verdict(std::string("{") + entry("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") + "}", 4),
      "8 dimensions"));
  CHECK(contains(verdict(std::string("{") + entry("a", "F4", "[3]", "[0,2]") + "}", 2),
                 "whole number of bytes"));
  CHECK(contains(verdict(std::string("{") + entry("a", "f32", "[2]", "[0,8]") + "}", 8),
                 "\"f32\" is unknown"));
}

TEST_CASE("safetensors: strings are valid Unicode") {
  const auto named = [](const std::string& name) {
    return verdict(std::string("{") + entry(name, "F32", "[2]", "[0,8]") + "}", 8);
  };
  CHECK(named("\xC3\xA9 \\u00e9 \\ud83d\\ude00 \xF0\x9F\x98\x80").empty());
  for (const char* bad :
       {"\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF0\x80\x80\x80", "\xFF",
        "\xC3", "\x80", "\\ud800", "\\udc00", "\\ud800\\u0041", "\\u12", "\\x", "\t"}) {
    INFO(bad);
    CHECK_FALSE(named(bad).empty());
  }
  CHECK(contains(named("a\\u0000b"), "NUL"));
  CHECK(contains(named(std::string(70000, 'n')), "70000"));
}

TEST_CASE("safetensors: the header starts with a brace and ends with spaces only") {
  const std::string a = std::string("{") + entry("a", "F32", "[2]", "[0,8]") + "}";
  CHECK(verdict(a + "   ", 8).empty());
  for (const std::string& bad : {std::string(" ") + a, std::string("\xEF\xBB\xBF") + a, a + "x",
                                 a + "\n", a + "{}", a + std::string(1, '\0')}) {
    CHECK_FALSE(verdict(bad, 8).empty());
  }
}

TEST_CASE("safetensors: nesting is bounded at 64 wherever it stands") {
  const auto nested = [](int depth) {
    const auto n = static_cast<size_t>(depth - 2);
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":)" + std::string(n, '[') +
           std::string(n, ']') + "}}";
  };
  CHECK(verdict(nested(64), 8).empty());
  CHECK(contains(verdict(nested(65), 8), "depth"));
  CHECK(contains(verdict(nested(1000000), 8), "depth"));
  CHECK(
      contains(verdict(std::string("{\"a\":{\"shape\":") + std::string(100000, '['), 8), "depth"));
}

TEST_CASE("safetensors: other kinds of files are told by their first bytes") {
  const TempFolder folder;
  const auto refused = [&](const std::string& head) {
    const auto opened =
        SafetensorsFile::open(folder.write("f", head + std::string(64, '\0')), Host{});
    REQUIRE_FALSE(opened.ok());
    return opened.status().message();
  };
  CHECK(contains(refused("PK\x03\x04pytorch"), "PyTorch"));
  CHECK(contains(refused("\x80\x02}q\x01X\x03\x02\x03\x02"), "pickle"));
  CHECK(contains(refused("GGUF\x03\x02\x02\x02\x02"), "GGUF"));
  CHECK(contains(refused("version https://git-lfs.github.com/spec/v1"), "Git LFS"));
}

TEST_CASE("safetensors: a header of 100,000 tensors is read, in any order") {
  std::string header = "{";
  constexpr int kTensors = 100000;
  for (int i = kTensors; i-- > 0;) {
    header +=
        entry(join("model.layers.", i, ".weight"), "U8", "[1]", join("[", i, ",", i + 1, "]"));
    header += i > 0 ? "," : "}";
  }
  const auto parsed = parse_safetensors_header(header, 0, kTensors, "f");
  REQUIRE(parsed.ok());
  CHECK(parsed->tensors.size() == kTensors);
  CHECK(parsed->tensors[77].name == "model.layers.77.weight");
}
