// The filters that work on sequences and mappings: join, map, select, sort, unique, group.
#include "chat/jinja/filters.h"

#include <algorithm>

#include "base/join.h"

namespace mm2::chat::jinja {

namespace {

// A stable sort by `keys`, reversed as Python does it. False when two have no order.
bool sort_by(Run& run, Vals& items, const Vals& keys, bool reverse) {
  if (!run.room_for(4 * items.size() * sizeof(size_t))) return false;
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  if (reverse) std::reverse(order.begin(), order.end());
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return !run.failed() && run.step() && run.order(keys[a], keys[b]) == -1;
  });
  if (reverse) std::reverse(order.begin(), order.end());
  Vals out(run.heap());
  if (!run.room_for(items.size() * sizeof(Val))) return false;
  out.reserve(items.size());
  for (const size_t i : order) out.push_back(items[i]);
  items = std::move(out);
  return !run.failed();
}

Val generator(Run& run, Vals items) {
  return run.list(std::move(items), Kind::generator);
}

}  // namespace

Val filter_join(Run& run, const Val& v, Args& args) {
  Bound b;
  Vals items(run.heap());
  if (!run.bind("join", args, {"d", "attribute"}, &b) || !run.iterate(v, &items)) return Val();
  Vals parts(run.heap());
  for (const Val& item : items) {
    if (!parts.empty() && b.has[0] && !run.add(parts, text_of(run, b.value[0]))) return Val();
    const bool by = b.has[1] && !b.value[1].is(Kind::none);
    if (!run.add(parts, by ? run.by_path(item, b.value[1]) : item) || run.failed()) return Val();
  }
  // concat() escapes only when something is marked safe; without autoescape join never does.
  Captured out(run.heap());
  for (const Val& part : parts) {
    const size_t begin = out.text.size();
    if (part.is(Kind::string) && !run.grow(out, begin + part.text().size())) return Val();
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

namespace {

// The rest of the arguments after the first `n`.
Args rest(const Args& args, size_t n) {
  Args out(args.pos.get_allocator());
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

}  // namespace

Val filter_map(Run& run, const Val& v, Args& args) {
  if (v.is(Kind::undefined) || (!truthy(v) && !v.is_number()))
    return generator(run, Vals(run.heap()));
  Vals items(run.heap());
  Vals out(run.heap());
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

namespace {

Val pick(Run& run, const Val& v, Args& args, bool by_attribute, bool keep) {
  if (v.is(Kind::undefined) || (!truthy(v) && !v.is_number()))
    return generator(run, Vals(run.heap()));
  Vals items(run.heap());
  Vals out(run.heap());
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

}  // namespace

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
  Vals items(run.heap());
  if (!run.bind("list", args, {}, &b) || !run.iterate(v, &items)) return Val();
  return run.list(std::move(items));
}

Val filter_first(Run& run, const Val& v, Args&) {
  if (v.is(Kind::generator)) {
    List& g = v.as<List>();
    if (g.at < g.items().size()) return g.items()[g.at++];
  }
  if (v.is(Kind::string) && !v.text().empty()) return run.get_item(v, Val::of(int64_t{0}));
  Vals items(run.heap());
  if (!run.iterate(v, &items)) return Val();
  return items.empty() ? run.undefined("No first item, sequence was empty.") : items.front();
}

Val filter_last(Run& run, const Val& v, Args&) {
  if (v.is(Kind::generator)) return run.fail("TypeError", "'generator' object is not reversible");
  if (v.is(Kind::string) && !v.text().empty()) {
    const size_t begin = previous(v.text(), v.text().size());
    return run.str(v.text().substr(begin));
  }
  Vals items(run.heap());
  if (!run.iterate(v, &items)) return Val();
  return items.empty() ? run.undefined("No last item, sequence was empty.") : items.back();
}

Val filter_random(Run& run, const Val& v, Args& args) {
  return filter_first(run, v, args);
}

Val filter_reverse(Run& run, const Val& v, Args&) {
  Vals items(run.heap());
  if (v.is_number() || v.is(Kind::none))
    return run.fail("FilterArgumentError", "argument must be iterable");
  if (v.is(Kind::string)) {
    const std::string& text = v.text();
    if (!run.step(text.size() / 4) || !run.room_for(text.size())) return Val();
    std::string out;
    out.reserve(text.size());
    for (size_t end = text.size(); end > 0;) {
      const size_t begin = previous(text, end);
      out.append(text, begin, end - begin);
      end = begin;
    }
    return run.str(std::move(out));
  }
  if (!run.iterate(v, &items)) return Val();
  std::reverse(items.begin(), items.end());
  return generator(run, std::move(items));
}

Val filter_sort(Run& run, const Val& v, Args& args) {
  Bound b;
  Vals items(run.heap());
  if (!run.bind("sort", args, {"reverse", "case_sensitive", "attribute"}, &b) ||
      !run.iterate(v, &items))
    return Val();
  const bool sensitive = b.has[1] && truthy(b.value[1]);
  const bool by = b.has[2] && !b.value[2].is(Kind::none);
  Vals keys(run.heap());
  for (const Val& item : items) {
    Val key = item;
    if (by && b.value[2].is(Kind::string)) {
      Vals parts(run.heap());
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
  Vals items(run.heap());
  if (!run.bind("unique", args, {"case_sensitive", "attribute"}, &b) || !run.iterate(v, &items))
    return Val();
  const Val holder = run.dict(Pairs(run.heap()));
  if (run.failed()) return Val();
  Vals out(run.heap());
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
  if (v.is(Kind::undefined)) return generator(run, Vals(run.heap()));
  if (!v.is(Kind::dict)) return run.fail("TypeError", "Can only get item pairs from a mapping.");
  Vals out(run.heap());
  for (const auto& [key, value] : v.as<Dict>().items()) {
    if (!run.add(out, run.list(run.vals({key, value}), Kind::tuple))) return Val();
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
  Vals items(run.heap());
  Vals keys(run.heap());
  for (const auto& [key, value] : v.as<Dict>().items()) {
    items.push_back(run.list(run.vals({key, value}), Kind::tuple));
    const Val& sorted = by == 0 ? key : value;
    keys.push_back(b.has[0] && truthy(b.value[0]) ? sorted : lowered(run, sorted));
    if (run.failed()) return Val();
  }
  if (!sort_by(run, items, keys, b.has[2] && truthy(b.value[2]))) return Val();
  return run.list(std::move(items));
}

Val filter_batch(Run& run, const Val& v, Args& args) {
  Bound b;
  int64_t count = 0;
  Vals items(run.heap());
  if (!run.bind("batch", args, {"linecount", "fill_with"}, &b, 1) ||
      !run.want_int(b.value[0], &count) || !run.iterate(v, &items))
    return Val();
  if (count < 1) count = 1;
  Vals out(run.heap());
  for (size_t at = 0; at < items.size();) {
    Vals row(run.heap());
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
  Vals items(run.heap());
  if (!run.bind("slice", args, {"slices", "fill_with"}, &b, 1) ||
      !run.want_int(b.value[0], &slices) || !run.iterate(v, &items))
    return Val();
  if (slices == 0) return run.fail("ZeroDivisionError", "integer division or modulo by zero");
  Vals out(run.heap());
  const int64_t n = static_cast<int64_t>(items.size());
  const int64_t extra = slices > 0 ? n % slices : 0;
  int64_t at = 0;
  for (int64_t s = 0; s < slices; ++s) {
    Vals row(run.heap());
    for (int64_t i = 0; i < n / slices + (s < extra); ++i)
      row.push_back(items[static_cast<size_t>(at++)]);
    if (b.has[1] && !b.value[1].is(Kind::none) && s >= extra && extra > 0)
      row.push_back(b.value[1]);
    if (!run.add(out, run.list(std::move(row)))) return Val();
  }
  return generator(run, std::move(out));
}

Val filter_groupby(Run& run, const Val& v, Args& args) {
  Bound b;
  Vals items(run.heap());
  if (!run.bind("groupby", args, {"attribute", "default", "case_sensitive"}, &b, 1) ||
      !run.iterate(v, &items))
    return Val();
  const bool sensitive = b.has[2] && truthy(b.value[2]);
  Vals keys(run.heap());
  for (const Val& item : items) {
    Val key = run.by_path(item, b.value[0]);
    if (run.failed()) return Val();
    if (key.is(Kind::undefined) && b.has[1] && !b.value[1].is(Kind::none)) key = b.value[1];
    if (key.is(Kind::undefined) && items.size() > 1) return run.fail_undefined(key);
    keys.push_back(sensitive ? key : lowered(run, key));
  }
  Vals order(run.heap());
  for (size_t i = 0; i < items.size(); ++i) order.push_back(Val::of(static_cast<int64_t>(i)));
  if (!sort_by(run, order, keys, false)) return Val();
  Vals out(run.heap());
  for (size_t i = 0; i < order.size();) {
    const auto first = static_cast<size_t>(order[i].integer());
    Vals group(run.heap());
    size_t k = i;
    while (k < order.size() && equal(keys[static_cast<size_t>(order[k].integer())], keys[first]))
      group.push_back(items[static_cast<size_t>(order[k++].integer())]);
    if (k == i) ++k;  // NaN equals nothing
    const Val shown = run.by_path(items[first], b.value[0]);
    const Val& key = shown.is(Kind::undefined) ? keys[first] : shown;
    const Val pair = run.list(run.vals({key, run.list(std::move(group))}), Kind::tuple);
    if (!run.add(out, pair)) return Val();
    i = k;
  }
  return run.list(std::move(out));
}

}  // namespace mm2::chat::jinja
