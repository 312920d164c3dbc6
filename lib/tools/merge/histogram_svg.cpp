#include <algorithm>

#include "absl/strings/str_format.h"
#include "tools/merge/schedule.h"

namespace mm2 {
namespace {

constexpr int kWidth = 640, kHeight = 320, kLeft = 60, kRight = 20, kTop = 40, kBottom = 50;

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (static_cast<unsigned char>(c) >= 0x20)
      result += c;
  }
  return result;
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y,
                         std::string(anchor), escaped(text));
}

}  // namespace

std::string histogram_svg(const Histogram& histogram, std::string_view title,
                          std::string_view axis) {
  uint64_t most = 1;
  for (const uint64_t count : histogram.counts) most = std::max(most, count);
  const double wide = kWidth - kLeft - kRight, high = kHeight - kTop - kBottom;
  const double n = static_cast<double>(std::max<size_t>(1, histogram.counts.size()));
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
      "fill=\"white\"/>\n",
      kWidth, kHeight, kWidth, kHeight);
  svg += text_at(kWidth / 2.0, kTop - 16, "middle", title);
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    const double tall = high * static_cast<double>(histogram.counts[i]) / static_cast<double>(most);
    const double x = kLeft + wide * static_cast<double>(i) / n;
    svg += absl::StrFormat(
        "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"#4878a8\">"
        "<title>%d</title></rect>\n",
        x, kTop + high - tall, std::max(0.5, wide / n - 1), tall, histogram.counts[i]);
  }
  const double floor = kTop + high;
  svg += absl::StrFormat("<path d=\"M%d %d V%.1f H%d\" fill=\"none\" stroke=\"black\"/>\n", kLeft,
                         kTop, floor, kWidth - kRight);
  for (int i = 0; i <= 4; ++i) {
    const double share = i / 4.0;
    const double value = histogram.low + (histogram.high - histogram.low) * share;
    svg += text_at(kLeft + wide * share, floor + 18, "middle", absl::StrFormat("%.4g", value));
  }
  svg += text_at(kLeft - 6, kTop + 4, "end", absl::StrFormat("%d", most));
  svg += text_at(kLeft - 6, floor, "end", "0");
  svg += text_at(kLeft + wide / 2, kHeight - 12, "middle", axis);
  return svg + "</svg>\n";
}

}  // namespace mm2
