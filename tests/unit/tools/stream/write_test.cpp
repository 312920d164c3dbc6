#include "tools/stream/write.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>

#include "format/checkpoint.h"
#include "tools/stream/journal.h"
#include "unit/format/temp_folder.h"

using namespace mm2;
namespace fs = std::filesystem;

namespace {

std::byte number(uint32_t tensor, uint64_t at) {
  return static_cast<std::byte>((tensor * 131 + at * 7 + at / 251) & 0xff);
}

// A dozen tensors of different sizes; every one is filled in two ranges but the small ones.
WritePlan sample_plan() {
  WritePlan plan;
  for (uint32_t i = 0; i < 12; ++i) {
    const int64_t rows = 1 + 5 * i, cols = 40 + i;
    const uint32_t tensor = plan.add(join("t", i), Dtype::u8, {rows, cols});
    const auto bytes = static_cast<uint64_t>(rows * cols);
    const uint64_t half = i % 3 == 0 ? bytes : bytes / 2;
    for (const auto& [from, n] : {std::pair(uint64_t{0}, half), std::pair(half, bytes - half)}) {
      if (n == 0) continue;
      Piece piece;
      piece.outputs = {{tensor, from, n}};
      piece.bytes_read = n;
      piece.scratch = 100;
      piece.run = [tensor, start = from](PieceRun& run) -> Status {
        for (size_t k = 0; k < run.outputs[0].size(); ++k) {
          run.outputs[0][k] = number(tensor, start + k);
        }
        run.note = {{"tensor", tensor}};
        return {};
      };
      plan.pieces.push_back(std::move(piece));
    }
  }
  plan.files = {{"config.json", "{}\n", ""}};
  plan.recipe = {{"what", "a sample"}};
  return plan;
}

WriteOptions options_for(const TempFolder& folder, const std::string& name) {
  WriteOptions options;
  options.verb = "sample";
  options.options = {{"out", folder / name}};
  options.out = folder / name;
  options.max_shard = 4000;
  return options;
}

Status write(const WritePlan& plan, const WriteOptions& options, int32_t threads = 2,
             const Host& host = {}) {
  const auto executor = make_thread_team(threads);
  REQUIRE(executor.ok());
  Json report;
  return write_checkpoint(plan, options, **executor, host, &report);
}

std::map<std::string, std::string> content(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    files[entry.path().filename().string()] = read_file(entry.path().string());
  }
  return files;
}

std::string first_shard(const std::string& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model-00001-of-")) return entry.path().string();
  }
  FAIL("no shard in " << folder);
  return {};
}

bool leaves_nothing(const std::string& out) {
  return !fs::exists(out) && !fs::exists(out + ".partial") && !fs::exists(out + ".journal");
}

}  // namespace

TEST_CASE("write: what was planned can be opened as a checkpoint, with index, manifest and files") {
  const TempFolder folder;
  const WritePlan plan = sample_plan();
  const Status written = write(plan, options_for(folder, "out"));
  INFO(written.message());
  REQUIRE(written.ok());
  const auto opened = Checkpoint::open(folder / "out", {});
  REQUIRE(opened.ok());
  const Checkpoint& checkpoint = **opened;
  REQUIRE(checkpoint.shards().size() > 2);
  REQUIRE(checkpoint.tensors().size() == plan.tensors.size());
  for (uint32_t i = 0; i < plan.tensors.size(); ++i) {
    const TensorInfo* tensor = checkpoint.find(plan.tensors[i].name);
    REQUIRE(tensor != nullptr);
    std::vector<std::byte> bytes(tensor->bytes);
    REQUIRE(checkpoint.read(*tensor, 0, bytes.size(), bytes.data()).ok());
    bool same = true;
    for (size_t k = 0; k < bytes.size(); ++k) same &= bytes[k] == number(i, k);
    CHECK(same);
  }
  const auto files = content(folder / "out");
  CHECK(files.at("config.json") == "{}\n");
  const auto index = parse_json(files.at("model.safetensors.index.json"), "index");
  REQUIRE(index.ok());
  CHECK((*index)["metadata"]["total_size"] == plan.bytes());
  const auto manifest = parse_json(files.at("manifest.json"), "manifest");
  REQUIRE(manifest.ok());
  CHECK((*manifest)["tensors"].size() == plan.tensors.size());
  CHECK((*manifest)["recipe"] == plan.recipe);
  CHECK_FALSE(fs::exists(folder / "out.journal"));
}

TEST_CASE("write: bytes do not depend on threads or memory") {
  const TempFolder folder;
  const WritePlan plan = sample_plan();
  REQUIRE(write(plan, options_for(folder, "one"), 1).ok());
  for (const int32_t threads : {2, 5}) {
    const std::string name = join("out", threads);
    WriteOptions options = options_for(folder, name);
    if (threads == 5) options.mem = plan.largest_piece() * 2;
    REQUIRE(write(plan, options, threads).ok());
    CHECK(content(folder / "one") == content(folder / name));
  }
}

