#include "tools/megatron/pickle.h"

#include <optional>

#include "absl/container/flat_hash_map.h"
#include "tools/megatron/pickle_ops.h"

namespace mm2 {
namespace {

constexpr size_t kMaxValues = 16'000'000;
constexpr int kHighestProtocol = 5;

class Machine {
 public:
  Machine(std::string_view bytes, const std::string& what) : bytes_(bytes), what_(what) {}

  Status run() {
    while (true) {
      op_at_ = at_;
      const uint8_t op = byte();
      if (!ok()) return status_;
      if (op == kStop) break;
      if (!step(op)) unknown(op);
      if (!ok()) return status_;
      if (pickle_.values.size() > kMaxValues) {
        fail(Code::unsupported, join("it holds more than ", kMaxValues, " values"));
        return status_;
      }
    }
    if (stack_.size() != 1 || !marks_.empty()) {
      fail(Code::format, join("it ends with ", stack_.size(), " values, wanted is one"));
      return status_;
    }
    pickle_.root = stack_.front();
    pickle_.n_bytes = at_;
    return {};
  }

  Pickle result() && { return std::move(pickle_); }
  bool truncated() const { return truncated_; }

 private:
  bool ok() const { return status_.ok(); }

  void fail(Code code, const std::string& reason) {
    if (!ok()) return;
    status_ = error(code, what_, ": the pickle at byte ", op_at_, ": ", reason);
  }

  // Bytes of the input.

  std::string_view take(uint64_t n) {
    if (n > bytes_.size() - at_) {
      truncated_ = truncated_ || ok();
      fail(Code::format,
           join("it wants ", n, " more bytes, and ", bytes_.size() - at_, " are left"));
      at_ = bytes_.size();
      return {};
    }
    const std::string_view taken = bytes_.substr(at_, static_cast<size_t>(n));
    at_ += static_cast<size_t>(n);
    return taken;
  }
  uint64_t little(size_t n) {
    uint64_t value = 0;
    const std::string_view taken = take(n);
    for (size_t i = 0; i < taken.size(); ++i) {
      value |= uint64_t{static_cast<uint8_t>(taken[i])} << 8 * i;
    }
    return value;
  }
  uint8_t byte() { return static_cast<uint8_t>(little(1)); }
  std::string_view line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) {
      take(uint64_t{bytes_.size()} + 1);
      return {};
    }
    const std::string_view text = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return text;
  }

  // Values and the stack.

  uint32_t make(PickleKind kind, std::string_view text = {}) {
    PickleValue value;
    value.kind = kind;
    value.text = text;
    pickle_.values.push_back(value);
    return static_cast<uint32_t>(pickle_.values.size() - 1);
  }
  void push(uint32_t value) { stack_.push_back(value); }
  void push_integer(int64_t integer) {
    push(make(PickleKind::integer));
    pickle_.values.back().integer = integer;
  }
  void push_flag(bool flag) {
    push(make(PickleKind::boolean));
    pickle_.values.back().flag = flag;
  }
  void push_list(PickleKind kind, std::vector<uint32_t> children) {
    push(make(kind));
    if (!children.empty()) list_of(stack_.back()) = std::move(children);
  }

  std::vector<uint32_t>& list_of(uint32_t value) {
    int32_t& place = pickle_.values[value].children;
    if (place < 0) {
      place = static_cast<int32_t>(pickle_.lists.size());
      pickle_.lists.emplace_back();
    }
    return pickle_.lists[static_cast<size_t>(place)];
  }

