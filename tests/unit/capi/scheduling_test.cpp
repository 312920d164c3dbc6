// What a host that schedules may rely on: bounded steps, mixed batches, pressure told by codes,
// sequences that go and come back, and nothing left behind.
#include <algorithm>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "mm2/mm2.hpp"
#include "unit/capi/models.h"

namespace {

using Ids = std::vector<int32_t>;

mm2_engine_options options_of(int32_t max_seqs, int32_t max_tokens, int64_t kv_tokens) {
  auto options = mm2::make<mm2_engine_options>();
  options.max_seqs = max_seqs;
  options.max_tokens_per_step = max_tokens;
  options.kv_tokens = kv_tokens;
  options.n_threads = 1;
  return options;
}

mm2::Engine engine_of(const mm2::Model& model, const mm2_engine_options& options) {
  return model.create_engine(&options);
}

int32_t best(const float* logits, int32_t n_vocab) {
  return static_cast<int32_t>(std::max_element(logits, logits + n_vocab) - logits);
}

Ids random_ids(std::mt19937& random, size_t n) {
  Ids ids(n);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % 500);
  return ids;
}

int64_t blocks_in_use(const mm2::Engine& engine) {
  int64_t free_blocks = 0, total_blocks = 0;
  REQUIRE(mm2_kv_pool(engine.get(), &free_blocks, &total_blocks, nullptr, nullptr) == MM2_OK);
  return total_blocks - free_blocks;
}

// The code that a call ends with.
template <typename F>
mm2_status code_of(F&& f) {
  try {
    f();
    return MM2_OK;
  } catch (const mm2::Error& error) {
    return error.code();
  }
}

// n tokens after a prompt, the likeliest one each time, with the engine to itself.
Ids answer_alone(mm2::Engine& engine, const Ids& prompt, int32_t n) {
  Ids answer, next = prompt;
  std::vector<float> logits;
  for (int32_t at = 0; static_cast<int32_t>(answer.size()) < n;) {
    const auto n_next = static_cast<int32_t>(next.size());
    engine.step({{0, at, n_next, 1}}, next, logits);
    at += n_next;
    answer.push_back(best(logits.data(), engine.info().n_vocab));
    next = {answer.back()};
  }
  engine.free(0);
  return answer;
}

}  // namespace

TEST_CASE(
    "host: a step is never larger than max_tokens_per_step, and is refused with both numbers") {
  const auto model = mm2::Model::load(models::kSmall);
  auto engine = engine_of(model, options_of(4, 32, 512));
  std::vector<float> logits;
  try {
    engine.step({{0, 0, 20, 1}, {1, 0, 13, 1}}, Ids(33, 5), logits);
    FAIL("33 tokens were taken");
  } catch (const mm2::Error& error) {
    CHECK(error.code() == MM2_E_INVALID_ARGUMENT);
    CHECK(std::string(error.what()).find("33") != std::string::npos);
    CHECK(std::string(error.what()).find("32") != std::string::npos);
  }
  CHECK(engine.length(0) == 0);
  CHECK(blocks_in_use(engine) == 0);
}

TEST_CASE("host: a piece of a prompt beside answers that are being written changes none of them") {
  const auto model = mm2::Model::load(models::kSmall);
  std::mt19937 random(3);
  const Ids a = random_ids(random, 40), b = random_ids(random, 100);
  auto alone = engine_of(model, options_of(1, 128, 512));
  const Ids wanted_a = answer_alone(alone, a, 8), wanted_b = answer_alone(alone, b, 1);

  auto engine = engine_of(model, options_of(2, 48, 512));
  const int32_t n_vocab = engine.info().n_vocab;
  std::vector<float> logits;
  engine.step({{1, 0, 40, 1}}, a, logits);
  Ids got_a = {best(logits.data(), n_vocab)}, got_b;
  for (int32_t at = 0; at < 100; at += 20) {  // b in pieces of 20, a one token each time
    Ids tokens = {got_a.back()};
    tokens.insert(tokens.end(), b.begin() + at, b.begin() + at + 20);
    const int32_t wants = at == 80 ? 1 : 0;
    engine.step({{1, engine.length(1), 1, 1}, {2, at, 20, wants}}, tokens, logits);
    got_a.push_back(best(logits.data(), n_vocab));
    if (wants != 0) got_b.push_back(best(logits.data() + n_vocab, n_vocab));
  }
  CHECK(got_a == Ids(wanted_a.begin(), wanted_a.begin() + 6));
  CHECK(got_b == wanted_b);
}

