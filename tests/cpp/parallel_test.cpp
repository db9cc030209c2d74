// parallel_for: each slice once, whoever calls, however many threads there are and whatever becomes of them.
#include "lanner/parallel.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "lanner/error.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void work(std::chrono::microseconds time) {
  for (const auto end = Clock::now() + time; Clock::now() < end;) {
  }
}

// More threads than this machine may have cores, too.
class Parallel : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_num_threads(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Threads, Parallel, testing::Values(1, 2, 3, 4, 9));

void expect_each_once(int64_t n, int64_t grain) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    EXPECT_EQ(begin % grain, 0);
    EXPECT_LE(end - begin, grain);
    for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
  });
  for (const auto& count : seen) ASSERT_EQ(count, 1) << n << " by " << grain;
}

TEST_P(Parallel, EachElementOnce) {
  EXPECT_EQ(num_threads(), GetParam());
  for (int64_t n : {0, 1, 7, 8, 64, 1000})
    for (int64_t grain : {1, 7, 64}) expect_each_once(n, grain);
  for (int i = 0; i < 5000; ++i) expect_each_once(5, 1);
}

TEST_P(Parallel, FromWorkersAsleep) {
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    expect_each_once(100, 3);
  }
}

TEST_P(Parallel, NestedRegionsRunWhereTheyAre) {
  std::atomic<int> count{0};
  parallel_for(8, 1, [&](int64_t, int64_t) {
    const auto self = std::this_thread::get_id();
    parallel_for(8, 1, [&](int64_t, int64_t) {
      if (GetParam() > 1) {
        EXPECT_EQ(std::this_thread::get_id(), self);
      }
      ++count;
    });
  });
  EXPECT_EQ(count, 64);
}

TEST_P(Parallel, TheFirstExceptionArrives) {
  for (int round = 0; round < 200; ++round) {
    try {
      parallel_for(100, 1, [](int64_t begin, int64_t) {
        if (begin % 3 == 1) throw std::runtime_error("slice " + std::to_string(begin));
      });
      FAIL();
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(std::string(e.what()).rfind("slice ", 0), 0u);
    }
    expect_each_once(20, 1);  // and nothing of it stays
  }
}

TEST_P(Parallel, ManyCallersAtOnce) {
  std::vector<std::thread> callers;
  for (int t = 0; t < 20; ++t)  // more than there are regions
    callers.emplace_back([] {
      for (int i = 0; i < 100; ++i) expect_each_once(40 + i % 7, 3);
    });
  for (std::thread& caller : callers) caller.join();
}

TEST_P(Parallel, TheNumberChangesMeanwhile) {
  std::atomic<bool> done{false};
  std::thread caller([&] {
    while (!done) expect_each_once(50, 1);
  });
  for (int i = 0; i < 200; ++i) {
    set_num_threads(i % 5 + 1);
    expect_each_once(50, 1);
  }
  done = true;
  caller.join();
}

TEST_P(Parallel, InAScope) {
  ParallelScope outer;
  for (int i = 0; i < 100; ++i) {
    ParallelScope hot;
    expect_each_once(10, 1);
    parallel_for(4, 1, [](int64_t, int64_t) { ParallelScope nested; });
  }
}

TEST_P(Parallel, AForkedChildHasThreadsOfItsOwn) {
  expect_each_once(100, 1);
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 100; ++i) {
      std::atomic<int> count{0};
      parallel_for(100, 1, [&](int64_t, int64_t) { ++count; });
      if (count != 100) _exit(1);
    }
    std::exit(0);  // with what runs at an exit, which must not wait for the parent's threads
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  expect_each_once(100, 1);
}

// A fork by one thread while another is amid a region.
TEST_P(Parallel, ForkedAmidARegion) {
  std::atomic<bool> done{false};
  std::thread caller([&] {
    while (!done) parallel_for(20, 1, [](int64_t, int64_t) { work(std::chrono::microseconds(20)); });
  });
  for (int i = 0; i < 10; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      std::atomic<int> count{0};
      parallel_for(100, 1, [&](int64_t, int64_t) { ++count; });
      _exit(count == 100 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  done = true;
  caller.join();
}

TEST(ParallelThreads, WorkTogether) {
  set_num_threads(3);
  std::set<std::thread::id> seen;
  for (int i = 0; i < 1000 && seen.size() < 3; ++i) {
    std::vector<std::thread::id> ids(30);
    parallel_for(30, 1, [&](int64_t slice, int64_t) {
      work(std::chrono::microseconds(50));
      ids[static_cast<size_t>(slice)] = std::this_thread::get_id();
    });
    seen.insert(ids.begin(), ids.end());
    EXPECT_LE(seen.size(), 3u);
  }
  EXPECT_EQ(seen.size(), 3u);
}

TEST(ParallelThreads, SleepWhenThereIsNothingToDo) {
  set_num_threads(4);
  expect_each_once(100, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.02);
  ParallelScope hot;  // in a scope, too
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t in_scope = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(static_cast<double>(std::clock() - in_scope) / CLOCKS_PER_SEC, 0.02);
}

// Where other processes have all cores: regions end, and do not take many times as long as alone.
TEST(ParallelThreads, BesideBusyProcesses) {
  set_num_threads(2);
  std::vector<pid_t> others;
  for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);  // should the parent die
      for (volatile bool always = true; always;) {
      }
    }
    others.push_back(child);
  }
  const auto start = Clock::now();
  for (int i = 0; i < 500; ++i) parallel_for(10, 1, [](int64_t, int64_t) { work(std::chrono::microseconds(5)); });
  EXPECT_LT(seconds_since(start), 10);
  for (const pid_t child : others) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
}

TEST(ParallelThreads, TheEnvironmentDecidesAtFirst) {
  const auto threads = [](const char* lanner, const char* omp) {
    const pid_t child = fork();
    if (child == 0) {
      lanner ? setenv("LANNER_NUM_THREADS", lanner, 1) : unsetenv("LANNER_NUM_THREADS");
      omp ? setenv("OMP_NUM_THREADS", omp, 1) : unsetenv("OMP_NUM_THREADS");
      execl("/proc/self/exe", "parallel_test", "--print-threads", nullptr);
      _exit(99);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(threads("3", "2"), 3);
  EXPECT_EQ(threads("", "2"), 2);
  EXPECT_EQ(threads(nullptr, "5,2"), 5);
  EXPECT_GE(threads(nullptr, "some"), 1);
  EXPECT_LT(threads(nullptr, nullptr), 99);
  EXPECT_EQ(threads("many", nullptr), 98);
}

}  // namespace
}  // namespace lanner

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--print-threads") {
    try {
      return lanner::num_threads();
    } catch (const lanner::Error&) {
      return 98;
    }
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
