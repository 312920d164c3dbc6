// The kernel that stays, against a launch for each kernel: the same bits, fewer launches.
#include "kernels/cuda/decode/resident.h"

#include "kernels/cuda/decode/engine.h"

using namespace support;

namespace {

constexpr Format integers(int32_t bits, int32_t zeros, int32_t group) {
  return {kInteger, zeros != 0 ? kF16 : kBF16, bits, zeros, 0, 1, group};
}
constexpr Format kW4 = integers(4, 0, 128);
constexpr Format kFp8Blocks{kFp8, kF32, 8, 0, 0, 128, 128};
constexpr Format kNvfp4{kFp4, kE4M3, 4, 0, 0, 1, 16};
constexpr Format kMxfp4{kFp4, kE8M0, 4, 0, 0, 1, 32};

// Sizes that fill no block; 6 heads share a KV head.
ModelShape tiny_shape(int32_t n_layers) {
  return {n_layers, 200, 6, 1, 16, 16, 4, 2, 72, 70, 1e-6f, 5e6};
}

cuda::DecodeOptions graph_on(int32_t n_multiprocessors) {
  cuda::DecodeOptions options;
  options.n_multiprocessors = n_multiprocessors;
  return options;
}
cuda::DecodeOptions resident_on(int32_t n_multiprocessors, int32_t blocks_each = 2) {
  cuda::DecodeOptions options = graph_on(n_multiprocessors);
  options.blocks_per_multiprocessor = blocks_each;
  options.is_resident = true;
  return options;
}

std::vector<int32_t> some_tokens(Random& random, const ModelShape& s, size_t n) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < n; ++i) {
    tokens.push_back(static_cast<int32_t>(random.bits() % static_cast<uint64_t>(s.n_vocab)));
  }
  return tokens;
}

// Both do the step; everything that either leaves is compared.
void compare(DecodeEngine& resident, DecodeEngine& graph, const std::vector<Advance>& rows) {
  CHECK(same_bits(resident.run(rows), graph.run(rows)));
  CHECK(resident.ids() == graph.ids());
  CHECK(resident.cache() == graph.cache());
}

int64_t launches_of(DecodeEngine& engine, const std::vector<Advance>& rows) {
  const int64_t before = cuda_emulator::counts().launches;
  engine.run(rows);
  return cuda_emulator::counts().launches - before;
}

}  // namespace

TEST_CASE("cuda decode resident: the bits of the graph, every format and mixed ones") {
  const ModelFormats formats[] = {{kW4, kNvfp4, kW4},
                                  {plain(kBF16), integers(4, 1, 32), kW4},
                                  {kFp8Blocks, integers(4, 0, 64), kW4},
                                  {kMxfp4, integers(8, 1, 128), kW4},
                                  {integers(8, 0, 128), integers(4, 1, 64), kW4},
                                  {integers(4, 0, 32), integers(4, 1, 128), kW4}};
  for (const ModelFormats& f : formats) {
    TwoModels model(tiny_shape(1), f, 17);
    Random random(5);
    DecodeEngine graph(model, kBF16, graph_on(1)), resident(model, kBF16, resident_on(1));
    INFO("format " << (&f - formats));
    compare(resident, graph, {{0, some_tokens(random, model.s, 2)}});
  }
}

TEST_CASE("cuda decode resident: the bits of the graph over random steps, on any grid") {
  Random random(6);
  const ModelFormats formats[] = {{kW4, kW4, kW4}, {plain(kBF16), kW4, kW4}};
  for (const int32_t number : {kBF16, kE4M3}) {
    const bool first = number == kBF16;
    cuda_emulator::Settings settings;
    settings.order = first ? cuda_emulator::kAscending : cuda_emulator::kDescending;
    cuda_emulator::set(settings);
    TwoModels model(tiny_shape(first ? 3 : 2), formats[first ? 0 : 1], 18);
    DecodeEngine graph(model, number, graph_on(1));
    DecodeEngine resident(model, number, first ? resident_on(1, 1) : resident_on(2, 2));
    for (DecodeEngine* engine : {&graph, &resident}) {
      engine->pretend(1, 520, 40);  // two chunks
      engine->pretend(3, 511, 41);
    }
    for (const size_t n_tokens : {size_t{1}, size_t{8}, 2 + random.bits() % 6}) {
      std::vector<Advance> rows;
      size_t left = n_tokens;
      for (int32_t sequence = 3; left > 0; --sequence) {
        const size_t n = sequence == 0 ? left : std::min<size_t>(left, 1 + random.bits() % 3);
        rows.push_back({sequence, some_tokens(random, model.s, n)});
        left -= n;
      }
      INFO("cache " << number << ", " << n_tokens << " tokens");
      compare(resident, graph, rows);
    }
  }
  cuda_emulator::set({});
}

