#include "kernels/cuda/decode/plan.h"

#include <vector>

#include <catch2/catch.hpp>

using namespace mm2::kernels;
using namespace mm2::kernels::cuda;

namespace {

// MiniMax-M2 with some of its 256 experts.
ModelShape m2(int32_t n_experts) {
  return {62, 3072, 48, 8, 128, 64, n_experts, 8, 1536, 200064, 1e-6f, 5e6};
}

constexpr Format kW4{kInteger, kBF16, 4, 0, 0, 1, 128};
constexpr Format kNvfp4{kFp4, kE4M3, 4, 0, 0, 1, 16};
constexpr Format kFp8Blocks{kFp8, kF32, 8, 0, 0, 128, 128};

LayerBytes layer_of(const ModelShape& s, const Format& attention, const Format& expert) {
  const int64_t q = int64_t{s.n_heads} * s.head_dim, kv = int64_t{s.n_kv_heads} * s.head_dim;
  return {packed_bytes(attention, q, s.hidden) + 2 * packed_bytes(attention, kv, s.hidden) +
              packed_bytes(attention, s.hidden, q),
          packed_bytes(plain(kF32), s.n_experts, s.hidden),
          2 * packed_bytes(expert, s.intermediate, s.hidden) +
              packed_bytes(expert, s.hidden, s.intermediate)};
}

// A step of tokens at position 0 that read n_experts experts in each layer. The cache's share is left
// out: the table is for a context of about 0.
double gigabytes(const ModelShape& s, const LayerBytes& layer, const Format& head,
                 double n_experts) {
  const int64_t of_head = packed_bytes(head, s.n_vocab, s.hidden);
  const StepBytes b = step_bytes(s, layer, of_head, 0, nullptr, 0, 0);
  return (static_cast<double>(b.all()) +
          s.n_layers * n_experts * static_cast<double>(layer.expert)) *
         1e-9;
}

// The router is kept in F32, where the table counts 2 bytes a weight for all but FP8.
double with_router_of_bf16(const ModelShape& s, double gb) {
  return gb - s.n_layers * double{2} * s.n_experts * s.hidden * 1e-9;
}

}  // namespace

TEST_CASE("cuda plan: bytes of a token are those of the table of rooflines") {
  const ModelShape s = m2(192);
  const auto token = [&](const Format& attention, const Format& expert, const Format& head) {
    return with_router_of_bf16(s, gigabytes(s, layer_of(s, attention, expert), head, s.top_k));
  };
  const Format bf16 = plain(kBF16);
  CHECK(token(kW4, kW4, bf16) == Approx(6.33).margin(0.005));
  CHECK(token(kW4, kW4, kFp8Blocks) == Approx(5.72).margin(0.005));
  CHECK(token(kW4, kW4, kW4) == Approx(5.42).margin(0.005));
  CHECK(token(bf16, kNvfp4, bf16) == Approx(10.71).margin(0.005));
  CHECK(token(kFp8Blocks, kNvfp4, bf16) == Approx(8.01).epsilon(0.01));
  CHECK(token(kNvfp4, kNvfp4, bf16) == Approx(6.79).margin(0.005));
  // With the router as it is.
  const ModelShape whole = m2(256);
  CHECK(gigabytes(whole, layer_of(whole, kFp8Blocks, kFp8Blocks), bf16, 8) ==
        Approx(11.18).epsilon(0.002));
  CHECK(gigabytes(s, layer_of(s, kW4, kW4), bf16, 8) == Approx(6.40).margin(0.005));
}

TEST_CASE("cuda plan: bytes of a layer are those of the time budget") {
  const LayerBytes layer = layer_of(m2(192), kW4, kW4);
  CHECK(static_cast<double>(layer.attention) * 1e-6 == Approx(22.7).margin(0.05));
  CHECK(static_cast<double>(8 * layer.expert) * 1e-6 == Approx(58.4).margin(0.05));
  CHECK(static_cast<double>(layer.attention + 8 * layer.expert) * 1e-6 ==
        Approx(81.1).margin(0.05));
  CHECK(static_cast<double>(packed_bytes(plain(kBF16), 200064, 3072)) * 1e-6 ==
        Approx(1229).margin(0.5));
}

TEST_CASE("cuda plan: the cache of a step is read once for each token") {
  const ModelShape s = m2(192);
  CHECK(s.n_layers * kv_row_bytes(s, kE4M3) == 126976);
  CHECK(s.n_layers * kv_row_bytes(s, kBF16) == 253952);
  const std::vector<int32_t> at{8191};
  const StepBytes b = step_bytes(s, {}, 0, 0, at.data(), 1, kv_row_bytes(s, kE4M3));
  CHECK(static_cast<double>(b.kv) * 1e-9 == Approx(1.04).margin(0.005));
  CHECK(b.all() == b.kv);
  const std::vector<int32_t> both{8191, 99};
  CHECK(step_bytes(s, {}, 0, 0, both.data(), 2, 7).kv == 62 * 7 * (8192 + 100));
}

