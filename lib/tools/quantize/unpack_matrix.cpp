// Stored parts of a matrix as codes, scales and zeros.
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "quant/scales.h"
#include "quant/unpack.h"
#include "tools/quantize/repack.h"
#include "tools/quantize/zeros.h"

namespace mm2 {
namespace {

class Unpacker {
 public:
  Unpacker(const PackSpec& spec, V1Zeros v1_zeros, std::vector<std::string>& remarks)
      : spec_(spec),
        scheme_(scheme_of(*spec.dialect)),
        n_patches_(spec.n_patches()),
        v1_zeros_(v1_zeros),
        remarks_(remarks) {}

  Result<CodedWhole> run(std::span<const StoredPart> parts) {
    for (const StoredPart& part : parts) MM2_RETURN_IF_ERROR(take(part));
    if (!spec_.symmetric || whole_.zeros.empty()) return std::move(whole_);
    MM2_RETURN_IF_ERROR(compare_zeros());
    whole_.zeros.clear();
    return std::move(whole_);
  }

 private:
  Status take(const StoredPart& part) {
    switch (part.kind) {
      case PartKind::codes:
        take_codes(part);
        return {};
      case PartKind::scale:
        take_scales(part);
        return {};
      case PartKind::zero:
        return take_zeros(part);
      case PartKind::group_map:
        return take_map(part);
      case PartKind::global_scale:
        widen_scales(part.dtype, part.data, 1, &whole_.global);
        return {};
      case PartKind::unused:
        widen_scales(part.dtype, part.data, 1, &whole_.input_scale);
        return {};
      case PartKind::shape:
        return {};
    }
    return {};
  }

  void take_codes(const StoredPart& part) {
    const int64_t n_rows = spec_.n_rows, n_cols = spec_.n_cols;
    const auto* const bytes = reinterpret_cast<const uint8_t*>(part.data);
    const auto* const words = reinterpret_cast<const uint32_t*>(part.data);
    whole_.codes.resize(static_cast<size_t>(n_rows * n_cols));
    uint8_t* const to = whole_.codes.data();
    switch (scheme_.packing) {
      case Packing::none:
        if (!whole_.codes.empty()) std::memcpy(to, bytes, whole_.codes.size());
        return;
      case Packing::nibbles:
        return unpack_nibbles(bytes, n_rows * n_cols / 2, to);
      case Packing::gptq:
        return unpack_gptq({words, n_rows}, spec_.bits, n_rows, n_cols, to);
      case Packing::awq:
        return unpack_awq({words, n_rows / 8}, n_rows, n_cols, to);
      case Packing::dense_words: {
        const int64_t n_words = ceil_div(n_cols * spec_.bits, int64_t{32});
        for (int64_t r = 0; r < n_rows; ++r) {
          unpack_fields(words + r * n_words, spec_.bits, n_cols, to + r * n_cols);
        }
        return;
      }
    }
  }

  bool transposed() const {
    return scheme_.packing == Packing::gptq || scheme_.packing == Packing::awq;
  }

  void take_scales(const StoredPart& part) {
    const int64_t n_rows = ceil_div(spec_.n_rows, spec_.patch_rows());
    const int64_t n = n_rows * n_patches_;
    if (dtype_bits(part.dtype) == 8) {
      const auto* const bytes = reinterpret_cast<const uint8_t*>(part.data);
      whole_.scale_codes.assign(bytes, bytes + n);
      return;
    }
    std::vector<float> stored(static_cast<size_t>(n));
    widen_scales(part.dtype, part.data, n, stored.data());
    if (!transposed()) {
      whole_.scales = std::move(stored);
      return;
    }
    whole_.scales.resize(stored.size());
    for (int64_t p = 0; p < n_patches_; ++p) {
      for (int64_t r = 0; r < n_rows; ++r) {
        whole_.scales[static_cast<size_t>(r * n_patches_ + p)] =
            stored[static_cast<size_t>(p * n_rows + r)];
      }
    }
  }

  Status take_zeros(const StoredPart& part) {
    const auto* const words = reinterpret_cast<const uint32_t*>(part.data);
    whole_.zeros.resize(static_cast<size_t>(spec_.n_rows * n_patches_));
    if (!transposed()) {
      zeros_along_rows(words);
      return {};
    }
    const int64_t per_word = 32 / spec_.bits;
    const int64_t stride = spec_.n_rows / per_word;
    for (int64_t p = 0; p < n_patches_; ++p) {
      for (int64_t w = 0; w < stride; ++w) {
        uint32_t word = words[p * stride + w];
        if (spec_.dialect->stored_zero_minus_one) {
          MM2_RETURN_IF_ERROR(restore(word, p, w * per_word));
        }
        for (int64_t j = 0; j < per_word; ++j) {
          const int field = scheme_.packing == Packing::awq ? kAwqNibble[j] : static_cast<int>(j);
          zero(w * per_word + j, p) =
              static_cast<uint8_t>(word >> (spec_.bits * field) & ((1u << spec_.bits) - 1u));
        }
      }
    }
    return {};
  }