TEST_CASE("cuda decode resident: chunks whose parts several blocks add, chunks and supers") {
  struct Case {
    int32_t head_dim, number, length, max_positions;
    size_t n_tokens;
  };
  // Parts begin at multiples of 128, chunks at those of 512, supers at those of 8192.
  const Case cases[] = {{16, kBF16, 126, 1280, 5},
                        {32, kE4M3, 510, 1280, 4},
                        {64, kE4M3, 300, 1280, 1},
                        {128, kBF16, 383, 1280, 2},
                        {16, kE4M3, 8190, 8256, 4}};
  for (const Case& c : cases) {
    ModelShape s = tiny_shape(1);
    s.head_dim = c.head_dim;
    TwoModels model(s, {kW4, kW4, kW4}, 21);
    DecodeEngine graph(model, c.number, graph_on(1), c.max_positions);
    graph.pretend(0, c.length, 42);
    Random random(7);
    const std::vector<int32_t> tokens = some_tokens(random, s, c.n_tokens);
    const std::vector<float> want = graph.run({{0, tokens}});
    for (const int32_t n_multiprocessors : {1, 4}) {  // two blocks of threads, or eight
      DecodeEngine resident(model, c.number, resident_on(n_multiprocessors), c.max_positions);
      resident.pretend(0, c.length, 42);
      INFO("position " << c.length << ", " << n_multiprocessors << " multiprocessors");
      CHECK(same_bits(resident.run({{0, tokens}}), want));
      CHECK(resident.cache() == graph.cache());
    }
  }
  CHECK(cuda::parts_of_chunk(66, 264) == 4);
  CHECK(cuda::parts_of_chunk(67, 264) == 2);
  CHECK(cuda::parts_of_chunk(132, 264) == 2);
  CHECK(cuda::parts_of_chunk(133, 264) == 1);
  CHECK(cuda::parts_of_chunk(133, 1000) == 1);
}

TEST_CASE("cuda decode resident: a step after one that was lost has the same bits") {
  TwoModels model(tiny_shape(2), {kW4, kW4, kW4}, 19);
  DecodeEngine graph(model, kBF16, graph_on(1)), resident(model, kBF16, resident_on(2));
  const std::vector<float> want = graph.run({{0, {3, 4}}});
  cuda_emulator::Settings settings;
  settings.fail_at_launch = 1;  // the layers, after the launch before them
  cuda_emulator::set(settings);
  CHECK_FALSE(resident.tries({{1, {5}}}));
  cuda_emulator::set({});
  resident.spoil();
  CHECK(same_bits(resident.run({{0, {3, 4}}}), want));
  resident.spoil();  // as others do who use the same memory
  compare(resident, graph, {{0, {1}}});
}

TEST_CASE(
    "cuda decode resident: all layers are one launch, or as before where blocks cannot stay") {
  TwoModels model(tiny_shape(2), {kW4, kW4, kW4}, 20);
  DecodeEngine resident(model, kBF16, resident_on(1));
  CHECK(launches_of(resident, {{0, {1, 2}}}) == 4);
  CHECK(cuda::step_launches(model.s, 2, 2, true) == 4);
  CHECK(launches_of(resident, {{0, {1, 2, 3, 4, 5, 6, 7, 8, 9}}}) == 7);
  CHECK(cuda::step_launches(model.s, 9, 9, true) == 7);
  DecodeEngine too_many(model, kBF16, resident_on(1000, 2));
  CHECK(launches_of(too_many, {{0, {1}}}) == 4);

  cuda_emulator::Settings settings;
  settings.cooperative = 0;
  cuda_emulator::set(settings);
  DecodeEngine graph(model, kBF16, resident_on(1));
  cuda_emulator::set({});
  CHECK(launches_of(graph, {{0, {1}}}) == cuda::step_launches(model.s, 1, 1));
}

TEST_CASE("cuda decode resident: shared memory for the widest record and a whole row of the gate") {
  cuda::LayerSteps layers[2] = {};
  for (cuda::LayerSteps& l : layers) {
    for (cuda::Compiled* p : {&l.qkv, &l.o, &l.gate_up, &l.down}) {
      p->step.records.bytes = 4224;
      p->step.cut.piece_records = 6;
    }
    l.router.gate_row_bytes = 12288;
    l.router.n_experts = 256;
  }
  layers[1].qkv.step.cut.piece_records = 24;
  cuda::ResidentStep step{};
  const auto plan = [&] { return cuda::plan_resident(layers, 2, cuda::kResidentShared, &step); };
  // M2 in W4: a ring as large as that of its own kernels, which fits twice into a multiprocessor.
  CHECK(plan());
  CHECK(step.work_bytes == 48 << 10);
  CHECK(step.slot_bytes == 4224);
  CHECK(step.n_slots == cuda::n_slots_of(4224));
  layers[0].qkv.step.records.bytes =
      16384;  // one layer of BF16: records of 4 bits go three to a slot
  CHECK(plan());
  CHECK(step.slot_bytes == 16384);
  CHECK(step.n_slots == 3);
  layers[1].router.gate_row_bytes = 49152 + 512;
  CHECK_FALSE(plan());
  layers[1].router.gate_row_bytes = 49152;
  CHECK(plan());
  layers[0].router.n_experts = 40000;  // more than there is room for
  CHECK_FALSE(plan());
}
