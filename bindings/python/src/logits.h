// The logits of one step, in memory of the binding: a pool of buffers, so that a view that somebody
// still holds is never written over, and a Logits that is out of date says so.
#pragma once

#include <memory>

#include "core.h"

namespace mm2::python {

struct LogitsBuffer {
  std::unique_ptr<float[]> data;
  size_t capacity = 0;  // floats
};

/// Gives out buffers that nobody but the pool holds. With the interpreter's lock.
class LogitsPool {
 public:
  std::shared_ptr<LogitsBuffer> take(size_t n_floats);
  uint64_t n_steps = 0;  // begun by the engine

 private:
  std::vector<std::shared_ptr<LogitsBuffer>> buffers_;
};

/// [n_rows, n_vocab] F32. Every way to the numbers goes through lease(), which throws when a later
/// step has begun and the object was not asked to keep its numbers. What lease() gives keeps the
/// numbers as they are, as long as it lives.
class Logits {
 public:
  Logits(std::shared_ptr<LogitsBuffer> buffer, std::shared_ptr<const LogitsPool> pool,
         int64_t n_rows, int64_t n_vocab, bool keep, std::vector<mm2_status> row_status);

  std::shared_ptr<LogitsBuffer> lease() const;
  bool is_valid() const;

  int64_t n_rows, n_vocab;
  std::vector<mm2_status> row_status;  // empty unless asked for

 private:
  std::weak_ptr<LogitsBuffer> buffer_;
  std::shared_ptr<LogitsBuffer> kept_;
  std::shared_ptr<const LogitsPool>
      pool_;       // outlives its engine as long as somebody has logits of it
  uint64_t step_;  // the step that this belongs to
};

}  // namespace mm2::python
