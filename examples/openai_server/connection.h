// One connection as httplib reads and writes it, with deadlines and limits.
#pragma once

#include <poll.h>

#include <array>
#include <string>

#include "http.h"

namespace server {

class Connection : public httplib::Stream {
 public:
  /// closing: an eventfd. Once it is readable nobody waits for a client's bytes any more.
  Connection(int descriptor, int closing, const HttpLimits& limits)
      : descriptor_(descriptor), closing_(closing), limits_(limits) {}

  /// Sleeps until a request begins. False when none will: closed, idle for too long, or closing.
  bool wait_for_request(bool first);
  void begin_request();
  /// A request broke a limit or was not read to its end: what follows cannot be understood.
  bool must_close() const { return broken_; }
  /// Lets a client that is still sending see the response before the connection is cut.
  /// cut: there may be more of a request that nobody will read, even if nothing has arrived just now.
  void linger(bool cut);

  bool is_readable() const override { return begin_ < end_ || wait(POLLIN, now()); }
  bool is_writable() const override;
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return descriptor_; }

 private:
  using Clock = std::chrono::steady_clock;
  static Clock::time_point now() { return Clock::now(); }
  bool wait(short events, Clock::time_point deadline) const;
  bool count(const char* bytes, size_t n);
  ssize_t fail();

  const int descriptor_, closing_;
  const HttpLimits& limits_;
  std::array<char, 16384> buffer_;
  size_t begin_ = 0, end_ = 0;
  Clock::time_point deadline_;
  size_t n_read_ = 0;
  bool in_header_ = true;
  int line_ends_ = 0;  // in a row: two of them end the header
  bool broken_ = false;
};

}  // namespace server
