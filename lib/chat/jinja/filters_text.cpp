// The filters that work on text: case, white space, escapes, width, percent format.
#include "chat/jinja/filters.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "base/join.h"

namespace mm2::chat::jinja {

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
  Captured cut(run.heap());
  cut.text = out;
  const auto begin = static_cast<size_t>(out.data() - t.text().data());
  for (const Span& s : t.as<Str>().literal) {
    const size_t from = std::max(s.begin, begin);
    const size_t to = std::min(s.end, begin + out.size());
    if (from < to) add_span(cut.literal, from - begin, to - begin);
  }
  return run.str(std::move(cut));
}

namespace {

// A change that looks at every character. The longest of them give three bytes for two.
Val filter_case(Run& run, const Val& v, Args& args, std::string (*change)(std::string_view)) {
  Bound b;
  if (!run.bind("filter", args, {}, &b)) return Val();
  const Val t = text_of(run, v);
  if (!run.step(t.is(Kind::string) ? t.text().size() : 0)) return Val();
  return run.room_for(3 * t.text().size()) ? run.str(change(t.text())) : Val();
}

// Words begin after white space, - and opening brackets, not after every other character.
std::string title_words(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t word = 0;  // where the current one begins
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (!is_python_space(c) && c != '-' && c != '(' && c != '{' && c != '[' && c != '<') continue;
    out += capitalize(text.substr(word, begin - word));
    out += text.substr(begin, at - begin);
    word = at;
  }
  return out += capitalize(text.substr(word));
}

}  // namespace

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
  return filter_case(run, v, args, title_words);
}

Val filter_string(Run& run, const Val& v, Args&) {
  return text_of(run, v);
}

Val filter_safe(Run& run, const Val& v, Args&) {
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  const Val out = run.str(t.text());
  if (run.failed()) return Val();
  out.as<Str>().literal = t.as<Str>().literal;
  out.as<Str>().markup = true;
  return out;
}

Val filter_forceescape(Run& run, const Val& v, Args&) {
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  // The longest spelling of a character has six bytes, and a text that grows holds them twice.
  if (!run.step(t.text().size() / 2) || !run.room_for(12 * t.text().size())) return Val();
  const Val out = run.str(escape_html(t.text()));
  if (!run.failed()) out.as<Str>().markup = true;
  return out;
}

Val filter_escape(Run& run, const Val& v, Args& args) {
  if (v.is(Kind::string) && v.as<Str>().markup) return v;
  return filter_forceescape(run, v, args);
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
  if (!run.step(t.text().size() / 4) ||
      !run.room_for(2 * (growth * to.text().size() + t.text().size())))
    return Val();
  return run.str(replace(t.text(), from.text(), to.text(), count));
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
  const bool at_first = b.has[1] && truthy(b.value[1]);
  const std::string& text = v.text();
  if (!run.step(text.size() / 2)) return Val();
  std::string out = at_first ? by : "";
  const auto put = [&](std::string_view line, bool first) {
    if (!run.step(1 + by.size() / 64) ||
        !run.room_for(2 * (out.size() + by.size() + line.size() + 1)))
      return false;
    if (!first) out += '\n';
    if (!first && (blank || !line.empty())) out += by;
    out += line;
    return true;
  };
  // The lines of the text and one more end of line, which str.splitlines takes off again.
  bool first = true;
  size_t begin = 0;
  while (begin < text.size()) {
    const LineEnd end = find_line_end(text, begin);
    if (!put(std::string_view(text).substr(begin, end.begin - begin), first)) return Val();
    first = false;
    begin = end.end;
    const bool ends = end.begin < end.end && text.back() != '\r';
    if (begin == text.size() && ends && !put("", false)) return Val();
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
  Pairs items(run.heap());
  for (const auto& [key, value] : args.kw) items.emplace_back(run.str(key), value);
  const Val map = run.dict(std::move(items));
  return run.failed() ? Val() : run.percent_format(t.text(), map);
}

Val filter_center(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("center", args, {"width"}, &b)) return Val();
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  Args width(run.heap());
  width.pos.push_back(b.has[0] ? b.value[0] : Val::of(int64_t{80}));
  const Val method = Val::of(run.make<Method>(0, run.heap(), t, "center"));
  return run.failed() ? Val() : run.call_method(method.as<Method>(), width);
}

