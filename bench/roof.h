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

#include "lanner/ceiling.h"
#include "lanner/parallel.h"

namespace roof {
namespace detail {
inline void report(benchmark::State& state, const char* name, double amount, double peak) {
  state.counters[name] = benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = benchmark::Counter(amount / peak, benchmark::Counter::kIsIterationInvariantRate);
}
}  // namespace detail

// What one iteration computes, beside peak_flops.
inline void flops(benchmark::State& state, double per_iteration, lanner::DType dtype = lanner::DType::Float32) {
  detail::report(state, "FLOP/s", per_iteration, lanner::peak_flops(dtype));
}

// What one iteration reads and writes, beside peak_bandwidth.
inline void bytes(benchmark::State& state, double per_iteration) {
  detail::report(state, "B/s", per_iteration, lanner::peak_bandwidth(per_iteration));
}

}  // namespace roof
