#include "routes.h"

#include "access.h"

namespace server {

Routes::Routes(HttpServer& http, Service& service) : http_(http), service_(service) {
  http_.set_pre_routing_handler(
      [this](const httplib::Request& request, httplib::Response& response) {
        return before_routing(request, response);
      });
  http_.set_error_handler([this](const httplib::Request& request, httplib::Response& response) {
    explain_status(request, response);
  });
  http_.set_exception_handler(
      [this](const httplib::Request& request, httplib::Response& response, std::exception_ptr) {
        fail(request, response, BadRequest("something unexpected failed in the server", "", 500));
      });
  add_all();
}

void Routes::start_draining() {
  draining_ = true;
  service_.scheduler().stop_taking();
}

void Routes::add_all() {
  add_generating("/v1/chat/completions", read_chat_request, make_chat_answer);
  add_generating("/v1/completions", read_completion_request, make_completion_answer);
  add_generating("/v1/messages", read_messages_request, make_messages_answer);
  add_simple("/v1/messages/count_tokens", [this](const Json& body) { return count_tokens(body); });
  add_simple("/tokenize", [this](const Json& body) { return tokenize(body); });
  add_simple("/detokenize", [this](const Json& body) { return detokenize(body); });
  add_gets();
}

void Routes::add_gets() {
  const auto get = [this](const std::string& path, std::function<Json()> answer) {
    http_.Get(path, [this, answer](const httplib::Request& request, httplib::Response& response) {
      guarded(request, response,
              [&] { response.set_content(to_text(answer()), "application/json"); });
    });
  };
  get("/v1/models", [this] { return models(); });
  get("/version", [] { return Json{{"version", mm2_version_string()}}; });
  get("/stats", [this] { return stats(); });
  http_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(metrics_text(service_.scheduler().totals()),
                         "text/plain; version=0.0.4; charset=utf-8");
  });
  http_.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
    const std::string broken = service_.scheduler().broken();
    const char* status = !broken.empty() ? "broken" : draining_ ? "draining" : "ok";
    response.status = broken.empty() && !draining_ ? 200 : 503;
    response.set_content(to_text({{"status", status}}), "application/json");
  });
  http_.Get("/", [](const httplib::Request&, httplib::Response& response) {
    response.set_header("Content-Security-Policy",
                        "default-src 'none'; style-src 'unsafe-inline'; script-src "
                        "'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; "
                        "form-action 'none'; frame-ancestors 'none'");
    response.set_content(kPage, kPageSize, "text/html; charset=utf-8");
  });
}

void Routes::add_simple(const std::string& path, Simple answer) {
  http_.Post(path, [this, answer](const httplib::Request& request, httplib::Response& response,
                                  const httplib::ContentReader& reader) {
    guarded(request, response, [&] {
      const Json body = parse_body(read_body(request, response, reader));
      response.set_content(to_text(answer(body)), "application/json");
    });
  });
}

void Routes::add_generating(const std::string& path, Reader read, MakeAnswer make) {
  http_.Post(path, [this, read, make](const httplib::Request& request, httplib::Response& response,
                                      const httplib::ContentReader& reader) {
    guarded(request, response, [&] {
      const Json body = parse_body(read_body(request, response, reader));
      generate(request, response, body, read, make);
    });
  });
}

void Routes::generate(const httplib::Request& request, httplib::Response& response,
                      const Json& body, Reader read, MakeAnswer make) {
  const Client client{tenant_of(request).value_or(0), request.remote_addr};
  Generation generation = read(service_, body, client);
  auto answer = make(service_, generation);
  const auto exchange =
      std::make_shared<Exchange>(service_, watcher_, HttpServer::descriptor_of(request),
                                 std::move(generation), std::move(answer));
  if (const auto refusal = exchange->submit()) {
    const auto kind = refusal->kind;
    if (kind == Refusal::Kind::full || kind == Refusal::Kind::stopping) {
      response.set_header("Retry-After", "1");
    }
    throw BadRequest(refusal->sentence, "",
                     kind == Refusal::Kind::too_long ? 400
                     : kind == Refusal::Kind::broken ? 500
                                                     : 503);
  }
  if (exchange->streams()) return stream(response, exchange);
  ++n_open_;
  try {
    const Json whole = exchange->wait();
    --n_open_;
    // A client that is gone reads nothing; what is written here finds a closed socket.
    response.set_content(to_text(whole), "application/json");
  } catch (...) {
    --n_open_;
    throw;
  }
}

void Routes::stream(httplib::Response& response, std::shared_ptr<Exchange> exchange) {
  ++n_open_;
  response.set_header("Cache-Control", "no-cache");
  response.set_header("X-Accel-Buffering", "no");
  response.set_chunked_content_provider(
      "text/event-stream",
      [exchange](size_t, httplib::DataSink& sink) {
        try {
          return exchange->pump(sink);
        } catch (const std::exception&) {
          return false;  // memory: the connection ends in the middle of its stream
        }
      },
      [this, exchange](bool) mutable {
        exchange.reset();
        --n_open_;
      });
}

std::string Routes::read_body(const httplib::Request& request, httplib::Response& response,
                              const httplib::ContentReader& reader) {
  const auto give_up = [&](const BadRequest& why) {
    http_.close_after(request, response);
    throw why;
  };
  if (request.is_multipart_form_data()) {
    give_up(BadRequest("the body is a multipart form; JSON is wanted", "", 415));
  }
  const size_t most = http_.limits().max_body_bytes;
  const std::string too_large =
      "the body is larger than " + std::to_string(most) + " bytes, which is the most that is read";
  if (request.get_header_value<uint64_t>("Content-Length") > most) {
    give_up(BadRequest(too_large, "", 413));
  }
  std::string body;
  bool fits = true;
  const bool complete = reader([&](const char* data, size_t n) {
    fits = n <= most - body.size();
    if (fits) body.append(data, n);
    return fits;
  });
  if (!fits) give_up(BadRequest(too_large, "", 413));
  if (!complete) give_up(BadRequest("the body broke off, or its encoding is not known"));
  return body;
}

// Whatever goes wrong in `work` becomes a response.
void Routes::guarded(const httplib::Request& request, httplib::Response& response,
                     const std::function<void()>& work) {
  try {
    work();
  } catch (const BadRequest& wrong) {
    fail(request, response, wrong);
  } catch (const mm2::Error& error) {
    const bool is_theirs = error.code() == MM2_E_INVALID_ARGUMENT || error.code() == MM2_E_BUDGET;
    fail(request, response, BadRequest(error.what(), "", is_theirs ? 400 : 500));
  } catch (const std::bad_alloc&) {
    response.set_header("Retry-After", "1");
    fail(request, response, BadRequest("the server is short of memory", "", 503));
  }
}

void Routes::fail(const httplib::Request& request, httplib::Response& response,
                  const BadRequest& wrong) const {
  response.status = wrong.status();
  Json body = error_json(wrong.what(), wrong.status(), wrong.param(), wrong.code());
  if (request.path.rfind("/v1/messages", 0) == 0) {  // Anthropic's shape
    body = {{"type", "error"},
            {"error", {{"type", body["error"]["type"]}, {"message", wrong.what()}}}};
  }
  response.set_content(to_text(body), "application/json");
  allow_origin(request, response);
}

}  // namespace server
