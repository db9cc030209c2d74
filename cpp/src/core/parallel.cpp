// Threads that live as long as the process. A caller writes what is to be done into a region, rings, and takes slices
// itself until none is left; workers that hear of it in time take some too. It waits only for slices that a worker has
// begun: a worker that sleeps, or whose core another process has, costs nothing.
#include "lanner/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "lanner/error.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// How long a worker looks for more to do before it sleeps: longer than most gaps between the regions of a training
// step, and not much of a core that somebody else could use. To wake it takes 10 us of its caller's time, and it is there
// after 30. bench/parallel.cpp
constexpr microseconds kIdle{100}, kIdleInScope{200};
// How long a caller looks for the end of slices begun before it gives its core up, on which the kernel may then run a
// worker that has lost its own.
constexpr microseconds kWait{50};

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

// Until done() or the time is up; tells which.
template <class Done>
bool spin(Done done, Clock::time_point since, microseconds limit) {
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (Clock::now() - since < limit);
  return false;
}

// A thread that is in a region already, where another would only wait.
thread_local bool inside = false;

// The caller takes slices from the front, workers from the back: what a thread computes in one region it finds in its own
// cache in the next one, which is mostly cut alike.
class alignas(64) Region {
 public:
  void open(int64_t slices, void (*body)(void*, int64_t), void* context) {
    body_ = body;
    context_ = context;
    state_.store(static_cast<uint64_t>(slices) * kBack, std::memory_order_release);
  }

  // Takes slices until none is left; false if there was none. Safe at any time, even on a region that is long closed:
  // nothing but `state_` is looked at before a slice is taken, and while one is, the region stays open.
  bool help() {
    uint64_t s = state_.load(std::memory_order_acquire);
    if (!take(s, kWorker - kBack)) return false;
    do run(static_cast<int64_t>(back(s)) - 1, s);
    while (take(s, -kBack));
    const uint64_t before = state_.fetch_sub(kWorker, std::memory_order_acq_rel);
    if ((before & kAwaited) && (before & kWorkers) == kWorker) {
      left_.store(1, std::memory_order_release);
      left_.notify_one();
    }
    return true;
  }
  void work() {
    for (uint64_t s = state_.load(std::memory_order_relaxed); take(s, kFront);) run(static_cast<int64_t>(front(s)), s);
  }

  // Waits for slices begun by workers; what they threw.
  std::exception_ptr close() {
    const auto empty = [&] { return (state_.load(std::memory_order_acquire) & kWorkers) == 0; };
    if (!empty() && !spin(empty, Clock::now(), kWait)) {
      left_.store(0, std::memory_order_relaxed);
      if (state_.fetch_or(kAwaited, std::memory_order_acq_rel) & kWorkers) left_.wait(0, std::memory_order_acquire);
    }
    state_.store(0, std::memory_order_relaxed);
    if (!failed_.load(std::memory_order_relaxed)) return nullptr;
    failed_.store(false, std::memory_order_relaxed);
    return std::exchange(failure_, nullptr);
  }

  static constexpr uint64_t kSlices = (uint64_t{1} << 26) - 1;

 private:
  // From the lowest bits: the first slice that is not begun, the one past the last, how many workers are inside, and
  // whether the caller sleeps.
  static constexpr uint64_t kFront = 1, kBack = kSlices + 1, kWorker = kBack * kBack, kAwaited = uint64_t{1} << 63,
                            kWorkers = kAwaited - kWorker;
  static uint64_t front(uint64_t s) { return s & kSlices; }
  static uint64_t back(uint64_t s) { return s / kBack & kSlices; }

  // Adds `change`, which takes a slice from one end, if there is one; s is the state before.
  bool take(uint64_t& s, uint64_t change) {
    while (front(s) < back(s))
      if (state_.compare_exchange_weak(s, s + change, std::memory_order_acq_rel, std::memory_order_acquire))
        return true;
    return false;
  }

