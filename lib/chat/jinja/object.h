// Values of a running template: Python's, reference counted, every byte accounted for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/bigint.h"
#include "chat/value.h"

namespace mm2::chat::jinja {

enum class Kind : uint8_t {
  undefined,
  none,
  boolean,
  integer,
  real,
  big,  // an integer that does not fit 64 bits
  string,
  list,
  tuple,
  dict,
  range,
  names,  // namespace()
  macro,
  builtin,
  method,
  loop,
  generator,
  view,  // dict.keys(), .values(), .items()
  cycler,
  joiner,
};

/// What one run has used up: bytes that its objects occupy now, steps of work. Outlives them.
struct Heap {
  uint64_t used = 0;
  uint64_t limit = 0;
  uint64_t steps = 0;
  uint64_t max_steps = 0;

  bool exhausted() const { return used > limit || steps > max_steps; }
};

/// Bytes of a heap that are taken for as long as this lives.
class Charge {
 public:
  explicit Charge(Heap& heap, uint64_t bytes = 0) : heap_(&heap) { set(bytes); }
  Charge(Charge&& o) noexcept : heap_(o.heap_), bytes_(std::exchange(o.bytes_, 0)) {}
  Charge& operator=(Charge&& o) noexcept {
    set(0);
    heap_ = o.heap_;
    bytes_ = std::exchange(o.bytes_, 0);
    return *this;
  }
  ~Charge() { set(0); }
  void set(uint64_t bytes) {
    heap_->used += bytes - bytes_;
    bytes_ = bytes;
  }

 private:
  Heap* heap_;
  uint64_t bytes_ = 0;
};

/// Allocator of vectors that take their memory from a heap's budget. It never refuses: whoever
/// makes something large asks Run::room_for first, and every step looks whether too much is held.
template <typename T>
struct Charged {
  using value_type = T;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;

  Charged(Heap& h) : heap(&h) {}  // NOLINT: implicit, so that a vector can be made of a heap
  template <typename U>
  Charged(const Charged<U>& o) : heap(o.heap) {}  // NOLINT

  T* allocate(size_t n) {
    T* const p = std::allocator<T>().allocate(n);
    heap->used += n * sizeof(T);
    return p;
  }
  void deallocate(T* p, size_t n) {
    heap->used -= n * sizeof(T);
    std::allocator<T>().deallocate(p, n);
  }
  friend bool operator==(const Charged& a, const Charged& b) { return a.heap == b.heap; }

  Heap* heap;
};

struct Object {
  Object(Kind k, Heap& h) : heap(h), kind(k) {}
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() { heap.used -= bytes; }

  Heap& heap;
  uint64_t bytes = 0;
  uint32_t refs = 0;
  uint16_t depth = 0;  // of nested containers below this one; bounded, so destruction is too
  Kind kind;
};

/// One value. Objects are shared and immutable but for namespaces, cyclers and generators.
class Val {
 public:
  Val() = default;
  Val(const Val& o) : kind_(o.kind_), u_(o.u_) { keep(); }
  Val(Val&& o) noexcept : kind_(o.kind_), u_(o.u_) { o.forget(); }
  Val& operator=(Val o) noexcept {
    std::swap(kind_, o.kind_);
    std::swap(u_, o.u_);
    return *this;
  }
  ~Val() {
    if (is_object() && u_.object != nullptr && --u_.object->refs == 0) delete u_.object;
  }

  static Val none() { return Val(Kind::none); }
  static Val of(bool b) {
    Val v(Kind::boolean);
    v.u_.integer = b;
    return v;
  }
  static Val of(int64_t i) {
    Val v(Kind::integer);
    v.u_.integer = i;
    return v;
  }
  static Val of(double d) {
    Val v(Kind::real);
    v.u_.real = d;
    return v;
  }
  static Val of(Object* object) {
    Val v(object->kind);
    v.u_.object = object;
    v.keep();
    return v;
  }

  Kind kind() const { return kind_; }
  bool is(Kind k) const { return kind_ == k; }
  bool is_object() const { return kind_ == Kind::undefined || kind_ >= Kind::big; }
  bool is_int() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }
  bool is_number() const { return is_int() || kind_ == Kind::real || kind_ == Kind::big; }
  int64_t integer() const { return u_.integer; }  // booleans: 0 or 1
  double real() const { return u_.real; }
  Object* object() const { return u_.object; }
  template <typename T>
  T& as() const {
    return *static_cast<T*>(u_.object);
  }
  const std::string& text() const;

 private:
  explicit Val(Kind k) : kind_(k) { u_.integer = 0; }
  void keep() const {
    if (is_object() && u_.object != nullptr) ++u_.object->refs;
  }
  void forget() {
    kind_ = Kind::none;
    u_.integer = 0;
  }
  Kind kind_ = Kind::undefined;
  union {
    int64_t integer;
    double real;
    Object* object = nullptr;
  } u_;
};

