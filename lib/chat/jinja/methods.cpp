// Methods of strings, lists, dicts, numbers, loops.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "base/join.h"
#include "chat/jinja/case.h"
#include "chat/jinja/run.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

// An optional [start, end) of code points, as find, count and startswith take it, in bytes.
struct Window {
  size_t begin = 0;
  size_t end = 0;
  bool valid = true;
};

bool window(Run& run, const std::string& text, const Bound& b, size_t from, Window* out) {
  out->end = text.size();
  if (!b.has[from] && !b.has[from + 1]) return true;
  const auto n = static_cast<int64_t>(length_of(text));
  int64_t start = 0;
  int64_t stop = n;
  if (b.has[from] && !b.value[from].is(Kind::none) && !run.want_int(b.value[from], &start))
    return false;
  if (b.has[from + 1] && !b.value[from + 1].is(Kind::none) &&
      !run.want_int(b.value[from + 1], &stop))
    return false;
  if (start < 0) start = std::max<int64_t>(0, start + n);
  if (stop < 0) stop = std::max<int64_t>(0, stop + n);
  stop = std::min(stop, n);
  out->valid = start <= stop && start <= n;
  if (!out->valid) return true;
  out->begin = offset_of(text, static_cast<size_t>(start));
  out->end = offset_of(text, static_cast<size_t>(stop));
  return true;
}

// These hand the parts to `put`, which says whether to go on; the last first when from the right.
template <typename Put>
bool split_space(std::string_view text, int64_t most, bool from_right, const Put& put) {
  text = from_right ? strip_right(text) : strip_left(text);
  while (!text.empty()) {
    if (most == 0) return put(strip_right(text));
    size_t at = from_right ? text.size() : 0;
    while (from_right ? at > 0 : at < text.size()) {
      size_t next = from_right ? previous(text, at) : at;
      const size_t begin = next;
      if (is_python_space(next_code_point(text, next))) break;
      at = from_right ? begin : next;
    }
    if (!put(from_right ? text.substr(at) : text.substr(0, at))) return false;
    text = from_right ? strip_right(text.substr(0, at)) : strip_left(text.substr(at));
    if (most > 0) --most;
  }
  return true;
}

template <typename Put>
bool split_by(std::string_view text, std::string_view by, int64_t most, bool from_right,
              const Put& put) {
  for (; most != 0; --most) {
    const size_t at = from_right ? text.rfind(by) : text.find(by);
    if (at == std::string_view::npos) break;
    if (!put(from_right ? text.substr(at + by.size()) : text.substr(0, at))) return false;
    text = from_right ? text.substr(0, at) : text.substr(at + by.size());
  }
  return put(text);
}

template <typename F>
bool all_of(std::string_view text, F f) {
  if (text.empty()) return false;
  for (size_t at = 0; at < text.size();) {
    if (!f(next_code_point(text, at))) return false;
  }
  return true;
}

}  // namespace

