// The part of the routes that decides who may call, and what a status means in words.
#include "access.h"

#include <cstring>

#include "routes.h"

namespace server {
namespace {

const char* const kPosts[] = {"/v1/chat/completions",      "/v1/completions", "/v1/messages",
                              "/v1/messages/count_tokens", "/tokenize",       "/detokenize"};
const char* const kGets[] = {"/", "/v1/models", "/health", "/metrics", "/stats", "/version"};
const char* const kModel = "/v1/models/";  // and a name
// These say nothing that is worth a key.
const char* const kOpen[] = {"/", "/health", "/version", "/favicon.ico"};

template <size_t n>
bool is_one_of(const char* const (&paths)[n], const std::string& path) {
  return std::find(std::begin(paths), std::end(paths), path) != std::end(paths);
}

bool is_model(const std::string& path) {
  return path.rfind(kModel, 0) == 0 && path.size() > std::strlen(kModel);
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
}

}  // namespace

Routes::Handled Routes::before_routing(const httplib::Request& request,
                                       httplib::Response& response) {
  const auto refuse = [&](const std::string& sentence, int status) {
    fail(request, response, BadRequest(sentence, "", status));
    http_.close_after(request, response);  // a body that nobody reads may follow
    return Handled::Handled;
  };
  if (!host_is_allowed(request.get_header_value("Host"))) {
    return refuse(
        "this server listens on the loopback interface and does not answer for the host '" +
            request.get_header_value("Host").substr(0, 100) + "'",
        403);
  }
  if (!origin_is_allowed(request)) {
    return refuse("a page of '" + request.get_header_value("Origin").substr(0, 100) +
                      "' may not call this server; see --allowed-origins",
                  403);
  }
  allow_origin(request, response);
  if (request.method == "OPTIONS") {
    response.set_header("Access-Control-Allow-Methods", "GET, POST");
    response.set_header("Access-Control-Allow-Headers", "*");
    response.status = 204;
    return Handled::Handled;
  }
  if (!is_one_of(kOpen, request.path) && !tenant_of(request)) {
    response.set_header("WWW-Authenticate", "Bearer");
    return refuse("an API key is needed: Authorization: Bearer KEY, or x-api-key: KEY", 401);
  }
  // Here and not as a route: httplib would take the path apart with std::regex, which recurses for each
  // character of a name.
  if (is_model(request.path) && (request.method == "GET" || request.method == "HEAD")) {
    guarded(request, response, [&] {
      const std::string name = request.path.substr(std::strlen(kModel));
      response.set_content(to_text(model(name)), "application/json");
    });
    return Handled::Handled;
  }
  return Handled::Unhandled;
}

// A page on the internet can make a browser call this machine under a name that leads here.
bool Routes::host_is_allowed(const std::string& host) const {
  const std::string& listens = service_.options().host;
  if (!is_loopback(listens) || host.empty()) return true;
  const std::string name = host_name_of(host);
  const auto is_same = [&name](const std::string& origin) {
    return origin == "*" || host_name_of(origin) == name;
  };
  const auto& allowed = service_.options().allowed_origins;
  return is_loopback(name) || name == listens ||
         std::any_of(allowed.begin(), allowed.end(), is_same);
}

bool Routes::origin_is_allowed(const httplib::Request& request) const {
  const std::string origin = request.get_header_value("Origin");
  if (origin.empty()) return true;
  const size_t scheme = origin.find("://");
  if (scheme != std::string::npos &&
      origin.substr(scheme + 3) == request.get_header_value("Host")) {
    return true;
  }
  const auto& allowed = service_.options().allowed_origins;
  return std::any_of(allowed.begin(), allowed.end(), [&origin](const std::string& other) {
    return other == "*" || other == origin;
  });
}

void Routes::allow_origin(const httplib::Request& request, httplib::Response& response) const {
  const std::string origin = request.get_header_value("Origin");
  if (origin.empty() || !origin_is_allowed(request)) return;
  response.headers.erase("Access-Control-Allow-Origin");
  response.set_header("Access-Control-Allow-Origin", origin);
  response.headers.erase("Vary");
  response.set_header("Vary", "Origin");
}

// The number of the key that the client shows, from 1; 0 where none is asked for.
std::optional<size_t> Routes::tenant_of(const httplib::Request& request) const {
  const auto& keys = service_.options().api_keys;
  if (keys.empty()) return 0;
  std::string shown = request.get_header_value("x-api-key");
  const std::string bearer = request.get_header_value("Authorization");
  if (shown.empty() && bearer.rfind("Bearer ", 0) == 0) shown = bearer.substr(7);
  std::optional<size_t> found;
  for (size_t i = 0; i < keys.size(); ++i) {  // all of them, so that time tells nothing
    if (equal_in_constant_time(shown, keys[i])) found = i + 1;
  }
  return found;
}

// Responses that httplib makes itself have no body yet.
void Routes::explain_status(const httplib::Request& request, httplib::Response& response) const {
  if (!response.body.empty()) return;
  std::string sentence;
  const std::string path = "'" + request.path.substr(0, 100) + "'";
  switch (response.status) {
    case 404:
      if (is_one_of(kPosts, request.path) || is_one_of(kGets, request.path) ||
          is_model(request.path)) {
        response.status = 405;
        const bool posts = is_one_of(kPosts, request.path);
        response.set_header("Allow", posts ? "POST" : "GET");
        sentence =
            path + " takes " + (posts ? "POST" : "GET") + ", not " + request.method.substr(0, 20);
      } else {
        sentence = "there is nothing at " + path;
      }
      break;
    case 413:
      sentence =
          "the body is larger than " + std::to_string(http_.limits().max_body_bytes) + " bytes";
      break;
    case 414:
      sentence = "the address of the request is too long";
      break;
    case 416:
      sentence = "the Range header cannot be understood";
      break;
    default:
      sentence = "this is not an HTTP request that the server understands";
  }
  fail(request, response, BadRequest(sentence, "", response.status));
}

}  // namespace server
