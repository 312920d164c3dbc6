#include "tools/megatron/torch_writer.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>

#include "support/memory_file.h"
#include "tools/megatron/torch_file.h"

using namespace mm2;

namespace {

struct Written {
  TorchContents contents;
  std::string tensors;  // bytes of all
  std::string file;
};

Written example() {
  Written w;
  w.contents.scalars = {{"checkpoint_version", 3.0},
                        {"iteration", 0},
                        {"big", int64_t{1} << 40},
                        {"negative", -5},
                        {"name", "mm2"},
                        {"flag", true}};
  w.contents.groups = {
      {"model0",
       {{"decoder.layers.0.linear_qkv.weight", Dtype::bf16, {3, 5}},
        {"decoder.layers.0.linear_qkv.weight_scale_inv", Dtype::f32, {1, 1}},
        {"codes", Dtype::f8_e4m3, {7}},
        {"empty", Dtype::f16, {0, 4}},
        {"scalar", Dtype::i64, {}}}},
      {"model1", {{"codes", Dtype::u8, {300, 2}}, {"wide", Dtype::f64, {2, 2, 2}}}}};
  uint32_t state = 1;
  for (const auto& group : w.contents.groups) {
    for (const auto& tensor : group.tensors) {
      for (uint64_t n = *tensor_bytes(tensor.shape, tensor.dtype); n > 0; --n) {
        state = state * 1664525u + 1013904223u;
        w.tensors += static_cast<char>(state >> 24);
      }
    }
  }
  return w;
}

Status write(Written& w, size_t piece) {
  auto writer = TorchWriter::begin(w.contents, [&](const void* data, size_t n) {
    w.file.append(static_cast<const char*>(data), n);
    return Status();
  });
  if (!writer.ok()) return writer.status();
  for (size_t at = 0; at < w.tensors.size(); at += piece) {
    MM2_RETURN_IF_ERROR(writer->append(&w.tensors[at], std::min(piece, w.tensors.size() - at)));
  }
  MM2_RETURN_IF_ERROR(writer->finish());
  CHECK(writer->written() == w.file.size());
  return {};
}

}  // namespace

TEST_CASE("torch writer: what it writes is read back bit by bit, whatever the pieces") {
  std::string first;
  for (const size_t piece : {1u, 13u, 100000u}) {
    Written w = example();
    REQUIRE(write(w, piece).ok());
    if (first.empty()) first = w.file;
    CHECK(w.file == first);
  }
  const Written w = example();
  const auto file = TorchFile::open(std::make_shared<MemoryFile>(first), "w.pt");
  INFO(file.status().message());
  REQUIRE(file.ok());
  CHECK((*file)->tensors().size() == 7);
  size_t at = 0;
  for (const auto& group : w.contents.groups) {
    for (const auto& tensor : group.tensors) {
      INFO(tensor.name);
      const TensorInfo* found = (*file)->find(group.name + "." + tensor.name);
      REQUIRE(found != nullptr);
      CHECK(found->dtype == tensor.dtype);
      CHECK(found->shape == tensor.shape);
      CHECK((found->bytes == 0 || found->offset % 64 == 0));
      std::string bytes(found->bytes, '\0');
      REQUIRE((*file)->read(*found, 0, bytes.size(), bytes.data()).ok());
      CHECK(bytes == w.tensors.substr(at, bytes.size()));
      at += bytes.size();
    }
  }
  Json scalars = Json::object();
  for (const auto& [name, value] : (*file)->scalars()) scalars[name] = value;
  for (const auto& [name, value] : w.contents.scalars) CHECK(scalars.at(name) == value);
  CHECK((*file)->opaque().empty());
}

TEST_CASE(
    "torch writer: missing and superfluous bytes, equal names and foreign types are refused") {
  Written w = example();
  w.tensors.pop_back();
  CHECK(write(w, 100).code() == Code::invalid_argument);
  w = example();
  w.tensors += 'x';
  CHECK(write(w, 100).code() == Code::invalid_argument);
  w = example();
  w.contents.groups[1].name = "model0";
  CHECK(write(w, 100).code() == Code::invalid_argument);
  w = example();
  w.contents.groups[0].tensors[2].dtype = Dtype::f4;
  CHECK(write(w, 100).code() == Code::unsupported);
  w = example();
  w.contents.scalars.push_back({"list", Json::array()});
  CHECK(write(w, 100).code() == Code::invalid_argument);
}

TEST_CASE("torch writer: a sink that fails is the result") {
  const auto writer = TorchWriter::begin(
      {}, [](const void*, size_t) { return error(Code::io, "the disk is full"); });
  CHECK(writer.status().code() == Code::io);
}

TEST_CASE("torch writer: a file with nothing in it is one, too") {
  Written w;
  REQUIRE(write(w, 1).ok());
  const auto file = TorchFile::open(std::make_shared<MemoryFile>(w.file), "w.pt");
  REQUIRE(file.ok());
  CHECK((*file)->tensors().empty());
}
