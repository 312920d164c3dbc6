// Which names a scope hides from the context. Jinja2 decides that before a template runs: a name
// that a scope assigns, and that neither the scope read before nor any outer scope mentions, is
// undefined until the assignment, also for the loops and macros inside.
#include "chat/jinja/ast.h"

namespace mm2::chat::jinja {
namespace {

enum class Load : uint8_t { outer, hidden, given };

struct Symbols {
  const Symbols* parent = nullptr;
  absl::flat_hash_map<int, Load> refs;
  absl::flat_hash_set<int> stores;

  bool knows(int name) const {
    for (const Symbols* s = this; s != nullptr; s = s->parent) {
      if (s->refs.contains(name)) return true;
    }
    return false;
  }
  void load(int name) {
    if (!knows(name)) refs[name] = Load::outer;
  }
  void store(int name) {
    stores.insert(name);
    if (refs.contains(name)) return;
    refs[name] = parent != nullptr && parent->knows(name) ? Load::outer : Load::hidden;
  }
  absl::flat_hash_set<int> hidden() const {
    absl::flat_hash_set<int> out;
    for (const auto& [name, load] : refs) {
      if (load == Load::hidden) out.insert(name);
    }
    return out;
  }
};

// Depth of the recursion is bounded by the depth of the tree.
class Analyser {
 public:
  explicit Analyser(Program& program) : program_(program) {
    caller_ = program.caller_id = program.id("caller");
    varargs_ = program.varargs_id = program.id("varargs");
    kwargs_ = program.kwargs_id = program.id("kwargs");
    loop_ = program.loop_id = program.id("loop");
  }

  Status run() {
    const auto root = std::make_unique<Symbols>();
    scope(*root, program_.root);
    program_.root->hidden = root->hidden();
    if (work_ <= kMaxWork) return {};
    return error(Code::budget, "the template has too many names in too many branches");
  }

 private:
  // Collects the symbols of a scope, then goes into the scopes inside.
  void scope(Symbols& symbols, Node* body) {
    std::vector<Node*> inner;
    visit(body, symbols, inner);
    enter_all(inner, symbols);
  }
  void enter_all(const std::vector<Node*>& inner, const Symbols& symbols) {
    for (Node* node : inner) {
      if (work_ <= kMaxWork) enter(*node, symbols);
    }
  }

  void target(const Node* node, Symbols& symbols, bool given) {
    if (node->op == Op::name) {
      if (given) {
        symbols.stores.insert(node->number);
        symbols.refs[node->number] = Load::given;
      } else {
        symbols.store(node->number);
      }
    } else if (node->op == Op::attribute_target) {
      symbols.load(node->number);
    }
    if (node->op == Op::tuple) {
      for (const Node* kid : node->kids) target(kid, symbols, given);
    }
  }

  void visit(Node* node, Symbols& symbols, std::vector<Node*>& inner) {
    if (node == nullptr || ++work_ > kMaxWork) return;
    switch (node->op) {
      case Op::name:
        symbols.load(node->number);
        return;
      case Op::if_:
        branches(*node, symbols, inner);
        return;
      case Op::for_:
        visit(node->kids[1], symbols, inner);
        inner.push_back(node);
        return;
      case Op::set:
        visit(node->kids[1], symbols, inner);
        target(node->kids[0], symbols, false);
        return;
      case Op::set_block:
        target(node->kids[0], symbols, false);
        inner.push_back(node);
        return;
      case Op::macro:
        if (node->number != 0 || node->text != "caller") symbols.store(node->number);
        inner.push_back(node);
        return;
      case Op::call_block:
        visit(node->kids[0], symbols, inner);
        inner.push_back(node->kids[1]);
        return;
      case Op::filter_block:
        visit(node->kids[0], symbols, inner);
        inner.push_back(node);
        return;
      case Op::with:
        for (size_t i = 1; i + 1 < node->kids.size(); i += 2) visit(node->kids[i], symbols, inner);
        inner.push_back(node);
        return;
      case Op::scoped:
        inner.push_back(node);
        return;
      default:
        break;
    }
    for (Node* kid : node->kids) visit(kid, symbols, inner);
    for (Node* kid : node->args) visit(kid, symbols, inner);
    for (const auto& [name, kid] : node->kwargs) visit(kid, symbols, inner);
    visit(node->star, symbols, inner);
    visit(node->star_star, symbols, inner);
  }

