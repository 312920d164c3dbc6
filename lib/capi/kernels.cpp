// The experimental surface: backends and packed matrices.
#include "capi/kernels.h"

#include <cmath>
#include <string>
#include <utility>

#include "base/checked.h"
#include "base/json.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/model.h"
#include "capi/structs.h"
#include "kernels/api/format.h"
#include "model/backends.h"

namespace mm2::capi {

kernels::Executor executor_of(const mm2x_kernels& kernels) {
  return {kernels.executor.get(), kernels.executor->n_workers(),
          [](void* self, int32_t n_tasks, void (*task)(void*, int32_t, int32_t), void* context) {
            static_cast<Executor*>(self)->parallel_for(n_tasks, task, context);
          }};
}

kernels::ModelShape shape_of_width(int64_t hidden) {
  kernels::ModelShape shape{};
  shape.n_layers = shape.n_heads = shape.n_kv_heads = shape.n_experts = shape.top_k = 1;
  shape.head_dim = shape.rotary_dim = 2;
  shape.intermediate = shape.n_vocab = 1;
  shape.hidden = static_cast<int32_t>(hidden);
  return shape;
}

Result<void*> scratch_for(mm2x_kernels* kernels, const kernels::ModelShape& shape,
                          int64_t n_tokens) {
  const int64_t bytes = kernels->backend->ops->scratch_bytes(&shape, static_cast<int32_t>(n_tokens),
                                                             kernels->executor->n_workers());
  if (static_cast<int64_t>(kernels->scratch.size()) < bytes) {
    MM2_ASSIGN_OR_RETURN(kernels->scratch,
                         Buffer::make(default_allocator(), static_cast<size_t>(bytes)));
  }
  return static_cast<void*>(kernels->scratch.data());
}

Result<int32_t> read_activations(int32_t activations) {
  if (activations == MM2_ACTIVATIONS_F32) return int32_t{kernels::kF32};
  if (activations == MM2_ACTIVATIONS_INT8) return int32_t{kernels::kI8};
  MM2_RETURN_IF_ERROR(
      need_range("activations", activations, MM2_ACTIVATIONS_AUTO, MM2_ACTIVATIONS_INT8));
  return int32_t{kernels::kBF16};
}

Status need_matrix(const mm2x_kernels& kernels, const mm2x_matrix* matrix, const char* name) {
  MM2_RETURN_IF_ERROR(need(matrix, name));
  // All CPU instruction sets share a layout; the reference has its own.
  if (matrix->backend->keeps_file_layout == kernels.backend->keeps_file_layout) return {};
  return error(Code::invalid_argument, name, " was packed for ", matrix->backend->name,
               ", these kernels are ", kernels.backend->name);
}

Status need_floats(const void* data, int64_t rows, int64_t width, const char* name) {
  MM2_RETURN_IF_ERROR(need(data, name));
  const auto n = checked_mul(rows, width);
  if (n && checked_mul<int64_t>(*n, 64)) return {};
  return error(Code::invalid_argument, name, " would have ", rows, " rows of ", width);
}

Status check_ids(const int32_t* ids, int64_t n, int64_t end, const char* name) {
  for (int64_t i = 0; i < n; ++i) {
    if (ids[i] < 0 || ids[i] >= end)
      return error(Code::invalid_argument, name, "[", i, "] is ", ids[i], ", allowed are 0 to ",
                   end - 1);
  }
  return {};
}

Status check_matrix_shape(const mm2x_matrix& m, int64_t n_out, int64_t n_in, const char* name) {
  if (m.matrix.n_out == n_out && m.matrix.n_in == n_in) return {};
  return error(Code::invalid_argument, name, " is [", m.matrix.n_out, ", ", m.matrix.n_in,
               "], wanted is [", n_out, ", ", n_in, "]");
}

namespace {

Result<kernels::Format> read_format(const mm2x_matrix_source& s) {
  MM2_RETURN_IF_ERROR(need_range("source.scheme", s.scheme, MM2X_PLAIN, MM2X_FP4));
  MM2_RETURN_IF_ERROR(need_range("source.n_out", s.n_out, 1, INT32_MAX / 2));
  MM2_RETURN_IF_ERROR(need_range("source.n_in", s.n_in, 1, INT32_MAX / 2));
  MM2_RETURN_IF_ERROR(need(s.codes, "source.codes"));
  if (s.scheme != MM2X_PLAIN) {
    MM2_RETURN_IF_ERROR(need(s.scales, "source.scales"));
    MM2_RETURN_IF_ERROR(need_range("source.patch_rows", s.patch_rows, 1, INT32_MAX));
    MM2_RETURN_IF_ERROR(need_range("source.patch_cols", s.patch_cols, 1, INT32_MAX));
  }
  if (s.zeros != nullptr && s.scheme != MM2X_INTEGER)
    return error(Code::invalid_argument, "source.zeros: only an INTEGER matrix has zeros");
  const kernels::Format format{s.scheme, s.number,     s.bits,      s.zeros != nullptr ? 1 : 0,
                               0,        s.patch_rows, s.patch_cols};
  if (kernels::is_format(format, s.n_in)) return format;
  return error(Code::unsupported, "source: no kernel takes scheme ", s.scheme, " with number ",
               s.number, ", ", s.bits, " bits and patches of [", s.patch_rows, ", ", s.patch_cols,
               "]");
}

/// Kernels assume what is checked here.
Status check_codes(const mm2x_matrix_source& s, const kernels::Format& format) {
  if (kernels::is_plain(format)) return {};
  const auto* codes = static_cast<const uint8_t*>(s.codes);
  const bool four = s.scheme == MM2X_FP4 || s.bits == 4;
  for (int64_t i = 0; i < s.n_out * s.n_in; ++i) {
    if (four && codes[i] > 15)
      return error(Code::invalid_argument, "source.codes[", i, "] is ", int{codes[i]},
                   ", a code has 4 bits");
    if (s.scheme == MM2X_FP8 && (codes[i] & 0x7F) == 0x7F)
      return error(Code::invalid_argument, "source.codes[", i, "] is the code of NaN");
  }
  return {};
}

float rounded_to(int32_t number, float x) {
  switch (number) {
    case kernels::kBF16:
      return kernels::bf16_to_f32(kernels::f32_to_bf16(x));
    case kernels::kF16:
      return kernels::f16_to_f32(kernels::f32_to_f16(x));
    case kernels::kE4M3:
      return kernels::e4m3_to_f32(kernels::f32_to_e4m3(x));
    case kernels::kE8M0: {
      int exponent = 0;
      return std::frexp(x, &exponent) == 0.5f ? x : 0.0f;
    }
    default:
      return x;
  }
}

Status check_scales(const mm2x_matrix_source& s, const kernels::Format& format) {
  const int64_t n = s.n_out * kernels::n_patches(format, s.n_in);
  for (int64_t i = 0; i < n; ++i) {
    if (std::isfinite(s.scales[i]) && rounded_to(s.number, s.scales[i]) == s.scales[i]) continue;
    return error(Code::invalid_argument, "source.scales[", i, "] is ", s.scales[i],
                 ", which number ", s.number, " does not hold exactly");
  }
  for (int64_t i = 0; s.zeros != nullptr && s.bits == 4 && i < n; ++i) {
    if (s.zeros[i] > 15)
      return error(Code::invalid_argument, "source.zeros[", i, "] is ", int{s.zeros[i]},
                   ", a zero has 4 bits");
  }
  return {};
}

Result<mm2x_matrix> pack(const kernels::Backend& backend, const mm2x_matrix_source& s) {
  MM2_ASSIGN_OR_RETURN(const kernels::Format format, read_format(s));
  const int64_t bytes = backend.packed_bytes(&format, s.n_out, s.n_in);
  if (bytes < 0)
    return error(Code::unsupported, "source: ", backend.name, " has no kernel for this format");
  MM2_RETURN_IF_ERROR(check_codes(s, format));
  if (!kernels::is_plain(format)) MM2_RETURN_IF_ERROR(check_scales(s, format));
  MM2_ASSIGN_OR_RETURN(Buffer packed,
                       Buffer::make(default_allocator(), static_cast<size_t>(bytes)));
  const kernels::MatrixRows rows{format,  s.n_out,  s.n_in,  0,      s.n_out,
                                 s.codes, s.scales, s.zeros, nullptr};
  backend.pack(&rows, packed.data());
  const kernels::Matrix matrix{format, s.n_out, s.n_in, packed.data()};
  return mm2x_matrix{matrix, &backend, std::move(packed)};
}

std::string describe(const mm2x_kernels& kernels) {
  Json isas = Json::array();
  for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512, Isa::reference}) {
    const auto backend = choose_backend(isa);
    if (backend.ok()) isas.push_back((*backend)->name);
  }
  const Json description = {
      {"version", MM2X_VERSION},
      {"isa", kernels.backend->name},
      {"n_threads", kernels.executor->n_workers()},
      {"isas", isas},
      {"operations",
       {"embed", "rms_norm", "linear", "rope_table", "qkv", "attention", "router", "experts"}}};
  return description.dump();
}

}  // namespace
}  // namespace mm2::capi

