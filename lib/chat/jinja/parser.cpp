#include <cstdlib>
#include <utility>

#include "base/join.h"
#include "chat/jinja/ast.h"
#include "chat/jinja/lexer.h"

namespace mm2::chat::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

// Functions return null once status_ is a failure; whoever asked gives up.
class Parser {
 public:
  explicit Parser(std::vector<Lexeme> tokens) : tokens_(std::move(tokens)) {}

  Result<std::shared_ptr<const Program>> run() {
    program_ = std::make_shared<Program>();
    program_->root = statements({});
    if (!status_.ok()) return status_;
    analyse_scopes(*program_);
    return std::shared_ptr<const Program>(program_);
  }

 private:
  // --- tokens
  const Lexeme& now() const { return tokens_[at_]; }
  const Lexeme& peek() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  void next() {
    if (now().type != Token::end) ++at_;
  }
  bool is(Token type) const { return now().type == type; }
  bool is_op(std::string_view op) const { return is(Token::op) && now().text == op; }
  bool is_name(std::string_view name) const { return is(Token::name) && now().text == name; }
  bool skip_op(std::string_view op) {
    const bool found = is_op(op);
    if (found) next();
    return found;
  }
  bool skip_name(std::string_view name) {
    const bool found = is_name(name);
    if (found) next();
    return found;
  }
  std::string shown() const {
    switch (now().type) {
      case Token::print_end:
        return "end of print statement";
      case Token::tag_end:
        return "end of statement block";
      case Token::end:
        return "end of template";
      default:
        return now().text;
    }
  }
  Node* fail(const std::string& what) {
    if (status_.ok()) status_ = syntax_error(now().line, what);
    return nullptr;
  }
  bool expect_op(std::string_view op) {
    if (skip_op(op)) return true;
    fail(mm2::join("expected token '", op, "', got '", shown(), "'"));
    return false;
  }
  bool expect(Token type, const char* name) {
    if (is(type)) {
      next();
      return true;
    }
    fail(mm2::join("expected token '", name, "', got '", shown(), "'"));
    return false;
  }
  bool expect_name(std::string* name) {
    if (!is(Token::name)) {
      fail(mm2::join("expected token 'name', got '", shown(), "'"));
      return false;
    }
    *name = now().text;
    next();
    return true;
  }

  // --- nodes
  Node* make(Op op) {
    program_->nodes.push_back(std::make_unique<Node>());
    Node* node = program_->nodes.back().get();
    node->op = op;
    node->line = now().line;
    return node;
  }
  Node* named(Op op, std::string text) {
    Node* node = make(op);
    node->text = std::move(text);
    if (op == Op::name) node->number = program_->id(node->text);
    return node;
  }
  // Null when a part failed or the node became too deep to evaluate.
  Node* done(Node* node) {
    if (!status_.ok()) return nullptr;
    int depth = 0;
    const auto look = [&](const Node* part) {
      if (part != nullptr && part->depth > depth) depth = part->depth;
    };
    for (const Node* part : node->kids) look(part);
    for (const Node* part : node->args) look(part);
    for (const auto& [name, part] : node->kwargs) look(part);
    look(node->star);
    look(node->star_star);
    if (++depth > kMaxChain) return too_deep();
    node->depth = static_cast<uint16_t>(depth);
    return node;
  }
  Node* too_deep() {
    if (status_.ok()) {
      status_ = error(Code::budget, "line ", now().line, ": nested deeper than the limits of ",
                      kMaxNesting, " brackets or blocks and ", kMaxChain, " operations");
    }
    return nullptr;
  }
  struct Level {
    explicit Level(int& d) : depth(d) { ++depth; }
    ~Level() { --depth; }
    int& depth;
  };

  // --- expressions
  Node* expression(bool with_condition = true) {
    const Level level(nesting_);
    if (nesting_ > kMaxNesting) return too_deep();
    Node* value = operators(0);
    while (value != nullptr && with_condition && skip_name("if")) {
      Node* node = make(Op::condition);
      Node* test = operators(0);
      Node* otherwise = nullptr;
      if (test != nullptr && skip_name("else")) otherwise = expression();
      node->kids = {value, test, otherwise};
      value = done(node);
    }
    return value;
  }

  // Binding strength of the operator that stands here: 0 or, 1 and, 3 comparisons, 4 + -, 5 ~,
  // 6 * / // %, 7 **; -1: none.
  int strength() const {
    if (is(Token::name)) {
      if (now().text == "or") return 0;
      if (now().text == "and") return 1;
      if (now().text == "in") return 3;
      if (now().text == "not" && peek().type == Token::name && peek().text == "in") return 3;
      return -1;
    }
    if (!is(Token::op)) return -1;
    const std::string& op = now().text;
    if (op == "==" || op == "!=" || op == "<" || op == ">" || op == "<=" || op == ">=") return 3;
    if (op == "+" || op == "-") return 4;
    if (op == "~") return 5;
    if (op == "*" || op == "/" || op == "//" || op == "%") return 6;
    return op == "**" ? 7 : -1;
  }

