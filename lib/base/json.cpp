#include "base/json.h"

#include <algorithm>
#include <vector>

#include "absl/container/flat_hash_set.h"

namespace mm2 {
namespace {

// Builds the document and stops at the first broken rule.
class Builder {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  Builder(Json& root, JsonLimits limits) : root_(root), limits_(limits) {}

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(number_integer_t value) { return put(value); }
  bool number_unsigned(number_unsigned_t value) { return put(value); }
  bool number_float(number_float_t value, const string_t&) { return put(value); }
  bool string(string_t& value) { return put(std::move(value)); }
  bool binary(binary_t&) { return fail("binary value"); }
  bool start_object(size_t) { return open(Json::object()); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(string_t& name) {
    Level& level = levels_.back();
    if (level.keys.insert(name).second) {
      // Straight to the end: the object's own operator[] searches from its start, quadratic over a
      // large object.
      auto& members =
          static_cast<Json::object_t::Container&>(level.node->get_ref<Json::object_t&>());
      level.slot = &members.emplace_back(std::move(name), nullptr).second;
      return true;
    }
    if (!limits_.duplicate_keys) {
      return fail(absl::StrCat("duplicate key \"", name.substr(0, 200), "\""));
    }
    level.slot = &(*level.node)[name];
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception& e) {
    position_ = position;
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ..." without
    // its first word.
    std::string_view text = e.what();
    if (const size_t at = text.find("] "); at != std::string_view::npos) text.remove_prefix(at + 2);
    return fail(std::string(text));
  }

  const std::string& reason() const { return reason_; }
  size_t position() const { return position_; }

 private:
  struct Level {
    Json* node;
    Json* slot = nullptr;  // where the value of the last key goes; null inside an array
    absl::flat_hash_set<std::string> keys;
  };

  bool fail(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
    return false;
  }

  Json* place(Json&& value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.node->is_array()) {
      level.node->push_back(std::move(value));
      return &level.node->back();
    }
    *level.slot = std::move(value);
    return level.slot;
  }
  template <typename T>
  bool put(T&& value) {
    place(Json(std::forward<T>(value)));
    return true;
  }
  bool open(Json&& empty) {
    if (static_cast<int>(levels_.size()) >= limits_.max_depth) {
      return fail(absl::StrCat("nesting depth above ", limits_.max_depth));
    }
    levels_.push_back({place(std::move(empty)), nullptr, {}});
    return true;
  }
  bool close() {
    levels_.pop_back();
    return true;
  }

  Json& root_;
  JsonLimits limits_;
  std::vector<Level> levels_;
  std::string reason_;
  size_t position_ = 0;
};

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& what, JsonLimits limits) {
  Json root;
  Builder builder(root, limits);
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    return error(Code::format, what, ": starts with a byte order mark, JSON must not");
  }
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return error(Code::format, what, ": ",
                 builder.reason().empty() ? std::string("not JSON") : builder.reason());
  }
  return root;
}

}  // namespace mm2
