// Matrices that are stored here by the definition of each layout come back as they were.
#include "quant/decode.h"

#include <catch2/catch.hpp>
#include <random>

#include "kernels/api/format.h"
#include "quant/dequantize.h"
#include "quant/unpack.h"
#include "support/stored_matrix.h"
#include "tensor/buffer.h"
#include "unit/quant/memory.h"

using namespace mm2;
using support::contains;
using support::Memory;
using support::method;
using support::place_of;
using support::Stored;
using support::Truth;

namespace {

Memory of(const Stored& stored) {
  Memory source;
  for (const Stored::Tensor& tensor : stored.tensors) {
    source.add("q" + tensor.suffix, tensor.dtype, tensor.shape,
               std::vector<char>(tensor.bytes.begin(), tensor.bytes.end()));
  }
  return source;
}

// The code of row r, column i of rows that kernels would pack, by the definition of their layout.
int code_of(const kernels::MatrixRows& rows, int64_t r, int64_t i) {
  const auto* bytes = static_cast<const uint8_t*>(rows.codes);
  const int64_t k =
      rows.code_layout != kernels::kByteEach && rows.order != nullptr ? rows.order[i] : i;
  int64_t dword = 0, nibble = k % 8;
  switch (rows.code_layout) {
    case kernels::kByteEach:
      return bytes[r * rows.n_in + i];
    case kernels::kNibblesOfRows:
      dword = r * rows.code_stride + k / 8;
      break;
    case kernels::kNibblesOfWords:
      dword = k / 8 * rows.code_stride + r;
      break;
    default:
      dword = k * rows.code_stride + r / 8;
      nibble = kAwqNibble[r % 8];
  }
  return bytes[4 * dword + nibble / 2] >> (nibble % 2 * 4) & 15;
}

// Codes that stay as they are stored are those that come out of them; returns how many rows stay.
int64_t rows_left_as_stored(const WeightPlace& place, const WeightDescription& description,
                            const Memory& source) {
  const auto m = coded_matrix(place, description, source);
  if (!m.ok()) return 0;
  constexpr int32_t kAll =
      1 << kernels::kNibblesOfRows | 1 << kernels::kNibblesOfWords | 1 << kernels::kNibblesOfEight;
  int64_t n_left = 0;
  for (int64_t row = 0; row + 64 <= place.n_rows(); row += 64) {
    std::vector<std::byte> raw_memory(raw_bytes(*m, 64) + 64), a(staged_bytes(*m, 64)), b(a);
    DecodeNotes notes;
    const auto raw = read_parts(*m, source, row, 64, false, raw_memory.data());
    REQUIRE(raw.ok());
    kernels::MatrixRows want, got;
    REQUIRE(decode(*m, source, *raw, row, 64, a.data(), want, notes).ok());
    REQUIRE(decode(*m, source, *raw, row, 64, b.data(), got, notes, kAll).ok());
    if (got.code_layout == kernels::kByteEach) continue;
    n_left += 64;
    int64_t n_wrong = 0;
    for (int64_t r = 0; r < 64; ++r) {
      for (int64_t i = 0; i < m->n_cols; ++i) n_wrong += code_of(got, r, i) != code_of(want, r, i);
    }
    for (int64_t i = 0; i < 64 * m->n_patches(); ++i) {
      const float scale =
          got.scale_codes == nullptr ? got.scales[i] : kernels::e4m3_to_f32(got.scale_codes[i]);
      n_wrong += scale != want.scales[i];
      if (m->format.zeros != 0) n_wrong += got.zeros[i] != want.zeros[i];
    }
    CHECK(n_wrong == 0);
  }
  return n_left;
}

std::vector<float> numbers(const Memory& source, const QuantConfig& config,
                           const WeightPlace& place) {
  const auto description = describe_weight(place, source, config);
  INFO(description.status().message());
  REQUIRE(description.ok());
  std::vector<float> rows(static_cast<size_t>(place.n_rows() * place.n_cols()));
  const Status status =
      dequantize_rows(place, *description, source, 0, place.n_rows(), rows.data());
  INFO(status.message());
  REQUIRE(status.ok());
  rows_left_as_stored(place, *description, source);
  return rows;
}

void expect(const Truth& t, const Stored& stored, const QuantConfig& config) {
  const auto got = numbers(of(stored), config, place_of(t.rows, t.cols));
  int64_t n_wrong = 0;
  for (int64_t r = 0; r < t.rows; ++r) {
    for (int64_t k = 0; k < t.cols; ++k) {
      n_wrong += got[static_cast<size_t>(r * t.cols + k)] == t.number(r, k) ? 0 : 1;
    }
  }
  CHECK(n_wrong == 0);
}

QuantConfig said(QuantConfig config, std::optional<bool> symmetric,
                 std::optional<bool> desc_act = {}) {
  config.words.symmetric = symmetric;
  config.words.desc_act = desc_act;
  return config;
}

}  // namespace

