// Expressions.
#include <cmath>

#include "base/join.h"
#include "chat/jinja/run.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

struct Level {
  explicit Level(uint32_t& d) : depth(d) { ++depth; }
  ~Level() { --depth; }
  uint32_t& depth;
};

}  // namespace

Val Run::eval(const Node* node) {
  const Level level(depth_);
  if (depth_ > limits_.max_depth) return fail_depth();
  if (!step()) return Val();
  switch (node->op) {
    case Op::text:
    case Op::integer:
      return constant(node);
    case Op::real:
      return Val::of(node->real);
    case Op::constant:
      return node->number == 0 ? Val::none() : Val::of(node->number == 1);
    case Op::name:
      return eval_name(node);
    case Op::list:
    case Op::tuple: {
      Vals items(heap_);
      items.reserve(node->kids.size());
      for (const Node* kid : node->kids) {
        items.push_back(eval(kid));
        if (failed()) return Val();
      }
      return list(std::move(items), node->op == Op::list ? Kind::list : Kind::tuple);
    }
    case Op::dict: {
      Pairs items(heap_);
      for (size_t i = 0; i + 1 < node->kids.size(); i += 2) {
        Val key = eval(node->kids[i]);
        if (failed()) return Val();
        items.emplace_back(std::move(key), eval(node->kids[i + 1]));
        if (failed()) return Val();
      }
      return dict(std::move(items));
    }
    case Op::attribute: {
      const Val of = eval(node->kids[0]);
      return failed() ? Val() : get_attribute(of, node->text);
    }
    case Op::item: {
      const Val of = eval(node->kids[0]);
      if (failed()) return Val();
      const Val key = eval(node->kids[1]);
      return failed() ? Val() : get_item(of, key);
    }
    case Op::call:
      return eval_call(node);
    case Op::filter:
      return filter_chain(node, Val());
    case Op::compare:
      return eval_compare(node);
    default:
      return unary(node);
  }
}

Val Run::constant(const Node* node) {
  Val& known = constants_[static_cast<size_t>(node->number)];
  if (!known.is(Kind::undefined)) return known;
  if (node->op == Op::integer) {
    const std::string_view text = node->text;
    const char kind = text.size() > 2 ? static_cast<char>(text[1] | 32) : '0';
    const uint32_t base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    if (!step(text.size() * text.size() / 64)) return Val();
    known = integer(BigInt::parse(base == 10 ? text : text.substr(2), base));
  } else {
    known = str(node->text);
    if (!failed()) add_span(known.as<Str>().literal, 0, node->text.size());
  }
  return known;
}

Val Run::unary(const Node* node) {
  switch (node->op) {
    case Op::slice: {
      Val parts[4];
      for (size_t i = 0; i < 4; ++i) {
        parts[i] = node->kids[i] != nullptr ? eval(node->kids[i]) : Val::none();
        if (failed()) return Val();
      }
      return slice(parts[0], parts[1], parts[2], parts[3]);
    }
    case Op::test: {
      const Val value = eval(node->kids[0]);
      Args args(heap_);
      if (failed() || !eval_args(node, &args)) return Val();
      return Val::of(call_test(node->text, value, args));
    }
    case Op::logical_not: {
      const Val v = eval(node->kids[0]);
      return Val::of(!truthy(v));
    }
    case Op::logical_and:
    case Op::logical_or: {
      Val a = eval(node->kids[0]);
      if (failed() || truthy(a) == (node->op == Op::logical_or)) return a;
      return eval(node->kids[1]);
    }
    case Op::negate:
    case Op::plus: {
      const Val v = eval(node->kids[0]);
      if (failed()) return Val();
      if (v.is(Kind::undefined)) return fail_undefined(v);
      if (!v.is_number()) {
        return fail("TypeError", mm2::join("bad operand type for unary -: '", type_name(v), "'"));
      }
      const bool negate = node->op == Op::negate;
      if (v.is(Kind::real)) return Val::of(negate ? -v.real() : v.real());
      BigInt big = to_big(v);
      if (negate && !big.zero()) big.negative = !big.negative;
      return integer(std::move(big));
    }
    case Op::binary: {
      const Val a = eval(node->kids[0]);
      if (failed()) return Val();
      const Val b = eval(node->kids[1]);
      return failed() ? Val() : binary(node->text, a, b);
    }
    case Op::concat: {
      Vals parts(heap_);
      for (const Node* kid : node->kids) {
        parts.push_back(eval(kid));
        if (failed()) return Val();
      }
      return concat(parts);
    }
    case Op::condition: {
      const Val test = eval(node->kids[1]);
      if (failed()) return Val();
      if (truthy(test)) return eval(node->kids[0]);
      if (node->kids[2] != nullptr) return eval(node->kids[2]);
      return undefined(
          "the inline if-expression evaluated to false and no else section was defined.");
    }
    default:
      return fail("RuntimeError", "not an expression");
  }
}