Val Run::string_method(const Method& method, Args& args) {
  const std::string& text = method.self.text();
  const std::string& name = method.name;
  if (!step(1 + text.size() / 64)) return Val();
  Bound b;
  Vals parts(heap_);
  const auto put = [&](std::string_view part) { return add(parts, str(std::string(part))); };
  const auto three = [&](std::string_view a, std::string_view m, std::string_view z) {
    return put(a) && put(m) && put(z) ? list(std::move(parts), Kind::tuple) : Val();
  };
  // A method that looks at every character, and makes a text at most so many times as long.
  const auto affords = [&](uint64_t times) {
    return step(text.size()) && room_for(times * text.size());
  };
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    if (!bind(name.c_str(), args, {"chars"}, &b)) return Val();
    const bool left = name != "rstrip";
    const bool right = name != "lstrip";
    std::string_view v = text;
    if (b.has[0] && !b.value[0].is(Kind::none)) {
      if (b.value[0].is(Kind::undefined)) return fail("TypeError", "strip arg must be None or str");
      if (!want_string(b.value[0], "strip arg")) return Val();
      if (left) v = strip_left(v, b.value[0].text());
      if (right) v = strip_right(v, b.value[0].text());
    } else {
      if (left) v = strip_left(v);
      if (right) v = strip_right(v);
    }
    return str(std::string(v));
  }
  if (name == "split" || name == "rsplit") {
    int64_t most = -1;
    if (!bind(name.c_str(), args, {"sep", "maxsplit"}, &b) ||
        (b.has[1] && !want_int(b.value[1], &most)))
      return Val();
    const bool right = name == "rsplit";
    const bool by_space = !b.has[0] || b.value[0].is(Kind::none);
    if (!by_space && !b.value[0].is(Kind::string)) return fail("TypeError", "must be str or None");
    if (!by_space && b.value[0].text().empty()) return fail("ValueError", "empty separator");
    if (!step(text.size() / (by_space ? 2 : 16))) return Val();
    if (!(by_space ? split_space(text, most, right, put)
                   : split_by(text, b.value[0].text(), most, right, put)))
      return Val();
    if (right) std::reverse(parts.begin(), parts.end());
    return list(std::move(parts));
  }
  if (name == "replace") {
    int64_t count = -1;
    if (!args.kw.empty()) return fail("TypeError", "replace() takes no keyword arguments");
    if (!bind("replace", args, {"old", "new", "count"}, &b, 2) ||
        (b.has[2] && !want_int(b.value[2], &count)))
      return Val();
    if (!want_string(b.value[0], "replace() argument 1") ||
        !want_string(b.value[1], "replace() argument 2"))
      return Val();
    const uint64_t growth =
        b.value[0].text().empty() ? text.size() + 1 : text.size() / b.value[0].text().size();
    if (!step(text.size() / 4) || !room_for(2 * (growth * b.value[1].text().size() + text.size())))
      return Val();
    return str(replace(text, b.value[0].text(), b.value[1].text(), count));
  }
  if (name == "find" || name == "rfind" || name == "index" || name == "rindex" || name == "count") {
    Window w;
    if (!bind(name.c_str(), args, {"sub", "start", "end"}, &b, 1) ||
        !want_string(b.value[0], "argument 1") || !window(*this, text, b, 1, &w))
      return Val();
    const std::string& sub = b.value[0].text();
    const std::string_view in =
        w.valid ? std::string_view(text).substr(w.begin, w.end - w.begin) : std::string_view();
    if (name == "count") {
      if (!w.valid) return Val::of(int64_t{0});
      if (sub.empty()) return Val::of(static_cast<int64_t>(length_of(in)) + 1);
      int64_t n = 0;
      for (size_t at = in.find(sub); at != std::string_view::npos;
           at = in.find(sub, at + sub.size()))
        ++n;
      return Val::of(n);
    }
    const size_t at = !w.valid         ? std::string_view::npos
                      : name[0] == 'r' ? in.rfind(sub)
                                       : in.find(sub);
    if (at == std::string_view::npos) {
      if (std::string_view(name).ends_with("index"))
        return fail("ValueError", "substring not found");
      return Val::of(int64_t{-1});
    }
    return Val::of(static_cast<int64_t>(length_of(std::string_view(text).substr(0, w.begin + at))));
  }
  if (name == "startswith" || name == "endswith") {
    Window w;
    if (!bind(name.c_str(), args, {"prefix", "start", "end"}, &b, 1) ||
        !window(*this, text, b, 1, &w))
      return Val();
    Vals options = vals({b.value[0]});
    if (b.value[0].is(Kind::tuple)) options = b.value[0].as<List>().items();
    const std::string_view in =
        w.valid ? std::string_view(text).substr(w.begin, w.end - w.begin) : std::string_view();
    for (const Val& option : options) {
      if (!option.is(Kind::string))
        return fail("TypeError", mm2::join(name, " first arg must be str or a tuple of str, not ",
                                           type_name(option)));
      if (w.valid && (name[0] == 's' ? std::string_view(in).starts_with(option.text())
                                     : std::string_view(in).ends_with(option.text())))
        return Val::of(true);
    }
    return Val::of(false);
  }
  if (name == "join") {
    if (!bind("join", args, {"iterable"}, &b, 1)) return Val();
    if (!iterate(b.value[0], &parts)) return Val();
    uint64_t size = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i].is(Kind::string))
        return fail("TypeError", mm2::join("sequence item ", i, ": expected str instance, ",
                                           type_name(parts[i]), " found"));
      size += (i > 0 ? text.size() : 0) + parts[i].text().size();
    }
    if (!room_for(size) || !step(parts.size() + size / 256)) return Val();
    std::string out;
    out.reserve(size);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) out += text;
      out += parts[i].text();
    }
    return str(std::move(out));
  }
  if (name == "format") return brace_format(text, args);
  if (name == "format_map") {
    if (!bind("format_map", args, {"mapping"}, &b, 1)) return Val();
    if (!b.value[0].is(Kind::dict)) return fail("TypeError", "format_map() needs a mapping");
    Args named(heap_);
    for (const auto& [key, value] : b.value[0].as<Dict>().items()) {
      if (key.is(Kind::string)) named.kw.emplace_back(key.text(), value);
    }
    return brace_format(text, named);
  }
  if (name == "removeprefix" || name == "removesuffix") {
    if (!bind(name.c_str(), args, {"affix"}, &b, 1) || !want_string(b.value[0], "argument"))
      return Val();
    std::string_view v = text;
    const std::string& affix = b.value[0].text();
    if (name == "removeprefix" && v.starts_with(affix)) v.remove_prefix(affix.size());
    if (name == "removesuffix" && v.ends_with(affix)) v.remove_suffix(affix.size());
    return str(std::string(v));
  }
  if (name == "partition" || name == "rpartition") {
    if (!bind(name.c_str(), args, {"sep"}, &b, 1) || !want_string(b.value[0], "sep")) return Val();
    const std::string& sep = b.value[0].text();
    if (sep.empty()) return fail("ValueError", "empty separator");
    const size_t at = name[0] == 'r' ? text.rfind(sep) : text.find(sep);
    if (at == std::string::npos) {
      return name[0] == 'r' ? three("", "", text) : three(text, "", "");
    }
    const std::string_view v = text;
    return three(v.substr(0, at), sep, v.substr(at + sep.size()));
  }
  if (name == "ljust" || name == "rjust" || name == "center" || name == "zfill") {
    int64_t width = 0;
    if (!bind(name.c_str(), args, {"width", "fillchar"}, &b, 1) || !want_int(b.value[0], &width))
      return Val();
    std::string fill = name == "zfill" ? "0" : " ";
    if (b.has[1]) {
      if (!want_string(b.value[1], "fillchar")) return Val();
      fill = b.value[1].text();
      if (length_of(fill) != 1)
        return fail("TypeError", "The fill character must be exactly one character long");
    }
    const auto n = static_cast<int64_t>(length_of(text));
    if (width <= n) return str(text);
    const auto missing = static_cast<uint64_t>(width - n);
    if (!room_for(missing * fill.size() + text.size()) ||
        !step(missing / (fill.size() == 1 ? 64 : 4)))
      return Val();
    uint64_t left = name == "ljust" ? 0 : missing;
    if (name == "center") left = missing / 2 + (missing & static_cast<uint64_t>(width) & 1);
    std::string out;
    out.reserve(missing * fill.size() + text.size());
    size_t sign = 0;
    if (name == "zfill" && !text.empty() && (text[0] == '-' || text[0] == '+')) sign = 1;
    const auto put_fill = [&](uint64_t times) {
      if (fill.size() == 1) {
        out.append(times, fill[0]);
      } else {
        for (uint64_t i = 0; i < times; ++i) out += fill;
      }
    };
    out.append(text, 0, sign);
    put_fill(left);
    out.append(text, sign);
    put_fill(missing - left);
    return str(std::move(out));
  }
  if (name == "splitlines") {
    if (!bind("splitlines", args, {"keepends"}, &b)) return Val();
    const bool keep = b.has[0] && truthy(b.value[0]);
    if (!step(text.size() / 2)) return Val();
    for (size_t begin = 0; begin < text.size();) {
      const LineEnd end = find_line_end(text, begin);
      const size_t stop = keep ? end.end : end.begin;
      if (!put(std::string_view(text).substr(begin, stop - begin))) return Val();
      begin = end.end;
    }
    return list(std::move(parts));
  }
  if (name == "expandtabs") {
    int64_t size = 8;
    if (!bind("expandtabs", args, {"tabsize"}, &b) || (b.has[0] && !want_int(b.value[0], &size)))
      return Val();
    if (!affords(2)) return Val();
    std::string out;
    int64_t column = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const char32_t c = next_code_point(text, at);
      if (c == '\t') {
        const int64_t n = size > 0 ? size - column % size : 0;
        if (!step(1 + static_cast<uint64_t>(n) / 256) ||
            !room_for(2 * (static_cast<uint64_t>(n) + out.size())))
          return Val();
        out.append(static_cast<size_t>(n), ' ');
        column += n;
      } else {
        out.append(text, begin, at - begin);
        column = c == '\n' || c == '\r' ? 0 : column + 1;
      }
    }
    return str(std::move(out));
  }
  if (!bind(name.c_str(), args, {}, &b) || !affords(3)) return Val();
  if (name == "upper") return str(upper(text));
  if (name == "lower") return str(lower(text));
  if (name == "casefold") return str(casefold(text));
  if (name == "capitalize") return str(capitalize(text));
  if (name == "title") return str(title(text));
  if (name == "swapcase") return str(swapcase(text));
  if (name == "isspace") return Val::of(all_of(text, is_python_space));
  if (name == "isalpha") return Val::of(are_all(text, kAlpha));
  if (name == "isalnum") return Val::of(are_all(text, kAlnum));
  if (name == "isnumeric") return Val::of(are_all(text, kNumeric));
  if (name == "isdigit") return Val::of(are_all(text, kDigit));
  if (name == "isdecimal") return Val::of(are_all(text, kDecimal));
  if (name == "isascii") return Val::of(length_of(text) == text.size());
  if (name == "islower") return Val::of(is_lower(text));
  if (name == "isupper") return Val::of(is_upper(text));
  if (name == "istitle") return Val::of(is_title(text));
  if (name == "isidentifier") return Val::of(is_identifier(text));
  return fail("NotImplementedError", mm2::join("str.", name, "() is not part of this interpreter"));
}