using namespace mm2::capi;  // NOLINT: this file is the border itself
using mm2::Status;

mm2_status mm2x_kernels_create(int32_t isa, int32_t n_threads, mm2x_kernels** out, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_RETURN_IF_ERROR(need_range("n_threads", n_threads, 0, 1024));
    MM2_ASSIGN_OR_RETURN(const auto* backend, mm2::choose_backend(static_cast<mm2::Isa>(isa)));
    if (backend->ops == nullptr)
      return error(mm2::Code::unsupported, "isa ", backend->name, " has no single operations");
    MM2_ASSIGN_OR_RETURN(auto team,
                         mm2::make_thread_team(n_threads > 0 ? n_threads : mm2::usable_cores()));
    *out = new mm2x_kernels{backend, std::move(team), {}};
    return {};
  });
}

mm2_status mm2x_kernels_describe(const mm2x_kernels* kernels, mm2_buffer* json, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_RETURN_IF_ERROR(need(json, "json"));
    json->bytes = describe(*kernels);
    return {};
  });
}

void mm2x_kernels_destroy(mm2x_kernels* kernels) {
  delete kernels;
}

mm2_status mm2x_matrix_source_init(mm2x_matrix_source* source, size_t size) {
  return init_struct(source, size);
}

mm2_status mm2x_matrix_pack(const mm2x_kernels* kernels, const mm2x_matrix_source* source,
                            mm2x_matrix** out, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(kernels, "kernels"));
    MM2_RETURN_IF_ERROR(need(source, "source"));
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_ASSIGN_OR_RETURN(const mm2x_matrix_source given, read_struct(source, "source"));
    MM2_ASSIGN_OR_RETURN(mm2x_matrix packed, pack(*kernels->backend, given));
    *out = new mm2x_matrix(std::move(packed));
    return {};
  });
}

mm2_status mm2x_matrix_get_shape(const mm2x_matrix* matrix, int64_t* n_out, int64_t* n_in,
                                 uint64_t* bytes, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(matrix, "matrix"));
    if (n_out != nullptr) *n_out = matrix->matrix.n_out;
    if (n_in != nullptr) *n_in = matrix->matrix.n_in;
    if (bytes != nullptr) *bytes = matrix->packed.size();
    return {};
  });
}

void mm2x_matrix_destroy(mm2x_matrix* matrix) {
  delete matrix;
}
