#include "quant/decode.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "kernels/api/format.h"
#include "quant/scales.h"
#include "quant/unpack.h"

namespace mm2 {
namespace {

constexpr uint64_t kAlignment = 64;  // also what unpacking may write behind the last row

size_t index_of(const Scheme& scheme, PartKind kind) {
  size_t i = 0;
  while (i < scheme.parts.size() && scheme.parts[i].kind != kind) ++i;
  return i;
}

uint64_t padded(int64_t bytes) {
  return round_up(static_cast<uint64_t>(bytes), kAlignment);
}

/// Decoding of some rows of one matrix.
class Decoder {
 public:
  Decoder(const CodedMatrix& m, const TensorSource& source, const RawParts& raw, int64_t first_row,
          int64_t n_rows, std::byte* memory)
      : m_(m),
        d_(m.description),
        scheme_(*m.description.scheme),
        source_(source),
        raw_(raw),
        stored_row_(m.first_row + first_row),
        n_rows_(n_rows),
        n_cols_(m.n_cols),
        n_patches_(m.n_patches()) {
    codes_ = reinterpret_cast<uint8_t*>(memory);
    memory += padded(n_rows * n_cols_) + kAlignment;
    if (m.format.ordered != 0) {
      ordered_ = reinterpret_cast<uint8_t*>(memory);
      memory += padded(n_rows * n_cols_);
    }
    scales_ = reinterpret_cast<float*>(memory);
    zeros_ = reinterpret_cast<uint8_t*>(memory + padded(n_rows * n_patches_ * 4));
  }

  Status run(kernels::MatrixRows& rows, DecodeNotes& notes, int32_t code_layouts) {
    const int32_t layout = stored_layout();
    if (layout != kernels::kByteEach && (code_layouts & 1 << layout) != 0) {
      MM2_RETURN_IF_ERROR(take_zeros(notes));
      const bool in_codes = kernels::scale_in_code(m_.format);
      if (!in_codes) take_scales();
      if (in_codes ? are_positive(scale_codes(), n_rows_ * n_patches_) : scales_are_sound()) {
        leave_codes(layout, rows);
        return {};
      }
    }
    const uint8_t* codes = take_codes();
    if (ordered_ != nullptr) {
      permute_columns(codes, raw_.order, n_rows_, n_cols_, ordered_);
      codes = ordered_;
    }
    if (scheme_.codes == CodeType::e4m3) MM2_RETURN_IF_ERROR(check_codes(codes));
    MM2_RETURN_IF_ERROR(take_zeros(notes));
    take_scales();
    MM2_RETURN_IF_ERROR(check_scales_of(codes));
    rows = {m_.format, m_.n_rows, n_cols_, stored_row_ - m_.first_row,
            n_rows_,   codes,     scales_, m_.format.zeros != 0 ? zeros_ : nullptr,
            raw_.order};
    return {};
  }

 private:
  const std::byte* part(size_t i) const { return raw_.parts[i]; }
  WordWindow words(int64_t first) const {
    return {reinterpret_cast<const uint32_t*>(part(0)) + first, raw_.windows[0].n_cols};
  }

  // The layout in which kernels may take the codes as they are stored, or kByteEach.
  int32_t stored_layout() const {
    const bool four = d_.bits == 4 && (m_.format.bits == 4 || m_.format.scheme == kernels::kFp4);
    const bool whole = n_rows_ % 64 == 0 && n_cols_ % 128 == 0;
    if (!four || !whole) return kernels::kByteEach;
    if (m_.format.ordered != 0 && scheme_.packing != Packing::gptq) return kernels::kByteEach;
    const Window& w = raw_.windows[0];
    switch (scheme_.packing) {
      case Packing::nibbles:
        return w.n_cols * 2 == n_cols_ ? kernels::kNibblesOfRows : kernels::kByteEach;
      case Packing::dense_words:
        return w.n_cols * 8 == n_cols_ ? kernels::kNibblesOfRows : kernels::kByteEach;
      case Packing::gptq:
        return kernels::kNibblesOfWords;
      case Packing::awq:
        return kernels::kNibblesOfEight;
      default:
        return kernels::kByteEach;
    }
  }

  // Scales of E4M3 as they are stored, [n_rows, n_patches].
  const uint8_t* scale_codes() const {
    const size_t i = index_of(scheme_, PartKind::scale);
    const int64_t first = (stored_row_ - raw_.windows[i].first_row) * n_patches_;
    return reinterpret_cast<const uint8_t*>(part(i)) + first;
  }