TEST_CASE("decode: GPTQ of 2, 4 and 8 bits, both zero conventions, sizes that fit no tile") {
  for (const int bits : {2, 4, 8}) {
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{128, 256}, {72, 160}, {16, 32}}) {
      Truth t(rows, cols, 32, bits);
      INFO(bits << " bits, " << rows << " x " << cols);
      expect(t, gptq(t, 0, false), method("gptq", 32, "gptq_v2"));
      // Zeros of 0 are stored as the largest code, and borrow from their neighbour.
      expect(t, gptq(t, 1, false), method("gptq", 32, "gptq"));
      expect(t, gptq(t, 1, true), said(method("gptq", 32, "gptq"), false, false));
      expect(t, gptq(t, 0, false), said(method("auto-round", 32, "gptq_v2"), false));
      t.symmetric();
      expect(t, gptq(t, 1, false), said(method("gptq", 32, "gptq"), true));
      t.shuffle();
      expect(t, gptq(t, 1, true), said(method("gptq", 32, "gptq"), true, true));
    }
  }
}

TEST_CASE("decode: symmetric codes need no zeros, whichever convention stored them") {
  Truth t(64, 64, 32, 4);
  t.symmetric();
  for (const char* layout : {"gptq", "gptq_v2"}) {
    for (const int less : {0, 1})
      expect(t, gptq(t, less, false), said(method("gptq", 32, layout), true));
  }
  const auto described = describe_weight(place_of(64, 64), of(gptq(t, 1, false)),
                                         said(method("gptq", 32, "gptq"), true));
  CHECK(described->zero == Zero::half);
}

TEST_CASE("decode: AWQ, sizes that fit no tile") {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{128, 256}, {40, 96}, {8, 32}}) {
    const Truth t(rows, cols, 32, 4);
    INFO(rows << " x " << cols);
    expect(t, awq(t), method("awq", 32, "awq"));
    expect(t, awq(t), method("auto-round", 32, "awq"));
  }
}

TEST_CASE("decode: packed integers of 1 to 8 bits, across the borders of words") {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{128, 256}, {70, 160}}) {
      INFO(bits << " bits, " << rows << " x " << cols);
      Truth t(rows, cols, 32, bits);
      expect(t, ct_packed(t, true, false), method("compressed-tensors", 32));
      t.symmetric();
      expect(t, ct_packed(t, false, false), method("compressed-tensors", 32));
      t.shuffle();
      expect(t, ct_packed(t, false, true), said(method("compressed-tensors", 32), true, true));
      expect(t, ct_packed(t, true, true), said(method("compressed-tensors", 32), false));
    }
  }
  // A last group that is cut, and rows that end inside a word.
  Truth t(64, 100, 64, 4);
  expect(t, ct_packed(t, true, false), method("compressed-tensors", 64));
}

TEST_CASE("decode: signed bytes, with a scale for each row, group or matrix") {
  Truth rows(64, 96, 96, 8), groups(64, 128, 32, 8);
  expect(rows, int8(rows, true), method("compressed-tensors"));
  expect(groups, int8(groups, true), method("compressed-tensors"));
  rows.symmetric();
  groups.symmetric();
  expect(rows, int8(rows, false), method("compressed-tensors"));
  expect(groups, int8(groups, false), method("compressed-tensors"));

  Memory one;
  one.add("q.weight", Dtype::i8, Shape{2, 32}, std::vector<int8_t>(64, -3));
  one.add("q.weight_scale", Dtype::f32, Shape{1}, std::vector<float>{0.5f});
  one.add("q.weight_zero_point", Dtype::i8, Shape{}, std::vector<int8_t>{4});
  const auto got = numbers(one, method("compressed-tensors"), place_of(2, 32));
  CHECK(got == std::vector<float>(64, -3.5f));
}

