// The endpoints: what comes through HTTP, checked and answered.
#pragma once

#include "exchange.h"

namespace server {

class Routes {
 public:
  Routes(HttpServer& http, Service& service);

  /// From now on /health says so, and new work is refused.
  void start_draining();
  /// Requests whose answers are not written yet.
  int32_t n_open() const { return n_open_; }

 private:
  using Handled = httplib::Server::HandlerResponse;
  using Reader = Generation (*)(const Service&, const Json&, const Client&);
  using MakeAnswer = std::unique_ptr<Answer> (*)(const Service&, const Generation&);
  using Simple = std::function<Json(const Json& body)>;

  void add_all();
  void add_generating(const std::string& path, Reader read, MakeAnswer make);
  void add_simple(const std::string& path, Simple answer);
  void add_gets();

  Handled before_routing(const httplib::Request& request, httplib::Response& response);
  bool origin_is_allowed(const httplib::Request& request) const;
  bool host_is_allowed(const std::string& host) const;
  void allow_origin(const httplib::Request& request, httplib::Response& response) const;
  std::optional<size_t> tenant_of(const httplib::Request& request) const;
  void explain_status(const httplib::Request& request, httplib::Response& response) const;

  std::string read_body(const httplib::Request& request, httplib::Response& response,
                        const httplib::ContentReader& reader);
  void generate(const httplib::Request& request, httplib::Response& response, const Json& body,
                Reader read, MakeAnswer make);
  void stream(httplib::Response& response, std::shared_ptr<Exchange> exchange);
  void guarded(const httplib::Request& request, httplib::Response& response,
               const std::function<void()>& work);
  void fail(const httplib::Request& request, httplib::Response& response,
            const BadRequest& wrong) const;

  Json models() const;
  Json model(const std::string& name) const;
  Json tokenize(const Json& body) const;
  Json detokenize(const Json& body) const;
  Json count_tokens(const Json& body) const;
  Json stats() const;
  std::string metrics() const;

  HttpServer& http_;
  Service& service_;
  const int64_t started_ = unix_time();
  PeerWatcher watcher_;
  std::atomic<int32_t> n_open_{0};
  std::atomic<bool> draining_{false};
};

/// The text that Prometheus reads.
std::string metrics_text(const Totals& totals);
/// The page at /, all of it.
extern const char* const kPage;
extern const size_t kPageSize;

}  // namespace server
