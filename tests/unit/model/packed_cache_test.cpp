#include "model/packed_cache.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "model/model.h"
#include "support/golden.h"

namespace fs = std::filesystem;
using mm2::Host;
using mm2::Model;

namespace {

/// A folder of its own, removed in the end.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "mm2_packed_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(path_)) found.push_back(entry.path());
    return found;
  }

 private:
  fs::path path_;
};

struct Loaded {
  std::shared_ptr<const Model> model;
  std::vector<std::string> warnings;

  bool from_cache() const { return model->weight_bytes().owned == 0; }
};

Loaded load(const fs::path& checkpoint, const fs::path& cache) {
  Loaded loaded;
  Host host;
  host.log = mm2::Log(mm2::LogLevel::warning, [&](mm2::LogLevel, auto, std::string_view text) {
    loaded.warnings.emplace_back(text);
  });
  mm2::ModelOptions options;
  options.packed_cache = cache.string();
  options.n_threads = 2;
  auto model = Model::load(checkpoint.string(), options, host);
  INFO(model.status().message());
  REQUIRE(model.ok());
  loaded.model = *model;
  return loaded;
}

bool same_weights(const Model& a, const Model& b) {
  const auto same = [](const mm2::kernels::Matrix& x, const mm2::kernels::Matrix& y,
                       const mm2::kernels::Backend& backend) {
    const int64_t bytes = backend.packed_bytes(&x.format, x.n_out, x.n_in);
    return x.output_scale == y.output_scale && x.output_divides == y.output_divides &&
           std::memcmp(x.data, y.data, static_cast<size_t>(bytes)) == 0;
  };
  bool all = same(a.weights().lm_head, b.weights().lm_head, a.backend());
  for (int32_t l = 0; l < a.shape().n_layers; ++l) {
    const auto &x = a.weights().layers[l], &y = b.weights().layers[l];
    all &= same(x.q, y.q, a.backend()) && same(x.router, y.router, a.backend());
    for (int32_t e = 0; e < a.shape().n_experts; ++e) {
      all &= same(x.experts[e].down, y.experts[e].down, a.backend());
    }
  }
  return all;
}

}  // namespace

TEST_CASE("packed cache: the second load maps what the first has packed") {
  for (const char* name : {"bf16", "fp8", "nvfp4_modelopt", "gptq_desc_act"}) {
    INFO(name);
    const Folder folder;
    const Loaded first = load(golden::kModels + name, folder.path() / "made");
    CHECK_FALSE(first.from_cache());
    const Loaded second = load(golden::kModels + name, folder.path() / "made");
    CHECK(second.from_cache());
    CHECK(second.warnings == first.warnings);
    CHECK(same_weights(*first.model, *second.model));
  }
}

TEST_CASE("packed cache: any changed byte, and any other length, means that it is written anew") {
  const Folder folder;
  const std::string checkpoint = golden::kModels + "ct_nvfp4";
  const Loaded first = load(checkpoint, folder.path());
  REQUIRE(folder.files().size() == 1);
  const fs::path file = folder.files()[0];
  const auto size = static_cast<std::streamoff>(fs::file_size(file));
  for (const std::streamoff at : {std::streamoff{0}, std::streamoff{12}, std::streamoff{45},
                                  std::streamoff{4096}, size / 2, size - 1}) {
    INFO("byte " << at << " of " << size);
    {
      std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
      stream.seekg(at);
      const auto byte = static_cast<char>(stream.get() ^ 0x10);
      stream.seekp(at);
      stream.put(byte);
    }
    const Loaded again = load(checkpoint, folder.path());
    CHECK_FALSE(again.from_cache());
    REQUIRE(again.warnings.size() == first.warnings.size() + 1);
    CHECK(again.warnings.back().find(file.filename().string()) != std::string::npos);
    CHECK(same_weights(*first.model, *again.model));
    CHECK(load(checkpoint, folder.path()).from_cache());
  }
  fs::resize_file(file, fs::file_size(file) - 1);
  CHECK_FALSE(load(checkpoint, folder.path()).from_cache());
  CHECK(load(checkpoint, folder.path()).from_cache());
}

TEST_CASE("packed cache: a checkpoint that was written anew has another file") {
  const Folder folder;
  const fs::path checkpoint = folder.path() / "model", cache = folder.path() / "cache";
  fs::copy(golden::kModels + "bf16_single", checkpoint, fs::copy_options::recursive);
  load(checkpoint, cache);
  CHECK(load(checkpoint, cache).from_cache());
  const fs::path shard = checkpoint / "model.safetensors";
  fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(2));
  CHECK_FALSE(load(checkpoint, cache).from_cache());
  CHECK(load(checkpoint, cache).from_cache());
}

TEST_CASE("packed cache: where nothing can be written the model loads, with a warning") {
  const Folder folder;
  std::ofstream(folder.path() / "file") << "no folder";
  const Loaded loaded = load(golden::kModels + "bf16_single", folder.path() / "file" / "below");
  CHECK_FALSE(loaded.from_cache());
  REQUIRE_FALSE(loaded.warnings.empty());
  CHECK(loaded.warnings.back().find("below") != std::string::npos);
}
