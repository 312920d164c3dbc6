// One rendering: its memory, its budget, its first error, and the language on top of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "chat/jinja/ast.h"
#include "chat/jinja/date_time.h"
#include "chat/jinja/object.h"
#include "chat/value.h"

namespace mm2::chat::jinja {

struct Args {
  explicit Args(const Charged<Val>& heap) : pos(heap), kw(heap) {}
  Vals pos;
  std::vector<std::pair<std::string, Val>, Charged<std::pair<std::string, Val>>> kw;
};

/// Arguments by parameter, after bind().
struct Bound {
  Val value[6];
  bool has[6] = {};
};

/// Text that is being written.
struct Captured {
  explicit Captured(Heap& heap) : literal(heap), charge(heap) {}
  std::string text;
  Spans literal;
  Charge charge;  // of the text
};

struct Limits {
  uint64_t max_steps = 2'000'000;
  uint64_t max_output_bytes = uint64_t{256} << 20;
  uint64_t max_memory_bytes = uint64_t{60} << 20;  // 64 with what allocators add
  uint32_t max_depth = 200;                        // takes less than 128 KiB of stack
};

using Clock = std::function<DateTime()>;

struct Scope {
  explicit Scope(Heap& heap) : vars(heap), charge(heap, sizeof(Scope)) {}
  std::shared_ptr<Scope> parent;
  const absl::flat_hash_set<int>* hidden = nullptr;
  std::vector<std::pair<int, Val>, Charged<std::pair<int, Val>>> vars;
  Charge charge;

  Val* find(int id) {
    for (auto& [name, value] : vars) {
      if (name == id) return &value;
    }
    return nullptr;
  }
  void set(int id, Val value) {
    if (Val* at = find(id); at != nullptr) {
      *at = std::move(value);
    } else {
      vars.emplace_back(id, std::move(value));
    }
  }
};

struct Macro final : Object {
  explicit Macro(Heap& h) : Object(Kind::macro, h) {}
  const Node* node = nullptr;
  std::shared_ptr<Scope> scope;
};

enum class Flow : uint8_t { go_on, break_, continue_ };

/// After the first error failed() is true and every value is meaningless; callers look before they
/// go on. Errors carry Python's class in front of the text.
class Run {
 public:
  Run(const Program& program, const Limits& limits, const Clock& clock);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// *literal: the bytes of *text that the template itself wrote.
  Status render(const Value& context, std::string* text, std::vector<Span>* literal);

  // --- errors and budget
  bool failed() const { return !status_.ok(); }
  /// The failure is the template's own: raise_exception was called.
  bool raised() const { return raised_; }
  Val fail(std::string_view kind, std::string_view what);
  Val fail_exactly(std::string message);
  Val fail_budget(std::string_view what);
  Val fail_undefined(const Val& undefined);
  /// Work done; false once there is too much of it, or too much memory held.
  bool step(uint64_t n = 1) {
    heap_.steps += n;
    if (heap_.exhausted()) fail_exhausted();
    return !failed();
  }
  /// Whether so many more bytes may be held; fails the run if not.
  bool room_for(uint64_t bytes) {
    if (bytes > heap_.limit || heap_.used > heap_.limit - bytes) fail_memory();
    return !failed();
  }

  // --- new values
  template <typename T, typename... A>
  T* make(uint64_t extra, A&&... args) {
    room_for(sizeof(T) + extra);
    return allocate<T>(heap_, extra, std::forward<A>(args)...);
  }
  Heap& heap() { return heap_; }
  /// Makes room for so much text beside what is there; false (failed) when there is none.
  bool grow(Captured& out, uint64_t size);
  Val str(std::string text);
  Val str(Captured captured);
  Val list(Vals items, Kind kind = Kind::list);
  Val dict(Pairs items);
  Vals vals(std::initializer_list<Val> items) { return Vals(items, heap_); }
  bool add(Vals& items, Val value);  // push_back within the budget
  Val undefined(std::string message, bool security = false);
  /// The same with a message of three parts, the outer ones literals.
  Val undefined(const char* before, std::string_view name, const char* after);
  Val integer(BigInt value);
  Val builtin(std::string name);

