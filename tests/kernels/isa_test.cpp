// One answer per model, whatever x86 it runs on: each operation against the generic kernels.
#include "kernels/cache.h"

using namespace support;

namespace {

ModelShape wide_shape() {
  ModelShape s = odd_shape();
  s.hidden = 300;
  s.n_heads = 12;
  s.n_kv_heads = 2;
  s.head_dim = 36;
  s.rotary_dim = 20;
  s.intermediate = 150;
  return s;
}

/// What an operation of one backend computes from the same arguments.
template <typename Run>
void check_same(const Run& run) {
  CHECK(same_bits(run(*tested_backend()), run(*generic_backend())));
}

Memory scratch_of(const Backend& backend, const ModelShape& s, int32_t n_tokens, int32_t workers) {
  return Memory(backend.ops->scratch_bytes(&s, n_tokens, workers));
}

}  // namespace

TEST_CASE("isa: packed weights are the bytes that the generic kernels pack") {
  Random random(11);
  const Backend& backend = *tested_backend();
  for (const int64_t n_in : {48, 64, 128, 200, 520, 1024}) {
    for (const int64_t n_out : {64, 130, 192}) {
      for (const NamedFormat& named : all_formats(n_out, n_in)) {
        const Format& f = named.format;
        const size_t width = is_plain(f) ? static_cast<size_t>(bytes_of(f.number)) : 1;
        std::vector<uint8_t> codes(static_cast<size_t>(n_out * n_in) * width + 1);
        const bool nibbles = f.scheme == kFp4 || (f.scheme == kInteger && f.bits == 4);
        for (uint8_t& c : codes) c = static_cast<uint8_t>(random.bits() & (nibbles ? 15u : 255u));
        // Scales that every kind of number holds: powers of two, some twice and a half as large.
        const bool exponents = f.number == kE8M0;
        const auto n = static_cast<size_t>(n_out * n_patches(f, n_in));
        for (const bool all_positive : {true, false}) {
          std::vector<float> scales(n);
          for (float& scale : scales) {
            scale = std::ldexp(1.0f, static_cast<int>(random.bits() % 12) - 6);
            if (!exponents && random.bits() % 3 == 0) scale *= 1.25f;
            if (all_positive || exponents) continue;
            if (random.bits() % 5 == 0) scale = -scale;
            if (random.bits() % 7 == 0) scale = 0;
          }
          std::vector<uint8_t> zeros(n);
          for (uint8_t& zero : zeros) zero = static_cast<uint8_t>(random.bits() % 16);
          const std::vector<int32_t> order(static_cast<size_t>(n_in), 3);
          const int64_t bytes = backend.packed_bytes(&f, n_out, n_in);
          REQUIRE(bytes == generic_backend()->packed_bytes(&f, n_out, n_in));
          // Codes at any address, memory that held something else.
          const MatrixRows rows{
              f,           n_out, n_in, 0, n_out, codes.data() + 1, scales.data(), zeros.data(),
              order.data()};
          const Memory ours(bytes, 0x55), generic(bytes, 0x55);
          backend.pack(&rows, ours.get());
          generic_backend()->pack(&rows, generic.get());
          INFO(named.name << " [" << n_out << ", " << n_in << "]"
                          << (all_positive ? "" : ", scales of any sign"));
          CHECK(std::memcmp(ours.get(), generic.get(), ours.size()) == 0);
        }
      }
    }
  }
}

TEST_CASE("isa: attention gives the bits of the generic kernels, whatever the cache holds") {
  for (const ModelShape& s : {odd_shape(), wide_shape()}) {
    const int64_t width = int64_t{s.n_kv_heads} * s.head_dim;
    for (const int32_t number : {kF32, kBF16, kE4M3}) {
      for (const int32_t activations : {kF32, kBF16}) {
        for (const int32_t n_tokens : {1, 7, 40}) {
          for (const int32_t first : {0, 63, 700}) {
            INFO("number " << number << " activations " << activations << " tokens " << n_tokens
                           << " from " << first);
            check_same([&](const Backend& backend) {
              Random random(7);
              const Cache cache(backend, s, number, 64, 13);
              for (int64_t p = 0; p < first + n_tokens; ++p) {
                const auto kv = random.vector(2 * width);
                layout::store_position(cache.kv, s, cache.row(0, 1, 0), 0, p, kv.data(),
                                       kv.data() + width);
              }
              const auto q = random.vector(int64_t{n_tokens} * s.n_heads * s.head_dim);
              std::vector<float> y(q.size());
              const StepRow row = cache.row(0, n_tokens, first);
              const Memory scratch = scratch_of(backend, s, n_tokens, 2);
              const AttentionArgs<float> args{&s,       q.data(),     &row,      1,
                                              n_tokens, activations,  &cache.kv, 0,
                                              y.data(), scratch.get()};
              backend.ops->attention(Workers(2).get(), &args);
              return y;
            });
          }
        }
      }
    }
  }
}

