// + - * / // % ** ~, comparisons, in, len, iteration.
#include <algorithm>
#include <cmath>

#include "base/join.h"
#include "chat/jinja/run.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

constexpr uint64_t kMaxPowerBits = 32000;

double floor_mod(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0 && (r < 0) != (b < 0)) r += b;
  if (r == 0) r = std::copysign(0.0, b);
  return r;
}

double floor_divide(double a, double b) {
  const double mod = std::fmod(a, b);
  double div = (a - mod) / b;
  if (mod != 0 && (b < 0) != (mod < 0)) div -= 1;
  if (div == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(div);
  return div - floored > 0.5 ? floored + 1 : floored;
}

}  // namespace

Val Run::binary(std::string_view op, const Val& a, const Val& b) {
  if (op == "%" && a.is(Kind::string)) return percent_format(a.text(), b);
  if (a.is(Kind::undefined)) return fail_undefined(a);
  if (b.is(Kind::undefined)) return fail_undefined(b);
  const auto unsupported = [&] {
    return fail("TypeError", mm2::join("unsupported operand type(s) for ", op, ": '", type_name(a),
                                       "' and '", type_name(b), "'"));
  };
  if (op == "+" && a.kind() == b.kind() && !a.is_number()) {
    if (a.is(Kind::string)) {
      const Str& x = a.as<Str>();
      const Str& y = b.as<Str>();
      if (x.markup == y.markup) {
        if (!room_for(x.text.size() + y.text.size())) return Val();
        Captured out(heap_);
        out.text.reserve(x.text.size() + y.text.size());
        (out.text += x.text) += y.text;
        out.literal = x.literal;
        for (const Span& s : y.literal)
          add_span(out.literal, x.text.size() + s.begin, x.text.size() + s.end);
        Val v = str(std::move(out));
        if (!failed()) v.as<Str>().markup = x.markup;
        return v;
      }
      if (!room_for(12 * (x.text.size() + y.text.size()))) return Val();
      Val v = str((x.markup ? x.text : escape_html(x.text)) +
                  (y.markup ? y.text : escape_html(y.text)));
      if (!failed()) v.as<Str>().markup = true;
      return v;
    }
    if (a.is(Kind::list) || a.is(Kind::tuple)) {
      Vals items = a.as<List>().items();
      const auto& more = b.as<List>().items();
      if (!room_for((items.size() + more.size()) * sizeof(Val)) ||
          !step(items.size() / 8 + more.size() / 8))
        return Val();
      items.insert(items.end(), more.begin(), more.end());
      return list(std::move(items), a.kind());
    }
  }
  if (op == "+" && a.is(Kind::string)) {
    return fail("TypeError",
                mm2::join("can only concatenate str (not \"", type_name(b), "\") to str"));
  }
  if (op == "*" && (a.is_int() || b.is_int()) && !(a.is_number() && b.is_number())) {
    const Val& of = a.is_int() ? b : a;
    const int64_t n = std::max<int64_t>(0, (a.is_int() ? a : b).integer());
    if (of.is(Kind::string)) {
      const std::string& t = of.text();
      const auto count = static_cast<uint64_t>(n);
      if (t.empty() || n == 0) return str("");
      if (count > heap_.limit / t.size() || !room_for(count * t.size()))
        return room_for(~uint64_t{0}), Val();
      std::string out;
      out.reserve(count * t.size());
      for (uint64_t i = 0; i < count; ++i) out += t;
      return str(std::move(out));
    }
    if (of.is(Kind::list) || of.is(Kind::tuple)) {
      const auto& items = of.as<List>().items();
      const auto count = static_cast<uint64_t>(n);
      Vals out(heap_);
      if (items.empty() || n == 0) return list(Vals(heap_), of.kind());
      if (count > heap_.limit / (items.size() * sizeof(Val)) ||
          !room_for(2 * count * items.size() * sizeof(Val))) {
        return room_for(~uint64_t{0}), Val();
      }
      if (!step(count * items.size() / 8)) return Val();
      out.reserve(count * items.size());
      for (uint64_t i = 0; i < count; ++i) out.insert(out.end(), items.begin(), items.end());
      return list(std::move(out), of.kind());
    }
    return unsupported();
  }
  if (!a.is_number() || !b.is_number()) return unsupported();

  const bool real = a.is(Kind::real) || b.is(Kind::real);
  const bool zero = !truthy(b) && !b.is(Kind::big);
  if (op == "/") {
    if (zero) return fail("ZeroDivisionError", "division by zero");
    const double q = to_double(a) / to_double(b);
    if (!real && (std::isinf(q) || std::isnan(q)))
      return fail("OverflowError", "integer division result too large for a float");
    return Val::of(q);
  }
  if (op == "**") {
    if (real || (b.is_int() && b.integer() < 0) ||
        (b.is(Kind::big) && b.as<Big>().value.negative)) {
      const double x = to_double(a);
      const double y = to_double(b);
      if (x == 0 && y < 0)
        return fail("ZeroDivisionError", "0.0 cannot be raised to a negative power");
      if (x < 0 && std::isfinite(y) && y != std::floor(y))
        return fail("TypeError", "complex numbers are not supported");
      const double p = std::pow(x, y);
      if (std::isinf(p) && std::isfinite(x) && std::isfinite(y))
        return fail("OverflowError", "(34, 'Numerical result out of range')");
      return Val::of(p);
    }
    BigInt base = to_big(a);
    const bool trivial = base.zero() || (base.limbs.size() == 1 && base.limbs[0] == 1);
    if (b.is(Kind::big) && !trivial) return fail_budget("an integer too long");
    auto exponent =
        static_cast<uint64_t>(b.is(Kind::big) ? b.as<Big>().value.limbs[0] & 1 : b.integer());
    if (trivial) exponent = exponent == 0 ? 0 : 2 - exponent % 2;
    if (!trivial &&
        exponent >
            kMaxPowerBits / (base.bits() - static_cast<size_t>(__builtin_clz(base.limbs.back())))) {
      return fail_budget("an integer too long");
    }
    const uint64_t limbs = trivial ? 1 : exponent * base.limbs.size() + 1;
    if (!step(limbs * limbs / 16)) return Val();
    BigInt out = BigInt::of(1);
    for (; exponent != 0; exponent >>= 1) {
      if (exponent & 1) out = multiply(out, base);
      if (exponent > 1) base = multiply(base, base);
    }
    return integer(std::move(out));
  }
  if (zero && (op == "//" || op == "%")) {
    return fail(
        "ZeroDivisionError",
        real ? (op == "%" ? "float modulo" : "float floor division by zero")
             : (op == "%" ? "integer modulo by zero" : "integer division or modulo by zero"));
  }
  if (real) {
    const double x = to_double(a);
    const double y = to_double(b);
    return Val::of(op == "+"    ? x + y
                   : op == "-"  ? x - y
                   : op == "*"  ? x * y
                   : op == "//" ? floor_divide(x, y)
                                : floor_mod(x, y));
  }
  if (a.is_int() && b.is_int()) {
    int64_t out = 0;
    if (op == "+" && !__builtin_add_overflow(a.integer(), b.integer(), &out)) return Val::of(out);
    if (op == "-" && !__builtin_sub_overflow(a.integer(), b.integer(), &out)) return Val::of(out);
    if (op == "*" && !__builtin_mul_overflow(a.integer(), b.integer(), &out)) return Val::of(out);
  }
  const BigInt x = to_big(a);
  const BigInt y = to_big(b);
  const uint64_t products = (x.limbs.size() + 1) * (y.limbs.size() + 1);
  const bool divides = op == "//" || op == "%";
  // A division goes bit by bit.
  if (!step(divides ? 4 * products : op == "*" ? products / 16 : products / 256)) return Val();
  if (op == "+") return integer(jinja::add(x, y));
  if (op == "-") return integer(subtract(x, y));
  if (op == "*") return integer(multiply(x, y));
  BigInt quotient;
  BigInt remainder;
  divide(x, y, quotient, remainder);
  return integer(op == "//" ? std::move(quotient) : std::move(remainder));
}

