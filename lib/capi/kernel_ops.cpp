// The experimental surface: single operations. Sizes and pointers are checked here; kernels assume.
#include <vector>

#include "capi/guard.h"
#include "capi/kernels.h"
#include "kernels/api/format.h"

namespace mm2::capi {
namespace {

struct ExpertArrays {
  const mm2x_matrix* const* gate;
  const mm2x_matrix* const* up;
  const mm2x_matrix* const* down;
};

/// All experts have the shape of the first.
Result<std::vector<kernels::ExpertWeights>> read_experts(const mm2x_kernels& kernels,
                                                         const ExpertArrays& arrays,
                                                         int32_t n_experts) {
  MM2_RETURN_IF_ERROR(need(arrays.gate, "gate"));
  MM2_RETURN_IF_ERROR(need(arrays.up, "up"));
  MM2_RETURN_IF_ERROR(need(arrays.down, "down"));
  MM2_RETURN_IF_ERROR(need_range("n_experts", n_experts, 1, 1 << 16));
  std::vector<kernels::ExpertWeights> experts;
  for (int32_t i = 0; i < n_experts; ++i) {
    MM2_RETURN_IF_ERROR(need_matrix(kernels, arrays.gate[i], "gate"));
    MM2_RETURN_IF_ERROR(need_matrix(kernels, arrays.up[i], "up"));
    MM2_RETURN_IF_ERROR(need_matrix(kernels, arrays.down[i], "down"));
    const int64_t inner = arrays.gate[0]->matrix.n_out, hidden = arrays.gate[0]->matrix.n_in;
    MM2_RETURN_IF_ERROR(check_matrix_shape(*arrays.gate[i], inner, hidden, "gate"));
    MM2_RETURN_IF_ERROR(check_matrix_shape(*arrays.up[i], inner, hidden, "up"));
    MM2_RETURN_IF_ERROR(check_matrix_shape(*arrays.down[i], hidden, inner, "down"));
    experts.push_back({arrays.gate[i]->matrix, arrays.up[i]->matrix, arrays.down[i]->matrix});
  }
  return experts;
}

Status check_selection(const int32_t* ids, int32_t n_tokens, int32_t top_k, int32_t n_experts) {
  MM2_RETURN_IF_ERROR(check_ids(ids, int64_t{n_tokens} * top_k, n_experts, "ids"));
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t i = t * top_k + 1; i < (t + 1) * top_k; ++i) {
      if (ids[i - 1] >= ids[i])
        return error(Code::invalid_argument, "ids[", i, "] is ", ids[i], " after ", ids[i - 1],
                     ": the experts of a token must ascend");
    }
  }
  return {};
}

}  // namespace
}  // namespace mm2::capi

using namespace mm2::capi;  // NOLINT: this file is the border itself
namespace kernels = mm2::kernels;
using mm2::Status;

mm2_status mm2x_embed(mm2x_kernels* kernels, const void* table, int32_t number, int32_t n_vocab,
                      int32_t hidden, const int32_t* tokens, int32_t n_tokens, float* y,
                      mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_RETURN_IF_ERROR(need(tokens, "tokens"));
    MM2_RETURN_IF_ERROR(need_range("number", number, MM2X_F32, MM2X_F16));
    MM2_RETURN_IF_ERROR(need_range("n_vocab", n_vocab, 1, INT32_MAX));
    MM2_RETURN_IF_ERROR(need_range("hidden", hidden, 1, kMostWidth));
    MM2_RETURN_IF_ERROR(need_range("n_tokens", n_tokens, 1, kMostTokens));
    MM2_RETURN_IF_ERROR(need_floats(table, n_vocab, hidden, "table"));
    MM2_RETURN_IF_ERROR(need_floats(y, n_tokens, hidden, "y"));
    MM2_RETURN_IF_ERROR(check_ids(tokens, n_tokens, n_vocab, "tokens"));
    const kernels::Executor team = executor_of(*kernels);
    const kernels::Matrix matrix{kernels::plain(number), n_vocab, hidden, table};
    const kernels::EmbedArgs<float> args{&matrix, tokens, n_tokens, y};
    kernels->backend->ops->embed(&team, &args);
    return {};
  });
}

