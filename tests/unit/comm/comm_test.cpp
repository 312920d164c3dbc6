#include "comm/collectives.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

namespace mm2 {
namespace {

using Ends = std::vector<std::unique_ptr<Collectives>>;

/// Runs the same function on every rank, each on a thread of its own, and returns their results.
std::vector<Status> on_all(Ends& ends, const std::function<Status(Collectives&)>& work) {
  std::vector<Status> results(ends.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < ends.size(); ++rank) {
    threads.emplace_back([&, rank] { results[rank] = work(*ends[rank]); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

Ends make_ranks(int32_t n) {
  auto ends = in_process_ranks(n);
  REQUIRE(ends.ok());
  return *std::move(ends);
}

bool all_have(const std::vector<Status>& results, Code code) {
  return std::all_of(results.begin(), results.end(),
                     [code](const Status& status) { return status.code() == code; });
}

/// Values whose sum depends on the order of addition.
float value_of(int32_t rank, size_t i) {
  return std::ldexp(1.0f + 0.37f * static_cast<float>(i % 13),
                    (rank * 7 + static_cast<int>(i)) % 25);
}

TEST_CASE("comm: one rank sums to what it has and gathers what it brings") {
  const auto alone = one_rank();
  std::vector<float> values = {1.5f, -2.0f};
  REQUIRE(alone->all_reduce_sum(std::span<float>(values)).ok());
  CHECK(values == std::vector<float>{1.5f, -2.0f});
  const std::vector<std::byte> mine = {std::byte{7}, std::byte{9}};
  std::vector<std::byte> all(2);
  REQUIRE(alone->all_gather(mine, all).ok());
  CHECK(all == mine);
  CHECK(alone->all_gather(mine, std::span(all).first(1)).code() == Code::invalid_argument);
  CHECK(alone->barrier().ok());
  alone->stop();
  CHECK(alone->barrier().code() == Code::cancelled);
}

TEST_CASE("comm: every rank holds the sum in ascending order of ranks, bit for bit") {
  for (const int32_t n_ranks : {1, 2, 3, 5, 8}) {
    for (const size_t count : {size_t{0}, size_t{1}, size_t{4}, size_t{1000}}) {
      std::vector<float> wanted(count);
      for (size_t i = 0; i < count; ++i) {
        wanted[i] = value_of(0, i);
        for (int32_t rank = 1; rank < n_ranks; ++rank) wanted[i] += value_of(rank, i);
      }
      Ends ends = make_ranks(n_ranks);
      const auto results = on_all(ends, [&](Collectives& comm) -> Status {
        for (int repeat = 0; repeat < 20; ++repeat) {
          std::vector<float> values(count);
          for (size_t i = 0; i < count; ++i) values[i] = value_of(comm.rank(), i);
          MM2_RETURN_IF_ERROR(comm.all_reduce_sum(std::span<float>(values)));
          if (values != wanted) return error(Code::check_failed, "other bits");
        }
        return {};
      });
      CHECK(all_have(results, Code::ok));
    }
  }
}

TEST_CASE("comm: doubles are summed as doubles") {
  Ends ends = make_ranks(4);
  const auto results = on_all(ends, [](Collectives& comm) -> Status {
    double value = 1.0 + std::ldexp(1.0, -40) * comm.rank();
    MM2_RETURN_IF_ERROR(comm.all_reduce_sum(std::span<double>(&value, 1)));
    return value == 4.0 + std::ldexp(6.0, -40) ? Status() : error(Code::check_failed, value);
  });
  CHECK(all_have(results, Code::ok));
}

TEST_CASE("comm: all_gather puts parts in ascending rank, also in place") {
  for (const bool in_place : {false, true}) {
    Ends ends = make_ranks(3);
    const auto results = on_all(ends, [in_place](Collectives& comm) -> Status {
      std::vector<std::byte> all(6);
      std::vector<std::byte> apart(2);
      const size_t first = static_cast<size_t>(comm.rank()) * 2;
      const std::span<std::byte> mine =
          in_place ? std::span(all).subspan(first, 2) : std::span(apart);
      for (size_t i = 0; i < 2; ++i)
        mine[i] = static_cast<std::byte>(10 * comm.rank() + static_cast<int>(i));
      MM2_RETURN_IF_ERROR(comm.all_gather(mine, all));
      const std::vector<std::byte> wanted = {std::byte{0},  std::byte{1},  std::byte{10},
                                             std::byte{11}, std::byte{20}, std::byte{21}};
      return all == wanted ? Status() : error(Code::check_failed, "other bytes");
    });
    CHECK(all_have(results, Code::ok));
  }
}

TEST_CASE("comm: nobody passes a barrier before the last has come") {
  Ends ends = make_ranks(4);
  std::atomic<int> arrived{0};
  const auto results = on_all(ends, [&](Collectives& comm) -> Status {
    for (int round = 1; round <= 50; ++round) {
      ++arrived;
      MM2_RETURN_IF_ERROR(comm.barrier());
      if (arrived.load() < 4 * round) return error(Code::check_failed, "passed too early");
      MM2_RETURN_IF_ERROR(comm.barrier());
    }
    return {};
  });
  CHECK(all_have(results, Code::ok));
}

TEST_CASE("comm: ranks that disagree all get the same error and keep their values") {
  Ends ends = make_ranks(3);
  const auto results = on_all(ends, [](Collectives& comm) -> Status {
    std::vector<float> values(comm.rank() == 1 ? 5 : 4, 1.0f);
    const Status status = comm.all_reduce_sum(std::span<float>(values));
    if (std::accumulate(values.begin(), values.end(), 0.0f) != static_cast<float>(values.size())) {
      return error(Code::internal, "values changed");
    }
    return status;
  });
  CHECK(all_have(results, Code::invalid_argument));
  CHECK(results[2].message() == results[0].message());
  CHECK_THAT(results[0].message(), Catch::Contains("rank 1") && Catch::Contains("with 5"));
  CHECK(all_have(on_all(ends, [](Collectives& comm) { return comm.barrier(); }),
                 Code::invalid_argument));
}

TEST_CASE("comm: a gather with the wrong room is refused on every rank") {
  for (const int32_t n_ranks : {1, 2}) {
    Ends ends = make_ranks(n_ranks);
    const auto results = on_all(ends, [](Collectives& comm) {
      const std::vector<std::byte> mine(3);
      std::vector<std::byte> all(5);
      return comm.all_gather(mine, all);
    });
    CHECK(all_have(results, Code::invalid_argument));
  }
}

TEST_CASE("comm: stop frees whoever waits") {
  Ends ends = make_ranks(3);
  const auto results = on_all(ends, [](Collectives& comm) -> Status {
    if (comm.rank() == 2) {
      comm.stop();
      return comm.barrier();
    }
    float value = 1.0f;
    return comm.all_reduce_sum(std::span<float>(&value, 1));
  });
  CHECK(all_have(results, Code::cancelled));
}

TEST_CASE("comm: a group needs between 1 and 1024 ranks") {
  CHECK(in_process_ranks(0).status().code() == Code::invalid_argument);
  CHECK(in_process_ranks(1025).status().code() == Code::invalid_argument);
}

}  // namespace
}  // namespace mm2
