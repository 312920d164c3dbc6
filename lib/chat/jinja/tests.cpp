// `x is name(args)`.
#include <algorithm>

#include "base/join.h"
#include "chat/jinja/case.h"
#include "chat/jinja/run.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

constexpr std::string_view kTests[] = {
    "!=",       "<",        "<=",          "==",       ">",           ">=",       "boolean",
    "callable", "defined",  "divisibleby", "eq",       "equalto",     "escaped",  "even",
    "false",    "filter",   "float",       "ge",       "greaterthan", "gt",       "in",
    "integer",  "iterable", "le",          "lessthan", "lower",       "lt",       "mapping",
    "ne",       "none",     "number",      "odd",      "sameas",      "sequence", "string",
    "test",     "true",     "undefined",   "upper"};

std::string_view comparison(std::string_view name) {
  if (name == "eq" || name == "==" || name == "equalto") return "==";
  if (name == "ne" || name == "!=") return "!=";
  if (name == "lt" || name == "<" || name == "lessthan") return "<";
  if (name == "le" || name == "<=") return "<=";
  if (name == "gt" || name == ">" || name == "greaterthan") return ">";
  if (name == "ge" || name == ">=") return ">=";
  if (name == "in") return "in";
  return {};
}

}  // namespace

bool is_test(std::string_view name) {
  return std::find(std::begin(kTests), std::end(kTests), name) != std::end(kTests);
}

bool Run::call_test(const std::string& name, const Val& v, Args& args) {
  if (!is_test(name))
    return fail("TemplateRuntimeError", mm2::join("No test named '", name, "'.")), false;
  const Kind kind = v.kind();
  const bool whole = v.is_int() || kind == Kind::big;
  if (const std::string_view op = comparison(name); !op.empty()) {
    Bound b;
    return bind(name.c_str(), args, {"other"}, &b, 1) && compare(op, v, b.value[0]);
  }
  if (name == "divisibleby" || name == "sameas") {
    Bound b;
    if (!bind(name.c_str(), args, {"other"}, &b, 1)) return false;
    const Val& other = b.value[0];
    if (name == "divisibleby") return !truthy(binary("%", v, other));
    if (kind != other.kind()) return false;
    if (kind == Kind::none || kind == Kind::boolean || kind == Kind::integer ||
        kind == Kind::string)
      return equal(v, other);
    return kind == Kind::real ? v.real() == other.real() : v.object() == other.object();
  }
  Bound none;
  if (!bind(name.c_str(), args, {}, &none)) return false;
  if (name == "defined") return kind != Kind::undefined;
  if (name == "undefined") return kind == Kind::undefined;
  if (name == "none") return kind == Kind::none;
  if (name == "string") return kind == Kind::string;
  if (name == "mapping") return kind == Kind::dict;
  if (name == "boolean") return kind == Kind::boolean;
  if (name == "true") return kind == Kind::boolean && v.integer() != 0;
  if (name == "false") return kind == Kind::boolean && v.integer() == 0;
  if (name == "integer") return kind == Kind::integer || kind == Kind::big;
  if (name == "float") return kind == Kind::real;
  if (name == "number") return v.is_number();
  if (name == "sequence") {
    return kind == Kind::undefined || kind == Kind::string || kind == Kind::list ||
           kind == Kind::tuple || kind == Kind::dict || kind == Kind::range;
  }
  if (name == "iterable") {
    return kind == Kind::undefined || kind == Kind::string || kind == Kind::list ||
           kind == Kind::tuple || kind == Kind::dict || kind == Kind::range || kind == Kind::view ||
           kind == Kind::generator || kind == Kind::loop;
  }
  if (name == "callable") {
    return kind == Kind::undefined || kind == Kind::macro || kind == Kind::builtin ||
           kind == Kind::method || kind == Kind::loop || kind == Kind::joiner;
  }
  if (name == "odd" || name == "even") {
    if (kind == Kind::string)
      return fail("TypeError", "not all arguments converted during string formatting"), false;
    const Val rest = binary("%", v, Val::of(int64_t{2}));
    return !failed() && equal(rest, Val::of(static_cast<int64_t>(name == "odd")));
  }
  if (name == "escaped") return kind == Kind::string && v.as<Str>().markup;
  if (name == "filter" || name == "test") {
    return kind == Kind::string && (name == "filter" ? is_filter(v.text()) : is_test(v.text()));
  }
  if (name == "lower" || name == "upper") {
    return name == "lower" ? is_lower(to_str(v)) : is_upper(to_str(v));
  }
  (void)whole;
  return false;
}

}  // namespace mm2::chat::jinja