Val Run::number_method(const Method& method, Args& args) {
  Bound b;
  if (!bind(method.name.c_str(), args, {}, &b)) return Val();
  const Val& self = method.self;
  if (method.name == "conjugate") return self;
  if (method.name == "is_integer")
    return Val::of(!self.is(Kind::real) || self.real() == std::floor(self.real()));
  if (method.name == "bit_length" || method.name == "bit_count") {
    const BigInt v = to_big(self);
    int64_t count = 0;
    int64_t most = 0;
    for (size_t i = 0; i < v.limbs.size(); ++i) {
      count += __builtin_popcount(v.limbs[i]);
      most = static_cast<int64_t>(i) * 32 + 32 - __builtin_clz(v.limbs[i] | 1);
    }
    return Val::of(method.name == "bit_count" ? count : most);
  }
  if (method.name == "as_integer_ratio" && std::isfinite(self.real())) {
    double top = self.real();
    BigInt bottom = BigInt::of(1);
    for (int i = 0; i < 1100 && top != std::floor(top); ++i) {
      top *= 2;
      bottom = multiply(bottom, BigInt::of(2));
    }
    return list(vals({integer(BigInt::truncate(top)), integer(std::move(bottom))}), Kind::tuple);
  }
  if (method.name == "hex" && std::isfinite(self.real()) && self.real() != 0) {
    int exponent = 0;
    const double fraction = std::frexp(std::fabs(self.real()), &exponent) * 2;
    const auto digits = static_cast<unsigned long long>((fraction - 1) * 4503599627370496.0);
    return str(
        absl::StrFormat("%s0x1.%013xp%+d", self.real() < 0 ? "-" : "", digits, exponent - 1));
  }
  return fail("NotImplementedError", mm2::join(method.name, "() is not part of this interpreter"));
}

