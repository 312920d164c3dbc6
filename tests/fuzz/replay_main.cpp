// The main of a fuzz target where there is no libFuzzer: replays its seeds, then changed ones, the
// same in every run.
//
//   fuzz_codec [--runs N] [--dict FILE] SEEDS...   SEEDS: folders or files; N: changed inputs
//
// An input that fails is kept as failed-<target> in the current folder.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kMaxBytes = 4096;  // of a changed input; seeds may be longer

std::string current;  // the input that runs, for the handler below
char kept_as[256] = "failed-input";

void keep_input(int number) {
  const int file = open(kept_as, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file >= 0) {
    if (write(file, current.data(), current.size()) < 0) _exit(3);
    close(file);
  }
  signal(number, SIG_DFL);
  raise(number);
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void add_seeds(const std::filesystem::path& path, std::vector<std::filesystem::path>& out) {
  if (!std::filesystem::is_directory(path)) return out.push_back(path);
  for (const auto& entry : std::filesystem::directory_iterator(path)) out.push_back(entry.path());
}

// The words of a dictionary in libFuzzer's spelling: name="text", with \\, \" and \xAB.
std::vector<std::string> read_words(const std::string& path) {
  std::vector<std::string> words;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const size_t begin = line.find('"'), end = line.rfind('"');
    if (line.empty() || line[0] == '#' || begin == end) continue;
    std::string word;
    for (size_t i = begin + 1; i < end; ++i) {
      if (line[i] == '\\' && line[i + 1] == 'x') {
        word += static_cast<char>(std::stoi(line.substr(i + 2, 2), nullptr, 16));
        i += 3;
      } else {
        if (line[i] == '\\') ++i;
        word += line[i];
      }
    }
    words.push_back(std::move(word));
  }
  return words;
}

class Mutator {
 public:
  Mutator(const std::vector<std::string>& seeds, std::vector<std::string> words)
      : seeds_(seeds), words_(std::move(words)) {}

  std::string next() {
    std::string text = seeds_[below(seeds_.size())];
    for (size_t n = 1 + below(6); n > 0; --n) change(text);
    if (text.size() > kMaxBytes) text.resize(kMaxBytes);
    return text;
  }

 private:
  size_t below(size_t n) { return n == 0 ? 0 : random_() % n; }

  void change(std::string& text) {
    const size_t at = below(text.size() + 1), n = 1 + below(16);
    const std::string& other = seeds_[below(seeds_.size())];
    switch (below(8)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ 1 << below(8));
        break;
      case 1:
        if (at < text.size()) text[at] = static_cast<char>(below(256));
        break;
      case 2:
        text.erase(at, n);
        break;
      case 3:
        text.insert(at, text.substr(below(text.size() + 1), n));
        break;
      case 4:
        text.insert(at, other.substr(below(other.size() + 1), 4 * n));
        break;
      case 5:
        text = text.substr(0, at) + other.substr(below(other.size() + 1));
        break;
      default:
        if (!words_.empty()) text.insert(at, words_[below(words_.size())]);
    }
  }

  const std::vector<std::string>& seeds_;
  std::vector<std::string> words_;
  std::mt19937_64 random_{20260102};
};

void run(std::string input) {
  current = std::move(input);
  // A copy of exactly this size, so that sanitizers see a read behind its end.
  const std::vector<uint8_t> bytes(current.begin(), current.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path program = argv[0];
  std::snprintf(kept_as, sizeof kept_as, "failed-%s", program.filename().c_str());
  for (const int number : {SIGABRT, SIGSEGV, SIGFPE, SIGILL, SIGBUS}) signal(number, keep_input);
  size_t n_runs = 0;
  std::vector<std::string> words;
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--runs" && i + 1 < argc) {
      n_runs = std::stoul(argv[++i]);
    } else if (argument == "--dict" && i + 1 < argc) {
      words = read_words(argv[++i]);
    } else {
      add_seeds(argument, files);
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> seeds;
  for (const auto& file : files) seeds.push_back(read_file(file));
  const auto begin = std::chrono::steady_clock::now();
  run("");
  for (const std::string& seed : seeds) run(seed);
  if (seeds.empty()) {
    std::fprintf(stderr, "no seeds\n");
    return 2;
  }
  Mutator mutator(seeds, std::move(words));
  for (size_t i = 0; i < n_runs; ++i) run(mutator.next());
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  std::printf("%zu seeds, %zu changed inputs, %.1f s\n", seeds.size(), n_runs, taken.count());
  return 0;
}