mm2_status mm2x_rms_norm(mm2x_kernels* kernels, const float* x, const float* weight, float eps,
                         int32_t n_rows, int32_t width, float* y, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_RETURN_IF_ERROR(need(weight, "weight"));
    MM2_RETURN_IF_ERROR(need_range("n_rows", n_rows, 1, kMostTokens));
    MM2_RETURN_IF_ERROR(need_range("width", width, 1, kMostWidth));
    MM2_RETURN_IF_ERROR(need_floats(x, n_rows, width, "x"));
    MM2_RETURN_IF_ERROR(need_floats(y, n_rows, width, "y"));
    if (!(eps >= 0)) return error(mm2::Code::invalid_argument, "eps is ", eps, ", at least 0");
    const kernels::Executor team = executor_of(*kernels);
    const kernels::RmsNormArgs<float> args{x, weight, eps, n_rows, width, y};
    kernels->backend->ops->rms_norm(&team, &args);
    return {};
  });
}

mm2_status mm2x_linear(mm2x_kernels* kernels, const float* x, const mm2x_matrix* w,
                       const float* add, int32_t n_tokens, int32_t activations, float* y,
                       mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_RETURN_IF_ERROR(need_matrix(*kernels, w, "w"));
    MM2_ASSIGN_OR_RETURN(const int32_t entering, read_activations(activations));
    MM2_RETURN_IF_ERROR(need_range("n_tokens", n_tokens, 1, kMostTokens));
    MM2_RETURN_IF_ERROR(need_range("n_in of w", w->matrix.n_in, 1, kMostWidth));
    MM2_RETURN_IF_ERROR(need_floats(x, n_tokens, w->matrix.n_in, "x"));
    MM2_RETURN_IF_ERROR(need_floats(y, n_tokens, w->matrix.n_out, "y"));
    if (x == y) return error(mm2::Code::invalid_argument, "y must not be x");
    MM2_ASSIGN_OR_RETURN(void* scratch,
                         scratch_for(kernels, shape_of_width(w->matrix.n_in), n_tokens));
    const kernels::Executor team = executor_of(*kernels);
    const kernels::LinearArgs<float> args{x, &w->matrix, add, n_tokens, entering, y, scratch};
    kernels->backend->ops->linear(&team, &args);
    return {};
  });
}

mm2_status mm2x_rope_table(mm2x_kernels* kernels, const int32_t* positions, int32_t n_tokens,
                           int32_t rotary_dim, double theta, float* table, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_RETURN_IF_ERROR(need(positions, "positions"));
    MM2_RETURN_IF_ERROR(need_range("n_tokens", n_tokens, 1, kMostTokens));
    MM2_RETURN_IF_ERROR(need_range("rotary_dim", rotary_dim, 2, 1 << 12));
    MM2_RETURN_IF_ERROR(need_floats(table, n_tokens, rotary_dim, "table"));
    if (rotary_dim % 2 != 0 || !(theta >= 1))
      return error(mm2::Code::invalid_argument, "rotary_dim is ", rotary_dim, " and theta ", theta,
                   ": an even number and at least 1 are needed");
    MM2_RETURN_IF_ERROR(check_ids(positions, n_tokens, INT32_MAX, "positions"));
    const kernels::Executor team = executor_of(*kernels);
    const kernels::RopeTableArgs<float> args{positions, n_tokens, rotary_dim, theta, table};
    kernels->backend->ops->rope_table(&team, &args);
    return {};
  });
}

