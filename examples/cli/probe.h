// What this machine can do at most, measured with the plainest loops: the yardstick of `mm2 bench`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace cli {

/// Best rates seen so far, over as many short measurements as are asked for. Taken in between the
/// work that they judge, so that a busy machine slows both alike.
class MachineProbe {
 public:
  /// n_threads: 0 = every usable core. int8: products of bytes are the yardstick.
  explicit MachineProbe(int32_t n_threads, bool int8 = false);

  /// Reads memory that is in no cache, with all threads.
  void measure_read();
  /// Multiplies and adds in registers for some milliseconds, with all threads: F32, and pairs of BF16
  /// where the processor has instructions for them. The faster one counts. Or products of bytes.
  void measure_arithmetic();

  double read_gb_per_s() const { return read_gb_per_s_; }
  double peak_gflop_per_s() const { return peak_gflop_per_s_; }
  int32_t n_threads() const { return n_threads_; }

 private:
  bool int8_;
  int32_t n_threads_;
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> memory_;
  size_t next_part_ = 0;
  double read_gb_per_s_ = 0;
  double peak_gflop_per_s_ = 0;
};

}  // namespace cli