Val Run::concat(const Vals& parts) {
  Captured out(heap_);
  bool markup = false;
  for (const Val& part : parts) markup = markup || (part.is(Kind::string) && part.as<Str>().markup);
  for (const Val& part : parts) {
    const size_t begin = out.text.size();
    if (part.is(Kind::string)) {
      const Str& s = part.as<Str>();
      if (!grow(out, begin + (markup && !s.markup ? 5 : 1) * s.text.size())) return Val();
      if (markup && !s.markup) {
        out.text += escape_html(s.text);
        continue;
      }
      out.text += s.text;
      for (const Span& l : s.literal) add_span(out.literal, begin + l.begin, begin + l.end);
    } else {
      append_str(out.text, part);
      if (failed()) return Val();
    }
  }
  Val v = str(std::move(out));
  if (!failed()) v.as<Str>().markup = markup;
  return v;
}

int Run::order(const Val& a, const Val& b, int depth) {
  if (a.is(Kind::undefined)) return fail_undefined(a), 0;
  if (b.is(Kind::undefined)) return fail_undefined(b), 0;
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is(Kind::string) && b.is(Kind::string)) {
    const int c = a.text().compare(b.text());
    return c < 0 ? -1 : c > 0;
  }
  if (a.kind() == b.kind() && (a.is(Kind::list) || a.is(Kind::tuple)) && depth < 300) {
    const auto& x = a.as<List>().items();
    const auto& y = b.as<List>().items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!step()) return 0;
      if (!equal(x[i], y[i])) return order(x[i], y[i], depth + 1);
    }
    return x.size() < y.size() ? -1 : x.size() > y.size();
  }
  fail("TypeError", mm2::join("'<' not supported between instances of '", type_name(a), "' and '",
                              type_name(b), "'"));
  return 0;
}

