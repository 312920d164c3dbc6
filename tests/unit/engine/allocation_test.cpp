// A step takes no memory: counted at operator new and at the host's allocator.
#include <atomic>
#include <cstdlib>
#include <new>

#include "support/engine.h"
#include "support/golden.h"

namespace {

std::atomic<int64_t> allocations{0};

// Counts what an engine asks of its host, and gives it.
class CountingAllocator final : public mm2::Allocator {
 public:
  void* allocate(size_t size, size_t alignment) noexcept override {
    live += size;
    ++count;
    return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  }
  void release(void* pointer, size_t size, size_t) noexcept override {
    live -= size;
    std::free(pointer);
  }
  std::atomic<uint64_t> live{0}, count{0};
};

}  // namespace

// Not inlined: the compiler would see free() meet operator new and warn.
[[gnu::noinline]] void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}

TEST_CASE("engine: step allocates nothing, whatever the batch") {
  const auto engine = support::engine(support::load(golden::kModels + "bf16_single"),
                                      {.max_seqs = 4, .max_tokens_per_step = 256, .n_threads = 2});
  std::vector<float> logits(64 * 512);
  const std::vector<int32_t> tokens(256, 11);
  const std::vector<mm2::SeqRows> batches[] = {{{0, 0, 100, 0}, {1, 0, 1, 1}},
                                               {{0, 100, 1, 1}, {1, 1, 1, 1}, {2, 0, 50, 1}},
                                               {{3, 0, 64, 64}}};
  for (const auto& rows : batches) {
    size_t n = 0;
    for (const auto& row : rows) n += static_cast<size_t>(row.n_tokens);
    const int64_t before = allocations.load();
    const mm2::Status status = engine->step(rows, std::span(tokens).first(n), logits, {});
    const int64_t after = allocations.load();
    REQUIRE(status.ok());
    CHECK(after - before == 0);
  }
}

TEST_CASE("engine: beginning with a cached prefix and caching blocks allocates nothing") {
  const auto engine = support::engine(support::load(golden::kModels + "bf16_single"),
                                      {.max_seqs = 4, .max_tokens_per_step = 256, .n_threads = 1});
  std::vector<float> logits(512);
  const std::vector<int32_t> tokens(200, 11);
  const int64_t before = allocations.load();
  bool all_ok = true;
  for (int32_t seq_id = 0; seq_id < 3; ++seq_id) {
    const auto matched = engine->prefix_match(seq_id, tokens, 5);
    const int32_t n = matched.ok() ? *matched : -1;
    const mm2::SeqRows row{seq_id, n, 200 - n, 1};
    all_ok =
        all_ok && n == (seq_id == 0 ? 0 : 192) &&
        engine->step({&row, 1}, std::span(tokens).subspan(static_cast<size_t>(n)), logits, {}).ok();
  }
  CHECK(allocations.load() - before == 0);
  CHECK(all_ok);
}

TEST_CASE(
    "engine: the estimate is what create takes from the host's allocator, to the block table") {
  const auto model = support::load(golden::kModels + "bf16_single");
  mm2::Host host;
  const auto counting = std::make_shared<CountingAllocator>();
  host.allocator = counting;
  const mm2::EngineOptions options{.max_seqs = 3, .max_tokens_per_step = 64, .n_threads = 2};
  const auto estimate = mm2::Engine::estimate(*model, options, host);
  REQUIRE(estimate.ok());
  const auto engine = mm2::Engine::create(model, options, host);
  REQUIRE(engine.ok());
  // Tables and rows are small and come from operator new; pool and scratch come from the host.
  const auto tables = static_cast<uint64_t>(mm2::Sequences::table_bytes(
      (*engine)->kv_pool().n_blocks(), 64, 3, model->config().max_positions, true));
  CHECK(counting->count == 2);
  CHECK(counting->live >= estimate->kv);
  CHECK(counting->live <= estimate->kv + estimate->buffers);
  CHECK(estimate->kv + estimate->buffers - counting->live <= tables + 64 * 4 + 3 * 64 + 16);
}

TEST_CASE("engine: when the host has no memory, create says how much it wanted") {
  class Empty final : public mm2::Allocator {
   public:
    void* allocate(size_t, size_t) noexcept override { return nullptr; }
    void release(void*, size_t, size_t) noexcept override {}
  };
  const auto model = support::load(golden::kModels + "bf16_single");
  mm2::Host host;
  host.allocator = std::make_shared<Empty>();
  const auto engine = mm2::Engine::create(model, {}, host);
  REQUIRE_FALSE(engine.ok());
  CHECK(engine.status().code() == mm2::Code::out_of_memory);
  CHECK(engine.status().message().find("KV pool") != std::string::npos);
}
