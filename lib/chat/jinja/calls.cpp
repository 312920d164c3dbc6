// Calling things: macros, global functions, loops.
#include "base/join.h"
#include "chat/jinja/run.h"

namespace mm2::chat::jinja {
namespace {

constexpr int64_t kMaxRange = 100000;  // of Jinja2's sandbox

}  // namespace

Val Run::call(const Val& callee, Args& args) {
  if (!step()) return Val();
  switch (callee.kind()) {
    case Kind::undefined:
      return fail_undefined(callee);
    case Kind::macro:
      return call_macro(callee.as<Macro>(), args);
    case Kind::builtin: {
      const std::string name = callee.as<Builtin>().name;
      return call_builtin(name, args);
    }
    case Kind::method: {
      const Val keep = callee;
      return call_method(keep.as<Method>(), args);
    }
    case Kind::loop: {
      const Val keep = callee;
      return call_loop(keep.as<Loop>(), args);
    }
    case Kind::joiner: {
      Cycler& joiner = callee.as<Cycler>();
      if (joiner.at++ == 0) return str("");
      return joiner.items[0];
    }
    default:
      return fail("TypeError", mm2::join("'", type_name(callee), "' object is not callable"));
  }
}

Val Run::call_builtin(const std::string& name, Args& args) {
  if (name == "raise_exception") {
    Bound b;
    if (!bind("raise_exception", args, {"message"}, &b, 1)) return Val();
    return fail_exactly(to_str(b.value[0]));
  }
  if (name == "range") {
    if (!args.kw.empty()) return fail("TypeError", "range() takes no keyword arguments");
    if (args.pos.empty() || args.pos.size() > 3)
      return fail("TypeError", "range expected 1 to 3 arguments");
    int64_t n[3] = {0, 0, 1};
    for (size_t i = 0; i < args.pos.size(); ++i) {
      if (!want_int(args.pos[i], &n[i])) return Val();
    }
    if (args.pos.size() == 1) std::swap(n[0], n[1]);
    if (n[2] == 0) return fail("ValueError", "range() arg 3 must not be zero");
    constexpr int64_t kMost = int64_t{1} << 60;
    for (int64_t& v : n) v = std::min(std::max(v, -kMost), kMost);
    Range* range = make<Range>(0, heap_);
    const Val v = Val::of(range);
    range->start = n[0];
    range->stop = n[1];
    range->step = n[2];
    if (range->size() > kMaxRange) {
      return fail("OverflowError",
                  mm2::join("Range too big. The sandbox blocks ranges larger than MAX_RANGE (",
                            kMaxRange, ")."));
    }
    return v;
  }
  if (name == "dict") {
    Pairs items(heap_);
    if (args.pos.size() > 1) return fail("TypeError", "dict expected at most 1 argument");
    if (!args.pos.empty() && args.pos[0].is(Kind::dict)) {
      items = args.pos[0].as<Dict>().items();
    } else if (!args.pos.empty()) {
      Vals pairs(heap_);
      if (args.pos[0].is(Kind::undefined)) return fail_undefined(args.pos[0]);
      if (!iterate(args.pos[0], &pairs)) return Val();
      for (const Val& pair : pairs) {
        Vals parts(heap_);
        if (!iterate(pair, &parts)) return Val();
        if (parts.size() != 2)
          return fail("ValueError",
                      "dictionary update sequence element has the wrong length; 2 is required");
        items.emplace_back(parts[0], parts[1]);
      }
    }
    for (auto& [key, value] : args.kw) items.emplace_back(str(key), value);
    return dict(std::move(items));
  }
  if (name == "namespace") {
    Names* names = make<Names>(64, heap_);
    const Val v = Val::of(names);
    cyclic_.push_back(v);
    const auto put = [&](const std::string& key, const Val& value) {
      if (!key.empty() && key[0] == '_') {
        fail("SecurityError",
             "Chat templates cannot store underscore-prefixed attributes on a namespace");
      }
      names->items.emplace_back(key, value);
    };
    if (args.pos.size() > 1) return fail("TypeError", "namespace takes at most 1 argument");
    if (!args.pos.empty()) {
      if (!args.pos[0].is(Kind::dict)) return fail("TypeError", "namespace needs a mapping");
      for (const auto& [key, value] : args.pos[0].as<Dict>().items()) put(to_str(key), value);
    }
    for (const auto& [key, value] : args.kw) put(key, value);
    return v;
  }
  if (name == "cycler" || name == "joiner") {
    const bool joiner = name == "joiner";
    Cycler* cycler =
        make<Cycler>(args.pos.size() * sizeof(Val), joiner ? Kind::joiner : Kind::cycler, heap_);
    const Val v = Val::of(cycler);
    if (joiner) {
      Bound b;
      if (!bind("joiner", args, {"sep"}, &b)) return Val();
      cycler->items.push_back(b.has[0] ? b.value[0] : str(", "));
    } else {
      if (args.pos.empty()) return fail("RuntimeError", "at least one item has to be provided");
      cycler->items = args.pos;
    }
    uint16_t depth = 0;
    for (const Val& item : cycler->items) {
      if (item.is_object() && item.object() != nullptr)
        depth = std::max(depth, item.object()->depth);
    }
    if (depth > 150) return fail_budget("too deeply nested values");
    cycler->depth = static_cast<uint16_t>(depth + 1);
    return v;
  }
  if (name == "strftime_now") {
    Bound b;
    if (!bind("strftime_now", args, {"format"}, &b, 1) || !want_string(b.value[0], "format"))
      return Val();
    return strftime(b.value[0].text());
  }
  return fail("NotImplementedError", mm2::join(name, "() is not part of this interpreter"));
}

}  // namespace mm2::chat::jinja