namespace {

// Hands the lines of a paragraph to `put`, which says whether to go on. A line is a run of words
// as it stands in the text.
template <typename Put>
bool wrap_paragraph(std::string_view text, size_t most, bool cut, const Put& put) {
  size_t line = 0, line_end = 0, n_line = 0;  // the current line and its length
  bool any = false;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    size_t n = length_of(text.substr(begin, end - begin));
    if (any && n_line + 1 + n <= most) {
      n_line += 1 + n;
    } else {
      if (any && !put(text.substr(line, line_end - line))) return false;
      size_t from = begin;
      for (; cut && n > most; n -= most) {
        const size_t at = offset_of(text.substr(from, end - from), most);
        if (!put(text.substr(from, at))) return false;
        from += at;
      }
      line = from;
      n_line = n;
      any = true;
    }
    line_end = end;
    begin = end + 1;
  }
  return put(text.substr(line, line_end - line));
}

}  // namespace

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
  const std::string& text = v.text();
  if (!run.step(text.size())) return Val();
  std::string out;
  bool first_line = true;
  const auto put = [&](std::string_view line) {
    if (!first_line) out += join;
    first_line = false;
    out += line;
    return run.step(1 + join.size() / 64) && run.room_for(2 * (out.size() + text.size()));
  };
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (!wrap_paragraph(std::string_view(text).substr(begin, end - begin), most, cut, put))
      return Val();
    begin = end + 1;
  }
  return run.str(std::move(out));
}

Val filter_striptags(Run& run, const Val& v, Args&) {
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  const std::string& text = t.text();
  if (!run.step(text.size() / 2) || !run.room_for(2 * text.size())) return Val();
  std::string plain;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find('<', at);
    const bool comment = open != std::string::npos && text.compare(open, 4, "<!--") == 0;
    const size_t close = open == std::string::npos ? open
                         : comment                 ? text.find("-->", open)
                                                   : text.find('>', open);
    if (close == std::string::npos) {
      plain.append(text, at);
      break;
    }
    plain.append(text, at, open - at);
    at = close + (comment ? 3 : 1);
  }
  std::string out;
  out.reserve(plain.size());
  bool gap = false;
  for (size_t at = 0; at < plain.size();) {
    const size_t begin = at;
    if (is_python_space(next_code_point(plain, at))) {
      gap = !out.empty();
      continue;
    }
    if (gap) out += ' ';
    gap = false;
    out.append(plain, begin, at - begin);
  }
  for (const auto& [from, to] :
       {std::pair("&lt;", "<"), std::pair("&gt;", ">"), std::pair("&#39;", "'"),
        std::pair("&#34;", "\""), std::pair("&quot;", "\""), std::pair("&amp;", "&")}) {
    out = replace(out, from, to, -1);
  }
  return run.str(std::move(out));
}

namespace {

std::string quoted(std::string_view text, bool plus) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(c) ||
        std::string_view(plus ? "_.-~" : "_.-~/").find(c) != std::string_view::npos) {
      out += c;
    } else if (plus && c == ' ') {
      out += '+';
    } else {
      constexpr std::string_view kHex = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(c);
      ((out += '%') += kHex[byte >> 4]) += kHex[byte & 15];
    }
  }
  return out;
}

}  // namespace

Val filter_urlencode(Run& run, const Val& v, Args&) {
  if (v.is(Kind::dict)) {
    std::string out;
    for (const auto& [key, value] : v.as<Dict>().items()) {
      out += mm2::join(out.empty() ? "" : "&", quoted(run.to_str(key), true), "=",
                       quoted(run.to_str(value), true));
    }
    return run.str(std::move(out));
  }
  const std::string text = run.to_str(v);
  if (!run.step(text.size() / 2) || !run.room_for(6 * text.size())) return Val();
  return run.str(quoted(text, false));
}

Val filter_wordcount(Run& run, const Val& v, Args&) {
  const Val t = text_of(run, v);
  if (run.failed()) return Val();
  if (!run.step(t.text().size() / 2)) return Val();
  int64_t n = 0;
  bool inside = false;
  for (size_t at = 0; at < t.text().size();) {
    const char32_t c = next_code_point(t.text(), at);
    const bool word = c == '_' || is_any(c, kAlnum);
    n += word && !inside;
    inside = word;
  }
  return Val::of(n);
}

}  // namespace mm2::chat::jinja
