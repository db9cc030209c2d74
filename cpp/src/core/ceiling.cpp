#include "lanner/ceiling.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "lanner/parallel.h"

namespace lanner {
namespace {

std::mutex measuring;

double seconds(auto&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The best of several runs: what the machine can do when nobody disturbs it.
double best_seconds(auto&& work) {
  double best = 1e30;
  for (int i = 0; i < 9; ++i) best = std::min(best, seconds(work));
  return best;
}

// Each loop holds 12 or 24 independent chains of multiply-adds, enough to hide their latency, and gives back the FLOPs
// of one round. The assembly keeps a compiler from simplifying them.
#if defined(__x86_64__)
typedef float Zmm __attribute__((vector_size(64)));
typedef float Ymm __attribute__((vector_size(32)));
typedef float Xmm __attribute__((vector_size(16)));
#define LANNER_FMA_LOOP(name, isa, Vector, chains, ps, pd)                                                          \
  [[gnu::target(isa), gnu::noinline]] void name(long rounds, bool is_double) {                                      \
    Vector acc[chains] = {}, a = {}, b = {};                                                                        \
    for (long r = 0; r < rounds; ++r) {                                                                             \
      if (is_double) {                                                                                              \
        _Pragma("GCC unroll 24") for (int c = 0; c < chains; ++c) asm volatile(pd : "+v"(acc[c]) : "v"(a), "v"(b)); \
      } else {                                                                                                      \
        _Pragma("GCC unroll 24") for (int c = 0; c < chains; ++c) asm volatile(ps : "+v"(acc[c]) : "v"(a), "v"(b)); \
      }                                                                                                             \
    }                                                                                                               \
  }
LANNER_FMA_LOOP(fma_512, "avx512f", Zmm, 24, "vfmadd231ps %2, %1, %0", "vfmadd231pd %2, %1, %0")
LANNER_FMA_LOOP(fma_256, "avx2,fma", Ymm, 12, "vfmadd231ps %2, %1, %0", "vfmadd231pd %2, %1, %0")
// Without FMA: as many additions as multiplications.
LANNER_FMA_LOOP(fma_128, "sse2", Xmm, 6, "mulps %1, %0\n\taddps %2, %0", "mulpd %1, %0\n\taddpd %2, %0")
#undef LANNER_FMA_LOOP

struct FmaLoop {
  void (*run)(long rounds, bool is_double);
  double bytes_per_round;  // of accumulators
};
FmaLoop best_loop() {
  if (__builtin_cpu_supports("avx512f")) return {fma_512, 24 * 64};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {fma_256, 12 * 32};
  return {fma_128, 6 * 16};
}
#else
typedef float Vector __attribute__((vector_size(16)));
struct FmaLoop {
  void (*run)(long rounds, bool is_double);
  double bytes_per_round;
};
[[gnu::noinline]] void fma_generic(long rounds, bool) {
  Vector acc[24] = {}, a = {}, b = {};
  for (long r = 0; r < rounds; ++r) {
    for (Vector& c : acc) c = a * b + c;
    asm volatile("" : "+m"(acc));
  }
}
FmaLoop best_loop() { return {fma_generic, 24 * 16}; }
#endif

typedef float Wide __attribute__((vector_size(64)));

void triad(float* a, const float* b, const float* c, int64_t n) {
  for (int64_t i = 0; i < n; ++i) a[i] = b[i] + 3.0f * c[i];
}
void read(const float* a, int64_t n) {
  Wide sums[8] = {};
  for (int64_t i = 0; i + 128 <= n; i += 128)
    for (int j = 0; j < 8; ++j) sums[j] += *reinterpret_cast<const Wide*>(a + i + 16 * j);
  for (Wide& s : sums) asm volatile("" : "+m"(s));
}

// Bytes a second over three arrays of `bytes` in all: the better of reading them and of a[i] = b[i] + 3 c[i].
double measure_bandwidth(int64_t bytes) {
  const int threads = num_threads();
  const int64_t n = bytes / 12 / threads / 128 * 128;  // elements of an array, for each thread
  std::vector<Wide> memory(3 * n * threads / 16);
  float* all = reinterpret_cast<float*>(memory.data());
  const int64_t passes = std::max<int64_t>(200'000'000 / bytes, 1);
  const auto run = [&](bool reading) {
    parallel_for(threads, 1, [&](int64_t t, int64_t) {
      float* mine = all + 3 * n * t;
      for (int64_t p = 0; p < passes; ++p) {
        reading ? read(mine, 3 * n) : triad(mine, mine + n, mine + 2 * n, n);
        asm volatile("" ::: "memory");
      }
    });
  };
  const double moved = 12.0 * static_cast<double>(n * threads * passes);
  return moved / std::min(best_seconds([&] { run(true); }), best_seconds([&] { run(false); }));
}

}  // namespace

double peak_flops(DType dtype) {
  static std::map<std::pair<int, bool>, double> measured;
  std::lock_guard lock(measuring);
  const int threads = num_threads();
  const bool is_double = dtype == DType::Float64;
  double& peak = measured[{threads, is_double}];
  if (peak == 0) {
    const FmaLoop loop = best_loop();
    const long rounds = 1'000'000;
    const double s =
        best_seconds([&] { parallel_for(threads, 1, [&](int64_t, int64_t) { loop.run(rounds, is_double); }); });
    peak = 2.0 * loop.bytes_per_round / (is_double ? 8 : 4) * static_cast<double>(rounds) * threads / s;
  }
  return peak;
}

double peak_bandwidth(double bytes) {
  static std::map<std::pair<int, int64_t>, double> measured;
  std::lock_guard lock(measuring);
  const int threads = num_threads();
  const int64_t sizes[] = {int64_t{384} << 10, int64_t{12} << 20, int64_t{384} << 20};
  const int64_t size = bytes <= 512e3 * threads ? sizes[0] * threads : bytes <= 16e6 ? sizes[1] : sizes[2];
  double& peak = measured[{threads, size}];
  if (peak == 0) peak = measure_bandwidth(size);
  return peak;
}

}  // namespace lanner