TEST_CASE("isa: linear gives the bits of the generic kernels over several sum groups") {
  ModelShape s = wide_shape();
  s.hidden = 392;
  const int64_t n_out = 450;  // seven blocks and a bit
  for (const NamedFormat& named : all_formats(n_out, s.hidden)) {
    Random random(10);
    Weights w(random, n_out, s.hidden, named.format, 0.1f);
    if (named.format.scheme == kFp4) w.set_output(3.0f, true);
    for (const int32_t n_tokens : {1, 2, 3, 4, 6, 7, 13, 100}) {
      const auto x = random.vector(int64_t{n_tokens} * s.hidden);
      for (const int32_t activations : {kF32, kBF16, kI8}) {
        INFO(named.name << " activations " << activations << " tokens " << n_tokens);
        check_same([&](const Backend& backend) {
          std::vector<float> y(static_cast<size_t>(n_tokens * n_out));
          const Memory scratch = scratch_of(backend, s, n_tokens, 3);
          const LinearArgs<float> args{x.data(),    &w.generic, nullptr,      n_tokens,
                                       activations, y.data(),   scratch.get()};
          backend.ops->linear(Workers(3).get(), &args);
          return y;
        });
      }
    }
  }
}

TEST_CASE("isa: experts give the bits of the generic kernels for every format of weights") {
  const ModelShape s = wide_shape();
  for (const NamedFormat& named : all_formats(s.intermediate, s.hidden)) {
    Random random(8);
    std::vector<std::unique_ptr<Weights>> made;
    std::vector<ExpertWeights> experts;
    for (int32_t e = 0; e < s.n_experts; ++e) {
      const auto add = [&](int64_t n_out, int64_t n_in) {
        Format f = named.format;
        if (f.patch_cols == s.hidden) f.patch_cols = n_in;
        if (f.patch_rows == s.intermediate) f.patch_rows = n_out;
        made.push_back(std::make_unique<Weights>(random, n_out, n_in, f, 0.06f));
        return made.back()->generic;
      };
      const Matrix gate = add(s.intermediate, s.hidden), up = add(s.intermediate, s.hidden);
      experts.push_back({gate, up, add(s.hidden, s.intermediate)});
    }
    // 1 to 4 rows of activations for an expert, more than a tile, more than share a reading of
    // weights; with 5 tokens some experts have none, with 99 three experts have all.
    for (const int32_t n_tokens : {1, 5, 9, 11, 23, 99}) {
      const auto x = random.vector(int64_t{n_tokens} * s.hidden);
      const std::vector<float> weights(static_cast<size_t>(n_tokens * s.top_k), 0.3f);
      const int32_t spread = n_tokens == 5 ? 2 : n_tokens == 99 ? 1 : 3;
      std::vector<int32_t> ids;
      for (int32_t t = 0; t < n_tokens; ++t) {
        for (int32_t i = 0; i < s.top_k; ++i) ids.push_back(t % spread + 3 * i);
      }
      for (const int32_t activations : {kF32, kBF16, kI8}) {
        INFO(named.name << " activations " << activations << " tokens " << n_tokens);
        check_same([&](const Backend& backend) {
          std::vector<float> h(x.size(), 1.0f);
          const Memory scratch = scratch_of(backend, s, n_tokens, 2);
          const ExpertsArgs<float> args{&s,          x.data(),       experts.data(),
                                        ids.data(),  weights.data(), n_tokens,
                                        activations, h.data(),       scratch.get()};
          backend.ops->experts(Workers(2).get(), &args);
          return h;
        });
      }
    }
  }
}

TEST_CASE("isa: norms and rotation tables give the bits of the generic kernels") {
  Random random(9);
  const int32_t width = 300, n_rows = 11;
  const auto x = random.vector(n_rows * width), weight = random.vector(width);
  check_same([&](const Backend& backend) {
    std::vector<float> y(x.size());
    const RmsNormArgs<float> args{x.data(), weight.data(), 1e-6f, n_rows, width, y.data()};
    backend.ops->rms_norm(Workers(2).get(), &args);
    return y;
  });
  const std::vector<int32_t> positions = {0, 1, 77, 4096, 196607};
  check_same([&](const Backend& backend) {
    std::vector<float> table(positions.size() * 64);
    const RopeTableArgs<float> args{positions.data(), 5, 64, 5e6, table.data()};
    backend.ops->rope_table(Workers(2).get(), &args);
    return table;
  });
}
