#include "tools/experts/mask.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/json.h"

namespace mm2 {

namespace {

// A whole number without sign, leading zeros or anything else.
std::optional<int32_t> plain_number(std::string_view text) {
  int32_t value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (text.empty() || text[0] == '-' || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  return value;
}

// "3", or "model.layers.3.mlp" and the like.
std::optional<int32_t> layer_of_key(std::string_view key) {
  constexpr std::string_view kModule = "model.layers.";
  if (key.substr(0, kModule.size()) != kModule) return plain_number(key);
  key.remove_prefix(kModule.size());
  return plain_number(key.substr(0, key.find('.')));
}

std::optional<int64_t> id_of(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto id = value.get<uint64_t>();
    return id > INT32_MAX ? int64_t{INT32_MAX} : static_cast<int64_t>(id);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (const auto id = plain_number(text)) return *id;
  }
  return std::nullopt;
}

class Reader {
 public:
  Reader(const std::string& what, const MaskShape& shape, MaskMeaning meaning)
      : what_(what), shape_(shape), meaning_(meaning) {}

  Result<ExpertMask> read(const Json& document) {
    std::vector<const Json*> lists(static_cast<size_t>(shape_.n_layers), nullptr);
    if (document.is_object()) {
      for (const auto& item : document.items()) {
        const auto layer = layer_of_key(item.key());
        if (!layer) {
          return error(Code::format, what_, ": the key \"", item.key().substr(0, 80),
                       "\" names no layer; wanted is \"0\" or \"model.layers.0.mlp\"");
        }
        MM2_RETURN_IF_ERROR(take(*layer, item.value(), lists));
      }
    } else if (document.is_array()) {
      int32_t layer = 0;
      for (const Json& list : document) MM2_RETURN_IF_ERROR(take(layer++, list, lists));
    } else {
      return error(Code::format, what_,
                   ": an expert mask is a JSON object or array with a list for each layer");
    }
    ExpertMask mask;
    mask.n_experts = shape_.n_experts;
    for (size_t layer = 0; layer < lists.size(); ++layer) {
      if (lists[layer] == nullptr) {
        return error(Code::format, what_, ": layer ", layer, " is missing; the model has ",
                     shape_.n_layers, " layers");
      }
      MM2_ASSIGN_OR_RETURN(std::vector<int32_t> deleted, layer_list(layer, *lists[layer]));
      mask.deleted.push_back(std::move(deleted));
    }
    return mask;
  }

 private:
  Status take(int32_t layer, const Json& list, std::vector<const Json*>& lists) const {
    if (layer >= shape_.n_layers) {
      return error(Code::format, what_, ": it has layer ", layer, ", the model only ",
                   shape_.n_layers, " layers");
    }
    const Json*& slot = lists[static_cast<size_t>(layer)];
    if (slot != nullptr) return error(Code::format, what_, ": layer ", layer, " is there twice");
    slot = &list;
    return {};
  }

  Result<std::vector<int32_t>> layer_list(size_t layer, const Json& list) {
    if (!list.is_array()) {
      return error(Code::format, what_, ": layer ", layer, " is ", list.type_name(),
                   "; wanted is a list of experts");
    }
    std::vector<char> listed(static_cast<size_t>(shape_.n_experts), 0);
    const bool rows = !list.empty() && list[0].is_boolean();
    if (rows && list.size() != listed.size()) {
      return error(Code::format, what_, ": layer ", layer, " has ", list.size(),
                   " booleans; wanted is one for each of ", shape_.n_experts, " experts");
    }
    for (size_t i = 0; i < list.size(); ++i) {
      if (rows) {
        if (!list[i].is_boolean()) return not_an_id(layer, list[i]);
        listed[i] = list[i].get<bool>();
        continue;
      }
      const auto id = id_of(list[i]);
      if (!id) return not_an_id(layer, list[i]);
      if (*id < 0 || *id >= shape_.n_experts) {
        return error(Code::format, what_, ": layer ", layer, " names expert ", list[i].dump(),
                     "; the model has 0 to ", shape_.n_experts - 1);
      }
      char& slot = listed[static_cast<size_t>(*id)];
      if (slot) {
        return error(Code::format, what_, ": layer ", layer, " names expert ", *id, " twice");
      }
      slot = 1;
    }
    const auto n = static_cast<int32_t>(std::count(listed.begin(), listed.end(), 1));
    MM2_ASSIGN_OR_RETURN(const bool retained, are_retained(layer, n, rows));
    std::vector<int32_t> deleted;
    for (size_t id = 0; id < listed.size(); ++id) {
      if ((listed[id] != 0) != retained) deleted.push_back(static_cast<int32_t>(id));
    }
    return deleted;
  }

