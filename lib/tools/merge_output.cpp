#include "tools/merge_output.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>

#include "base/vector_code.h"
#include "quant/dequantize.h"
#include "tensor/convert.h"
#include "tools/merge/pair_scan.h"
#include "tools/merge/rows.h"

namespace mm2 {
namespace {

constexpr int64_t kBlock = 128;   // rows that are merged at a time, too
constexpr int64_t kScanned = 64;  // rows that are read and scanned at a time
constexpr uint8_t kLargestCode = 0x7e;

int64_t blocks_of(int64_t n) {
  return (n + kBlock - 1) / kBlock;
}

Dtype dtype_of(MergedKind kind) {
  switch (kind) {
    case MergedKind::f32:
      return Dtype::f32;
    case MergedKind::f16:
      return Dtype::f16;
    case MergedKind::bf16:
      return Dtype::bf16;
    case MergedKind::fp8:
      return Dtype::f8_e4m3;
  }
  return Dtype::f32;
}

// Of BF16 or F16: numbers rounded, and what they are when they are read. False where one became
// infinite.
template <MergedKind kKind>
inline __attribute__((always_inline)) bool narrow_to(const float* from, int64_t n, uint16_t* to,
                                                     float* back) {
  constexpr uint32_t kInfinity = 0x7f800000u;
  uint32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    to[i] = kKind == MergedKind::f16 ? f32_to_f16(from[i]) : f32_to_bf16(from[i]);
    back[i] = kKind == MergedKind::f16 ? f16_to_f32(to[i]) : bf16_to_f32(to[i]);
    bad |= (std::bit_cast<uint32_t>(back[i]) & kInfinity) == kInfinity ? 1u : 0u;
  }
  return bad == 0;
}

// Codes of a row that are +-448.
inline __attribute__((always_inline)) uint32_t count_saturated(const uint8_t* codes, int64_t n) {
  uint32_t found = 0;
  for (int64_t i = 0; i < n; ++i) found += (codes[i] & 0x7f) == kLargestCode ? 1u : 0u;
  return found;
}

// What all pieces of one weight share.
class Worker {
 public:
  explicit Worker(MergedWeight weight, size_t index) : weight_(std::move(weight)), index_(index) {}

  int64_t n_rows() const { return weight_.parents[0]->place.n_rows(); }
  int64_t n_cols() const { return weight_.parents[0]->place.n_cols(); }
  const MergedWeight& weight() const { return weight_; }
  int64_t tile_numbers() const { return std::min(kBlock, n_rows()) * n_cols(); }
  // Buffers of a piece: one for each parent, and at least one beside the result's.
  int64_t n_buffers() const { return std::max<int64_t>(2, std::ssize(weight_.parents)); }

  // Rows are read again where they are merged after the scans: decoding them costs less than fetching
  // numbers from memory, which is where all rows of a weight would be.
  Status run(int64_t first_row, int64_t rows, PieceRun& run) {
    auto* const floats = reinterpret_cast<float*>(run.scratch.data());
    std::vector<float*> buffers;
    for (int64_t k = 0; k < n_buffers(); ++k) buffers.push_back(floats + k * tile_numbers());
    MM2_RETURN_IF_ERROR(prepare(buffers));
    PairScan scan(weight_.name, Shape{rows, n_cols()});
    uint64_t n_saturated = 0;
    for (int64_t row = 0; row < rows; row += kBlock) {
      const int64_t n = std::min(kBlock, rows - row);
      MM2_RETURN_IF_ERROR(merge(first_row + row, n, buffers));
      // What readers will see takes the place of the second parent.
      MM2_RETURN_IF_ERROR(encode({first_row, row, n}, buffers[0], run, buffers[1], n_saturated));
      MM2_RETURN_IF_ERROR(scan.add(row, n, buffers[0], buffers[1]));
    }
    MM2_ASSIGN_OR_RETURN(const PairFigures figures, scan.finish());
    note(first_row, figures, n_saturated, run.note);
    end_piece();
    return {};
  }
  void add_piece() { ++n_pieces_; }

 private:
  // What scans found is of no more use behind the last piece.
  void end_piece() {
    const std::lock_guard lock(mutex_);
    if (--n_pieces_ == 0) merge_.reset();
  }

  // Rows [row, row + n) of the piece that begins at first_row.
  struct Tile {
    int64_t first_row, row, n;
  };

  std::vector<const float*> parents_in(const std::vector<float*>& buffers) const {
    return {buffers.begin(), buffers.begin() + std::ssize(weight_.parents)};
  }

  Status load(int64_t first_row, int64_t rows, const std::vector<float*>& buffers) const {
    for (size_t k = 0; k < weight_.parents.size(); ++k) {
      MM2_RETURN_IF_ERROR(weight_.views[k]->rows(*weight_.parents[k], first_row, rows, buffers[k]));
    }
    return {};
  }

