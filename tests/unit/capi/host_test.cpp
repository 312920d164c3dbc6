#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "unit/capi/models.h"

namespace {

struct Memory {
  std::atomic<int64_t> held{0};
  std::atomic<int64_t> n_allocations{0};
  std::atomic<int64_t> left{INT64_MAX};  // allocations until there is no more memory

  static void* allocate(void* self, size_t size, size_t alignment) {
    auto& memory = *static_cast<Memory*>(self);
    if (memory.left-- <= 0) return nullptr;
    memory.held += static_cast<int64_t>(size);
    ++memory.n_allocations;
    return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  }
  static void release(void* self, void* pointer, size_t size, size_t) {
    static_cast<Memory*>(self)->held -= static_cast<int64_t>(size);
    std::free(pointer);
  }
  mm2_allocator allocator() { return {sizeof(mm2_allocator), 0, this, allocate, release}; }
};

/// A checkpoint in memory.
struct Files {
  std::map<std::string, std::string> contents;
  std::atomic<int> n_open{0};
  bool broken = false;

  explicit Files(const std::string& folder) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path(), std::ios::binary);
      contents["virtual/" + entry.path().filename().string()] =
          std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    }
  }
  static mm2_status open(void* self, const char* name, void** file, uint64_t* size,
                         mm2_error* err) {
    auto& files = *static_cast<Files*>(self);
    const auto found = files.contents.find(name);
    if (found == files.contents.end()) return MM2_E_NOT_FOUND;
    if (files.broken) {
      err->domain = MM2_DOMAIN_ERRNO;
      err->native_code = 5;
      std::strcpy(err->message, "the network is down");
      return MM2_E_IO;
    }
    *file = &found->second;
    *size = found->second.size();
    ++files.n_open;
    return MM2_OK;
  }
  static mm2_status read_at(void*, void* file, uint64_t offset, void* to, size_t size, mm2_error*) {
    std::memcpy(to, static_cast<std::string*>(file)->data() + offset, size);
    return MM2_OK;
  }
  static void close(void* self, void*) { --static_cast<Files*>(self)->n_open; }
  mm2_source source() { return {sizeof(mm2_source), 0, this, open, read_at, nullptr, close}; }
};

mm2_host empty_host() {
  mm2_host host;
  mm2_host_init(&host, sizeof host);
  return host;
}

mm2_status try_load(const mm2_host& host, const char* path, mm2_error* err) {
  mm2_model_options options;
  mm2_model_options_init(&options, sizeof options);
  options.host = &host;
  mm2_model* model = nullptr;
  const mm2_status status = mm2_model_load(path, &options, &model, err);
  mm2_model_destroy(model);
  return status;
}

}  // namespace

TEST_CASE("capi host: weights and KV come from the host's memory and all of it goes back") {
  Memory memory;
  const mm2_allocator allocator = memory.allocator();
  mm2_host host = empty_host();
  host.allocator = &allocator;
  {
    const auto model = models::load(&host);
    const int64_t weights = memory.held;
    CHECK(weights > 0);
    const auto engine = models::create(model.get(), models::small_options(&host));
    mm2_memory said;
    mm2_memory_init(&said, sizeof said);
    REQUIRE(mm2_engine_get_memory(engine.get(), &said, nullptr) == MM2_OK);
    CHECK(memory.held - weights >= static_cast<int64_t>(said.host_kv));
  }
  CHECK(memory.held == 0);
}

