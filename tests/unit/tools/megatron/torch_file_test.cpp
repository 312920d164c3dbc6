#include "tools/megatron/torch_file.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "support/counted_memory.h"
#include "support/golden.h"
#include "support/memory_file.h"
#include "tools/megatron/pickle.h"
#include "tools/megatron/zip_index.h"

using namespace mm2;

namespace {

const std::string kFolder = std::string(MM2_TEST_DATA) + "/tools/torch_pt/";

std::shared_ptr<SourceFile> source_of(const std::string& name) {
  auto file = file_system_source()->open(kFolder + name);
  REQUIRE(file.ok());
  return *file;
}

std::string bytes_of(const std::string& name) {
  std::ifstream file(kFolder + name, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Result<std::shared_ptr<TorchFile>> open_bytes(const std::string& bytes) {
  return TorchFile::open(std::make_shared<MemoryFile>(bytes), "m.pt");
}

const Json& cases() {
  static const Json all = golden::read_json(kFolder + "cases.json");
  return all;
}

}  // namespace

TEST_CASE("torch file: all honest files give what torch.load gives, made contiguous") {
  const auto expected = Checkpoint::open(kFolder + "expected.safetensors", Host{});
  REQUIRE(expected.ok());
  int n_tensors = 0;
  for (const Json& one : cases().at("files")) {
    const auto name = one.at("file").get<std::string>();
    INFO(name);
    const auto file = TorchFile::open(source_of(name), name);
    INFO(file.status().message());
    REQUIRE(file.ok());
    CHECK((*file)->tensors().size() == one.at("tensors").size());
    const std::string prefix = one.contains("prefix") ? "model." : "";
    for (const auto& [key, tensor] : one.at("tensors").items()) {
      INFO(key);
      ++n_tensors;
      const TensorInfo* found = (*file)->find(prefix + key);
      REQUIRE(found != nullptr);
      const TensorInfo* wanted = (*expected)->find(tensor.at("expected").get<std::string>());
      REQUIRE(wanted != nullptr);
      CHECK(Json(std::vector<int64_t>(found->shape.extents().begin(),
                                      found->shape.extents().end())) == tensor.at("shape"));
      REQUIRE(found->bytes == wanted->bytes);
      std::string ours(found->bytes, '\0'), theirs(wanted->bytes, '\0');
      REQUIRE((*file)->read(*found, 0, ours.size(), ours.data()).ok());
      REQUIRE((*expected)->read(*wanted, 0, theirs.size(), theirs.data()).ok());
      CHECK(ours == theirs);
      // Any range of it reads the same, also where one begins inside an element.
      for (size_t from = 0; from < ours.size(); from += 7) {
        const size_t n = std::min<size_t>(13, ours.size() - from);
        std::string part(n, '\0');
        REQUIRE((*file)->read(*found, from, n, part.data()).ok());
        REQUIRE(part == ours.substr(from, n));
      }
      char behind;
      CHECK_FALSE((*file)->read(*found, found->bytes, 1, &behind).ok());
    }
  }
  CHECK(n_tensors == 32);
}

TEST_CASE("torch file: types are those that torch wrote") {
  const auto file = TorchFile::open(source_of("02_dtypes.pt"), "d.pt");
  REQUIRE(file.ok());
  const std::pair<const char*, Dtype> types[] = {
      {"f16", Dtype::f16}, {"bf16", Dtype::bf16},    {"f32", Dtype::f32},   {"f64", Dtype::f64},
      {"i8", Dtype::i8},   {"u8", Dtype::u8},        {"i16", Dtype::i16},   {"i32", Dtype::i32},
      {"i64", Dtype::i64}, {"bool", Dtype::boolean}, {"f8", Dtype::f8_e4m3}};
  for (const auto& [name, type] : types) {
    INFO(name);
    REQUIRE((*file)->find(name) != nullptr);
    CHECK((*file)->find(name)->dtype == type);
  }
  CHECK((*file)->find("nothing") == nullptr);
}

TEST_CASE("torch file: objects of training stay closed, their names and plain values are told") {
  const auto file = TorchFile::open(source_of("07_megatron_like.pt"), "m.pt");
  REQUIRE(file.ok());
  using Opaque = std::vector<std::pair<std::string, std::string>>;
  CHECK((*file)->opaque() ==
        Opaque{{"args", "argparse.Namespace"},
               {"model.decoder.layers.0.self_attention.linear_qkv._extra_state", "_io.BytesIO"}});
  Json scalars = Json::object();
  for (const auto& [path, value] : (*file)->scalars()) scalars[path] = value;
  CHECK(scalars.at("checkpoint_version") == 3.0);
  CHECK(scalars.at("iteration") == 0);
  CHECK(scalars.at("args.num_layers") == 2);
}

TEST_CASE("torch file: every hostile file is refused with a sentence, in little memory") {
  int n = 0;
  for (const Json& one : cases().at("hostile")) {
    const auto name = one.at("file").get<std::string>();
    INFO(name);
    const auto source = source_of(name);
    const size_t before = counted_memory::held;
    counted_memory::most = before;
    const auto file = TorchFile::open(source, name);
    const size_t most = counted_memory::most;
    REQUIRE_FALSE(file.ok());
    const Status& status = file.status();
    INFO(status.message());
    CHECK((status.code() == Code::format || status.code() == Code::unsupported));
    CHECK(status.message().find(name) != std::string::npos);
    CHECK(most - before < (size_t{64} << 20));
    ++n;
  }
  CHECK(n == 14);
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::current_path())) {
    CHECK(entry.path().filename().string().find("PWNED") == std::string::npos);
  }
}

