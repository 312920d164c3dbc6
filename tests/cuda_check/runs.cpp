#include "cuda_check/runs.h"

#include <algorithm>
#include <cstring>

#include "kernels/api/numbers.h"

namespace check {

using namespace mm2::kernels;

const Seen::Values* Seen::find(const std::string& name, int32_t layer) const {
  const auto found = values.find({name, layer});
  return found == values.end() ? nullptr : &found->second;
}

void Seen::see(void* self, const char* name, int32_t layer, const void* from, int32_t number,
               int64_t n_rows, int64_t width) {
  Values& to = static_cast<Seen*>(self)->values[{name, layer}];
  const auto n = static_cast<size_t>(n_rows * width);
  to.width = width;
  if (number == kI32) {
    const auto* ids = static_cast<const int32_t*>(from);
    to.ids.assign(ids, ids + n);
  } else {
    const auto* numbers = static_cast<const float*>(from);
    to.numbers.assign(numbers, numbers + n);
  }
}

Runner::Runner(const ModelShape& shape, const Setup& setup)
    : shape_(shape), setup_(setup), lengths_(kSequences) {
  for (int32_t b = n_blocks(); b-- > 0;) blocks_.push_back(b);  // in disorder
  for (size_t b = 0; b + 3 < blocks_.size(); b += 3) std::swap(blocks_[b], blocks_[b + 2]);
  for (int32_t i = 0; i < shape.n_layers * shape.n_kv_heads; ++i) {
    k_scales_.push_back(0.02f + 0.003f * static_cast<float>(i % 5));
    v_scales_.push_back(0.01f + 0.002f * static_cast<float>(i % 3));
  }
}

float Runner::scale(bool is_value, int32_t layer, int32_t head) const {
  if (setup_.kv_number != kE4M3) return 1;
  return (is_value ? v_scales_ : k_scales_)[static_cast<size_t>(layer * shape_.n_kv_heads + head)];
}

StepRow Runner::row_of(int32_t sequence) const {
  return {0, length(sequence), 0, 0,
          &blocks_[static_cast<size_t>(sequence * setup_.blocks_per_sequence)]};
}

KvCache Runner::cache(const Backend& backend, void* data) const {
  const int64_t block = backend.kv_block_bytes(&shape_, kAttentionBlock, setup_.kv_number);
  KvCache kv{data, block * n_blocks(), block, kAttentionBlock, setup_.kv_number};
  if (setup_.kv_number == kE4M3) {
    kv.k_scales = k_scales_.data();
    kv.v_scales = v_scales_.data();
  }
  return kv;
}

int64_t Runner::position_bytes() const {
  return int64_t{2} * shape_.n_layers * shape_.n_kv_heads * shape_.head_dim *
         bytes_of(setup_.kv_number);
}

Seen Runner::step(const std::vector<Part>& parts, bool sees_all) {
  std::vector<StepRow> rows;
  std::vector<int32_t> tokens, positions;
  int32_t n_outputs = 0;
  for (const Part& part : parts) {
    StepRow row = row_of(part.sequence);
    row.first_token = static_cast<int32_t>(tokens.size());
    row.first_position = length(part.sequence);
    row.n_tokens = static_cast<int32_t>(part.tokens.size());
    row.n_outputs = part.n_outputs;
    for (int32_t i = 0; i < row.n_tokens; ++i) positions.push_back(row.first_position + i);
    tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
    n_outputs += part.n_outputs;
    rows.push_back(row);
  }
  Seen seen;
  seen.logits.resize(static_cast<size_t>(n_outputs) * static_cast<size_t>(shape_.n_vocab));
  std::vector<int32_t> results(rows.size());
  const Observer observer{&seen, &Seen::see};
  StepPlan plan{};
  plan.shape = &shape_;
  plan.rows = rows.data();
  plan.tokens = tokens.data();
  plan.positions = positions.data();
  plan.n_rows = static_cast<int32_t>(rows.size());
  plan.n_tokens = static_cast<int32_t>(tokens.size());
  plan.n_outputs = n_outputs;
  plan.activations = setup_.activations;
  plan.logits = n_outputs == 0 ? nullptr : seen.logits.data();
  plan.row_results = results.data();
  plan.observer = &observer;
  plan.observes_all = sees_all ? 1 : 0;
  run(plan);
  for (size_t r = 0; r < rows.size(); ++r) {
    if (results[r] != kRowDone) throw DeviceFailure(kDeviceFailed, "a row is not finite");
    lengths_[static_cast<size_t>(parts[r].sequence)] += rows[r].n_tokens;
  }
  return seen;
}

// ---- the CPU --------------------------------------------------------------------------------------

namespace {

const Executor* alone() {
  static const Executor executor{
      nullptr, 1, [](void*, int32_t n, void (*task)(void*, int32_t, int32_t), void* context) {
        for (int32_t i = 0; i < n; ++i) task(context, i, 0);
      }};
  return &executor;
}

}  // namespace

CpuRunner::CpuRunner(const HostModel& host, const Setup& setup)
    : Runner(host.shape, setup),
      backend_(*generic_backend()),
      model_(host, backend_),
      kv_memory_(backend_.kv_block_bytes(&shape_, kAttentionBlock, setup.kv_number) * n_blocks() *
                 shape_.n_layers),
      scratch_(backend_.scratch_bytes(&shape_, setup.max_tokens, setup.max_tokens, 1)),
      kv_(cache(backend_, kv_memory_.data())) {}

void CpuRunner::run(StepPlan& plan) {
  plan.weights = &model_.tables().weights;
  plan.kv = &kv_;
  plan.scratch = scratch_.data();
  plan.executor = alone();
  backend_.step(&plan);
}

std::vector<char> CpuRunner::stored(int32_t sequence, int32_t n) {
  std::vector<char> bytes(static_cast<size_t>(n * position_bytes()));
  const StepRow row = row_of(sequence);
  backend_.read_positions(&kv_, &shape_, &row, 0, n, bytes.data());
  return bytes;
}

// ---- the device -----------------------------------------------------------------------------------

GpuRunner::GpuRunner(const Plugin& plugin, const GpuModel& model, const HostModel& host,
                     const Setup& setup)
    : Runner(host.shape, setup),
      plugin_(plugin),
      kv_memory_(plugin,
                 plugin.backend().kv_block_bytes(&shape_, kAttentionBlock, setup.kv_number) *
                     n_blocks() * shape_.n_layers) {
  DeviceEngineOptions options{};
  options.kv = cache(plugin.backend(), kv_memory_.data());
  options.n_blocks = n_blocks();
  options.max_tokens = options.max_outputs = setup.max_tokens;
  options.max_rows = kSequences;
  options.max_positions = setup.blocks_per_sequence * kAttentionBlock;
  options.activations = setup.activations;
  options.kernels = setup.kernels;
  plugin.call([&](const auto& t, DeviceError* error) {
    return t.make_engine(model.handle(), &options, &engine_, error);
  });
}

GpuRunner::~GpuRunner() {
  plugin_.table().free_engine(engine_);
}

void GpuRunner::run(StepPlan& plan) {
  plugin_.call([&](const auto& t, DeviceError* error) { return t.step(engine_, &plan, error); });
}

std::vector<char> GpuRunner::stored(int32_t sequence, int32_t n) {
  std::vector<char> bytes(static_cast<size_t>(n * position_bytes()));
  const StepRow row = row_of(sequence);
  plugin_.call([&](const auto& t, DeviceError* error) {
    return t.read_positions(engine_, &row, 0, n, bytes.data(), error);
  });
  return bytes;
}

}  // namespace check
