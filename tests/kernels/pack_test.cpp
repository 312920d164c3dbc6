#include "kernels/support.h"

using namespace support;

namespace {

MatrixRows plain_rows(int32_t number, int64_t n_out, int64_t n_in, const char* codes) {
  return {plain(number), n_out, n_in, 0, n_out, codes, nullptr, nullptr, nullptr};
}

}  // namespace

TEST_CASE("pack: rows packed in pieces give the bytes of the whole, padding included") {
  Random random(1);
  const Backend& backend = *tested_backend();
  for (const int64_t n_in : {1, 2, 63, 96, 160}) {
    for (const int64_t n_out : {1, 64, 65, 200}) {
      for (const NamedFormat& named : all_formats(n_out, n_in)) {
        const Format& f = named.format;
        const int64_t bytes = backend.packed_bytes(&f, n_out, n_in);
        REQUIRE(bytes > 0);
        const Memory whole(bytes, 0x00), pieces(bytes, 0xFF);
        const size_t width = is_plain(f) ? static_cast<size_t>(bytes_of(f.number)) : 1;
        const int64_t patches = n_patches(f, n_in);
        std::vector<char> codes(static_cast<size_t>(n_out * n_in) * width);
        for (char& c : codes) c = static_cast<char>(random.bits() & 15u);
        std::vector<float> scales(static_cast<size_t>(n_out * patches), 0.5f);
        const std::vector<uint8_t> zeros(scales.size(), 7);
        const std::vector<int32_t> order(static_cast<size_t>(n_in), 0);
        const MatrixRows all{
            f, n_out, n_in, 0, n_out, codes.data(), scales.data(), zeros.data(), order.data()};
        backend.pack(&all, whole.get());
        for (int64_t row = n_out / 64 * 64; row >= 0; row -= 64) {
          MatrixRows some = all;
          some.first_row = row;
          some.n_rows = std::min<int64_t>(64, n_out - row);
          some.codes = codes.data() + static_cast<size_t>(row * n_in) * width;
          some.scales += row * patches;
          some.zeros += row * patches;
          if (some.n_rows > 0) backend.pack(&some, pieces.get());
        }
        INFO(named.name << " [" << n_out << ", " << n_in << "]");
        CHECK(std::memcmp(whole.get(), pieces.get(), whole.size()) == 0);
      }
    }
  }
}

namespace {

// The dwords of a layout, from a byte for each code [n_out, n_in].
std::vector<uint32_t> words_of(int32_t layout, const std::vector<uint8_t>& codes, int64_t n_out,
                               int64_t n_in, int64_t stride) {
  const int64_t rows = layout == kNibblesOfRows    ? n_out
                       : layout == kNibblesOfWords ? n_in / 8
                                                   : n_in;
  std::vector<uint32_t> words(static_cast<size_t>(rows * stride), 0xABABABABu);
  constexpr int kOfEight[] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (int64_t row = 0; row < n_out; ++row) {
    for (int64_t k = 0; k < n_in; ++k) {
      int64_t at = row * stride + k / 8, nibble = k % 8;
      if (layout == kNibblesOfWords) at = k / 8 * stride + row;
      if (layout == kNibblesOfEight) at = k * stride + row / 8, nibble = kOfEight[row % 8];
      uint32_t& word = words[static_cast<size_t>(at)];
      const uint32_t code = codes[static_cast<size_t>(row * n_in + k)];
      word = (word & ~(15u << (4 * nibble))) | code << (4 * nibble);
    }
  }
  return words;
}

}  // namespace