TEST_CASE("write: a run stopped after any piece is continued to the same bytes") {
  const TempFolder folder;
  const WritePlan plan = sample_plan();
  REQUIRE(write(plan, options_for(folder, "whole")).ok());
  for (size_t stop = 1; stop <= plan.pieces.size(); ++stop) {
    const std::string name = join("out", stop);
    WriteOptions options = options_for(folder, name);
    std::atomic<size_t> n = 0;
    Host host;
    host.progress = [&](const Progress&) { return ++n < stop; };
    const Status stopped = write(plan, options, 1, host);
    REQUIRE(stopped.code() == Code::cancelled);
    CHECK_FALSE(fs::exists(options.out));
    CHECK(write(plan, options).code() == Code::invalid_argument);  // OUT.partial is there
    options.resume = true;
    size_t again = 0;
    host.progress = [&](const Progress&) { return ++again > 0; };
    REQUIRE(write(plan, options, 1, host).ok());
    CHECK(again == plan.pieces.size() - stop);
    CHECK(content(folder / "whole") == content(options.out));
  }
}

TEST_CASE("write: a process killed at any piece leaves what resume ends") {
  const TempFolder folder;
  const WritePlan plan = sample_plan();
  REQUIRE(write(plan, options_for(folder, "whole")).ok());
  for (int kill_at = 0; kill_at <= static_cast<int>(plan.pieces.size()); kill_at += 3) {
    WriteOptions options = options_for(folder, join("out", kill_at));
    const pid_t child = fork();
    if (child == 0) {
      std::atomic<int> n = 0;
      Host host;
      host.progress = [&](const Progress&) {
        if (n++ >= kill_at) raise(SIGKILL);
        return true;
      };
      const auto executor = inline_executor();
      Json report;
      (void)write_checkpoint(plan, options, *executor, host, &report);
      _exit(0);
    }
    REQUIRE(child > 0);
    int ended = 0;
    REQUIRE(waitpid(child, &ended, 0) == child);
    if (kill_at < static_cast<int>(plan.pieces.size())) {
      REQUIRE_FALSE(fs::exists(options.out));
      options.resume = true;
      REQUIRE(write(plan, options).ok());
    }
    CHECK(content(folder / "whole") == content(options.out));
  }
}

TEST_CASE("write: a resumed run trusts nothing that it cannot read back") {
  const TempFolder folder;
  const WritePlan plan = sample_plan();
  REQUIRE(write(plan, options_for(folder, "whole")).ok());
  WriteOptions options = options_for(folder, "out");
  Host host;
  std::atomic<int> n = 0;
  host.progress = [&](const Progress&) { return ++n < 9; };
  REQUIRE(write(plan, options, 1, host).code() == Code::cancelled);
  options.resume = true;
  SECTION("a byte that changed on disk is written again") {
    const std::string file = first_shard(folder / "out.partial");
    std::string bytes = read_file(file);
    bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 1);
    REQUIRE(write_text_file(file, bytes).ok());
  }
  SECTION("a file that is gone is made again") {
    REQUIRE(fs::remove(first_shard(folder / "out.partial")));
  }
  SECTION("the folder that is gone is made again") {
    fs::remove_all(folder / "out.partial");
  }
  SECTION("a journal cut in the middle of a line counts its whole lines") {
    const std::string journal = read_file(folder / "out.journal");
    REQUIRE(write_text_file(folder / "out.journal", journal.substr(0, journal.size() - 7)).ok());
  }
  const Status resumed = write(plan, options);
  INFO(resumed.message());
  REQUIRE(resumed.ok());
  CHECK(content(folder / "whole") == content(options.out));
}

TEST_CASE("write: a plan that is not the one that was begun is refused") {
  const TempFolder folder;
  WriteOptions options = options_for(folder, "out");
  Host host;
  host.progress = [](const Progress&) { return false; };
  REQUIRE(write(sample_plan(), options, 1, host).code() == Code::cancelled);
  WritePlan other = sample_plan();
  other.recipe["what"] = "another";
  options.resume = true;
  CHECK(write(other, options).code() == Code::format);
  CHECK(write(sample_plan(), options).ok());
}

TEST_CASE("write: work begun on one input is not continued on another of the same shapes") {
  const TempFolder folder;
  fs::create_directories(folder / "in");
  folder.write("in/model.safetensors", "before");
  WritePlan plan = sample_plan();
  plan.inputs = {folder / "in"};
  WriteOptions options = options_for(folder, "out");
  Host host;
  host.progress = [](const Progress&) { return false; };
  REQUIRE(write(plan, options, 1, host).code() == Code::cancelled);
  options.resume = true;
  SECTION("a file with other bytes") {
    folder.write("in/model.safetensors", "behind");
    fs::last_write_time(folder / "in/model.safetensors",
                        fs::file_time_type::clock::now() + std::chrono::seconds(2));
    CHECK(write(plan, options).code() == Code::format);
  }
  SECTION("a file more") {
    folder.write("in/more.safetensors", "");
    CHECK(write(plan, options).code() == Code::format);
  }
  SECTION("the same") {
    CHECK(write(plan, options).ok());
  }
}

