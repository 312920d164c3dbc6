// strftime_now: the host's clock in Python's formats.
#include "chat/jinja/date_time.h"

#include "absl/strings/str_format.h"
#include "base/join.h"
#include "chat/jinja/run.h"

namespace mm2::chat::jinja {
namespace {

constexpr const char* kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                 "Thursday", "Friday", "Saturday"};
constexpr const char* kMonths[] = {"January",   "February", "March",    "April",
                                   "May",       "June",     "July",     "August",
                                   "September", "October",  "November", "December"};
constexpr int kDaysBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};

bool is_leap(int year) {
  return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

}  // namespace

std::optional<DateTime> parse_date_time(std::string_view text) {
  constexpr std::string_view kShape = "0000-00-00T00:00:00";
  if (text.size() != kShape.size()) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == '0' ? !is_digit : text[i] != kShape[i]) return std::nullopt;
  }
  const auto number = [&](size_t at, size_t n) {
    int value = 0;
    for (size_t i = at; i < at + n; ++i) value = value * 10 + (text[i] - '0');
    return value;
  };
  const DateTime t = {number(0, 4),  number(5, 2),  number(8, 2),
                      number(11, 2), number(14, 2), number(17, 2)};
  if (t.year < 1 || t.month < 1 || t.month > 12 || t.hour > 23 || t.minute > 59 || t.second > 59)
    return std::nullopt;
  const int days = t.month == 12 ? 31
                                 : kDaysBefore[t.month] - kDaysBefore[t.month - 1] +
                                       (t.month == 2 && is_leap(t.year) ? 1 : 0);
  if (t.day < 1 || t.day > days) return std::nullopt;
  return t;
}

Val Run::strftime(const std::string& format) {
  const DateTime t = clock_();
  if (t.month < 1 || t.month > 12) return fail("ValueError", "the host's clock gives no month");
  const int day_of_year =
      kDaysBefore[t.month - 1] + t.day + (is_leap(t.year) && t.month > 2 ? 1 : 0);
  const int y = t.year - 1;
  const int weekday = ((y + y / 4 - y / 100 + y / 400) % 7 + day_of_year) % 7;  // 0: Sunday
  const int hour12 = t.hour % 12 == 0 ? 12 : t.hour % 12;
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out += format[i];
      continue;
    }
    char c = format[++i];
    bool plain = false;
    if (c == '-' && i + 1 < format.size()) {
      plain = true;
      c = format[++i];
    }
    const auto two = [&](int n) {
      if (plain)
        out += mm2::join(n);
      else
        absl::StrAppendFormat(&out, "%02d", n);
    };
    const auto date = [&] {
      absl::StrAppendFormat(&out, "%02d/%02d/%02d", t.month, t.day, t.year % 100);
    };
    const auto time = [&] {
      absl::StrAppendFormat(&out, "%02d:%02d:%02d", t.hour, t.minute, t.second);
    };
    switch (c) {
      case 'Y':
        out += mm2::join(t.year);
        break;
      case 'y':
        two(t.year % 100);
        break;
      case 'C':
        two(t.year / 100);
        break;
      case 'm':
        two(t.month);
        break;
      case 'd':
        two(t.day);
        break;
      case 'e':
        absl::StrAppendFormat(&out, "%*d", plain ? 1 : 2, t.day);
        break;
      case 'H':
        two(t.hour);
        break;
      case 'I':
        two(hour12);
        break;
      case 'M':
        two(t.minute);
        break;
      case 'S':
        two(t.second);
        break;
      case 'f':
        out += "000000";
        break;
      case 'p':
        out += t.hour < 12 ? "AM" : "PM";
        break;
      case 'A':
        out += kDays[weekday];
        break;
      case 'a':
        out += std::string_view(kDays[weekday]).substr(0, 3);
        break;
      case 'B':
        out += kMonths[t.month - 1];
        break;
      case 'b':
      case 'h':
        out += std::string_view(kMonths[t.month - 1]).substr(0, 3);
        break;
      case 'j':
        absl::StrAppendFormat(&out, "%0*d", plain ? 1 : 3, day_of_year);
        break;
      case 'w':
        out += mm2::join(weekday);
        break;
      case 'u':
        out += mm2::join(weekday == 0 ? 7 : weekday);
        break;
      case 'U':
        two((day_of_year + 6 - weekday) / 7);
        break;
      case 'W':
        two((day_of_year + 6 - (weekday + 6) % 7) / 7);
        break;
      case 'F':
        absl::StrAppendFormat(&out, "%d-%02d-%02d", t.year, t.month, t.day);
        break;
      case 'D':
      case 'x':
        date();
        break;
      case 'T':
      case 'X':
        time();
        break;
      case 'R':
        absl::StrAppendFormat(&out, "%02d:%02d", t.hour, t.minute);
        break;
      case 'c':
        absl::StrAppendFormat(&out, "%.3s %.3s %2d ", kDays[weekday], kMonths[t.month - 1], t.day);
        time();
        out += mm2::join(" ", t.year);
        break;
      case 'z':
      case 'Z':
        break;  // the host's clock has no zone
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      case '%':
        out += '%';
        break;
      default:
        (out += '%') += c;
    }
  }
  return str(std::move(out));
}

}  // namespace mm2::chat::jinja
