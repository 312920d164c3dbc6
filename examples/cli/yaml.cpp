#include "yaml.h"

#include <cctype>
#include <cmath>
#include <cstdlib>

#include "errors.h"

#ifdef MM2_CLI_HAS_YAML
#include <yaml-cpp/yaml.h>
#endif

namespace cli {

#ifdef MM2_CLI_HAS_YAML
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxNodes = 1'000'000;

class Reader {
 public:
  explicit Reader(std::string doing) : doing_(std::move(doing)) {}

  Json read(const YAML::Node& node, int depth) {
    if (depth > kMaxDepth) fail(node, "nested too deeply");
    if (++n_nodes_ > kMaxNodes) fail(node, "more than a million nodes");
    switch (node.Type()) {
      case YAML::NodeType::Sequence: {
        Json list = Json::array();
        for (const auto& one : node) list.push_back(read(one, depth + 1));
        return list;
      }
      case YAML::NodeType::Map: {
        Json object = Json::object();
        for (const auto& one : node) {
          if (!one.first.IsScalar()) fail(one.first, "a key must be text");
          const std::string& key = one.first.Scalar();
          if (object.contains(key)) fail(one.first, "the key " + key + " occurs twice");
          object[key] = read(one.second, depth + 1);
        }
        return object;
      }
      case YAML::NodeType::Scalar:
        return scalar(node);
      default:
        return nullptr;
    }
  }

 private:
  [[noreturn]] void fail(const YAML::Node& node, const std::string& what) const {
    throw Failure(kInvalidInput, doing_,
                  "line " + std::to_string(node.Mark().line + 1) + ": " + what);
  }

  Json scalar(const YAML::Node& node) const {
    const std::string& text = node.Scalar();
    if (node.Tag() == "!") return text;  // in quotes
    if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL")
      return nullptr;
    if (text == "true" || text == "True" || text == "TRUE") return true;
    if (text == "false" || text == "False" || text == "FALSE") return false;
    const size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
    const std::string rest = text.substr(sign);
    if (rest == ".inf" || rest == ".Inf" || rest == ".INF" || text == ".nan" || text == ".NaN")
      fail(node, text + " is no number that a recipe can use");
    return number(text, rest);
  }

  // Digits with a point and an exponent, each where YAML has it; anything else is text.
  static Json number(const std::string& text, const std::string& rest) {
    size_t i = 0, n_digits = 0;
    const auto digits = [&] {
      const size_t from = i;
      while (i < rest.size() && std::isdigit(static_cast<unsigned char>(rest[i])) != 0) ++i;
      return i - from;
    };
    n_digits = digits();
    const bool whole = i == rest.size() && n_digits > 0 && n_digits <= 18;
    if (i < rest.size() && rest[i] == '.') {
      ++i;
      n_digits += digits();
    }
    if (n_digits == 0) return text;
    if (i < rest.size() && (rest[i] == 'e' || rest[i] == 'E')) {
      ++i;
      if (i < rest.size() && (rest[i] == '-' || rest[i] == '+')) ++i;
      if (digits() == 0) return text;
    }
    if (i != rest.size()) return text;
    if (whole) {
      const int64_t value = std::strtoll(text.c_str(), nullptr, 10);
      if (value >= 0) return static_cast<uint64_t>(value);
      return value;
    }
    const double value = std::strtod(text.c_str(), nullptr);
    return std::isfinite(value) ? Json(value) : Json(text);
  }

  std::string doing_;
  size_t n_nodes_ = 0;
};

}  // namespace

Json parse_yaml(const std::string& text, const std::string& doing) {
  try {
    return Reader(doing).read(YAML::Load(text), 0);
  } catch (const YAML::Exception& error) {
    throw Failure(kInvalidInput, doing,
                  "line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
}

#else

Json parse_yaml(const std::string&, const std::string& doing) {
  throw Failure(kInvalidInput, doing,
                "this program was built without yaml-cpp and reads recipes as JSON only");
}

#endif

}  // namespace cli