  // Rows into the first buffer, some at a time, over those of the first parent; those of the others
  // lie at the beginning of their buffers.
  Status merge(int64_t first_row, int64_t rows, const std::vector<float*>& buffers) const {
    std::vector<float*> at = buffers;
    for (int64_t row = 0; row < rows; row += kScanned) {
      const int64_t n = std::min(kScanned, rows - row);
      at[0] = buffers[0] + row * n_cols();
      MM2_RETURN_IF_ERROR(load(first_row + row, n, at));
      MM2_RETURN_IF_ERROR(merge_->apply({first_row + row, n, parents_in(at)}, at[0]));
    }
    return {};
  }

  // The scans over all rows, once.
  Status prepare(const std::vector<float*>& buffers) {
    const std::lock_guard lock(mutex_);
    if (merge_ || !failure_.ok()) return failure_;
    failure_ = scan(buffers);
    return failure_;
  }

  Status scan(const std::vector<float*>& buffers) {
    MM2_ASSIGN_OR_RETURN(SlabMerge merge, SlabMerge::make(weight_.rule, weight_.name,
                                                          weight_.parents[0]->place.shape));
    const std::vector<const float*> parents = parents_in(buffers);
    while (merge.wants_scan()) {
      for (int64_t row = 0; row < n_rows(); row += kScanned) {
        const int64_t n = std::min(kScanned, n_rows() - row);
        MM2_RETURN_IF_ERROR(load(row, n, buffers));
        MM2_RETURN_IF_ERROR(merge.scan({row, n, parents}));
      }
      MM2_RETURN_IF_ERROR(merge.end_scan());
    }
    merge_ = std::make_unique<SlabMerge>(std::move(merge));
    return {};
  }

  // Into the output, and back as a reader will see it.
  Status encode(const Tile& tile, const float* merged, PieceRun& run, float* stored,
                uint64_t& n_saturated) const {
    const int64_t n = tile.n * n_cols(), first = tile.row * n_cols();
    std::byte* const to = run.outputs[0].data();
    switch (weight_.kind) {
      case MergedKind::f32:
        std::memcpy(to + first * 4, merged, static_cast<size_t>(n) * sizeof(float));
        std::memcpy(stored, merged, static_cast<size_t>(n) * sizeof(float));
        return {};
      case MergedKind::bf16:
      case MergedKind::f16: {
        auto* const narrow = reinterpret_cast<uint16_t*>(to) + first;
        const bool finite =
            weight_.kind == MergedKind::f16
                ? narrow_to<MergedKind::f16>(merged, n, narrow, stored)
                : VectorCode<narrow_to<MergedKind::bf16>>::run(merged, n, narrow, stored);
        if (finite) return {};
        const int64_t i = first_not_finite(stored, n);
        return error(Code::numeric, "merging ", weight_.name, ": ", merged[i], " at row ",
                     tile.first_row + tile.row + i / n_cols(), ", column ", i % n_cols(),
                     " is beyond ", merged_kind_name(weight_.kind));
      }
      case MergedKind::fp8:
        return encode_fp8(tile, merged, run, stored, n_saturated);
    }
    return {};
  }

  Status encode_fp8(const Tile& tile, const float* merged, PieceRun& run, float* stored,
                    uint64_t& n_saturated) const {
    auto* const codes = reinterpret_cast<uint8_t*>(run.outputs[0].data()) + tile.row * n_cols();
    auto* const scales =
        reinterpret_cast<float*>(run.outputs[1].data()) + tile.row / kBlock * blocks_of(n_cols());
    Fp8Options options;
    options.rule = weight_.fp8_rule;
    MM2_RETURN_IF_ERROR(
        quantize_fp8({merged, tile.n, n_cols(), tile.first_row + tile.row}, options, codes, scales)
            .in("merging " + weight_.name));
    for (int64_t r = 0; r < tile.n; ++r) {
      const uint8_t* const row = codes + r * n_cols();
      n_saturated += VectorCode<count_saturated>::run(row, n_cols());
      dequantize_e4m3_row(row, scales, kBlock, n_cols(), stored + r * n_cols());
    }
    return {};
  }

  void note(int64_t first_row, const PairFigures& figures, uint64_t n_saturated, Json& to) const {
    to = {{"weight", index_},
          {"aa", figures.aa},
          {"bb", figures.bb},
          {"dd", figures.dd},
          {"n", figures.n_elements},
          {"equal", figures.n_equal},
          {"max", figures.max_abs_diff},
          {"saturated", n_saturated}};
    if (first_row != 0) return;
    const MergeFacts facts = merge_->facts();
    Json& told = to["facts"] = Json::object();
    const bool turns = weight_.rule.method == MergeMethod::slerp ||
                       (weight_.rule.method == MergeMethod::nuslerp && weight_.rule.flatten);
    if (turns) {
      told["cos"] = facts.cosine;
      told["arc"] = facts.arc;
    }
    if (!facts.coefficients.empty()) told["coefficients"] = facts.coefficients;
  }

  MergedWeight weight_;
  size_t index_;
  std::mutex mutex_;      // guards the scans and n_pieces_
  int64_t n_pieces_ = 0;  // that have not run
  Status failure_;
  std::unique_ptr<SlabMerge> merge_;  // scanned; not changed any more once it is there
};

uint64_t bytes_of_rows(const Worker& worker, int64_t rows) {
  uint64_t bytes = 0;
  for (const ViewWeight* parent : worker.weight().parents)
    bytes += CheckpointView::bytes_of_rows(*parent, rows);
  return bytes;
}

}  // namespace

