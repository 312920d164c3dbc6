// Statements.
#include "base/join.h"
#include "chat/jinja/run.h"

namespace mm2::chat::jinja {

/// A scope inside the current one, for as long as the guard lives.
class ScopeGuard {
 public:
  ScopeGuard(Run& run, std::shared_ptr<Scope> parent, const absl::flat_hash_set<int>* hidden)
      : run_(run), before_(run.scope_) {
    run.scope_ = std::make_shared<Scope>(run.heap_);
    run.scope_->parent = std::move(parent);
    run.scope_->hidden = hidden;
  }
  ~ScopeGuard() { run_.scope_ = before_; }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Run& run_;
  std::shared_ptr<Scope> before_;
};

Flow Run::exec(const Node* node) {
  if (failed() || !step()) return Flow::go_on;
  switch (node->op) {
    case Op::data:
      write(node->text, nullptr, true);
      return Flow::go_on;
    case Op::print:
      print(eval(node->kids[0]));
      return Flow::go_on;
    case Op::block:
      return exec_block(node);
    case Op::if_:
      return exec_if(node);
    case Op::for_:
      return exec_for(node, nullptr, 0);
    case Op::set: {
      const Val value = eval(node->kids[1]);
      if (!failed()) assign(node->kids[0], value);
      return Flow::go_on;
    }
    case Op::set_block: {
      Captured text(heap_);
      const Flow flow = captured(node, node->kids[2], &text);
      if (failed() || flow != Flow::go_on) return flow;
      Val value = str(std::move(text));
      if (!failed() && node->kids[1] != nullptr) value = filter_chain(node->kids[1], value);
      if (!failed()) assign(node->kids[0], value);
      return Flow::go_on;
    }
    case Op::filter_block: {
      Captured text(heap_);
      const Flow flow = captured(node, node->kids[1], &text);
      if (failed() || flow != Flow::go_on) return flow;
      print(filter_chain(node->kids[0], str(std::move(text))));
      return Flow::go_on;
    }
    case Op::macro: {
      const Val macro = make_macro(node);
      if (!failed()) scope_->set(node->number, macro);
      return Flow::go_on;
    }
    case Op::call_block: {
      const Node* call_node = node->kids[0];
      const Val callee = eval(call_node->kids[0]);
      Args args(heap_);
      if (failed() || !eval_args(call_node, &args)) return Flow::go_on;
      args.kw.emplace_back("caller", make_macro(node->kids[1]));
      print(failed() ? Val() : call(callee, args));
      return Flow::go_on;
    }
    case Op::with:
      return exec_with(node);
    case Op::scoped:
      return exec_inner(node, node->kids[0]);
    case Op::autoescape: {
      const Val on = eval(node->kids[0]);
      const bool before = std::exchange(autoescape_, truthy(on));
      const Flow flow = exec_inner(node, node->kids[1]);
      autoescape_ = before;
      return flow;
    }
    case Op::break_:
      return Flow::break_;
    case Op::continue_:
      return Flow::continue_;
    default:
      eval(node);
      return Flow::go_on;
  }
}

Flow Run::exec_block(const Node* node) {
  Flow flow = Flow::go_on;
  deeper();
  for (const Node* kid : node->kids) {
    if (failed()) break;
    flow = exec(kid);
    if (flow != Flow::go_on) break;
  }
  --depth_;
  return flow;
}

Flow Run::exec_if(const Node* node) {
  size_t i = 0;
  for (; i + 1 < node->kids.size(); i += 2) {
    const bool taken = truthy(eval(node->kids[i]));
    if (failed()) return Flow::go_on;
    if (taken) return exec_block(node->kids[i + 1]);
  }
  return i < node->kids.size() ? exec_block(node->kids[i]) : Flow::go_on;
}

Flow Run::exec_inner(const Node* node, const Node* body) {
  const ScopeGuard guard(*this, scope_, &node->hidden);
  return exec_block(body);
}

Flow Run::exec_with(const Node* node) {
  Vals values(heap_);
  for (size_t i = 1; i < node->kids.size(); i += 2) {
    values.push_back(eval(node->kids[i]));
    if (failed()) return Flow::go_on;
  }
  const ScopeGuard guard(*this, scope_, &node->hidden);
  for (size_t i = 0; i < values.size(); ++i) assign(node->kids[2 * i], values[i]);
  return failed() ? Flow::go_on : exec_block(node->kids.back());
}

Flow Run::captured(const Node* node, const Node* body, Captured* out) {
  Captured* before = std::exchange(out_, out);
  const Flow flow = exec_inner(node, body);
  out_ = before;
  return flow;
}

void Run::assign(const Node* target, const Val& value) {
  if (target->op == Op::name) {
    scope_->set(target->number, value);
    return;
  }
  if (target->op == Op::attribute_target) {
    Node name;
    name.number = target->number;
    name.text = target->text;
    const Val of = eval_name(&name);
    if (failed()) return;
    if (!of.is(Kind::names)) {
      fail("TemplateRuntimeError", "cannot assign attribute on non-namespace object");
      return;
    }
    if (target->names[0][0] == '_') {
      fail("SecurityError",
           "Chat templates cannot store underscore-prefixed attributes on a namespace");
      return;
    }
    auto& items = of.as<Names>().items;
    for (auto& [key, old] : items) {
      if (key == target->names[0]) {
        old = value;
        return;
      }
    }
    if (room_for(64)) items.emplace_back(target->names[0], value);
    of.object()->bytes += 64;
    heap_.used += 64;
    return;
  }
  Vals parts(heap_);
  if (value.is(Kind::none) || value.is_number()) {
    fail("TypeError", mm2::join("cannot unpack non-iterable ", type_name(value), " object"));
    return;
  }
  if (!iterate(value, &parts)) return;
  if (parts.size() != target->kids.size()) {
    fail("ValueError",
         parts.size() > target->kids.size()
             ? mm2::join("too many values to unpack (expected ", target->kids.size(), ")")
             : mm2::join("not enough values to unpack (expected ", target->kids.size(), ", got ",
                         parts.size(), ")"));
    return;
  }
  for (size_t i = 0; i < parts.size() && !failed(); ++i) assign(target->kids[i], parts[i]);
}

Flow Run::exec_for(const Node* node, const Val* over, int64_t depth0) {
  Vals items(heap_);
  if (over != nullptr) {
    if (!iterate(*over, &items)) return Flow::go_on;
  } else {
    const Val iter = eval(node->kids[1]);
    if (failed() || !iterate(iter, &items)) return Flow::go_on;
  }
  if (node->kids[2] != nullptr) {
    Vals kept(heap_);
    for (Val& item : items) {
      const ScopeGuard guard(*this, scope_, nullptr);
      assign(node->kids[0], item);
      const bool keep = !failed() && truthy(eval(node->kids[2]));
      if (failed()) return Flow::go_on;
      if (keep) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    if (node->kids[4] == nullptr) return Flow::go_on;
    const ScopeGuard guard(*this, scope_, &node->hidden_else);
    return exec_block(node->kids[4]);
  }
  Loop* loop = make<Loop>(items.size() * sizeof(Val), heap_);
  const Val holder = Val::of(loop);
  loop->items = std::move(items);
  loop->depth0 = depth0;
  loop->node = node->flag ? node : nullptr;
  const std::shared_ptr<Scope> outer = scope_;
  std::shared_ptr<Scope> inner;
  for (size_t i = 0; i < loop->items.size() && !failed(); ++i) {
    loop->index0 = i;
    // The scope of the iteration before serves again, unless a macro kept it.
    if (inner == nullptr || inner.use_count() > 1) {
      inner = std::make_shared<Scope>(heap_);
      inner->parent = outer;
      inner->hidden = &node->hidden;
    }
    inner->vars.clear();
    inner->vars.emplace_back(program_.loop_id, holder);
    scope_ = inner;
    assign(node->kids[0], loop->items[i]);
    const Flow flow = failed() ? Flow::break_ : exec_block(node->kids[3]);
    scope_ = outer;
    if (flow == Flow::break_) break;
  }
  return Flow::go_on;
}

Val Run::call_loop(Loop& loop, Args& args) {
  if (loop.node == nullptr) {
    return fail("TypeError", "The loop must have the 'recursive' marker to be called recursively.");
  }
  if (args.pos.size() != 1) return fail("TypeError", "loop() takes one argument");
  const auto* node = static_cast<const Node*>(loop.node);
  // The loop's own scope is the parent of the one it is called from; going out to where the
  // statement stands keeps the inner loop from seeing the outer iteration's variables.
  const std::shared_ptr<Scope> before = scope_;
  std::shared_ptr<Scope> at = scope_;
  while (at != nullptr) {
    const Val* found = at->find(program_.loop_id);
    if (found != nullptr && found->object() == &loop) break;
    at = at->parent;
  }
  if (at != nullptr && at->parent != nullptr) scope_ = at->parent;
  Captured out(heap_);
  Captured* outer = std::exchange(out_, &out);
  if (deeper()) exec_for(node, &args.pos[0], loop.depth0 + 1);
  --depth_;
  out_ = outer;
  scope_ = before;
  return failed() ? Val() : str(std::move(out));
}

Val Run::make_macro(const Node* node) {
  Macro* macro = make<Macro>(128, heap_);
  const Val v = Val::of(macro);
  macro->node = node;
  macro->scope = scope_;
  cyclic_.push_back(v);
  return v;
}

// Gives the parameters their values in the current scope; false when the arguments do not fit. Not
// inline: its stack must be free again while the body runs, since macros may call themselves.
[[gnu::noinline]] bool Run::bind_macro(const Node* node, Args& args) {
  const size_t n = node->names.size();
  const size_t first_default = n - (node->kids.size() - 1);
  Vals values(n, heap_);
  std::vector<bool> has(n);
  Vals varargs(heap_);
  for (size_t i = 0; i < args.pos.size(); ++i) {
    if (i < n) {
      values[i] = args.pos[i];
      has[i] = true;
    } else {
      varargs.push_back(args.pos[i]);
    }
  }
  Pairs more(heap_);
  Val caller = undefined("No caller defined");
  bool has_caller_parameter = false;
  for (const auto& [name, value] : args.kw) {
    size_t i = 0;
    while (i < n && node->names[i] != name) ++i;
    if (i < n && !has[i]) {
      values[i] = value;
      has[i] = true;
      has_caller_parameter = has_caller_parameter || name == "caller";
    } else if (i == n && name == "caller" && node->uses_caller) {
      caller = value;
    } else if (i == n && node->uses_kwargs) {
      more.emplace_back(str(name), value);
    } else {
      fail("TypeError",
           mm2::join("macro '", node->text, "' takes no keyword argument '", name, "'"));
      return false;
    }
  }
  if (!varargs.empty() && !node->uses_varargs) {
    fail("TypeError",
         mm2::join("macro '", node->text, "' takes not more than ", n, " argument(s)"));
    return false;
  }
  // A default that calls the macro comes back here, and this takes the stack of several levels.
  constexpr uint32_t kLevels = 6;
  depth_ += kLevels;
  for (size_t i = 0; i < n && !failed(); ++i) {
    if (!has[i]) {
      values[i] = i >= first_default
                      ? eval(node->kids[i - first_default])
                      : undefined("parameter '", node->names[i], "' was not provided");
    }
    scope_->set(node->ids[i], values[i]);
  }
  depth_ -= kLevels;
  if (failed()) return false;
  if (node->uses_caller && !has_caller_parameter) scope_->set(program_.caller_id, caller);
  if (node->uses_varargs) scope_->set(program_.varargs_id, list(std::move(varargs), Kind::tuple));
  if (node->uses_kwargs) scope_->set(program_.kwargs_id, dict(std::move(more)));
  return !failed();
}

Val Run::call_macro(Macro& macro, Args& args) {
  const Node* node = macro.node;
  const ScopeGuard guard(*this, macro.scope, &node->hidden);
  if (!bind_macro(node, args)) return Val();
  Captured out(heap_);
  Captured* outer = std::exchange(out_, &out);
  if (deeper()) exec_block(node->kids.back());
  --depth_;
  out_ = outer;
  return failed() ? Val() : str(std::move(out));
}

}  // namespace mm2::chat::jinja
