// The part of the Jinja parser that reads expressions: tokens, nodes, operators, filters, tests.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/ast.h"
#include "chat/jinja/lexer.h"

namespace mm2::chat::jinja {

// Functions return null once status_ is a failure; whoever asked gives up.
class ExpressionParser {
 protected:
  explicit ExpressionParser(std::vector<Lexeme> tokens) : tokens_(std::move(tokens)) {}

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
  std::string shown() const;
  Node* fail(const std::string& what);
  bool expect_op(std::string_view op);
  bool expect(Token type, const char* name);
  bool expect_name(std::string* name);

  // --- nodes
  Node* make(Op op);
  Node* named(Op op, std::string text);
  // Null when a part failed or the node became too deep to evaluate.
  Node* done(Node* node);
  Node* too_deep();
  struct Level {
    explicit Level(int& d) : depth(d) { ++depth; }
    ~Level() { --depth; }
    int& depth;
  };

  // --- expressions
  Node* expression(bool with_condition = true);

  // Binding strength of the operator that stands here: 0 or, 1 and, 3 comparisons, 4 + -, 5 ~,
  // 6 * / // %, 7 **; -1: none.
  int strength() const;

  Node* operators(int least);
  Node* combine(Node* left, int found);
  Node* unary(bool with_filter);
  Node* primary(bool with_namespace);
  Node* name(bool with_namespace);
  Node* list();
  Node* dict();
  bool tuple_ends(std::string_view end_name) const;

  // A lone expression, or several with commas: a tuple. `simplified` takes only primaries.
  Node* tuple(bool simplified, bool with_condition, std::string_view end_name, bool in_brackets,
              bool with_namespace = false);
  Node* postfix(Node* node);
  Node* subscript(Node* of);
  Node* call(Node* of);
  bool arguments(Node* node);
  bool dotted(std::string* out);

  // One or more `|name(args)`; `of` may be null: the body of a block.
  Node* filters(Node* of, bool start_inline);
  Node* test(Node* of);

  std::vector<Lexeme> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int conditional_ = 0;
  Status status_;
  std::shared_ptr<Program> program_;
};

}  // namespace mm2::chat::jinja
