// Speed of the tokenizer: loading, encoding, decoding, and texts made to be slow.
//
//   tokenizer_bench TOKENIZER [TEXT_FILE]
//
// TOKENIZER is a folder or a tokenizer.json; TEXT_FILE defaults to a mixture that the program makes
// of its own. Prints the best of several runs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace {

template <typename Work>
double best_seconds(int runs, Work work) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    best = std::min(best, taken.count());
  }
  return best;
}

std::string repeated(std::string_view unit, size_t size) {
  std::string text;
  text.reserve(size + unit.size());
  while (text.size() < size) text += unit;
  text.resize(size);
  return text;
}

std::string mixture() {
  std::string text;
  for (uint32_t i = 0, state = 1; i < 60000; ++i) {
    state = state * 1664525u + 1013904223u;
    text += "The model's " + std::to_string(state % 100000) +
            " answers depend on what\tit was asked;\n";
    text += "  if (x[" + std::to_string(state % 77) + "] != nullptr) return compute_value(x, y);\n";
  }
  return text;
}

void report(const char* name, size_t bytes, double seconds, size_t n_ids) {
  std::printf("%-28s %8.2f ms %9.1f MB/s %10zu ids\n", name, seconds * 1e3,
              static_cast<double>(bytes) / seconds / 1e6, n_ids);
}

void measure(const mm2::Tokenizer& tokenizer, const char* name, const std::string& text, int runs) {
  std::vector<int32_t> ids;
  const double seconds = best_seconds(runs, [&] {
    ids.clear();
    const mm2::Status status = tokenizer.encode(text, true, &ids);
    if (!status.ok()) std::printf("%s: %s\n", name, status.message().c_str());
  });
  report(name, text.size(), seconds, ids.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenizer_bench TOKENIZER [TEXT_FILE]\n");
    return 2;
  }
  std::shared_ptr<const mm2::Tokenizer> tokenizer;
  const double load_seconds = best_seconds(5, [&] {
    auto loaded = mm2::Tokenizer::load(argv[1], mm2::Host{});
    if (loaded.ok()) tokenizer = *loaded;
    if (!loaded.ok()) std::fprintf(stderr, "%s\n", loaded.status().message().c_str());
  });
  if (!tokenizer) return 1;
  std::printf("%-28s %8.2f ms %d tokens\n", "load", load_seconds * 1e3, tokenizer->n_tokens());

  std::string text = mixture();
  if (argc > 2) {
    std::ifstream file(argv[2], std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  measure(*tokenizer, "encode", text, 5);
  const auto ids = tokenizer->encode(text, true);
  size_t decoded_bytes = 0;
  const double decode_seconds =
      best_seconds(5, [&] { decoded_bytes = tokenizer->decode(*ids, false)->size(); });
  report("decode", decoded_bytes, decode_seconds, ids->size());

  constexpr size_t kLarge = size_t{16} << 20;
  for (const char* unit :
       {"a", "A", " ", "\n", "!", "<", "1", "\xCC\x81", "\xE4\xB8\xAD", "</think", "\xFF"})
    measure(*tokenizer, repeated(unit, 1) == unit ? unit : "several bytes", repeated(unit, kLarge),
            1);
  return 0;
}
