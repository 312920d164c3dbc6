#include "chat/jinja/run.h"

#include <algorithm>

#include "base/join.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

constexpr uint16_t kMaxDepth = 200;  // of nested containers
constexpr const char* kGlobals[] = {"range",           "dict",         "lipsum",
                                    "cycler",          "joiner",       "namespace",
                                    "raise_exception", "strftime_now", "self"};

}  // namespace

Run::Run(const Program& program, const Limits& limits, const Clock& clock)
    : program_(program), limits_(limits), clock_(clock) {
  heap_.limit = limits.max_memory_bytes;
  heap_.max_steps = limits.max_steps;
}

Run::~Run() {
  out_ = nullptr;
  scope_.reset();
  root_.reset();
  globals_.clear();
  constants_.clear();
  for (Val& v : cyclic_) {
    if (v.is(Kind::names)) {
      const auto items = std::move(v.as<Names>().items);
    } else {
      const auto scope = std::move(v.as<Macro>().scope);
    }
  }
  cyclic_.clear();
}

Status Run::render(const Value& context, std::string* text, std::vector<Span>* literal) {
  constants_.resize(static_cast<size_t>(program_.n_constants));
  globals_.resize(program_.names.size());
  has_global_.resize(program_.names.size());
  const auto global = [&](std::string_view name, const auto& value) {
    const auto at = program_.ids.find(absl::string_view(name.data(), name.size()));
    if (at == program_.ids.end()) return;
    globals_[static_cast<size_t>(at->second)] = value();
    has_global_[static_cast<size_t>(at->second)] = true;
  };
  for (const char* name : kGlobals) {
    if (std::string_view(name) == "strftime_now" && !clock_) continue;
    global(name, [&] { return builtin(name); });
  }
  for (size_t i = 0; i < context.keys.size(); ++i) {
    global(context.keys[i], [&] { return imported(heap_, context.items[i]); });
  }
  Captured out(heap_);
  out_ = &out;
  scope_ = root_ = std::make_shared<Scope>(heap_);
  root_->hidden = &program_.root->hidden;
  if (!failed()) exec(program_.root);
  out_ = nullptr;
  if (failed() || !room_for(out.literal.size() * sizeof(Span))) return status_;
  literal->assign(out.literal.begin(), out.literal.end());
  *text = std::move(out.text);
  return {};
}

Val Run::fail(std::string_view kind, std::string_view what) {
  if (status_.ok()) status_ = error(Code::invalid_argument, kind, ": ", what);
  return Val();
}

Val Run::fail_exactly(std::string message) {
  if (!status_.ok()) return Val();
  raised_ = true;
  status_ = Status(Code::invalid_argument, std::move(message));
  return Val();
}

Val Run::fail_budget(std::string_view what) {
  if (status_.ok()) status_ = error(Code::budget, "the chat template needs ", what);
  return Val();
}

Val Run::fail_depth() {
  return fail_budget(mm2::join("recursion beyond depth ", limits_.max_depth));
}

Val Run::fail_undefined(const Val& v) {
  const auto* u = static_cast<const Undefined*>(v.object());
  if (u == nullptr) return fail("UndefinedError", "value is undefined");
  return fail(u->security ? "SecurityError" : "UndefinedError",
              mm2::join(u->before, u->name, u->after));
}

void Run::fail_exhausted() {
  if (heap_.used > heap_.limit) return fail_memory();
  fail_budget(mm2::join("more than ", limits_.max_steps, " steps"));
}

void Run::fail_memory() {
  fail_budget(mm2::join("more than ", heap_.limit, " bytes of memory"));
}

Val Run::str(std::string text) {
  // What was built in steps may hold twice what it needs.
  if (text.capacity() > 64 && text.capacity() > text.size() + text.size() / 4) text.shrink_to_fit();
  const uint64_t bytes = text.capacity() > 15 ? text.capacity() : 0;
  heap_.steps += text.size() / 256;
  if (!room_for(bytes)) return Val();
  return Val::of(make<Str>(bytes, heap_, std::move(text)));
}

Val Run::str(Captured captured) {
  captured.charge.set(0);  // the text takes it with it
  Val v = str(std::move(captured.text));
  if (!failed()) v.as<Str>().literal = std::move(captured.literal);
  return v;
}

Val Run::list(Vals items, Kind kind) {
  if (failed()) return Val();
  List* out = make<List>(0, kind, heap_);
  const Val v = Val::of(out);
  uint16_t depth = 0;
  for (const Val& item : items) {
    if (item.is_object() && item.object() != nullptr) depth = std::max(depth, item.object()->depth);
  }
  if (++depth > kMaxDepth) return fail_budget("too deeply nested values");
  out->depth = depth;
  out->items() = std::move(items);
  return v;
}

