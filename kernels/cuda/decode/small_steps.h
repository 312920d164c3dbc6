// The kernels of a decoding step that multiply no packed codes: rows and angles, router, how rows ended.
#pragma once

#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/decode/step_input.h"

namespace mm2::kernels::cuda {

constexpr int32_t kMostRotary = 128;

/// h = rows of the embedding; rope = cosines, then sines, of position times frequency. Frequencies are
/// half turns for each position: theta^(-2 i / rotary_dim) / pi.
struct BeginStep {
  const StepInput* input;
  const int32_t* tokens;  // [step_tokens]
  const void* embedding;  // [n_vocab, hidden], as the file has it
  int32_t number, hidden, rotary_dim;
  double half_turns[kMostRotary / 2];
  float* h;            // [n_tokens, hidden]
  float* rope;         // [n_tokens, rotary_dim]
  uint32_t* counters;  // of the step's other kernels: set to 0
  int32_t n_counters;
};

/// Scores of all experts for norm(h), in F32, and who is chosen.
struct RouterStep {
  const StepInput* input;
  const float* h;     // [n_tokens, hidden]
  const float* norm;  // [hidden]
  float eps;
  int32_t hidden, n_experts, top_k;
  const char* gate;  // packed, kF32
  int64_t gate_block_bytes;
  int32_t gate_row_bytes;
  const float* bias;  // [n_experts]
  float* scores;      // [8, n_experts]
  uint32_t* counter;  // 0 before and after
  Routing* routing;
  int32_t layer;
  int32_t* ids;  // [n_layers, step_tokens, top_k]
};

/// row_results: a RowResult for each row of a step.
struct EndStep {
  const DeviceRow* rows;  // [n_rows]
  const float* h;         // [step_tokens, hidden]
  int32_t hidden;
  int32_t* row_results;  // [n_rows]
};

constexpr int32_t kMostExperts = 1024;
constexpr int32_t kSmallThreads = 128;

/// BeginStep::half_turns. The host's side.
void fill_half_turns(const ModelShape& s, double* half_turns);  // [rotary_dim / 2]

/// Shared memory of the router: a row of the gate, then what its last block collects.
MM2_HD static inline int32_t router_shared(int32_t gate_row_bytes, int32_t n_experts) {
  return gate_row_bytes + 64 + n_experts * 4;
}

cudaError_t run_begin(const BeginStep& s, bool overlaps, cudaStream_t stream);
cudaError_t run_router(const RouterStep& s, bool overlaps, cudaStream_t stream);
cudaError_t run_end(const EndStep& s, int32_t n_rows, cudaStream_t stream);

}  // namespace mm2::kernels::cuda