TEST_CASE(
    "host: who must make room comes back by computing again or from bytes, with the same answer") {
  const auto model = mm2::Model::load(models::kSmall);
  std::mt19937 random(5);
  const Ids a = random_ids(random, 100), b = random_ids(random, 120);
  auto alone = engine_of(model, options_of(1, 256, 512));
  const Ids wanted = answer_alone(alone, a, 40);

  for (const bool by_bytes : {false, true}) {
    auto engine = engine_of(model, options_of(2, 256, 256));  // four blocks: a and b fill them
    const int32_t n_vocab = engine.info().n_vocab;
    std::vector<float> logits;
    Ids text = a, got;
    const auto go_on = [&](int32_t n) {
      for (int32_t i = 0; i < n; ++i) {
        const int32_t at = engine.length(0);
        const Ids next(text.begin() + at, text.end());
        engine.step({{0, at, static_cast<int32_t>(next.size()), 1}}, next, logits);
        got.push_back(best(logits.data(), n_vocab));
        text.push_back(got.back());
      }
    };
    go_on(20);
    engine.step({{1, 0, 120, 1}}, b, logits);
    REQUIRE(engine.free_kv_blocks() == 0);
    const int32_t length = engine.length(0);
    // A third block for a: none is left, and the engine says so and is as before.
    std::vector<int32_t> too_many(30, 1);
    CHECK(code_of([&] {
            engine.step({{0, length, 30, 0}}, too_many, logits);
          }) == MM2_KV_EXHAUSTED);
    CHECK(engine.length(0) == length);
    const std::string bytes = by_bytes ? engine.export_sequence(0) : "";
    engine.free(0);
    engine.step({{1, 120, 60, 0}}, Ids(60, 7), logits);  // b takes the room, and ends
    if (by_bytes) {
      CHECK(code_of([&] { engine.import_sequence(0, bytes); }) == MM2_KV_EXHAUSTED);
      CHECK(engine.length(0) == 0);
    }
    engine.free(1);
    if (by_bytes) engine.import_sequence(0, bytes);
    CHECK(engine.length(0) == (by_bytes ? length : 0));
    go_on(20);
    CHECK(got == wanted);
    engine.free(0);
    CHECK(blocks_in_use(engine) == 0);
  }
}

// ---- a soak ------------------------------------------------------------------------------------

namespace {

// Streams through one engine: they join, go on in random pieces, are cancelled, make room by either
// way, meet interrupts and bad requests; a step runs after each of these.
class Soak {
 public:
  Soak(mm2::Engine& engine, uint32_t seed) : engine_(engine), random_(seed) {
    n_vocab_ = engine.info().n_vocab;
    for (int32_t id = 0; id < engine.info().max_seqs; ++id) free_ids_.push_back(id);
  }

  void submit(const Ids& prompt, const Ids& wanted) { waiting_.push_back({prompt, wanted}); }

  void run() {
    while (!waiting_.empty() || !running_.empty()) {
      admit();
      disturb();
      step();
    }
  }

  int finished = 0, cancelled = 0, refused = 0, preempted = 0, interrupted = 0;

 private:
  struct Stream {
    Ids text, wanted;  // prompt and what was generated; the whole answer
    int32_t seq_id = -1;
    size_t n_generated = 0;
    std::string bytes{};  // of one that went away so
  };

  uint32_t pick(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  void admit() {
    while (!waiting_.empty() && !free_ids_.empty() && pick(3) != 0) {
      Stream& stream = waiting_.front();
      stream.seq_id = free_ids_.back();
      const mm2_status status = code_of([&] {
        if (pick(4) != 0 && stream.bytes.empty())
          engine_.match_prefix(stream.seq_id, stream.text, pick(2));
        if (!stream.bytes.empty()) engine_.import_sequence(stream.seq_id, stream.bytes);
      });
      if (status == MM2_KV_EXHAUSTED) return;
      REQUIRE(status == MM2_OK);
      stream.bytes.clear();
      free_ids_.pop_back();
      running_.push_back(std::move(stream));
      waiting_.pop_front();
    }
  }

  void leave(size_t i) {
    engine_.free(running_[i].seq_id);
    free_ids_.push_back(running_[i].seq_id);
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(i));
  }

  void preempt(size_t i) {
    Stream stream = running_[i];
    if (pick(2) == 0 && engine_.length(stream.seq_id) > 0)
      stream.bytes = engine_.export_sequence(stream.seq_id);
    leave(i);
    waiting_.push_back(std::move(stream));
    ++preempted;
  }

