#include "tools/tensor_pass.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "tensor/buffer.h"
#include "tools/stream/hash.h"

namespace mm2 {
namespace {

constexpr size_t kPiece = 4 << 20;

class Pass {
 public:
  Pass(const TensorSource& source, bool scan, HashKind hash, const Host& host)
      : source_(source), scan_(scan), hash_(hash), host_(host) {
    for (const TensorInfo& tensor : source.tensors()) total_ += tensor.bytes;
  }

  Result<std::vector<TensorFinding>> run(Executor& executor) {
    findings_.resize(source_.tensors().size());
    for (int32_t i = 0; i < executor.n_workers(); ++i) {
      MM2_ASSIGN_OR_RETURN(Buffer buffer, Buffer::make(host_.allocator, kPiece));
      buffers_.push_back(std::move(buffer));
    }
    executor.run(static_cast<int32_t>(findings_.size()), [this](int32_t task, int32_t worker) {
      if (stopped_) return;
      const auto index = static_cast<size_t>(task);
      const Status status =
          read(source_.tensors()[index], buffers_[static_cast<size_t>(worker)], findings_[index]);
      if (!status.ok()) stop(status);
    });
    if (!failure_.ok()) return failure_;
    return std::move(findings_);
  }

 private:
  Status read(const TensorInfo& tensor, Buffer& buffer, TensorFinding& finding) {
    const bool scan = scan_ && has_special_values(tensor.dtype);
    if (!scan && hash_ == HashKind::none) return report(tensor, tensor.bytes);
    const uint64_t width =
        std::max<uint64_t>(1, static_cast<uint64_t>(dtype_bits(tensor.dtype)) / 8);
    Hasher hasher(hash_);
    hasher.begin();
    for (uint64_t from = 0; from < tensor.bytes && !stopped_; from += kPiece) {
      const auto n = static_cast<size_t>(std::min<uint64_t>(kPiece, tensor.bytes - from));
      MM2_RETURN_IF_ERROR(source_.read(tensor, from, n, buffer.data()));
      hasher.update(buffer.data(), n);
      if (scan)
        add(scan_values(tensor.dtype, buffer.data(), n / width), from / width, finding.values);
      MM2_RETURN_IF_ERROR(report(tensor, n));
    }
    finding.digest = hasher.finish();
    return {};
  }

  static void add(const ValueCounts& piece, uint64_t start, ValueCounts& sum) {
    sum.n_nan += piece.n_nan;
    sum.n_infinite += piece.n_infinite;
    if (sum.first == UINT64_MAX && piece.first != UINT64_MAX) sum.first = start + piece.first;
  }

  Status report(const TensorInfo& tensor, uint64_t n) {
    if (!host_.progress) return {};
    const std::lock_guard lock(mutex_);
    done_ += n;
    if (host_.progress({kStageTool, done_, total_, tensor.name})) return {};
    return error(Code::cancelled, "reading ", source_.name(),
                 ": cancelled by the host; nothing was written");
  }

  void stop(const Status& status) {
    const std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = status;
    stopped_ = true;
  }

  const TensorSource& source_;
  bool scan_;
  HashKind hash_;
  const Host& host_;
  uint64_t total_ = 0;
  std::vector<TensorFinding> findings_;
  std::vector<Buffer> buffers_;
  std::mutex mutex_;  // guards done_, failure_ and the calls of host_.progress
  uint64_t done_ = 0;
  Status failure_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace

Result<std::vector<TensorFinding>> pass_over_tensors(const TensorSource& source, bool scan,
                                                     HashKind hash, Executor& executor,
                                                     const Host& host) {
  return Pass(source, scan, hash, host).run(executor);
}

}  // namespace mm2
