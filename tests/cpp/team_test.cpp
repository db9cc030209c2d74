// Team: each step by shares that together cover it, none of which begins with what another has not finished.
#include "core/team.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace lanner {
namespace {

// More threads than this machine may have cores, too.
class TeamOf : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_num_threads(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Threads, TeamOf, testing::Values(1, 2, 3, 4, 9));

constexpr int64_t kSteps = 150, kWidth = 24;
using Table = std::vector<std::vector<uint64_t>>;

// Every value of a step comes from all of the step before.
uint64_t next(const std::vector<uint64_t>& before, int64_t i) {
  uint64_t sum = static_cast<uint64_t>(i) + 1;
  for (const uint64_t x : before) sum = sum * 31 + x;
  return sum;
}

Table by_team(int64_t most, bool slow = false) {
  Table t(kSteps + 1, std::vector<uint64_t>(kWidth, 1));
  Team::run(kSteps, most, [&](const Team::Member& m, int64_t begin, int64_t end) {
    for (int64_t step = begin; step < end; ++step) {
      m.wait(step);
      if (slow && step % 50 == 7 && m.index == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      for (int64_t i = kWidth * m.index / m.count; i < kWidth * (m.index + 1) / m.count; ++i)
        t[static_cast<size_t>(step) + 1][static_cast<size_t>(i)] = next(t[static_cast<size_t>(step)], i);
      m.finish(step);
    }
  });
  return t;
}

TEST_P(TeamOf, StepsInTheirOrder) {
  const Table alone = by_team(1);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(by_team(GetParam()), alone);
  EXPECT_EQ(by_team(100), alone);
  EXPECT_EQ(by_team(GetParam(), true), alone);
}

TEST_P(TeamOf, InsideOfAParallelRegion) {
  const Table alone = by_team(1);
  parallel_for(4, 1, [&](int64_t, int64_t) { EXPECT_EQ(by_team(GetParam()), alone); });
}

TEST_P(TeamOf, NoSteps) {
  Team::run(0, GetParam(), [](const Team::Member&, int64_t, int64_t) { FAIL(); });
}

TEST_P(TeamOf, WhatAMemberThrowsReachesTheCaller) {
  for (const int64_t at : {0, 40, 149})
    EXPECT_THROW(Team::run(kSteps, GetParam(),
                           [&](const Team::Member& m, int64_t begin, int64_t end) {
                             for (int64_t step = begin; step < end; ++step) {
                               m.wait(step);
                               if (step == at) throw std::runtime_error("at a step");
                               m.finish(step);
                             }
                           }),
                 std::runtime_error);
  EXPECT_EQ(by_team(GetParam()), by_team(1));
}

}  // namespace
}  // namespace lanner
