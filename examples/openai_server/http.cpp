#include "http.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "connection.h"
#include "connection_threads.h"

namespace server {
namespace {

const char* const kDescriptorHeader = "X-Mm2-Descriptor";

void signal_event(int eventfd) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(eventfd, &one, sizeof one);
}

}  // namespace

// ---- PeerWatcher

PeerWatcher::PeerWatcher() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::thread([this] { run(); });
}

PeerWatcher::~PeerWatcher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  signal_event(wake_);
  thread_.join();
  ::close(wake_);
}

void PeerWatcher::watch(int descriptor, std::function<void()> on_gone) {
  {
    const std::lock_guard lock(mutex_);
    watched_[descriptor] = std::move(on_gone);
  }
  signal_event(wake_);
}

void PeerWatcher::forget(int descriptor) {
  const std::lock_guard lock(mutex_);
  watched_.erase(descriptor);
}

void PeerWatcher::run() {
  std::vector<pollfd> polled;
  for (;;) {
    polled.assign(1, pollfd{wake_, POLLIN, 0});
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      for (const auto& [descriptor, on_gone] : watched_) {
        polled.push_back({descriptor, POLLRDHUP, 0});
      }
    }
    ::poll(polled.data(), polled.size(), -1);
    if (polled[0].revents != 0) {
      uint64_t count;
      [[maybe_unused]] const ssize_t n = ::read(wake_, &count, sizeof count);
    }
    const std::lock_guard lock(mutex_);
    for (size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      // A descriptor that was forgotten and given to another connection meanwhile is asked again.
      pollfd now{polled[i].fd, POLLRDHUP, 0};
      const auto found = watched_.find(polled[i].fd);
      if (found == watched_.end() || ::poll(&now, 1, 0) <= 0) continue;
      found->second();
      watched_.erase(found);
    }
  }
}

// ---- HttpServer

HttpServer::HttpServer(const HttpLimits& limits)
    : limits_(limits), closing_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  new_task_queue = [this] {
    acceptor_ = std::this_thread::get_id();
    return new ConnectionThreads(limits_.max_connections);
  };
  set_socket_options([](socket_t socket) {
    const int on = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  set_payload_max_length(limits_.max_body_bytes);
  set_keep_alive_max_count(1000000);  // both only for the header that tells them
  set_keep_alive_timeout(limits_.idle_time.count() / 1000);
}

HttpServer::~HttpServer() {
  ::close(closing_);
}

int HttpServer::bind(const std::string& host, int port) {
  if (port == 0) {
    port = bind_to_any_port(host);
  } else if (!bind_to_port(host, port)) {
    port = 0;
  }
  if (port <= 0) return 0;
  ::listen(svr_sock_, 1024);  // httplib's own call asked for a queue of 5
  return port;
}

void HttpServer::close_connections() {
  is_closing_ = true;
  signal_event(closing_);
}

int HttpServer::descriptor_of(const httplib::Request& request) {
  return std::atoi(request.get_header_value(kDescriptorHeader).c_str());
}

void HttpServer::close_after(const httplib::Request& request, httplib::Response& response) {
  response.set_header("Connection", "close");
  const std::lock_guard lock(mutex_);
  to_close_.insert(descriptor_of(request));
}

bool HttpServer::is_to_close(int descriptor) {
  const std::lock_guard lock(mutex_);
  return to_close_.erase(descriptor) > 0;
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  // With all threads busy a connection comes up on the thread that accepts: that one only says no.
  if (std::this_thread::get_id() == acceptor_) {
    refuse(socket);
  } else {
    serve(socket);
  }
  ::close(socket);
  return true;
}

void HttpServer::serve(int descriptor) {
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  // The kernel would take megabytes for a client that does not read.
  const int bytes = 128 << 10;
  ::setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  Connection connection(descriptor, closing_, limits_);
  bool first = true, closed = false, cut = false;
  while (!cut && !closed && connection.wait_for_request(first)) {
    first = false;
    connection.begin_request();
    const bool answered =
        process_request(connection, is_closing_, closed, [descriptor](httplib::Request& request) {
          request.headers.erase(kDescriptorHeader);
          // httplib would compress with brotli at its slowest; answers are small or streams.
          request.headers.erase("Accept-Encoding");
          request.set_header(kDescriptorHeader, std::to_string(descriptor));
        });
    cut = is_to_close(descriptor) || !answered || connection.must_close();
  }
  connection.linger(cut);
}

void HttpServer::refuse(int descriptor) {
  const std::string body =
      R"({"error": {"message": "all connections of this server are in use", "type": )"
      R"("overloaded_error", "param": null, "code": "overloaded"}})";
  const std::string response =
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  ::send(descriptor, response.data(), response.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(descriptor, SHUT_WR);
}

}  // namespace server