TEST_CASE("write: places that would harm an input or something that is there are refused") {
  const TempFolder folder;
  fs::create_directories(folder / "in/inner");
  fs::create_directories(folder / "taken");
  WritePlan plan = sample_plan();
  plan.inputs = {folder / "in"};
  const auto code = [&](const std::string& out) {
    WriteOptions options = options_for(folder, out);
    return write(plan, options).code();
  };
  CHECK(code("in") == Code::invalid_argument);
  CHECK(code("in/out") == Code::invalid_argument);
  CHECK(code("in/inner/../out") == Code::invalid_argument);
  CHECK(code("taken") == Code::invalid_argument);
  CHECK(code("nowhere/out") == Code::not_found);
  plan.inputs = {folder / "out/inside"};
  CHECK(code("out") == Code::invalid_argument);
  CHECK(leaves_nothing(folder / "in/out"));
  CHECK(leaves_nothing(folder / "out"));
}

TEST_CASE("write: more than the disk has is refused before anything is written") {
  const TempFolder folder;
  WritePlan plan;
  const uint32_t tensor = plan.add("huge", Dtype::u8, {int64_t{1} << 60});
  plan.pieces.push_back({{{tensor, 0, uint64_t{1} << 60}}, 0, 0, {}, {}});
  const Status status = write(plan, options_for(folder, "out"));
  CHECK(status.code() == Code::io);
  CHECK(status.message().find("are free") != std::string::npos);
  CHECK(leaves_nothing(folder / "out"));
}

TEST_CASE("write: a piece that fails ends the run and leaves nothing") {
  const TempFolder folder;
  WritePlan plan = sample_plan();
  plan.pieces[7].run = [](PieceRun&) { return error(Code::format, "tensor t4 is not a number"); };
  const Status status = write(plan, options_for(folder, "out"));
  CHECK(status.code() == Code::format);
  CHECK(status.message() == "tensor t4 is not a number");
  CHECK(leaves_nothing(folder / "out"));
}

TEST_CASE("write: a piece larger than the memory is refused with both numbers") {
  const TempFolder folder;
  const WritePlan plan = sample_plan();
  WriteOptions options = options_for(folder, "out");
  options.mem = 1000;
  const Status status = write(plan, options);
  CHECK(status.code() == Code::out_of_memory);
  CHECK(status.message().find("1000") != std::string::npos);
  CHECK(status.message().find(join(plan.largest_piece())) != std::string::npos);
}

TEST_CASE("write: a dry run says what would be and touches nothing") {
  const TempFolder folder;
  const WritePlan plan = sample_plan();
  WriteOptions options = options_for(folder, "out");
  options.dry_run = true;
  const auto executor = inline_executor();
  Json report;
  REQUIRE(write_checkpoint(plan, options, *executor, {}, &report).ok());
  CHECK(report["bytes"] == plan.bytes());
  CHECK(report["tensors"] == plan.tensors.size());
  CHECK(leaves_nothing(options.out));
}

TEST_CASE("plan: bytes that no piece writes, or two, are found") {
  WritePlan plan = sample_plan();
  REQUIRE(lay_out(plan, 1000).ok());
  SECTION("a gap") {
    plan.pieces.pop_back();
  }
  SECTION("twice") {
    plan.pieces.push_back(plan.pieces.front());
  }
  SECTION("beyond the end") {
    plan.pieces.back().outputs[0].n += 1;
  }
  const auto layout = lay_out(plan, 1000);
  REQUIRE_FALSE(layout.ok());
  CHECK(layout.status().code() == Code::internal);
}

TEST_CASE("plan: copies of neighbours are one piece, of large tensors several") {
  const TempFolder folder;
  const WritePlan sample = sample_plan();
  REQUIRE(write(sample, options_for(folder, "in")).ok());
  const auto opened = Checkpoint::open(folder / "in", {});
  REQUIRE(opened.ok());
  WritePlan plan;
  for (const TensorInfo& tensor : (*opened)->tensors()) {
    plan.copy(**opened, tensor, plan.add(tensor.name, tensor.dtype, tensor.shape));
  }
  CHECK(plan.pieces.size() == 1);
  CHECK(plan.bytes_read() == plan.bytes());
  plan.files = sample.files;
  REQUIRE(write(plan, options_for(folder, "out")).ok());
  auto in = content(folder / "in"), out = content(folder / "out");
  in.erase("manifest.json");
  out.erase("manifest.json");
  CHECK(in == out);
}