  // Whether `n` listed experts are those that stay; the same in every layer.
  Result<bool> are_retained(size_t layer, int32_t n, bool rows) {
    const int32_t n_retained = shape_.n_experts - shape_.n_deleted;
    const MaskMeaning meaning = rows ? MaskMeaning::deleted : meaning_;
    if (meaning != MaskMeaning::retained && n == shape_.n_deleted) {
      if (meaning_ == MaskMeaning::by_count) meaning_ = MaskMeaning::deleted;
      return false;
    }
    if (meaning != MaskMeaning::deleted && n == n_retained) {
      meaning_ = MaskMeaning::retained;
      return true;
    }
    const bool wants_retained = meaning == MaskMeaning::retained;
    return error(Code::format, what_, ": layer ", layer, " lists ", n, " experts; wanted are ",
                 wants_retained ? n_retained : shape_.n_deleted,
                 wants_retained ? " that stay" : " that go", ", of ", shape_.n_experts);
  }

  Status not_an_id(size_t layer, const Json& value) const {
    return error(Code::format, what_, ": layer ", layer, " holds ", value.dump().substr(0, 80),
                 "; wanted is the number of an expert");
  }

  const std::string& what_;
  const MaskShape& shape_;
  MaskMeaning meaning_;
};

bool looks_like_python(std::string_view text) {
  const size_t brace = text.find_first_not_of(" \t\r\n");
  if (brace == std::string_view::npos || text[brace] != '{') return false;
  const size_t key = text.find_first_not_of(" \t\r\n", brace + 1);
  return key != std::string_view::npos && text[key] >= '0' && text[key] <= '9';
}

}  // namespace

std::vector<int32_t> ExpertMask::retained(int32_t layer) const {
  const std::vector<int32_t>& gone = deleted[static_cast<size_t>(layer)];
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < n_experts; ++id) {
    if (!std::binary_search(gone.begin(), gone.end(), id)) ids.push_back(id);
  }
  return ids;
}

Result<ExpertMask> parse_mask(std::string_view text, const std::string& what,
                              const MaskShape& shape, MaskMeaning meaning) {
  if (shape.n_layers <= 0 || shape.n_experts <= 0 || shape.n_deleted < 0 ||
      shape.n_deleted >= shape.n_experts) {
    return error(Code::invalid_argument, "an expert mask for ", shape.n_layers, " layers of ",
                 shape.n_experts, " experts cannot delete ", shape.n_deleted, " of each");
  }
  const Result<Json> document = parse_json(text, what);
  if (!document.ok()) {
    if (!looks_like_python(text)) return document.status();
    return error(Code::format, document.status().message(),
                 "; keys of JSON are text: this looks like a Python dict that was printed, which "
                 "json.dump would have written rightly");
  }
  return Reader(what, shape, meaning).read(*document);
}

std::string mask_text(const ExpertMask& mask) {
  std::string text = "{";
  for (size_t layer = 0; layer < mask.deleted.size(); ++layer) {
    text += join(layer == 0 ? "" : ", ", "\"", layer, "\": [");
    for (size_t i = 0; i < mask.deleted[layer].size(); ++i) {
      text += join(i == 0 ? "" : ", ", mask.deleted[layer][i]);
    }
    text += "]";
  }
  return text + "}";
}

}  // namespace mm2
