// roundtrip: proves on the bytes of a checkpoint that a chain of conversions gives them back.
#include <atomic>
#include <cstring>
#include <mutex>

#include "tensor/buffer.h"
#include "tools/megatron_io.h"
#include "tools/tool_options.h"
#include "tools/verbs.h"

namespace mm2 {
namespace {

// A rank's tensors as a source whose bytes come into being when they are read.
class VirtualRank final : public TensorSource {
 public:
  static Result<std::shared_ptr<VirtualRank>> make(const HfSource& source,
                                                   const std::vector<MegatronTensor>& tensors,
                                                   const Host& host) {
    const std::shared_ptr<VirtualRank> made(new VirtualRank);
    made->host_ = host;
    MM2_ASSIGN_OR_RETURN(made->moved_, moved_tensors(source, tensors));
    for (const MovedTensor& tensor : made->moved_) {
      made->infos_.push_back({tensor.name, tensor.dtype, tensor.shape, 0, 0,
                              *tensor_bytes(tensor.shape, tensor.dtype)});
    }
    return made;
  }

  std::span<const TensorInfo> tensors() const override { return infos_; }
  const TensorInfo* find(std::string_view) const override { return nullptr; }
  const std::byte* map(const TensorInfo&) const override { return nullptr; }
  std::string_view file_of(const TensorInfo&) const override { return "a rank"; }

  // Whole rows are made and the range is taken out of them.
  Status read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const override {
    if (n == 0) return {};
    const MovedTensor& moved = moved_[static_cast<size_t>(&tensor - infos_.data())];
    const uint64_t row = tensor.bytes / static_cast<uint64_t>(tensor.shape[0]);
    const uint64_t first = from / row, last = (from + n - 1) / row;
    const auto n_rows = static_cast<int64_t>(last - first + 1);
    MM2_ASSIGN_OR_RETURN(
        Buffer rows,
        Buffer::make(host_.allocator, static_cast<size_t>(row * static_cast<uint64_t>(n_rows))));
    MM2_ASSIGN_OR_RETURN(
        Buffer scratch,
        Buffer::make(host_.allocator, static_cast<size_t>(scratch_of(moved, n_rows))));
    MM2_RETURN_IF_ERROR(
        carry_out(moved, static_cast<int64_t>(first), n_rows, rows.data(), scratch.data()));
    std::memcpy(to, rows.data() + (from - first * row), n);
    return {};
  }

