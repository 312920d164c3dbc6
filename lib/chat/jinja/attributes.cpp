// a.b, a[b], a[b:c]: what the sandbox lets through.
#include <algorithm>
#include <cstdlib>

#include "base/join.h"
#include "chat/jinja/run.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

// " name name " lists.
bool listed(std::string_view names, std::string_view name) {
  if (name.empty() || name.find(' ') != std::string_view::npos) return false;
  for (size_t at = names.find(name); at != std::string_view::npos; at = names.find(name, at + 1)) {
    const size_t end = at + name.size();
    if (names[at - 1] == ' ' && names[end] == ' ') return true;
  }
  return false;
}

const char* owner_name(const Val& v) {
  return v.is(Kind::builtin) ? "type" : type_name(v);
}

}  // namespace

Member member_of(const Val& of, std::string_view name) {
  if (name.size() > 4 && std::string_view(name).starts_with("__") &&
      std::string_view(name).ends_with("__")) {
    return Member::unsafe;
  }
  const auto method = [&](std::string_view names) {
    return listed(names, name) ? Member::method : Member::none;
  };
  switch (of.kind()) {
    case Kind::string:
      return method(
          " capitalize casefold center count encode endswith expandtabs find format format_map "
          "index "
          "isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable "
          "isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix "
          "replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip "
          "swapcase title upper zfill ");
    case Kind::list:
      if (listed(" append clear extend insert pop remove reverse sort ", name))
        return Member::unsafe;
      return method(" copy count index ");
    case Kind::tuple:
      return method(" count index ");
    case Kind::dict:
      if (listed(" clear pop popitem setdefault update ", name)) return Member::unsafe;
      return method(" copy fromkeys get items keys values ");
    case Kind::integer:
    case Kind::big:
    case Kind::boolean:
      return method(" bit_length bit_count conjugate is_integer ");
    case Kind::real:
      return method(" is_integer conjugate as_integer_ratio hex ");
    case Kind::loop:
      return method(" cycle changed ");
    case Kind::cycler:
      return method(" next reset ");
    case Kind::range:
      return method(" count index ");
    case Kind::builtin:
      return of.as<Builtin>().name == "dict" ? method(" fromkeys ") : Member::none;
    default:
      return Member::none;
  }
}

Val Run::loop_attribute(Loop& loop, const std::string& name, bool* found) {
  const auto n = static_cast<int64_t>(loop.items.size());
  const auto at = static_cast<int64_t>(loop.index0);
  *found = true;
  if (name == "index") return Val::of(at + 1);
  if (name == "index0") return Val::of(at);
  if (name == "revindex") return Val::of(n - at);
  if (name == "revindex0") return Val::of(n - at - 1);
  if (name == "first") return Val::of(at == 0);
  if (name == "last") return Val::of(at + 1 == n);
  if (name == "length") return Val::of(n);
  if (name == "depth") return Val::of(loop.depth0 + 1);
  if (name == "depth0") return Val::of(loop.depth0);
  if (name == "previtem")
    return at > 0 ? loop.items[loop.index0 - 1] : undefined("there is no previous item");
  if (name == "nextitem")
    return at + 1 < n ? loop.items[loop.index0 + 1] : undefined("there is no next item");
  *found = false;
  return Val();
}

Val Run::get_attribute(const Val& of, const std::string& name) {
  if (of.is(Kind::undefined)) return fail_undefined(of);
  switch (member_of(of, name)) {
    case Member::method:
      return Val::of(make<Method>(name.size(), heap_, of, name));
    case Member::unsafe: {
      if (of.is(Kind::dict)) {
        if (const Val* found = of.as<Dict>().find(name); found != nullptr && name[0] == '_')
          return *found;
      }
      return undefined(
          mm2::join("access to attribute '", name, "' of '", owner_name(of), "' object is unsafe."),
          true);
    }
    case Member::none:
      break;
  }
  switch (of.kind()) {
    case Kind::dict:
      if (const Val* found = of.as<Dict>().find(name); found != nullptr) return *found;
      return undefined("'dict object' has no attribute '", name, "'");
    case Kind::names:
      for (const auto& [key, value] : of.as<Names>().items) {
        if (key == name) return value;
      }
      break;
    case Kind::loop: {
      bool found = false;
      Val v = loop_attribute(of.as<Loop>(), name, &found);
      if (found) return v;
      break;
    }
    case Kind::macro: {
      const Macro& macro = of.as<Macro>();
      if (name == "name") return str(macro.node->text);
      if (name == "catch_kwargs") return Val::of(macro.node->uses_kwargs);
      if (name == "catch_varargs") return Val::of(macro.node->uses_varargs);
      if (name == "caller") return Val::of(macro.node->uses_caller);
      if (name == "arguments") {
        Vals names(heap_);
        for (const std::string& parameter : macro.node->names) names.push_back(str(parameter));
        return list(std::move(names), Kind::tuple);
      }
      break;
    }
    case Kind::boolean:
    case Kind::integer:
    case Kind::big:
    case Kind::real:
      if (name == "real") return of.is(Kind::boolean) ? Val::of(of.integer()) : of;
      if (name == "imag") return of.is(Kind::real) ? Val::of(0.0) : Val::of(int64_t{0});
      if (name == "numerator" && !of.is(Kind::real)) return of;
      if (name == "denominator" && !of.is(Kind::real)) return Val::of(int64_t{1});
      break;
    case Kind::range:
      if (name == "start") return Val::of(of.as<Range>().start);
      if (name == "stop") return Val::of(of.as<Range>().stop);
      if (name == "step") return Val::of(of.as<Range>().step);
      break;
    case Kind::cycler:
      if (name == "current") return of.as<Cycler>().items[of.as<Cycler>().at];
      break;
    case Kind::none:
      return undefined(mm2::join("'None' has no attribute '", name, "'"));
    default:
      break;
  }
  return undefined(mm2::join("'", type_name(of), " object' has no attribute '", name, "'"));
}

