// Where random numbers come from: Philox4x32-10, a counter-based generator. Every random op takes one state of its own,
// and each element is a function of that state and the element's index alone: the same bits on any number of threads.
#pragma once

#include <cstdint>

namespace lanner {

// The key of the generator and the number of the call: all that decides what a random op draws.
struct RandomState {
  uint64_t seed = 0;
  uint64_t call = 0;
  friend bool operator==(const RandomState&, const RandomState&) = default;
};

// Starts the program's generator again from `seed`. Without it, the first seed is one of the system's choosing.
void manual_seed(uint64_t seed);

// The state that the next random op will take; kept in a checkpoint, it lets a run go on as if it had not stopped.
RandomState random_state();
void set_random_state(RandomState state);

// Takes one state from the program's generator. May be called by several threads at once.
RandomState next_random_state();
// Takes `count` states that follow one another, and gives the first.
RandomState next_random_states(uint64_t count);

// Inside, this thread draws from a generator of its own, which begins at `state`.
class RandomScope {
 public:
  explicit RandomScope(RandomState state);
  ~RandomScope();
  RandomScope(const RandomScope&) = delete;
  RandomScope& operator=(const RandomScope&) = delete;

 private:
  RandomState own_;
  RandomState* before_;
};

// 0, 1, ..., n - 1 in random order, every order equally likely.
void random_permutation(RandomState state, int64_t n, int64_t* out);

}  // namespace lanner
