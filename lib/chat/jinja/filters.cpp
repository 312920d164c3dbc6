// `x|name(args)`.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "base/join.h"
#include "chat/jinja/run.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

Val lowered(Run& run, const Val& v) {
  return v.is(Kind::string) ? run.str(lower(v.text())) : v;
}

// A stable sort by `keys`, reversed as Python does it. False when two have no order.
bool sort_by(Run& run, std::vector<Val>& items, const std::vector<Val>& keys, bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  if (reverse) std::reverse(order.begin(), order.end());
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return !run.failed() && run.step() && run.order(keys[a], keys[b]) == -1;
  });
  if (reverse) std::reverse(order.begin(), order.end());
  std::vector<Val> out;
  for (const size_t i : order) out.push_back(items[i]);
  items = std::move(out);
  return !run.failed();
}

Val generator(Run& run, std::vector<Val> items) {
  return run.list(std::move(items), Kind::generator);
}

Val text_of(Run& run, const Val& v) {
  return v.is(Kind::string) ? v : run.str(run.to_str(v));
}

using Filter = Val (*)(Run&, const Val&, Args&);

Val filter_tojson(Run& run, const Val& v, Args& args) {
  return run.to_json(v, args);
}

Val filter_default(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("default", args, {"default_value", "boolean"}, &b)) return Val();
  if (v.is(Kind::undefined) || (b.has[1] && truthy(b.value[1]) && !truthy(v))) {
    return b.has[0] ? b.value[0] : run.str("");
  }
  return v;
}

Val filter_length(Run& run, const Val& v, Args& args) {
  Bound b;
  return run.bind("length", args, {}, &b) ? Val::of(run.length(v)) : Val();
}

Val filter_trim(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("trim", args, {"chars"}, &b)) return Val();
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  std::string_view out = t.text();
  if (b.has[0] && !b.value[0].is(Kind::none)) {
    if (!run.want_string(b.value[0], "chars")) return Val();
    out = strip_right(strip_left(out, b.value[0].text()), b.value[0].text());
  } else {
    out = strip_right(strip_left(out));
  }
  Captured cut{std::string(out), {}};
  const auto begin = static_cast<size_t>(out.data() - t.text().data());
  for (const Span& s : t.as<Str>().literal) {
    const size_t from = std::max(s.begin, begin);
    const size_t to = std::min(s.end, begin + out.size());
    if (from < to) add_span(cut.literal, from - begin, to - begin);
  }
  return run.str(std::move(cut));
}

Val filter_case(Run& run, const Val& v, Args& args, std::string (*change)(std::string_view)) {
  Bound b;
  if (!run.bind("filter", args, {}, &b)) return Val();
  const Val t = text_of(run, v);
  return run.failed() ? Val() : run.str(change(t.text()));
}
Val filter_upper(Run& run, const Val& v, Args& args) {
  return filter_case(run, v, args, upper);
}
Val filter_lower(Run& run, const Val& v, Args& args) {
  return filter_case(run, v, args, lower);
}
Val filter_capitalize(Run& run, const Val& v, Args& args) {
  return filter_case(run, v, args, capitalize);
}
Val filter_title(Run& run, const Val& v, Args& args) {
  // Words begin after white space, - and opening brackets, not after every other character.
  return filter_case(run, v, args, [](std::string_view text) {
    std::string out;
    std::string word;
    const auto flush = [&] {
      out += capitalize(word);
      word.clear();
    };
    for (const std::string_view c : code_points(text)) {
      size_t at = 0;
      if (is_python_space(next_code_point(c, at)) || c == "-" || c == "(" || c == "{" || c == "[" ||
          c == "<") {
        flush();
        out += c;
      } else {
        word += c;
      }
    }
    flush();
    return out;
  });
}

Val filter_string(Run& run, const Val& v, Args&) {
  return text_of(run, v);
}
Val filter_safe(Run& run, const Val& v, Args&) {
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  const Val out = run.str(Captured{t.text(), t.as<Str>().literal});
  if (!run.failed()) out.as<Str>().markup = true;
  return out;
}
Val filter_forceescape(Run& run, const Val& v, Args&) {
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  const Val out = run.str(escape_html(t.text()));
  if (!run.failed()) out.as<Str>().markup = true;
  return out;
}
Val filter_escape(Run& run, const Val& v, Args& args) {
  if (v.is(Kind::string) && v.as<Str>().markup) return v;
  return filter_forceescape(run, v, args);
}

