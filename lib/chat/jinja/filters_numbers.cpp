// The filters that work on numbers: int, float, abs, round, sum, min, max, file sizes.
#include "chat/jinja/filters.h"

#include <algorithm>
#include <cmath>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/charconv.h"
#include "absl/strings/str_format.h"
#include "base/join.h"

namespace mm2::chat::jinja {

namespace {

bool parse_real(std::string_view text, double* out) {
  std::string plain;
  text = strip_right(strip_left(text));
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() && absl::ascii_isdigit(text[i - 1]) &&
                         absl::ascii_isdigit(text[i + 1]);
    if (text[i] == '_' && between) continue;
    plain += text[i];
  }
  std::string low = lower(plain);
  if (!low.empty() && (low[0] == '+' || low[0] == '-')) low.erase(0, 1);
  if (low != "inf" && low != "infinity" && low != "nan" &&
      low.find_first_not_of("0123456789.e+-") != std::string::npos)
    return false;
  if (plain.empty()) return false;
  // Not strtod, which asks the process for its locale.
  const char *begin = plain.data(), *const end = begin + plain.size();
  if (*begin == '+') ++begin;
  const auto read = absl::from_chars(begin, end, *out);
  if (read.ec == std::errc::result_out_of_range && std::fabs(*out) > 1)
    *out = std::copysign(HUGE_VAL, *out);
  return read.ptr == end && read.ec != std::errc::invalid_argument;
}

bool parse_integer(std::string_view text, int64_t base, BigInt* out) {
  text = strip_right(strip_left(text));
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text.size() > 2 && text[0] == '0') {
    const char c = static_cast<char>(text[1] | 32);
    const int64_t says = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
    if (says != 0 && (base == says || base == 0)) {
      text.remove_prefix(2);
      base = says;
    }
  }
  if (base == 0) base = 10;
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && i > 0 && i + 1 < text.size() && text[i - 1] != '_') continue;
    const char c = text[i];
    const int64_t d = absl::ascii_isdigit(c)   ? c - '0'
                      : absl::ascii_isalpha(c) ? (c | 32) - 'a' + 10
                                               : 99;
    if (d >= base) return false;
    digits += c;
  }
  if (digits.empty() || digits.size() > 4300) return false;
  *out = BigInt::parse(digits, static_cast<uint32_t>(base));
  out->negative = negative && !out->zero();
  return true;
}

}  // namespace

Val filter_int(Run& run, const Val& v, Args& args) {
  Bound b;
  int64_t base = 10;
  if (!run.bind("int", args, {"default", "base"}, &b) ||
      (b.has[1] && !run.want_int(b.value[1], &base)))
    return Val();
  const Val fallback = b.has[0] ? b.value[0] : Val::of(int64_t{0});
  if (v.is(Kind::undefined)) return run.fail_undefined(v);
  if (v.is_int()) return Val::of(v.integer());
  if (v.is(Kind::big)) return v;
  double d = 0;
  if (v.is(Kind::string)) {
    if (!run.step(v.text().size())) return Val();
    BigInt n;
    if (parse_integer(v.text(), base, &n)) return run.integer(std::move(n));
    if (!parse_real(v.text(), &d)) return fallback;
  } else if (v.is(Kind::real)) {
    d = v.real();
  } else {
    return fallback;
  }
  if (std::isinf(d))
    return v.is(Kind::real) ? run.fail("OverflowError", "cannot convert float infinity to integer")
                            : fallback;
  return std::isnan(d) ? fallback : run.integer(BigInt::truncate(d));
}

Val filter_float(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("float", args, {"default"}, &b)) return Val();
  if (v.is(Kind::undefined)) return run.fail_undefined(v);
  if (v.is_number()) return Val::of(to_double(v));
  double d = 0;
  if (v.is(Kind::string) && !run.step(v.text().size())) return Val();
  if (v.is(Kind::string) && parse_real(v.text(), &d)) return Val::of(d);
  return b.has[0] ? b.value[0] : Val::of(0.0);
}

Val filter_abs(Run& run, const Val& v, Args&) {
  if (v.is(Kind::undefined)) return run.fail_undefined(v);
  if (v.is(Kind::real)) return Val::of(std::fabs(v.real()));
  if (!v.is_number())
    return run.fail("TypeError", mm2::join("bad operand type for abs(): '", type_name(v), "'"));
  BigInt n = to_big(v);
  n.negative = false;
  return run.integer(std::move(n));
}