 private:
  VirtualRank() = default;
  Host host_;
  std::vector<MovedTensor> moved_;
  std::vector<TensorInfo> infos_;
};

struct Options {
  std::string model;
  MegatronOptions megatron;
  int32_t threads = 0;
};

Result<Options> read_options(const Json& json) {
  const OptionReader reader("roundtrip", json);
  std::vector<std::string_view> allowed = {"model", "chain", "threads", "strict"};
  allowed.insert(allowed.end(), megatron_option_names().begin(), megatron_option_names().end());
  MM2_RETURN_IF_ERROR(reader.check_names(allowed));
  Options to;
  std::vector<std::string> chain = {"to-megatron", "from-megatron"};
  MM2_RETURN_IF_ERROR(reader.text("model", to.model));
  MM2_RETURN_IF_ERROR(reader.texts("chain", chain));
  MM2_RETURN_IF_ERROR(reader.integer("threads", 0, 4096, to.threads));
  MM2_RETURN_IF_ERROR(read_megatron_options(reader, to.megatron));
  if (to.model.empty()) return reader.wrong("model", "must name a checkpoint");
  if (chain != std::vector<std::string>{"to-megatron", "from-megatron"}) {
    return reader.wrong("chain", "must be to-megatron,from-megatron");
  }
  return to;
}

// Compares one tensor, slab by slab; the byte where it differs, or its size.
Result<uint64_t> first_difference(const MovedTensor& back, const MatrixBytes& original,
                                  const Host& host) {
  const uint64_t bytes = *tensor_bytes(back.shape, back.dtype);
  const int64_t n_rows = back.shape[0], step = std::min(moved_slab_rows(back), n_rows);
  const uint64_t row = bytes / static_cast<uint64_t>(n_rows);
  const auto slab = static_cast<size_t>(row * static_cast<uint64_t>(step));
  MM2_ASSIGN_OR_RETURN(Buffer made, Buffer::make(host.allocator, slab));
  MM2_ASSIGN_OR_RETURN(Buffer was, Buffer::make(host.allocator, slab));
  MM2_ASSIGN_OR_RETURN(Buffer scratch,
                       Buffer::make(host.allocator, static_cast<size_t>(scratch_of(back, step))));
  for (int64_t at = 0; at < n_rows; at += step) {
    const int64_t n = std::min(step, n_rows - at);
    const uint64_t from = row * static_cast<uint64_t>(at);
    const auto n_bytes = static_cast<size_t>(row * static_cast<uint64_t>(n));
    MM2_RETURN_IF_ERROR(carry_out(back, at, n, made.data(), scratch.data()));
    MM2_RETURN_IF_ERROR(
        original.source->read(*original.tensor, original.from + from, n_bytes, was.data()));
    for (size_t i = 0; std::memcmp(made.data(), was.data(), n_bytes) != 0 && i < n_bytes; ++i) {
      if (made.data()[i] != was.data()[i]) return from + i;
    }
  }
  return bytes;
}

Result<std::vector<MovedTensor>> way_back(const MegatronModel& model,
                                          const std::vector<std::vector<MegatronTensor>>& tensors,
                                          const std::vector<std::shared_ptr<VirtualRank>>& ranks) {
  MM2_ASSIGN_OR_RETURN(const auto assembled, assemble(model, tensors));
  std::vector<MovedTensor> all;
  for (const HfTensor& tensor : assembled) {
    MovedTensor moved;
    moved.name = tensor.name;
    std::vector<int64_t> extents = {tensor.n_rows};
    if (!tensor.is_vector) extents.push_back(tensor.n_cols);
    MM2_ASSIGN_OR_RETURN(moved.shape, Shape::make(extents));
    for (const HfTensor::From& from : tensor.from) {
      const auto rank = static_cast<size_t>(from.rank), at = static_cast<size_t>(from.tensor);
      const TensorInfo& info = ranks[rank]->tensors()[at];
      moved.dtype = info.dtype;
      moved.moves.push_back({{ranks[rank].get(), &info, 0, info.dtype},
                             {from.n_rows, from.n_cols, from.row, from.col,
                              tensors[rank][at].n_cols, from.hf_row, from.hf_col, tensor.n_cols}});
    }
    all.push_back(std::move(moved));
  }
  return all;
}

}  // namespace

Status run_roundtrip(const Json& json, const Host& host, Json* report) {
  MM2_ASSIGN_OR_RETURN(const Options options, read_options(json));
  MM2_ASSIGN_OR_RETURN(const auto view, CheckpointView::open(options.model, host));
  MM2_ASSIGN_OR_RETURN(const HfSource source, HfSource::open(*view));
  const ParallelShape& parallel = options.megatron.parallel;
  MM2_RETURN_IF_ERROR(check_layout(source.model(), parallel));
  std::vector<std::vector<MegatronTensor>> tensors;
  std::vector<std::shared_ptr<VirtualRank>> ranks;
  for (const MegatronRank& rank : all_ranks(parallel)) {
    tensors.push_back(rank_tensors(source.model(), parallel, options.megatron.names, rank));
    MM2_ASSIGN_OR_RETURN(auto made, VirtualRank::make(source, tensors.back(), host));
    ranks.push_back(std::move(made));
  }
  MM2_ASSIGN_OR_RETURN(const auto back, way_back(source.model(), tensors, ranks));
  MM2_ASSIGN_OR_RETURN(const auto executor, tool_executor(options.threads, host));

  std::mutex mutex;
  std::atomic<bool> stopped{false};
  Status failure;
  Json differing = Json::array();
  uint64_t bytes = 0, total = 0;
  for (const MovedTensor& tensor : back) total += *tensor_bytes(tensor.shape, tensor.dtype);
  executor->run(static_cast<int32_t>(back.size()), [&](int32_t task, int32_t) {
    if (stopped) return;
    const MovedTensor& tensor = back[static_cast<size_t>(task)];
    const uint64_t size = *tensor_bytes(tensor.shape, tensor.dtype);
    const MatrixBytes* const original = source.find(tensor.name);
    auto place = original == nullptr
                     ? Result<uint64_t>(error(Code::internal, "there is no ", tensor.name))
                     : first_difference(tensor, *original, host);
    const std::lock_guard lock(mutex);
    bytes += size;
    if (place.ok() && *place < size) {
      differing.push_back({{"tensor", tensor.name}, {"first_byte", *place}});
    }
    Status status = place.status();
    if (host.progress && !host.progress({kStageTool, bytes, total, tensor.name})) {
      status = error(Code::cancelled, "roundtrip: stopped by the host");
    }
    if (!status.ok() && failure.ok()) failure = status;
    stopped = stopped || !status.ok();
  });
  MM2_RETURN_IF_ERROR(failure);
  Json left_out = Json::array();
  for (const TensorInfo* other : view->others()) left_out.push_back(other->name);
  *report = {{"layout", megatron_options_json(options.megatron)},
             {"ranks", ranks.size()},
             {"tensors", back.size()},
             {"bytes", bytes},
             {"lossless", differing.empty()}};
  if (!left_out.empty()) (*report)["left_out"] = std::move(left_out);
  if (differing.empty()) return {};
  const std::string first = differing[0].at("tensor").get<std::string>();
  const size_t n = differing.size();
  (*report)["differing"] = std::move(differing);
  return error(Code::check_failed, "roundtrip: ", n, " tensors do not come back, among them ",
               first);
}

}  // namespace mm2