TEST_CASE(
    "capi host: an allocator that ignores the alignment is told so, at whichever allocation") {
  struct Askew : Memory {
    static void* allocate(void* self, size_t size, size_t alignment) {
      auto& memory = *static_cast<Askew*>(self);
      // Only the last one is askew, so that what came before has to go back.
      const int64_t shift = memory.left-- == 0 ? 16 : 0;
      memory.held += static_cast<int64_t>(size);
      ++memory.n_allocations;
      const size_t room = (size + alignment - 1) / alignment * alignment + alignment;
      return static_cast<char*>(std::aligned_alloc(alignment, room)) + shift;
    }
    static void release(void* self, void* pointer, size_t size, size_t) {
      static_cast<Askew*>(self)->held -= static_cast<int64_t>(size);
      std::free(reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(pointer) / 64 * 64));
    }
    mm2_allocator allocator() { return {sizeof(mm2_allocator), 0, this, allocate, release}; }
  };
  const auto try_with = [](Askew& memory, mm2_error* err) {
    const mm2_allocator allocator = memory.allocator();
    mm2_host host = empty_host();
    host.allocator = &allocator;
    mm2_model* model = nullptr;
    mm2_engine* engine = nullptr;
    mm2_model_options options;
    mm2_model_options_init(&options, sizeof options);
    options.host = &host;
    mm2_status status = mm2_model_load(models::kSmall.c_str(), &options, &model, err);
    if (status == MM2_OK) {
      const mm2_engine_options engine_options = models::small_options(&host);
      status = mm2_engine_create(model, &engine_options, &engine, err);
    }
    mm2_engine_destroy(engine);
    mm2_model_destroy(model);
    return status;
  };
  mm2_error err;
  mm2_error_init(&err, sizeof err);
  Askew counted;
  REQUIRE(try_with(counted, &err) == MM2_OK);
  REQUIRE(counted.n_allocations > 1);
  for (int64_t n = 0; n < counted.n_allocations; ++n) {
    Askew memory;
    memory.left = n;
    CHECK(try_with(memory, &err) == MM2_E_INVALID_ARGUMENT);
    CHECK(std::string(err.message).find("and gave an address 16 bytes beyond one") !=
          std::string::npos);
    CHECK(memory.held == 0);
  }
}

TEST_CASE(
    "capi host: when the host's memory ends, at whichever allocation, nothing is left behind") {
  Memory counted;
  mm2_allocator allocator = counted.allocator();
  mm2_host host = empty_host();
  host.allocator = &allocator;
  {
    const auto model = models::load(&host);
    models::create(model.get(), models::small_options(&host));
  }
  REQUIRE(counted.n_allocations > 0);
  for (int64_t n = 0; n < counted.n_allocations; ++n) {
    Memory memory;
    memory.left = n;
    allocator = memory.allocator();
    mm2_model* model = nullptr;
    mm2_engine* engine = nullptr;
    mm2_model_options options;
    mm2_model_options_init(&options, sizeof options);
    options.host = &host;
    mm2_status status = mm2_model_load(models::kSmall.c_str(), &options, &model, nullptr);
    if (status == MM2_OK) {
      const mm2_engine_options engine_options = models::small_options(&host);
      status = mm2_engine_create(model, &engine_options, &engine, nullptr);
    }
    CHECK(status == MM2_E_OUT_OF_MEMORY);
    CHECK(engine == nullptr);
    mm2_model_destroy(model);
    CHECK(memory.held == 0);
  }
}

TEST_CASE("capi host: a checkpoint can come from anywhere, and its files are closed") {
  Files files(models::kSmall);
  const mm2_source source = files.source();
  mm2_host host = empty_host();
  host.source = &source;
  { models::load(&host, "virtual"); }
  CHECK(files.n_open == 0);

  mm2_error err = models::no_error();
  CHECK(try_load(host, "elsewhere", &err) == MM2_E_NOT_FOUND);
  CHECK(std::string(err.message).find("elsewhere") != std::string::npos);
  files.broken = true;
  CHECK(try_load(host, "virtual", &err) == MM2_E_IO);
  CHECK(err.native_code == 5);
  CHECK(std::string(err.message).find("the network is down") != std::string::npos);
  CHECK(files.n_open == 0);
}

TEST_CASE("capi host: each object writes to its own log, on threads of their own") {
  struct Lines {
    std::string all;
    static void write(void* self, int32_t level, const char* component, const char* text,
                      size_t length) {
      static_cast<Lines*>(self)->all +=
          std::to_string(level) + " " + component + ": " + std::string(text, length) + "\n";
    }
  };
  const auto load_with_total = [](const std::string& total, int32_t level, Lines& lines) {
    Files files(std::string(MM2_TEST_DATA) + "/models/bf16");
    std::string& index = files.contents.at("virtual/model.safetensors.index.json");
    const size_t digits = index.find_first_of("0123456789", index.find("\"total_size\""));
    index.replace(digits, index.find_first_not_of("0123456789", digits) - digits, total);
    const mm2_source source = files.source();
    const mm2_log log{sizeof(mm2_log), level, &lines, Lines::write};
    mm2_host host = empty_host();
    host.source = &source;
    host.log = &log;
    // No assertion here: those of Catch2 belong to one thread.
    mm2_model_options options;
    mm2_model_options_init(&options, sizeof options);
    options.host = &host;
    options.metadata_only = 1;
    mm2_model* model = nullptr;
    const mm2_status status = mm2_model_load("virtual", &options, &model, nullptr);
    mm2_model_destroy(model);
    return status;
  };
  Lines first, second, errors_only;
  mm2_status of_first = MM2_E_INTERNAL, of_second = MM2_E_INTERNAL;
  std::thread a([&] { of_first = load_with_total("111", 0, first); });
  std::thread b([&] { of_second = load_with_total("222", MM2_LOG_TRACE, second); });
  a.join();
  b.join();
  CHECK(of_first == MM2_OK);
  CHECK(of_second == MM2_OK);
  CHECK(load_with_total("333", MM2_LOG_ERROR, errors_only) == MM2_OK);
  CHECK(first.all.find("2 format: virtual") == 0);
  CHECK(first.all.find("111") != std::string::npos);
  CHECK(first.all.find("222") == std::string::npos);
  CHECK(second.all.find("222") != std::string::npos);
  CHECK(second.all.find("111") == std::string::npos);
  CHECK(errors_only.all.empty());
}

