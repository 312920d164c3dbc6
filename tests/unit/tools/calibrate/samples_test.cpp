#include "tools/calibrate/samples.h"

#include <catch2/catch.hpp>

using namespace mm2;

TEST_CASE("samples: lines of ids, whole, cut and marked") {
  const char* text =
      "{\"ids\": [1, 2, 3]}\n\n{\"ids\": [4, 5, 6, 7], \"count_from\": 2}\r\n"
      "{\"ids\": [8, 9], \"counted\": [1, false], \"text\": \"passed over\"}";
  const auto all = parse_samples(text, "t", 10, 0, 0);
  REQUIRE(all.ok());
  CHECK(all->tokens == std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(all->counted == std::vector<uint8_t>{1, 1, 1, 0, 0, 1, 1, 1, 0});
  CHECK(all->starts == std::vector<size_t>{0, 3, 7, 9});
  CHECK(all->n_counted() == 6);
  const auto cut = parse_samples(text, "t", 10, 3, 5);
  REQUIRE(cut.ok());
  CHECK(cut->tokens == std::vector<int32_t>{1, 2, 3, 4, 5});
  CHECK(cut->starts == std::vector<size_t>{0, 3, 5});
}

TEST_CASE("samples: what is no sample is named by line and number") {
  const auto message = [](const char* text) {
    const auto samples = parse_samples(text, "t.jsonl", 10, 0, 0);
    REQUIRE_FALSE(samples.ok());
    CHECK(samples.status().code() == Code::format);
    return samples.status().message();
  };
  CHECK(message("{\"ids\": [1]}\n{\"ids\": [10]}").find("line 2: id 10 is not in [0, 10)") !=
        std::string::npos);
  CHECK(message("{\"ids\": [-1]}").find("-1") != std::string::npos);
  CHECK(message("{\"ids\": [1.5]}").find("1.5") != std::string::npos);
  CHECK(message("{\"ids\": []}").find("line 1") != std::string::npos);
  CHECK(message("[1]").find("line 1") != std::string::npos);
  CHECK(message("{\"ids\": [1, 2], \"counted\": [1]}").find("1 marks for 2 ids") !=
        std::string::npos);
  CHECK(message("{\"ids\": [1], \"counted\": [2]}").find("mark 0") != std::string::npos);
  CHECK(message("{\"ids\": [1], \"count_from\": 1}").find("no token") != std::string::npos);
  CHECK(message("").find("no samples") != std::string::npos);
}

TEST_CASE("samples: 32-bit ids are cut into samples of one length") {
  const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7};
  const std::string_view bytes(reinterpret_cast<const char*>(ids), sizeof ids);
  const auto samples = parse_binary_samples(bytes, "t.bin", 10, 3, 0);
  REQUIRE(samples.ok());
  CHECK(samples->tokens == std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7});
  CHECK(samples->starts == std::vector<size_t>{0, 3, 6, 7});
  CHECK(samples->n_counted() == 7);
  CHECK(parse_binary_samples(bytes, "t.bin", 10, 0, 5)->starts == std::vector<size_t>{0, 5});
  CHECK(parse_binary_samples(bytes, "t.bin", 10, 5, 5)->starts == std::vector<size_t>{0, 5});
}

TEST_CASE("samples: a file of ids that is cut short, empty or of another vocabulary is refused") {
  const int32_t ids[] = {1, -2, 3};
  const std::string_view bytes(reinterpret_cast<const char*>(ids), sizeof ids);
  const auto says = [](const Result<TokenSamples>& samples, const char* what) {
    return samples.status().code() == Code::format &&
           samples.status().message().find(what) != std::string::npos;
  };
  CHECK(says(parse_binary_samples(bytes, "t.bin", 10, 0, 0), "id -2 at place 1"));
  CHECK(says(parse_binary_samples(bytes.substr(0, 11), "t.bin", 10, 0, 0), "11 bytes"));
  CHECK(says(parse_binary_samples("", "t.bin", 10, 0, 0), "no samples"));
  CHECK(says(parse_binary_samples(bytes, "t.bin", 1, 0, 0), "id 1 at place 0"));
}
