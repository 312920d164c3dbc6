#include "base/executor.h"

#include <atomic>
#include <vector>

#include <catch2/catch.hpp>

TEST_CASE("executor: every task runs exactly once, whatever the team") {
  for (int32_t n_threads : {1, 2, 5}) {
    auto team = mm2::make_thread_team(n_threads);
    REQUIRE(team.ok());
    for (int round = 0; round < 2000; ++round) {
      const int32_t n_tasks = round % 17;
      std::vector<std::atomic<int>> runs(17);
      std::atomic<bool> worker_in_range = true;
      (*team)->run(n_tasks, [&](int32_t task, int32_t worker) {
        runs[static_cast<size_t>(task)]++;
        if (worker < 0 || worker >= n_threads) worker_in_range = false;
      });
      for (int32_t i = 0; i < 17; ++i)
        REQUIRE(runs[static_cast<size_t>(i)] == (i < n_tasks ? 1 : 0));
      REQUIRE(worker_in_range);
    }
  }
}

TEST_CASE("executor: a team size out of range is refused with the range") {
  auto team = mm2::make_thread_team(0);
  REQUIRE_FALSE(team.ok());
  CHECK(team.status().message().find("1 to 1024") != std::string::npos);
}