  // Values above the last mark are all that an opcode may touch.
  bool has(size_t n) {
    const size_t floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() - floor >= n) return true;
    fail(Code::format, "an operation lacks its values");
    return false;
  }
  uint32_t pop() {
    const uint32_t value = stack_.back();
    stack_.pop_back();
    return value;
  }
  std::vector<uint32_t> pop_n(size_t n) {
    std::vector<uint32_t> values(stack_.end() - static_cast<ptrdiff_t>(n), stack_.end());
    stack_.resize(stack_.size() - n);
    return values;
  }
  std::optional<std::vector<uint32_t>> pop_to_mark() {
    if (marks_.empty()) {
      fail(Code::format, "an operation lacks its mark");
      return std::nullopt;
    }
    const size_t mark = marks_.back();
    marks_.pop_back();
    return pop_n(stack_.size() - mark);
  }
  PickleKind kind(uint32_t value) const { return pickle_.values[value].kind; }
  bool is(uint32_t value, std::string_view name) const {
    return kind(value) == PickleKind::name && pickle_.values[value].text == name;
  }

  // Opcodes. False: not one of that group.

  bool step(uint8_t op) {
    return constant(op) || text_or_bytes(op) || container(op) || memo(op) || object(op);
  }

  bool constant(uint8_t op) {
    switch (op) {
      case kNone:
        push(make(PickleKind::none));
        return true;
      case kNewTrue:
      case kNewFalse:
        push_flag(op == kNewTrue);
        return true;
      case kBinInt:
        push_integer(static_cast<int32_t>(little(4)));
        return true;
      case kBinInt1:
        push_integer(byte());
        return true;
      case kBinInt2:
        push_integer(static_cast<int64_t>(little(2)));
        return true;
      case kLong1:
        push_long(take(byte()));
        return true;
      case kLong4:
        push_long(take(little(4)));
        return true;
      case kBinFloat: {
        uint64_t bits = 0;
        for (const char c : take(8)) bits = bits << 8 | static_cast<uint8_t>(c);
        push(make(PickleKind::real));
        pickle_.values.back().integer = static_cast<int64_t>(bits);
        return true;
      }
      case kProto: {
        const uint8_t protocol = byte();
        if (protocol > kHighestProtocol) {
          fail(Code::unsupported, join("protocol ", protocol, ", known are 2 to 5"));
        }
        return true;
      }
      case kFrame:
        little(8);  // frames only tell a reader how much to fetch at once
        return true;
      default:
        return false;
    }
  }

  void push_long(std::string_view digits) {
    if (digits.size() > 8) {
      push(make(PickleKind::big_integer, digits));
      return;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < digits.size(); ++i) {
      value |= uint64_t{static_cast<uint8_t>(digits[i])} << 8 * i;
    }
    const bool negative = !digits.empty() && (digits.back() & 0x80) != 0;
    if (negative && digits.size() < 8) value |= ~uint64_t{0} << 8 * digits.size();
    push_integer(static_cast<int64_t>(value));
  }

  bool text_or_bytes(uint8_t op) {
    const auto push_text = [&](PickleKind kind, uint64_t n) { push(make(kind, take(n))); };
    switch (op) {
      case kBinUnicode:
      case kBinString:
        push_text(PickleKind::text, little(4));
        return true;
      case kShortBinUnicode:
      case kShortBinString:
        push_text(PickleKind::text, byte());
        return true;
      case kBinUnicode8:
        push_text(PickleKind::text, little(8));
        return true;
      case kBinBytes:
        push_text(PickleKind::bytes, little(4));
        return true;
      case kShortBinBytes:
        push_text(PickleKind::bytes, byte());
        return true;
      case kBinBytes8:
      case kByteArray8:
        push_text(PickleKind::bytes, little(8));
        return true;
      default:
        return false;
    }
  }

  bool container(uint8_t op) {
    switch (op) {
      case kMark:
        marks_.push_back(stack_.size());
        return true;
      case kPop:
        if (!marks_.empty() && marks_.back() == stack_.size()) {
          marks_.pop_back();
        } else if (has(1)) {
          pop();
        }
        return true;
      case kPopMark:
        pop_to_mark();
        return true;
      case kDup:
        if (has(1)) push(stack_.back());
        return true;
      case kEmptyTuple:
        push(make(PickleKind::tuple));
        return true;
      case kEmptyList:
        push(make(PickleKind::list));
        return true;
      case kEmptyDict:
        push(make(PickleKind::dict));
        return true;
      case kTuple1:
      case kTuple2:
      case kTuple3: {
        const size_t n = op - size_t{kTuple1} + 1;
        if (has(n)) push_list(PickleKind::tuple, pop_n(n));
        return true;
      }
      case kTuple:
      case kList:
      case kDict:
        if (auto values = pop_to_mark()) {
          if (op == kDict && values->size() % 2 != 0) fail(Code::format, "a key has no value");
          push_list(op == kTuple  ? PickleKind::tuple
                    : op == kList ? PickleKind::list
                                  : PickleKind::dict,
                    *std::move(values));
        }
        return true;
      case kAppend:
        if (has(2)) extend(PickleKind::list, pop_n(1));
        return true;
      case kSetItem:
        if (has(3)) extend(PickleKind::dict, pop_n(2));
        return true;
      case kAppends:
      case kSetItems:
        if (auto values = pop_to_mark()) {
          if (op == kSetItems && values->size() % 2 != 0) fail(Code::format, "a key has no value");
          if (has(1)) {
            extend(op == kAppends ? PickleKind::list : PickleKind::dict, *values);
          }
        }
        return true;
      case kEmptySet:
        push(make(PickleKind::opaque, "builtins.set"));
        return true;
      case kAddItems:
        if (pop_to_mark() && has(1) && kind(stack_.back()) != PickleKind::opaque) {
          fail(Code::format, "items are added to what is no set");
        }
        return true;
      case kFrozenSet:
        if (pop_to_mark()) push(make(PickleKind::opaque, "builtins.frozenset"));
        return true;
      default:
        return false;
    }
  }

  // Adds to the list or dict on top; into objects that are only known by name nothing is put.
  void extend(PickleKind wanted, const std::vector<uint32_t>& values) {
    const PickleKind found = kind(stack_.back());
    if (found == PickleKind::opaque) return;
    if (found != wanted) {
      fail(Code::format, wanted == PickleKind::list ? "items are appended to what is no list"
                                                    : "items are set in what is no dict");
      return;
    }
    std::vector<uint32_t>& list = list_of(stack_.back());
    list.insert(list.end(), values.begin(), values.end());
  }

  bool memo(uint8_t op) {
    switch (op) {
      case kBinPut:
        put(byte());
        return true;
      case kLongBinPut:
        put(little(4));
        return true;
      case kMemoize:
        put(memo_.size());
        return true;
      case kBinGet:
        get(byte());
        return true;
      case kLongBinGet:
        get(little(4));
        return true;
      default:
        return false;
    }
  }
  void put(uint64_t slot) {
    if (has(1)) memo_[slot] = stack_.back();
  }
  void get(uint64_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) {
      fail(Code::format, join("there is nothing in memo slot ", slot));
    } else {
      push(found->second);
    }
  }

  bool object(uint8_t op) {
    switch (op) {
      case kGlobal: {
        const std::string_view module = line();
        const std::string_view name = line();
        if (ok()) push_name(module, name);
        return true;
      }
      case kStackGlobal:
        if (has(2)) {
          const uint32_t name = pop(), module = pop();
          if (kind(name) != PickleKind::text || kind(module) != PickleKind::text) {
            fail(Code::format, "the name of a class is no text");
          } else {
            push_name(pickle_[module].text, pickle_[name].text);
          }
        }
        return true;
      case kBinPersid:
        if (has(1)) push_storage(pop());
        return true;
      case kReduce:
      case kNewObj:
        if (has(2)) {
          const uint32_t arguments = pop(), callee = pop();
          call(callee, arguments);
        }
        return true;
      case kNewObjEx:
        if (has(3)) {
          pop();
          const uint32_t arguments = pop(), callee = pop();
          call(callee, arguments);
        }
        return true;
      case kBuild:
        if (has(2)) build(pop());
        return true;
      default:
        return false;
    }
  }

  void push_name(std::string_view module, std::string_view name) {
    if (!is_known_name(module, name)) {
      fail(Code::unsupported,
           join("it names ", quoted(module), ".", quoted(name),
                ", which no checkpoint of tensors needs; nothing was imported or run"));
      return;
    }
    push(make(PickleKind::name, *pickle_.names.insert(join(module, ".", name)).first));
  }

  static std::string quoted(std::string_view text) {
    std::string shown;
    for (const char c : text.substr(0, 80)) shown += c >= ' ' && c <= '~' ? c : '?';
    return shown;
  }

  void push_storage(uint32_t id) {
    const auto parts = pickle_.children(pickle_[id]);
    if (kind(id) != PickleKind::tuple || parts.empty() || kind(parts[0]) != PickleKind::text ||
        pickle_[parts[0]].text != "storage") {
      fail(Code::unsupported, "a persistent id that is no storage of a tensor");
      return;
    }
    push_list(PickleKind::storage, {parts.begin(), parts.end()});
  }

  void call(uint32_t callee, uint32_t arguments) {
    if (kind(callee) != PickleKind::name || kind(arguments) != PickleKind::tuple) {
      fail(Code::unsupported, "it calls what is no known class with what is no tuple");
      return;
    }
    const std::string_view name = pickle_[callee].text;
    const auto given = pickle_.children(pickle_[arguments]);
    std::vector<uint32_t> children(given.begin(), given.end());
    if (name == "collections.OrderedDict" || name == "collections.defaultdict") {
      push(make(PickleKind::dict));
      if (name == "collections.OrderedDict" && !children.empty()) {
        fail(Code::unsupported, "an OrderedDict that is given its items at once");
      }
    } else if (name == "torch.Size" && children.size() == 1 &&
               (kind(children[0]) == PickleKind::tuple || kind(children[0]) == PickleKind::list)) {
      const auto sizes = pickle_.children(pickle_[children[0]]);
      push_list(PickleKind::tuple, {sizes.begin(), sizes.end()});
    } else if (name.substr(0, 13) == "torch._utils.") {
      push_list(PickleKind::call, std::move(children));
      pickle_.values[stack_.back()].text = name;
    } else {
      push(make(PickleKind::opaque, name));
    }
  }

  void build(uint32_t state) {
    if (!has(1)) return;
    const uint32_t object = stack_.back();
    if (kind(object) == PickleKind::opaque) {
      list_of(object) = {state};
    } else if (kind(object) != PickleKind::dict && kind(object) != PickleKind::call) {
      fail(Code::unsupported, "it sets the state of what is no object");
    }
  }

  void unknown(uint8_t op) {
    if (!ok()) return;
    const std::string shown = op >= ' ' && op <= '~'
                                  ? join("'", std::string(1, static_cast<char>(op)), "'")
                                  : join("number ", op);
    fail(Code::unsupported,
         join("opcode ", shown, " is none of those that torch.save writes; nothing was run"));
  }

  std::string_view bytes_;
  const std::string& what_;
  size_t at_ = 0;
  size_t op_at_ = 0;
  bool truncated_ = false;
  Status status_;
  Pickle pickle_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;
  absl::flat_hash_map<uint64_t, uint32_t> memo_;
};

}  // namespace

Result<Pickle> read_pickle(std::string_view bytes, const std::string& what, bool* truncated) {
  Machine machine(bytes, what);
  const Status status = machine.run();
  if (truncated != nullptr) *truncated = machine.truncated();
  if (!status.ok()) return status;
  return std::move(machine).result();
}

}  // namespace mm2
