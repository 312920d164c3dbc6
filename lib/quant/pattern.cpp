#include "quant/pattern.h"

#include <algorithm>

namespace mm2 {

using ByteSet = std::bitset<256>;

// Parses into a tree, then lays the tree out as nodes, from the end to the beginning: each piece
// is given the node that follows it.
class PatternCompiler {
 public:
  explicit PatternCompiler(std::string_view text) : text_(text) {}

  Result<Pattern> run() {
    if (text_.size() > kMaxText) return too_large();
    const int32_t tree = alternatives(0);
    if (status_.ok() && at_ < text_.size()) fail(Code::format, "a ) without its (");
    if (!status_.ok()) return status_;
    const int32_t done = node(Pattern::Kind::done, -1);
    pattern_.start_ = lay(tree, done);
    if (pattern_.nodes_.size() >= kMaxNodes) return too_large();
    return std::move(pattern_);
  }

 private:
  static constexpr size_t kMaxText = 1000, kMaxNodes = 2000;
  static constexpr int kMaxDepth = 32, kMaxCount = 1000;

  enum class Op : uint8_t { bytes, begin, end, sequence, either, repeat };
  struct Tree {
    Op op;
    int32_t set = -1;
    std::vector<int32_t> parts = {};
    int least = 0, most = -1;  // of repeat; -1: any number
  };

  Status too_large() { return error(Code::unsupported, "pattern \"", shown(), "\" is too large"); }
  std::string shown() const { return std::string(text_.substr(0, 100)); }

  int32_t fail(Code code, const std::string& why) {
    if (status_.ok()) {
      status_ = error(code, "pattern \"", shown(), "\": at byte ", at_, ": ", why);
    }
    return -1;
  }

  int32_t tree(Tree t) {
    trees_.push_back(std::move(t));
    return static_cast<int32_t>(trees_.size()) - 1;
  }

