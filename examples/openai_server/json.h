// Reading requests: what a client may write, checked member by member, refused in a sentence.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

namespace server {

using Json = nlohmann::ordered_json;

/// A request that cannot be served: an HTTP status, a sentence, and the member that is to blame.
class BadRequest : public std::runtime_error {
 public:
  explicit BadRequest(const std::string& sentence, std::string param = {}, int status = 400,
                      std::string code = {})
      : std::runtime_error(without_nul(sentence)),
        param_(std::move(param)),
        status_(status),
        code_(std::move(code)) {}
  const std::string& param() const { return param_; }
  int status() const { return status_; }
  const std::string& code() const { return code_; }

 private:
  /// what() ends at the first NUL, which what a client wrote may hold.
  static std::string without_nul(std::string sentence) {
    std::replace(sentence.begin(), sentence.end(), '\0', ' ');
    return sentence;
  }

  std::string param_;
  int status_;
  std::string code_;
};

/// The body of a request: a JSON object, of bounded depth and width. Throws BadRequest.
Json parse_body(std::string_view text);
/// A JSON text inside a request, such as the arguments of a tool call.
Json parse_inner(std::string_view text, const std::string& where);
/// One line of JSON; text that is not UTF-8 is written with U+FFFD.
std::string to_text(const Json& value);
/// A string as JSON, with its quotes.
std::string quote(std::string_view text);
/// "a string", "null", "an object": what stands there, for a sentence.
std::string kind_of(const Json& value);

/// The members of an object, taken one by one; what nobody took is refused at the end. A member that
/// is null counts as absent. `where`: "" for the body, "messages[3]" further inside.
class Members {
 public:
  Members(const Json& object, std::string where);

  /// The member, or null when it is absent.
  const Json* find(const std::string& name);
  const Json& required(const std::string& name);
  std::optional<int64_t> integer(const std::string& name, int64_t least, int64_t most);
  std::optional<double> number(const std::string& name, double least, double most);
  std::optional<bool> flag(const std::string& name);
  std::optional<std::string> text(const std::string& name);
  std::string required_text(const std::string& name);
  /// null when absent.
  const Json* array(const std::string& name, size_t most);
  const Json* object(const std::string& name);
  /// Known, and without influence on the answer.
  void ignore(std::initializer_list<const char*> names);
  /// Known, and not supported: `why` completes the sentence "name ...".
  void refuse(const std::string& name, const std::string& why);
  /// Refuses what was not asked for.
  void finish();

  std::string path(const std::string& name) const;

 private:
  [[noreturn]] void wrong(const std::string& name, const std::string& wanted, const Json& found);

  const Json& object_;
  std::string where_;
  std::set<std::string> taken_;
};

}  // namespace server
