// Threads that go through the steps of a recurrence side by side, each with its share of every step. A step may begin
// before the others have finished the one before, and waits for them only where it needs what they have computed: so
// the way between two cores, 40 to 400 ns, is behind work that does not.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <thread>

#include "lanner/parallel.h"

namespace lanner {

class Team {
 public:
  static constexpr int kMost = 32;

  // The share index / count of each step. What is computed must not depend on how many there are.
  class Member {
   public:
    int index = 0, count = 1;
    // Returns when the others have finished the steps before this one.
    void wait(int64_t step) const {
      for (int i = 0; i < count; ++i)
        if (i != index && team_->done_[i].load() < step) team_->wait_for(i, step);
    }
    void finish(int64_t step) const {
      if (team_) team_->done_[index].store(step + 1);
    }

   private:
    friend Team;
    Team* team_ = nullptr;
  };

  // f(member, begin, end) goes through steps [begin, end), which in turn cover all, in at most `most` threads: those
  // that come at once, or if none does, from the step on before which one has come. They part after some steps, so that
  // one whose core another process has is waited for once, and then no more.
  template <class F>
  static void run(int64_t steps, int64_t most, F f) {
    most = std::min<int64_t>({most, num_threads(), kMost});
    if (most < 2) {
      if (steps > 0) f(Member{}, int64_t{0}, steps);
      return;
    }
    const ParallelScope awake;
    for (int64_t begin = 0; begin < steps; begin += kTogether) {
      Team team(begin, std::min(begin + kTogether, steps), static_cast<int>(most));
      parallel_for(most, 1, [&](int64_t slice, int64_t) { slice == 0 ? team.lead(f) : team.follow(f); });
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  // To meet takes 0.5 us.
  static constexpr int64_t kTogether = 32;
  // How long the first waits for others that are awake; how long a member looks for another before it gives up its
  // core, on which the kernel may then run the other.
  static constexpr std::chrono::nanoseconds kComing{1000}, kWait{50'000}, kSleep{20'000};
  static constexpr int kClosed = 1 << 16;

  // In lines of its own, and in pairs of them, which are fetched together.
  struct alignas(128) Done {
    std::atomic<int64_t> step{0};
    int64_t load() const { return step.load(std::memory_order_acquire); }
    void store(int64_t n) { step.store(n, std::memory_order_release); }
  };

  Team(int64_t begin, int64_t end, int most) : begin_(begin), end_(end), most_(most) {}

  template <class F>
  void lead(const F& f) {
    const auto since = Clock::now();
    while (came_.load(std::memory_order_relaxed) < most_ - 1 && Clock::now() - since < kComing) {
    }
    int64_t step = begin_;
    try {
      for (; step < end_ && came_.load(std::memory_order_relaxed) == 0; ++step) f(Member{}, step, step + 1);
    } catch (...) {
      close(end_);
      throw;
    }
    close(step);
    go(0, f);
  }
  void close(int64_t step) {
    begin_ = step;
    count_ = came_.fetch_or(kClosed, std::memory_order_acq_rel) + 1;
    for (int i = 0; i < count_; ++i) done_[i].store(step);
    closed_.store(true, std::memory_order_release);
  }

  template <class F>
  void follow(const F& f) {
    const int before = came_.fetch_add(1, std::memory_order_acq_rel);
    if (before & kClosed) return;
    spin([&] { return closed_.load(std::memory_order_acquire); });
    go(before + 1, f);
  }

  template <class F>
  void go(int index, const F& f) {
    Member member;
    member.index = index, member.count = count_, member.team_ = this;
    try {
      if (begin_ < end_) f(member, begin_, end_);
    } catch (...) {
      done_[index].store(std::numeric_limits<int64_t>::max());  // nobody waits for what does not come
      throw;
    }
  }

  void wait_for(int i, int64_t step) const {
    spin([&] { return done_[i].load() >= step; });
  }
  template <class Ready>
  static void spin(Ready ready) {
    for (int i = 0; i < kLooks; ++i)
      if (ready()) return;
    for (const auto since = Clock::now(); !ready();)
      if (Clock::now() - since > kWait) std::this_thread::sleep_for(kSleep);
  }
  static constexpr int kLooks = 200;

  int64_t begin_, end_;
  int most_, count_ = 1;
  alignas(128) std::atomic<int> came_{0};
  alignas(128) std::atomic<bool> closed_{false};
  Done done_[kMost];
};

}  // namespace lanner
