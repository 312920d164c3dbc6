// What the host's clock gives a template.
#pragma once

#include <optional>
#include <string_view>

namespace mm2::chat::jinja {

/// Local date and time as strftime needs it.
struct DateTime {
  int year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0;
};

/// "2026-01-02T03:04:05", a date and time that exist; nothing else.
std::optional<DateTime> parse_date_time(std::string_view text);

}  // namespace mm2::chat::jinja
