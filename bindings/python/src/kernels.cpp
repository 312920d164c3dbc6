// mm2._kernels: the experimental surface of single operations. It is in the static library only, so
// this module holds a copy of the kernels of its own.
#include <mutex>
#include <optional>

#include <mm2/experimental/kernels.h>

#include "tensor.h"

namespace mm2::python {
namespace {

using namespace py::literals;
using mm2::detail::Handle;

struct Matrix {
  Handle<mm2x_matrix, mm2x_matrix_destroy> handle;
  int64_t n_out = 0, n_in = 0;
  uint64_t bytes = 0;
};

/// Calls f(handle, arguments..., error) with the interpreter's lock released, one at a time.
class Kernels {
 public:
  Kernels(int32_t isa, int32_t n_threads) {
    const py::gil_scoped_release released;
    mm2x_kernels* made = nullptr;
    mm2::detail::call(mm2x_kernels_create, isa, n_threads, &made);
    handle_.reset(made);
  }
  template <typename F, typename... Arguments>
  void run(F f, Arguments... arguments) {
    const py::gil_scoped_release released;
    const std::lock_guard lock(mutex_);
    mm2::detail::call(f, handle_.get(), arguments...);
  }
  const mm2x_kernels* get() const { return handle_.get(); }

 private:
  std::mutex mutex_;
  Handle<mm2x_kernels, mm2x_kernels_destroy> handle_;
};

int32_t number_of(Element element, const char* name) {
  if (element == Element::f32) return MM2X_F32;
  if (element == Element::bf16) return MM2X_BF16;
  if (element == Element::f16) return MM2X_F16;
  throw py::type_error(std::string(name) + ": floating-point numbers are needed");
}

std::unique_ptr<Matrix> pack(const Kernels& kernels, const py::object& codes, int32_t scheme,
                             int32_t number, int32_t bits, std::pair<int64_t, int64_t> patch,
                             const py::object& scales, const py::object& zeros) {
  const Tensor given(codes, "codes");
  given.need_shape({-1, -1});
  auto source = mm2::make<mm2x_matrix_source>();
  source.scheme = scheme;
  source.bits = bits;
  source.n_out = given.size(0);
  source.n_in = given.size(1);
  std::optional<Tensor> scale_tensor, zero_tensor;
  if (scheme == MM2X_PLAIN) {
    source.number = number_of(given.element(), "codes");
    source.codes = given.data();
  } else {
    source.number = number;
    source.codes = given.bytes();
    source.patch_rows = patch.first;
    source.patch_cols = patch.second;
    if (patch.second < 1) throw py::value_error("patch: two extents of at least 1 are needed");
    const int64_t patches = (source.n_in + patch.second - 1) / patch.second;
    source.scales = scale_tensor.emplace(scales, "scales").floats();
    scale_tensor->need_shape({source.n_out, patches});
    if (!zeros.is_none()) {
      source.zeros = zero_tensor.emplace(zeros, "zeros").bytes();
      zero_tensor->need_shape({source.n_out, patches});
    }
  }
  auto packed = std::make_unique<Matrix>();
  const py::gil_scoped_release released;
  mm2x_matrix* made = nullptr;
  mm2::detail::call(mm2x_matrix_pack, kernels.get(), &source, &made);
  packed->handle.reset(made);
  mm2::detail::call(mm2x_matrix_get_shape, made, &packed->n_out, &packed->n_in, &packed->bytes);
  return packed;
}

void embed(Kernels& kernels, const py::object& table, const py::object& tokens,
           const py::object& y) {
  const Tensor from(table, "table"), ids(tokens, "tokens"), to(y, "out");
  from.need_shape({-1, -1});
  ids.need_shape({-1});
  to.need_shape({ids.size(0), from.size(1)});
  kernels.run(mm2x_embed, from.data(), number_of(from.element(), "table"), from.size(0),
              from.size(1), ids.ints(), ids.size(0), to.mutable_floats());
}

void rms_norm(Kernels& kernels, const py::object& x, const py::object& weight, float eps,
              const py::object& y) {
  const Tensor from(x, "x"), w(weight, "weight"), to(y, "out");
  from.need_shape({-1, -1});
  w.need_shape({from.size(1)});
  to.need_shape({from.size(0), from.size(1)});
  kernels.run(mm2x_rms_norm, from.floats(), w.floats(), eps, from.size(0), from.size(1),
              to.mutable_floats());
}

void linear(Kernels& kernels, const py::object& x, const Matrix& w, const py::object& add,
            int32_t activations, const py::object& y) {
  const Tensor from(x, "x"), to(y, "out");
  from.need_shape({-1, w.n_in});
  to.need_shape({from.size(0), w.n_out});
  std::optional<Tensor> added;
  if (!add.is_none()) added.emplace(add, "add").need_shape({from.size(0), w.n_out});
  kernels.run(mm2x_linear, from.floats(), w.handle.get(), added ? added->floats() : nullptr,
              from.size(0), activations, to.mutable_floats());
}

void rope_table(Kernels& kernels, const py::object& positions, double theta, const py::object& y) {
  const Tensor at(positions, "positions"), to(y, "out");
  at.need_shape({-1});
  to.need_shape({at.size(0), -1});
  kernels.run(mm2x_rope_table, at.ints(), at.size(0), to.size(1), theta, to.mutable_floats());
}

mm2x_heads heads_of(const Tensor& q, const Tensor& k) {
  auto heads = mm2::make<mm2x_heads>();
  heads.n_heads = q.size(1);
  heads.n_kv_heads = k.size(1);
  heads.head_dim = q.size(2);
  return heads;
}

void attention(Kernels& kernels, const py::object& q, const py::object& k, const py::object& v,
               int32_t number, const py::object& k_scales, const py::object& v_scales,
               int32_t activations, const py::object& y) {
  const Tensor queries(q, "q"), keys(k, "k"), values(v, "v"), to(y, "out");
  queries.need_shape({-1, -1, -1});
  keys.need_shape({-1, -1, queries.size(2)});
  values.need_shape({keys.size(0), keys.size(1), queries.size(2)});
  to.need_shape({queries.size(0), queries.size(1), queries.size(2)});
  mm2x_heads heads = heads_of(queries, keys);
  std::optional<Tensor> of_keys, of_values;
  if (!k_scales.is_none()) {
    heads.k_scales = of_keys.emplace(k_scales, "k_scales").floats();
    of_keys->need_shape({keys.size(1)});
  }
  if (!v_scales.is_none()) {
    heads.v_scales = of_values.emplace(v_scales, "v_scales").floats();
    of_values->need_shape({keys.size(1)});
  }
  kernels.run(mm2x_attention, queries.floats(), keys.floats(), values.floats(), &heads,
              queries.size(0), keys.size(0), number, activations, to.mutable_floats());
}

// q_out: [n_tokens, n_heads, head_dim]; kv_out: [n_tokens, 2, n_kv_heads, head_dim]
void qkv(Kernels& kernels, const py::object& x, const Matrix& q, const Matrix& k, const Matrix& v,
         const py::object& q_norm, const py::object& k_norm, const py::object& rope, float eps,
         int32_t activations, const py::object& q_out, const py::object& kv_out) {
  const Tensor from(x, "x"), qn(q_norm, "q_norm"), kn(k_norm, "k_norm"), table(rope, "rope");
  const Tensor to_q(q_out, "q_out"), to_kv(kv_out, "kv_out");
  from.need_shape({-1, q.n_in});
  qn.need_shape({q.n_out});
  kn.need_shape({k.n_out});
  table.need_shape({from.size(0), -1});
  to_q.need_shape({from.size(0), -1, -1});
  to_kv.need_shape({from.size(0), 2, -1, to_q.size(2)});
  auto heads = mm2::make<mm2x_heads>();
  heads.n_heads = to_q.size(1);
  heads.n_kv_heads = to_kv.size(2);
  heads.head_dim = to_q.size(2);
  heads.rotary_dim = table.size(1);
  heads.eps = eps;
  kernels.run(mm2x_qkv, from.floats(), q.handle.get(), k.handle.get(), v.handle.get(), qn.floats(),
              kn.floats(), table.floats(), &heads, from.size(0), activations, to_q.mutable_floats(),
              to_kv.mutable_floats());
}

void router(Kernels& kernels, const py::object& x, const Matrix& gate, const py::object& bias,
            const py::object& ids, const py::object& weights) {
  const Tensor from(x, "x"), b(bias, "bias"), to_ids(ids, "ids"), to_weights(weights, "weights");
  from.need_shape({-1, gate.n_in});
  b.need_shape({gate.n_out});
  to_ids.need_shape({from.size(0), -1});
  to_weights.need_shape({from.size(0), to_ids.size(1)});
  kernels.run(mm2x_router, from.floats(), gate.handle.get(), b.floats(), from.size(0),
              to_ids.size(1), to_ids.mutable_ints(), to_weights.mutable_floats());
}

std::vector<const mm2x_matrix*> handles_of(const std::vector<const Matrix*>& matrices) {
  std::vector<const mm2x_matrix*> handles;
  for (const Matrix* matrix : matrices) {
    handles.push_back(matrix == nullptr ? nullptr : matrix->handle.get());
  }
  return handles;
}

void experts(Kernels& kernels, const py::object& x, const std::vector<const Matrix*>& gate,
             const std::vector<const Matrix*>& up, const std::vector<const Matrix*>& down,
             const py::object& ids, const py::object& weights, int32_t activations,
             const py::object& h) {
  const Tensor from(x, "x"), chosen(ids, "ids"), shares(weights, "weights"), to(h, "out");
  if (gate.empty() || up.size() != gate.size() || down.size() != gate.size()) {
    throw py::value_error("gate, up and down: as many matrices each, at least one, are needed");
  }
  from.need_shape({-1, gate[0] == nullptr ? -1 : gate[0]->n_in});
  chosen.need_shape({from.size(0), -1});
  shares.need_shape({from.size(0), chosen.size(1)});
  to.need_shape({from.size(0), from.size(1)});
  const auto gates = handles_of(gate), ups = handles_of(up), downs = handles_of(down);
  kernels.run(mm2x_experts, from.floats(), gates.data(), ups.data(), downs.data(),
              static_cast<int32_t>(gates.size()), chosen.ints(), shares.floats(), from.size(0),
              chosen.size(1), activations, to.mutable_floats());
}

}  // namespace
}  // namespace mm2::python

PYBIND11_MODULE(_kernels, m) {
  using namespace mm2::python;
  using namespace py::literals;
  bind_errors(m);
  py::class_<Matrix>(m, "Matrix")
      .def_property_readonly("shape",
                             [](const Matrix& x) { return py::make_tuple(x.n_out, x.n_in); })
      .def_readonly("nbytes", &Matrix::bytes);
  py::class_<Kernels>(m, "Kernels")
      .def(py::init<int32_t, int32_t>(), "isa"_a = 0, "n_threads"_a = 0)
      .def("_describe",
           [](const Kernels& k) {
             return to_str(mm2::detail::text_of(mm2x_kernels_describe, k.get()));
           })
      .def("_pack", &pack, "codes"_a, "scheme"_a, "number"_a, "bits"_a, "patch"_a, "scales"_a,
           "zeros"_a)
      .def("_embed", &embed)
      .def("_rms_norm", &rms_norm)
      .def("_linear", &linear)
      .def("_rope_table", &rope_table)
      .def("_qkv", &qkv)
      .def("_attention", &attention)
      .def("_router", &router)
      .def("_experts", &experts);
}
