#include "tools/quantize/pack.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "quant/unpack.h"
#include "tensor/convert.h"
#include "tools/quantize/encode.h"
#include "tools/quantize/words.h"
#include "tools/quantize/zeros.h"

namespace mm2 {
namespace {

/// Packing of some rows of one matrix.
class Packer {
 public:
  Packer(const PackSpec& spec, const CodedRows& rows)
      : spec_(spec), scheme_(scheme_of(*spec.dialect)), rows_(rows), n_patches_(spec.n_patches()) {}

  Status run(const PlannedPart& part, std::byte* to) const {
    switch (part.kind) {
      case PartKind::codes:
        put_codes(to);
        return {};
      case PartKind::scale:
        return put_scales(part.dtype, to);
      case PartKind::zero:
        put_zeros(reinterpret_cast<uint32_t*>(to));
        return {};
      default:
        break;
    }
    if (rows_.first_row != 0) return {};  // what follows is of no row
    if (part.kind == PartKind::global_scale) std::memcpy(to, &rows_.global, 4);
    if (part.kind == PartKind::unused) std::memcpy(to, &rows_.input_scale, 4);
    if (part.kind == PartKind::shape) {
      const int64_t extents[2] = {spec_.n_rows, spec_.n_cols};
      std::memcpy(to, extents, sizeof extents);
    }
    if (part.kind == PartKind::group_map) put_map(reinterpret_cast<int32_t*>(to));
    return {};
  }

 private:
  void put_codes(std::byte* to) const {
    const int64_t n_cols = spec_.n_cols;
    auto* const bytes = reinterpret_cast<uint8_t*>(to);
    auto* const words = reinterpret_cast<uint32_t*>(to);
    switch (scheme_.packing) {
      case Packing::none:
        std::memcpy(bytes + rows_.first_row * n_cols, rows_.codes,
                    static_cast<size_t>(rows_.n_rows * n_cols));
        return;
      case Packing::nibbles:
        coding::pack_nibbles(rows_.codes, rows_.n_rows * n_cols / 2,
                             bytes + rows_.first_row * n_cols / 2);
        return;
      case Packing::gptq:
        return coding::pack_gptq(rows_.codes, spec_.bits, rows_.n_rows, n_cols,
                                 {words + rows_.first_row, spec_.n_rows});
      case Packing::awq:
        return coding::pack_awq(rows_.codes, rows_.n_rows, n_cols,
                                {words + rows_.first_row / 8, spec_.n_rows / 8});
      case Packing::dense_words: {
        const int64_t n_words = ceil_div(n_cols * spec_.bits, int64_t{32});
        for (int64_t r = 0; r < rows_.n_rows; ++r) {
          coding::pack_fields(rows_.codes + r * n_cols, spec_.bits, n_cols,
                              words + (rows_.first_row + r) * n_words);
        }
        return;
      }
    }
  }

  bool transposed() const {
    return scheme_.packing == Packing::gptq || scheme_.packing == Packing::awq;
  }

  Status put_scales(Dtype dtype, std::byte* to) const {
    const int64_t n_rows = ceil_div(rows_.n_rows, spec_.patch_rows());
    const int64_t first = rows_.first_row / spec_.patch_rows();
    for (int64_t r = 0; r < n_rows; ++r) {
      for (int64_t p = 0; p < n_patches_; ++p) {
        const int64_t i = r * n_patches_ + p;
        const int64_t at =
            transposed() ? p * spec_.n_rows + first + r : (first + r) * n_patches_ + p;
        if (dtype_bits(dtype) == 8) {
          to[at] = static_cast<std::byte>(rows_.scale_codes[i]);
        } else if (!put_scale(dtype, rows_.scales[i], to, at)) {
          return error(Code::numeric, "the scale of row ", (first + r) * spec_.patch_rows(),
                       ", columns from ", p * spec_.patch_cols(), " is ", rows_.scales[i],
                       ", which ", dtype_name(dtype), " cannot hold");
        }
      }
    }
    return {};
  }

  // False where it would become infinite.
  static bool put_scale(Dtype dtype, float scale, std::byte* to, int64_t at) {
    if (dtype == Dtype::f32) {
      std::memcpy(to + 4 * at, &scale, 4);
      return std::isfinite(scale);
    }
    const uint16_t bits = dtype == Dtype::f16 ? f32_to_f16(scale) : f32_to_bf16(scale);
    std::memcpy(to + 2 * at, &bits, 2);
    return std::isfinite(dtype == Dtype::f16 ? f16_to_f32(bits) : bf16_to_f32(bits));
  }

  uint32_t zero_of(int64_t row, int64_t patch) const {
    return rows_.zeros == nullptr ? 1u << (spec_.bits - 1)
                                  : uint32_t{rows_.zeros[row * n_patches_ + patch]};
  }

  void put_zeros(uint32_t* to) const {
    if (!transposed()) return put_zeros_along_rows(to);
    const int64_t per_word = 32 / spec_.bits;
    const int64_t stride = spec_.n_rows / per_word;
    for (int64_t p = 0; p < n_patches_; ++p) {
      for (int64_t r = 0; r < rows_.n_rows; r += per_word) {
        uint32_t word = 0;
        for (int64_t j = 0; j < per_word; ++j) {
          const int64_t field = scheme_.packing == Packing::awq ? kAwqNibble[j] : j;
          word |= zero_of(r + j, p) << (spec_.bits * static_cast<int>(field));
        }
        // Less one as the tools have it: of the whole word, so that a zero of 0 borrows.
        if (spec_.dialect->stored_zero_minus_one) word -= coding::ones(spec_.bits);
        to[p * stride + (rows_.first_row + r) / per_word] = word;
      }
    }
  }

