// Jinja statements, from tokens to nodes, and the program they make; expressions: its base.
#include <algorithm>
#include <initializer_list>
#include <utility>

#include "base/join.h"
#include "chat/jinja/ast.h"
#include "chat/jinja/expression_parser.h"
#include "chat/jinja/lexer.h"

namespace mm2::chat::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

class Parser : public ExpressionParser {
 public:
  explicit Parser(std::vector<Lexeme> tokens) : ExpressionParser(std::move(tokens)) {}

  Result<std::shared_ptr<const Program>> run() {
    program_ = std::make_shared<Program>();
    program_->root = statements({});
    if (!status_.ok()) return status_;
    MM2_RETURN_IF_ERROR(analyse_scopes(*program_));
    return std::shared_ptr<const Program>(program_);
  }

 private:
  // Up to a tag whose name is in `ends` (not taken), or the end of the template when `ends` is
  // empty.
  Node* statements(Names ends) {
    const Level level(nesting_);
    if (nesting_ > kMaxNesting) return too_deep();
    Node* block = make(Op::block);
    while (status_.ok()) {
      if (is(Token::data)) {
        block->kids.push_back(done(named(Op::data, now().text)));
        next();
      } else if (is(Token::print_begin)) {
        next();
        Node* node = make(Op::print);
        node->kids = {tuple(false, true, {}, false)};
        if (!status_.ok() || !expect(Token::print_end, "end of print statement")) return nullptr;
        block->kids.push_back(done(node));
      } else if (is(Token::tag_begin)) {
        next();
        if (!is(Token::name)) return fail("tag name expected");
        for (const std::string_view end : ends) {
          if (is_name(end)) return done(block);
        }
        Node* node = statement();
        if (node == nullptr || !expect(Token::tag_end, "end of statement block")) return nullptr;
        block->kids.push_back(node);
      } else if (is(Token::end)) {
        if (ends.size() == 0) return done(block);
        return fail(
            mm2::join("Unexpected end of template. Jinja was looking for '", *ends.begin(), "'"));
      } else {
        return fail(mm2::join("unexpected '", shown(), "'"));
      }
    }
    return nullptr;
  }

  // The body of a tag: from its end to the tag that ends it, whose name is taken when `drop`.
  Node* body(Names ends, bool drop = true) {
    skip_op(":");
    if (!status_.ok() || !expect(Token::tag_end, "end of statement block")) return nullptr;
    Node* block = statements(ends);
    if (block != nullptr && drop) next();
    return block;
  }

  // What may nest deeply is dispatched here, and each kind is a function of its own: the stack of
  // one must not be paid for in all the others.
  Node* statement() {
    const std::string_view tag = now().text;
    if (tag == "for") return for_loop();
    if (tag == "if") return if_chain();
    if (tag == "set") return assignment();
    if (tag == "macro") return macro();
    if (tag == "call") return call_block();
    if (tag == "with") return with();
    if (tag == "filter") return filter_block();
    if (tag == "generation" || tag == "block") return scoped(tag == "block");
    if (tag == "autoescape") return autoescape();
    if (tag == "print") return print();
    if (tag == "break" || tag == "continue") return loop_control();
    return unknown_tag();
  }

  [[gnu::noinline]] Node* filter_block() {
    next();
    Node* node = make(Op::filter_block);
    node->kids = {filters(nullptr, true)};
    if (!status_.ok()) return nullptr;
    node->kids.push_back(body({"endfilter"}));
    return done(node);
  }

  [[gnu::noinline]] Node* scoped(bool is_block) {
    next();
    Node* node = make(Op::scoped);
    if (is_block) {
      if (!expect_name(&node->text)) return nullptr;
      while (skip_name("scoped") || skip_name("required")) {
      }
    }
    const int loops = std::exchange(loops_, 0);
    node->kids = {is_block ? body({"endblock"}) : body({"endgeneration"})};
    loops_ = loops;
    if (is_block && status_.ok() && is(Token::name)) next();
    return done(node);
  }

