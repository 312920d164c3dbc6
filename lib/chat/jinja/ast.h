// A parsed template. Nodes are owned by the program in one flat list, so that neither building nor
// destroying them recurses.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/status.h"

namespace mm2::chat::jinja {

enum class Op : uint8_t {
  // expressions
  text,
  integer,  // text: digits, perhaps behind 0x, 0o or 0b
  real,
  constant,  // number: 0 none, 1 true, 2 false
  name,
  list,
  tuple,
  dict,       // kids: key, value, key, value ..
  attribute,  // kids[0].text
  item,       // kids[0][kids[1]]
  slice,      // kids[0][kids[1]:kids[2]:kids[3]], null where absent
  call,       // kids[0](args)
  filter,     // kids[0]|text(args)
  test,       // kids[0] is text(args)
  negate,
  plus,
  logical_not,
  logical_and,
  logical_or,
  binary,   // text: + - * / // % **
  compare,  // kids: a, b, c ..; names: the operators between them
  concat,
  condition,  // kids: value, test, otherwise (may be null)
  // statements
  data,
  print,             // kids: expressions
  if_,               // kids: test, body, test, body .. [, else body]; bodies are `block`
  for_,              // kids: target, iter, test, body, else; flag: recursive
  set,               // kids: target, value
  set_block,         // kids: target, filter or null, body
  attribute_target,  // text '.' names[0] of a namespace
  macro,             // text: name; names: parameters; kids: defaults..., body last; see uses
  call_block,        // kids: call, body; names: parameters; defaults between
  filter_block,      // kids: filter chain (innermost input is null), body
  with,              // kids: target, value, target, value .., body
  block,             // kids: statements
  scoped,            // kids[0]: body, in a scope of its own (block, generation)
  break_,
  continue_,
  expression,  // do-like: evaluates kids[0]
  autoescape,  // kids: value, body
};

struct Node {
  Op op = Op::text;
  bool flag = false;
  uint16_t depth = 0;
  uint32_t line = 0;
  int number = 0;  // name: id; text, integer: which constant; filter: which one, -1 = none
  double real = 0;
  std::string text;
  std::vector<Node*> kids;
  std::vector<std::string> names;
  std::vector<int> ids;
  // macro: the names that its body mentions
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
  // call, filter, test: the arguments
  std::vector<Node*> args;
  std::vector<std::pair<std::string, Node*>> kwargs;
  Node* star = nullptr;
  Node* star_star = nullptr;
  // Names that this scope assigns and that nothing outside gives a value: read before the
  // assignment they are undefined even if the context has them.
  absl::flat_hash_set<int> hidden;
  absl::flat_hash_set<int> hidden_else;
};

struct Program {
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::string> names;  // by id
  absl::flat_hash_map<std::string, int> ids;
  Node* root = nullptr;
  int n_constants = 0;
  int loop_id = 0, caller_id = 0, varargs_id = 0, kwargs_id = 0;

  int id(const std::string& name) {
    const auto [at, is_new] = ids.try_emplace(name, static_cast<int>(names.size()));
    if (is_new) names.push_back(name);
    return at->second;
  }
};

/// Nesting of expressions and of blocks that the parser accepts; a chain of filters, attributes or
/// operators counts as nesting of its results.
inline constexpr int kMaxNesting = 96;
inline constexpr int kMaxChain = 200;
/// Size of a template: bytes, tokens, nodes. The largest that people use have a hundredth of it.
inline constexpr size_t kMaxSourceBytes = size_t{4} << 20;
inline constexpr size_t kMaxTokens = 200000;
inline constexpr size_t kMaxNodes = 100000;

/// The program of a template. Failures: Code::format with Jinja2's class in front
/// ("TemplateSyntaxError: ..."), Code::budget when nested too deep.
Result<std::shared_ptr<const Program>> parse_program(std::string_view source);

/// Fills Node::hidden of every scope. Failures: Code::budget, when too many names stand in too many
/// branches.
Status analyse_scopes(Program& program);

/// -1: there is none.
int filter_number(std::string_view name);
inline bool is_filter(std::string_view name) {
  return filter_number(name) >= 0;
}
bool is_test(std::string_view name);

}  // namespace mm2::chat::jinja
