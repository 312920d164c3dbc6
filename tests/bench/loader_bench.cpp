// Speed of opening and reading checkpoints, beside what the general JSON parser and a bare read
// loop reach on the same bytes.
//
//   loader_bench FOLDER [GIB]
//
// Writes into FOLDER (removed at the end) the official checkpoint's 96,103 tensor names as 126
// sparse shards of true size, 230 GB in name only, and one file of GIB gibibytes (default 1) with
// data. Prints the best of several runs; data is in the page cache.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/json.h"
#include "format/atomic_writer.h"
#include "format/checkpoint.h"
#include "format/names.h"
#include "quant/check.h"
#include "tools/tensor_pass.h"

namespace {

using namespace mm2;

constexpr int kShards = 126;

template <typename Work>
double best_seconds(int runs, Work work) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    best = std::min(best, taken.count());
  }
  return best;
}

[[noreturn]] void give_up(const Status& status) {
  std::fprintf(stderr, "loader_bench: %s\n", status.message().c_str());
  std::exit(1);
}

ModelConfig official() {
  ModelConfig c;
  c.n_layers = 62;
  c.hidden = 3072;
  c.n_heads = 48;
  c.n_kv_heads = 8;
  c.head_dim = 128;
  c.rotary_dim = 64;
  c.n_experts = 256;
  c.top_k = 8;
  c.intermediate = 1536;
  c.n_vocab = 200064;
  return c;
}

// Tensors that exist nowhere: locate() then says what the official names and shapes are.
class Nothing final : public TensorSource {
 public:
  std::span<const TensorInfo> tensors() const override { return {}; }
  const TensorInfo* find(std::string_view) const override { return nullptr; }
  Status read(const TensorInfo&, uint64_t, size_t, void*) const override { return {}; }
  const std::byte* map(const TensorInfo&) const override { return nullptr; }
  std::string_view file_of(const TensorInfo&) const override { return {}; }
};

std::vector<SafetensorsWriter::Tensor> official_tensors(const ModelConfig& c) {
  const Nothing nothing;
  std::vector<SafetensorsWriter::Tensor> tensors;
  const auto add = [&](Role role, int32_t layer, int32_t expert) {
    const WeightPlace place = locate(c, nothing, role, layer, expert);
    if (!is_linear(role)) {
      const bool router = role == Role::router || role == Role::router_bias;
      tensors.push_back({place.name, router ? Dtype::f32 : Dtype::bf16, place.shape});
      return;
    }
    tensors.push_back({place.name, Dtype::f8_e4m3, place.shape});
    tensors.push_back(
        {place.name + "_scale_inv", Dtype::f32, Shape{place.n_rows() / 128, place.n_cols() / 128}});
  };
  add(Role::embedding, -1, -1);
  for (int32_t layer = 0; layer < c.n_layers; ++layer) {
    for (int role = static_cast<int>(Role::input_norm); role < kRoles; ++role) {
      const bool of_expert = role >= static_cast<int>(Role::w1);
      if (role == static_cast<int>(Role::lm_head) || role == static_cast<int>(Role::final_norm)) {
        continue;
      }
      for (int32_t expert = 0; expert < (of_expert ? c.n_experts : 1); ++expert) {
        add(static_cast<Role>(role), layer, of_expert ? expert : -1);
      }
    }
  }
  add(Role::final_norm, -1, -1);
  add(Role::lm_head, -1, -1);
  return tensors;
}

std::string header_json(std::span<const SafetensorsWriter::Tensor> tensors, uint64_t& bytes) {
  std::string json = "{";
  bytes = 0;
  for (const auto& tensor : tensors) {
    const uint64_t end = bytes + tensor_bytes(tensor.shape, tensor.dtype).value();
    json += join(json.size() > 1 ? "," : "", "\"", tensor.name, "\":{\"dtype\":\"",
                 dtype_name(tensor.dtype), "\",\"shape\":", tensor.shape.to_string(),
                 ",\"data_offsets\":[", bytes, ",", end, "]}");
    bytes = end;
  }
  return json + "}";
}

// A header in front of a hole of the right size.
void write_sparse(const std::string& path, const std::string& json, uint64_t data_bytes) {
  std::string head(8, '\0');
  for (size_t i = 0; i < 8; ++i) head[i] = static_cast<char>(json.size() >> (8 * i));
  if (const Status written = write_text_file(path, head + json); !written.ok()) give_up(written);
  if (truncate(path.c_str(), static_cast<off_t>(head.size() + json.size() + data_bytes)) != 0) {
    give_up(errno_error("making " + path + " sparse", errno));
  }
}

void write_checkpoint(const std::string& folder,
                      std::span<const SafetensorsWriter::Tensor> tensors) {
  std::string index = "{\"metadata\":{},\"weight_map\":{";
  bool first = true;
  for (size_t shard = 0; shard < kShards; ++shard) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05d.safetensors", shard, kShards);
    const size_t begin = tensors.size() * shard / kShards,
                 end = tensors.size() * (shard + 1) / kShards;
    uint64_t bytes = 0;
    const std::string json = header_json(tensors.subspan(begin, end - begin), bytes);
    write_sparse(join_path(folder, name), json, bytes);
    for (size_t i = begin; i < end; ++i) {
      index += join(first ? "" : ",", "\"", tensors[i].name, "\":\"", std::string(name), "\"");
      first = false;
    }
  }
  const Status written =
      write_text_file(join_path(folder, "model.safetensors.index.json"), index + "}}");
  if (!written.ok()) give_up(written);
}

