// Formats that checkpoints of the family have, and matrices of them for benchmarks.
#pragma once

#include "bench/probe.h"
#include "kernels/api/backend.h"
#include "kernels/api/format.h"
#include "kernels/api/numbers.h"

namespace bench {

struct NamedFormat {
  const char* name;
  mm2::kernels::Format format;
};

inline std::vector<NamedFormat> bench_formats() {
  using namespace mm2::kernels;
  const auto integer = [](int32_t number, int32_t bits, int64_t cols, int32_t zeros) {
    return Format{kInteger, number, bits, zeros, 0, 1, cols};
  };
  return {{"w4", integer(kF16, 4, 128, 0)},
          {"w4-zeros", integer(kF16, 4, 128, 1)},
          {"w4-g32", integer(kBF16, 4, 32, 0)},
          {"int8", integer(kBF16, 8, int64_t{1} << 40, 0)},
          {"fp8", Format{kFp8, kF32, 8, 0, 0, 128, 128}},
          {"fp8-row", Format{kFp8, kF32, 8, 0, 0, 1, int64_t{1} << 40}},
          {"mxfp8", Format{kFp8, kE8M0, 8, 0, 0, 1, 32}},
          {"nvfp4", Format{kFp4, kE4M3, 4, 0, 0, 1, 16}},
          {"mxfp4", Format{kFp4, kE8M0, 4, 0, 0, 1, 32}},
          {"bf16", plain(kBF16)},
          {"f16", plain(kF16)},
          {"f32", plain(kF32)}};
}

/// Whether the arguments name this: nothing named is everything.
inline bool is_wanted(const std::string& name, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (name == argv[i]) return true;
  }
  return argc < 2;
}

/// "avx512,w4", or "avx512,w4,int8" where activations are of 8 bits.
inline std::string name_of(const mm2::kernels::Backend& backend, const NamedFormat& named,
                           int32_t activations) {
  const std::string name = std::string(backend.name) + "," + named.name;
  return activations == mm2::kernels::kI8 ? name + ",int8" : name;
}

/// 64 rows of random numbers of a format, packed.
class PackedBlock {
 public:
  PackedBlock(const mm2::kernels::Backend& backend, const mm2::kernels::Format& f, int64_t n_out,
              int64_t n_in) {
    using namespace mm2::kernels;
    uint64_t seed = 1;
    const auto draw = [&seed] { return random_float(seed); };
    const int64_t patches = n_patches(f, n_in);
    std::vector<float> scales(static_cast<size_t>(64 * patches));
    for (float& s : scales) {
      s = 0.01f * (1.0f + draw());
      if (f.patch_rows > 1) s = 0.01f;
      if (f.number == kE8M0) s = 0x1p-6f;
      if (f.number == kE4M3) s = e4m3_to_f32(f32_to_e4m3(s * 16));
      if (f.number == kF16) s = f16_to_f32(f32_to_f16(s));
      if (f.number == kBF16) s = bf16_to_f32(f32_to_bf16(s));
    }
    const int64_t width = is_plain(f) ? bytes_of(f.number) : 1;
    std::vector<char> codes(static_cast<size_t>(64 * n_in * width));
    for (int64_t i = 0; i < 64 * n_in; ++i) {
      const float x = draw();
      const uint16_t half = f.number == kF16 ? f32_to_f16(x) : f32_to_bf16(x);
      auto code = static_cast<uint8_t>(static_cast<int32_t>((x + 0.5f) * 255.0f));
      if (f.scheme == kFp4 || f.bits == 4) code &= 15u;
      if (f.scheme == kFp8) code = fp8_code();
      const void* from = !is_plain(f) ? static_cast<const void*>(&code)
                         : width == 4 ? static_cast<const void*>(&x)
                                      : &half;
      std::memcpy(codes.data() + i * width, from, static_cast<size_t>(width));
    }
    const std::vector<uint8_t> zeros(scales.size(), 7);
    const MatrixRows rows{f,      n_out, n_in, 0, 64, codes.data(), scales.data(), zeros.data(),
                          nullptr};
    const int64_t n = backend.packed_bytes(&f, n_out, n_in) / (n_out / 64);
    const Bytes packed(n);  // aligned, as pack wants it
    backend.pack(&rows, packed.data.get());
    bytes.assign(packed.data.get(), packed.data.get() + n);
  }

  std::vector<char> bytes;

 private:
  // Like those of checkpoints: a bell whose largest number in some thousands is near 448, so that
  // codes without an exponent are rare.
  uint8_t fp8_code() {
    float sum = 0;
    for (int i = 0; i < 12; ++i) sum += random_float(seed_);
    return mm2::kernels::f32_to_e4m3(sum * 110.0f);
  }

  uint64_t seed_ = 5;
};

/// n matrices [n_out, n_in], n_out a multiple of 64; every block has the numbers of one.
class Matrices {
 public:
  Matrices(const mm2::kernels::Backend& backend, const mm2::kernels::Format& f, int64_t n_out,
           int64_t n_in, int64_t n)
      : count(n),
        one(backend.packed_bytes(&f, n_out, n_in)),
        format_(f),
        n_out_(n_out),
        n_in_(n_in),
        bytes_(one * n) {
    const PackedBlock block(backend, f, n_out, n_in);
    for (size_t at = 0; at < static_cast<size_t>(one * n); at += block.bytes.size()) {
      std::memcpy(bytes_.data.get() + at, block.bytes.data(), block.bytes.size());
    }
  }
  mm2::kernels::Matrix at(int64_t i) const {
    return {format_, n_out_, n_in_, bytes_.data.get() + i % count * one};
  }

  int64_t count, one;  // bytes of each

 private:
  mm2::kernels::Format format_;
  int64_t n_out_, n_in_;
  Bytes bytes_;
};

}  // namespace bench
