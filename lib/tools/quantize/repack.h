// From one layout on disk into another without changing a number, or a sentence why that cannot be.
//
//   pack_spec(description)  -> unpack_matrix(...)  what the tensors say
//   plan_repack(from, to)                          what will be written, before anything is read
//   repack(from, coded, to)                        the same numbers as the other layout says them
//   plan_parts, pack_rows                          tools/quantize/pack.h
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/quantize/pack.h"

namespace mm2 {

/// How zeros of GPTQ v1 are read where one of them is stored as the largest code. Tools write zeros
/// less one by subtracting from whole words, so that a zero of 0 borrows from its neighbour; others
/// subtract in each field; and for some readers the largest code means one more than any code.
enum class V1Zeros : uint8_t {
  refuse,  // such words
  words,   // as GPTQModel and AutoRound write them
  fields,
};

struct RepackOptions {
  std::optional<bool> symmetric = {};     // what to write; not said: as it was
  int64_t group = 0;                      // 0: as it was
  std::optional<Dtype> scale_dtype = {};  // where the layout leaves it open; not said: as it was
  V1Zeros v1_zeros = V1Zeros::refuse;
  bool may_round_scales = false;  // where the layout has a narrower type
  bool positive_scales = false;   // refuse negative ones, for readers that do not take them
};

/// The layout of a matrix of a checkpoint: description of quant/scheme.h. Code::unsupported for those
/// that no dialect is for.
Result<PackSpec> pack_spec(const WeightDescription& description, int64_t n_rows, int64_t n_cols);

/// A part as it is stored, its elements aligned.
struct StoredPart {
  PartKind kind;
  Dtype dtype;
  const std::byte* data;
};

/// Codes, scales and zeros out of all parts of a matrix. Scales are what the file has, exactly.
/// `remarks` gets oddities that change nothing. Code::format: zeros that contradict spec.symmetric, a
/// map to groups that there are not; Code::unsupported: words that V1Zeros is about.
Result<CodedWhole> unpack_matrix(const PackSpec& spec, std::span<const StoredPart> parts,
                                 V1Zeros v1_zeros, std::vector<std::string>& remarks);

/// What a matrix becomes in another layout. Code::unsupported says why it cannot.
Result<PackSpec> plan_repack(const PackSpec& from, const Dialect& to, const RepackOptions& options);

/// Turns `coded` from one spec into the other, in place. Code::unsupported names row and group of what
/// the layout cannot say.
Status repack(const PackSpec& from, const PackSpec& to, const RepackOptions& options,
              CodedWhole& coded, std::vector<std::string>& remarks);

}  // namespace mm2