Val Run::eval_name(const Node* node) {
  const int id = node->number;
  for (Scope* s = scope_.get(); s != nullptr; s = s->parent.get()) {
    if (const Val* found = s->find(id); found != nullptr) return *found;
    if (s->hidden != nullptr && !s->hidden->empty() && s->hidden->contains(id)) {
      return undefined("'", node->text, "' is undefined");
    }
  }
  if (has_global_[static_cast<size_t>(id)]) return globals_[static_cast<size_t>(id)];
  return undefined("'", node->text, "' is undefined");
}

Val Run::eval_compare(const Node* node) {
  Val left = eval(node->kids[0]);
  for (size_t i = 0; i < node->names.size(); ++i) {
    if (failed()) return Val();
    Val right = eval(node->kids[i + 1]);
    if (failed()) return Val();
    if (!compare(node->names[i], left, right)) return Val::of(false);
    left = std::move(right);
  }
  return Val::of(true);
}

bool Run::eval_args(const Node* node, Args* args) {
  for (const Node* kid : node->args) {
    args->pos.push_back(eval(kid));
    if (failed()) return false;
  }
  for (const auto& [name, kid] : node->kwargs) {
    args->kw.emplace_back(name, eval(kid));
    if (failed()) return false;
  }
  if (node->star != nullptr) {
    Vals more(heap_);
    if (!iterate(eval(node->star), &more) || failed()) return false;
    for (Val& v : more) args->pos.push_back(std::move(v));
  }
  if (node->star_star != nullptr) {
    const Val map = eval(node->star_star);
    if (failed()) return false;
    if (!map.is(Kind::dict)) {
      fail("TypeError", "argument after ** must be a mapping");
      return false;
    }
    for (const auto& [key, value] : map.as<Dict>().items()) {
      if (!key.is(Kind::string)) {
        fail("TypeError", "keywords must be strings");
        return false;
      }
      args->kw.emplace_back(key.text(), value);
    }
  }
  return !failed();
}

Val Run::eval_call(const Node* node) {
  const Node* of = node->kids[0];
  Args args(heap_);
  if (of->op != Op::attribute) {
    const Val callee = eval(of);
    if (failed() || !eval_args(node, &args)) return Val();
    return call(callee, args);
  }
  // A method that is called at once needs no value of its own.
  const Val self = eval(of->kids[0]);
  if (failed()) return Val();
  if (self.is(Kind::undefined) || member_of(self, of->text) != Member::method) {
    const Val callee = get_attribute(self, of->text);
    if (failed() || !eval_args(node, &args)) return Val();
    return call(callee, args);
  }
  if (!eval_args(node, &args) || !step()) return Val();
  const Method method(heap_, self, of->text);
  return call_method(method, args);
}

// The innermost filter of a block has no operand: it takes `input`.
Val Run::filter_chain(const Node* node, const Val& input) {
  const Level level(depth_);
  if (depth_ > limits_.max_depth) return fail_depth();
  Val value;
  const Node* of = node->kids[0];
  if (of == nullptr) {
    value = input;
  } else if (of->op == Op::filter) {
    value = filter_chain(of, input);
  } else {
    value = eval(of);
  }
  Args args(heap_);
  if (failed() || !eval_args(node, &args)) return Val();
  return node->number >= 0 ? call_filter(node->number, value, args)
                           : call_filter(node->text, value, args);
}

}  // namespace mm2::chat::jinja