using Vals = std::vector<Val, Charged<Val>>;
using Pairs = std::vector<std::pair<Val, Val>, Charged<std::pair<Val, Val>>>;

/// Bytes [begin, end) that the template itself wrote as a literal.
struct Span {
  size_t begin;
  size_t end;
};
using Spans = std::vector<Span, Charged<Span>>;
/// Appends a span, joining it to the last when they touch.
void add_span(Spans& spans, size_t begin, size_t end);

struct Str final : Object {
  Str(Heap& h, std::string t) : Object(Kind::string, h), text(std::move(t)), literal(h) {}
  std::string text;
  Spans literal;
  bool markup = false;  // marked safe
};

struct Big final : Object {
  Big(Heap& h, BigInt v) : Object(Kind::big, h), value(std::move(v)) {}
  BigInt value;
};

/// Its message is put together when somebody asks: most are never seen.
struct Undefined final : Object {
  Undefined(Heap& h, const char* b, std::string n, const char* a)
      : Object(Kind::undefined, h), before(b), name(std::move(n)), after(a) {}
  const char* before;
  std::string name;
  const char* after;
  bool security = false;
};

/// list, tuple, and generator (`at` is what was consumed).
struct List final : Object {
  List(Kind k, Heap& h) : Object(k, h), items_(h) {}
  Vals& items() {
    if (source != nullptr) fill();
    return items_;
  }
  const Value* source = nullptr;  // of the context, as long as nobody has looked at the items
  size_t at = 0;

 private:
  void fill();
  Vals items_;
};

struct Dict final : Object {
  explicit Dict(Heap& h) : Object(Kind::dict, h), items_(h), slots_(h) {}
  Pairs& items() {
    if (source != nullptr) fill();
    return items_;
  }
  const Val* find(const Val& key);
  const Val* find(std::string_view key);
  void set(const Val& key, Val value);
  const Value* source = nullptr;  // as of List

 private:
  void fill();
  Pairs items_;
  std::vector<uint32_t, Charged<uint32_t>>
      slots_;  // once there are many: item + 1 where its hash leads, 0 = free
};

struct Range final : Object {
  explicit Range(Heap& h) : Object(Kind::range, h) {}
  int64_t start = 0, stop = 0, step = 1;
  int64_t size() const;
};

struct View final : Object {
  explicit View(Heap& h) : Object(Kind::view, h) {}
  enum class What : uint8_t { keys, values, items } what = What::keys;
  Val dict;
};

struct Names final : Object {
  explicit Names(Heap& h) : Object(Kind::names, h) {}
  std::vector<std::pair<std::string, Val>> items;
};

struct Loop final : Object {
  explicit Loop(Heap& h) : Object(Kind::loop, h), items(h) {}
  Vals items;
  size_t index0 = 0;
  int64_t depth0 = 0;
  const void* node = nullptr;  // recursive loops: the statement
  const void* scope = nullptr;
  Val last_changed;
  bool has_changed = false;
};

struct Method final : Object {
  Method(Heap& h, Val s, std::string n)
      : Object(Kind::method, h), self(std::move(s)), name(std::move(n)) {}
  Val self;
  std::string name;
};

struct Builtin final : Object {
  Builtin(Heap& h, std::string n) : Object(Kind::builtin, h), name(std::move(n)) {}
  std::string name;
};

struct Cycler final : Object {
  Cycler(Kind k, Heap& h) : Object(k, h), items(h) {}
  Vals items;  // joiner: the separator
  size_t at = 0;
};

/// A new object, its bytes counted whether there is room for them or not.
template <typename T, typename... A>
T* allocate(Heap& heap, uint64_t extra, A&&... args) {
  T* object = new T(std::forward<A>(args)...);
  object->bytes = sizeof(T) + extra;
  heap.used += object->bytes;
  return object;
}

/// A value of the context. Collections take their members when they are looked at.
Val imported(Heap& heap, const Value& value);

inline const std::string& Val::text() const {
  return as<Str>().text;
}

/// a == b of Python. Numbers compare by value; undefined equals undefined.
bool equal(const Val& a, const Val& b, int depth = 0);
bool truthy(const Val& v);
/// Whether a dict key can be made of it.
bool hashable(const Val& v);
uint64_t hash_of(const Val& v);
const char* type_name(const Val& v);
/// The value of any number as a double.
double to_double(const Val& v);
BigInt to_big(const Val& v);
/// -1, 0, 1 of two numbers, exactly; 2 when one is NaN.
int compare_numbers(const Val& a, const Val& b);

}  // namespace mm2::chat::jinja