  Node* operators(int least) {
    Node* left = nullptr;
    if (least <= 2 && is_name("not")) {
      const Level level(nesting_);
      if (nesting_ > kMaxNesting) return too_deep();
      Node* node = make(Op::logical_not);
      next();
      node->kids = {operators(2)};
      left = done(node);
    } else {
      left = unary(true);
    }
    while (left != nullptr) {
      const int found = strength();
      if (found < least || found < 0) break;
      left = combine(left, found);
    }
    return left;
  }

  Node* combine(Node* left, int found) {
    Node* node = make(found == 0   ? Op::logical_or
                      : found == 1 ? Op::logical_and
                      : found == 3 ? Op::compare
                      : found == 5 ? Op::concat
                                   : Op::binary);
    node->kids = {left};
    do {
      std::string op = now().text;
      next();
      if (op == "not") {
        op = "not in";
        next();
      }
      if (found == 3) node->names.push_back(op);
      node->text = std::move(op);
      Node* right = operators(found + 1);
      if (right == nullptr) return nullptr;
      node->kids.push_back(right);
    } while ((found == 3 || found == 5) && strength() == found);
    return done(node);
  }

  Node* unary(bool with_filter) {
    Node* node = nullptr;
    if (is_op("-") || is_op("+")) {
      const Level level(nesting_);
      if (nesting_ > kMaxNesting) return too_deep();
      Node* sign = make(is_op("-") ? Op::negate : Op::plus);
      next();
      sign->kids = {unary(false)};
      node = done(sign);
    } else {
      node = primary(false);
    }
    node = postfix(node);
    while (with_filter && node != nullptr) {
      if (is_op("|")) {
        node = filters(node, false);
      } else if (is_name("is")) {
        node = test(node);
      } else if (is_op("(")) {
        node = call(node);
      } else {
        break;
      }
    }
    return node;
  }

  Node* primary(bool with_namespace) {
    if (!status_.ok()) return nullptr;
    const Lexeme& token = now();
    switch (token.type) {
      case Token::name:
        return name(with_namespace);
      case Token::string: {
        Node* node = named(Op::text, "");
        for (; is(Token::string); next()) node->text += now().text;
        return done(node);
      }
      case Token::integer:
      case Token::real: {
        Node* node = named(token.type == Token::integer ? Op::integer : Op::real, token.text);
        node->real = std::strtod(node->text.c_str(), nullptr);
        next();
        return done(node);
      }
      default:
        break;
    }
    if (skip_op("(")) {
      Node* node = tuple(false, true, {}, true);
      if (node == nullptr || !expect_op(")")) return nullptr;
      return node;
    }
    if (is_op("[")) return list();
    if (is_op("{")) return dict();
    return fail(mm2::join("unexpected '", shown(), "'"));
  }

  Node* name(bool with_namespace) {
    const std::string text = now().text;
    next();
    const auto constant = [&](int which) {
      Node* node = make(Op::constant);
      node->number = which;
      node->text = text;
      return done(node);
    };
    if (text == "none" || text == "None") return constant(0);
    if (text == "true" || text == "True") return constant(1);
    if (text == "false" || text == "False") return constant(2);
    if (with_namespace && is_op(".")) {
      next();
      Node* node = named(Op::name, text);
      node->op = Op::attribute_target;
      node->names.emplace_back();
      if (!expect_name(&node->names[0])) return nullptr;
      return done(node);
    }
    return done(named(Op::name, text));
  }

  Node* list() {
    Node* node = make(Op::list);
    next();
    while (status_.ok() && !is_op("]")) {
      if (!node->kids.empty() && !expect_op(",")) return nullptr;
      if (is_op("]")) break;
      node->kids.push_back(expression());
    }
    if (!status_.ok() || !expect_op("]")) return nullptr;
    return done(node);
  }

  Node* dict() {
    Node* node = make(Op::dict);
    next();
    while (status_.ok() && !is_op("}")) {
      if (!node->kids.empty() && !expect_op(",")) return nullptr;
      if (is_op("}")) break;
      node->kids.push_back(expression());
      if (!status_.ok() || !expect_op(":")) return nullptr;
      node->kids.push_back(expression());
    }
    if (!status_.ok() || !expect_op("}")) return nullptr;
    return done(node);
  }

  bool tuple_ends(std::string_view end_name) const {
    return is(Token::print_end) || is(Token::tag_end) || is_op(")") ||
           (!end_name.empty() && is_name(end_name));
  }

