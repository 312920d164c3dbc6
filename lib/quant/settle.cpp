// What the parts of one matrix tell, compared with each other and with the configuration.
#include <algorithm>

#include "base/checked.h"
#include "quant/scheme_parts.h"

namespace mm2 {
namespace {

constexpr int kWordBits = 32;

// One matrix while its tensors are compared with each other and with the configuration.
class Settler {
 public:
  Settler(const WeightPlace& place, const TensorSource& source, const QuantConfig::Said& said,
          WeightDescription& description)
      : place_(place),
        source_(source),
        said_(said),
        scheme_(*description.scheme),
        sizes_{place.stored.n_rows(), place.stored.n_cols()},
        description_(description) {}

  Status run() {
    if (!description_.is_plain()) {
      MM2_RETURN_IF_ERROR(settle_code());
      MM2_RETURN_IF_ERROR(settle_group());
      sizes_.block_rows = said_.words.block_rows != 0 ? said_.words.block_rows : kBlock;
      sizes_.block_cols = said_.words.block_cols != 0 ? said_.words.block_cols : kBlock;
      description_.said_plain = said_.words.plain;
    }
    description_.bits = static_cast<int32_t>(
        description_.is_plain() ? dtype_bits(description_.dtype()) : sizes_.bits);
    set_patch();
    MM2_RETURN_IF_ERROR(check_parts());
    MM2_RETURN_IF_ERROR(settle_zero());
    return settle_order();
  }

 private:
  static constexpr int64_t kBlock = 128;  // of the vendor's FP8, where nothing is said

  Status contradiction(const TensorInfo& tensor, const std::string& is, const std::string& but) {
    return error(Code::format, file_and_name(source_, tensor), ": ", is, ", but ", said_.by,
                 " says ", but);
  }

  // Bits that the shape of the codes tells, or 0.
  int64_t stored_bits() const {
    const Shape& shape = description_.codes().shape;
    const int64_t n = scheme_.packing == Packing::awq ? sizes_.rows : sizes_.cols;
    if (scheme_.codes == CodeType::e2m1) return 4;
    if (scheme_.packing == Packing::none) return 8;
    if (shape.rank() != 2 || n == 0) return 0;
    const int64_t n_words = shape[scheme_.packing == Packing::gptq ? 0 : 1];
    // Short rows fit several widths: what is said comes first, then what is usual.
    for (const int64_t bits : {int64_t{said_.words.bits}, int64_t{4}, int64_t{8}, int64_t{2},
                               int64_t{3}, int64_t{5}, int64_t{6}, int64_t{7}, int64_t{1}}) {
      if (bits >= 1 && bits <= 8 && ceil_div(n * bits, int64_t{kWordBits}) == n_words) return bits;
    }
    return 0;
  }

  Status settle_code() {
    const QuantWords& words = said_.words;
    const bool integer = scheme_.codes == CodeType::integer;
    if (words.codes != QuantWords::Codes::unsaid &&
        integer != (words.codes == QuantWords::Codes::integer)) {
      return contradiction(description_.codes(), join("it holds ", scheme_.title, " codes"),
                           integer ? "type float" : "type int");
    }
    const int64_t stored = stored_bits();
    const int64_t said = words.plain ? 0 : words.bits;
    if (stored != 0 && said != 0 && stored != said) {
      return contradiction(description_.codes(),
                           join("shape ", description_.codes().shape.to_string(), " is that of ",
                                stored, " bit codes"),
                           join(said, " bits"));
    }
    sizes_.bits = stored != 0 ? stored : said != 0 ? said : 4;
    const bool whole_words = scheme_.packing == Packing::gptq || scheme_.packing == Packing::awq;
    const bool fits =
        scheme_.packing == Packing::awq ? sizes_.bits == 4 : kWordBits % sizes_.bits == 0;
    if (!whole_words || fits) return {};
    return error(Code::unsupported, file_and_name(source_, description_.codes()), ": ",
                 scheme_.title, " with ", sizes_.bits, " bits is not supported");
  }

  // How many groups a row has by its scales, or 0, and the tensor of these.
  int64_t stored_groups(const TensorInfo*& scales) const {
    for (size_t i = 0; i < scheme_.parts.size(); ++i) {
      const TensorInfo* tensor = description_.parts[i];
      if (scheme_.parts[i].kind != PartKind::scale || tensor == nullptr) continue;
      for (size_t axis = 0; axis < 2 && tensor->shape.rank() == 2; ++axis) {
        if (scheme_.parts[i].extents[axis] != Extent::cols_by_group) continue;
        scales = tensor;
        return tensor->shape[static_cast<int>(axis)];
      }
    }
    return 0;
  }

  Status settle_group() {
    const int32_t said = said_.words.plain ? 0 : said_.words.group_size;
    sizes_.group = std::max<int64_t>(1, said > 0 ? said : sizes_.cols);
    const TensorInfo* scales = nullptr;
    const int64_t n_groups = stored_groups(scales);
    if (scheme_.group != 0) {
      sizes_.group = scheme_.group;
      if (said == 0 || said == scheme_.group) return {};
      return contradiction(description_.codes(),
                           join(scheme_.title, " has groups of ", scheme_.group),
                           join("group_size ", said));
    }
    if (n_groups == 0 || sizes_.cols % n_groups != 0) return {};
    const int64_t stored = sizes_.cols / n_groups;
    if (said == 0) sizes_.group = std::max<int64_t>(1, stored);
    if (said == 0 || ceil_div(sizes_.cols, sizes_.group) == n_groups) return {};
    return contradiction(
        *scales, join("shape ", scales->shape.to_string(), " is that of groups of ", stored),
        join("group_size ", said));
  }

