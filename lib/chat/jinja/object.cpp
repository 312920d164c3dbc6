#include "chat/jinja/object.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <utility>

#include "absl/hash/hash.h"

namespace mm2::chat::jinja {
namespace {

constexpr size_t kIndexFrom = 12;  // below, a dict is searched from the front

// Seeded per process: a context cannot be made of colliding keys.
uint64_t hash_of_text(std::string_view text) {
  return absl::HashOf(absl::string_view(text.data(), text.size()));
}

}  // namespace

void add_span(Spans& spans, size_t begin, size_t end) {
  if (begin >= end) return;
  if (!spans.empty() && spans.back().end == begin) {
    spans.back().end = end;
  } else {
    spans.push_back({begin, end});
  }
}

void List::fill() {
  const Value& from = *std::exchange(source, nullptr);
  items_.reserve(from.items.size());
  for (const Value& item : from.items) items_.push_back(imported(heap, item));
  heap.steps += from.items.size() / 4;
}

void Dict::fill() {
  const Value& from = *std::exchange(source, nullptr);
  items_.reserve(from.items.size());
  for (size_t i = 0; i < from.items.size(); ++i) {
    const std::string_view key = from.keys[i];
    set(Val::of(allocate<Str>(heap, key.size(), heap, std::string(key))),
        imported(heap, from.items[i]));
  }
  heap.steps += from.items.size() / 2;
}

// The slot of the key, or the free one where it would go.
const Val* Dict::find(const Val& key) {
  if (source != nullptr) fill();
  if (slots_.empty()) {
    for (const auto& [k, v] : items_) {
      if (equal(k, key)) return &v;
    }
    return nullptr;
  }
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash_of(key) & mask; slots_[at] != 0; at = (at + 1) & mask) {
    const auto& [k, v] = items_[slots_[at] - 1];
    if (equal(k, key)) return &v;
  }
  return nullptr;
}

const Val* Dict::find(std::string_view key) {
  if (source != nullptr) fill();
  const auto is_key = [&](const Val& k) { return k.is(Kind::string) && k.text() == key; };
  if (slots_.empty()) {
    for (const auto& [k, v] : items_) {
      if (is_key(k)) return &v;
    }
    return nullptr;
  }
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash_of_text(key) & mask; slots_[at] != 0; at = (at + 1) & mask) {
    const auto& [k, v] = items_[slots_[at] - 1];
    if (is_key(k)) return &v;
  }
  return nullptr;
}

void Dict::set(const Val& key, Val value) {
  if (const Val* at = find(key); at != nullptr) {
    *const_cast<Val*>(at) = std::move(value);
    return;
  }
  items_.emplace_back(key, std::move(value));
  const auto put = [&](size_t i) {
    const size_t mask = slots_.size() - 1;
    size_t at = hash_of(items_[i].first) & mask;
    while (slots_[at] != 0) at = (at + 1) & mask;
    slots_[at] = static_cast<uint32_t>(i + 1);
  };
  if (items_.size() >= kIndexFrom && items_.size() * 2 > slots_.size()) {
    slots_.assign(std::bit_ceil(items_.size() * 4), 0);
    for (size_t i = 0; i < items_.size(); ++i) put(i);
  } else if (!slots_.empty()) {
    put(items_.size() - 1);
  }
}

Val imported(Heap& heap, const Value& value) {
  switch (value.kind) {
    case Value::Kind::null:
      return Val::none();
    case Value::Kind::boolean:
      return Val::of(value.flag);
    case Value::Kind::integer: {
      BigInt number = BigInt::parse(value.text);
      if (const auto small = number.to_int64()) return Val::of(*small);
      const uint64_t bytes = number.limbs.size() * sizeof(uint32_t);
      return Val::of(allocate<Big>(heap, bytes, heap, std::move(number)));
    }
    case Value::Kind::real:
      return Val::of(value.real);
    case Value::Kind::string:
      heap.steps += value.text.size() / 256;
      return Val::of(allocate<Str>(heap, value.text.size(), heap, std::string(value.text)));
    case Value::Kind::array: {
      List* list = allocate<List>(heap, 0, Kind::list, heap);
      list->source = &value;
      list->depth = value.depth;
      return Val::of(list);
    }
    case Value::Kind::object: {
      Dict* dict = allocate<Dict>(heap, 0, heap);
      dict->source = &value;
      dict->depth = value.depth;
      return Val::of(dict);
    }
  }
  return Val::none();
}