  // --- the language
  Val get_attribute(const Val& of, const std::string& name);
  Val get_item(const Val& of, const Val& key);
  Val slice(const Val& of, const Val& from, const Val& to, const Val& step);
  Val by_path(const Val& of, const Val& path);
  Val binary(std::string_view op, const Val& a, const Val& b);
  Val concat(const Vals& parts);
  bool compare(std::string_view op, const Val& a, const Val& b);
  /// -1, 0, 1 by Python's <; fails for what has no order.
  int order(const Val& a, const Val& b, int depth = 0);
  bool contains(const Val& in, const Val& what);
  bool iterate(const Val& over, Vals* out);
  int64_t length(const Val& v);
  Val call(const Val& callee, Args& args);
  Val call_filter(int number, const Val& value, Args& args);
  Val call_filter(std::string_view name, const Val& value, Args& args);
  bool call_test(const std::string& name, const Val& value, Args& args);
  Val call_method(const Method& method, Args& args);

  std::string to_str(const Val& v);
  void append_str(std::string& out, const Val& v);
  void append_repr(std::string& out, const Val& v, int depth = 0);
  Val to_json(const Val& v, Args& args);
  Val percent_format(const std::string& format, const Val& value);
  Val brace_format(const std::string& format, Args& args);

  /// Arguments to parameters by position and name; false (failed) when they do not fit.
  bool bind(const char* function, Args& args, std::initializer_list<const char*> names, Bound* out,
            size_t required = 0);
  bool want_string(const Val& v, const char* what);
  /// An index or size; false (failed) when it is no integer. Clamped to +-2^62.
  bool want_int(const Val& v, int64_t* out);
  bool autoescape() const { return autoescape_; }

 private:
  friend class ScopeGuard;
  void fail_exhausted();
  void fail_memory();
  Val eval(const Node* node);
  Val eval_name(const Node* node);
  Val eval_call(const Node* node);
  Val eval_compare(const Node* node);
  bool eval_args(const Node* node, Args* args);
  Val unary(const Node* node);
  Flow exec(const Node* node);
  Flow exec_block(const Node* node);
  Flow exec_if(const Node* node);
  Flow exec_for(const Node* node, const Val* over, int64_t depth0);
  Flow exec_with(const Node* node);
  Flow exec_inner(const Node* node, const Node* body);
  Flow captured(const Node* node, const Node* body, Captured* out);
  void assign(const Node* target, const Val& value);
  void print(const Val& value);
  void write(std::string_view text, const Spans* literal, bool all_literal);
  Val filter_chain(const Node* node, const Val& input);
  Val make_macro(const Node* node);
  Val constant(const Node* node);
  bool bind_macro(const Node* node, Args& args);
  Val call_macro(Macro& macro, Args& args);
  // One level more, until depth_ is taken down again; false (failed) when that is too deep.
  bool deeper() {
    if (++depth_ > limits_.max_depth) fail_depth();
    return !failed();
  }
  Val fail_depth();
  Val call_builtin(const std::string& name, Args& args);
  Val call_loop(Loop& loop, Args& args);
  Val strftime(const std::string& format);
  Val loop_attribute(Loop& loop, const std::string& name, bool* found);
  Val number_method(const Method& method, Args& args);
  Val string_method(const Method& method, Args& args);

  const Program& program_;
  Limits limits_;
  const Clock& clock_;
  Heap heap_;
  Status status_;
  bool raised_ = false;
  uint32_t depth_ = 0;
  bool autoescape_ = false;
  Captured* out_ = nullptr;
  std::shared_ptr<Scope> scope_;
  std::shared_ptr<Scope> root_;
  std::vector<Val> constants_;  // by number: literals of the template, made when first met
  std::vector<Val> globals_;    // by name id; undefined objects: not there
  std::vector<bool> has_global_;
  std::vector<Val> cyclic_;  // namespaces and macros: what can hold itself
};

/// Whether the type has a method or attribute of that name.
enum class Member : uint8_t { none, method, unsafe };
Member member_of(const Val& of, std::string_view name);

}  // namespace mm2::chat::jinja
