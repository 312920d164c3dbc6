#include "connection.h"

#include <algorithm>
#include <cstring>

namespace server {

bool Connection::wait(short events, Clock::time_point deadline) const {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    // What is being sent goes on; what is waited for does not.
    pollfd polled[2] = {{descriptor_, events, 0}, {closing_, POLLIN, 0}};
    const int n =
        ::poll(polled, events == POLLIN ? 2 : 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (n > 0) return polled[0].revents != 0;
    if (n == 0 && left <= 0) return false;
    if (n < 0 && errno != EINTR) return false;
  }
}

bool Connection::wait_for_request(bool first) {
  return begin_ < end_ || wait(POLLIN, now() + (first ? limits_.request_time : limits_.idle_time));
}

void Connection::begin_request() {
  deadline_ = Clock::now() + limits_.request_time;
  n_read_ = 0;
  in_header_ = true;
  line_ends_ = 0;
}

bool Connection::is_writable() const {
  pollfd polled{descriptor_, POLLRDHUP, 0};
  return ::poll(&polled, 1, 0) == 0;
}

// Whether these bytes are still within the limits. The header ends with an empty line.
bool Connection::count(const char* bytes, size_t n) {
  n_read_ += n;
  for (size_t i = 0; i < n && in_header_; ++i) {
    if (bytes[i] == '\n') {
      in_header_ = ++line_ends_ < 2;
    } else if (bytes[i] != '\r') {
      line_ends_ = 0;
    }
  }
  if (in_header_) return n_read_ <= limits_.max_header_bytes;
  // httplib checks the stated length; this is for chunks, whose frames may add to the size.
  return n_read_ <= limits_.max_header_bytes + 2 * limits_.max_body_bytes;
}

ssize_t Connection::fail() {
  broken_ = true;
  return -1;
}

ssize_t Connection::read(char* to, size_t size) {
  if (broken_) return -1;
  if (begin_ == end_) {
    if (!wait(POLLIN, deadline_)) return fail();
    ssize_t n;
    do {
      n = ::recv(descriptor_, buffer_.data(), buffer_.size(), 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) return fail();
    begin_ = 0;
    end_ = static_cast<size_t>(n);
  }
  const size_t n = std::min(size, end_ - begin_);
  if (!count(buffer_.data() + begin_, n)) return fail();
  std::memcpy(to, buffer_.data() + begin_, n);
  begin_ += n;
  return static_cast<ssize_t>(n);
}

ssize_t Connection::write(const char* from, size_t size) {
  const auto deadline = Clock::now() + limits_.write_time;
  for (;;) {
    const ssize_t n = ::send(descriptor_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) return n;
    if (errno == EINTR) continue;
    if (errno != EAGAIN || !wait(POLLOUT, deadline)) return fail();
  }
}

void Connection::linger(bool cut) {
  if (!cut && begin_ == end_ && !wait(POLLIN, now())) return;
  ::shutdown(descriptor_, SHUT_WR);
  // Closing with unread bytes would reset the connection, and the response could get lost.
  const auto deadline = now() + std::chrono::seconds(2);
  size_t room = 4 * limits_.max_body_bytes;
  while (room > 0 && wait(POLLIN, deadline)) {
    const ssize_t n = ::recv(descriptor_, buffer_.data(), std::min(room, buffer_.size()), 0);
    if (n <= 0) return;
    room -= static_cast<size_t>(n);
  }
}

namespace {

void name_of(const sockaddr_storage& address, std::string& ip, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    port = ntohs(v6.sin6_port);
  }
  ip = text;
}

}  // namespace

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getpeername(descriptor_, reinterpret_cast<sockaddr*>(&address), &length);
  name_of(address, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &length);
  name_of(address, ip, port);
}

}  // namespace server
