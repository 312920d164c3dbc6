#include "format/atomic_writer.h"

#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>

#include "format/safetensors.h"
#include "temp_folder.h"

using namespace mm2;

TEST_CASE("atomic writer: a text replaces the old one, and nothing else is left") {
  const TempFolder folder;
  folder.write("a.json", "old");
  REQUIRE(write_text_file(folder / "a.json", "new text").ok());
  CHECK(read_file(folder / "a.json") == "new text");
  CHECK(folder.n_files() == 1);
}

TEST_CASE("atomic writer: dropped before it is published, it leaves the old file and no other") {
  const TempFolder folder;
  folder.write("a", "old");
  {
    auto file = AtomicFile::create(folder / "a");
    REQUIRE(file.ok());
    REQUIRE((*file)->append("half", 4).ok());
    CHECK(folder.n_files() == 2);
  }
  CHECK(read_file(folder / "a") == "old");
  CHECK(folder.n_files() == 1);
}

TEST_CASE(
    "atomic writer: a write that the system refuses leaves nothing and says how far it came") {
  const TempFolder folder;
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  auto file = AtomicFile::create(folder / "big");
  REQUIRE(file.ok());
  const std::string data(3000, 'x');
  rlimit limit = before;
  limit.rlim_cur = 5000;
  setrlimit(RLIMIT_FSIZE, &limit);
  const Status first = (*file)->append(data.data(), data.size());
  const Status second = (*file)->append(data.data(), data.size());
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  CHECK(first.ok());
  CHECK(second.code() == Code::io);
  CHECK(second.message().find("5000") != std::string::npos);
  CHECK(folder.n_files() == 0);
  CHECK((*file)->append("x", 1).code() == Code::invalid_argument);
  CHECK((*file)->publish().code() == Code::invalid_argument);
  CHECK(folder.n_files() == 0);
}

TEST_CASE("atomic writer: a folder that is not there, a name that is none") {
  const TempFolder folder;
  CHECK(AtomicFile::create(folder / "no/such").status().code() == Code::not_found);
  CHECK(AtomicFile::create("").status().code() == Code::invalid_argument);
  CHECK(AtomicFile::create(folder.path() + "/").status().code() == Code::invalid_argument);
}

TEST_CASE("safetensors writer: what is written is read back, data aligned to 64 bytes") {
  const TempFolder folder;
  const std::vector<SafetensorsWriter::Tensor> tensors = {
      {"b \"quoted\" \xC3\xA9", Dtype::f32, Shape{2, 2}},
      {"empty", Dtype::bf16, Shape{0, 3}},
      {"a", Dtype::u8, Shape{}}};
  auto writer = SafetensorsWriter::create(folder / "x.safetensors", tensors, {{"format", "pt"}});
  REQUIRE(writer.ok());
  const float values[4] = {1, 2, 3, 4};
  const unsigned char last = 9;
  REQUIRE((*writer)->append(values, 7).ok());
  REQUIRE((*writer)->append(reinterpret_cast<const char*>(values) + 7, 9).ok());
  CHECK((*writer)->publish().code() == Code::invalid_argument);
  REQUIRE((*writer)->append(&last, 1).ok());
  CHECK((*writer)->append(&last, 1).code() == Code::invalid_argument);
  REQUIRE((*writer)->publish().ok());
  CHECK(folder.n_files() == 1);

  const auto file = SafetensorsFile::open(folder / "x.safetensors", Host{});
  REQUIRE(file.ok());
  CHECK((*file)->tensors().size() == 3);
  const TensorInfo* b = (*file)->find(tensors[0].name);
  REQUIRE(b != nullptr);
  CHECK(b->offset % 64 == 0);
  CHECK(b->shape == Shape{2, 2});
  float back[4] = {};
  REQUIRE((*file)->read(*b, 0, sizeof back, back).ok());
  CHECK(std::memcmp(back, values, sizeof back) == 0);
  CHECK((*file)->metadata().size() == 1);
}

TEST_CASE(
    "safetensors writer: names twice, sizes that are none and names that are no text are refused") {
  const TempFolder folder;
  const auto code = [&](std::vector<SafetensorsWriter::Tensor> tensors) {
    return SafetensorsWriter::create(folder / "x", std::move(tensors)).status().code();
  };
  CHECK(code({{"a", Dtype::u8, Shape{1}}, {"a", Dtype::u8, Shape{1}}}) == Code::invalid_argument);
  CHECK(code({{"__metadata__", Dtype::u8, Shape{1}}}) == Code::invalid_argument);
  CHECK(code({{"a", Dtype::f4, Shape{3}}}) == Code::invalid_argument);
  CHECK(code({{"a", Dtype::u8, Shape{INT64_MAX}}, {"b", Dtype::u8, Shape{INT64_MAX}}}) ==
        Code::invalid_argument);
  CHECK(code({{"a\xFF", Dtype::u8, Shape{1}}}) == Code::invalid_argument);
  CHECK(folder.n_files() == 0);
}