  // A lone expression, or several with commas: a tuple. `simplified` takes only primaries.
  Node* tuple(bool simplified, bool with_condition, std::string_view end_name, bool in_brackets,
              bool with_namespace = false) {
    std::vector<Node*> items;
    bool is_tuple = false;
    for (;;) {
      if (!items.empty() && !expect_op(",")) return nullptr;
      if (tuple_ends(end_name)) break;
      items.push_back(simplified ? primary(with_namespace) : expression(with_condition));
      if (items.back() == nullptr) return nullptr;
      if (!is_op(",")) break;
      is_tuple = true;
    }
    if (!is_tuple) {
      if (!items.empty()) return items[0];
      if (!in_brackets) return fail(mm2::join("Expected an expression, got '", shown(), "'"));
    }
    Node* node = make(Op::tuple);
    node->kids = std::move(items);
    return done(node);
  }

  Node* postfix(Node* node) {
    while (node != nullptr) {
      if (is_op(".")) {
        next();
        if (is(Token::name)) {
          Node* attribute = named(Op::attribute, now().text);
          attribute->kids = {node};
          next();
          node = done(attribute);
        } else if (is(Token::integer)) {
          Node* item = make(Op::item);
          Node* index = named(Op::integer, now().text);
          next();
          item->kids = {node, done(index)};
          node = done(item);
        } else {
          return fail("expected name or number");
        }
      } else if (is_op("[")) {
        node = subscript(node);
      } else if (is_op("(")) {
        node = call(node);
      } else {
        break;
      }
    }
    return node;
  }

  Node* subscript(Node* of) {
    next();
    std::vector<Node*> items;
    Node* slice = nullptr;
    while (status_.ok() && !is_op("]")) {
      if (!items.empty() && !expect_op(",")) return nullptr;
      Node* parts[3] = {nullptr, nullptr, nullptr};
      bool sliced = is_op(":");
      if (!sliced) {
        parts[0] = expression();
        if (parts[0] == nullptr) return nullptr;
        sliced = is_op(":");
      }
      if (!sliced) {
        items.push_back(parts[0]);
        continue;
      }
      next();
      for (int k = 1; k < 3; ++k) {
        if (k == 2 && !skip_op(":")) break;
        if (!is_op(":") && !is_op("]") && !is_op(",")) parts[k] = expression();
      }
      slice = make(Op::slice);
      slice->kids = {of, parts[0], parts[1], parts[2]};
      items.push_back(slice);
    }
    if (!status_.ok() || !expect_op("]")) return nullptr;
    if (items.size() == 1 && slice != nullptr) return done(slice);
    if (slice != nullptr) return fail("slices cannot be part of a tuple");
    Node* node = make(Op::item);
    if (items.size() == 1) {
      node->kids = {of, items[0]};
    } else {
      Node* key = make(Op::tuple);
      key->kids = std::move(items);
      node->kids = {of, done(key)};
    }
    return done(node);
  }

  Node* call(Node* of) {
    Node* node = make(Op::call);
    node->kids = {of};
    if (!arguments(node)) return nullptr;
    return done(node);
  }

  bool arguments(Node* node) {
    if (!expect_op("(")) return false;
    bool first = true;
    while (status_.ok() && !is_op(")")) {
      if (!first && !expect_op(",")) return false;
      if (is_op(")")) break;
      first = false;
      const bool wrong = node->star_star != nullptr;
      if (skip_op("*")) {
        if (wrong || node->star != nullptr) fail("invalid syntax for function call expression");
        node->star = expression();
      } else if (skip_op("**")) {
        if (wrong) fail("invalid syntax for function call expression");
        node->star_star = expression();
      } else if (is(Token::name) && peek().type == Token::op && peek().text == "=") {
        if (wrong) fail("invalid syntax for function call expression");
        std::string key = now().text;
        next();
        next();
        node->kwargs.emplace_back(std::move(key), expression());
      } else {
        if (wrong || node->star != nullptr || !node->kwargs.empty()) {
          fail("invalid syntax for function call expression");
        }
        node->args.push_back(expression());
      }
    }
    return status_.ok() && expect_op(")");
  }

  bool dotted(std::string* out) {
    if (!expect_name(out)) return false;
    std::string more;
    while (skip_op(".")) {
      if (!expect_name(&more)) return false;
      *out += mm2::join(".", more);
    }
    return true;
  }

  // One or more `|name(args)`; `of` may be null: the body of a block.
  Node* filters(Node* of, bool start_inline) {
    while (status_.ok() && (start_inline || is_op("|"))) {
      if (!start_inline) next();
      start_inline = false;
      Node* node = make(Op::filter);
      if (!dotted(&node->text)) return nullptr;
      if (!is_filter(node->text) && conditional_ == 0) {
        if (status_.ok()) {
          status_ = error(Code::format, "TemplateAssertionError: No filter named '", node->text,
                          "'. (line ", node->line, ")");
        }
        return nullptr;
      }
      node->kids = {of};
      if (is_op("(") && !arguments(node)) return nullptr;
      of = done(node);
    }
    return status_.ok() ? of : nullptr;
  }