Val Run::get_item(const Val& of, const Val& key) {
  if (of.is(Kind::undefined)) return fail_undefined(of);
  if (of.is(Kind::dict)) {
    if (hashable(key)) {
      if (const Val* found = of.as<Dict>().find(key); found != nullptr) return *found;
    }
  } else if (key.is_int() || key.is(Kind::big)) {
    int64_t i = 0;
    if (!want_int(key, &i)) return Val();
    const bool indexable =
        of.is(Kind::list) || of.is(Kind::tuple) || of.is(Kind::string) || of.is(Kind::range);
    const int64_t n = indexable ? length(of) : 0;
    if (i < 0) i += n;
    if (i >= 0 && i < n) {
      const auto at = static_cast<size_t>(i);
      if (of.is(Kind::range)) return Val::of(of.as<Range>().start + i * of.as<Range>().step);
      if (!of.is(Kind::string)) return of.as<List>().items()[at];
      size_t begin = offset_of(of.text(), at);
      size_t end = begin;
      next_code_point(of.text(), end);
      if (!step(end / 256)) return Val();
      return str(of.text().substr(begin, end - begin));
    }
    return undefined(mm2::join("'", type_name(of), " object' has no element ", i));
  }
  if (key.is(Kind::string)) {
    const Member member = member_of(of, key.text());
    if (member == Member::none && of.is(Kind::dict)) {
      return undefined("'dict object' has no attribute '", key.text(), "'");
    }
    return get_attribute(of, key.text());
  }
  return undefined(mm2::join("'", type_name(of), " object' has no such element"));
}

Val Run::slice(const Val& of, const Val& from, const Val& to, const Val& by) {
  if (of.is(Kind::undefined)) return fail_undefined(of);
  const bool sliceable =
      of.is(Kind::list) || of.is(Kind::tuple) || of.is(Kind::string) || of.is(Kind::range);
  if (of.is(Kind::dict)) return undefined("'dict object' has no such element");
  if (!sliceable)
    return fail("TypeError", mm2::join("'", type_name(of), "' object is not subscriptable"));
  const auto bound = [&](const Val& v, int64_t* out) {
    if (v.is(Kind::none)) return true;
    if (!v.is_int() && !v.is(Kind::big)) {
      fail("TypeError", "slice indices must be integers or None or have an __index__ method");
      return false;
    }
    return want_int(v, out);
  };
  int64_t step_by = 1;
  if (!bound(by, &step_by)) return Val();
  if (step_by == 0) return fail("ValueError", "slice step cannot be zero");
  const int64_t n = length(of);
  const bool forward = step_by > 0;
  int64_t start = forward ? 0 : n - 1;
  int64_t stop = forward ? n : -1;
  const auto clamp = [&](const Val& v, int64_t* out) {
    if (v.is(Kind::none)) return true;
    if (!bound(v, out)) return false;
    if (*out < 0) *out = std::max(*out + n, forward ? int64_t{0} : int64_t{-1});
    *out = std::min(*out, forward ? n : n - 1);
    return true;
  };
  if (!clamp(from, &start) || !clamp(to, &stop)) return Val();
  if (of.is(Kind::range)) {
    const Range& r = of.as<Range>();
    Range* out = make<Range>(0, heap_);
    out->start = r.start + start * r.step;
    out->stop = r.start + stop * r.step;
    out->step = r.step * step_by;
    return Val::of(out);
  }
  if (of.is(Kind::string)) {
    const std::string& text = of.text();
    if (!step(text.size() / 64)) return Val();
    if (step_by == 1) {
      if (start >= stop) return str("");
      const size_t begin = offset_of(text, static_cast<size_t>(start));
      const size_t size =
          offset_of(std::string_view(text).substr(begin), static_cast<size_t>(stop - start));
      return str(text.substr(begin, size));
    }
    if (!step(text.size() / 4) || !room_for(text.size())) return Val();
    std::string out;
    out.reserve(text.size());
    if (start < 0 || start >= n) return str("");
    size_t at = offset_of(text, static_cast<size_t>(start));
    for (int64_t i = start; forward ? i < stop : i > stop; i += step_by) {
      size_t end = at;
      next_code_point(text, end);
      out.append(text, at, end - at);
      // To the next one, character by character: the ends of the text stop it.
      for (int64_t k = std::min(std::abs(step_by), n);
           k > 0 && (forward ? at < text.size() : at > 0); --k) {
        if (forward) {
          next_code_point(text, at);
        } else {
          at = previous(text, at);
        }
      }
    }
    return str(std::move(out));
  }
  const auto& items = of.as<List>().items();
  Vals out(heap_);
  for (int64_t i = start; forward ? i < stop : i > stop; i += step_by) {
    if (!add(out, items[static_cast<size_t>(i)])) return Val();
  }
  return list(std::move(out), of.kind());
}

// 'a.b.0' or an index, each step as []; what attribute= of filters means.
Val Run::by_path(const Val& of, const Val& path) {
  if (!path.is(Kind::string)) return get_item(of, path);
  Val at = of;
  for (const std::string_view part : split_at(path.text(), '.')) {
    const bool number = !part.empty() &&
                        part.find_first_not_of("0123456789") == std::string_view::npos &&
                        part.size() < 18;
    at = get_item(at, number ? Val::of(static_cast<int64_t>(std::stoll(std::string(part))))
                             : str(std::string(part)));
    if (failed()) return Val();
  }
  return at;
}

}  // namespace mm2::chat::jinja