int64_t Range::size() const {
  if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

double to_double(const Val& v) {
  if (v.is(Kind::real)) return v.real();
  if (v.is(Kind::big)) return v.as<Big>().value.to_double();
  return static_cast<double>(v.integer());
}

BigInt to_big(const Val& v) {
  return v.is(Kind::big) ? v.as<Big>().value : BigInt::of(v.integer());
}

int compare_numbers(const Val& a, const Val& b) {
  const auto order = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : 0; };
  if (a.is_int() && b.is_int()) return order(a.integer(), b.integer());
  if (a.is(Kind::real) && b.is(Kind::real)) {
    if (std::isnan(a.real()) || std::isnan(b.real())) return 2;
    return order(a.real(), b.real());
  }
  if (!a.is(Kind::real) && !b.is(Kind::real)) return compare(to_big(a), to_big(b));
  if (b.is(Kind::real)) {
    const double d = b.real();
    if (std::isnan(d)) return 2;
    if (std::isinf(d)) return d > 0 ? -1 : 1;
    const int c = compare(to_big(a), BigInt::truncate(d));
    if (c != 0) return c;
    return order(0.0, d - std::trunc(d));
  }
  const int c = compare_numbers(b, a);
  return c == 2 ? 2 : -c;
}

bool truthy(const Val& v) {
  switch (v.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return v.integer() != 0;
    case Kind::real:
      return v.real() != 0;
    case Kind::string:
      return !v.text().empty();
    case Kind::list:
    case Kind::tuple:
      return !v.as<List>().items().empty();
    case Kind::dict:
      return !v.as<Dict>().items().empty();
    case Kind::range:
      return v.as<Range>().size() != 0;
    case Kind::view:
      return truthy(v.as<View>().dict);
    default:
      return true;
  }
}

bool equal(const Val& a, const Val& b, int depth) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind() || depth > 256) return false;
  switch (a.kind()) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::string:
      if (a.object() == b.object()) return true;
      a.object()->heap.steps += std::min(a.text().size(), b.text().size()) / 256;
      return a.text() == b.text();
    case Kind::list:
    case Kind::tuple: {
      const auto& x = a.as<List>().items();
      const auto& y = b.as<List>().items();
      if (x.size() != y.size()) return false;
      Heap& heap = a.object()->heap;
      for (size_t i = 0; i < x.size(); ++i) {
        // Collections may hold the same ones many times over, so the work must be bounded here.
        if (++heap.steps > heap.max_steps || !equal(x[i], y[i], depth + 1)) return false;
      }
      return true;
    }
    case Kind::dict: {
      Dict& x = a.as<Dict>();
      Dict& y = b.as<Dict>();
      if (x.items().size() != y.items().size()) return false;
      for (const auto& [key, value] : x.items()) {
        if (++x.heap.steps > x.heap.max_steps) return false;
        const Val* other = y.find(key);
        if (other == nullptr || !equal(value, *other, depth + 1)) return false;
      }
      return true;
    }
    case Kind::range: {
      const Range& x = a.as<Range>();
      const Range& y = b.as<Range>();
      const int64_t n = x.size();
      return n == y.size() && (n == 0 || (x.start == y.start && (n == 1 || x.step == y.step)));
    }
    case Kind::view:
      return a.as<View>().what == b.as<View>().what &&
             equal(a.as<View>().dict, b.as<View>().dict, depth + 1);
    case Kind::builtin:
      return a.as<Builtin>().name == b.as<Builtin>().name;
    default:
      return a.object() == b.object();
  }
}

bool hashable(const Val& v) {
  switch (v.kind()) {
    case Kind::list:
    case Kind::dict:
    case Kind::view:
      return false;
    case Kind::tuple:
      for (const Val& item : v.as<List>().items()) {
        Heap& heap = v.object()->heap;
        if (++heap.steps > heap.max_steps || !hashable(item)) return false;
      }
      return true;
    default:
      return true;
  }
}

uint64_t hash_of(const Val& v) {
  switch (v.kind()) {
    case Kind::boolean:
    case Kind::integer:
    case Kind::real:
    case Kind::big:
      return std::hash<double>()(to_double(v) + 0.0);
    case Kind::string:
      return hash_of_text(v.text());
    case Kind::tuple: {
      uint64_t h = 17;
      Heap& heap = v.object()->heap;
      for (const Val& item : v.as<List>().items()) {
        if (++heap.steps > heap.max_steps) return h;
        h = h * 1000003 + hash_of(item);
      }
      return h;
    }
    default:
      return static_cast<uint64_t>(v.kind());
  }
}

const char* type_name(const Val& v) {
  switch (v.kind()) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
    case Kind::big:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::dict:
      return "dict";
    case Kind::range:
      return "range";
    case Kind::names:
      return "Namespace";
    case Kind::macro:
      return "Macro";
    case Kind::builtin:
      return "function";
    case Kind::method:
      return "builtin_function_or_method";
    case Kind::loop:
      return "LoopContext";
    case Kind::generator:
      return "generator";
    case Kind::view:
      return "dict_view";
    case Kind::cycler:
      return "Cycler";
    case Kind::joiner:
      return "Joiner";
  }
  return "object";
}

}  // namespace mm2::chat::jinja