TEST_CASE("torch file: the sentence says what a file wanted to run or where it is broken") {
  const std::pair<const char*, const char*> known[] = {
      {"evil_01_os_system.pt", "posix.system"},
      {"evil_02_getattr_chain.pt", "__builtin__.getattr"},
      {"evil_03_huge_binbytes.pt", "4611686018427387904"},
      {"evil_04_recursion.pt", "64 levels"},
      {"evil_05_build_setstate.pt", "ctypes.CDLL"},
      {"evil_06_torch_global.pt", "torch.hub.load"},
      {"evil_07_stack_global.pt", "posix.system"},
      {"evil_09_inst_obj.pt", "opcode"},
      {"evil_10_truncated.pt", "directory"},
      {"evil_11_storage_too_short.pt", "has 8 bytes, wanted are 240"},
      {"evil_12_storage_missing.pt", "missing"},
      {"evil_13_negative_stride_size.pt", "-1"},
      {"evil_14_size_overflow.pt", "4611686018427387904"}};
  for (const auto& [name, word] : known) {
    INFO(name);
    const auto file = TorchFile::open(source_of(name), name);
    INFO(file.status().message());
    CHECK(file.status().message().find(word) != std::string::npos);
  }
}

TEST_CASE("torch file: a file cut anywhere or with any byte changed never reads outside of it") {
  for (const char* name : {"03_shared_storage.pt", "05_legacy.pt", "07_megatron_like.pt"}) {
    const std::string whole = bytes_of(name);
    for (size_t n = 0; n < whole.size(); ++n) {
      const auto file = open_bytes(whole.substr(0, n));
      INFO(name << " cut at " << n);
      REQUIRE_FALSE(file.ok());
      REQUIRE(file.status().code() != Code::io);
    }
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const int change : {0x01, 0x80, 0xFF}) {
        std::string changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ change);
        const auto file = open_bytes(changed);
        INFO(name << " changed at " << at);
        if (!file.ok()) {
          REQUIRE(file.status().code() != Code::io);
          continue;
        }
        for (const TensorInfo& tensor : (*file)->tensors()) {
          std::string bytes(std::min<uint64_t>(tensor.bytes, 4096), '\0');
          REQUIRE((*file)->read(tensor, 0, bytes.size(), bytes.data()).ok());
        }
      }
    }
  }
}

TEST_CASE("pickle: integers of every width, and what is left on the stack") {
  const auto value = [](std::string_view bytes) {
    const auto pickle = read_pickle(bytes, "p");
    REQUIRE(pickle.ok());
    return (*pickle)[pickle->root];
  };
  using namespace std::string_view_literals;
  CHECK(value("\x80\x02J\xFF\xFF\xFF\xFF."sv).integer == -1);
  CHECK(value("K\xFF."sv).integer == 255);
  CHECK(value("M\x00\x01."sv).integer == 256);
  CHECK(value("\x8a\x00."sv).integer == 0);
  CHECK(value("\x8a\x01\xFE."sv).integer == -2);
  CHECK(value("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80."sv).integer == INT64_MIN);
  CHECK(value("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00."sv).kind == PickleKind::big_integer);
  CHECK(value("G\x3F\xF8\x00\x00\x00\x00\x00\x00."sv).real() == 1.5);
  for (const std::string_view broken : {""sv,
                                        "."sv,
                                        "NN."sv,
                                        "(N."sv,
                                        "0."sv,
                                        "t."sv,
                                        "(a."sv,
                                        "h\x05."sv,
                                        "R."sv,
                                        "}K\x01s."sv,
                                        "}(K\x01u."sv,
                                        "]}K\x01u."sv,
                                        "X\xFF\xFF\xFF\xFF."sv,
                                        "\x80\x09N."sv,
                                        "cos\nsystem\n."sv,
                                        "cos\nsystem"sv,
                                        "I1\n."sv,
                                        "Q."sv,
                                        "NQ."sv,
                                        "N}b."sv,
                                        "(]K\x01)a."sv}) {
    INFO(std::string(broken));
    CHECK_FALSE(read_pickle(broken, "p").ok());
  }
  CHECK_FALSE(is_known_name("torch.hub", "load"));
  CHECK_FALSE(is_known_name("builtins", "eval"));
  CHECK_FALSE(is_known_name("builtins", ""));
  CHECK_FALSE(is_known_name("torch", "float32 float16"));
  CHECK_FALSE(is_known_name("megatron", "x"));
  CHECK(is_known_name("megatron.core.enums", "ModelType"));
}

TEST_CASE("zip index: the checksum is that of the well-known example") {
  CHECK(crc32(0, "123456789", 9) == 0xCBF43926u);
  CHECK(crc32(crc32(0, "1234", 4), "56789", 5) == 0xCBF43926u);
  CHECK(crc32(0, "", 0) == 0);
}
