#include "kernels/cuda/layout/pack.h"

#include "kernels/support.h"

using namespace support;
namespace cuda = mm2::kernels::cuda;
using cuda::WeightLayout;

TEST_CASE("cuda pack: the numbers that were packed are read back") {
  Random random(3);
  for (const int64_t n_in : {1, 63, 96, 160, 300}) {
    for (const int64_t n_out : {1, 64, 70, 130}) {
      for (const NamedFormat& named : all_formats(n_out, n_in)) {
        const Weights weights(random, n_out, n_in, named.format);
        const WeightLayout l = cuda::layout_of(named.format, n_out, n_in);
        const Memory packed(l.bytes);
        cuda::pack_on_host(&weights.rows(), packed.get());
        const int32_t* order = cuda::order_of(l, packed.get());
        bool same = true;
        for (int64_t row = 0; row < l.n_blocks * 64; ++row) {
          for (int64_t k = 0; k < l.n_records * 128; ++k) {
            const bool there = row < n_out && k < n_in;
            const double number = cuda::number_at(l, packed.get(), row, k);
            const double scale = l.groups == 0 ? 1 : cuda::scale_at(l, packed.get(), row, k);
            const int64_t column = there && order != nullptr ? order[k] : k;
            // A scale that only fills up is 0, but where the first rows of the block share it.
            if (there) same &= number * scale == weights.at(row, column);
            if (!there && named.format.zeros == 0) same &= number == 0;
          }
        }
        INFO(named.name << " [" << n_out << ", " << n_in << "]");
        CHECK(same);
      }
    }
  }
}

TEST_CASE("cuda pack: rows packed in pieces give the bytes of the whole, each its own range") {
  Random random(4);
  for (const NamedFormat& named : all_formats(200, 160)) {
    const Weights weights(random, 200, 160, named.format);
    const WeightLayout l = cuda::layout_of(named.format, 200, 160);
    const Memory whole(l.bytes, 0x00);
    cuda::pack_on_host(&weights.rows(), whole.get());
    const int64_t patches = n_patches(named.format, 160);
    const int64_t width = is_plain(named.format) ? bytes_of(named.format.number) : 1;
    for (int64_t row = 0; row < 200; row += 64) {
      const Memory piece(l.bytes, 0x5A);
      MatrixRows rows = weights.rows();
      rows.first_row = row;
      rows.n_rows = std::min<int64_t>(64, 200 - row);
      rows.codes = static_cast<const char*>(rows.codes) + row * 160 * width;
      if (rows.scales != nullptr) rows.scales += row * patches;
      if (rows.zeros != nullptr) rows.zeros += row * patches;
      cuda::pack_on_host(&rows, piece.get());
      const char *got = static_cast<char*>(piece.get()), *want = static_cast<char*>(whole.get());
      const int64_t first = row / 64 * l.block_bytes;
      bool same = true;
      for (int64_t i = 0; i < l.bytes; ++i) {
        const bool mine = (i >= first && i < first + l.block_bytes) || (row == 0 && i >= l.order);
        same &= got[i] == (mine ? want[i] : 0x5A);
      }
      INFO(named.name << ", row " << row);
      CHECK(same);
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
  constexpr int64_t kOfEight[] = {0, 4, 1, 5, 2, 6, 3, 7};
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

TEST_CASE("cuda pack: words of a checkpoint give the bytes that their codes give") {
  Random random(7);
  const int64_t n_out = 128, n_in = 256;
  for (const NamedFormat& named : all_formats(n_out, n_in)) {
    const Format& f = named.format;
    if (f.scheme != kFp4 && (f.scheme != kInteger || f.bits != 4)) continue;
    const Weights weights(random, n_out, n_in, f);
    const MatrixRows& of_bytes = weights.rows();
    const auto* codes = static_cast<const uint8_t*>(of_bytes.codes);
    std::vector<uint8_t> stored(codes, codes + n_out * n_in), scale_codes;
    for (int64_t i = 0; i < n_out * n_in && f.ordered != 0; ++i) {
      const int64_t row = i / n_in;  // stored column order[k] is packed column k
      stored[static_cast<size_t>(row * n_in + of_bytes.order[i % n_in])] = codes[i];
    }
    for (int64_t i = 0; i < n_out * n_patches(f, n_in); ++i) {
      scale_codes.push_back(f32_to_e4m3(of_bytes.scales[i]));
    }
    const WeightLayout l = cuda::layout_of(f, n_out, n_in);
    const Memory want(l.bytes, 0x55);
    cuda::pack_on_host(&of_bytes, want.get());
    for (const int32_t layout : {kNibblesOfRows, kNibblesOfWords, kNibblesOfEight}) {
      if (f.scheme == kFp4 && layout != kNibblesOfRows) continue;
      if (f.ordered != 0 && layout != kNibblesOfWords) continue;
      const int64_t stride = layout == kNibblesOfRows    ? n_in / 8
                             : layout == kNibblesOfWords ? n_out + 3
                                                         : n_out / 8 + 3;
      const auto words = words_of(layout, stored, n_out, n_in, stride);
      const Memory got(l.bytes, 0xAA);
      for (int64_t row = 0; row < n_out; row += 64) {
        MatrixRows rows = of_bytes;
        rows.first_row = row;
        rows.n_rows = 64;
        rows.code_layout = layout;
        rows.code_stride = stride;
        rows.codes = words.data() + (layout == kNibblesOfRows    ? row * stride
                                     : layout == kNibblesOfWords ? row
                                                                 : row / 8);
        rows.scales += row * n_patches(f, n_in);
        if (rows.zeros != nullptr) rows.zeros += row * n_patches(f, n_in);
        if (f.number == kE4M3) {
          rows.scales = nullptr;
          rows.scale_codes = scale_codes.data() + row * n_patches(f, n_in);
        }
        cuda::pack_on_host(&rows, got.get());
      }
      INFO(named.name << ", layout " << layout);
      CHECK(std::memcmp(got.get(), want.get(), want.size()) == 0);
    }
  }
}
