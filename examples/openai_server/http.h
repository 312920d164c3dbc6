// cpp-httplib with its sockets in our hands. Version 0.11.4, as Debian 12 has it, reads and writes
// connections in ways that a server of long streams cannot use:
//   * it has 8 threads, and a connection keeps its thread as long as it is open, also when idle;
//   * it waits with select(), which knows 1024 descriptors;
//   * a body in chunks has no limit, neither has the number of header lines or the time for them;
//   * a handler cannot see that its client is gone, unless it writes;
//   * its accept queue holds 5 connections, and SO_REUSEPORT lets a second server share the port.
// So connections are read and written here; requests, routes and responses are httplib's.
#pragma once

#include <httplib.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>

namespace server {

struct HttpLimits {
  size_t max_header_bytes = 64 << 10;
  size_t max_body_bytes = 8 << 20;
  size_t max_connections = 512;
  std::chrono::milliseconds request_time{30000};  // for all of a request's bytes to arrive
  std::chrono::milliseconds write_time{30000};    // for a client to take what was sent
  std::chrono::milliseconds idle_time{60000};     // between two requests on a connection
};

/// Tells as soon as a peer closes its connection, without anybody polling: one thread sleeps on all
/// of them. A client that only shuts down its sending side counts as gone.
class PeerWatcher {
 public:
  PeerWatcher();
  ~PeerWatcher();
  /// on_gone is called at most once, on the watcher's thread, while the descriptor is watched.
  void watch(int descriptor, std::function<void()> on_gone);
  /// When it returns, on_gone does not run and will not. Before the descriptor is closed.
  void forget(int descriptor);

 private:
  void run();

  std::mutex mutex_;
  std::unordered_map<int, std::function<void()>> watched_;
  bool stopping_ = false;
  int wake_ = -1;  // an eventfd: the set has changed
  std::thread thread_;
};

class HttpServer : public httplib::Server {
 public:
  explicit HttpServer(const HttpLimits& limits);
  ~HttpServer() override;

  /// Binds; port 0 finds a free one. Returns the port, or 0 and errno.
  int bind(const std::string& host, int port);
  /// Idle connections are closed now, others after their response.
  void close_connections();

  /// The socket that this request came through, for PeerWatcher.
  static int descriptor_of(const httplib::Request& request);
  /// Called by a handler that did not read all of the body: the connection ends after the response.
  void close_after(const httplib::Request& request, httplib::Response& response);

  const HttpLimits& limits() const { return limits_; }

 private:
  bool process_and_close_socket(socket_t socket) override;
  void serve(int descriptor);
  void refuse(int descriptor);

  const HttpLimits limits_;
  int closing_ = -1;  // an eventfd: readable from close_connections on
  std::atomic<bool> is_closing_{false};
  bool is_to_close(int descriptor);

  std::mutex mutex_;
  std::set<int> to_close_;
  std::thread::id acceptor_;  // set before the first connection
};

}  // namespace server