Val filter_round(Run& run, const Val& v, Args& args) {
  Bound b;
  int64_t precision = 0;
  if (!run.bind("round", args, {"precision", "method"}, &b) ||
      (b.has[0] && !run.want_int(b.value[0], &precision)))
    return Val();
  const std::string method = b.has[1] ? run.to_str(b.value[1]) : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    return run.fail("FilterArgumentError", "method must be common, ceil or floor");
  }
  if (v.is(Kind::undefined)) return run.fail_undefined(v);
  if (!v.is_number())
    return run.fail("TypeError",
                    mm2::join("type ", type_name(v), " doesn't define __round__ method"));
  precision = std::min<int64_t>(std::max<int64_t>(precision, -400), 400);
  if (method != "common") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double d = to_double(v) * scale;
    return Val::of((method == "ceil" ? std::ceil(d) : std::floor(d)) / scale);
  }
  if (!v.is(Kind::real)) {
    if (precision >= 0) return v.is(Kind::boolean) ? Val::of(v.integer()) : v;
    BigInt scale = BigInt::of(1);
    for (int64_t i = 0; i < -precision; ++i) scale = multiply(scale, BigInt::of(10));
    BigInt q;
    BigInt r;
    divide(to_big(v), scale, q, r);
    const int c = compare(add(r, r), scale);
    if (c > 0 || (c == 0 && !q.zero() && (q.limbs[0] & 1) != 0)) q = add(q, BigInt::of(1));
    return run.integer(multiply(q, scale));
  }
  const double d = v.real();
  if (!std::isfinite(d)) return v;
  if (precision >= 0) {
    const std::string text = absl::StrFormat("%.*f", static_cast<int>(precision), d);
    double rounded = 0;
    absl::from_chars(text.data(), text.data() + text.size(), rounded);
    return Val::of(rounded);
  }
  const double scale = std::pow(10.0, static_cast<double>(-precision));
  if (std::isinf(scale)) return Val::of(std::copysign(0.0, d));
  return Val::of(std::nearbyint(d / scale) * scale);
}

Val filter_sum(Run& run, const Val& v, Args& args) {
  Bound b;
  Vals items(run.heap());
  if (!run.bind("sum", args, {"attribute", "start"}, &b) || !run.iterate(v, &items)) return Val();
  Val total = b.has[1] ? b.value[1] : Val::of(int64_t{0});
  for (const Val& item : items) {
    const Val part = b.has[0] && !b.value[0].is(Kind::none) ? run.by_path(item, b.value[0]) : item;
    if (run.failed()) return Val();
    total = run.binary("+", total, part);
    if (run.failed()) return Val();
  }
  return total;
}

namespace {

Val extreme(Run& run, const Val& v, Args& args, int wanted) {
  Bound b;
  Vals items(run.heap());
  if (!run.bind("min", args, {"case_sensitive", "attribute"}, &b) || !run.iterate(v, &items))
    return Val();
  if (items.empty()) return run.undefined("No aggregated item, sequence was empty.");
  Val best;
  Val best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    Val key = b.has[1] && !b.value[1].is(Kind::none) ? run.by_path(items[i], b.value[1]) : items[i];
    if (!(b.has[0] && truthy(b.value[0]))) key = lowered(run, key);
    const bool better = i == 0 || (!run.failed() && run.order(key, best_key) == wanted);
    if (run.failed()) return Val();
    if (!better) continue;
    best = items[i];
    best_key = std::move(key);
  }
  return best;
}

}  // namespace

Val filter_min(Run& run, const Val& v, Args& args) {
  return extreme(run, v, args, -1);
}

Val filter_max(Run& run, const Val& v, Args& args) {
  return extreme(run, v, args, 1);
}

Val filter_filesizeformat(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("filesizeformat", args, {"binary"}, &b)) return Val();
  if (v.is(Kind::undefined)) return run.fail_undefined(v);
  double bytes = 0;
  if (v.is_number()) {
    bytes = to_double(v);
  } else if (!v.is(Kind::string) || !parse_real(v.text(), &bytes)) {
    return run.fail("ValueError", "could not convert to float");
  }
  const bool binary = b.has[0] && truthy(b.value[0]);
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return run.str("1 Byte");
  if (bytes < base) return run.str(absl::StrFormat("%d Bytes", static_cast<int64_t>(bytes)));
  constexpr const char* kUnits = "kMGTPEZY";
  double unit = base;
  for (int i = 0; i < 8; ++i) {
    unit *= base;
    if (bytes < unit || i == 7) {
      const char letter =
          binary ? absl::ascii_toupper(static_cast<unsigned char>(kUnits[i])) : kUnits[i];
      return run.str(
          absl::StrFormat("%.1f %c%s", base * bytes / unit, letter, binary ? "iB" : "B"));
    }
  }
  return Val();
}

}  // namespace mm2::chat::jinja