TEST_CASE("decode: FP8 with every granularity of scales, blocks cut at both edges") {
  constexpr int64_t kRows = 130, kCols = 192;
  std::mt19937 random(3);
  std::vector<uint8_t> codes(kRows * kCols);
  for (uint8_t& code : codes) {
    code = static_cast<uint8_t>(random());
    if ((code & 0x7F) == 0x7F) code ^= 1;
  }
  struct Layout {
    const char* suffix;
    Dtype dtype;
    Shape shape;
    int64_t rows, cols;  // of a patch
    const char* method;
  };
  const Layout layouts[] = {
      {".weight_scale_inv", Dtype::f32, {2, 2}, 128, 128, "fp8"},
      {".weight_scale", Dtype::bf16, {2, 2}, 128, 128, "compressed-tensors"},
      {".weight_scale", Dtype::f16, {130, 1}, 1, 192, "compressed-tensors"},
      {".weight_scale", Dtype::f32, {}, 130, 192, "modelopt"},
      {".weight_scale", Dtype::f32, {1}, 130, 192, "compressed-tensors"},
      {".weight_scale", Dtype::f32, {130, 3}, 1, 64, "compressed-tensors"},
      {".weight_scale", Dtype::u8, {130, 6}, 1, 32, "compressed-tensors"},
      {".weight_scale", Dtype::f8_e8m0, {130, 6}, 1, 32, "modelopt"},
  };
  for (const Layout& l : layouts) {
    INFO(l.suffix << " " << dtype_name(l.dtype) << " " << l.shape.to_string());
    const int64_t n = l.shape.n_elements(), per_row = l.shape.n_cols();
    std::vector<float> scales;
    std::string stored;
    for (int64_t i = 0; i < n; ++i) {
      // Powers of two are exact in all of the types.
      const int exponent = static_cast<int>(random() % 8) - 4;
      scales.push_back(std::ldexp(1.0f, exponent));
      const float x = scales.back();
      const uint32_t bits = kernels::bits_of(x);
      if (l.dtype == Dtype::f32) stored.append(reinterpret_cast<const char*>(&x), 4);
      if (l.dtype == Dtype::bf16) stored.append(reinterpret_cast<const char*>(&bits) + 2, 2);
      const uint16_t f16 = kernels::f32_to_f16(x);
      if (l.dtype == Dtype::f16) stored.append(reinterpret_cast<const char*>(&f16), 2);
      if (dtype_bits(l.dtype) == 8) stored.push_back(static_cast<char>(127 + exponent));
    }
    Memory source;
    source.add("q.weight", Dtype::f8_e4m3, Shape{kRows, kCols}, codes);
    source.add(std::string("q") + l.suffix, l.dtype, l.shape,
               std::vector<char>(stored.begin(), stored.end()));
    const auto got = numbers(source, method(l.method), place_of(kRows, kCols));
    int64_t n_wrong = 0;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t k = 0; k < kCols; ++k) {
        const auto at = static_cast<size_t>(r * kCols + k);
        const auto scale = static_cast<size_t>(r / l.rows * per_row + k / l.cols);
        n_wrong += got[at] == kernels::e4m3_to_f32(codes[at]) * scales[scale] ? 0 : 1;
      }
    }
    CHECK(n_wrong == 0);
  }
}

