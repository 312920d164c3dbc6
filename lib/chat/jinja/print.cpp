// str(), repr() and tojson.
// GCC 12 sees overlaps in assignments of one-character literals that are not there (its bug 105651).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wrestrict"
#endif

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "base/join.h"
#include "chat/jinja/run.h"
#include "chat/jinja/strings.h"
#include "chat/printable.h"

namespace mm2::chat::jinja {
namespace {

constexpr int kMaxPrintDepth = 200;

void append_real(std::string& out, double d, bool json) {
  if (std::isnan(d)) {
    out += json ? "NaN" : "nan";
  } else if (std::isinf(d)) {
    if (d < 0) out += '-';
    out += json ? "Infinity" : "inf";
  } else {
    append_float(out, d);
  }
}

void append_repr_text(std::string& out, std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos;
  const char quote = single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      (out += '\\') += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += text.substr(begin, at - begin);
    } else {
      const auto u = static_cast<uint32_t>(c);
      c < 0x100     ? absl::StrAppendFormat(&out, "\\x%02x", u)
      : c < 0x10000 ? absl::StrAppendFormat(&out, "\\u%04x", u)
                    : absl::StrAppendFormat(&out, "\\U%08x", u);
    }
  }
  out += quote;
}

void append_json_text(std::string& out, std::string_view text, bool ascii) {
  if (!ascii) return append_json_string(out, text);
  std::string escaped;
  append_json_string(escaped, text);
  for (size_t at = 0; at < escaped.size();) {
    const char32_t c = next_code_point(escaped, at);
    const auto u = static_cast<uint32_t>(c);
    if (c < 0x7F) {
      out += static_cast<char>(c);
    } else if (c < 0x10000) {
      absl::StrAppendFormat(&out, "\\u%04x", u);
    } else {
      absl::StrAppendFormat(&out, "\\u%04x\\u%04x", 0xD800 + ((u - 0x10000) >> 10),
                            0xDC00 + ((u - 0x10000) & 0x3FF));
    }
  }
}

}  // namespace

std::string Run::to_str(const Val& v) {
  std::string out;
  append_str(out, v);
  return out;
}

void Run::append_str(std::string& out, const Val& v) {
  if (v.is(Kind::string)) {
    out += v.text();
  } else if (!v.is(Kind::undefined)) {
    append_repr(out, v);
  }
}

void Run::append_repr(std::string& out, const Val& v, int depth) {
  if (depth > kMaxPrintDepth) {
    fail_budget("too deeply nested values");
    return;
  }
  if (!step() || !room_for(3 * out.size())) return;
  const auto sequence = [&](const Vals& items) {
    for (size_t i = 0; i < items.size() && !failed(); ++i) {
      if (i > 0) out += ", ";
      append_repr(out, items[i], depth + 1);
    }
  };
  switch (v.kind()) {
    case Kind::undefined:
      out += "Undefined";
      return;
    case Kind::none:
      out += "None";
      return;
    case Kind::boolean:
      out += v.integer() != 0 ? "True" : "False";
      return;
    case Kind::integer:
      out += mm2::join(v.integer());
      return;
    case Kind::big: {
      const BigInt& value = v.as<Big>().value;
      if (!step(value.limbs.size() * value.limbs.size() / 16)) return;
      const std::string digits = value.str();
      if (digits.size() > 4300) {
        fail("ValueError", "Exceeds the limit (4300 digits) for integer string conversion");
        return;
      }
      out += digits;
      return;
    }
    case Kind::real:
      append_real(out, v.real(), false);
      return;
    case Kind::string:
      if (!step(v.text().size() / 4) || !room_for(3 * out.size() + 4 * v.text().size())) return;
      if (v.as<Str>().markup) out += "Markup(";
      append_repr_text(out, v.text());
      if (v.as<Str>().markup) out += ')';
      return;
    case Kind::list:
      out += '[';
      sequence(v.as<List>().items());
      out += ']';
      return;
    case Kind::tuple:
      out += '(';
      sequence(v.as<List>().items());
      out += v.as<List>().items().size() == 1 ? ",)" : ")";
      return;
    case Kind::dict: {
      out += '{';
      bool first = true;
      for (const auto& [key, value] : v.as<Dict>().items()) {
        if (failed()) return;
        if (!first) out += ", ";
        first = false;
        append_repr(out, key, depth + 1);
        out += ": ";
        append_repr(out, value, depth + 1);
      }
      out += '}';
      return;
    }
    case Kind::view: {
      const View& view = v.as<View>();
      out += view.what == View::What::keys     ? "dict_keys(["
             : view.what == View::What::values ? "dict_values(["
                                               : "dict_items([";
      Vals items(heap_);
      if (!iterate(v, &items)) return;
      sequence(items);
      out += "])";
      return;
    }
    case Kind::range: {
      const Range& r = v.as<Range>();
      out += mm2::join("range(", r.start, ", ", r.stop);
      if (r.step != 1) out += mm2::join(", ", r.step);
      out += ')';
      return;
    }
    case Kind::names: {
      out += "<Namespace {";
      bool first = true;
      for (const auto& [key, value] : v.as<Names>().items) {
        if (failed()) return;
        if (!first) out += ", ";
        first = false;
        append_repr_text(out, key);
        out += ": ";
        append_repr(out, value, depth + 1);
      }
      out += "}>";
      return;
    }
    case Kind::macro:
      out += mm2::join("<Macro '", v.as<Macro>().node->text, "'>");
      return;
    case Kind::loop:
      out +=
          mm2::join("<LoopContext ", v.as<Loop>().index0 + 1, "/", v.as<Loop>().items.size(), ">");
      return;
    case Kind::builtin:
      if (v.as<Builtin>().name == "self") {
        out += "<TemplateReference None>";
        return;
      }
      out += mm2::join(
          v.as<Builtin>().name == "dict" || v.as<Builtin>().name == "range" ? "<class '"
                                                                            : "<function ",
          v.as<Builtin>().name,
          v.as<Builtin>().name == "dict" || v.as<Builtin>().name == "range" ? "'>" : ">");
      return;
    case Kind::method:
      out += mm2::join("<built-in method ", v.as<Method>().name, ">");
      return;
    case Kind::generator:
      out += "<generator object>";
      return;
    case Kind::cycler:
      out += "<Cycler>";
      return;
    case Kind::joiner:
      out += "<Joiner>";
      return;
  }
}