mm2_status mm2x_router(mm2x_kernels* kernels, const float* x, const mm2x_matrix* gate,
                       const float* bias, int32_t n_tokens, int32_t top_k, int32_t* ids,
                       float* weights, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_RETURN_IF_ERROR(need_matrix(*kernels, gate, "gate"));
    MM2_RETURN_IF_ERROR(need(bias, "bias"));
    MM2_RETURN_IF_ERROR(need(ids, "ids"));
    const kernels::Matrix& m = gate->matrix;
    if (!kernels::is_plain(m.format) || m.format.number != kernels::kF32)
      return error(mm2::Code::invalid_argument, "gate must be plain F32");
    MM2_RETURN_IF_ERROR(need_range("n_tokens", n_tokens, 1, kMostTokens));
    MM2_RETURN_IF_ERROR(need_range("n_in of gate", m.n_in, 1, kMostWidth));
    MM2_RETURN_IF_ERROR(need_range("n_out of gate", m.n_out, 1, 1 << 16));
    MM2_RETURN_IF_ERROR(need_range("top_k", top_k, 1, m.n_out));
    MM2_RETURN_IF_ERROR(need_floats(x, n_tokens, m.n_in, "x"));
    MM2_RETURN_IF_ERROR(need_floats(weights, n_tokens, top_k, "weights"));
    kernels::ModelShape shape = shape_of_width(m.n_in);
    shape.n_experts = static_cast<int32_t>(m.n_out);
    shape.top_k = top_k;
    MM2_ASSIGN_OR_RETURN(void* scratch, scratch_for(kernels, shape, n_tokens));
    const kernels::Executor team = executor_of(*kernels);
    const kernels::RouterArgs<float> args{&shape, x, &m, bias, n_tokens, ids, weights, scratch};
    kernels->backend->ops->router(&team, &args);
    return {};
  });
}

mm2_status mm2x_experts(mm2x_kernels* kernels, const float* x, const mm2x_matrix* const* gate,
                        const mm2x_matrix* const* up, const mm2x_matrix* const* down,
                        int32_t n_experts, const int32_t* ids, const float* weights,
                        int32_t n_tokens, int32_t top_k, int32_t activations, float* h,
                        mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_ASSIGN_OR_RETURN(const auto experts, read_experts(*kernels, {gate, up, down}, n_experts));
    MM2_ASSIGN_OR_RETURN(const int32_t entering, read_activations(activations));
    kernels::ModelShape shape = shape_of_width(experts[0].gate.n_in);
    MM2_RETURN_IF_ERROR(need_range("n_tokens", n_tokens, 1, kMostTokens));
    MM2_RETURN_IF_ERROR(need_range("width of the experts", experts[0].gate.n_in, 1, kMostWidth));
    MM2_RETURN_IF_ERROR(need_range("width of the experts", experts[0].gate.n_out, 1, kMostWidth));
    MM2_RETURN_IF_ERROR(need_range("top_k", top_k, 1, n_experts));
    MM2_RETURN_IF_ERROR(need(ids, "ids"));
    MM2_RETURN_IF_ERROR(need(weights, "weights"));
    MM2_RETURN_IF_ERROR(need_floats(x, n_tokens, shape.hidden, "x"));
    MM2_RETURN_IF_ERROR(need_floats(h, n_tokens, shape.hidden, "h"));
    if (x == h) return error(mm2::Code::invalid_argument, "h must not be x");
    MM2_RETURN_IF_ERROR(check_selection(ids, n_tokens, top_k, n_experts));
    shape.n_experts = n_experts;
    shape.top_k = top_k;
    shape.intermediate = static_cast<int32_t>(experts[0].gate.n_out);
    MM2_ASSIGN_OR_RETURN(void* scratch, scratch_for(kernels, shape, n_tokens));
    const kernels::Executor team = executor_of(*kernels);
    const kernels::ExpertsArgs<float> args{&shape,   x, experts.data(), ids, weights, n_tokens,
                                           entering, h, scratch};
    kernels->backend->ops->experts(&team, &args);
    return {};
  });
}