void measure_headers(std::span<const SafetensorsWriter::Tensor> tensors) {
  uint64_t bytes = 0;
  const std::string json = header_json(tensors, bytes);
  const double ours = best_seconds(5, [&] {
    const auto parsed = parse_safetensors_header(json, 0, bytes, "header");
    if (!parsed.ok()) give_up(parsed.status());
  });
  const double theirs = best_seconds(3, [&] {
    if (const auto parsed = parse_json(json, "header"); !parsed.ok()) give_up(parsed.status());
  });
  const double megabytes = static_cast<double>(json.size()) * 1e-6;
  std::printf("%-34s %8.1f ms %8.1f MB/s %zu tensors\n", "header, checked", ours * 1e3,
              megabytes / ours, tensors.size());
  std::printf("%-34s %8.1f ms %8.1f MB/s\n", "header, general JSON document", theirs * 1e3,
              megabytes / theirs);
}

void measure_open(const std::string& folder, const ModelConfig& config) {
  std::shared_ptr<Checkpoint> checkpoint;
  const double open = best_seconds(5, [&] {
    auto opened = Checkpoint::open(folder, Host{});
    if (!opened.ok()) give_up(opened.status());
    checkpoint = *std::move(opened);
  });
  QuantConfig quant;
  quant.method = "fp8";
  const double check = best_seconds(3, [&] {
    const auto places = locate_all(config, *checkpoint);
    const auto checked =
        check_weights(places, *checkpoint, quant, {.executable = false, .scales = false});
    if (!checked.ok()) give_up(checked.status());
  });
  std::printf("%-34s %8.1f ms %d shards, %.1f GB\n", "open the official layout", open * 1e3,
              kShards, static_cast<double>(checkpoint->tensor_bytes()) * 1e-9);
  std::printf("%-34s %8.1f ms\n", "check it against its config", check * 1e3);
}

std::string write_data(const std::string& folder, uint64_t bytes) {
  constexpr int64_t kRows = 64;
  std::vector<SafetensorsWriter::Tensor> tensors;
  for (int64_t row = 0; row < kRows; ++row) {
    tensors.push_back(
        {join("t.", row), Dtype::bf16, Shape{static_cast<int64_t>(bytes / 2 / kRows)}});
  }
  const std::string path = join_path(folder, "data.safetensors");
  auto writer = SafetensorsWriter::create(path, tensors);
  if (!writer.ok()) give_up(writer.status());
  const std::vector<uint16_t> piece(bytes / 2 / kRows, 0x3f80);
  for (int64_t row = 0; row < kRows; ++row) {
    if (const Status put = (*writer)->append(piece.data(), piece.size() * 2); !put.ok())
      give_up(put);
  }
  if (const Status done = (*writer)->publish(); !done.ok()) give_up(done);
  return path;
}

// The baseline: nothing but pread, as many threads.
double bare_read_seconds(const std::string& path, Executor& executor) {
  constexpr size_t kPiece = 4 << 20;
  const uint64_t size = std::filesystem::file_size(path);
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::vector<std::vector<char>> buffers(static_cast<size_t>(executor.n_workers()),
                                         std::vector<char>(kPiece));
  std::atomic<uint64_t> sum = 0;
  const double seconds = best_seconds(5, [&] {
    executor.run(
        static_cast<int32_t>((size + kPiece - 1) / kPiece), [&](int32_t task, int32_t worker) {
          const ssize_t got = pread(descriptor, buffers[static_cast<size_t>(worker)].data(), kPiece,
                                    static_cast<off_t>(kPiece) * task);
          sum += static_cast<uint64_t>(std::max<ssize_t>(got, 0));
        });
  });
  close(descriptor);
  return seconds;
}

void measure_data(const std::string& path, int32_t n_threads) {
  auto executor = make_thread_team(n_threads);
  if (!executor.ok()) give_up(executor.status());
  const auto opened = Checkpoint::open(path, Host{});
  if (!opened.ok()) give_up(opened.status());
  const double gigabytes = static_cast<double>((*opened)->tensor_bytes()) * 1e-9;
  const double bare = bare_read_seconds(path, **executor);
  const auto report = [&](const char* what, double seconds) {
    std::printf("%-34s %8.1f ms %8.2f GB/s %6.2f of bare reads, %d threads\n", what, seconds * 1e3,
                gigabytes / seconds, bare / seconds, n_threads);
  };
  const auto pass = [&](bool scan, HashKind hash) {
    return best_seconds(3, [&] {
      const auto findings = pass_over_tensors(**opened, scan, hash, **executor, Host{});
      if (!findings.ok()) give_up(findings.status());
    });
  };
  report("bare reads", bare);
  report("scan for NaN and infinity", pass(true, HashKind::none));
  report("XXH3 of every tensor", pass(false, HashKind::xxh3));
  report("SHA-256 of every tensor", pass(false, HashKind::sha256));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: loader_bench FOLDER [GIB]\n");
    return 1;
  }
  const std::string folder = join_path(argv[1], "loader_bench_files");
  const double gibibytes = argc > 2 ? std::atof(argv[2]) : 1;
  std::filesystem::create_directories(folder);
  const ModelConfig config = official();
  const auto tensors = official_tensors(config);
  measure_headers(tensors);
  write_checkpoint(folder, tensors);
  measure_open(folder, config);
  const std::string data = write_data(folder, static_cast<uint64_t>(gibibytes * 1024) << 20);
  measure_data(data, 1);
  measure_data(data, usable_cores());
  std::filesystem::remove_all(folder);
  return 0;
}
