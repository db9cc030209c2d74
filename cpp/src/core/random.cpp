#include "lanner/random.h"

#include <mutex>
#include <random>
#include <utility>

#include "core/philox.h"

namespace lanner {
namespace {

struct Generator {
  std::mutex mutex;
  RandomState state;
  Generator() {
    std::random_device entropy;
    state.seed = (static_cast<uint64_t>(entropy()) << 32) | entropy();
  }
};

// Never destroyed: other static objects may still draw in their destructors.
Generator& generator() {
  static Generator* instance = new Generator;
  return *instance;
}

thread_local RandomState* own_state = nullptr;  // of the RandomScope that this thread is in

// The words of one state, one after the other.
class Words {
 public:
  explicit Words(RandomState state) : state_(state) {}
  uint32_t next() {
    if (used_ == 4) {
      block_ = philox(state_.seed, state_.call, index_++);
      used_ = 0;
    }
    return block_.word[used_++];
  }
  // 0 <= result < range, without bias: Lemire, Fast random integer generation in an interval, 2019.
  uint64_t below(uint64_t range) {
    if (range >> 32) {
      uint64_t mask = ~uint64_t{0} >> __builtin_clzll(range);
      for (;;) {
        const uint64_t low = next();
        const uint64_t draw = ((static_cast<uint64_t>(next()) << 32) | low) & mask;
        if (draw < range) return draw;
      }
    }
    const uint32_t r = static_cast<uint32_t>(range);
    uint64_t product = static_cast<uint64_t>(next()) * r;
    if (static_cast<uint32_t>(product) < r) {
      const uint32_t least = -r % r;
      while (static_cast<uint32_t>(product) < least) product = static_cast<uint64_t>(next()) * r;
    }
    return product >> 32;
  }

 private:
  RandomState state_;
  uint64_t index_ = 0;
  PhiloxBlock block_{};
  int used_ = 4;
};

}  // namespace

void manual_seed(uint64_t seed) { set_random_state({seed, 0}); }

RandomScope::RandomScope(RandomState state) : own_(state), before_(std::exchange(own_state, &own_)) {}
RandomScope::~RandomScope() { own_state = before_; }

RandomState random_state() {
  if (own_state) return *own_state;
  Generator& g = generator();
  std::lock_guard lock(g.mutex);
  return g.state;
}

void set_random_state(RandomState state) {
  if (own_state) {
    *own_state = state;
    return;
  }
  Generator& g = generator();
  std::lock_guard lock(g.mutex);
  g.state = state;
}

RandomState next_random_state() { return next_random_states(1); }

RandomState next_random_states(uint64_t count) {
  if (own_state) {
    const RandomState taken = *own_state;
    own_state->call += count;
    return taken;
  }
  Generator& g = generator();
  std::lock_guard lock(g.mutex);
  const RandomState taken = g.state;
  g.state.call += count;
  return taken;
}

void random_permutation(RandomState state, int64_t n, int64_t* out) {
  Words words(state);
  for (int64_t i = 0; i < n; ++i) {  // Fisher and Yates, filling as it goes
    const int64_t j = static_cast<int64_t>(words.below(static_cast<uint64_t>(i) + 1));
    out[i] = out[j];
    out[j] = i;
  }
}

}  // namespace lanner
