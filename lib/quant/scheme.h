// Weight schemes as data: which tensors make up a matrix and how codes, scales and zeros give its
// numbers.
//
// A scheme is one row of a table. Recognising a matrix, checking the shapes and types of all its
// parts and naming it in a message work on the rows alone; a new scheme is a new row, plus a
// decoder where it is to be executed.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "quant/quant_config.h"
#include "tensor/role.h"
#include "tensor/source.h"

namespace mm2 {

/// What one code means before scale and zero.
enum class CodeType : uint8_t {
  plain,    // the number itself: F32, F16 or BF16
  e4m3,     // F8_E4M3
  e2m1,     // 4 bits: 0 0.5 1 1.5 2 3 4 6 and their negatives
  integer,  // as wide as the tensors say
};

/// How codes lie in the stored words.
enum class Packing : uint8_t {
  none,     // one element each, [rows, cols]; integers are signed
  nibbles,  // two to a byte along the columns, the even one low
  gptq,     // [cols / 8, rows] of I32: nibble t of word r is input 8r + t
  awq,      // [cols, rows / 8] of I32: output 8c + j is nibble {0,4,1,5,2,6,3,7}[j] of word c
  // [rows, cols * bits / 32] of I32, least significant bits first, across word borders
  dense_words,
};

/// Which elements share a scale.
enum class Granularity : uint8_t { none, matrix, row, group, block };

/// What is subtracted from a code.
enum class Zero : uint8_t {
  none,
  stored,           // in a part of its own
  stored_plus_one,  // the same, kept one too small (GPTQ v1)
  half,             // 2^(bits - 1); where there is a zero part, that one
};

/// What a part is for.
enum class PartKind : uint8_t { codes, scale, global_scale, zero, group_map, shape, unused };

/// One extent of a part, from the matrix's rows and columns. Blocks at the far edges may be
/// partial, groups and words may not.
enum class Extent : uint8_t {
  one,
  two,
  rows,
  cols,
  rows_by_word,   // rows / (32 / bits)
  cols_by_word,   // cols / (32 / bits)
  cols_as_words,  // cols * bits / 32, rounded up
  cols_by_two,
  cols_by_group,
  rows_by_block,
  cols_by_block,
};

struct Part {
  PartKind kind;
  std::string_view suffix;  // tensor = stem + suffix
  uint32_t dtypes;          // bit per Dtype that may hold it
  std::array<Extent, 2> extents;
  int rank;
  bool required;
  bool any_scalar = false;  // [] and [1] both will do
};

struct Scheme {
  std::string_view id;     // "fp8_block"
  std::string_view title;  // for messages: "fp8 block"
  // quant_method values that may write it, separated by spaces; empty: any, also none
  std::string_view methods;
  std::string_view layouts;  // the same for QuantConfig::layout
  CodeType codes;
  Packing packing;
  Granularity granularity;
  Zero zero;
  int32_t group;  // elements of a group where the format fixes it, 0 where the tensors say
  bool global_scale_divides;    // compressed-tensors: scale / global; ModelOpt: scale * global
  std::span<const Part> parts;  // the first one holds the codes
};

/// All rows, most specific first.
std::span<const Scheme> schemes();

constexpr size_t kMaxParts = 6;

/// One matrix of a checkpoint, recognised and checked. Points into the source.
struct WeightDescription {
  const Scheme* scheme = nullptr;
  // as Scheme::parts; nullptr where an optional one is absent
  std::array<const TensorInfo*, kMaxParts> parts{};
  int32_t bits = 16;       // of a code
  int64_t scale_rows = 0;  // extent of the patch that shares one scale; 0, 0: no scales
  int64_t scale_cols = 0;
  // of integers: stored or stored_plus_one, or half: then a zero part, if there, says the same
  Zero zero = Zero::none;
  bool ordered = false;     // the group map is more than column / group
  bool said_plain = false;  // against what the configuration says; known to happen, and harmless

  const TensorInfo& codes() const { return *parts[0]; }
  Dtype dtype() const { return parts[0]->dtype; }
  bool is_plain() const { return scheme->codes == CodeType::plain; }
  /// The first part of that kind, or null.
  const TensorInfo* part(PartKind kind) const;
  /// "fp8 block 128x128", "gptq 4 bit group 128", "bf16"
  std::string to_string() const;
};

/// Recognises how the weight is stored, checks types and shapes of all its parts, and compares them
/// with what the configuration says. Code::format names tensor, shape or type seen and wanted, or
/// both sides of a contradiction; Code::not_found: nothing is there (place.found is false).
Result<WeightDescription> describe_weight(const WeightPlace& place, const TensorSource& source,
                                          const QuantConfig& config);

/// "file: tensor NAME", for messages.
std::string file_and_name(const TensorSource& source, const TensorInfo& tensor);

/// The bytes of a plain weight inside its tensor.
struct PlainSlice {
  const TensorInfo* tensor = nullptr;
  Dtype dtype = Dtype::f32;
  int64_t n_rows = 0;  // 1 for a vector
  int64_t n_cols = 0;
  uint64_t from = 0;  // byte in the tensor, for TensorSource::read
  uint64_t bytes = 0;
};

/// Code::unsupported names tensor and scheme when the weight is not plain.
Result<PlainSlice> plain_slice(const WeightPlace& place, const WeightDescription& description,
                               const TensorSource& source);

}  // namespace mm2
