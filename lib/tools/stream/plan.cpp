#include "tools/stream/plan.h"

#include <algorithm>
#include <cstdio>

#include "base/checked.h"
#include "tools/stream/hash.h"

namespace mm2 {
namespace {

constexpr uint64_t kCopyPiece = 8 << 20;
constexpr int64_t kSlabNumbers = 4 << 20;
constexpr uint64_t kAlignment = 64;

std::string shard_name(size_t i, size_t n) {
  if (n == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, n);
  return name;
}

// Every byte of every tensor in exactly one range.
Status check_cover(const WritePlan& plan) {
  struct Covered {
    uint64_t from, n;
  };
  std::vector<std::vector<Covered>> ranges(plan.tensors.size());
  for (const Piece& piece : plan.pieces) {
    for (const OutputRange& range : piece.outputs) {
      if (range.tensor >= ranges.size()) {
        return error(Code::internal, "planning: a piece writes tensor ", range.tensor, " of ",
                     ranges.size());
      }
      ranges[range.tensor].push_back({range.from, range.n});
    }
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    std::vector<Covered>& all = ranges[i];
    std::sort(all.begin(), all.end(),
              [](const Covered& a, const Covered& b) { return a.from < b.from; });
    uint64_t end = 0;
    for (const Covered& one : all) {
      if (one.from != end) break;
      end += one.n;
    }
    const uint64_t wanted = *tensor_bytes(plan.tensors[i].shape, plan.tensors[i].dtype);
    uint64_t sum = 0;
    for (const Covered& one : all) sum += one.n;
    if (end != wanted || sum != wanted) {
      return error(Code::internal, "planning: tensor ", plan.tensors[i].name, ": pieces write ",
                   sum, " bytes, ", end, " of them without a gap, of ", wanted);
    }
  }
  return {};
}

}  // namespace

uint32_t WritePlan::add(std::string name, Dtype dtype, Shape shape) {
  tensors.push_back({std::move(name), dtype, std::move(shape)});
  return static_cast<uint32_t>(tensors.size() - 1);
}

void WritePlan::copy(const TensorSource& source, const TensorInfo& from, uint32_t to) {
  copy_range(source, from, 0, from.bytes, to, 0);
}

void WritePlan::copy_range(const TensorSource& source, const TensorInfo& tensor, uint64_t from,
                           uint64_t n, uint32_t to, uint64_t at) {
  for (uint64_t done = 0; done < n || (n == 0 && done == 0); done += kCopyPiece) {
    const uint64_t now = std::min(kCopyPiece, n - done);
    const bool joins = !pieces.empty() && !pieces.back().copies.empty() &&
                       pieces.back().bytes_read + now <= kCopyPiece;
    if (!joins) pieces.emplace_back();
    Piece& piece = pieces.back();
    piece.outputs.push_back({to, at + done, now});
    piece.copies.push_back({&source, &tensor, from + done});
    piece.bytes_read += now;
    if (n == 0) break;
  }
}

uint64_t WritePlan::bytes() const {
  uint64_t sum = 0;
  for (const OutputTensor& tensor : tensors) sum += *tensor_bytes(tensor.shape, tensor.dtype);
  return sum;
}

uint64_t WritePlan::bytes_read() const {
  uint64_t sum = 0;
  for (const Piece& piece : pieces) sum += piece.bytes_read;
  return sum;
}

uint64_t WritePlan::largest_piece() const {
  uint64_t largest = 0;
  for (const Piece& piece : pieces) {
    uint64_t bytes = round_up(piece.scratch, kAlignment);
    for (const OutputRange& range : piece.outputs) bytes += round_up(range.n, kAlignment);
    largest = std::max(largest, bytes);
  }
  return largest;
}

int64_t slab_rows(int64_t n_rows, int64_t n_cols, int64_t multiple) {
  const int64_t rows = std::max<int64_t>(1, kSlabNumbers / std::max<int64_t>(1, n_cols));
  return std::min(n_rows, std::max(multiple, rows / multiple * multiple));
}

void for_each_slab(int64_t n_rows, int64_t n_cols, int64_t multiple,
                   const std::function<void(int64_t, int64_t)>& each) {
  if (n_rows <= 0) return;
  const int64_t step = slab_rows(n_rows, n_cols, multiple);
  for (int64_t row = 0; row < n_rows; row += step) each(row, std::min(step, n_rows - row));
}

Result<Layout> lay_out(const WritePlan& plan, uint64_t max_shard) {
  // Names and sizes first: one head over all tensors finds whatever is wrong with them.
  MM2_ASSIGN_OR_RETURN(const std::string whole, safetensors_head("the output", plan.tensors));
  MM2_RETURN_IF_ERROR(check_cover(plan));
  Layout layout;
  std::vector<size_t> firsts;
  uint64_t filled = 0;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const uint64_t bytes = *tensor_bytes(plan.tensors[i].shape, plan.tensors[i].dtype);
    if (firsts.empty() || (filled > 0 && bytes > max_shard - std::min(max_shard, filled))) {
      firsts.push_back(i);
      filled = 0;
    }
    filled += bytes;
  }
  for (size_t f = 0; f < firsts.size(); ++f) {
    PlannedFile file;
    file.name = shard_name(f, firsts.size());
    file.first = firsts[f];
    file.n = (f + 1 < firsts.size() ? firsts[f + 1] : plan.tensors.size()) - file.first;
    MM2_ASSIGN_OR_RETURN(
        file.head, safetensors_head(file.name, std::span(plan.tensors).subspan(file.first, file.n),
                                    {{"format", "pt"}}));
    file.bytes = file.head.size();
    for (size_t i = file.first; i < file.first + file.n; ++i) {
      layout.file_of.push_back(static_cast<uint32_t>(f));
      layout.offset.push_back(file.bytes);
      file.bytes += *tensor_bytes(plan.tensors[i].shape, plan.tensors[i].dtype);
    }
    layout.files.push_back(std::move(file));
  }
  return layout;
}

std::string plan_digest(const WritePlan& plan, const Layout& layout) {
  Hasher hasher(HashKind::xxh3);
  hasher.begin();
  const auto add_text = [&](std::string_view text) {
    const uint64_t n = text.size();
    hasher.update(&n, sizeof n);
    hasher.update(text.data(), text.size());
  };
  for (const PlannedFile& file : layout.files) add_text(join(file.name, file.head));
  for (const Piece& piece : plan.pieces) {
    add_text("piece");
    for (const OutputRange& range : piece.outputs) {
      const uint64_t numbers[3] = {range.tensor, range.from, range.n};
      hasher.update(numbers, sizeof numbers);
    }
  }
  for (const SideFile& file : plan.files) add_text(join(file.name, "\n", file.text, file.copy_of));
  add_text(plan.recipe.dump());
  add_text(plan.parents.dump());
  return hasher.finish();
}

Json plan_report(const WritePlan& plan, const Layout& layout) {
  return {{"files", layout.files.size()}, {"tensors", plan.tensors.size()},
          {"bytes", plan.bytes()},        {"read_bytes", plan.bytes_read()},
          {"pieces", plan.pieces.size()}, {"largest_piece_bytes", plan.largest_piece()}};
}

}  // namespace mm2
