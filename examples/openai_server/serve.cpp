#include "serve.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "routes.h"

namespace server {
namespace {

std::string last_part_of(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

/// Lets what was taken come to its end, for as long as the options allow.
void drain(Routes& routes, Service& service) {
  routes.start_draining();
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::seconds(service.options().drain_seconds);
  while ((routes.n_open() > 0 || !service.scheduler().idle()) &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

/// Waits for the signal that ends the server, on a thread of its own. A second one ends it at once.
void wait_and_end(HttpServer& http, Routes& routes, Service& service) {
  const sigset_t signals = ending_signals();
  int received = 0;
  sigwait(&signals, &received);
  std::fprintf(stderr, "mm2 serve: %s: answers that have begun are finished, new ones refused\n",
               received == SIGTERM ? "SIGTERM" : "SIGINT");
  std::thread([signals] {
    int again = 0;
    sigwait(&signals, &again);
    _exit(5);
  }).detach();
  drain(routes, service);
  while (!http.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  http.close_connections();
  http.stop();
}

}  // namespace

void serve(ServeOptions options) {
  // Blocked before any thread is made, so that only the thread that waits for them gets them.
  const sigset_t signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  if (options.served_names.empty()) options.served_names.push_back(last_part_of(options.model));

  HttpLimits limits;
  limits.max_connections = static_cast<size_t>(options.max_connections);
  limits.write_time = std::chrono::seconds(options.slow_reader_seconds);
  HttpServer http(limits);
  Service service(options);
  Routes routes(http, service);
  errno = 0;
  const int port = http.bind(options.host, options.port);
  if (port == 0) {
    throw std::runtime_error("listening on " + options.host + ":" + std::to_string(options.port) +
                             ": " + (errno != 0 ? std::strerror(errno) : "no such address"));
  }
  std::fprintf(stderr, "mm2 serve: %s on http://%s:%d (chat page at /, OpenAI API below /v1)\n",
               service.options().served_names.front().c_str(), options.host.c_str(), port);
  std::fflush(stderr);
  std::thread ending([&] { wait_and_end(http, routes, service); });
  http.listen_after_bind();
  ending.join();
}

}  // namespace server