Val filter_join(Run& run, const Val& v, Args& args) {
  Bound b;
  std::vector<Val> items;
  if (!run.bind("join", args, {"d", "attribute"}, &b) || !run.iterate(v, &items)) return Val();
  std::vector<Val> parts;
  for (const Val& item : items) {
    if (!parts.empty() && b.has[0] && !run.add(parts, text_of(run, b.value[0]))) return Val();
    const bool by = b.has[1] && !b.value[1].is(Kind::none);
    if (!run.add(parts, by ? run.by_path(item, b.value[1]) : item) || run.failed()) return Val();
  }
  // concat() escapes only when something is marked safe; without autoescape join never does.
  Captured out;
  for (const Val& part : parts) {
    const size_t begin = out.text.size();
    run.append_str(out.text, part);
    if (run.failed() || !run.room_for(out.text.size()) ||
        !run.step(1 + (out.text.size() - begin) / 256))
      return Val();
    if (!part.is(Kind::string)) continue;
    for (const Span& s : part.as<Str>().literal)
      add_span(out.literal, begin + s.begin, begin + s.end);
  }
  return run.str(std::move(out));
}

// The rest of the arguments after the first `n`.
Args rest(const Args& args, size_t n) {
  Args out;
  for (size_t i = n; i < args.pos.size(); ++i) out.pos.push_back(args.pos[i]);
  out.kw = args.kw;
  return out;
}

// attribute= with default=: the default stands in at every step of the path.
Val with_default(Run& run, const Val& item, const Bound& b) {
  const bool has = b.has[1] && !b.value[1].is(Kind::none);
  if (!has || !b.value[0].is(Kind::string)) {
    const Val v = run.by_path(item, b.value[0]);
    return has && !run.failed() && v.is(Kind::undefined) ? b.value[1] : v;
  }
  Val at = item;
  for (const std::string_view part : split_at(b.value[0].text(), '.')) {
    at = run.by_path(at, run.str(std::string(part)));
    if (run.failed()) return Val();
    if (at.is(Kind::undefined)) at = b.value[1];
  }
  return at;
}

Val filter_map(Run& run, const Val& v, Args& args) {
  if (v.is(Kind::undefined) || (!truthy(v) && !v.is_number())) return generator(run, {});
  std::vector<Val> items;
  std::vector<Val> out;
  const bool by_attribute = args.pos.empty() && !args.kw.empty();
  Bound b;
  if (by_attribute) {
    if (!run.bind("map", args, {"attribute", "default"}, &b, 1)) return Val();
  } else if (args.pos.empty()) {
    return run.fail("FilterArgumentError", "map requires a filter argument");
  } else if (!run.want_string(args.pos[0], "filter name")) {
    return Val();
  }
  if (!run.iterate(v, &items)) return Val();
  for (const Val& item : items) {
    Val mapped;
    if (by_attribute) {
      mapped = with_default(run, item, b);
    } else {
      Args more = rest(args, 1);
      mapped = run.call_filter(args.pos[0].text(), item, more);
    }
    if (run.failed() || !run.add(out, std::move(mapped))) return Val();
  }
  return generator(run, std::move(out));
}

Val pick(Run& run, const Val& v, Args& args, bool by_attribute, bool keep) {
  if (v.is(Kind::undefined) || (!truthy(v) && !v.is_number())) return generator(run, {});
  std::vector<Val> items;
  std::vector<Val> out;
  const size_t first = by_attribute ? 1 : 0;
  if (by_attribute && args.pos.empty()) {
    return run.fail("FilterArgumentError", "Missing parameter for attribute name");
  }
  if (!run.iterate(v, &items)) return Val();
  const bool tested = args.pos.size() > first;
  if (tested && !run.want_string(args.pos[first], "test name")) return Val();
  for (const Val& item : items) {
    const Val of = by_attribute ? run.by_path(item, args.pos[0]) : item;
    if (run.failed()) return Val();
    bool taken = truthy(of);
    if (tested) {
      Args more = rest(args, first + 1);
      taken = run.call_test(args.pos[first].text(), of, more);
    }
    if (run.failed()) return Val();
    if (taken == keep && !run.add(out, item)) return Val();
  }
  return generator(run, std::move(out));
}
Val filter_select(Run& run, const Val& v, Args& args) {
  return pick(run, v, args, false, true);
}
Val filter_reject(Run& run, const Val& v, Args& args) {
  return pick(run, v, args, false, false);
}
Val filter_selectattr(Run& run, const Val& v, Args& args) {
  return pick(run, v, args, true, true);
}
Val filter_rejectattr(Run& run, const Val& v, Args& args) {
  return pick(run, v, args, true, false);
}