  // Whether no code has to be looked at to know that the scales are right.
  bool scales_are_sound() const {
    const int64_t n = n_rows_ * n_patches_;
    return keep_rule(scale_rule(d_), scales_, n) && !some_vanish(scales_, n);
  }

  void leave_codes(int32_t layout, kernels::MatrixRows& rows) const {
    const Window& w = raw_.windows[0];
    const std::byte* from = part(0);
    int64_t stride = w.n_cols;
    if (layout == kernels::kNibblesOfRows) {
      stride = n_cols_ / 8;
      from += (stored_row_ - w.first_row) * stride * 4;
    } else if (layout == kernels::kNibblesOfWords) {
      from += (stored_row_ - w.first_col) * 4;
    } else {
      from += (stored_row_ / 8 - w.first_col) * 4;
    }
    rows = {m_.format,  m_.n_rows, n_cols_, stored_row_ - m_.first_row,
            n_rows_,    from,      scales_, m_.format.zeros != 0 ? zeros_ : nullptr,
            raw_.order, layout,    stride};
    if (!kernels::scale_in_code(m_.format)) return;
    rows.scales = nullptr;
    rows.scale_codes = scale_codes();
  }

  const uint8_t* take_codes() {
    const Window& w = raw_.windows[0];
    const auto* from = reinterpret_cast<const uint8_t*>(part(0));
    switch (scheme_.packing) {
      case Packing::none:
        from += (stored_row_ - w.first_row) * n_cols_;
        if (scheme_.codes != CodeType::integer) return from;
        unpack_signed(from, n_rows_ * n_cols_, codes_);
        return codes_;
      case Packing::nibbles:
        unpack_rows(from + (stored_row_ - w.first_row) * w.n_cols, w.n_cols, 4);
        return codes_;
      case Packing::dense_words: {
        from += (stored_row_ - w.first_row) * w.n_cols * 4;
        if (d_.bits == 8 && n_cols_ % 4 == 0) return from;
        unpack_rows(from, w.n_cols * 4, d_.bits);
        break;
      }
      case Packing::gptq:
        unpack_gptq(words(stored_row_ - w.first_col), d_.bits, n_rows_, n_cols_, codes_);
        break;
      case Packing::awq:
        unpack_awq(words(stored_row_ / 8 - w.first_col), n_rows_, n_cols_, codes_);
        break;
    }
    widen();
    return codes_;
  }

  // Row by row where a row does not end with its last byte: what is too much goes where the next
  // row comes.
  void unpack_rows(const uint8_t* from, int64_t row_bytes, int bits) {
    if (bits == 4 && row_bytes * 2 == n_cols_) {
      return unpack_nibbles(from, n_rows_ * row_bytes, codes_);
    }
    uint8_t* to = codes_;
    for (int64_t row = 0; row < n_rows_; ++row, from += row_bytes, to += n_cols_) {
      if (bits == 4) {
        unpack_nibbles(from, row_bytes, to);
      } else {
        unpack_fields(reinterpret_cast<const uint32_t*>(from), bits, n_cols_, to);
      }
    }
  }

  // Codes narrower than the kernels': the middle of theirs is the middle of ours.
  void widen() {
    if (m_.format.bits == d_.bits || m_.format.zeros != 0) return;
    const auto by = static_cast<uint8_t>((1 << (m_.format.bits - 1)) - (1 << (d_.bits - 1)));
    for (int64_t i = 0; i < n_rows_ * n_cols_; ++i)
      codes_[i] = static_cast<uint8_t>(codes_[i] + by);
  }

  Status check_codes(const uint8_t* codes) const {
    if (!has_e4m3_nan(codes, n_rows_ * n_cols_)) return {};
    int64_t i = 0;
    while ((codes[i] & 0x7Fu) != 0x7Fu) ++i;
    return error(Code::format, file_and_name(source_, d_.codes()), ": the code at [",
                 stored_row_ + i / n_cols_, ", ", i % n_cols_, "] is ",
                 codes[i] == 0x7F ? "0x7F" : "0xFF", ", which is NaN");
  }

  // Zeros [n_rows, n_patches], also where they are only compared.
  Status take_zeros(DecodeNotes& notes) {
    const size_t i = index_of(scheme_, PartKind::zero);
    if (i == scheme_.parts.size() || d_.parts[i] == nullptr) return {};
    if (d_.parts[i]->dtype == Dtype::i8) {
      signed_zeros(i);
    } else if (scheme_.packing == Packing::dense_words) {
      zeros_along_rows(i);
    } else {
      zeros_along_words(i);
    }
    return d_.zero == Zero::half ? compare_zeros(*d_.parts[i], notes) : Status();
  }