TEST_CASE("decode: slices of fused matrices, also where they begin inside a block") {
  Truth t(80, 64, 32, 4);
  const auto slice_of = [&](int64_t first, int64_t n) {
    WeightPlace place = place_of(n, t.cols);
    place.stored = Shape{t.rows, t.cols};
    place.first_row = first;
    return place;
  };
  const std::pair<Memory, QuantConfig> stored[] = {
      {of(gptq(t, 1, false)), method("gptq", 32, "gptq")},
      {of(awq(t)), method("awq", 32, "awq")},
      {of(ct_packed(t, true, false)), method("compressed-tensors", 32)}};
  for (const auto& [source, config] : stored) {
    const auto got = numbers(source, config, slice_of(24, 40));
    for (int64_t r = 0; r < 40; ++r) {
      for (int64_t k = 0; k < t.cols; ++k) {
        REQUIRE(got[static_cast<size_t>(r * t.cols + k)] == t.number(r + 24, k));
      }
    }
  }
  const auto inside = coded_matrix(
      slice_of(12, 8), *describe_weight(slice_of(12, 8), stored[1].first, stored[1].second),
      stored[1].first);
  CHECK(contains(inside.status().message(), "rows from 12 on begin inside a word"));

  Memory fp8;
  fp8.add("q.weight", Dtype::f8_e4m3, Shape{256, 128}, std::vector<uint8_t>(256 * 128, 0x38));
  fp8.add_f32("q.weight_scale_inv", Shape{2, 1}, {2, 4});
  WeightPlace place = place_of(128, 128);
  place.stored = Shape{256, 128};
  place.first_row = 64;
  const auto got = numbers(fp8, method("fp8"), place);
  CHECK((got[63 * 128] == 2 && got[64 * 128] == 4));
}

TEST_CASE("decode: a piece that is read at once may be decoded in tiles") {
  Truth t(192, 256, 128, 4);
  t.symmetric();
  const Memory source = of(gptq(t, 1, false));
  const auto description =
      describe_weight(place_of(192, 256), source, said(method("gptq", 128, "gptq"), true));
  const auto m = coded_matrix(place_of(192, 256), *description, source);
  REQUIRE(m.ok());
  CHECK(m->format.patch_cols == 128);
  CHECK(read_bytes(*m, 0, 192) == 192 * 256 / 2 + 2 * 192 * 2 + 2 * 24 * 4);
  CHECK(read_bytes(*m, 64, 128) == 128 * 256 / 2 + 2 * 128 * 2 + 2 * 16 * 4);
  auto raw_memory = Buffer::make(default_allocator(), raw_bytes(*m, 128));
  auto staged = Buffer::make(default_allocator(), staged_bytes(*m, 64));
  const auto raw = read_parts(*m, source, 64, 128, false, raw_memory->data());
  REQUIRE(raw.ok());
  DecodeNotes notes;
  for (const int64_t first : {64, 128}) {
    kernels::MatrixRows rows;
    REQUIRE(decode(*m, source, *raw, first, 64, staged->data(), rows, notes).ok());
    CHECK((rows.first_row == first && rows.n_rows == 64 && rows.n_out == 192));
    CHECK(rows.zeros == nullptr);
    const auto* codes = static_cast<const uint8_t*>(rows.codes);
    for (int64_t i = 0; i < 64 * 256; ++i) REQUIRE(codes[i] == t.code(first + i / 256, i % 256));
  }
  CHECK(notes.n_other_zeros == 0);
}

TEST_CASE("decode: mapped files give what reading gives, aligned or not") {
  Truth t(192, 256, 128, 4);
  struct Case {
    Memory source;
    QuantConfig config;
  };
  std::vector<Case> cases;
  cases.push_back({of(gptq(t, 1, false)), said(method("gptq", 128, "gptq"), false)});
  cases.push_back({of(awq(t)), said(method("awq", 128, "awq"), false)});
  cases.push_back({of(ct_packed(t, true, false)), said(method("compressed-tensors"), false)});
  for (const Case& c : cases) {
    for (const int64_t from : {-1, 0, 64, 8, 4, 3}) {
      Memory source = c.source;
      source.mapped_from = from;
      const auto description = describe_weight(place_of(192, 256), source, c.config);
      REQUIRE(description.ok());
      const auto m = coded_matrix(place_of(192, 256), *description, source);
      REQUIRE(m.ok());
      auto raw_memory = Buffer::make(default_allocator(), raw_bytes(*m, 128));
      auto staged = Buffer::make(default_allocator(), staged_bytes(*m, 64));
      const auto raw = read_parts(*m, source, 64, 128, true, raw_memory->data());
      REQUIRE(raw.ok());
      // Words that lie as words should are used where they are.
      const std::byte* begin = raw_memory->data();
      const bool stays = raw->parts[0] < begin || raw->parts[0] >= begin + raw_memory->size();
      CHECK(stays == (from >= 0 && from % 4 == 0));
      // What was mapped can be let go, to the byte.
      let_go_of_parts(*m, source, *raw);
      CHECK(source.gone.empty() == !stays);
      for (const auto& gone : source.gone) {
        CHECK(gone.from + gone.n <= source.find(gone.tensor)->bytes);
        CHECK(gone.n > 0);
      }
      DecodeNotes notes;
      kernels::MatrixRows rows;
      REQUIRE(decode(*m, source, *raw, 128, 64, staged->data(), rows, notes).ok());
      const auto* codes = static_cast<const uint8_t*>(rows.codes);
      for (int64_t i = 0; i < 64 * 256; ++i) REQUIRE(codes[i] == t.code(128 + i / 256, i % 256));
      for (int64_t i = 0; i < 64 * 2; ++i) REQUIRE(rows.zeros[i] == t.zero(128 + i / 2, i % 2));
    }
  }
}