Val filter_list(Run& run, const Val& v, Args& args) {
  Bound b;
  std::vector<Val> items;
  if (!run.bind("list", args, {}, &b) || !run.iterate(v, &items)) return Val();
  return run.list(std::move(items));
}

Val filter_first(Run& run, const Val& v, Args&) {
  if (v.is(Kind::generator)) {
    List& g = v.as<List>();
    if (g.at < g.items.size()) return g.items[g.at++];
  }
  std::vector<Val> items;
  if (!run.iterate(v, &items)) return Val();
  return items.empty() ? run.undefined("No first item, sequence was empty.") : items.front();
}
Val filter_last(Run& run, const Val& v, Args&) {
  if (v.is(Kind::generator)) return run.fail("TypeError", "'generator' object is not reversible");
  std::vector<Val> items;
  if (!run.iterate(v, &items)) return Val();
  return items.empty() ? run.undefined("No last item, sequence was empty.") : items.back();
}
Val filter_random(Run& run, const Val& v, Args& args) {
  return filter_first(run, v, args);
}

Val filter_reverse(Run& run, const Val& v, Args&) {
  std::vector<Val> items;
  if (v.is_number() || v.is(Kind::none))
    return run.fail("FilterArgumentError", "argument must be iterable");
  if (!run.iterate(v, &items)) return Val();
  std::reverse(items.begin(), items.end());
  if (!v.is(Kind::string)) return generator(run, std::move(items));
  std::string out;
  for (const Val& c : items) out += c.text();
  return run.str(std::move(out));
}

Val filter_sort(Run& run, const Val& v, Args& args) {
  Bound b;
  std::vector<Val> items;
  if (!run.bind("sort", args, {"reverse", "case_sensitive", "attribute"}, &b) ||
      !run.iterate(v, &items))
    return Val();
  const bool sensitive = b.has[1] && truthy(b.value[1]);
  const bool by = b.has[2] && !b.value[2].is(Kind::none);
  std::vector<Val> keys;
  for (const Val& item : items) {
    Val key = item;
    if (by && b.value[2].is(Kind::string)) {
      std::vector<Val> parts;
      for (const std::string_view path : split_at(b.value[2].text(), ',')) {
        parts.push_back(run.by_path(item, run.str(std::string(path))));
        if (run.failed()) return Val();
        if (!sensitive) parts.back() = lowered(run, parts.back());
      }
      key = run.list(std::move(parts));
    } else {
      if (by) key = run.by_path(item, b.value[2]);
      if (!sensitive) key = lowered(run, key);
    }
    if (run.failed()) return Val();
    keys.push_back(std::move(key));
  }
  if (!sort_by(run, items, keys, b.has[0] && truthy(b.value[0]))) return Val();
  return run.list(std::move(items));
}

Val filter_unique(Run& run, const Val& v, Args& args) {
  Bound b;
  std::vector<Val> items;
  if (!run.bind("unique", args, {"case_sensitive", "attribute"}, &b) || !run.iterate(v, &items))
    return Val();
  std::vector<std::pair<Val, Val>> seen;
  const Val holder = run.dict({});
  if (run.failed()) return Val();
  std::vector<Val> out;
  for (const Val& item : items) {
    Val key = b.has[1] && !b.value[1].is(Kind::none) ? run.by_path(item, b.value[1]) : item;
    if (!(b.has[0] && truthy(b.value[0]))) key = lowered(run, key);
    if (run.failed()) return Val();
    if (!hashable(key))
      return run.fail("TypeError", mm2::join("unhashable type: '", type_name(key), "'"));
    if (holder.as<Dict>().find(key) != nullptr) continue;
    if (!run.room_for(64 * (out.size() + 1))) return Val();
    holder.as<Dict>().set(key, Val::none());
    if (!run.add(out, item)) return Val();
  }
  return generator(run, std::move(out));
}