TEST_CASE("pack: words of a checkpoint give the bytes that their codes give") {
  Random random(7);
  const Backend& backend = *tested_backend();
  for (const int64_t n_in : {128, 384}) {
    for (const int64_t n_out : {64, 128, 320}) {
      for (const NamedFormat& named : all_formats(n_out, n_in)) {
        const Format& f = named.format;
        const bool four = f.scheme == kFp4 || (f.scheme == kInteger && f.bits == 4);
        if (!four) continue;
        std::vector<uint8_t> codes(static_cast<size_t>(n_out * n_in));
        for (uint8_t& c : codes) c = static_cast<uint8_t>(random.bits() & 15u);
        const auto n = static_cast<size_t>(n_out * n_patches(f, n_in));
        std::vector<uint8_t> scale_codes(n), zeros(n);
        std::vector<float> scales(n);
        for (size_t i = 0; i < n; ++i) {
          scale_codes[i] = static_cast<uint8_t>(1 + random.bits() % 0x7E);
          scales[i] = f.number == kE4M3 ? e4m3_to_f32(scale_codes[i])
                                        : std::ldexp(1.0f, static_cast<int>(random.bits() % 9));
          zeros[i] = static_cast<uint8_t>(random.bits() & 15u);
        }
        // Stored column order[i] is packed column i.
        std::vector<int32_t> order(static_cast<size_t>(n_in));
        for (size_t i = 0; i < order.size(); ++i) {
          order[i] = static_cast<int32_t>(f.ordered != 0 ? i * 77 % order.size() : i);
        }
        std::vector<uint8_t> stored(codes.size());
        for (size_t i = 0; i < codes.size(); ++i) {
          const auto width = order.size();
          stored[i / width * width + static_cast<size_t>(order[i % width])] = codes[i];
        }
        const int64_t bytes = backend.packed_bytes(&f, n_out, n_in);
        const MatrixRows plain_codes{
            f, n_out, n_in, 0, n_out, codes.data(), scales.data(), zeros.data(), order.data()};
        const Memory want(bytes, 0x55);
        generic_backend()->pack(&plain_codes, want.get());
        for (const int32_t layout : {kNibblesOfRows, kNibblesOfWords, kNibblesOfEight}) {
          if ((backend.code_layouts & 1 << layout) == 0) continue;
          if (f.scheme == kFp4 && layout != kNibblesOfRows) continue;
          if (f.ordered != 0 && layout != kNibblesOfWords) continue;
          const int64_t width = layout == kNibblesOfRows    ? n_in / 8
                                : layout == kNibblesOfWords ? n_out
                                                            : n_out / 8;
          const int64_t stride = layout == kNibblesOfRows ? width : width + 3;
          const auto words = words_of(layout, stored, n_out, n_in, stride);
          // All rows at once, and 64 at a time.
          for (const int64_t step : {n_out, int64_t{64}}) {
            const Memory got(bytes, 0xAA);
            for (int64_t row = 0; row < n_out; row += step) {
              MatrixRows rows = plain_codes;
              rows.first_row = row;
              rows.n_rows = step;
              rows.code_layout = layout;
              rows.code_stride = stride;
              rows.codes = words.data() + (layout == kNibblesOfRows    ? row * stride
                                           : layout == kNibblesOfWords ? row
                                                                       : row / 8);
              rows.scales += row * n_patches(f, n_in);
              rows.zeros += row * n_patches(f, n_in);
              if (f.number == kE4M3) {
                rows.scales = nullptr;
                rows.scale_codes = scale_codes.data() + row * n_patches(f, n_in);
              }
              backend.pack(&rows, got.get());
            }
            INFO(named.name << " [" << n_out << ", " << n_in << "], layout " << layout << ", "
                            << step << " rows at once");
            CHECK(std::memcmp(got.get(), want.get(), got.size()) == 0);
          }
        }
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
  const Backend& backend = *tested_backend();
  const Format format = plain(kBF16);
  const int64_t bytes = backend.packed_bytes(&format, 3, 5);
  const Memory a(bytes), b(bytes);
  const MatrixRows even = plain_rows(kBF16, 3, 5, codes.data());
  const MatrixRows odd = plain_rows(kBF16, 3, 5, shifted.data() + 1);
  backend.pack(&even, a.get());
  backend.pack(&odd, b.get());
  CHECK(std::memcmp(a.get(), b.get(), a.size()) == 0);
}

TEST_CASE("pack: what a backend cannot hold is -1 bytes") {
  for (const Backend* backend : {tested_backend(), reference_backend(), reference_f64_backend()}) {
    INFO(backend->name);
    const auto bytes = [&](const Format& f, int64_t n_out, int64_t n_in) {
      return backend->packed_bytes(&f, n_out, n_in);
    };
    CHECK(bytes(plain(kE4M3), 64, 64) == -1);
    CHECK(bytes(plain(kI32), 64, 64) == -1);
    CHECK(bytes({77, kBF16, 0, 0, 0, 1, 32}, 64, 64) == -1);
    CHECK(bytes({kInteger, kF16, 3, 0, 0, 1, 32}, 64, 64) == -1);
    CHECK(bytes({kInteger, kF16, 4, 0, 0, 1, 48}, 64, 96) == -1);
    CHECK(bytes({kInteger, kF16, 4, 0, 0, 0, 0}, 64, 96) == -1);
    CHECK(bytes({kFp8, kF32, 8, 0, 0, 192, 192}, 384, 384) == -1);
    CHECK(bytes({kFp4, kF32, 4, 0, 0, 1, 16}, 64, 64) == -1);
    CHECK(bytes(plain(kBF16), INT64_MAX / 2, INT64_MAX / 2) == -1);
    CHECK(bytes({kFp4, kE4M3, 4, 0, 0, 1, 16}, INT64_MAX / 2, INT64_MAX / 2) == -1);
    CHECK(bytes(plain(kF32), 64, 64) == 64 * 64 * 4);
  }
}

TEST_CASE("pack: a record has the bytes of its codes, scales and zeros") {
  const auto bits_each = [](const Format& f) {
    return 8.0 * static_cast<double>(tested_backend()->packed_bytes(&f, 1536, 3072)) /
           (1536.0 * 3072.0);
  };
  CHECK(bits_each({kInteger, kF16, 4, 0, 0, 1, 128}) == 4 + 16 / 128.0);
  CHECK(bits_each({kInteger, kBF16, 4, 1, 0, 1, 128}) == 4 + 24 / 128.0);
  CHECK(bits_each({kFp4, kE4M3, 4, 0, 0, 1, 16}) == 4.5);
  CHECK(bits_each({kFp4, kE8M0, 4, 0, 0, 1, 32}) == 4.25);
  CHECK(bits_each({kFp8, kE8M0, 8, 0, 0, 1, 32}) == 8.25);
  CHECK(bits_each({kFp8, kF32, 8, 0, 0, 128, 128}) == 8 + 8 * 128 / (64.0 * 3072));
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
