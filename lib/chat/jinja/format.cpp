// '%s' % x and '{}'.format(x).
// GCC 12 sees overlaps in assignments of one-character literals that are not there (its bug 105651).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wrestrict"
#endif

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "base/join.h"
#include "chat/jinja/case.h"
#include "chat/jinja/run.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

constexpr int64_t kMaxPrecision = 1000;

struct Spec {
  char align = 0;  // < > ^ =
  std::string fill = " ";
  char sign = 0;  // + or space
  bool alternate = false;
  bool comma = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

// printf's conversion of a number; abseil's does not ask the process for its locale.
std::string real_text(double d, char type, int64_t precision, bool alternate) {
  const int p = static_cast<int>(precision);
  switch (type) {
    case 'e':
      return alternate ? absl::StrFormat("%#.*e", p, d) : absl::StrFormat("%.*e", p, d);
    case 'E':
      return alternate ? absl::StrFormat("%#.*E", p, d) : absl::StrFormat("%.*E", p, d);
    case 'g':
      return alternate ? absl::StrFormat("%#.*g", p, d) : absl::StrFormat("%.*g", p, d);
    case 'G':
      return alternate ? absl::StrFormat("%#.*G", p, d) : absl::StrFormat("%.*G", p, d);
    default:  // f, F
      return alternate ? absl::StrFormat("%#.*f", p, d) : absl::StrFormat("%.*f", p, d);
  }
}

// In base 2, 8 or 16: of `bits` bits a digit.
std::string in_base(const BigInt& value, size_t bits, bool upper) {
  std::string out;
  const size_t n = value.limbs.size() * 32;
  for (size_t at = 0; at < n; at += bits) {
    uint32_t d = 0;
    for (size_t k = 0; k < bits && at + k < n; ++k)
      d |= (value.limbs[(at + k) / 32] >> ((at + k) % 32) & 1) << k;
    out += static_cast<char>(d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10);
  }
  while (out.size() > 1 && out.back() == '0') out.pop_back();
  if (out.empty()) out = "0";
  std::reverse(out.begin(), out.end());
  return out;
}

// body with its sign, filled up to the width.
std::string pad(Run& run, const std::string& sign, const std::string& body, const Spec& spec,
                char usual) {
  const auto n = static_cast<int64_t>(length_of(sign) + length_of(body));
  if (n >= spec.width) return sign + body;
  const auto missing = static_cast<uint64_t>(spec.width - n);
  if (!run.room_for(missing * 5)) return "";
  const auto fill = [&](uint64_t count) {
    std::string out;
    for (uint64_t i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  const char align = spec.align != 0 ? spec.align : usual;
  if (align == '=') return sign + fill(missing) + body;
  if (align == '<') return sign + body + fill(missing);
  if (align == '^') return fill(missing / 2) + sign + body + fill(missing - missing / 2);
  return fill(missing) + sign + body;
}

std::string sign_of(bool negative, const Spec& spec) {
  return negative ? "-" : spec.sign != 0 ? std::string(1, spec.sign) : "";
}

std::string number_text(Run& run, const Val& v, Spec spec) {
  char type = spec.type;
  const bool whole = !v.is(Kind::real);
  if (whole && (type == 0 || std::string_view("diuxXob").find(type) != std::string_view::npos)) {
    const BigInt value = to_big(v);
    if (!run.step(value.limbs.size() * value.limbs.size() / 16)) return "";
    std::string body = type == 'x' || type == 'X' ? in_base(value, 4, type == 'X')
                       : type == 'o'              ? in_base(value, 3, false)
                       : type == 'b'              ? in_base(value, 1, false)
                                                  : value.str();
    if (!body.empty() && body[0] == '-') body.erase(0, 1);
    if (spec.precision > static_cast<int64_t>(body.size()))
      body.insert(0, static_cast<size_t>(spec.precision) - body.size(), '0');
    if (spec.comma) {
      for (int64_t at = static_cast<int64_t>(body.size()) - 3; at > 0; at -= 3)
        body.insert(static_cast<size_t>(at), ",");
    }
    std::string sign = sign_of(value.negative, spec);
    if (spec.alternate && (type == 'x' || type == 'X' || type == 'o' || type == 'b'))
      sign += std::string("0") + type;
    return pad(run, sign, body, spec, '>');
  }
  double d = to_double(v);
  if (type == '%') d *= 100;
  std::string body;
  if (!std::isfinite(d)) {
    body = std::isnan(d) ? "nan" : "inf";
    if (type >= 'A' && type <= 'Z') body = upper(body);
  } else if (type == 0 && spec.precision < 0) {
    append_float(body, std::fabs(d));
  } else {
    body = real_text(std::fabs(d),
                     type == 0     ? 'g'
                     : type == '%' ? 'f'
                                   : type,
                     spec.precision < 0 ? 6 : spec.precision, spec.alternate);
  }
  if (spec.comma) {
    const size_t point = std::min(body.find('.'), body.size());
    for (int64_t at = static_cast<int64_t>(point) - 3; at > 0; at -= 3)
      body.insert(static_cast<size_t>(at), ",");
  }
  if (type == '%') body += '%';
  return pad(run, sign_of(std::signbit(d) && !std::isnan(d), spec), body, spec, '>');
}

std::string cut(std::string_view text, int64_t precision) {
  if (precision < 0) return std::string(text);
  return std::string(text.substr(0, offset_of(text, static_cast<size_t>(precision))));
}

}  // namespace

Val Run::percent_format(const std::string& format, const Val& value) {
  Vals items = vals({value});
  if (value.is(Kind::tuple)) items = value.as<List>().items();
  size_t used = 0;
  bool mapped = value.is(Kind::dict);
  std::string out;
  const auto next = [&]() -> Val {
    if (used < items.size()) return items[used++];
    return fail("TypeError", "not enough arguments for format string");
  };
  for (size_t i = 0; i < format.size() && !failed(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    Spec spec;
    Val from;
    bool named = false;
    ++i;
    if (i < format.size() && format[i] == '(') {
      const size_t close = format.find(')', i);
      if (close == std::string::npos) return fail("ValueError", "incomplete format key");
      if (!value.is(Kind::dict)) return fail("TypeError", "format requires a mapping");
      const Val* found =
          value.as<Dict>().find(std::string_view(format).substr(i + 1, close - i - 1));
      if (found == nullptr) return fail("KeyError", format.substr(i + 1, close - i - 1));
      from = *found;
      named = true;
      i = close + 1;
    }
    for (; i < format.size() && std::string_view("-+ #0").find(format[i]) != std::string_view::npos;
         ++i) {
      const char c = format[i];
      if (c == '-') spec.align = '<';
      if (c == '+') spec.sign = '+';
      if (c == ' ' && spec.sign == 0) spec.sign = ' ';
      if (c == '#') spec.alternate = true;
      if (c == '0' && spec.align != '<') {
        spec.align = '=';
        spec.fill = "0";
      }
    }
    if (spec.align == '<') spec.fill = " ";
    const auto number = [&](int64_t* n) {
      if (i < format.size() && format[i] == '*') {
        ++i;
        want_int(next(), n);
        return;
      }
      for (*n = 0; i < format.size() && format[i] >= '0' && format[i] <= '9'; ++i) {
        *n = std::min<int64_t>(*n * 10 + (format[i] - '0'), int64_t{1} << 40);
      }
    };
    number(&spec.width);
    if (i < format.size() && format[i] == '.') {
      ++i;
      number(&spec.precision);
    }
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (failed()) return Val();
    while (i < format.size() && std::string_view("hlL").find(format[i]) != std::string_view::npos)
      ++i;
    if (i >= format.size()) return fail("ValueError", "incomplete format");
    const char type = format[i];
    if (type == '%') {
      out += '%';
      continue;
    }
    if (!named) from = next();
    if (failed()) return Val();
    if (type == 's' || type == 'r' || type == 'a') {
      std::string text;
      type == 's' ? append_str(text, from) : append_repr(text, from);
      if (spec.align == '=') spec.align = '>', spec.fill = " ";
      out += pad(*this, "", cut(text, spec.precision), spec, '>');
    } else if (type == 'c') {
      if (from.is(Kind::string) && length_of(from.text()) == 1) {
        out += pad(*this, "", from.text(), spec, '>');
      } else {
        int64_t code = 0;
        if (!want_int(from, &code)) return Val();
        if (code < 0 || code > 0x10FFFF)
          return fail("OverflowError", "%c arg not in range(0x110000)");
        std::string c;
        append_code_point(c, static_cast<char32_t>(code));
        out += pad(*this, "", c, spec, '>');
      }
    } else if (std::string_view("diuoxXeEfFgG").find(type) != std::string_view::npos) {
      if (from.is(Kind::undefined)) return fail_undefined(from);
      if (!from.is_number())
        return fail("TypeError",
                    mm2::join("%", std::string(1, type), " format: a real number is required, not ",
                              type_name(from)));
      if (spec.precision > kMaxPrecision) return fail_budget("a number format that long");
      const bool whole = std::string_view("diuoxX").find(type) != std::string_view::npos;
      spec.type = type;
      if (whole && from.is(Kind::real)) {
        if (std::string_view("oxX").find(type) != std::string_view::npos)
          return fail("TypeError", "an integer is required, not float");
        if (!std::isfinite(from.real()))
          return fail("OverflowError", "cannot convert float infinity to integer");
        from = integer(BigInt::truncate(from.real()));
      } else if (!whole && !from.is(Kind::real)) {
        from = Val::of(to_double(from));
      }
      out += number_text(*this, from, spec);
    } else {
      return fail("ValueError",
                  mm2::join("unsupported format character '", std::string(1, type), "'"));
    }
    if (!room_for(out.size())) return Val();
  }
  if (failed()) return Val();
  if (used < items.size() && !mapped && !(items.size() == 1 && used == 1)) {
    const bool unused_mapping = value.is(Kind::list) && false;
    if (!unused_mapping)
      return fail("TypeError", "not all arguments converted during string formatting");
  }
  return str(std::move(out));
}

Val Run::brace_format(const std::string& format, Args& args) {
  std::string out;
  size_t automatic = 0;
  const auto field = [&](std::string_view name) -> Val {
    size_t end = name.find_first_of(".[");
    const std::string_view first = name.substr(0, end);
    Val at;
    if (first.empty() ||
        (first.find_first_not_of("0123456789") == std::string_view::npos && first.size() < 9)) {
      const size_t index =
          first.empty() ? automatic++ : static_cast<size_t>(std::stoul(std::string(first)));
      if (index >= args.pos.size())
        return fail("IndexError", mm2::join("Replacement index ", index,
                                            " out of range for positional args tuple"));
      at = args.pos[index];
    } else {
      bool found = false;
      for (const auto& [key, value] : args.kw) {
        if (key == first) {
          at = value;
          found = true;
        }
      }
      if (!found) return fail("KeyError", mm2::join("'", first, "'"));
    }
    while (end < name.size() && !failed()) {
      if (name[end] == '.') {
        const size_t stop = std::min(name.find_first_of(".[", end + 1), name.size());
        at = get_attribute(at, std::string(name.substr(end + 1, stop - end - 1)));
        end = stop;
      } else {
        const size_t close = name.find(']', end);
        if (close == std::string_view::npos)
          return fail("ValueError", "expected ']' before end of string");
        at = by_path(at, str(std::string(name.substr(end + 1, close - end - 1))));
        end = close + 1;
      }
    }
    return at;
  };
  for (size_t i = 0; i < format.size() && !failed(); ++i) {
    const char c = format[i];
    if (c == '{' || c == '}') {
      if (i + 1 < format.size() && format[i + 1] == c) {
        out += c;
        ++i;
        continue;
      }
      if (c == '}') return fail("ValueError", "Single '}' encountered in format string");
    } else {
      out += c;
      continue;
    }
    const size_t close = format.find('}', i);
    if (close == std::string::npos) return fail("ValueError", "expected '}' before end of string");
    std::string_view inside = std::string_view(format).substr(i + 1, close - i - 1);
    if (inside.find('{') != std::string_view::npos)
      return fail("ValueError", "nested fields are not supported");
    i = close;
    std::string_view spec_text;
    if (const size_t colon = inside.find(':'); colon != std::string_view::npos) {
      spec_text = inside.substr(colon + 1);
      inside = inside.substr(0, colon);
    }
    char conversion = 0;
    if (inside.size() >= 2 && inside[inside.size() - 2] == '!') {
      conversion = inside.back();
      inside.remove_suffix(2);
    }
    Val value = field(inside);
    if (failed()) return Val();
    if (conversion == 's') value = str(to_str(value));
    if (conversion == 'r') {
      std::string text;
      append_repr(text, value);
      value = str(std::move(text));
    }
    Spec spec;
    const auto chars = code_points(spec_text);
    size_t at = 0;
    const auto is_align = [&](size_t k) {
      return k < chars.size() && chars[k].size() == 1 &&
             std::string_view("<>^=").find(chars[k][0]) != std::string_view::npos;
    };
    const auto peek = [&] { return at < chars.size() ? chars[at][0] : '\0'; };
    if (is_align(1)) {
      spec.fill = std::string(chars[0]);
      spec.align = chars[1][0];
      at = 2;
    } else if (is_align(0)) {
      spec.align = chars[0][0];
      at = 1;
    }
    if (peek() == '+' || peek() == '-' || peek() == ' ') {
      if (peek() != '-') spec.sign = peek();
      ++at;
    }
    if (peek() == '#') spec.alternate = true, ++at;
    if (peek() == '0') {
      if (spec.align == 0) spec.align = '=', spec.fill = "0";
      ++at;
    }
    const auto number = [&] {
      int64_t n = 0;
      for (; peek() >= '0' && peek() <= '9'; ++at)
        n = std::min<int64_t>(n * 10 + (peek() - '0'), int64_t{1} << 40);
      return n;
    };
    spec.width = number();
    if (peek() == ',') spec.comma = true, ++at;
    if (peek() == '.') ++at, spec.precision = number();
    spec.type = peek();
    if (at + 1 < chars.size()) return fail("ValueError", "Invalid format specifier");
    if (value.is_number() && !(value.is(Kind::boolean) && spec_text.empty())) {
      if (spec.precision > kMaxPrecision) return fail_budget("a number format that long");
      if (std::string_view("\0dxXobeEfFgG%", 13).find(spec.type) == std::string_view::npos)
        return fail("ValueError", "Unknown format code");
      out += number_text(*this, value, spec);
    } else {
      if (spec.type != 0 && spec.type != 's')
        return fail("ValueError", "Unknown format code for object of type 'str'");
      out += pad(*this, "", cut(to_str(value), spec.precision), spec, '<');
    }
    if (!room_for(out.size())) return Val();
  }
  return failed() ? Val() : str(std::move(out));
}

}  // namespace mm2::chat::jinja