  void signed_zeros(size_t i) {
    const Window& w = raw_.windows[i];
    const auto* from = reinterpret_cast<const uint8_t*>(part(i));
    const bool one = scheme_.parts[i].rank == 1;
    if (!one)
      return unpack_signed(from + (stored_row_ - w.first_row) * n_patches_, n_rows_ * n_patches_,
                           zeros_);
    std::memset(zeros_, from[0] ^ 0x80, static_cast<size_t>(n_rows_ * n_patches_));
  }

  // compressed-tensors: the bits of one column of patches run down the rows.
  void zeros_along_rows(size_t i) {
    const Window& w = raw_.windows[i];
    const auto* from = reinterpret_cast<const uint32_t*>(part(i));
    const uint32_t mask = (1u << d_.bits) - 1u;
    for (int64_t row = 0; row < n_rows_; ++row) {
      const int64_t bit = (stored_row_ + row) * d_.bits;
      const uint32_t* word = from + (bit / 32 - w.first_row) * n_patches_;
      const auto shift = static_cast<int>(bit % 32);
      const bool crosses = shift + d_.bits > 32;
      for (int64_t p = 0; p < n_patches_; ++p) {
        uint32_t zero = word[p] >> shift;
        if (crosses) zero |= word[n_patches_ + p] << (32 - shift);
        zeros_[row * n_patches_ + p] = static_cast<uint8_t>(zero & mask);
      }
    }
  }

  // GPTQ and AWQ: a row of words for each patch. GPTQ v1 keeps whole words too small, by 1 in each field
  // (docs/decisions/0012-gptq-v1-zeros.md): they are added as words too.
  void zeros_along_words(size_t i) {
    const Window& w = raw_.windows[i];
    const auto* from = reinterpret_cast<const uint32_t*>(part(i));
    const uint32_t mask = (1u << d_.bits) - 1u;
    const int64_t per_word = 32 / d_.bits;
    uint32_t missing = 0;
    for (int64_t f = 0; f < per_word && scheme_.zero == Zero::stored_plus_one; ++f) {
      missing |= 1u << (f * d_.bits);
    }
    for (int64_t row = 0; row < n_rows_; ++row) {
      const int64_t stored = stored_row_ + row;
      const uint32_t* word = from + stored / per_word - w.first_col;
      const auto field = static_cast<int>(stored % per_word);
      const int shift = scheme_.packing == Packing::awq ? kAwqNibble[field] * 4 : field * d_.bits;
      for (int64_t p = 0; p < n_patches_; ++p) {
        zeros_[row * n_patches_ + p] =
            static_cast<uint8_t>((word[p * w.n_cols] + missing) >> shift & mask);
      }
    }
  }

  // Symmetric codes: the configuration knows the zero, the stored ones must agree with it.
  Status compare_zeros(const TensorInfo& zeros, DecodeNotes& notes) const {
    const int half = 1 << (d_.bits - 1);
    const int other = scheme_.zero == Zero::stored_plus_one ? half + 1 : half - 1;
    const int64_t n = n_rows_ * n_patches_;
    const int first = n > 0 ? zeros_[0] : half;
    unsigned differ = 0;
    for (int64_t k = 0; k < n; ++k) differ |= zeros_[k] != first ? 1u : 0u;
    if (differ == 0 && first == half) return {};
    if (differ == 0 && first == other) {
      notes.n_other_zeros.fetch_add(1, std::memory_order_relaxed);
      return {};
    }
    int64_t k = 0;
    while (zeros_[k] == half) ++k;
    return error(Code::format, file_and_name(source_, zeros), ": the zero of group ",
                 k % n_patches_, " of output ", stored_row_ + k / n_patches_, " is ",
                 static_cast<int>(zeros_[k]), ", but sym is true, which makes it ", half);
  }

  void take_scales() {
    const size_t i = index_of(scheme_, PartKind::scale);
    const TensorInfo& tensor = *d_.parts[i];
    const Window& w = raw_.windows[i];
    const Part& p = scheme_.parts[i];
    const int64_t width = dtype_bits(tensor.dtype) / 8;
    const auto widened = [&](int64_t element, int64_t n, float* to) {
      widen_scales(tensor.dtype, part(i) + element * width, n, to);
    };
    if (p.rank == 1) {
      widened(0, 1, scales_);
      std::fill(scales_ + 1, scales_ + n_rows_ * n_patches_, scales_[0]);
    } else if (p.extents[1] == Extent::rows) {
      scales_along_words(w, widened);
    } else if (p.extents[0] == Extent::rows_by_block) {
      for (int64_t row = 0; row < n_rows_; ++row) {
        const int64_t block = (stored_row_ + row) / d_.scale_rows;
        float* to = scales_ + row * n_patches_;
        if (row > 0 && (stored_row_ + row) % d_.scale_rows != 0) {
          std::memcpy(to, to - n_patches_, static_cast<size_t>(n_patches_) * 4);
        } else {
          widened((block - w.first_row) * n_patches_, n_patches_, to);
        }
      }
    } else {
      widened((stored_row_ - w.first_row) * n_patches_, n_rows_ * n_patches_, scales_);
    }
  }