TEST_CASE("decode: the format tells kernels all there is to know") {
  Truth t(64, 256, 64, 4);
  t.shuffle();
  const Memory source = of(gptq(t, 1, true));
  const QuantConfig config = said(method("gptq", 64, "gptq"), false, true);
  const auto m =
      coded_matrix(place_of(64, 256), *describe_weight(place_of(64, 256), source, config), source);
  REQUIRE(m.ok());
  const kernels::Format& f = m->format;
  CHECK((f.scheme == kernels::kInteger && f.number == kernels::kF16 && f.bits == 4));
  CHECK((f.zeros == 1 && f.ordered == 1 && f.patch_rows == 1 && f.patch_cols == 64));
  auto memory = Buffer::make(default_allocator(), raw_bytes(*m, 64));
  const auto raw = read_parts(*m, source, 0, 64, false, memory->data());
  REQUIRE(raw.ok());
  for (int64_t i = 0; i < 256; ++i) {
    CHECK(t.group_of[static_cast<size_t>(raw->order[i])] == i / 64);
    if (i % 64 != 0) CHECK(raw->order[i] > raw->order[i - 1]);
  }
  // One group has no order.
  Truth whole(8, 32, 32, 4);
  const auto described = describe_weight(place_of(8, 32), of(gptq(whole, 1, true)),
                                         said(method("gptq", -1, "gptq"), {}, true));
  CHECK_FALSE(described->ordered);
}

TEST_CASE("decode: groups that no kernel takes are refused with their numbers") {
  const Truth t(64, 96, 48, 4);
  const Memory source = of(ct_packed(t, false, false));
  const auto description = describe_weight(place_of(64, 96), source, method("compressed-tensors"));
  REQUIRE(description.ok());
  const Status status = coded_matrix(place_of(64, 96), *description, source).status();
  CHECK(status.code() == Code::unsupported);
  CHECK(contains(status.message(),
                 "q.weight_packed: compressed-tensors packed integers 4 bit group 48"));
  CHECK(contains(status.message(), "patches of 1x48 for rows of 96"));
}

TEST_CASE("decode: codes of 4 bits stay as they are stored where kernels take them so") {
  const auto n_left = [](const Stored& stored, const QuantConfig& config, int64_t rows,
                         int64_t cols) {
    const Memory source = of(stored);
    const WeightPlace place = place_of(rows, cols);
    const auto description = describe_weight(place, source, config);
    REQUIRE(description.ok());
    return rows_left_as_stored(place, *description, source);
  };
  for (const int64_t cols : {256, 160}) {
    const int64_t wanted = cols == 256 ? 128 : 0;  // only whole squares
    Truth t(128, cols, 32, 4);
    CHECK(n_left(awq(t), method("awq", 32, "awq"), 128, cols) == wanted);
    CHECK(n_left(gptq(t, 0, false), method("gptq", 32, "gptq_v2"), 128, cols) == wanted);
    CHECK(n_left(ct_packed(t, true, false), method("compressed-tensors", 32), 128, cols) == wanted);
    t.symmetric();
    t.shuffle();
    CHECK(n_left(gptq(t, 1, true), said(method("gptq", 32, "gptq"), true, true), 128, cols) ==
          wanted);
    // A scale of 0 loses its codes: they have to be looked at. F16 may hold it, so it is no error.
    t.scales[5] = 0;
    CHECK(n_left(gptq(t, 1, true), said(method("gptq", 32, "gptq"), true, true), 128, cols) ==
          (cols == 256 ? 64 : 0));
  }
}
