// What the host's clock gives a template.
#pragma once

namespace mm2::chat::jinja {

/// Local date and time as strftime needs it.
struct DateTime {
  int year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0;
};

}  // namespace mm2::chat::jinja