  void branches(Node& node, Symbols& symbols, std::vector<Node*>& inner) {
    // test, body, test, body .. [, else]. Jinja2 sees an if with three branches: the body, all of
    // the elifs one after the other, the else.
    visit(node.kids[0], symbols, inner);
    pay(symbols, 3);
    // On the heap: this is recursive, and threads of hosts may have little stack.
    std::vector<Symbols> sides(3, symbols);
    const bool has_else = node.kids.size() % 2 == 1;
    const size_t pairs = node.kids.size() / 2;
    visit(node.kids[1], sides[0], inner);
    for (size_t i = 1; i < pairs; ++i) {
      if (work_ > kMaxWork) return;
      visit(node.kids[2 * i], sides[1], inner);
      pay(sides[1], 4);
      const auto taken = std::make_unique<Symbols>(sides[1]);
      visit(node.kids[2 * i + 1], *taken, inner);
      merge(sides[1], {taken.get(), &sides[1], &sides[1]});
    }
    if (has_else) visit(node.kids.back(), sides[2], inner);
    merge(symbols, {&sides[0], &sides[1], &sides[2]});
  }

  static void merge(Symbols& into, std::initializer_list<const Symbols*> sides) {
    absl::flat_hash_map<int, size_t> count;
    Symbols merged = into;
    for (const Symbols* side : sides) {
      for (const int name : side->stores) {
        if (!into.stores.contains(name)) ++count[name];
      }
      for (const auto& [name, load] : side->refs) merged.refs[name] = load;
      merged.stores.insert(side->stores.begin(), side->stores.end());
    }
    for (const auto& [name, n] : count) {
      if (n != sides.size()) merged.refs[name] = Load::outer;
    }
    into = std::move(merged);
  }

  // Defaults and body.
  void macro(const Node& node, Symbols& symbols) {
    std::vector<Node*> inner;
    for (Node* part : node.kids) visit(part, symbols, inner);
    enter_all(inner, symbols);
  }

  void pay(const Symbols& symbols, uint64_t times) {
    work_ += times * (symbols.refs.size() + symbols.stores.size() + 1);
  }

  void enter(Node& node, const Symbols& outer) {
    const auto own = std::make_unique<Symbols>();
    Symbols& symbols = *own;
    symbols.parent = &outer;
    switch (node.op) {
      case Op::for_: {
        symbols.refs[loop_] = Load::given;
        target(node.kids[0], symbols, true);
        scope(symbols, node.kids[3]);
        if (node.kids[4] != nullptr) {
          const auto otherwise = std::make_unique<Symbols>();
          otherwise->parent = &outer;
          scope(*otherwise, node.kids[4]);
          node.hidden_else = otherwise->hidden();
        }
        break;
      }
      case Op::macro:
        for (const int id : node.ids) symbols.refs[id] = Load::given;
        for (const int id : {caller_, varargs_, kwargs_}) symbols.refs.try_emplace(id, Load::given);
        macro(node, symbols);
        break;
      case Op::with:
        for (size_t i = 0; i + 1 < node.kids.size(); i += 2) target(node.kids[i], symbols, true);
        scope(symbols, node.kids.back());
        break;
      default:
        scope(symbols, node.kids.back());
        break;
    }
    node.hidden = symbols.hidden();
  }

  static constexpr uint64_t kMaxWork = 1'000'000;  // nodes looked at and names copied

  uint64_t work_ = 0;
  Program& program_;
  int caller_, varargs_, kwargs_, loop_;
};

}  // namespace

Status analyse_scopes(Program& program) {
  return Analyser(program).run();
}

}  // namespace mm2::chat::jinja
