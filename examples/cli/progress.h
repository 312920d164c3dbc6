// Progress of long work on standard error: a bar on a terminal, or one JSON object a line.
#pragma once

#include <mm2/host.h>

#include <chrono>
#include <string>

#include "options.h"

namespace cli {

/// Shows what the library reports while it loads or works on files. Ctrl-C cancels that work.
class ProgressDisplay {
 public:
  /// `automatic` is a bar when standard error is a terminal, otherwise nothing.
  explicit ProgressDisplay(ProgressStyle style);
  ~ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  /// Services to hand to the library; they borrow this object.
  mm2_host host();
  /// Takes the bar away; the next report would draw it again.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  static int32_t on_progress(void* self, const mm2_progress* progress);
  void show(const mm2_progress& progress);
  void draw_bar(const mm2_progress& progress, double seconds);
  void write_json(const mm2_progress& progress, double seconds);

  ProgressStyle style_;
  int32_t stage_ = -1;
  Clock::time_point stage_begin_, last_shown_;
  bool drawn_ = false;
};

/// "1.5 GB": three figures, powers of 1000.
std::string human_bytes(double bytes);
/// "1:02:03" or "2:03".
std::string human_seconds(double seconds);

}  // namespace cli
