// What a verb is going to write, whole, before the first byte is written: tensors, the files they go
// into, and the pieces of work that fill them.
//
//   WritePlan plan;
//   plan.tensors = {...};                       // in the order in which they will lie
//   plan.pieces.push_back({{{0, 0, bytes}}, bytes_read, 0, [=](PieceRun& run) { ... }});
//   write_checkpoint(plan, options, executor, host, &report)      // tools/stream/write.h
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "format/atomic_writer.h"
#include "tensor/source.h"

namespace mm2 {

/// Bytes [from, from + n) of an output tensor.
struct OutputRange {
  uint32_t tensor = 0;  // place in WritePlan::tensors
  uint64_t from = 0;
  uint64_t n = 0;
};

/// What a piece gets when it runs: memory that is its own for the time, 64-byte aligned, with what was
/// there before in it.
struct PieceRun {
  std::vector<std::span<std::byte>> outputs;  // as Piece::outputs; each to be filled whole
  std::span<std::byte> scratch;               // Piece::scratch bytes
  Json note;                                  // small; survives a resume, comes back in the outcome
};

/// Where an output range is copied from.
struct CopyFrom {
  const TensorSource* source;
  const TensorInfo* tensor;
  uint64_t from;
};

/// Work that fills some ranges. It runs on any thread at any time, once or (after a kill) again, and
/// must give the same bytes each time; what it captures lives as long as the plan.
struct Piece {
  std::vector<OutputRange> outputs;
  uint64_t bytes_read = 0;  // for progress and estimates
  uint64_t scratch = 0;
  std::function<Status(PieceRun&)> run;
  std::vector<CopyFrom> copies;  // as outputs, instead of `run`
};

/// A file beside the tensors: its text, or a copy of another file.
struct SideFile {
  std::string name;
  std::string text;
  std::string copy_of;  // a path; empty: `text`
};

struct WritePlan {
  std::vector<OutputTensor> tensors;
  std::vector<Piece> pieces;    // their ranges cover every byte of every tensor once
  std::vector<SideFile> files;  // config.json and the like; index and manifest are made
  /// Called when all pieces are done and before anything is published: what their notes (in the order
  /// of pieces) come to goes into the report and into further files. A failure ends the run.
  std::function<Status(std::span<const Json> notes, Json& report, std::vector<SideFile>& files)>
      finish;
  std::vector<std::string> inputs;  // paths of folders and files that are read
  Json parents = Json::array();     // for the manifest: what is known of each input
  Json recipe = Json::object();     // for the manifest: verb and options that decide bytes

  /// A new output tensor; its place.
  uint32_t add(std::string name, Dtype dtype, Shape shape);
  /// Copies the whole tensor: in several pieces where it is large, together with its neighbours
  /// where they are small. `source` outlives the plan.
  void copy(const TensorSource& source, const TensorInfo& from, uint32_t to);
  /// The same for some of its bytes, which become bytes from `at` on.
  void copy_range(const TensorSource& source, const TensorInfo& tensor, uint64_t from, uint64_t n,
                  uint32_t to, uint64_t at);

  uint64_t bytes() const;
  uint64_t bytes_read() const;
  /// Output and scratch bytes of the largest piece, each range rounded up to 64.
  uint64_t largest_piece() const;
};

/// Rows of a slab of [n_rows, n_cols] numbers: about 4 Mi of them, a multiple of `multiple`. It
/// depends on nothing but the shape, so that pieces do not depend on memory or threads.
int64_t slab_rows(int64_t n_rows, int64_t n_cols, int64_t multiple);

/// Calls each(first_row, n_rows) for all slabs of a matrix.
void for_each_slab(int64_t n_rows, int64_t n_cols, int64_t multiple,
                   const std::function<void(int64_t, int64_t)>& each);

/// One file of the output and the tensors in it.
struct PlannedFile {
  std::string name;
  std::string head;         // safetensors length and header
  size_t first = 0, n = 0;  // tensors [first, first + n)
  uint64_t bytes = 0;       // of the file
};

struct Layout {
  std::vector<PlannedFile> files;
  std::vector<uint32_t> file_of;  // of each tensor
  std::vector<uint64_t> offset;   // of its first byte in that file
};

/// Files of at most `max_shard` bytes of tensors (more only where one tensor is larger), named
/// model.safetensors or model-00001-of-00003.safetensors. Code::invalid_argument: names that occur
/// twice, sizes that overflow, a range twice or never written.
Result<Layout> lay_out(const WritePlan& plan, uint64_t max_shard);

/// Everything that decides the output, as a digest; equal plans give equal bytes.
std::string plan_digest(const WritePlan& plan, const Layout& layout);

/// {"files", "tensors", "bytes", "bytes_read", "pieces", "largest_piece_bytes"}
Json plan_report(const WritePlan& plan, const Layout& layout);

}  // namespace mm2