  void run(int64_t slice, uint64_t& s) {
    try {
      body_(context_, slice);
    } catch (...) {
      if (!failed_.exchange(true)) failure_ = std::current_exception();
      state_.fetch_and(~(kWorker - 1), std::memory_order_acq_rel);
    }
    s = state_.load(std::memory_order_acquire);
  }

  std::atomic<uint64_t> state_{0};
  void (*body_)(void*, int64_t) = nullptr;
  void* context_ = nullptr;
  std::exception_ptr failure_;
  std::atomic<bool> failed_{false};
  std::atomic<uint32_t> left_{0};  // what a sleeping caller waits for
};

int threads_from_environment() {
  const auto number = [](const char* text) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    return end != text && n >= 1 && n <= 1 << 20 ? static_cast<int>(n) : 0;
  };
  if (const char* text = std::getenv("LANNER_NUM_THREADS"); text && *text) {
    const int n = number(text);
    check(n >= 1, "LANNER_NUM_THREADS: expected a number of threads, got '", text, "'");
    return n;
  }
  if (const char* text = std::getenv("OMP_NUM_THREADS"))  // of which a list gives the first level
    if (const int n = number(text)) return n;
#ifdef __linux__
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) return std::max(CPU_COUNT(&cpus), 1);
#endif
  return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
}

std::atomic<int> limit{0};  // threads; 0: the environment has not been asked

class Pool {
 public:
  // Of this process: a forked child, which has none of its parent's workers, makes one of its own.
  static Pool& get() {
    Pool* pool = current.load(std::memory_order_acquire);
    return pool ? *pool : make();
  }
  static Pool* if_any() { return current.load(std::memory_order_acquire); }

  // A region nobody uses, or null where many callers work at once.
  Region* take() {
    uint32_t taken = taken_.load(std::memory_order_relaxed);
    while (taken != kAll) {
      const int i = std::countr_one(taken);
      if (taken_.compare_exchange_weak(taken, taken | 1u << i, std::memory_order_acquire, std::memory_order_relaxed))
        return &regions_[i];
    }
    return nullptr;
  }
  void give_back(Region* r) { taken_.fetch_and(~bit(r), std::memory_order_release); }

  // Lets workers know of an open region, of which `wanted` could be of use.
  void ring(Region* r, int wanted) {
    const uint32_t before = bell_.fetch_add(kRing + bit(r));
    if (started_.load(std::memory_order_relaxed) < wanted) start(wanted);
    const int asleep = asleep_.load();
    if (asleep == 0) return;
    // Those awake will come, unless another caller keeps them busy.
    const int awake = std::min(started_.load(std::memory_order_relaxed), num_threads() - 1) - asleep;
    wake(before & kAll ? wanted : wanted - awake, asleep);
  }
  void silence(Region* r) { bell_.fetch_sub(bit(r), std::memory_order_relaxed); }

  void begin_scope(int wanted) {
    scopes_.fetch_add(1, std::memory_order_relaxed);
    if (started_.load(std::memory_order_relaxed) < wanted) start(wanted);
    if (const int asleep = asleep_.load()) {
      bell_.fetch_add(kRing);
      wake(wanted, asleep);
    }
  }
  void end_scope() { scopes_.fetch_sub(1, std::memory_order_relaxed); }

  // Workers look again at whether to be there.
  void limit_changed() {
    changes_.fetch_add(1);
    changes_.notify_all();
    bell_.fetch_add(kRing);
    bell_.notify_all();
  }

  // At the process's exit, or where the library is unloaded.
  void stop() {
    stopped_.store(true);
    limit_changed();
    std::lock_guard lock(growing_);
    for (std::thread& worker : workers_)
      worker.get_id() == std::this_thread::get_id() ? worker.detach() : worker.join();
    workers_.clear();
  }

 private:
  static constexpr int kRegions = 16;
  static constexpr uint32_t kAll = (1u << kRegions) - 1, kRing = 1u << kRegions;

  uint32_t bit(Region* r) const { return 1u << (r - regions_); }

  void wake(int wanted, int asleep) {
    if (wanted >= asleep) return bell_.notify_all();
    for (int i = 0; i < wanted; ++i) bell_.notify_one();
  }

