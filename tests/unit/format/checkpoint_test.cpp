#include "format/checkpoint.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

#include "format/atomic_writer.h"
#include "temp_folder.h"

using namespace mm2;

namespace {

const std::string kModels = std::string(MM2_TEST_DATA) + "/models/";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void write_shard(const TempFolder& folder, const std::string& file,
                 const std::vector<std::string>& names) {
  std::vector<SafetensorsWriter::Tensor> tensors;
  for (const std::string& name : names) tensors.push_back({name, Dtype::u8, Shape{2}});
  auto writer = SafetensorsWriter::create(folder / file, tensors);
  REQUIRE(writer.ok());
  const std::string data(2 * names.size(), 'd');
  REQUIRE((*writer)->append(data.data(), data.size()).ok());
  REQUIRE((*writer)->publish().ok());
}

Status open_status(const std::string& path, const Host& host = {}) {
  const auto opened = Checkpoint::open(path, host);
  return opened.ok() ? Status() : opened.status();
}

}  // namespace

TEST_CASE("checkpoint: shards with gaps in their numbers are one set of tensors") {
  const auto opened = Checkpoint::open(kModels + "bf16", Host{});
  REQUIRE(opened.ok());
  const Checkpoint& checkpoint = **opened;
  CHECK(checkpoint.shards().size() == 3);
  CHECK(checkpoint.index_name() == "model.safetensors.index.json");
  CHECK(checkpoint.folder() == kModels + "bf16");
  const TensorInfo* head = checkpoint.find("lm_head.weight");
  REQUIRE(head != nullptr);
  CHECK(head->shape == Shape{260, 256});
  CHECK(head->dtype == Dtype::bf16);
  std::vector<std::byte> read(head->bytes);
  REQUIRE(checkpoint.read(*head, 0, read.size(), read.data()).ok());
  REQUIRE(checkpoint.map(*head) != nullptr);
  CHECK(std::memcmp(read.data(), checkpoint.map(*head), read.size()) == 0);
  CHECK(contains(std::string(checkpoint.file_of(*head)), "model-0000"));
  CHECK(checkpoint.find("model.layers.9.input_layernorm.weight") == nullptr);
}

TEST_CASE("checkpoint: a folder, its index and its single file lead to the same tensors") {
  const std::string folder = kModels + "f32";
  for (const std::string& path :
       {folder, folder + "/", folder + "///", folder + "/model.safetensors"}) {
    const auto opened = Checkpoint::open(path, Host{});
    REQUIRE(opened.ok());
    CHECK((*opened)->folder() == folder);
    CHECK((*opened)->find("lm_head.weight") != nullptr);
  }
  CHECK(Checkpoint::open(kModels + "bf16/model.safetensors.index.json", Host{}).ok());
}

TEST_CASE("checkpoint: nothing there, pickles only, GGUF: each has its own sentence") {
  const TempFolder folder;
  CHECK(open_status(folder.path()).code() == Code::not_found);
  CHECK(open_status(folder / "absent").code() == Code::not_found);
  folder.write("pytorch_model.bin", "PK");
  const Status pickle = open_status(folder.path());
  CHECK(pickle.code() == Code::unsupported);
  CHECK(contains(pickle.message(), "pytorch_model.bin"));
  CHECK(open_status(folder / "weights.pt").code() == Code::unsupported);
  CHECK(open_status(folder / "weights.gguf").code() == Code::unsupported);
  CHECK(open_status("").code() == Code::invalid_argument);
}

TEST_CASE("checkpoint: shard names that are no plain file names are refused with tensor and name") {
  const TempFolder folder;
  for (const char* name :
       {"../a.safetensors", "/a.safetensors", "b/a.safetensors", "..", ".", "",
        "a\\\\b.safetensors", "c:a.safetensors", "a\\u0000.safetensors", "x..y"}) {
    INFO(name);
    folder.write("model.safetensors.index.json",
                 std::string(R"({"weight_map":{"the.tensor":")") + name + "\"}}");
    const Status status = open_status(folder.path());
    CHECK(status.code() == Code::format);
    CHECK(contains(status.message(), "the.tensor"));
  }
  folder.write("model.safetensors.index.json", R"({"weight_map":{"t":"model.bin"}})");
  CHECK(open_status(folder.path()).code() == Code::unsupported);
}

TEST_CASE("checkpoint: a tensor in two shards names both, a duplicate in the index the tensor") {
  const TempFolder folder;
  write_shard(folder, "one.safetensors", {"a", "b"});
  write_shard(folder, "two.safetensors", {"b", "c"});
  folder.write("model.safetensors.index.json",
               R"({"weight_map":{"a":"one.safetensors","c":"two.safetensors"}})");
  const Status status = open_status(folder.path());
  CHECK(contains(status.message(), "tensor b"));
  CHECK(contains(status.message(), "one.safetensors"));
  CHECK(contains(status.message(), "two.safetensors"));
  folder.write("model.safetensors.index.json",
               R"({"weight_map":{"a":"one.safetensors","\u0061":"one.safetensors"}})");
  CHECK(contains(open_status(folder.path()).message(), "duplicate"));
}

TEST_CASE("checkpoint: index files that are no index are refused") {
  const TempFolder folder;
  write_shard(folder, "one.safetensors", {"a"});
  for (const char* text : {"", "[]", "{}", R"({"weight_map":{}})", R"({"weight_map":{"a":1}})",
                           R"({"weight_map":{"a":"one.safetensors"}} x)",
                           R"({"weight_map":{"a":"one.safetensors"},"weight_map":{}})",
                           R"({"metadata":[],"weight_map":{"a":"one.safetensors"}})"}) {
    INFO(text);
    folder.write("model.safetensors.index.json", text);
    CHECK(open_status(folder.path()).code() == Code::format);
  }
  folder.write("model.safetensors.index.json",
               R"({"extra":[{}],"weight_map":{"a":"one.safetensors"}})");
  CHECK(open_status(folder.path()).ok());
}

TEST_CASE("checkpoint: a wrong total_size is a warning, a right one is silent") {
  const TempFolder folder;
  write_shard(folder, "one.safetensors", {"a"});
  std::vector<std::string> lines;
  Host host;
  host.log = Log(LogLevel::warning, [&](LogLevel, std::string_view, std::string_view text) {
    lines.emplace_back(text);
  });
  for (const char* size : {"2", "2.0", "0", "77"}) {
    lines.clear();
    folder.write("model.safetensors.index.json", std::string(R"({"metadata":{"total_size":)") +
                                                     size +
                                                     R"(},"weight_map":{"a":"one.safetensors"}})");
    CHECK(open_status(folder.path(), host).ok());
    const bool wrong = std::string(size) == "0" || std::string(size) == "77";
    CHECK(lines.size() == (wrong ? 1 : 0));
    if (wrong) CHECK(contains(lines[0], std::string("total_size is ") + size));
  }
}

TEST_CASE("checkpoint: special files and folders are no shards, the host can cancel") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "model.safetensors");
  CHECK(open_status(folder.path()).code() == Code::format);
  Host host;
  host.progress = [](const Progress&) { return false; };
  CHECK(open_status(kModels + "bf16", host).code() == Code::cancelled);
}