TEST_CASE("cuda plan: experts touched and the cost of more tokens are those of the tables") {
  const ModelShape s = m2(192);
  const double want[] = {8, 15.7, 30.1, 55.4, 94.8, 142.8, 179.4, 191.2, 192};
  for (int i = 0; i < 9; ++i) {
    CHECK(expected_experts(s, 1 << i) == Approx(want[i]).margin(0.06));
  }
  const auto relative = [](const ModelShape& shape, const Format& f, int32_t n) {
    const LayerBytes layer = layer_of(shape, f, f);
    return gigabytes(shape, layer, plain(kBF16), expected_experts(shape, n)) /
           gigabytes(shape, layer, plain(kBF16), expected_experts(shape, 1));
  };
  const int32_t tokens[] = {2, 3, 4, 5, 8};
  const double w4[] = {1.55, 2.07, 2.58, 3.06, 4.39}, fp8[] = {1.61, 2.20, 2.77, 3.32, 4.88};
  for (int i = 0; i < 5; ++i) {
    CHECK(relative(s, kW4, tokens[i]) == Approx(w4[i]).epsilon(0.012));
    CHECK(relative(m2(256), kFp8Blocks, tokens[i]) == Approx(fp8[i]).epsilon(0.005));
  }
}

TEST_CASE("cuda plan: pieces cover K once, and fill 132 multiprocessors for M2") {
  for (int64_t blocks = 1; blocks < 200; blocks += 7) {
    for (int64_t records = 1; records < 60; ++records) {
      const Cut cut = cut_of(blocks, records, 1);
      CHECK(cut.piece_records <= kMostPieceRecords);
      CHECK((cut.n_pieces - 1) * cut.piece_records < records);
      CHECK(cut.n_pieces * cut.piece_records >= records);
    }
  }
  const auto busy = [](int64_t blocks, int64_t records, const Cut& cut) {
    const int64_t rounds = divide_up(blocks * cut.n_pieces, 132);
    return static_cast<double>(blocks * records) /
           static_cast<double>(132 * rounds * cut.piece_records);
  };
  const DecodeCuts cuts = cuts_of(m2(192));
  CHECK(busy(128, 24, cuts.qkv) > 0.96);
  CHECK(busy(48, 48, cuts.o) > 0.96);
  CHECK(busy(8 * 24, 24, cuts.gate_up) > 0.96);
  CHECK(busy(8 * 48, 12, cuts.down) > 0.96);
  CHECK(busy(3126, 24, cuts.head) > 0.98);
  // The cuts change bits: they stand here so that nobody changes them unseen.
  CHECK(cuts.qkv.piece_records == 24);
  CHECK(cuts.o.piece_records == 6);
  CHECK(cuts.gate_up.piece_records == 12);
  CHECK(cuts.down.piece_records == 12);
  CHECK(cuts.head.piece_records == 24);
  // Another number of experts is another model's shape, another batch is not.
  CHECK(cuts_of(m2(256)).gate_up.piece_records == 12);
}

TEST_CASE("cuda plan: shares are even, in order, and leave nothing out") {
  for (int64_t n = 0; n < 40; ++n) {
    for (int64_t shares = 1; shares < 12; ++shares) {
      int64_t next = 0;
      for (int64_t i = 0; i < shares; ++i) {
        const Share share = share_of(n, shares, i);
        CHECK(share.first == next);
        CHECK(share.end - share.first >= n / shares);
        CHECK(share.end - share.first <= divide_up(n, shares));
        next = share.end;
      }
      CHECK(next == n);
    }
  }
}

TEST_CASE("cuda plan: chunks and supers follow from the position alone") {
  CHECK(chunks_of(0) == 1);
  CHECK(chunks_of(511) == 1);
  CHECK(chunks_of(512) == 2);
  CHECK(supers_of(16 * 512 - 1) == 1);
  CHECK(supers_of(16 * 512) == 2);
  // A context of 128 K keeps 132 multiprocessors busy with 8 heads.
  CHECK(8 * chunks_of(131071) / 132 >= 15);
}

TEST_CASE("cuda plan: a layer is six kernels") {
  CHECK(step_launches(m2(192), 1, 1) == 3 + 6 * 62);
  CHECK(step_launches(m2(192), 8, 0) == 2 + 6 * 62);
  CHECK(step_launches(m2(192), 9, 9) == 2 * (1 + 6 * 62) + 3);
}