Val filter_items(Run& run, const Val& v, Args&) {
  if (v.is(Kind::undefined)) return generator(run, {});
  if (!v.is(Kind::dict)) return run.fail("TypeError", "Can only get item pairs from a mapping.");
  std::vector<Val> out;
  for (const auto& [key, value] : v.as<Dict>().items) {
    if (!run.add(out, run.list({key, value}, Kind::tuple))) return Val();
  }
  return generator(run, std::move(out));
}

Val filter_dictsort(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("dictsort", args, {"case_sensitive", "by", "reverse"}, &b)) return Val();
  size_t by = 0;
  if (b.has[1]) {
    const std::string name = run.to_str(b.value[1]);
    if (name != "key" && name != "value") {
      return run.fail("FilterArgumentError", "You can only sort by either \"key\" or \"value\"");
    }
    by = name == "value";
  }
  if (v.is(Kind::undefined)) return run.fail_undefined(v);
  if (!v.is(Kind::dict))
    return run.fail("AttributeError",
                    mm2::join("'", type_name(v), "' object has no attribute 'items'"));
  std::vector<Val> items;
  std::vector<Val> keys;
  for (const auto& [key, value] : v.as<Dict>().items) {
    items.push_back(run.list({key, value}, Kind::tuple));
    const Val& sorted = by == 0 ? key : value;
    keys.push_back(b.has[0] && truthy(b.value[0]) ? sorted : lowered(run, sorted));
    if (run.failed()) return Val();
  }
  if (!sort_by(run, items, keys, b.has[2] && truthy(b.value[2]))) return Val();
  return run.list(std::move(items));
}

Val filter_replace(Run& run, const Val& v, Args& args) {
  Bound b;
  int64_t count = -1;
  if (!run.bind("replace", args, {"old", "new", "count"}, &b, 2)) return Val();
  if (b.has[2] && !b.value[2].is(Kind::none) && !run.want_int(b.value[2], &count)) return Val();
  const Val t = text_of(run, v);
  const Val from = text_of(run, b.value[0]);
  const Val to = text_of(run, b.value[1]);
  if (run.failed()) return Val();
  const uint64_t growth =
      from.text().empty() ? t.text().size() + 1 : t.text().size() / from.text().size();
  if (to.text().size() > from.text().size() &&
      !run.room_for(growth * to.text().size() + t.text().size()))
    return Val();
  return run.str(replace(t.text(), from.text(), to.text(), count));
}

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
  char* end = nullptr;
  *out = std::strtod(plain.c_str(), &end);
  return *end == '\0';
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
    char buffer[800];
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(precision), d);
    return Val::of(std::strtod(buffer, nullptr));
  }
  const double scale = std::pow(10.0, static_cast<double>(-precision));
  if (std::isinf(scale)) return Val::of(std::copysign(0.0, d));
  return Val::of(std::nearbyint(d / scale) * scale);
}

