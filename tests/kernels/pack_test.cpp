#include "kernels/support.h"

using namespace support;

TEST_CASE("pack: rows packed in pieces give the bytes of the whole, padding included") {
  Random random(1);
  const Backend& backend = *generic_backend();
  for (const int32_t number : {kF32, kBF16, kF16}) {
    for (const int64_t n_in : {1, 2, 63, 96}) {
      for (const int64_t n_out : {1, 64, 65, 200}) {
        const auto codes = encode(random.vector(n_out * n_in), number);
        const int64_t bytes = backend.packed_bytes(kPlain, number, n_out, n_in);
        const Memory whole(bytes, 0x00), pieces(bytes, 0xFF);
        const MatrixRows all{kPlain, number, n_out, n_in, 0, n_out, codes.data()};
        backend.pack(&all, whole.get());
        for (int64_t row = n_out / 64 * 64; row >= 0; row -= 64) {
          const int64_t n_rows = std::min<int64_t>(64, n_out - row);
          if (n_rows == 0) continue;
          const MatrixRows some{kPlain,
                                number,
                                n_out,
                                n_in,
                                row,
                                n_rows,
                                codes.data() + row * n_in * bytes_of(number)};
          backend.pack(&some, pieces.get());
        }
        INFO("number " << number << " [" << n_out << ", " << n_in << "]");
        CHECK(std::memcmp(whole.get(), pieces.get(), whole.size()) == 0);
      }
    }
  }
}

TEST_CASE("pack: codes may lie at any address") {
  Random random(2);
  const auto values = random.vector(3 * 5);
  const auto codes = encode(values, kBF16);
  std::vector<char> shifted(codes.size() + 1);
  std::copy(codes.begin(), codes.end(), shifted.begin() + 1);
  const Backend& backend = *generic_backend();
  const int64_t bytes = backend.packed_bytes(kPlain, kBF16, 3, 5);
  const Memory a(bytes), b(bytes);
  const MatrixRows even{kPlain, kBF16, 3, 5, 0, 3, codes.data()};
  const MatrixRows odd{kPlain, kBF16, 3, 5, 0, 3, shifted.data() + 1};
  backend.pack(&even, a.get());
  backend.pack(&odd, b.get());
  CHECK(std::memcmp(a.get(), b.get(), a.size()) == 0);
}

TEST_CASE("pack: what a backend cannot hold is -1 bytes") {
  for (const Backend* backend : {generic_backend(), reference_backend(), reference_f64_backend()}) {
    INFO(backend->name);
    CHECK(backend->packed_bytes(kPlain, kE4M3, 64, 64) == -1);
    CHECK(backend->packed_bytes(kPlain, kI32, 64, 64) == -1);
    CHECK(backend->packed_bytes(77, kBF16, 64, 64) == -1);
    CHECK(backend->packed_bytes(kPlain, kBF16, INT64_MAX / 2, INT64_MAX / 2) == -1);
    CHECK(backend->packed_bytes(kPlain, kF32, 64, 64) == 64 * 64 * 4);
  }
}

TEST_CASE("numbers: BF16 rounds to nearest even and keeps NaN, every F16 widens to its value") {
  CHECK(f32_to_bf16(float_of(0x3F808000)) == 0x3F80);  // a tie goes to the even code
  CHECK(f32_to_bf16(float_of(0x3F818000)) == 0x3F82);
  CHECK(f32_to_bf16(float_of(0x3F808001)) == 0x3F81);
  CHECK(f32_to_bf16(float_of(0x7F7FFFFF)) == 0x7F80);
  CHECK(std::isnan(bf16_to_f32(f32_to_bf16(float_of(0x7F800001)))));
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const int exponent = static_cast<int>(code >> 10 & 31);
    const int mantissa = static_cast<int>(code & 1023);
    const float got = f16_to_f32(static_cast<uint16_t>(code));
    if (exponent == 31) {
      if (mantissa == 0 ? !std::isinf(got) : !std::isnan(got)) FAIL("code " << code);
      continue;
    }
    const double size =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    if (double{got} != ((code & 0x8000) != 0 ? -size : size)) FAIL("code " << code);
  }
}
