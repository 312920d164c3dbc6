// The options of a verb, a JSON object, read strictly: an unknown name or a value of another type is
// refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace mm2 {

/// Every reader leaves its target alone where the option is absent or null. Errors are
/// Code::invalid_argument "VERB: option NAME: must be ...".
class OptionReader {
 public:
  /// `options` must outlive the reader.
  OptionReader(std::string_view verb, const Json& options) : verb_(verb), options_(options) {}

  /// An object with no other names than these.
  Status check_names(std::span<const std::string_view> allowed) const;

  Status boolean(std::string_view name, bool& to) const;
  Status text(std::string_view name, std::string& to) const;
  /// A string, or a list of strings.
  Status texts(std::string_view name, std::vector<std::string>& to) const;
  Status integer(std::string_view name, int64_t low, int64_t high, int64_t& to) const;
  Status integer(std::string_view name, int64_t low, int64_t high, int32_t& to) const;
  Status number(std::string_view name, double low, double high, double& to) const;
  /// Bytes: a whole number, or "1.5G", "512M", "64K" (powers of 1024).
  Status bytes(std::string_view name, uint64_t& to) const;
  /// One of the words.
  Status word(std::string_view name, std::span<const std::string_view> words,
              std::string& to) const;

  /// The value, or null where it is absent or null itself.
  const Json* find(std::string_view name) const;
  Status wrong(std::string_view name, std::string_view wanted) const;

 private:
  std::string_view verb_;
  const Json& options_;
};

/// "1.5G", "512M", "64K", "1000": nothing where it is no size.
std::optional<uint64_t> parse_bytes(std::string_view text);

}  // namespace mm2
