// Jinja expressions, from tokens to nodes: precedence climbing, then filters and tests.
#include "chat/jinja/expression_parser.h"

#include <cmath>
#include <system_error>

#include "absl/strings/charconv.h"
#include "base/join.h"

namespace mm2::chat::jinja {

namespace {

// Not strtod, which asks the process for its locale.
double real_of(const std::string& text) {
  double value = 0;
  const auto read = absl::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc::result_out_of_range && value > 1 ? HUGE_VAL : value;
}

}  // namespace

std::string ExpressionParser::shown() const {
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

Node* ExpressionParser::fail(const std::string& what) {
  if (status_.ok()) status_ = syntax_error(now().line, what);
  return nullptr;
}

bool ExpressionParser::expect_op(std::string_view op) {
  if (skip_op(op)) return true;
  fail(mm2::join("expected token '", op, "', got '", shown(), "'"));
  return false;
}

bool ExpressionParser::expect(Token type, const char* name) {
  if (is(type)) {
    next();
    return true;
  }
  fail(mm2::join("expected token '", name, "', got '", shown(), "'"));
  return false;
}

bool ExpressionParser::expect_name(std::string* name) {
  if (!is(Token::name)) {
    fail(mm2::join("expected token 'name', got '", shown(), "'"));
    return false;
  }
  *name = now().text;
  next();
  return true;
}

Node* ExpressionParser::make(Op op) {
  program_->nodes.push_back(std::make_unique<Node>());
  Node* node = program_->nodes.back().get();
  node->op = op;
  node->line = now().line;
  return node;
}

Node* ExpressionParser::named(Op op, std::string text) {
  Node* node = make(op);
  node->text = std::move(text);
  if (op == Op::name) node->number = program_->id(node->text);
  if (op == Op::text || op == Op::integer) node->number = program_->n_constants++;
  return node;
}

Node* ExpressionParser::done(Node* node) {
  if (!status_.ok()) return nullptr;
  if (program_->nodes.size() > kMaxNodes) {
    status_ = error(Code::budget, "line ", now().line, ": a template of more than ", kMaxNodes,
                    " operations");
    return nullptr;
  }
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

[[gnu::noinline]] Node* ExpressionParser::too_deep() {
  if (status_.ok()) {
    status_ = error(Code::budget, "line ", now().line, ": nested deeper than the limits of ",
                    kMaxNesting, " brackets or blocks and ", kMaxChain, " operations");
  }
  return nullptr;
}

Node* ExpressionParser::expression(bool with_condition) {
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

int ExpressionParser::strength() const {
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

Node* ExpressionParser::operators(int least) {
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

Node* ExpressionParser::combine(Node* left, int found) {
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

Node* ExpressionParser::unary(bool with_filter) {
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

Node* ExpressionParser::primary(bool with_namespace) {
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
      if (node->op == Op::real) node->real = real_of(node->text);
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

Node* ExpressionParser::name(bool with_namespace) {
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

Node* ExpressionParser::list() {
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

Node* ExpressionParser::dict() {
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

bool ExpressionParser::tuple_ends(std::string_view end_name) const {
  return is(Token::print_end) || is(Token::tag_end) || is_op(")") ||
         (!end_name.empty() && is_name(end_name));
}

Node* ExpressionParser::tuple(bool simplified, bool with_condition, std::string_view end_name,
                              bool in_brackets, bool with_namespace) {
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

Node* ExpressionParser::postfix(Node* node) {
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

Node* ExpressionParser::subscript(Node* of) {
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

Node* ExpressionParser::call(Node* of) {
  Node* node = make(Op::call);
  node->kids = {of};
  if (!arguments(node)) return nullptr;
  return done(node);
}

bool ExpressionParser::arguments(Node* node) {
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

bool ExpressionParser::dotted(std::string* out) {
  if (!expect_name(out)) return false;
  std::string more;
  while (skip_op(".")) {
    if (!expect_name(&more)) return false;
    *out += mm2::join(".", more);
  }
  return true;
}

Node* ExpressionParser::filters(Node* of, bool start_inline) {
  while (status_.ok() && (start_inline || is_op("|"))) {
    if (!start_inline) next();
    start_inline = false;
    Node* node = make(Op::filter);
    if (!dotted(&node->text)) return nullptr;
    node->number = filter_number(node->text);
    if (node->number < 0 && conditional_ == 0) {
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

Node* ExpressionParser::test(Node* of) {
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

}  // namespace mm2::chat::jinja