bool Run::compare(std::string_view op, const Val& a, const Val& b) {
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(b, a);
  if (op == "not in") return !contains(b, a);
  const int c = order(a, b);
  if (failed() || c == 2) return false;
  return op == "<" ? c < 0 : op == ">" ? c > 0 : op == "<=" ? c <= 0 : c >= 0;
}

bool Run::contains(const Val& in, const Val& what) {
  switch (in.kind()) {
    case Kind::string:
      if (!what.is(Kind::string)) {
        if (what.is(Kind::undefined)) return fail_undefined(what), false;
        fail("TypeError",
             mm2::join("'in <string>' requires string as left operand, not ", type_name(what)));
        return false;
      }
      return step(in.text().size() / 256) && in.text().find(what.text()) != std::string::npos;
    case Kind::dict:
      if (!hashable(what)) return fail("TypeError", "unhashable type"), false;
      return in.as<Dict>().find(what) != nullptr;
    case Kind::view:
      if (in.as<View>().what == View::What::keys) return contains(in.as<View>().dict, what);
      break;
    case Kind::range: {
      const Range& r = in.as<Range>();
      if (what.is_int()) {
        const int64_t d = what.integer() - r.start;
        return r.size() > 0 && d % r.step == 0 && d / r.step >= 0 && d / r.step < r.size();
      }
      break;
    }
    case Kind::names:
    case Kind::none:
    case Kind::boolean:
    case Kind::integer:
    case Kind::big:
    case Kind::real:
    case Kind::macro:
    case Kind::builtin:
    case Kind::method:
      fail("TypeError", mm2::join("argument of type '", type_name(in), "' is not iterable"));
      return false;
    default:
      break;
  }
  Vals items(heap_);
  if (!iterate(in, &items)) return false;
  for (const Val& item : items) {
    if (equal(item, what)) return true;
  }
  return false;
}

bool Run::iterate(const Val& over, Vals* out) {
  if (failed()) return false;
  switch (over.kind()) {
    case Kind::undefined:
      return true;
    case Kind::list:
    case Kind::tuple: {
      const auto& items = over.as<List>().items();
      if (!room_for(items.size() * sizeof(Val)) || !step(items.size() / 8)) return false;
      out->insert(out->end(), items.begin(), items.end());
      return true;
    }
    case Kind::generator: {
      List& g = over.as<List>();
      for (; g.at < g.items().size(); ++g.at) {
        if (!add(*out, g.items()[g.at])) return false;
      }
      return true;
    }
    case Kind::string:
      for (size_t at = 0; at < over.text().size();) {
        const size_t begin = at;
        next_code_point(over.text(), at);
        if (!add(*out, str(over.text().substr(begin, at - begin)))) return false;
      }
      return true;
    case Kind::dict:
      for (const auto& [key, value] : over.as<Dict>().items()) {
        if (!add(*out, key)) return false;
      }
      return true;
    case Kind::view: {
      const View& view = over.as<View>();
      for (const auto& [key, value] : view.dict.as<Dict>().items()) {
        Val item = view.what == View::What::keys     ? key
                   : view.what == View::What::values ? value
                                                     : list(vals({key, value}), Kind::tuple);
        if (!add(*out, std::move(item))) return false;
      }
      return true;
    }
    case Kind::range: {
      const Range& r = over.as<Range>();
      const int64_t n = r.size();
      for (int64_t i = 0; i < n; ++i) {
        if (!add(*out, Val::of(r.start + i * r.step))) return false;
      }
      return true;
    }
    case Kind::loop: {  // (item, loop) pairs, as LoopContext iterates: not used by templates
      fail("TypeError", "a loop cannot be iterated");
      return false;
    }
    default:
      fail("TypeError", mm2::join("'", type_name(over), "' object is not iterable"));
      return false;
  }
}

int64_t Run::length(const Val& v) {
  switch (v.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::string:
      return static_cast<int64_t>(length_of(v.text()));
    case Kind::list:
    case Kind::tuple:
      return static_cast<int64_t>(v.as<List>().items().size());
    case Kind::dict:
      return static_cast<int64_t>(v.as<Dict>().items().size());
    case Kind::view:
      return length(v.as<View>().dict);
    case Kind::range:
      return v.as<Range>().size();
    case Kind::loop:
      return static_cast<int64_t>(v.as<Loop>().items.size());
    default:
      fail("TypeError", mm2::join("object of type '", type_name(v), "' has no len()"));
      return 0;
  }
}

}  // namespace mm2::chat::jinja