Val Run::dict(Pairs items) {
  if (failed() || !room_for(items.size() * 3 * sizeof(Val))) return Val();
  Dict* out = make<Dict>(0, heap_);
  const Val v = Val::of(out);
  uint16_t depth = 0;
  const auto look = [&](const Val& item) {
    if (item.is_object() && item.object() != nullptr) depth = std::max(depth, item.object()->depth);
  };
  for (auto& [key, value] : items) {
    if (key.is(Kind::undefined)) return fail("TypeError", "unhashable type: 'Undefined'");
    if (!hashable(key))
      return fail("TypeError", mm2::join("unhashable type: '", type_name(key), "'"));
    look(key);
    look(value);
    out->set(key, std::move(value));
  }
  if (++depth > kMaxDepth) return fail_budget("too deeply nested values");
  out->depth = depth;
  return v;
}

bool Run::add(Vals& items, Val value) {
  if (!step()) return false;
  const bool grows = items.size() == items.capacity();
  if (grows && !room_for(2 * items.size() * sizeof(Val))) return false;
  items.push_back(std::move(value));
  return true;
}

Val Run::undefined(std::string message, bool security) {
  if (failed()) return Val();
  auto* u = make<Undefined>(message.size(), heap_, "", std::move(message), "");
  u->security = security;
  return Val::of(u);
}

Val Run::undefined(const char* before, std::string_view name, const char* after) {
  if (failed()) return Val();
  return Val::of(make<Undefined>(name.size(), heap_, before, std::string(name), after));
}

Val Run::integer(BigInt value) {
  if (const auto small = value.to_int64()) return Val::of(*small);
  if (value.limbs.size() > 1000) return fail_budget("an integer of more than 9000 digits");
  const uint64_t bytes = value.limbs.size() * 4;
  return Val::of(make<Big>(bytes, heap_, std::move(value)));
}

Val Run::builtin(std::string name) {
  return Val::of(make<Builtin>(0, heap_, std::move(name)));
}

bool Run::bind(const char* function, Args& args, std::initializer_list<const char*> names,
               Bound* out, size_t required) {
  if (args.pos.size() > names.size()) {
    fail("TypeError", mm2::join(function, "() takes ", names.size(),
                                " positional arguments but more were given"));
    return false;
  }
  for (size_t i = 0; i < args.pos.size(); ++i) {
    out->value[i] = args.pos[i];
    out->has[i] = true;
  }
  for (const auto& [name, value] : args.kw) {
    size_t i = 0;
    for (const char* parameter : names) {
      if (name == parameter) break;
      ++i;
    }
    if (i == names.size() || out->has[i]) {
      fail("TypeError", mm2::join(function, "() got an unexpected keyword argument '", name, "'"));
      return false;
    }
    out->value[i] = value;
    out->has[i] = true;
  }
  for (size_t i = 0; i < required; ++i) {
    if (out->has[i]) continue;
    fail("TypeError", mm2::join(function, "() missing a required positional argument: '",
                                *(names.begin() + i), "'"));
    return false;
  }
  return true;
}

bool Run::want_string(const Val& v, const char* what) {
  if (v.is(Kind::string)) return true;
  if (v.is(Kind::undefined)) {
    fail_undefined(v);
  } else {
    fail("TypeError", mm2::join(what, " must be str, not ", type_name(v)));
  }
  return false;
}

bool Run::want_int(const Val& v, int64_t* out) {
  constexpr int64_t kMost = int64_t{1} << 62;
  if (v.is_int()) {
    *out = std::min(std::max(v.integer(), -kMost), kMost);
    return true;
  }
  if (v.is(Kind::big)) {
    *out = v.as<Big>().value.negative ? -kMost : kMost;
    return true;
  }
  if (v.is(Kind::undefined)) {
    fail_undefined(v);
  } else {
    fail("TypeError", mm2::join("'", type_name(v), "' object cannot be interpreted as an integer"));
  }
  return false;
}

bool Run::grow(Captured& out, uint64_t size) {
  if (size <= out.text.capacity()) return !failed();
  const uint64_t capacity = std::max<uint64_t>(2 * out.text.capacity(), size);
  if (!room_for(capacity)) return false;  // beside the old one
  out.text.reserve(capacity);
  out.charge.set(capacity);
  return true;
}

void Run::write(std::string_view text, const Spans* literal, bool all_literal) {
  const size_t begin = out_->text.size();
  const uint64_t size = begin + text.size();
  if (size > limits_.max_output_bytes) {
    fail_budget(mm2::join("more than ", limits_.max_output_bytes, " bytes of output"));
    return;
  }
  if (!step(1 + text.size() / 256)) return;
  if (!grow(*out_, size)) return;
  out_->text += text;
  if (all_literal) {
    add_span(out_->literal, begin, size);
  } else if (literal != nullptr) {
    for (const Span& s : *literal) add_span(out_->literal, begin + s.begin, begin + s.end);
  }
}

void Run::print(const Val& value) {
  if (failed()) return;
  if (value.is(Kind::string)) {
    const Str& s = value.as<Str>();
    if (autoescape_ && !s.markup) {
      write(escape_html(s.text), nullptr, false);
    } else {
      write(s.text, &s.literal, false);
    }
    return;
  }
  if (value.is(Kind::undefined)) return;
  const std::string text = to_str(value);
  if (!failed()) write(autoescape_ ? escape_html(text) : text, nullptr, false);
}

}  // namespace mm2::chat::jinja
