#include "progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "handles.h"
#include "interrupt.h"

namespace cli {
namespace {

constexpr int kBarWidth = 24;
constexpr std::chrono::milliseconds kRedrawInterval{100};

const char* stage_name(int32_t stage) {
  switch (stage) {
    case MM2_STAGE_OPEN:
      return "opening";
    case MM2_STAGE_LOAD:
      return "loading";
    case MM2_STAGE_PACK:
      return "packing";
    default:
      return "working";
  }
}

}  // namespace

std::string human_bytes(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < std::size(units)) {
    bytes /= 1000;
    ++unit;
  }
  char text[32];
  const int decimals = unit == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2;
  std::snprintf(text, sizeof text, "%.*f %s", decimals, bytes, units[unit]);
  return text;
}

std::string human_seconds(double seconds) {
  const auto total = static_cast<long long>(std::min(seconds + 0.5, 1e9));
  char text[32];
  if (total >= 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", total / 3600, total / 60 % 60,
                  total % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", total / 60, total % 60);
  }
  return text;
}

ProgressDisplay::ProgressDisplay(ProgressStyle style) : style_(style) {
  if (style_ == ProgressStyle::automatic) {
    style_ = isatty(STDERR_FILENO) ? ProgressStyle::tty : ProgressStyle::none;
  }
}

ProgressDisplay::~ProgressDisplay() {
  finish();
}

mm2_host ProgressDisplay::host() {
  auto host = sized<mm2_host>();
  host.progress = on_progress;
  host.progress_user_data = this;
  return host;
}

void ProgressDisplay::finish() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

int32_t ProgressDisplay::on_progress(void* self, const mm2_progress* progress) {
  static_cast<ProgressDisplay*>(self)->show(*progress);
  return interrupted() ? 1 : 0;
}

void ProgressDisplay::show(const mm2_progress& progress) {
  if (style_ == ProgressStyle::none) return;
  const auto now = Clock::now();
  const bool new_stage = progress.stage != stage_;
  if (new_stage) {
    stage_ = progress.stage;
    stage_begin_ = now;
  } else if (now - last_shown_ < kRedrawInterval && progress.done != progress.total) {
    return;
  }
  last_shown_ = now;
  const double seconds = std::chrono::duration<double>(now - stage_begin_).count();
  if (style_ == ProgressStyle::json) {
    write_json(progress, seconds);
  } else {
    draw_bar(progress, seconds);
  }
}

void ProgressDisplay::draw_bar(const mm2_progress& progress, double seconds) {
  const auto done = static_cast<double>(progress.done), total = static_cast<double>(progress.total);
  std::string line = stage_name(progress.stage);
  if (total > 0) {
    const double share = std::min(done / total, 1.0);
    const int filled = static_cast<int>(share * kBarWidth);
    line += " [" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "] " +
            std::to_string(static_cast<int>(share * 100)) + " %";
    line += "  " + human_bytes(done) + " of " + human_bytes(total);
  } else if (done > 0) {
    line += "  " + human_bytes(done);
  }
  if (seconds > 0.2 && done > 0) {
    line += "  " + human_bytes(done / seconds) + "/s";
    if (total > done) line += "  ETA " + human_seconds((total - done) / done * seconds);
  }
  if (progress.subject != nullptr && progress.subject[0] != '\0') {
    const std::string subject = progress.subject;
    line +=
        "  " + subject.substr(subject.rfind('/') == std::string::npos ? 0 : subject.rfind('/') + 1);
  }
  // What does not fit would stay behind: only the last row is cleared.
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 && line.size() >= size.ws_col)
    line.resize(size.ws_col - 1u);
  std::fprintf(stderr, "\r%s\033[K", line.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressDisplay::write_json(const mm2_progress& progress, double seconds) {
  nlohmann::ordered_json line;
  line["stage"] = stage_name(progress.stage);
  line["done"] = progress.done;
  line["total"] = progress.total;
  line["seconds"] = seconds;
  if (progress.subject != nullptr) line["subject"] = progress.subject;
  const std::string text =
      line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::fprintf(stderr, "%s\n", text.c_str());
}

}  // namespace cli
