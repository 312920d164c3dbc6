#include "quant/quant_config.h"

#include <array>
#include <limits>
#include <string_view>

namespace mm2 {
namespace {

constexpr std::array<std::string_view, 6> kMethods = {
    "fp8", "gptq", "awq", "auto-round", "compressed-tensors", "modelopt"};

std::string spelled(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 100);
}

class QuantReader {
 public:
  QuantReader(const Json& object, const std::string& what)
      : object_(object), what_(what + ": quantization_config") {}

  Result<QuantConfig> run() {
    MM2_RETURN_IF_ERROR(read_method());
    MM2_RETURN_IF_ERROR(read_group(object_, what_));
    MM2_RETURN_IF_ERROR(read_blocks());
    MM2_RETURN_IF_ERROR(read_fp8_format());
    MM2_RETURN_IF_ERROR(read_config_groups());
    MM2_RETURN_IF_ERROR(
        text(config_.method == "auto-round" ? "packing_format" : "checkpoint_format",
             config_.checkpoint_format));
    MM2_RETURN_IF_ERROR(boolean("sym", config_.symmetric));
    MM2_RETURN_IF_ERROR(boolean("desc_act", config_.desc_act));
    return std::move(config_);
  }

 private:
  const Json* find(const Json& object, const char* field) const {
    const auto found = object.find(field);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }

  Status text(const char* field, std::string& to) const {
    const Json* value = find(object_, field);
    if (value == nullptr) return {};
    if (!value->is_string()) {
      return error(Code::format, what_, ": ", field, " is ", spelled(*value), ", must be a string");
    }
    to = value->get<std::string>();
    return {};
  }

  Status boolean(const char* field, bool& to) const {
    const Json* value = find(object_, field);
    if (value == nullptr) return {};
    if (!value->is_boolean()) {
      return error(Code::format, what_, ": ", field, " is ", spelled(*value),
                   ", must be true or false");
    }
    to = value->get<bool>();
    return {};
  }

  static bool whole_number(const Json& value, int64_t low, int64_t high, int32_t& to) {
    if (!value.is_number_integer()) return false;
    if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT32_MAX}) return false;
    const int64_t number = value.get<int64_t>();
    if (number < low || number > high) return false;
    to = static_cast<int32_t>(number);
    return true;
  }

  Status read_method() {
    MM2_RETURN_IF_ERROR(text("quant_method", config_.method));
    // ModelOpt's own file has no quant_method but names its producer.
    if (config_.method.empty() && find(object_, "quant_algo") != nullptr)
      config_.method = "modelopt";
    for (const std::string_view known : kMethods) {
      if (config_.method == known) return {};
    }
    std::string list;
    for (const std::string_view known : kMethods) list += join(list.empty() ? "" : ", ", known);
    return error(Code::unsupported, what_, ": quant_method is ",
                 config_.method.empty() ? std::string("missing")
                                        : join("\"", config_.method.substr(0, 100), "\""),
                 ", known are ", list);
  }

  Status read_group(const Json& object, const std::string& where) {
    if (const Json* bits = find(object, "bits");
        bits != nullptr && !whole_number(*bits, 2, 16, config_.bits)) {
      return error(Code::format, where, ": bits is ", spelled(*bits), ", must be from 2 to 16");
    }
    const Json* group = find(object, "group_size");
    if (group == nullptr) return {};
    int32_t size = 0;
    if (!whole_number(*group, -1, 1 << 20, size) || size == 0) {
      return error(Code::format, where, ": group_size is ", spelled(*group),
                   ", must be above 0, or -1 for a whole row");
    }
    config_.group_size = size;
    return {};
  }

  Status read_blocks() {
    const Json* block = find(object_, "weight_block_size");
    if (block == nullptr) return {};
    if (!block->is_array() || block->size() != 2 ||
        !whole_number((*block)[0], 1, 1 << 20, config_.block_rows) ||
        !whole_number((*block)[1], 1, 1 << 20, config_.block_cols)) {
      return error(Code::format, what_, ": weight_block_size is ", spelled(*block),
                   ", must be two numbers above 0");
    }
    return {};
  }

  Status read_fp8_format() const {
    std::string format;
    MM2_RETURN_IF_ERROR(text("fmt", format));
    if (format.empty() || format == "float8_e4m3fn" || format == "e4m3") return {};
    return error(Code::unsupported, what_, ": fmt is \"", format.substr(0, 100),
                 "\", only float8_e4m3fn is supported");
  }

  // compressed-tensors and ModelOpt: each group's weights block is checked; sizes are per group, so
  // none becomes the global one.
  Status read_config_groups() {
    const Json* groups = find(object_, "config_groups");
    if (groups == nullptr) return {};
    if (!groups->is_object()) {
      return error(Code::format, what_, ": config_groups must be an object");
    }
    const QuantConfig before = config_;
    for (const auto& [name, group] : groups->items()) {
      const std::string where = join(what_, ": config_groups: ", name.substr(0, 100));
      if (!group.is_object()) return error(Code::format, where, ": must be an object");
      const Json* weights = find(group, "weights");
      if (weights == nullptr) continue;
      if (!weights->is_object()) return error(Code::format, where, ": weights must be an object");
      MM2_RETURN_IF_ERROR(read_group(*weights, where + ": weights"));
    }
    config_.bits = before.bits;
    config_.group_size = before.group_size;
    return {};
  }

  const Json& object_;
  std::string what_;
  QuantConfig config_;
};

}  // namespace

Result<QuantConfig> parse_quant_config(const Json& quantization, const std::string& what) {
  if (quantization.is_null()) return QuantConfig{};
  if (!quantization.is_object()) {
    return error(Code::format, what, ": quantization_config must be an object");
  }
  return QuantReader(quantization, what).run();
}

}  // namespace mm2
