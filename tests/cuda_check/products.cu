#include <numeric>
#include <set>

#include "cuda_check/made_weights.h"
#include "cuda_check/products.h"
#include "kernels/cuda/gemm/gemm.h"

namespace check {

using namespace mm2::kernels;
namespace cuda = mm2::kernels::cuda;

namespace {

class Products {
 public:
  Products(int32_t device_index, const ModelShape& s, const Format& f) : s_(s), f_(f) {
    must(cudaSetDevice(device_index), "choosing the device");
    must(cudaDeviceGetAttribute(&n_processors_, cudaDevAttrMultiProcessorCount, device_index),
         "properties of the device");
    must(cuda::allow_products(cuda::decoded(cuda::layout_of(f, s.hidden, s.hidden))),
         "shared memory");
    is_short_ = s.hidden < 1024;
  }

  ProductRow dense(int32_t n_tokens) {
    const int64_t n = s_.hidden;
    const int64_t each = cuda::layout_of(f_, n, n).bytes;
    const int64_t n_copies = is_short_ ? 2 : kBytesInTurns / each + 1;
    std::vector<Weights> copies;
    for (int64_t i = 0; i < n_copies; ++i) copies.emplace_back(f_, n, n, random_);
    const Weights& w = copies[0];
    const int32_t width = cuda::dense_width(n_tokens);
    const cuda::Cut cut = cuda::cut_of(w.layout.n_blocks, w.layout.n_records, 1);
    const int64_t n_tiles = (n_tokens + width - 1) / width;
    const Bytes x(n_tokens * n * 4), tiles(n_tiles * cuda::tile_bytes(width, w.layout.n_records)),
        y(n_tokens * n * 4),
        partials(cuda::dense_partial_bytes(w.layout, cut, n_tokens, n_processors_));
    x.fill(random_floats(n_tokens * n, random_).data(), n_tokens * n * 4);
    must(cuda::pack_tokens(x.as<float>(), n_tokens, n, width, tiles.as<uint8_t>(), nullptr),
         "packing tokens");
    cuda::DenseProduct p{w.layout,
                         cuda::view_of(w.matrix()),
                         cut,
                         tiles.as<uint8_t>(),
                         n_tokens,
                         nullptr,
                         y.as<float>(),
                         n,
                         partials.as<float>()};
    const auto run = [&](int64_t turn) {
      p.w = cuda::view_of(copies[static_cast<size_t>(turn % n_copies)].matrix());
      return cuda::dense_product(p, n_processors_, nullptr);
    };
    const double seconds = time_of(run, is_short_);
    return {"dense",
            n_tokens,
            n,
            n,
            seconds,
            2.0 * n_tokens * static_cast<double>(n * n),
            static_cast<double>(w.layout.bytes),
            cublaslt_seconds(n_tokens, n, n)};
  }

  ProductRow experts(int32_t n_tokens) {
    make_experts();
    const int64_t k = s_.top_k, hidden = s_.hidden;
    // Of several routings, so that few experts are not found in a cache.
    std::vector<int32_t> ids;
    double touched = 0;
    for (int32_t i = 0; i < kRoutings; ++i) {
      const std::vector<int32_t> some = choose(n_tokens);
      touched +=
          static_cast<double>(std::set<int32_t>(some.begin(), some.end()).size()) / kRoutings;
      ids.insert(ids.end(), some.begin(), some.end());
    }
    const Bytes x(n_tokens * hidden * 4), h(n_tokens * hidden * 4),
        id(kRoutings * n_tokens * k * 4), shares(n_tokens * k * 4),
        scratch(cuda::experts_scratch_bytes(n_tokens, k, s_.n_experts, hidden, s_.intermediate));
    x.fill(random_floats(n_tokens * hidden, random_).data(), n_tokens * hidden * 4);
    h.fill(random_floats(n_tokens * hidden, random_).data(), n_tokens * hidden * 4);
    id.fill(ids.data(), kRoutings * n_tokens * k * 4);
    const std::vector<float> equal(static_cast<size_t>(n_tokens * k), 1e-3f);
    shares.fill(equal.data(), n_tokens * k * 4);
    const cuda::WeightLayout gate = weights_[0].layout, down = weights_[2].layout;
    const cuda::DecodeCuts cuts = cuda::cuts_of(s_);
    cuda::ExpertsProduct p{gate,
                           down,
                           cuts.gate_up,
                           cuts.down,
                           experts_->as<cuda::DeviceExpert>(),
                           s_.n_experts,
                           s_.top_k,
                           n_tokens,
                           hidden,
                           s_.intermediate,
                           x.as<float>(),
                           id.as<int32_t>(),
                           shares.as<float>(),
                           h.as<float>(),
                           scratch.as<uint8_t>()};
    const auto run = [&](int64_t turn) {
      p.ids = id.as<int32_t>() + turn % kRoutings * n_tokens * k;
      return cuda::experts_product(p, n_processors_, nullptr);
    };
    const double seconds = time_of(run, is_short_);
    const auto of_expert = static_cast<double>(2 * gate.bytes + down.bytes);
    return {"experts",
            n_tokens,
            hidden,
            s_.intermediate,
            seconds,
            6.0 * n_tokens * static_cast<double>(k * hidden * s_.intermediate),
            of_expert * touched,
            0};
  }

 private:
  static constexpr int32_t kRoutings = 16;

  void make_experts() {
    if (experts_ != nullptr) return;
    std::vector<cuda::DeviceExpert> all;
    for (int32_t e = 0; e < s_.n_experts; ++e) {
      weights_.emplace_back(f_, s_.intermediate, s_.hidden, random_);
      weights_.emplace_back(f_, s_.intermediate, s_.hidden, random_);
      weights_.emplace_back(f_, s_.hidden, s_.intermediate, random_);
      const size_t n = weights_.size();
      all.push_back({weights_[n - 3].matrix(), weights_[n - 2].matrix(), weights_[n - 1].matrix()});
    }
    const auto n_bytes = static_cast<int64_t>(all.size() * sizeof(cuda::DeviceExpert));
    experts_ = std::make_unique<Bytes>(n_bytes);
    experts_->fill(all.data(), n_bytes);
  }

  /// top_k different experts for each token, all equally likely, ascending.
  std::vector<int32_t> choose(int32_t n_tokens) {
    std::vector<int32_t> all(static_cast<size_t>(s_.n_experts)), ids;
    std::iota(all.begin(), all.end(), 0);
    for (int32_t t = 0; t < n_tokens; ++t) {
      std::sample(all.begin(), all.end(), std::back_inserter(ids), s_.top_k, random_);
    }
    return ids;
  }

  ModelShape s_;
  Format f_;
  int n_processors_ = 1;
  bool is_short_ = false;
  std::mt19937 random_{5};
  std::vector<Weights> weights_;
  std::unique_ptr<Bytes> experts_;
};

}  // namespace

std::vector<ProductRow> measure_products(int32_t device_index, const ModelShape& shape,
                                         const Format& format,
                                         const std::vector<int32_t>& n_tokens) {
  Products products(device_index, shape, format);
  std::vector<ProductRow> rows;
  for (const int32_t n : n_tokens) rows.push_back(products.dense(n));
  for (const int32_t n : n_tokens) rows.push_back(products.experts(n));
  return rows;
}

}  // namespace check