  // Where a block is larger than the matrix, as the patch that shares a scale.
  void set_patch() {
    description_.scale_rows = 1;
    description_.scale_cols = sizes_.cols;
    switch (scheme_.granularity) {
      case Granularity::none:
        description_.scale_rows = description_.scale_cols = 0;
        break;
      case Granularity::matrix:
        description_.scale_rows = sizes_.rows;
        break;
      case Granularity::row:
        break;
      case Granularity::group:
        description_.scale_cols = sizes_.group;
        break;
      case Granularity::block:
        description_.scale_rows = sizes_.block_rows;
        description_.scale_cols = sizes_.block_cols;
        break;
    }
  }

  Status check_parts() const {
    for (size_t i = 0; i < scheme_.parts.size(); ++i) {
      const TensorInfo* tensor = description_.parts[i];
      const Part& part = scheme_.parts[i];
      if (tensor == nullptr) {
        MM2_RETURN_IF_ERROR(check_absent(part));
        continue;
      }
      const bool plain = description_.is_plain();
      const Shape wanted = plain ? place_.stored : part_shape(part, sizes_);
      const bool scalar = part.any_scalar && tensor->shape.rank() == 0;
      if (tensor->shape == wanted || scalar) continue;
      return error(Code::format, file_and_name(source_, *tensor), ": shape is ",
                   tensor->shape.to_string(), ", must be ", wanted.to_string(),
                   plain ? std::string() : join(" (", description_.to_string(), ")"));
    }
    return {};
  }

  // An optional part that is there in another type would change what is meant.
  Status check_absent(const Part& part) const {
    const TensorInfo* tensor = find_part(place_, source_, part);
    if (tensor == nullptr || part.kind == PartKind::unused) return {};
    return error(Code::format, file_and_name(source_, *tensor), ": dtype is ",
                 dtype_name(tensor->dtype), ", must be ", dtype_list(part.dtypes), " (",
                 description_.to_string(), ")");
  }

  Status missing(PartKind kind, const std::string& said) {
    for (const Part& part : scheme_.parts) {
      if (part.kind != kind) continue;
      return contradiction(description_.codes(), join(place_.stem, part.suffix, " is missing"),
                           said);
    }
    return {};
  }

  Status settle_zero() {
    description_.zero = scheme_.zero;
    if (scheme_.zero == Zero::none) return {};
    const TensorInfo* zeros = description_.part(PartKind::zero);
    const std::optional<bool> symmetric = said_.words.symmetric;
    if (scheme_.packing == Packing::gptq) {
      // Every writer stores zeros. Symmetric codes have 2^(bits - 1), which the decoder compares.
      if (symmetric.value_or(false)) description_.zero = Zero::half;
      return {};
    }
    if (zeros == nullptr) {
      description_.zero = Zero::half;
      const bool wanted = scheme_.zero == Zero::half && symmetric == false;
      return wanted ? missing(PartKind::zero, "that codes are not symmetric") : Status();
    }
    description_.zero = Zero::stored;
    if (scheme_.zero != Zero::half || !symmetric.value_or(false)) return {};
    return contradiction(*zeros, "there are zeros", "that codes are symmetric");
  }

  Status settle_order() {
    const std::optional<bool> said = said_.words.desc_act;
    if (description_.part(PartKind::group_map) == nullptr) {
      return said.value_or(false)
                 ? missing(PartKind::group_map, "that columns are ordered by activation")
                 : Status();
    }
    description_.ordered = said.value_or(true) && sizes_.group < sizes_.cols;
    return {};
  }

  const WeightPlace& place_;
  const TensorSource& source_;
  const QuantConfig::Said& said_;
  const Scheme& scheme_;
  PartSizes sizes_;
  WeightDescription& description_;
};

int64_t size_of(Extent extent, const PartSizes& s) {
  switch (extent) {
    case Extent::one:
      return 1;
    case Extent::two:
      return 2;
    case Extent::rows:
      return s.rows;
    case Extent::cols:
      return s.cols;
    case Extent::rows_by_word:
      return ceil_div(s.rows * s.bits, int64_t{kWordBits});
    case Extent::cols_by_word:
    case Extent::cols_as_words:
      return ceil_div(s.cols * s.bits, int64_t{kWordBits});
    case Extent::cols_by_two:
      return ceil_div(s.cols, int64_t{2});
    case Extent::cols_by_group:
      return ceil_div(s.cols, s.group);
    case Extent::rows_by_block:
      return ceil_div(s.rows, s.block_rows);
    case Extent::cols_by_block:
      return ceil_div(s.cols, s.block_cols);
  }
  return 0;
}

}  // namespace

Shape part_shape(const Part& part, const PartSizes& sizes) {
  if (part.rank == 1) return {size_of(part.extents[0], sizes)};
  return {size_of(part.extents[0], sizes), size_of(part.extents[1], sizes)};
}

Status settle(const WeightPlace& place, const TensorSource& source, const QuantConfig::Said& said,
              WeightDescription& description) {
  return Settler(place, source, said, description).run();
}

}  // namespace mm2
