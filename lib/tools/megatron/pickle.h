// A pickle as a tree of values. Nothing is imported, called or built: names of classes stay names, and
// only those that a checkpoint of tensors is made of are let through at all.
#pragma once

#include <bit>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace mm2 {

enum class PickleKind : uint8_t {
  none,
  boolean,
  integer,
  big_integer,  // more than 64 bits; its bytes as text
  real,
  text,
  bytes,
  tuple,
  list,
  dict,     // children: key, value, key, value, ...
  name,     // of a class or function: text "module.name"
  storage,  // children: the parts of its persistent id
  call,     // of a known function: text is its name, children its arguments
  opaque,   // an object of a class that is only known by name: text; children: its state, if any
};

struct PickleValue {
  PickleKind kind = PickleKind::none;
  bool flag = false;      // of boolean
  int32_t children = -1;  // place in Pickle::lists; -1: none
  int64_t integer = 0;    // of real: its bits
  std::string_view text;  // into the input, or one of Pickle::names

  double real() const { return std::bit_cast<double>(integer); }
};

struct Pickle {
  std::vector<PickleValue> values;
  std::vector<std::vector<uint32_t>> lists;
  std::set<std::string> names;  // of classes and functions, which do not stand in the input as one
  uint32_t root = 0;
  size_t n_bytes = 0;  // of the pickle, STOP included

  const PickleValue& operator[](uint32_t i) const { return values[i]; }
  std::span<const uint32_t> children(const PickleValue& value) const {
    if (value.children < 0) return {};
    return lists[static_cast<size_t>(value.children)];
  }
};

/// Reads the pickle that `bytes` begins with; what follows it is left alone. `bytes` must outlive the
/// result. Binary opcodes of protocols 2 to 5 only. Code::format: anything that is no such pickle, with
/// opcode and place; lengths beyond the input; Code::unsupported: a class or function that is not one
/// of those (it is named), opcodes that build objects in other ways. Time and memory are linear in the
/// pickle; nothing recurses. `truncated` (may be null): whether more input might have helped.
Result<Pickle> read_pickle(std::string_view bytes, const std::string& what,
                           bool* truncated = nullptr);

/// Whether a class may appear in a file (as a name; it is never imported): tensors, storages, plain
/// containers, and the classes of arguments and random states in training checkpoints.
bool is_known_name(std::string_view module, std::string_view name);

}  // namespace mm2