  // compressed-tensors: the bits of one column of patches run down the rows.
  void put_zeros_along_rows(uint32_t* to) const {
    const int64_t first = rows_.first_row * spec_.bits / 32;
    const int64_t n_words = ceil_div(rows_.n_rows * spec_.bits, int64_t{32});
    std::memset(to + first * n_patches_, 0, static_cast<size_t>(n_words * n_patches_) * 4);
    for (int64_t r = 0; r < rows_.n_rows; ++r) {
      const int64_t bit = r * spec_.bits;
      const auto shift = static_cast<int>(bit % 32);
      uint32_t* const word = to + (first + bit / 32) * n_patches_;
      for (int64_t p = 0; p < n_patches_; ++p) {
        const uint32_t zero = zero_of(r, p);
        word[p] |= zero << shift;
        if (shift + spec_.bits > 32) word[n_patches_ + p] |= zero >> (32 - shift);
      }
    }
  }

  void put_map(int32_t* to) const {
    for (int64_t c = 0; c < spec_.n_cols; ++c) {
      to[c] = rows_.group_map == nullptr ? static_cast<int32_t>(c / spec_.patch_cols())
                                         : rows_.group_map[c];
    }
  }

  const PackSpec& spec_;
  const Scheme& scheme_;
  const CodedRows& rows_;
  const int64_t n_patches_;
};

// The factor of one patch.
float step_of(const PackSpec& spec, const Scheme& scheme, const CodedRows& rows, int64_t i) {
  if (rows.scale_codes == nullptr) return rows.scales[i];
  if (spec.patch_cols() == 32) return e8m0_to_f32(rows.scale_codes[i]);
  const float scale = e4m3_to_f32(rows.scale_codes[i]);
  return scheme.global_scale_divides ? scale / rows.global : scale * rows.global;
}

// Bits of the number of an E2M1 code.
uint32_t e2m1_number(uint32_t code) {
  const uint32_t size = code & 7u;
  const uint32_t bits = coding::choose(size < 2, size * coding::bits_of(0.5f), (size + 252u) << 22);
  return bits | (code & 8u) << 28;
}

constexpr std::array<float, 256> kE4m3 = [] {
  std::array<float, 256> table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = e4m3_to_f32(static_cast<uint8_t>(i));
  return table;
}();

// Numbers of n codes with one scale.
void numbers(CodeType type, const uint8_t* codes, int64_t n, float step, float zero, float* to) {
  switch (type) {
    case CodeType::integer:
      for (int64_t i = 0; i < n; ++i) to[i] = (static_cast<float>(codes[i]) - zero) * step;
      return;
    case CodeType::e2m1:
      for (int64_t i = 0; i < n; ++i) to[i] = coding::float_of(e2m1_number(codes[i])) * step;
      return;
    case CodeType::e4m3:
      for (int64_t i = 0; i < n; ++i) to[i] = kE4m3[codes[i]] * step;
      return;
    case CodeType::plain:
      return;
  }
}

}  // namespace

CodedRows CodedWhole::rows(int64_t n_rows) const {
  const auto data = [](const auto& v) { return v.empty() ? nullptr : v.data(); };
  return {.first_row = 0,
          .n_rows = n_rows,
          .codes = data(codes),
          .scales = data(scales),
          .scale_codes = data(scale_codes),
          .zeros = data(zeros),
          .group_map = data(group_map),
          .global = global,
          .input_scale = input_scale};
}

Status pack_rows(const PackSpec& spec, std::span<const PlannedPart> parts, const CodedRows& rows,
                 std::span<std::byte* const> memory) {
  const Packer packer(spec, rows);
  for (size_t i = 0; i < parts.size(); ++i) {
    MM2_RETURN_IF_ERROR(packer.run(parts[i], memory[i]));
  }
  return {};
}

void dequantize_coded(const PackSpec& spec, const CodedRows& rows, float* to) {
  const Scheme& scheme = scheme_of(*spec.dialect);
  const int64_t n_cols = spec.n_cols, n_patches = spec.n_patches(), patch = spec.patch_cols();
  const int64_t patch_rows = spec.patch_rows();
  const auto middle = static_cast<float>(1 << (spec.bits - 1));
  struct Step {
    float scale, zero;
  };
  std::vector<Step> steps(static_cast<size_t>(n_patches), Step{1, middle});
  for (int64_t r = 0; r < rows.n_rows; ++r) {
    for (int64_t p = 0; p < n_patches; ++p) {
      Step& step = steps[static_cast<size_t>(p)];
      step.scale = step_of(spec, scheme, rows, r / patch_rows * n_patches + p);
      if (rows.zeros != nullptr) step.zero = rows.zeros[r * n_patches + p];
    }
    const uint8_t* const codes = rows.codes + r * n_cols;
    float* const out = to + r * n_cols;
    for (int64_t c = 0; c < n_cols && rows.group_map != nullptr; ++c) {
      const Step& step = steps[static_cast<size_t>(rows.group_map[c])];
      numbers(scheme.codes, codes + c, 1, step.scale, step.zero, out + c);
    }
    for (int64_t c = 0; c < n_cols && rows.group_map == nullptr; c += patch) {
      const Step& step = steps[static_cast<size_t>(c / patch)];
      const int64_t n = std::min(patch, n_cols - c);
      numbers(scheme.codes, codes + c, n, step.scale, step.zero, out + c);
    }
  }
}

}  // namespace mm2