Val filter_sum(Run& run, const Val& v, Args& args) {
  Bound b;
  std::vector<Val> items;
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

Val extreme(Run& run, const Val& v, Args& args, int wanted) {
  Bound b;
  std::vector<Val> items;
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
Val filter_min(Run& run, const Val& v, Args& args) {
  return extreme(run, v, args, -1);
}
Val filter_max(Run& run, const Val& v, Args& args) {
  return extreme(run, v, args, 1);
}

Val filter_indent(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("indent", args, {"width", "first", "blank"}, &b)) return Val();
  std::string by(4, ' ');
  if (b.has[0] && b.value[0].is(Kind::string)) {
    by = b.value[0].text();
  } else if (b.has[0]) {
    int64_t n = 0;
    if (!run.want_int(b.value[0], &n) || (n > 0 && !run.room_for(static_cast<uint64_t>(n))))
      return Val();
    by.assign(static_cast<size_t>(std::max<int64_t>(n, 0)), ' ');
  }
  if (v.is(Kind::undefined)) return run.fail_undefined(v);
  if (!v.is(Kind::string))
    return run.fail("TypeError", mm2::join("unsupported operand type(s) for +=: '", type_name(v),
                                           "' and 'str'"));
  const bool blank = b.has[2] && truthy(b.value[2]);
  Args none;
  const Val method =
      Val::of(run.make<Method>(0, run.heap(), run.str(v.text() + "\n"), "splitlines"));
  const Val lines = run.failed() ? Val() : run.call_method(method.as<Method>(), none);
  if (run.failed()) return Val();
  std::string out = b.has[1] && truthy(b.value[1]) ? by : "";
  bool first = true;
  for (const Val& line : lines.as<List>().items) {
    if (!first) out += '\n';
    if (!first && (blank || !line.text().empty())) out += by;
    first = false;
    out += line.text();
    if (!run.room_for(out.size()) || !run.step(1 + by.size() / 256)) return Val();
  }
  return run.str(std::move(out));
}

Val filter_truncate(Run& run, const Val& v, Args& args) {
  Bound b;
  int64_t length = 255;
  int64_t leeway = 5;
  if (!run.bind("truncate", args, {"length", "killwords", "end", "leeway"}, &b)) return Val();
  if (b.has[0] && !run.want_int(b.value[0], &length)) return Val();
  if (b.has[3] && !b.value[3].is(Kind::none) && !run.want_int(b.value[3], &leeway)) return Val();
  const std::string end = b.has[2] ? run.to_str(b.value[2]) : "...";
  const auto end_length = static_cast<int64_t>(length_of(end));
  if (length < end_length || leeway < 0)
    return run.fail("AssertionError",
                    mm2::join("expected length >= ", end_length, ", got ", length));
  const int64_t n = run.length(v);
  if (run.failed() || n <= length + leeway) return v;
  if (!run.want_string(v, "value")) return Val();
  std::string cut =
      v.text().substr(0, offset_of(v.text(), static_cast<size_t>(length - end_length)));
  if (!(b.has[1] && truthy(b.value[1]))) cut = cut.substr(0, cut.rfind(' '));
  return run.str(cut + end);
}

Val filter_format(Run& run, const Val& v, Args& args) {
  if (!args.pos.empty() && !args.kw.empty())
    return run.fail("FilterArgumentError",
                    "can't handle positional and keyword arguments at the same time");
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  if (args.kw.empty()) {
    const Val items = run.list(args.pos, Kind::tuple);
    return run.failed() ? Val() : run.percent_format(t.text(), items);
  }
  std::vector<std::pair<Val, Val>> items;
  for (const auto& [key, value] : args.kw) items.emplace_back(run.str(key), value);
  const Val map = run.dict(std::move(items));
  return run.failed() ? Val() : run.percent_format(t.text(), map);
}

Val filter_attr(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("attr", args, {"name"}, &b, 1)) return Val();
  if (v.is(Kind::undefined)) return run.fail_undefined(v);
  const std::string name = run.to_str(b.value[0]);
  if (v.is(Kind::dict) && member_of(v, name) == Member::none) {
    return run.undefined(mm2::join("'dict object' has no attribute '", name, "'"));
  }
  return run.get_attribute(v, name);
}

Val filter_batch(Run& run, const Val& v, Args& args) {
  Bound b;
  int64_t count = 0;
  std::vector<Val> items;
  if (!run.bind("batch", args, {"linecount", "fill_with"}, &b, 1) ||
      !run.want_int(b.value[0], &count) || !run.iterate(v, &items))
    return Val();
  if (count < 1) count = 1;
  std::vector<Val> out;
  for (size_t at = 0; at < items.size();) {
    std::vector<Val> row;
    for (int64_t i = 0; i < count && at < items.size(); ++i) row.push_back(items[at++]);
    while (b.has[1] && !b.value[1].is(Kind::none) && static_cast<int64_t>(row.size()) < count) {
      if (!run.add(row, b.value[1])) return Val();
    }
    if (!run.add(out, run.list(std::move(row)))) return Val();
  }
  return generator(run, std::move(out));
}

Val filter_slice(Run& run, const Val& v, Args& args) {
  Bound b;
  int64_t slices = 0;
  std::vector<Val> items;
  if (!run.bind("slice", args, {"slices", "fill_with"}, &b, 1) ||
      !run.want_int(b.value[0], &slices) || !run.iterate(v, &items))
    return Val();
  if (slices == 0) return run.fail("ZeroDivisionError", "integer division or modulo by zero");
  std::vector<Val> out;
  const int64_t n = static_cast<int64_t>(items.size());
  const int64_t extra = slices > 0 ? n % slices : 0;
  int64_t at = 0;
  for (int64_t s = 0; s < slices; ++s) {
    std::vector<Val> row;
    for (int64_t i = 0; i < n / slices + (s < extra); ++i)
      row.push_back(items[static_cast<size_t>(at++)]);
    if (b.has[1] && !b.value[1].is(Kind::none) && s >= extra && extra > 0)
      row.push_back(b.value[1]);
    if (!run.add(out, run.list(std::move(row)))) return Val();
  }
  return generator(run, std::move(out));
}