  // Stored less one, as the zeros are.
  Status restore(uint32_t& word, int64_t patch, int64_t row) const {
    if (coding::has_largest_field(word, spec_.bits) && v1_zeros_ == V1Zeros::refuse) {
      return error(
          Code::unsupported, "a zero of group ", patch, ", rows from ", row,
          ", is stored as the largest code, which tools read in two ways: say with v1_zeros "
          "whether they were written by words (GPTQModel, AutoRound) or by fields");
    }
    word = v1_zeros_ == V1Zeros::fields ? coding::add_one_to_each(word, spec_.bits)
                                        : word + coding::ones(spec_.bits);
    return {};
  }

  void zeros_along_rows(const uint32_t* words) {
    const uint32_t mask = (1u << spec_.bits) - 1u;
    for (int64_t r = 0; r < spec_.n_rows; ++r) {
      const int64_t bit = r * spec_.bits;
      const auto shift = static_cast<int>(bit % 32);
      const uint32_t* const word = words + bit / 32 * n_patches_;
      for (int64_t p = 0; p < n_patches_; ++p) {
        uint32_t value = word[p] >> shift;
        if (shift + spec_.bits > 32) value |= word[n_patches_ + p] << (32 - shift);
        zero(r, p) = static_cast<uint8_t>(value & mask);
      }
    }
  }

  // Symmetric codes have their zero in the middle. Files exist whose zeros follow the other
  // convention all over.
  Status compare_zeros() {
    const int middle = 1 << (spec_.bits - 1);
    const auto all = [&](int value) {
      return std::all_of(whole_.zeros.begin(), whole_.zeros.end(),
                         [=](uint8_t z) { return z == value; });
    };
    if (all(middle)) return {};
    const int other = spec_.dialect->stored_zero_minus_one ? middle + 1 : middle - 1;
    if (transposed() && scheme_.packing == Packing::gptq && all(other)) {
      remarks_.push_back("zeros of symmetric codes follow the other convention (v1 or v2)");
      return {};
    }
    const auto i = std::find_if(whole_.zeros.begin(), whole_.zeros.end(),
                                [=](uint8_t z) { return z != middle; }) -
                   whole_.zeros.begin();
    return error(Code::format, "the zero of row ", i / n_patches_, ", group ", i % n_patches_,
                 ", is ", static_cast<int>(whole_.zeros[static_cast<size_t>(i)]),
                 ", but codes are said to be symmetric, which makes it ", middle);
  }

  Status take_map(const StoredPart& part) {
    whole_.group_map.resize(static_cast<size_t>(spec_.n_cols));
    bool in_order = true;
    for (int64_t c = 0; c < spec_.n_cols; ++c) {
      int64_t group = 0;
      if (part.dtype == Dtype::i64) {
        std::memcpy(&group, part.data + 8 * c, 8);
      } else {
        int32_t narrow = 0;
        std::memcpy(&narrow, part.data + 4 * c, 4);
        group = narrow;
      }
      if (group < 0 || group >= n_patches_) {
        return error(Code::format, "column ", c, " is of group ", group, ", there are ",
                     n_patches_);
      }
      whole_.group_map[static_cast<size_t>(c)] = static_cast<int32_t>(group);
      in_order = in_order && group == c / spec_.patch_cols();
    }
    if (in_order) whole_.group_map.clear();
    return {};
  }

  uint8_t& zero(int64_t row, int64_t patch) {
    return whole_.zeros[static_cast<size_t>(row * n_patches_ + patch)];
  }

  const PackSpec& spec_;
  const Scheme& scheme_;
  const int64_t n_patches_;
  const V1Zeros v1_zeros_;
  std::vector<std::string>& remarks_;
  CodedWhole whole_;
};

}  // namespace

Result<PackSpec> pack_spec(const WeightDescription& description, int64_t n_rows, int64_t n_cols) {
  const bool mapped = description.part(PartKind::group_map) != nullptr;
  for (const Dialect& dialect : dialects()) {
    if (dialect.scheme != description.scheme->id) continue;
    PackSpec spec{.dialect = &dialect, .n_rows = n_rows, .n_cols = n_cols};
    spec.bits = description.bits;
    spec.group = description.scale_cols;
    if (description.scheme->granularity == Granularity::block) {
      spec.block_rows = description.scale_rows;
      spec.block_cols = description.scale_cols;
    }
    spec.symmetric = description.zero == Zero::half || description.zero == Zero::none;
    spec.ordered = mapped && description.ordered;
    spec.has_input_scale = description.part(PartKind::unused) != nullptr;
    const TensorInfo* const scales = description.part(PartKind::scale);
    if (scales != nullptr) spec.scale_dtype = scales->dtype;
    return spec;
  }
  return error(Code::unsupported, "no tool writes ", description.scheme->title, " here");
}

Result<CodedWhole> unpack_matrix(const PackSpec& spec, std::span<const StoredPart> parts,
                                 V1Zeros v1_zeros, std::vector<std::string>& remarks) {
  return Unpacker(spec, v1_zeros, remarks).run(parts);
}

}  // namespace mm2
