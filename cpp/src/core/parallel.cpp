#include "lanner/parallel.h"

#include <omp.h>
#include <pthread.h>

#include <atomic>
#include <exception>

#include "lanner/error.h"

namespace lanner {
namespace {
std::atomic<int> limit{0};  // 0: what OpenMP says

// A forked child has none of the threads of its parent's team, and libgomp would wait for them forever: a child of a
// process that had a team works alone.
std::atomic<bool> has_team{false}, lost_team{false};
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { lost_team = has_team.load(); });

}  // namespace

void set_num_threads(int n) {
  check(n >= 1, "set_num_threads: expected at least 1, got ", n);
  limit = n;
}

int num_threads() {
  const int n = limit;
  return n > 0 ? n : omp_get_max_threads();
}

namespace detail {

void parallel_run(int64_t slices, void (*body)(void*, int64_t), void* context) {
  const int64_t threads = num_threads() < slices ? num_threads() : slices;
  if (threads <= 1 || lost_team || omp_in_parallel()) {
    for (int64_t i = 0; i < slices; ++i) body(context, i);
    return;
  }
  has_team = true;
  std::exception_ptr failure;
  std::atomic<int64_t> next{0};
#pragma omp parallel num_threads(static_cast<int>(threads))
  {
    for (int64_t i = next++; i < slices; i = next++) {
      try {
        body(context, i);
      } catch (...) {
#pragma omp critical(lanner_failure)
        if (!failure) failure = std::current_exception();
        next = slices;
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace detail
}  // namespace lanner
