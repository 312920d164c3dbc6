// Answers template_peers.py: what a rendering takes, natively and in the interpreter.
//
//   template_bench TEMPLATE REQUEST   then on standard input: native | native-json | interpreter |
//                                     interpreter-json; out: seconds of one rendering, CRC of the text
//
// "-json" counts reading the request too.
//
//   template_bench --hostile          the slowest of the hostile programs of the tests
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "base/json.h"
#include "chat/chat_template.h"
#include "chat/document.h"
#include "chat/jinja/template.h"
#include "chat/renderer.h"
#include "unit/chat/hostile_templates.h"

namespace {

using namespace mm2::chat;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

uint32_t crc32_of(std::string_view text) {
  uint32_t crc = ~0u;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

template <typename Work>
double seconds_of(int n, Work work) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < n; ++i) work();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  return taken.count() / n;
}

// The better of two runs of each, with the default budgets.
int run_hostile() {
  std::vector<std::pair<double, std::string>> took;
  Value nothing;
  nothing.kind = Value::Kind::object;
  size_t n_budget = 0;
  for (const auto& [name, source] : hostile::programs()) {
    double best = 1e30;
    bool ended_by_budget = false;
    for (int i = 0; i < 2; ++i) {
      best = std::min(best, seconds_of(1, [&] {
                        const auto program = jinja::parse_program(source);
                        if (!program.ok()) return;
                        const auto out = jinja::render(**program, nothing, {}, {});
                        ended_by_budget = !out.ok() && out.status().code() == mm2::Code::budget;
                      }));
    }
    n_budget += ended_by_budget;
    took.emplace_back(best, name);
  }
  std::sort(took.rbegin(), took.rend());
  std::printf("%zu programs, %zu ended by a budget; the slowest:\n", took.size(), n_budget);
  for (size_t i = 0; i < 5; ++i)
    std::printf("%8.1f ms  %s\n", took[i].first * 1e3, took[i].second.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--hostile") return run_hostile();
  if (argc < 3) {
    std::fprintf(stderr, "usage: template_bench TEMPLATE REQUEST | --hostile\n");
    return 2;
  }
  const std::string source = read_file(argv[1]), request = read_file(argv[2]);
  const auto native = ChatTemplate::parse(source, argv[1]);
  const auto interpreted = ChatTemplate::parse(source + "{{ '' }}", argv[1]);
  const auto program = jinja::parse_program(source);
  const auto document = parse_document(request, "request");
  if (!native.ok() || !interpreted.ok() || !program.ok() || !document.ok()) {
    std::fprintf(stderr, "the template or the request cannot be read\n");
    return 2;
  }
  const auto about = mm2::Json::parse((*native)->describe());
  auto parts = read_request(**document);
  if (about["renderer"] != "native" || !parts.ok()) {
    std::fprintf(stderr, "not a template of the family, or not a request\n");
    return 2;
  }
  parts->size_hint = request.size();
  M2Dialect dialect;  // the official one
  dialect.identity = about["identity"].get<std::string>();
  for (std::string how; std::getline(std::cin, how);) {
    std::string text;
    double seconds = 0;
    if (how == "native") {
      seconds = seconds_of(200, [&] { text = render_m2(dialect, *parts, 1 << 28)->text; });
    } else if (how == "native-json") {
      seconds = seconds_of(200, [&] { text = (*native)->render(request)->text; });
    } else if (how == "interpreter") {
      seconds = seconds_of(40, [&] { text = jinja::render(**program, **document, {}, {})->text; });
    } else {
      seconds = seconds_of(40, [&] { text = (*interpreted)->render(request)->text; });
    }
    std::printf("%.9f %u\n", seconds, crc32_of(text));
    std::fflush(stdout);
  }
  return 0;
}