Val filter_center(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("center", args, {"width"}, &b)) return Val();
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  Args width;
  width.pos.push_back(b.has[0] ? b.value[0] : Val::of(int64_t{80}));
  const Val method = Val::of(run.make<Method>(0, run.heap(), t, "center"));
  return run.failed() ? Val() : run.call_method(method.as<Method>(), width);
}

Val filter_wordwrap(Run& run, const Val& v, Args& args) {
  Bound b;
  int64_t width = 79;
  if (!run.bind("wordwrap", args, {"width", "break_long_words", "wrapstring", "break_on_hyphens"},
                &b) ||
      (b.has[0] && !run.want_int(b.value[0], &width)))
    return Val();
  if (!run.want_string(v, "value")) return Val();
  if (width <= 0)
    return run.fail("ValueError", mm2::join("invalid width ", width, " (must be > 0)"));
  const bool cut = !b.has[1] || truthy(b.value[1]);
  const std::string join = b.has[2] && !b.value[2].is(Kind::none) ? run.to_str(b.value[2]) : "\n";
  const auto most = static_cast<size_t>(width);
  std::string out;
  bool first_line = true;
  const auto put = [&](std::string_view line) {
    if (!first_line) out += join;
    first_line = false;
    out += line;
  };
  for (const std::string_view paragraph : split_at(v.text(), '\n')) {
    std::string line;
    bool any = false;
    for (std::string_view word : split_at(paragraph, ' ')) {
      if (!run.step(1 + word.size() / 16)) return Val();
      if (any && length_of(line) + 1 + length_of(word) <= most) {
        line += mm2::join(" ", word);
        continue;
      }
      if (any) put(line);
      while (cut && length_of(word) > most) {
        const size_t at = offset_of(word, most);
        put(word.substr(0, at));
        word.remove_prefix(at);
      }
      line = std::string(word);
      any = true;
    }
    put(line);
  }
  return run.str(std::move(out));
}

Val filter_striptags(Run& run, const Val& v, Args&) {
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  std::string plain;
  const std::string& text = t.text();
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find('<', at);
    const bool comment = open != std::string::npos && text.compare(open, 4, "<!--") == 0;
    const size_t close = open == std::string::npos ? open
                         : comment                 ? text.find("-->", open)
                                                   : text.find('>', open);
    if (close == std::string::npos) {
      plain += text.substr(at);
      break;
    }
    plain += text.substr(at, open - at);
    at = close + (comment ? 3 : 1);
  }
  std::string out;
  bool gap = false;
  for (const std::string_view c : code_points(plain)) {
    size_t at = 0;
    if (is_python_space(next_code_point(c, at))) {
      gap = !out.empty();
      continue;
    }
    if (gap) out += ' ';
    gap = false;
    out += c;
  }
  for (const auto& [from, to] :
       {std::pair("&lt;", "<"), std::pair("&gt;", ">"), std::pair("&#39;", "'"),
        std::pair("&#34;", "\""), std::pair("&quot;", "\""), std::pair("&amp;", "&")}) {
    out = replace(out, from, to, -1);
  }
  return run.str(std::move(out));
}

