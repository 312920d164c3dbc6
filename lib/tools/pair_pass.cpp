#include "tools/pair_pass.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <set>

#include "tensor/buffer.h"

namespace mm2 {
namespace {

constexpr int64_t kSlab = 1 << 20;    // numbers of one side at a time
constexpr size_t kPiece = 256 << 10;  // bytes of one side at a time

// Tensors that hold the numbers; a map of groups or a shape is not one.
bool counts(const TensorInfo* part) {
  return part != nullptr;
}

class Comparison {
 public:
  Comparison(const PairedViews& views, const Host& host) : views_(views), host_(host) {
    for (const WeightPair& pair : views.pairs) {
      total_ += CheckpointView::bytes_of_rows(*pair.a, pair.a->place.n_rows()) +
                CheckpointView::bytes_of_rows(*pair.b, pair.b->place.n_rows());
    }
  }

  Result<PairTable> run(Executor& executor) {
    table_.rows.resize(views_.pairs.size());
    int64_t widest = 0;
    for (const WeightPair& pair : views_.pairs)
      widest = std::max(widest, std::max(kSlab, pair.a->place.n_cols()));
    for (int32_t i = 0; i < executor.n_workers(); ++i) {
      MM2_ASSIGN_OR_RETURN(
          Buffer buffer,
          Buffer::make(host_.allocator, static_cast<size_t>(widest) * 2 * sizeof(float)));
      buffers_.push_back(std::move(buffer));
    }
    executor.run(static_cast<int32_t>(views_.pairs.size()), [this](int32_t task, int32_t worker) {
      if (stopped_) return;
      const Status status =
          compare(static_cast<size_t>(task), buffers_[static_cast<size_t>(worker)]);
      if (!status.ok()) stop(status);
    });
    if (!failure_.ok()) return failure_;
    return std::move(table_);
  }

 private:
  Status compare(size_t index, Buffer& buffer) {
    const WeightPair& pair = views_.pairs[index];
    PairRow& row = table_.rows[index];
    MM2_RETURN_IF_ERROR(compare_bytes(pair, buffer, row));
    PairScan scan(pair.a->place.name, pair.a->place.shape);
    const int64_t n_rows = pair.a->place.n_rows(), n_cols = pair.a->place.n_cols();
    const int64_t step = std::max<int64_t>(1, kSlab / std::max<int64_t>(1, n_cols));
    float* const a = buffer.as<float>();
    float* const b = a + std::max(kSlab, n_cols);
    for (int64_t r = 0; r < n_rows && !stopped_; r += step) {
      const int64_t n = std::min(step, n_rows - r);
      MM2_RETURN_IF_ERROR(views_.a->rows(*pair.a, r, n, a));
      if (row.change == PairChange::identical) {
        MM2_RETURN_IF_ERROR(scan.add(r, n, a, a));
      } else {
        MM2_RETURN_IF_ERROR(views_.b->rows(*pair.b, r, n, b));
        MM2_RETURN_IF_ERROR(scan.add(r, n, a, b));
      }
      MM2_RETURN_IF_ERROR(report(pair, n));
    }
    if (stopped_) return {};
    MM2_ASSIGN_OR_RETURN(row.figures, scan.finish());
    row.block_p50 = row.figures.block_rel_l2.quantile(0.50);
    row.block_p90 = row.figures.block_rel_l2.quantile(0.90);
    row.block_p99 = row.figures.block_rel_l2.quantile(0.99);
    const std::lock_guard lock(mutex_);
    table_.blocks[pair_class(*pair.a)].add(row.figures.block_rel_l2);
    row.figures.block_rel_l2 = LogHistogram();
    return {};
  }

  // The cheap tiers: all bytes, or all but those of the scales.
  Status compare_bytes(const WeightPair& pair, Buffer& buffer, PairRow& row) const {
    if (!pair.alike) return {};
    row.codes_equal = row.scales_equal = true;
    for (size_t i = 0; i < pair.a->description.parts.size(); ++i) {
      const TensorInfo* part = pair.a->description.parts[i];
      if (!counts(part)) continue;
      MM2_ASSIGN_OR_RETURN(const bool equal,
                           same_bytes(pair, *part, *pair.b->description.parts[i], buffer));
      (i == 0 ? row.codes_equal : row.scales_equal) &= equal;
    }
    if (row.codes_equal)
      row.change = row.scales_equal ? PairChange::identical : PairChange::scales_only;
    return {};
  }

  Result<bool> same_bytes(const WeightPair& pair, const TensorInfo& a, const TensorInfo& b,
                          Buffer& buffer) const {
    if (a.bytes != b.bytes) return false;
    // A fused tensor holds several weights: the part of this one.
    uint64_t first_a = 0, first_b = 0, n = a.bytes;
    if (pair.a->description.is_plain()) {
      MM2_ASSIGN_OR_RETURN(const PlainSlice slice_a,
                           plain_slice(pair.a->place, pair.a->description, views_.a->source()));
      MM2_ASSIGN_OR_RETURN(const PlainSlice slice_b,
                           plain_slice(pair.b->place, pair.b->description, views_.b->source()));
      first_a = slice_a.from;
      first_b = slice_b.from;
      n = slice_a.bytes;
      if (slice_b.bytes != n) return false;
    }
    for (uint64_t at = 0; at < n; at += kPiece) {
      const auto piece = static_cast<size_t>(std::min<uint64_t>(kPiece, n - at));
      std::byte* const to = buffer.data();
      MM2_RETURN_IF_ERROR(views_.a->source().read(a, first_a + at, piece, to));
      MM2_RETURN_IF_ERROR(views_.b->source().read(b, first_b + at, piece, to + kPiece));
      if (std::memcmp(to, to + kPiece, piece) != 0) return false;
    }
    return true;
  }

