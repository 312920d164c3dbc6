#pragma once

#include <optional>

#include "core.h"

namespace mm2::python {

/// A sampler and the Python callable that edits its logits.
class Sampler {
 public:
  Sampler(int32_t n_vocab, const py::dict& given, py::object edit_logits);
  Sampler(const Sampler& other)
      : n_vocab_(other.n_vocab_),
        n_logprobs_(other.n_logprobs_),
        edit_logits_(other.edit_logits_),
        handle_(other.handle_.clone()) {
    // The clone's callback would find the other object: one that has a callback is not copied.
    if (!edit_logits_.is_none()) throw py::type_error("a sampler with edit_logits has no copy");
  }

  int32_t sample(py::handle logits, int64_t row);
  py::tuple sample_logprobs(const py::object& logits, int64_t row);
  mm2::Sampler& handle() {
    if (in_use_) throw py::value_error("the sampler is in use by edit_logits");
    return handle_;
  }

  // logits: [n_vocab]
  int32_t pick(const float* logits, mm2_token_logprob* top = nullptr);
  py::tuple pick_logprobs(const float* logits);
  int32_t n_vocab() const { return n_vocab_; }

 private:
  static void edit(void* self, float* logits, int32_t n_vocab);
  void call_edit(float* logits, int32_t n_vocab);

  int32_t n_vocab_;
  int32_t n_logprobs_ = 0;
  py::object edit_logits_;
  std::optional<py::error_already_set> raised_;
  bool in_use_ = false;
  mm2::Sampler handle_{nullptr};
};

}  // namespace mm2::python