std::string quoted(std::string_view text, bool plus) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(c) ||
        std::string_view(plus ? "_.-~" : "_.-~/").find(c) != std::string_view::npos) {
      out += c;
    } else if (plus && c == ' ') {
      out += '+';
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

Val filter_urlencode(Run& run, const Val& v, Args&) {
  if (v.is(Kind::dict)) {
    std::string out;
    for (const auto& [key, value] : v.as<Dict>().items) {
      out += mm2::join(out.empty() ? "" : "&", quoted(run.to_str(key), true), "=",
                       quoted(run.to_str(value), true));
    }
    return run.str(std::move(out));
  }
  return run.str(quoted(run.to_str(v), false));
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

Val filter_groupby(Run& run, const Val& v, Args& args) {
  Bound b;
  std::vector<Val> items;
  if (!run.bind("groupby", args, {"attribute", "default", "case_sensitive"}, &b, 1) ||
      !run.iterate(v, &items))
    return Val();
  const bool sensitive = b.has[2] && truthy(b.value[2]);
  std::vector<Val> keys;
  for (const Val& item : items) {
    Val key = run.by_path(item, b.value[0]);
    if (run.failed()) return Val();
    if (key.is(Kind::undefined) && b.has[1] && !b.value[1].is(Kind::none)) key = b.value[1];
    if (key.is(Kind::undefined) && items.size() > 1) return run.fail_undefined(key);
    keys.push_back(sensitive ? key : lowered(run, key));
  }
  std::vector<Val> order;
  for (size_t i = 0; i < items.size(); ++i) order.push_back(Val::of(static_cast<int64_t>(i)));
  if (!sort_by(run, order, keys, false)) return Val();
  std::vector<Val> out;
  for (size_t i = 0; i < order.size();) {
    const auto first = static_cast<size_t>(order[i].integer());
    std::vector<Val> group;
    size_t k = i;
    while (k < order.size() && equal(keys[static_cast<size_t>(order[k].integer())], keys[first]))
      group.push_back(items[static_cast<size_t>(order[k++].integer())]);
    if (k == i) ++k;  // NaN equals nothing
    const Val shown = run.by_path(items[first], b.value[0]);
    if (!run.add(out, run.list({shown.is(Kind::undefined) ? keys[first] : shown,
                                run.list(std::move(group))},
                               Kind::tuple)))
      return Val();
    i = k;
  }
  return run.list(std::move(out));
}

Val filter_pprint(Run& run, const Val& v, Args&) {
  std::string out;
  run.append_repr(out, v);
  return run.failed() ? Val() : run.str(std::move(out));
}

Val filter_wordcount(Run& run, const Val& v, Args&) {
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  int64_t n = 0;
  bool inside = false;
  for (size_t at = 0; at < t.text().size();) {
    const char32_t c = next_code_point(t.text(), at);
    const bool word = c == '_' || is_letter(c) || is_digit(c);
    n += word && !inside;
    inside = word;
  }
  return Val::of(n);
}

struct Entry {
  std::string_view name;
  Filter filter;
};
constexpr Entry kFilters[] = {{"abs", filter_abs},
                              {"attr", filter_attr},
                              {"batch", filter_batch},
                              {"capitalize", filter_capitalize},
                              {"center", filter_center},
                              {"count", filter_length},
                              {"d", filter_default},
                              {"default", filter_default},
                              {"dictsort", filter_dictsort},
                              {"e", filter_escape},
                              {"escape", filter_escape},
                              {"filesizeformat", filter_filesizeformat},
                              {"first", filter_first},
                              {"float", filter_float},
                              {"forceescape", filter_forceescape},
                              {"format", filter_format},
                              {"groupby", filter_groupby},
                              {"indent", filter_indent},
                              {"int", filter_int},
                              {"items", filter_items},
                              {"join", filter_join},
                              {"last", filter_last},
                              {"length", filter_length},
                              {"list", filter_list},
                              {"lower", filter_lower},
                              {"map", filter_map},
                              {"max", filter_max},
                              {"min", filter_min},
                              {"pprint", filter_pprint},
                              {"random", filter_random},
                              {"reject", filter_reject},
                              {"rejectattr", filter_rejectattr},
                              {"replace", filter_replace},
                              {"reverse", filter_reverse},
                              {"round", filter_round},
                              {"safe", filter_safe},
                              {"select", filter_select},
                              {"selectattr", filter_selectattr},
                              {"slice", filter_slice},
                              {"sort", filter_sort},
                              {"string", filter_string},
                              {"striptags", filter_striptags},
                              {"sum", filter_sum},
                              {"title", filter_title},
                              {"tojson", filter_tojson},
                              {"trim", filter_trim},
                              {"truncate", filter_truncate},
                              {"unique", filter_unique},
                              {"upper", filter_upper},
                              {"urlencode", filter_urlencode},
                              {"wordcount", filter_wordcount},
                              {"wordwrap", filter_wordwrap}};

const Entry* find_filter(std::string_view name) {
  for (const Entry& entry : kFilters) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace

bool is_filter(std::string_view name) {
  return find_filter(name) != nullptr;
}

Val Run::call_filter(const std::string& name, const Val& value, Args& args) {
  const Entry* entry = find_filter(name);
  if (entry == nullptr)
    return fail("TemplateRuntimeError", mm2::join("No filter named '", name, "'."));
  return entry->filter(*this, value, args);
}

}  // namespace mm2::chat::jinja