  bool more() const { return status_.ok() && at_ < text_.size(); }
  bool take(char c) {
    if (!more() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  int32_t alternatives(int depth) {
    if (depth > kMaxDepth) return fail(Code::unsupported, "groups are nested too deep");
    Tree either{Op::either};
    do {
      Tree sequence{Op::sequence};
      while (more() && text_[at_] != '|' && text_[at_] != ')') {
        const int32_t piece = repeated(depth);
        if (!status_.ok()) return -1;
        sequence.parts.push_back(piece);
      }
      either.parts.push_back(tree(std::move(sequence)));
    } while (take('|'));
    return tree(std::move(either));
  }

  int32_t repeated(int depth) {
    int32_t piece = atom(depth);
    while (more()) {
      Tree repeat{Op::repeat};
      repeat.parts = {piece};
      if (take('*')) {
      } else if (take('+')) {
        repeat.least = 1;
      } else if (take('?')) {
        repeat.most = 1;
      } else if (text_[at_] != '{' || !count(repeat)) {
        break;
      }
      take('?');  // a lazy repeat finds the same names
      piece = tree(std::move(repeat));
    }
    return piece;
  }

  // {m}, {m,}, {,n} or {m,n}; anything else is text.
  bool count(Tree& repeat) {
    size_t at = at_ + 1;
    const auto number = [&](int& value) {
      const size_t from = at;
      for (value = 0; at < text_.size() && text_[at] >= '0' && text_[at] <= '9'; ++at) {
        value = std::min(value * 10 + (text_[at] - '0'), kMaxCount + 1);
      }
      return at > from;
    };
    const bool has_least = number(repeat.least);
    repeat.most = repeat.least;
    bool has_most = false;
    const bool comma = at < text_.size() && text_[at] == ',';
    if (comma) {
      ++at;
      has_most = number(repeat.most);
      if (!has_most) repeat.most = -1;
    }
    if (!(has_least || has_most) || at >= text_.size() || text_[at] != '}') {
      repeat.least = 0;
      repeat.most = -1;
      return false;
    }
    at_ = at + 1;
    if (repeat.least > kMaxCount || repeat.most > kMaxCount) {
      fail(Code::unsupported, "a repeat above 1000");
    } else if (repeat.most >= 0 && repeat.most < repeat.least) {
      fail(Code::format, "a repeat from more to less");
    }
    return true;
  }

  int32_t bytes(const ByteSet& set) {
    pattern_.sets_.push_back(set);
    return tree({Op::bytes, static_cast<int32_t>(pattern_.sets_.size()) - 1, {}});
  }
  int32_t byte(char c) { return bytes(ByteSet().set(static_cast<unsigned char>(c))); }

  int32_t atom(int depth) {
    const char c = text_[at_++];
    switch (c) {
      case '.':
        return bytes(ByteSet().set().reset('\n'));
      case '^':
        return tree({Op::begin, -1, {}});
      case '$':
        return tree({Op::end, -1, {}});
      case '*':
      case '+':
      case '?':
        return fail(Code::format, "nothing to repeat");
      case '(': {
        if (take('?') && !take(':')) {
          return fail(Code::unsupported, "of the (? constructs only (?: is supported");
        }
        const int32_t inside = alternatives(depth + 1);
        if (!take(')')) return fail(Code::format, "a ( without its )");
        return inside;
      }
      case '[':
        return set_of_bytes();
      case '\\': {
        ByteSet set;
        return escaped(set) ? bytes(set) : -1;
      }
      default:
        return byte(c);
    }
  }

  // What stands after a backslash.
  bool escaped(ByteSet& set) {
    if (at_ >= text_.size()) {
      fail(Code::format, "it ends with a backslash");
      return false;
    }
    const char c = text_[at_++];
    const auto in = [&](auto&& test) {
      for (int i = 0; i < 256; ++i) set.set(static_cast<size_t>(i), test(i));
    };
    const auto is_digit = [](int i) { return i >= '0' && i <= '9'; };
    const auto is_word = [&](int i) {
      return is_digit(i) || i == '_' || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
    };
    const auto is_space = [](int i) { return i == ' ' || (i >= '\t' && i <= '\r'); };
    const char lower = static_cast<char>(c | 0x20);
    if (lower == 'd') in(is_digit);
    if (lower == 'w') in(is_word);
    if (lower == 's') in(is_space);
    if (set.any()) {
      if (c != lower) set.flip();
      return true;
    }
    if (is_word(static_cast<unsigned char>(c))) {
      fail(Code::unsupported, join("\\", std::string(1, c), " is not supported"));
      return false;
    }
    set.set(static_cast<unsigned char>(c));
    return true;
  }

  // One member of a bracket: a byte, or a class such as \d.
  bool member(ByteSet& set, int& single) {
    const char c = text_[at_++];
    set.reset();
    if (c == '\\') {
      if (!escaped(set)) return false;
    } else {
      set.set(static_cast<unsigned char>(c));
    }
    single = -1;
    for (int i = 0; set.count() == 1 && i < 256; ++i) {
      if (set.test(static_cast<size_t>(i))) single = i;
    }
    return true;
  }

  int32_t set_of_bytes() {
    const bool negated = take('^');
    ByteSet all;
    for (bool first = true; more() && (first || text_[at_] != ']'); first = false) {
      ByteSet set, last;
      int low = -1, high = -1;
      if (!member(set, low)) return -1;
      if (at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']') {
        ++at_;
        if (!member(last, high)) return -1;
        if (low < 0 || high < low) return fail(Code::format, "a range from more to less");
        for (int i = low; i <= high; ++i) set.set(static_cast<size_t>(i));
      }
      all |= set;
    }
    if (!take(']')) return fail(Code::format, "a [ without its ]");
    return bytes(negated ? ~all : all);
  }

  int32_t node(Pattern::Kind kind, int32_t next, int32_t other = -1, int32_t set = -1) {
    if (pattern_.nodes_.size() >= kMaxNodes) return 0;  // run() sees the size
    pattern_.nodes_.push_back({kind, next, other, set});
    return static_cast<int32_t>(pattern_.nodes_.size()) - 1;
  }

  int32_t lay(int32_t at, int32_t next) {
    // Empty pieces repeated would turn for long without a node.
    if (++work_ > 20 * kMaxNodes || pattern_.nodes_.size() >= kMaxNodes) {
      while (pattern_.nodes_.size() < kMaxNodes) pattern_.nodes_.push_back({Pattern::Kind::done});
      return next;
    }
    const Tree& t = trees_[static_cast<size_t>(at)];
    switch (t.op) {
      case Op::bytes:
        return node(Pattern::Kind::bytes, next, -1, t.set);
      case Op::begin:
        return node(Pattern::Kind::begin, next);
      case Op::end:
        return node(Pattern::Kind::end, next);
      case Op::sequence:
        for (size_t i = t.parts.size(); i > 0; --i) next = lay(t.parts[i - 1], next);
        return next;
      case Op::either: {
        int32_t all = lay(t.parts.back(), next);
        for (size_t i = t.parts.size() - 1; i > 0; --i) {
          all = node(Pattern::Kind::split, lay(t.parts[i - 1], next), all);
        }
        return all;
      }
      case Op::repeat:
        return lay_repeat(t, next);
    }
    return next;
  }

  int32_t lay_repeat(const Tree& t, int32_t next) {
    int32_t all = next;
    if (t.most < 0) {
      all = node(Pattern::Kind::split, -1, next);
      const int32_t body = lay(t.parts[0], all);
      pattern_.nodes_[static_cast<size_t>(all)].next = body;
    }
    for (int i = t.least; i < t.most; ++i) {
      all = node(Pattern::Kind::split, lay(t.parts[0], all), next);
    }
    for (int i = 0; i < t.least; ++i) all = lay(t.parts[0], all);
    return all;
  }

  std::string_view text_;
  size_t at_ = 0;
  size_t work_ = 0;
  Status status_;
  std::vector<Tree> trees_;
  Pattern pattern_;
};

Result<Pattern> Pattern::compile(std::string_view text) {
  return PatternCompiler(text).run();
}

bool Pattern::run(std::string_view name, bool any_start) const {
  // The nodes that wait for byte `at`; seen[i] is the last position at which node i was entered.
  std::vector<int32_t> now, next, open;
  std::vector<size_t> seen(nodes_.size(), SIZE_MAX);
  const auto enter = [&](int32_t start, size_t at, std::vector<int32_t>& into) {
    open.push_back(start);
    while (!open.empty()) {
      const int32_t i = open.back();
      open.pop_back();
      if (i < 0 || seen[static_cast<size_t>(i)] == at) continue;
      seen[static_cast<size_t>(i)] = at;
      const Node& n = nodes_[static_cast<size_t>(i)];
      if (n.kind == Kind::split) open.push_back(n.other);
      const bool passes = n.kind == Kind::split || (n.kind == Kind::begin && at == 0) ||
                          (n.kind == Kind::end && at == name.size());
      if (passes) {
        open.push_back(n.next);
      } else {
        into.push_back(i);
      }
    }
  };
  for (size_t at = 0;; ++at) {
    if (at == 0 || any_start) enter(start_, at, now);
    next.clear();
    for (const int32_t i : now) {
      const Node& n = nodes_[static_cast<size_t>(i)];
      if (n.kind == Kind::done) return true;
      const bool fits = n.kind == Kind::bytes && at < name.size() &&
                        sets_[static_cast<size_t>(n.set)].test(static_cast<uint8_t>(name[at]));
      if (fits) enter(n.next, at + 1, next);
    }
    if (at == name.size()) return false;
    std::swap(now, next);
  }
}

}  // namespace mm2