  [[gnu::noinline]] Node* autoescape() {
    next();
    Node* node = make(Op::autoescape);
    node->kids = {expression()};
    if (!status_.ok()) return nullptr;
    node->kids.push_back(body({"endautoescape"}));
    return done(node);
  }

  [[gnu::noinline]] Node* print() {
    next();
    Node* node = make(Op::print);
    node->kids = {tuple(false, true, {}, false)};
    return done(node);
  }

  [[gnu::noinline]] Node* loop_control() {
    const std::string tag = now().text;
    next();
    if (loops_ > 0) return done(make(tag == "break" ? Op::break_ : Op::continue_));
    status_ = error(Code::format, "SyntaxError: '", tag, "' not properly in loop (line ",
                    now().line, ")");
    return nullptr;
  }

  [[gnu::noinline]] Node* unknown_tag() {
    const std::string tag = now().text;
    if (tag != "include" && tag != "import" && tag != "from" && tag != "extends")
      return fail(mm2::join("Encountered unknown tag '", tag, "'."));
    status_ = error(Code::format, "TypeError: no loader for this environment specified: {% ", tag,
                    " %} in line ", now().line);
    return nullptr;
  }

  // A name, a tuple of them, or ns.attribute.
  Node* target(bool with_tuple, std::string_view end_name, bool with_namespace) {
    Node* node =
        with_tuple ? tuple(true, true, end_name, false, with_namespace) : primary(with_namespace);
    if (node == nullptr) return nullptr;
    return assignable(node, 0) ? node : nullptr;
  }
  bool assignable(const Node* node, int depth) {
    if (node->op == Op::name || node->op == Op::attribute_target) return true;
    if (node->op == Op::tuple && depth < kMaxNesting) {
      for (const Node* kid : node->kids) {
        if (!assignable(kid, depth + 1)) return false;
      }
      return true;
    }
    fail("can't assign to this expression");
    return false;
  }

  [[gnu::noinline]] bool assigns_loop(const Node* node) {
    bool found = node->op == Op::name && node->text == "loop";
    if (node->op == Op::tuple) {
      for (const Node* kid : node->kids) found = found || assigns_loop(kid);
    }
    if (found && status_.ok()) {
      status_ = error(Code::format,
                      "TemplateAssertionError: Can't assign to special loop variable in for-loop "
                      "target (line ",
                      node->line, ")");
    }
    return found;
  }

  [[gnu::noinline]] Node* for_loop() {
    next();
    Node* node = make(Op::for_);
    Node* to = target(true, "in", false);
    if (to == nullptr || assigns_loop(to)) return nullptr;
    if (!is_name("in")) return fail(mm2::join("expected token 'in', got '", shown(), "'"));
    next();
    Node* iter = tuple(false, false, "recursive", false);
    Node* only_if = nullptr;
    if (status_.ok() && skip_name("if")) only_if = expression();
    node->flag = skip_name("recursive");
    if (!status_.ok()) return nullptr;
    ++loops_;
    ++in_for_body_;
    Node* inner = body({"endfor", "else"}, false);
    --in_for_body_;
    --loops_;
    if (inner == nullptr) return nullptr;
    Node* otherwise = nullptr;
    const bool has_else = is_name("else");
    next();
    if (has_else) otherwise = body({"endfor"});
    node->kids = {to, iter, only_if, inner, otherwise};
    return done(node);
  }

  [[gnu::noinline]] Node* if_chain() {
    Node* node = make(Op::if_);
    ++conditional_;
    for (;;) {
      next();
      node->kids.push_back(tuple(false, false, {}, false));
      if (!status_.ok()) break;
      node->kids.push_back(body({"elif", "else", "endif"}, false));
      if (!status_.ok() || is_name("elif")) {
        if (!status_.ok()) break;
        continue;
      }
      const bool has_else = is_name("else");
      next();
      if (has_else) node->kids.push_back(body({"endif"}));
      break;
    }
    --conditional_;
    return done(node);
  }

