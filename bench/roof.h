// The machine's ceiling, measured in the same process, so that a benchmark can say which share of it a kernel reaches:
//
//   for (auto _ : state) kernel(...);
//   roof::flops(state, 2.0 * m * n * k);      // FLOP/s and of_peak, beside the FMA peak of the threads in use
//   roof::bytes(state, 3.0 * n * sizeof(T));  // B/s and of_peak, beside the bandwidth of the cache that they fit in
//
// Register with ->UseRealTime(): the CPU time of the main thread says little where others work too. Each ceiling is
// measured once, at first use, with lanner's own threads.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lanner/dtype.h"
#include "lanner/parallel.h"

namespace roof {
namespace detail {

inline double seconds(auto&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The best of several runs: what the machine can do when nobody disturbs it.
inline double best_seconds(auto&& work) {
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
  [[gnu::target(isa), gnu::noinline]] inline void name(long rounds, bool is_double) {                               \
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
inline FmaLoop best_loop() {
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
[[gnu::noinline]] inline void fma_generic(long rounds, bool) {
  Vector acc[24] = {}, a = {}, b = {};
  for (long r = 0; r < rounds; ++r) {
    for (Vector& c : acc) c = a * b + c;
    asm volatile("" : "+m"(acc));
  }
}
inline FmaLoop best_loop() { return {fma_generic, 24 * 16}; }
#endif

typedef float Wide __attribute__((vector_size(64)));

inline void triad(float* a, const float* b, const float* c, int64_t n) {
  for (int64_t i = 0; i < n; ++i) a[i] = b[i] + 3.0f * c[i];
}
inline void read(const float* a, int64_t n) {
  Wide sums[8] = {};
  for (int64_t i = 0; i + 128 <= n; i += 128)
    for (int j = 0; j < 8; ++j) sums[j] += *reinterpret_cast<const Wide*>(a + i + 16 * j);
  for (Wide& s : sums) benchmark::DoNotOptimize(s);
}

// Bytes a second over three arrays of `bytes` in all: the better of reading them and of a[i] = b[i] + 3 c[i].
inline double measure_bandwidth(int64_t bytes) {
  const int threads = lanner::num_threads();
  const int64_t n = bytes / 12 / threads / 128 * 128;  // elements of an array, for each thread
  std::vector<Wide> memory(3 * n * threads / 16);
  float* all = reinterpret_cast<float*>(memory.data());
  const int64_t passes = std::max<int64_t>(200'000'000 / bytes, 1);
  const auto run = [&](bool reading) {
    lanner::parallel_for(threads, 1, [&](int64_t t, int64_t) {
      float* mine = all + 3 * n * t;
      for (int64_t p = 0; p < passes; ++p) {
        reading ? read(mine, 3 * n) : triad(mine, mine + n, mine + 2 * n, n);
        benchmark::ClobberMemory();
      }
    });
  };
  const double moved = 12.0 * static_cast<double>(n * threads * passes);
  return moved / std::min(best_seconds([&] { run(true); }), best_seconds([&] { run(false); }));
}

}  // namespace detail

// FLOP/s of fused multiply-adds in registers, on all of lanner's threads.
inline double peak_flops(lanner::DType dtype = lanner::DType::Float32) {
  static std::map<std::pair<int, bool>, double> measured;
  const int threads = lanner::num_threads();
  const bool is_double = dtype == lanner::DType::Float64;
  double& peak = measured[{threads, is_double}];
  if (peak == 0) {
    const detail::FmaLoop loop = detail::best_loop();
    const long rounds = 1'000'000;
    const double s = detail::best_seconds(
        [&] { lanner::parallel_for(threads, 1, [&](int64_t, int64_t) { loop.run(rounds, is_double); }); });
    peak = 2.0 * loop.bytes_per_round / (is_double ? 8 : 4) * static_cast<double>(rounds) * threads / s;
  }
  return peak;
}

// Bytes a second, where `bytes` in all are used again and again: from a second-level cache up to 512 KiB a thread, from
// a third-level one up to 16 MiB, else from memory.
inline double peak_bandwidth(double bytes) {
  static std::map<std::pair<int, int64_t>, double> measured;
  const int threads = lanner::num_threads();
  const int64_t sizes[] = {int64_t{384} << 10, int64_t{12} << 20, int64_t{384} << 20};
  const int64_t size = bytes <= 512e3 * threads ? sizes[0] * threads : bytes <= 16e6 ? sizes[1] : sizes[2];
  double& peak = measured[{threads, size}];
  if (peak == 0) peak = detail::measure_bandwidth(size);
  return peak;
}

namespace detail {
inline void report(benchmark::State& state, const char* name, double amount, double peak) {
  state.counters[name] = benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = benchmark::Counter(amount / peak, benchmark::Counter::kIsIterationInvariantRate);
}
}  // namespace detail

// What one iteration computes, beside peak_flops.
inline void flops(benchmark::State& state, double per_iteration, lanner::DType dtype = lanner::DType::Float32) {
  detail::report(state, "FLOP/s", per_iteration, peak_flops(dtype));
}

// What one iteration reads and writes, beside peak_bandwidth.
inline void bytes(benchmark::State& state, double per_iteration) {
  detail::report(state, "B/s", per_iteration, peak_bandwidth(per_iteration));
}

}  // namespace roof