std::string_view merged_kind_name(MergedKind kind) {
  switch (kind) {
    case MergedKind::f32:
      return "float32";
    case MergedKind::f16:
      return "float16";
    case MergedKind::bf16:
      return "bfloat16";
    case MergedKind::fp8:
      return "fp8";
  }
  return "";
}

std::optional<MergedKind> stored_kind(const ViewWeight& weight) {
  const WeightDescription& d = weight.description;
  if (d.is_plain()) {
    if (d.dtype() == Dtype::f32) return MergedKind::f32;
    if (d.dtype() == Dtype::f16) return MergedKind::f16;
    return MergedKind::bf16;
  }
  if (d.scheme->id == "fp8_block" && d.scale_rows == kBlock && d.scale_cols == kBlock)
    return MergedKind::fp8;
  return std::nullopt;
}

void plan_merged(MergedWeight weight, size_t index, WritePlan& plan, std::vector<Piece>& later) {
  const ViewWeight& lead = *weight.parents[0];
  const Dtype dtype = dtype_of(weight.kind);
  const bool fp8 = weight.kind == MergedKind::fp8;
  const std::string name = weight.name;
  const int64_t whole = weight.whole_numbers, slab = weight.slab_numbers;
  const auto worker = std::make_shared<Worker>(std::move(weight), index);
  const int64_t n_rows = worker->n_rows(), n_cols = worker->n_cols();
  const uint32_t codes = plan.add(name, dtype, lead.place.shape);
  uint32_t scales = 0;
  if (fp8) {
    scales = plan.add(name + "_scale_inv", Dtype::f32, Shape{blocks_of(n_rows), blocks_of(n_cols)});
  }
  const auto width = static_cast<uint64_t>(dtype_bits(dtype)) / 8;
  const auto cols = static_cast<uint64_t>(n_cols);
  const auto add_piece = [&](int64_t first_row, int64_t rows) {
    Piece piece;
    const auto from = static_cast<uint64_t>(first_row), n = static_cast<uint64_t>(rows);
    piece.outputs.push_back({codes, from * cols * width, n * cols * width});
    if (fp8) {
      const auto row_bytes = static_cast<uint64_t>(blocks_of(n_cols)) * sizeof(float);
      piece.outputs.push_back({scales, static_cast<uint64_t>(first_row / kBlock) * row_bytes,
                               static_cast<uint64_t>(blocks_of(rows)) * row_bytes});
    }
    piece.bytes_read = bytes_of_rows(*worker, rows);
    piece.scratch =
        static_cast<uint64_t>(worker->n_buffers() * worker->tile_numbers()) * sizeof(float);
    worker->add_piece();
    piece.run = [worker, first_row, rows](PieceRun& run) {
      return worker->run(first_row, rows, run);
    };
    (first_row == 0 ? plan.pieces : later).push_back(std::move(piece));
  };
  const int64_t step =
      n_rows * n_cols <= whole ? n_rows : std::max<int64_t>(1, slab / n_cols / kBlock) * kBlock;
  for (int64_t row = 0; row < n_rows; row += step) add_piece(row, std::min(step, n_rows - row));
}

Status plan_copied(const std::shared_ptr<CheckpointView>& view, const ViewWeight& weight,
                   WritePlan& plan) {
  const Checkpoint& source = view->source();
  if (weight.description.is_plain()) {
    MM2_ASSIGN_OR_RETURN(const PlainSlice slice,
                         plain_slice(weight.place, weight.description, source));
    const uint32_t to = plan.add(weight.place.name, slice.dtype, weight.place.shape);
    plan.copy_range(source, *slice.tensor, slice.from, slice.bytes, to, 0);
    return {};
  }
  for (const TensorInfo* part : weight.description.parts) {
    if (part == nullptr) continue;
    const bool codes = part == weight.description.parts[0];
    const std::string name = weight.place.name + (codes ? "" : "_scale_inv");
    plan.copy(source, *part, plan.add(name, part->dtype, part->shape));
  }
  return {};
}

std::vector<MergedNote> gather_notes(std::span<const Json> notes, size_t n_weights) {
  std::vector<MergedNote> all(n_weights);
  for (const Json& note : notes) {
    if (!note.is_object() || !note.contains("weight")) continue;
    const auto index = note.at("weight").get<size_t>();
    if (index >= n_weights) continue;
    MergedNote& one = all[index];
    one.merged = true;
    one.aa += note.at("aa").get<double>();
    one.bb += note.at("bb").get<double>();
    one.dd += note.at("dd").get<double>();
    one.max_error = std::max(one.max_error, note.at("max").get<double>());
    one.n += note.at("n").get<uint64_t>();
    one.n_equal += note.at("equal").get<uint64_t>();
    one.n_saturated += note.at("saturated").get<uint64_t>();
    if (note.contains("facts")) one.facts = note.at("facts");
  }
  return all;
}

}  // namespace mm2
