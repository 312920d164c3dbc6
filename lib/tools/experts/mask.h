// Which experts of each layer go, and the files that say so.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace mm2 {

struct ExpertMask {
  int32_t n_experts = 0;                      // of each layer, before
  std::vector<std::vector<int32_t>> deleted;  // [n_layers], ascending, equally many in each

  int32_t n_layers() const { return static_cast<int32_t>(deleted.size()); }
  int32_t n_deleted() const {
    return deleted.empty() ? 0 : static_cast<int32_t>(deleted.front().size());
  }
  /// Ids that stay, ascending: the new id of an expert is its place here.
  std::vector<int32_t> retained(int32_t layer) const;
};

/// What the lists of ids in a file are.
enum class MaskMeaning : uint8_t {
  by_count,  // as many as are to go: deleted (also where half go); as many as stay: retained
  deleted,
  retained,
};

/// What a mask must fit.
struct MaskShape {
  int32_t n_layers = 0;
  int32_t n_experts = 0;
  int32_t n_deleted = 0;  // of each layer
};

/// Reads a mask: a JSON object of lists by layer ("0", or a module's name as "model.layers.0.mlp"),
/// or an array of lists in the order of the layers. A list holds ids (numbers, or text of digits) or
/// n_experts booleans, true = deleted. Strict: every layer once, no other; each id once, within
/// 0..n_experts - 1; the count that `shape` wants in every layer. Code::format names `what`, layer and
/// id. A shape that leaves no expert is Code::invalid_argument.
Result<ExpertMask> parse_mask(std::string_view text, const std::string& what,
                              const MaskShape& shape, MaskMeaning meaning = MaskMeaning::by_count);

/// The mask as deleted_experts.json: one line, layers as text, ids ascending; json.load of Python and
/// parse_mask read it.
std::string mask_text(const ExpertMask& mask);

}  // namespace mm2