namespace {

struct JsonStyle {
  bool ascii = false;
  bool sort = false;
  bool pretty = false;
  std::string indent, item = ", ", key = ": ";
};

class JsonWriter {
 public:
  JsonWriter(Run& run, const JsonStyle& style) : run_(run), style_(style) {}

  void write(const Val& v, int depth) {
    if (run_.failed() || !run_.step() || !run_.room_for(3 * out.size())) return;
    if (depth > kMaxPrintDepth) {
      run_.fail_budget("too deeply nested values");
      return;
    }
    switch (v.kind()) {
      case Kind::none:
        out += "null";
        return;
      case Kind::boolean:
        out += v.integer() != 0 ? "true" : "false";
        return;
      case Kind::integer:
      case Kind::big:
        run_.append_repr(out, v);
        return;
      case Kind::real:
        append_real(out, v.real(), true);
        return;
      case Kind::string:
        if (!run_.step(v.text().size() / (style_.ascii ? 1 : 4)) ||
            !run_.room_for(3 * out.size() + 12 * v.text().size()))
          return;
        append_json_text(out, v.text(), style_.ascii);
        return;
      case Kind::list:
      case Kind::tuple: {
        if (copies(v.as<List>().source)) return;
        const auto& items = v.as<List>().items();
        if (items.empty()) {
          out += "[]";
          return;
        }
        out += '[';
        for (size_t i = 0; i < items.size(); ++i) {
          if (i > 0) out += style_.item;
          line(depth + 1);
          write(items[i], depth + 1);
          if (run_.failed()) return;
        }
        line(depth);
        out += ']';
        return;
      }
      case Kind::dict:
        if (!copies(v.as<Dict>().source)) object(v.as<Dict>(), depth);
        return;
      default:
        run_.fail("TypeError",
                  mm2::join("Object of type ", type_name(v), " is not JSON serializable"));
    }
  }

  std::string out;

 private:
  void line(int depth) {
    if (!style_.pretty ||
        !run_.room_for(3 * (out.size()) + 3 * style_.indent.size() * static_cast<size_t>(depth)))
      return;
    run_.step(style_.indent.size() * static_cast<size_t>(depth) / 64);
    out += '\n';
    for (int i = 0; i < depth; ++i) out += style_.indent;
  }

  // What nobody has looked at is still as it was in the context.
  bool copies(const Value* source) {
    if (source == nullptr || style_.ascii || style_.sort || style_.pretty || style_.item != ", " ||
        style_.key != ": ")
      return false;
    const size_t before = out.size();
    append_json(out, *source);
    run_.step((out.size() - before) / 64);
    return true;
  }

  void object(Dict& dict, int depth) {
    if (dict.items().empty()) {
      out += "{}";
      return;
    }
    auto items = dict.items();
    if (style_.sort) {
      std::stable_sort(items.begin(), items.end(), [&](const auto& a, const auto& b) {
        return !run_.failed() && run_.order(a.first, b.first) < 0;
      });
    }
    out += '{';
    bool first = true;
    for (const auto& [key, value] : items) {
      if (run_.failed()) return;
      if (!first) out += style_.item;
      first = false;
      line(depth + 1);
      if (key.is(Kind::string)) {
        append_json_text(out, key.text(), style_.ascii);
      } else if (key.is_number() || key.is(Kind::none)) {
        out += '"';
        write(key, depth + 1);
        out += '"';
      } else {
        run_.fail("TypeError",
                  mm2::join("keys must be str, int, float, bool or None, not ", type_name(key)));
        return;
      }
      out += style_.key;
      write(value, depth + 1);
    }
    line(depth);
    out += '}';
  }

  Run& run_;
  const JsonStyle& style_;
};

}  // namespace

Val Run::to_json(const Val& v, Args& args) {
  Bound b;
  if (!bind("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"}, &b))
    return Val();
  JsonStyle style;
  style.ascii = b.has[0] && truthy(b.value[0]);
  style.sort = b.has[3] && truthy(b.value[3]);
  if (b.has[1] && !b.value[1].is(Kind::none)) {
    style.pretty = true;
    style.item = ",";
    if (b.value[1].is(Kind::string)) {
      style.indent = b.value[1].text();
    } else {
      int64_t n = 0;
      if (!want_int(b.value[1], &n)) return Val();
      if (n > 0 && !room_for(static_cast<uint64_t>(n))) return Val();
      style.indent.assign(static_cast<size_t>(std::max<int64_t>(n, 0)), ' ');
    }
  }
  if (b.has[2] && !b.value[2].is(Kind::none)) {
    Vals parts(heap_);
    if (!iterate(b.value[2], &parts)) return Val();
    if (parts.size() != 2) return fail("ValueError", "separators needs two values");
    if (!want_string(parts[0], "separator") || !want_string(parts[1], "separator")) return Val();
    style.item = parts[0].text();
    style.key = parts[1].text();
  }
  JsonWriter writer(*this, style);
  writer.write(v, 0);
  return failed() ? Val() : str(std::move(writer.out));
}

}  // namespace mm2::chat::jinja