  Status report(const WeightPair& pair, int64_t n_rows) {
    if (!host_.progress) return {};
    const uint64_t bytes = CheckpointView::bytes_of_rows(*pair.a, n_rows) +
                           CheckpointView::bytes_of_rows(*pair.b, n_rows);
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    if (host_.progress({kStageTool, done_, total_, pair.a->place.name})) return {};
    return error(Code::cancelled, "comparing ", views_.a->folder(), " and ", views_.b->folder(),
                 ": cancelled by the host");
  }

  void stop(const Status& status) {
    const std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = status;
    stopped_ = true;
  }

  const PairedViews& views_;
  const Host& host_;
  uint64_t total_ = 0;
  PairTable table_;
  std::vector<Buffer> buffers_;
  std::mutex mutex_;  // guards done_, failure_, table_.blocks and the calls of host_.progress
  uint64_t done_ = 0;
  Status failure_;
  std::atomic<bool> stopped_ = false;
};

bool are_alike(const ViewWeight& a, const ViewWeight& b) {
  if (a.description.scheme != b.description.scheme ||
      a.place.stored.rank() != b.place.stored.rank())
    return false;
  for (size_t i = 0; i < a.description.parts.size(); ++i) {
    const TensorInfo* x = a.description.parts[i];
    const TensorInfo* y = b.description.parts[i];
    if ((x == nullptr) != (y == nullptr)) return false;
    if (x != nullptr && x->dtype != y->dtype) return false;
  }
  return true;
}

bool is_tied(const ViewWeight& weight, const CheckpointView& view) {
  const ViewWeight* embedding = view.weights().empty() ? nullptr : &view.weights().front();
  return weight.place.role == Role::lm_head && embedding != nullptr &&
         embedding->description.parts[0] == weight.description.parts[0];
}

// What a weight of A is called in B; empty: nothing.
std::string name_in_b(const WeightPlace& place, const ExpertMap* experts) {
  if (experts == nullptr || place.expert < 0) return place.name;
  const int32_t other =
      experts->at(static_cast<size_t>(place.layer)).at(static_cast<size_t>(place.expert));
  if (other < 0) return {};
  const std::string was = join(".experts.", place.expert, "."), is = join(".experts.", other, ".");
  std::string name = place.name;
  return name.replace(name.find(was), was.size(), is);
}

// Routers of a layer whose experts have other numbers.
bool rows_moved(const WeightPlace& a, const WeightPlace& b, const ExpertMap* experts) {
  if (experts == nullptr || (a.role != Role::router && a.role != Role::router_bias)) return false;
  const std::vector<int32_t>& map = experts->at(static_cast<size_t>(a.layer));
  for (size_t e = 0; e < map.size(); ++e) {
    if (map[e] != static_cast<int32_t>(e)) return true;
  }
  return !(a.shape == b.shape);
}

}  // namespace

uint64_t PairedViews::n_tensor_pairs() const {
  uint64_t n = 0;
  for (const WeightPair& pair : pairs) {
    for (size_t i = 0; i < pair.a->description.parts.size(); ++i) {
      if (counts(pair.a->description.parts[i]) && counts(pair.b->description.parts[i])) ++n;
    }
  }
  return n;
}

PairedViews pair_views(std::shared_ptr<CheckpointView> a, std::shared_ptr<CheckpointView> b,
                       const ExpertMap* experts) {
  PairedViews views;
  views.a = std::move(a);
  views.b = std::move(b);
  std::set<std::string> met;  // of B
  for (const ViewWeight& weight : views.a->weights()) {
    if (is_tied(weight, *views.a)) continue;
    const std::string name = name_in_b(weight.place, experts);
    const ViewWeight* other = name.empty() ? nullptr : views.b->find(name);
    if (other != nullptr) met.insert(other->place.name);
    if (other == nullptr || rows_moved(weight.place, other->place, experts)) {
      (other == nullptr ? views.only_a : views.renumbered).push_back(weight.place.name);
    } else if (!(other->place.shape == weight.place.shape)) {
      views.shapes_differ.push_back(join(weight.place.name, " ", weight.place.shape.to_string(),
                                         " and ", other->place.shape.to_string()));
    } else {
      views.pairs.push_back({&weight, other, are_alike(weight, *other)});
    }
  }
  for (const ViewWeight& weight : views.b->weights()) {
    if (!is_tied(weight, *views.b) && met.count(weight.place.name) == 0)
      views.only_b.push_back(weight.place.name);
  }
  return views;
}

std::string pair_class(const ViewWeight& weight) {
  return std::string(role_name(weight.place.role));
}

double quantization_noise(const ViewWeight& weight) {
  return weight.description.scheme->codes == CodeType::e4m3 ? kFp8BlockNoise : 0;
}

Result<PairTable> compare_pairs(const PairedViews& views, Executor& executor, const Host& host) {
  return Comparison(views, host).run(executor);
}

}  // namespace mm2