  // One caller at a time; another goes on with the workers that there are.
  void start(int wanted) {
    std::unique_lock lock(growing_, std::try_to_lock);
    if (!lock || stopped_.load()) return;
    static struct AtExit {
      ~AtExit() {
        if (Pool* pool = if_any()) pool->stop();
      }
    } at_exit;
    sigset_t all, before;  // signals are for the program's own threads
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      for (int i = static_cast<int>(workers_.size()); i < wanted; ++i) {
        workers_.emplace_back([this, i] { live(i); });
        started_.store(i + 1);
      }
    } catch (const std::exception&) {  // no more threads to be had: those that there are do it
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void live(int index) {
    inside = true;
    auto idle_since = Clock::now();
    while (true) {
      const uint32_t change = changes_.load();
      if (stopped_.load()) return;
      if (index + 1 >= limit.load()) {
        changes_.wait(change);
        continue;
      }
      const uint32_t rung = bell_.load();
      bool helped = false;
      for (uint32_t open = rung & kAll; open; open &= open - 1) helped |= regions_[std::countr_zero(open)].help();
      if (!helped) {
        const auto rings = [&] { return bell_.load(std::memory_order_relaxed) != rung; };
        if (spin(rings, idle_since, scopes_.load(std::memory_order_relaxed) ? kIdleInScope : kIdle)) continue;
        asleep_.fetch_add(1);
        bell_.wait(rung);
        asleep_.fetch_sub(1);
      }
      idle_since = Clock::now();
    }
  }

  static Pool& make() {
    [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, [] { current = nullptr; });
    auto* pool = new Pool;  // never destroyed: workers and destructors of static variables may still look at it
    Pool* other = nullptr;
    if (current.compare_exchange_strong(other, pool)) return *pool;
    delete pool;
    return *other;
  }

  static inline std::atomic<Pool*> current{nullptr};

  alignas(64) std::atomic<uint32_t> bell_{0};  // the regions that are open, and above them how often it was rung
  alignas(64) std::atomic<uint32_t> taken_{0};
  alignas(64) std::atomic<int> asleep_{0};
  std::atomic<int> started_{0}, scopes_{0};
  std::atomic<uint32_t> changes_{0};
  std::atomic<bool> stopped_{false};
  std::mutex growing_;
  std::vector<std::thread> workers_;
  Region regions_[kRegions];
};

}  // namespace

void set_num_threads(int n) {
  check(n >= 1, "set_num_threads: expected at least 1, got ", n);
  limit = n;
  if (Pool* pool = Pool::if_any()) pool->limit_changed();
}

int num_threads() {
  int n = limit.load(std::memory_order_relaxed);
  if (n == 0) [[unlikely]] {
    const int found = threads_from_environment();
    if (limit.compare_exchange_strong(n, found)) n = found;
  }
  return n;
}

ParallelScope::ParallelScope() {
  const int threads = inside ? 1 : num_threads();
  if (threads < 2) return;
  pool_ = &Pool::get();
  static_cast<Pool*>(pool_)->begin_scope(threads - 1);
}

ParallelScope::~ParallelScope() {
  if (pool_) static_cast<Pool*>(pool_)->end_scope();
}

namespace detail {

void parallel_run(int64_t slices, void (*body)(void*, int64_t), void* context) {
  const int threads = num_threads();
  Pool* pool = threads > 1 && slices > 1 && !inside ? &Pool::get() : nullptr;
  Region* region = pool && static_cast<uint64_t>(slices) <= Region::kSlices ? pool->take() : nullptr;
  if (!region) {
    for (int64_t i = 0; i < slices; ++i) body(context, i);
    return;
  }
  region->open(slices, body, context);
  pool->ring(region, static_cast<int>(std::min<int64_t>(threads, slices)) - 1);
  inside = true;
  region->work();
  inside = false;
  pool->silence(region);
  std::exception_ptr failure = region->close();
  pool->give_back(region);
  if (failure) std::rethrow_exception(std::move(failure));
}

}  // namespace detail
}  // namespace lanner
