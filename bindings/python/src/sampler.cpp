#include "sampler.h"

#include <pybind11/numpy.h>

#include "logits.h"
#include "quick.h"

namespace mm2::python {
namespace {

using namespace py::literals;

void set_options(const py::dict& given, mm2_sampler_options* o) {
  for (const auto& [key, value] : given) {
    const auto name = key.cast<std::string>();
    if (name == "temperature")
      o->temperature = float_of(value);
    else if (name == "top_p")
      o->top_p = float_of(value);
    else if (name == "min_p")
      o->min_p = float_of(value);
    else if (name == "repetition_penalty")
      o->repetition_penalty = float_of(value);
    else if (name == "frequency_penalty")
      o->frequency_penalty = float_of(value);
    else if (name == "presence_penalty")
      o->presence_penalty = float_of(value);
    else if (name == "top_k")
      o->top_k = int32_of(value, name);
    else if (name == "penalty_window")
      o->penalty_window = int32_of(value, name);
    else if (name == "n_logprobs")
      o->n_logprobs = int32_of(value, name);
    else if (name == "n_tokens")
      o->n_tokens = int32_of(value, name);
    else if (name == "logprobs")
      o->logprobs = int32_of(value, name);
    else if (name == "seed")
      o->seed = static_cast<uint64_t>(integer_of(value, name, 0, INT64_MAX));
    else if (name != "logit_bias")
      throw py::type_error("sampler has no option '" + name + "'");
  }
}

}  // namespace

Sampler::Sampler(int32_t n_vocab, const py::dict& given, py::object edit_logits)
    : n_vocab_(n_vocab), edit_logits_(std::move(edit_logits)) {
  auto options = mm2::make<mm2_sampler_options>();
  set_options(given, &options);
  std::vector<mm2_logit_bias> biases;
  if (given.contains("logit_bias")) {
    for (const auto& [token, bias] : given["logit_bias"].cast<py::dict>()) {
      biases.push_back({int32_of(token, "a token of logit_bias"), float_of(bias)});
    }
  }
  options.n_biases = static_cast<int32_t>(biases.size());
  options.biases = biases.data();
  if (!edit_logits_.is_none()) {
    options.user_data = this;
    options.edit_logits = edit;
  }
  n_logprobs_ = options.n_logprobs;
  handle_ = mm2::Sampler(options, n_vocab);
}

void Sampler::edit(void* self, float* logits, int32_t n_vocab) {
  static_cast<Sampler*>(self)->call_edit(logits, n_vocab);
}

void Sampler::call_edit(float* logits, int32_t n_vocab) {
  try {
    // The callable gets an array of its own, which it may keep.
    py::array_t<float> mine(n_vocab, logits);
    edit_logits_(mine);
    std::copy_n(mine.data(), n_vocab, logits);
  } catch (py::error_already_set& e) {
    raised_.emplace(e);
  }
}

int32_t Sampler::pick(const float* logits, mm2_token_logprob* top) {
  // The interpreter's lock keeps other threads away, but for while edit_logits runs.
  if (in_use_)
    throw py::value_error("the sampler is in use: one sequence, one thread, one sampler");
  int32_t token = 0;
  auto error = mm2::make<mm2_error>();
  in_use_ = true;
  const mm2_status status = mm2_sampler_sample(handle_.get(), logits, &token, top, &error);
  in_use_ = false;
  if (raised_) {
    py::error_already_set raised = std::move(*raised_);
    raised_.reset();
    throw raised;  // NOLINT
  }
  if (status != MM2_OK) throw mm2::Error(error);
  return token;
}

namespace {

/// A row of logits, wherever it lies, and what keeps it there.
class LogitsRow {
 public:
  LogitsRow(py::handle from, int64_t row, int32_t n_vocab) {
    if (is_object_of<Logits>(from.ptr())) {
      const auto& logits = object_of<Logits>(from.ptr());
      const int64_t i = row < 0 ? row + logits.n_rows : row;
      if (i < 0 || i >= logits.n_rows || logits.n_vocab != n_vocab) {
        throw py::index_error("row " + std::to_string(row) + " of " +
                              std::to_string(logits.n_rows) + " rows of " +
                              std::to_string(logits.n_vocab) + " logits; the sampler takes " +
                              std::to_string(n_vocab));
      }
      lease_ = logits.lease();
      data_ = lease_->data.get() + i * logits.n_vocab;
      return;
    }
    const auto array = py::array_t<float, py::array::c_style | py::array::forcecast>::ensure(from);
    if (!array) throw py::error_already_set();
    if (array.ndim() != 1 || array.shape(0) != n_vocab) {
      throw py::value_error("logits must have the shape (" + std::to_string(n_vocab) + ",)");
    }
    data_ = array.data();
    array_ = array;
  }
  const float* data() const { return data_; }

 private:
  std::shared_ptr<LogitsBuffer> lease_;
  py::object array_;
  const float* data_ = nullptr;
};

}  // namespace

int32_t Sampler::sample(py::handle logits, int64_t row) {
  const LogitsRow given(logits, row, n_vocab_);
  return pick(given.data(), nullptr);
}

py::tuple Sampler::sample_logprobs(const py::object& logits, int64_t row) {
  const LogitsRow given(logits, row, n_vocab_);
  return pick_logprobs(given.data());
}

py::tuple Sampler::pick_logprobs(const float* logits) {
  std::vector<mm2_token_logprob> top(1 + static_cast<size_t>(n_logprobs_));
  const int32_t token = pick(logits, top.data());
  py::list likely;
  for (size_t i = 1; i < top.size() && top[i].token >= 0; ++i) {
    likely.append(py::make_tuple(top[i].token, top[i].logprob));
  }
  return py::make_tuple(token, top[0].logprob, likely);
}

namespace {

py::object sample(Sampler& sampler, Arguments& given) {
  const py::handle logits = given.need(0, "logits");
  PyObject* const row = given.find(1, "row");
  given.finish();
  const int64_t at = row == nullptr ? 0 : integer_of(row, "row", INT64_MIN, INT64_MAX);
  return py::int_(sampler.sample(logits, at));
}

py::object accept(Sampler& sampler, Arguments& given) {
  const int32_t token = int32_of(given.need(0, "token"), "token");
  given.finish();
  sampler.handle().accept(token);
  return py::none();
}

}  // namespace

void bind_sampler(py::module_& m) {
  py::class_<Sampler> type(m, "Sampler");
  add_quick<Sampler, sample>(type, "sample");
  add_quick<Sampler, accept>(type, "accept");
  type.def(py::init<int32_t, const py::dict&, py::object>(), "n_vocab"_a, "options"_a = py::dict(),
           "edit_logits"_a = py::none())
      .def("sample_logprobs", &Sampler::sample_logprobs, "logits"_a, "row"_a = 0)
      .def(
          "accept_prompt",
          [](Sampler& s, const py::object& tokens) { s.handle().accept_prompt(ids_of(tokens)); },
          "tokens"_a)
      .def(
          "set_seed", [](Sampler& s, uint64_t seed) { s.handle().set_seed(seed); }, "seed"_a)
      .def("reset", [](Sampler& s) { s.handle().reset(); })
      .def("copy", [](const Sampler& s) { return std::make_unique<Sampler>(s); });
}

}  // namespace mm2::python