TEST_CASE("capi host: progress reports rise to their total, and any of them can cancel") {
  struct Watch {
    int n_reports = 0;
    int cancel_at = -1;
    uint64_t last_done = 0, last_total = 0;
    static int32_t see(void* self, const mm2_progress* progress) {
      auto& watch = *static_cast<Watch*>(self);
      if (progress->stage == MM2_STAGE_LOAD) {
        watch.last_done = progress->done;
        watch.last_total = progress->total;
      }
      return watch.n_reports++ == watch.cancel_at ? 1 : 0;
    }
  } watch;
  mm2_host host = empty_host();
  host.progress = Watch::see;
  host.progress_user_data = &watch;
  { models::load(&host); }
  REQUIRE(watch.n_reports > 0);
  CHECK(watch.last_done == watch.last_total);
  const int n_reports = watch.n_reports;
  for (const int at : {0, n_reports / 2, n_reports - 1}) {
    watch = {};
    watch.cancel_at = at;
    CHECK(try_load(host, models::kSmall.c_str(), nullptr) == MM2_CANCELLED);
  }
}

TEST_CASE("capi host: work runs on the host's threads") {
  struct Threads {
    int n_calls = 0;
    static void parallel_for(void* self, int32_t n_tasks, mm2_task_fn task, void* context) {
      ++static_cast<Threads*>(self)->n_calls;
      for (int32_t i = n_tasks - 1; i >= 0; --i) task(context, i, 0);  // any order will do
    }
  } threads;
  const mm2_executor executor{sizeof(mm2_executor), 1, &threads, Threads::parallel_for};
  mm2_host host = empty_host();
  host.executor = &executor;
  const auto model = models::load();
  const auto engine = models::create(model.get(), models::small_options(&host));
  const auto plain = models::create(model.get(), models::small_options());
  const mm2_seq_rows row{0, 0, 3, 1};
  const int32_t tokens[] = {1, 2, 3};
  mm2_batch batch;
  mm2_batch_init(&batch, sizeof batch);
  batch.n_seqs = 1;
  batch.seqs = &row;
  batch.n_tokens = 3;
  batch.tokens = tokens;
  std::vector<float> ours(512), theirs(512);
  const int before = threads.n_calls;
  REQUIRE(mm2_engine_step(engine.get(), &batch, theirs.data(), 512, nullptr, nullptr) == MM2_OK);
  REQUIRE(mm2_engine_step(plain.get(), &batch, ours.data(), 512, nullptr, nullptr) == MM2_OK);
  CHECK(threads.n_calls > before);
  CHECK(ours == theirs);
}

TEST_CASE("capi host: a struct without its functions is refused by name") {
  mm2_error err = models::no_error();
  const auto refused = [&](const mm2_host& host, const std::string& says) {
    CHECK(try_load(host, models::kSmall.c_str(), &err) == MM2_E_INVALID_ARGUMENT);
    CHECK(std::string(err.message).find(says) != std::string::npos);
  };
  mm2_allocator allocator;
  mm2_executor executor;
  mm2_log log;
  mm2_source source;
  mm2_allocator_init(&allocator, sizeof allocator);
  mm2_executor_init(&executor, sizeof executor);
  mm2_log_init(&log, sizeof log);
  mm2_source_init(&source, sizeof source);
  mm2_host host = empty_host();
  host.allocator = &allocator;
  refused(host, "host.allocator");
  host = empty_host();
  host.executor = &executor;
  refused(host, "n_workers");
  executor.n_workers = 1;
  refused(host, "parallel_for");
  host = empty_host();
  host.log = &log;
  refused(host, "host.log");
  host = empty_host();
  host.source = &source;
  refused(host, "host.source");
  host = empty_host();
  host.reserved = 1;
  refused(host, "host.reserved");
}
