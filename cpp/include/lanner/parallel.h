#pragma once

#include <cstdint>
#include <type_traits>

namespace lanner {

// Threads that parallel work may use. Until this is called LANNER_NUM_THREADS, else OMP_NUM_THREADS, else the affinity
// mask decides.
void set_num_threads(int n);
int num_threads();

// Keeps threads awake between parallel regions that follow each other closely, for as long as it lives, though no
// longer than some 200 us without work.
class ParallelScope {
 public:
  ParallelScope();
  ~ParallelScope();
  ParallelScope(const ParallelScope&) = delete;
  ParallelScope& operator=(const ParallelScope&) = delete;

 private:
  void* pool_ = nullptr;
};

namespace detail {
void parallel_run(int64_t slices, void (*body)(void*, int64_t), void* context);
}

// Calls f(begin, end) for slices of `grain` elements that cover [0, n). Where the slices are cut depends on n and
// grain alone, never on the number of threads, so that what is computed slice by slice has the same bits on any.
// One slice, or a call from inside a parallel region, runs here without waking a thread. Several threads may call at once. The first exception that
// a slice throws is thrown again here.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  if (n <= grain) {
    f(int64_t{0}, n);
    return;
  }
  struct Context {
    std::remove_reference_t<F>* f;
    int64_t n, grain;
  } context{&f, n, grain};
  detail::parallel_run((n + grain - 1) / grain,
                       [](void* p, int64_t slice) {
                         auto& c = *static_cast<Context*>(p);
                         const int64_t begin = slice * c.grain;
                         (*c.f)(begin, begin + c.grain < c.n ? begin + c.grain : c.n);
                       },
                       &context);
}

}  // namespace lanner