  template <typename F>
  void scales_along_words(const Window& w, F&& widened) {
    constexpr int64_t kChunk = 64;
    float chunk[kChunk];
    for (int64_t patch = 0; patch < n_patches_; ++patch) {
      for (int64_t row = 0; row < n_rows_; row += kChunk) {
        const int64_t n = std::min(kChunk, n_rows_ - row);
        widened(patch * w.n_cols + stored_row_ + row - w.first_col, n, chunk);
        float* to = scales_ + row * n_patches_ + patch;
        for (int64_t r = 0; r < n; ++r) to[r * n_patches_] = chunk[r];
      }
    }
  }

  Status check_scales_of(const uint8_t* codes) const {
    const size_t i = index_of(scheme_, PartKind::scale);
    const TensorInfo& tensor = *d_.parts[i];
    const Part& p = scheme_.parts[i];
    const ScaleRule rule = scale_rule(d_);
    const int64_t n = n_rows_ * n_patches_;
    const bool small = !rule.may_vanish && some_vanish(scales_, n);
    if (keep_rule(rule, scales_, n) && !small) return {};
    for (int64_t k = 0; k < n; ++k) {
      std::string fault = scale_fault(rule, scales_[k]);
      if (fault.empty() && small && some_vanish(scales_ + k, 1)) fault = lost_codes(k, codes);
      if (!fault.empty()) return scale_error(source_, tensor, stored_index(p, tensor, k), fault);
    }
    return {};
  }

  // Where scale k of ours is stored.
  int64_t stored_index(const Part& p, const TensorInfo& tensor, int64_t k) const {
    const int64_t row = stored_row_ + k / n_patches_, patch = k % n_patches_;
    if (p.rank == 1) return 0;
    if (p.extents[1] == Extent::rows) return patch * tensor.shape.n_cols() + row;
    const int64_t step = p.extents[0] == Extent::rows_by_block ? d_.scale_rows : 1;
    return row / step * n_patches_ + patch;
  }

  // What a scale that is no number to multiply with loses, or "".
  std::string lost_codes(int64_t k, const uint8_t* codes) const {
    const int64_t row = k / n_patches_, patch = k % n_patches_;
    const int zero = m_.format.zeros != 0 ? zeros_[k] : 1 << (m_.format.bits - 1);
    const int64_t end = std::min((patch + 1) * m_.format.patch_cols, n_cols_);
    for (int64_t c = patch * m_.format.patch_cols; c < end; ++c) {
      const int code = codes[row * n_cols_ + c];
      const bool none = scheme_.codes == CodeType::integer ? code == zero
                        : scheme_.codes == CodeType::e4m3  ? (code & 0x7F) == 0
                                                           : (code & 7) == 0;
      if (none) continue;
      return join("is ", scales_[k], ", but the code at [", stored_row_ + row, ", ",
                  raw_.order == nullptr ? c : int64_t{raw_.order[c]}, "] stands for more than 0");
    }
    return {};
  }

  const CodedMatrix& m_;
  const WeightDescription& d_;
  const Scheme& scheme_;
  const TensorSource& source_;
  const RawParts& raw_;
  const int64_t stored_row_;
  const int64_t n_rows_, n_cols_, n_patches_;
  uint8_t* codes_;              // [n_rows, n_cols]
  uint8_t* ordered_ = nullptr;  // the same, in the order of groups
  float* scales_;               // [n_rows, n_patches]
  uint8_t* zeros_;              // [n_rows, n_patches]
};

}  // namespace

uint64_t staged_bytes(const CodedMatrix& m, int64_t n_rows) {
  const int64_t patches = n_rows * m.n_patches();
  return padded(n_rows * m.n_cols) * (m.format.ordered != 0 ? 2 : 1) + kAlignment +
         padded(patches * 4) + padded(patches);
}

Status decode(const CodedMatrix& m, const TensorSource& source, const RawParts& raw,
              int64_t first_row, int64_t n_rows, std::byte* memory, kernels::MatrixRows& rows,
              DecodeNotes& notes, int32_t code_layouts) {
  return Decoder(m, source, raw, first_row, n_rows, memory).run(rows, notes, code_layouts);
}

}  // namespace mm2