  [[gnu::noinline]] Node* assignment() {
    next();
    Node* to = target(true, {}, true);
    if (to == nullptr || (in_for_body_ > 0 && assigns_loop(to))) return nullptr;
    if (skip_op("=")) {
      Node* node = make(Op::set);
      node->kids = {to, tuple(false, true, {}, false)};
      return done(node);
    }
    Node* node = make(Op::set_block);
    Node* chain = filters(nullptr, false);
    if (!status_.ok()) return nullptr;
    node->kids = {to, chain, body({"endset"})};
    return done(node);
  }

  bool signature(Node* node) {
    if (!expect_op("(")) return false;
    while (status_.ok() && !is_op(")")) {
      if (!node->names.empty() && !expect_op(",")) return false;
      std::string name;
      if (!expect_name(&name)) return false;
      for (const std::string& other : node->names) {
        if (other != name) continue;
        status_ = error(Code::format, "SyntaxError: duplicate argument '", name,
                        "' in function definition (line ", node->line, ")");
        return false;
      }
      node->ids.push_back(program_->id(name));
      node->names.push_back(std::move(name));
      if (skip_op("=")) {
        node->kids.push_back(expression());
      } else if (!node->kids.empty()) {
        fail("non-default argument follows default argument");
      }
    }
    return status_.ok() && expect_op(")");
  }

  Node* function_body(Names ends) {
    const int loops = std::exchange(loops_, 0);
    const int in_for = std::exchange(in_for_body_, 0);
    Node* inner = body(ends);
    loops_ = loops;
    in_for_body_ = in_for;
    return inner;
  }

  static bool mentions(const Node* node, std::string_view name) {
    if (node == nullptr) return false;
    if (node->op == Op::name && node->text == name) return true;
    const auto in = [name](const Node* part) { return mentions(part, name); };
    return std::any_of(node->kids.begin(), node->kids.end(), in) ||
           std::any_of(node->args.begin(), node->args.end(), in) ||
           std::any_of(node->kwargs.begin(), node->kwargs.end(),
                       [name](const auto& part) { return mentions(part.second, name); }) ||
           mentions(node->star, name) || mentions(node->star_star, name);
  }
  static void note_uses(Node* macro) {
    const Node* body = macro->kids.back();
    macro->uses_caller = mentions(body, "caller");
    macro->uses_varargs = mentions(body, "varargs");
    macro->uses_kwargs = mentions(body, "kwargs");
  }

  [[gnu::noinline]] Node* macro() {
    next();
    Node* node = make(Op::macro);
    if (!expect_name(&node->text) || !signature(node)) return nullptr;
    node->number = program_->id(node->text);
    node->kids.push_back(function_body({"endmacro"}));
    note_uses(node);
    return done(node);
  }

  // The caller is a macro of its own: kids are the call and that macro.
  [[gnu::noinline]] Node* call_block() {
    next();
    Node* node = make(Op::call_block);
    Node* caller = make(Op::macro);
    caller->text = "caller";
    if (is_op("(") && !signature(caller)) return nullptr;
    Node* call = expression();
    if (call == nullptr) return nullptr;
    if (call->op != Op::call) return fail("expected call");
    caller->kids.push_back(function_body({"endcall"}));
    note_uses(caller);
    node->kids = {call, done(caller)};
    return done(node);
  }

  [[gnu::noinline]] Node* with() {
    next();
    Node* node = make(Op::with);
    while (status_.ok() && !is(Token::tag_end)) {
      if (!node->kids.empty() && !expect_op(",")) return nullptr;
      node->kids.push_back(target(true, {}, false));
      if (!status_.ok() || !expect_op("=")) return nullptr;
      node->kids.push_back(expression());
    }
    if (!status_.ok()) return nullptr;
    node->kids.push_back(body({"endwith"}));
    return done(node);
  }

  int loops_ = 0;
  int in_for_body_ = 0;
};

}  // namespace

Result<std::shared_ptr<const Program>> parse_program(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return error(Code::budget, "a template of ", source.size(), " bytes, at most ", kMaxSourceBytes,
                 " are read");
  }
  MM2_ASSIGN_OR_RETURN(std::vector<Lexeme> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace mm2::chat::jinja
