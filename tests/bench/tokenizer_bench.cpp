// Speed of the tokenizer: loading, encoding, decoding, and texts made to be slow.
//
//   tokenizer_bench TOKENIZER [TEXT_FILE]   prints the best of several runs
//   tokenizer_bench TOKENIZER --serve       for text_peers.py: answers lines on standard input
//   tokenizer_bench --generate FILE         writes a tokenizer.json of the real size: 200,064 ids
//
// TOKENIZER is a folder or a tokenizer.json; TEXT_FILE defaults to a mixture that the program makes
// of its own.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "base/join.h"
#include "bench/vocabulary.h"
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

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
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

void report(const std::string& name, size_t bytes, double seconds, size_t n_ids) {
  std::printf("%-28s %8.2f ms %9.1f MB/s %10zu ids\n", name.c_str(), seconds * 1e3,
              static_cast<double>(bytes) / seconds / 1e6, n_ids);
  std::fflush(stdout);
}

void measure(const mm2::Tokenizer& tokenizer, const std::string& name, const std::string& text,
             int runs) {
  std::vector<int32_t> ids;
  const double seconds = best_seconds(runs, [&] {
    ids.clear();
    const mm2::Status status = tokenizer.encode(text, true, &ids);
    if (!status.ok()) std::printf("%s: %s\n", name.c_str(), status.message().c_str());
  });
  report(name, text.size(), seconds, ids.size());
}

std::shared_ptr<const mm2::Tokenizer> load(const std::string& path) {
  auto loaded = mm2::Tokenizer::load(path, mm2::Host{});
  if (loaded.ok()) return *loaded;
  std::fprintf(stderr, "%s\n", loaded.status().message().c_str());
  return nullptr;
}

// Of the ids as little-endian bytes, so that another program can tell whether it found the same.
uint32_t crc32_of(const std::vector<int32_t>& ids) {
  uint32_t crc = ~0u;
  for (const int32_t id : ids) {
    for (int byte = 0; byte < 4; ++byte) {
      crc ^= static_cast<uint32_t>(id) >> 8 * byte & 0xFF;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
  }
  return ~crc;
}

// "load", "encode FILE" (documents with a NUL between each two) or "decode FILE" -> "seconds bytes
// n_ids crc".
int serve(const std::string& path) {
  auto tokenizer = load(path);
  if (!tokenizer) return 1;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb, file;
    words >> verb >> file;
    double seconds = 0;
    std::vector<int32_t> ids;
    size_t n_bytes = 0;
    if (verb == "load") {
      seconds = best_seconds(1, [&] { tokenizer = load(path); });
    } else {
      const std::string text = read_file(file);
      std::vector<std::string_view> documents;
      for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find('\0', begin), text.size());
        documents.push_back(std::string_view(text).substr(begin, end - begin));
        n_bytes += end - begin;
        begin = end + 1;
      }
      const auto encode = [&] {
        for (const std::string_view document : documents)
          (void)tokenizer->encode(document, true, &ids).ok();
      };
      seconds = best_seconds(1, encode);
      if (verb == "decode")
        seconds = best_seconds(1, [&] { n_bytes = tokenizer->decode(ids, false)->size(); });
    }
    std::printf("%.6f %zu %zu %u\n", seconds, n_bytes, ids.size(), crc32_of(ids));
    std::fflush(stdout);
  }
  return 0;
}

int measure_all(const std::string& path, const std::string& text) {
  std::shared_ptr<const mm2::Tokenizer> tokenizer;
  const double load_seconds = best_seconds(9, [&] { tokenizer = load(path); });
  if (!tokenizer) return 1;
  std::printf("%-28s %8.2f ms %d tokens\n", "load", load_seconds * 1e3, tokenizer->n_tokens());
  measure(*tokenizer, "encode", text, 5);
  const auto ids = tokenizer->encode(text, true);
  size_t decoded_bytes = 0;
  const double decode_seconds =
      best_seconds(5, [&] { decoded_bytes = tokenizer->decode(*ids, false)->size(); });
  report("decode", decoded_bytes, decode_seconds, ids->size());
  constexpr size_t kLarge = size_t{16} << 20;
  for (const std::string unit :
       {"a", "A", " ", "\n", "!", "<", "1", "\xCC\x81", "\xE4\xB8\xAD", "</think", "\xFF"}) {
    std::string name = "16 MB of";
    for (const char c : unit)
      name += c > ' ' && c < 0x7F ? mm2::join(" ", std::string(1, c)) : mm2::join(" #", c & 0xFF);
    measure(*tokenizer, name, repeated(unit, kLarge), 1);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "", second = argc > 2 ? argv[2] : "";
  if (first.empty() || (first == "--generate" && second.empty())) {
    std::fprintf(stderr,
                 "usage: tokenizer_bench TOKENIZER [TEXT_FILE | --serve]\n"
                 "       tokenizer_bench --generate FILE\n");
    return 2;
  }
  if (first == "--generate") {
    std::ofstream(second, std::ios::binary) << bench::vocabulary_file(200000);
    return 0;
  }
  if (second == "--serve") return serve(first);
  return measure_all(first, second.empty() ? mixture() : read_file(second));
}