  void disturb() {
    if (running_.empty()) return;
    const size_t i = pick(static_cast<uint32_t>(running_.size()));
    const uint32_t what = pick(60);
    if (what == 0 && cancelled < 6) {  // a tenth of them
      leave(i);
      ++cancelled;
    } else if (what == 1) {
      preempt(i);
    } else if (what == 2) {
      engine_.interrupt();
    } else if (what < 6) {
      const Stream& stream = running_[i];
      const int32_t length = engine_.length(stream.seq_id);
      const mm2_seq_rows bad[] = {{stream.seq_id, length + 1, 1, 1},
                                  {stream.seq_id, length, 1, 2},
                                  {-1, 0, 1, 1},
                                  {stream.seq_id, length, INT32_MAX, 0}};
      std::vector<float> logits;
      CHECK(code_of([&] { engine_.step({bad[pick(4)]}, {pick(2) == 0 ? 1 : 512}, logits); }) ==
            MM2_E_INVALID_ARGUMENT);
      ++refused;
    }
  }

  void step() {
    std::vector<mm2_seq_rows> rows;
    Ids tokens;
    std::vector<size_t> who;
    auto room = static_cast<size_t>(engine_.info().max_tokens_per_step);
    for (size_t i = 0; i < running_.size() && room > 0; ++i) {
      const Stream& stream = running_[i];
      const auto at = static_cast<size_t>(engine_.length(stream.seq_id));
      const size_t missing = stream.text.size() - at;
      const size_t n = std::min({room, missing, size_t{1} + pick(80)});
      rows.push_back(
          {stream.seq_id, static_cast<int32_t>(at), static_cast<int32_t>(n), n == missing ? 1 : 0});
      tokens.insert(tokens.end(), stream.text.begin() + static_cast<ptrdiff_t>(at),
                    stream.text.begin() + static_cast<ptrdiff_t>(at + n));
      who.push_back(i);
      room -= n;
    }
    if (rows.empty()) return;
    const mm2_status status = code_of([&] { engine_.step(rows, tokens, logits_); });
    if (status == MM2_KV_EXHAUSTED) return preempt(running_.size() - 1);
    if (status == MM2_CANCELLED) {
      ++interrupted;
      return;
    }
    REQUIRE(status == MM2_OK);
    take(rows, who);
  }

  void take(const std::vector<mm2_seq_rows>& rows, const std::vector<size_t>& who) {
    const float* logits = logits_.data();
    std::vector<size_t> done;
    for (size_t r = 0; r < rows.size(); ++r) {
      if (rows[r].n_outputs == 0) continue;
      Stream& stream = running_[who[r]];
      const int32_t token = best(logits, n_vocab_);
      logits += n_vocab_;
      REQUIRE(token == stream.wanted[stream.n_generated]);
      stream.text.push_back(token);
      if (++stream.n_generated == stream.wanted.size()) done.push_back(who[r]);
    }
    for (size_t d = done.size(); d-- > 0;) leave(done[d]);
    finished += static_cast<int>(done.size());
  }

  mm2::Engine& engine_;
  std::mt19937 random_;
  int32_t n_vocab_ = 0;
  std::deque<Stream> waiting_;
  std::vector<Stream> running_;
  std::vector<int32_t> free_ids_;
  std::vector<float> logits_;
};

}  // namespace

TEST_CASE(
    "host: after 256 streams with cancels, bad requests and preemptions no block stays in use") {
  const auto model = mm2::Model::load(models::kSmall);
  std::mt19937 random(64);
  auto alone = engine_of(model, options_of(1, 512, 1024));
  const Ids system = random_ids(random, 130);  // most prompts begin with it
  std::vector<Ids> prompts, answers;
  for (int i = 0; i < 64; ++i) {
    Ids prompt = i % 4 == 0 ? Ids() : system;
    const Ids own = random_ids(random, 1 + random() % 120);
    prompt.insert(prompt.end(), own.begin(), own.end());
    prompts.push_back(prompt);
    answers.push_back(answer_alone(alone, prompt, 1 + static_cast<int32_t>(random() % 30)));
  }
  for (uint32_t round = 0; round < 4; ++round) {
    // All of them at once in two rounds, in a pool for a quarter of them.
    auto engine = engine_of(model, options_of(round % 2 == 0 ? 16 : 64, 256, 2048));
    Soak soak(engine, round);
    for (size_t i = 0; i < prompts.size(); ++i) soak.submit(prompts[i], answers[i]);
    soak.run();
    CHECK(soak.finished + soak.cancelled == 64);
    INFO(soak.finished << " finished, " << soak.cancelled << " cancelled, " << soak.refused
                       << " refused, " << soak.preempted << " preempted, " << soak.interrupted
                       << " interrupted");
    CHECK(soak.cancelled > 0);
    CHECK(soak.preempted > 0);
    CHECK(blocks_in_use(engine) == 0);
    const std::string stats = engine.stats();
    INFO(stats);
    CHECK(stats.find("\"n_seqs\":0") != std::string::npos);
    engine.clear_prefixes();
    CHECK(engine.evict_prefixes(INT64_MAX) == 0);
    CHECK(engine.stats().find("\"cached_blocks\":0") != std::string::npos);
  }
}
