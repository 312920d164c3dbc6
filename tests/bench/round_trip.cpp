// Random turns from the chat template to text and back through the codec: what the tests do with
// 100,000 turns, with as many as wanted.
//
//   round_trip TEMPLATE N [SEED]    prints counts; 1 when a turn came back differently
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "support/round_trip.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: round_trip TEMPLATE N [SEED]\n");
    return 2;
  }
  mm2::chat::RoundTrip trips(argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1);
  const std::string problem = trips.prepare(argv[1]);
  if (!problem.empty()) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    return 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  const size_t n = std::strtoull(argv[2], nullptr, 10);
  size_t n_different = 0;
  for (size_t turn = 0; turn < n; ++turn) {
    const std::string difference = trips.next();
    if (difference.empty()) continue;
    if (++n_different < 4) std::printf("turn %zu: %s\n", turn, difference.c_str());
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  std::printf("%zu turns, %zu calls, %zu bytes of output, %zu different, %.0f s\n", n,
              trips.n_calls(), trips.n_bytes(), n_different, taken.count());
  return n_different == 0 ? 0 : 1;
}