Val Run::call_method(const Method& method, Args& args) {
  const Val& self = method.self;
  const std::string& name = method.name;
  Bound b;
  switch (self.kind()) {
    case Kind::string:
      return string_method(method, args);
    case Kind::boolean:
    case Kind::integer:
    case Kind::big:
    case Kind::real:
      return number_method(method, args);
    case Kind::list:
    case Kind::tuple:
    case Kind::range: {
      if (name == "copy") return bind("copy", args, {}, &b) ? list(self.as<List>().items()) : Val();
      if (!bind(name.c_str(), args, {"value"}, &b, 1)) return Val();
      Vals items(heap_);
      if (!iterate(self, &items)) return Val();
      int64_t count = 0;
      for (size_t i = 0; i < items.size(); ++i) {
        if (!equal(items[i], b.value[0])) continue;
        if (name == "index") return Val::of(static_cast<int64_t>(i));
        ++count;
      }
      if (name == "count") return Val::of(count);
      std::string shown;
      append_repr(shown, b.value[0]);
      return fail("ValueError", mm2::join(shown, " is not in list"));
    }
    case Kind::builtin:  // dict.fromkeys
    case Kind::dict: {
      if (name == "fromkeys") {
        if (!bind("fromkeys", args, {"iterable", "value"}, &b, 1)) return Val();
        Vals keys(heap_);
        if (!iterate(b.value[0], &keys)) return Val();
        Pairs items(heap_);
        for (const Val& key : keys) items.emplace_back(key, b.has[1] ? b.value[1] : Val::none());
        return dict(std::move(items));
      }
      if (name == "get") {
        if (!bind("get", args, {"key", "default"}, &b, 1)) return Val();
        if (!args.kw.empty()) return fail("TypeError", "get() takes no keyword arguments");
        if (!hashable(b.value[0])) return fail("TypeError", "unhashable type");
        const Val* found = self.as<Dict>().find(b.value[0]);
        return found != nullptr ? *found : b.has[1] ? b.value[1] : Val::none();
      }
      if (!bind(name.c_str(), args, {}, &b)) return Val();
      if (name == "copy") return dict(self.as<Dict>().items());
      View* view = make<View>(0, heap_);
      view->dict = self;
      view->depth = static_cast<uint16_t>(self.object()->depth + 1);
      view->what = name == "keys"     ? View::What::keys
                   : name == "values" ? View::What::values
                                      : View::What::items;
      return Val::of(view);
    }
    case Kind::loop: {
      Loop& loop = self.as<Loop>();
      if (name == "cycle") {
        if (args.pos.empty()) return fail("TypeError", "no items for cycling given");
        return args.pos[loop.index0 % args.pos.size()];
      }
      const Val now = list(args.pos, Kind::tuple);
      if (failed()) return Val();
      const bool changed = !loop.has_changed || !equal(loop.last_changed, now);
      loop.last_changed = now;
      loop.has_changed = true;
      return Val::of(changed);
    }
    case Kind::cycler: {
      Cycler& cycler = self.as<Cycler>();
      if (name == "reset") {
        cycler.at = 0;
        return Val::none();
      }
      const Val now = cycler.items[cycler.at];
      cycler.at = (cycler.at + 1) % cycler.items.size();
      return now;
    }
    default:
      return fail("TypeError", "not callable");
  }
}

}  // namespace mm2::chat::jinja