  Node* test(Node* of) {
    next();
    const bool negated = skip_name("not");
    Node* node = make(Op::test);
    if (!dotted(&node->text)) return nullptr;
    node->kids = {of};
    const bool starts = is(Token::name) || is(Token::string) || is(Token::integer) ||
                        is(Token::real) || is_op("[") || is_op("{");
    if (is_op("(")) {
      if (!arguments(node)) return nullptr;
    } else if (starts && !is_name("else") && !is_name("or") && !is_name("and")) {
      if (is_name("is")) return fail("You cannot chain multiple tests with is");
      node->args.push_back(postfix(primary(false)));
    }
    if (!is_test(node->text) && conditional_ == 0) {
      if (status_.ok()) {
        status_ = error(Code::format, "TemplateAssertionError: No test named '", node->text,
                        "'. (line ", node->line, ")");
      }
      return nullptr;
    }
    if (!negated) return done(node);
    Node* outer = make(Op::logical_not);
    outer->kids = {done(node)};
    return done(outer);
  }

  // --- statements

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

  Node* statement() {
    const std::string tag = now().text;
    Node* node = nullptr;
    if (tag == "for") return for_loop();
    if (tag == "if") return if_chain();
    if (tag == "set") return assignment();
    if (tag == "macro") return macro();
    if (tag == "call") return call_block();
    if (tag == "with") return with();
    if (tag == "filter") {
      next();
      node = make(Op::filter_block);
      node->kids = {filters(nullptr, true)};
      if (!status_.ok()) return nullptr;
      node->kids.push_back(body({"endfilter"}));
      return done(node);
    }
    if (tag == "generation") {
      next();
      node = make(Op::scoped);
      const int loops = std::exchange(loops_, 0);
      node->kids = {body({"endgeneration"})};
      loops_ = loops;
      return done(node);
    }
    if (tag == "block") {
      next();
      node = make(Op::scoped);
      if (!expect_name(&node->text)) return nullptr;
      while (skip_name("scoped") || skip_name("required")) {
      }
      const int loops = std::exchange(loops_, 0);
      node->kids = {body({"endblock"})};
      loops_ = loops;
      if (status_.ok() && is(Token::name)) next();
      return done(node);
    }
    if (tag == "autoescape") {
      next();
      node = make(Op::autoescape);
      node->kids = {expression()};
      if (!status_.ok()) return nullptr;
      node->kids.push_back(body({"endautoescape"}));
      return done(node);
    }
    if (tag == "print") {
      next();
      node = make(Op::print);
      node->kids = {tuple(false, true, {}, false)};
      return done(node);
    }
    if (tag == "break" || tag == "continue") {
      next();
      if (loops_ == 0) {
        status_ = error(Code::format, "SyntaxError: '", tag, "' not properly in loop (line ",
                        now().line, ")");
        return nullptr;
      }
      return done(make(tag == "break" ? Op::break_ : Op::continue_));
    }
    if (tag == "include" || tag == "import" || tag == "from" || tag == "extends") {
      status_ = error(Code::format, "TypeError: no loader for this environment specified: {% ", tag,
                      " %} in line ", now().line);
      return nullptr;
    }
    return fail(mm2::join("Encountered unknown tag '", tag, "'."));
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

  bool assigns_loop(const Node* node) {
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

  Node* for_loop() {
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

  Node* if_chain() {
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

  Node* assignment() {
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

  Node* macro() {
    next();
    Node* node = make(Op::macro);
    if (!expect_name(&node->text) || !signature(node)) return nullptr;
    node->number = program_->id(node->text);
    node->kids.push_back(function_body({"endmacro"}));
    return done(node);
  }

  // The caller is a macro of its own: kids are the call and that macro.
  Node* call_block() {
    next();
    Node* node = make(Op::call_block);
    Node* caller = make(Op::macro);
    caller->text = "caller";
    if (is_op("(") && !signature(caller)) return nullptr;
    Node* call = expression();
    if (call == nullptr) return nullptr;
    if (call->op != Op::call) return fail("expected call");
    caller->kids.push_back(function_body({"endcall"}));
    node->kids = {call, done(caller)};
    return done(node);
  }

  Node* with() {
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

  std::vector<Lexeme> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;
  int in_for_body_ = 0;
  int conditional_ = 0;
  Status status_;
  std::shared_ptr<Program> program_;
};

}  // namespace

Result<std::shared_ptr<const Program>> parse_program(std::string_view source) {
  MM2_ASSIGN_OR_RETURN(std::vector<Lexeme> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace mm2::chat::jinja
