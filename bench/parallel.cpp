// What a parallel region costs: with nothing to do, while workers look for the next one and after they went to sleep; and
// how long until all of them have come.
#include "lanner/parallel.h"

#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>

namespace {

using namespace lanner;

void work(int64_t ns) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(ns);
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Slices of no length: rather the caller takes them all than that it waits for anybody.
void region_empty(benchmark::State& state) {
  const int64_t slices = state.range(0);
  for (auto _ : state) parallel_for(slices, 1, [](int64_t begin, int64_t) { benchmark::DoNotOptimize(begin); });
}
BENCHMARK(region_empty)->ArgName("slices")->Arg(2)->Arg(8)->Arg(64)->UseRealTime();

// A slice for each thread, each of `ns`: what is above that is the region's cost, and near twice that means that the
// workers came too late. `pause_us` of other work between regions.
void region_of_work(benchmark::State& state) {
  const int64_t ns = state.range(0), pause_us = state.range(1);
  for (auto _ : state) {
    if (pause_us > 0) {
      state.PauseTiming();
      work(pause_us * 1000);
      state.ResumeTiming();
    }
    parallel_for(num_threads(), 1, [ns](int64_t, int64_t) { work(ns); });
  }
  state.counters["threads"] = num_threads();
}
BENCHMARK(region_of_work)
    ->ArgNames({"ns", "pause_us"})
    ->ArgsProduct({{1000, 5000, 20000, 100000}, {0, 1000}})
    ->Iterations(1000)
    ->UseRealTime();

// The same cold start where a scope announces the regions: ten of them.
void scope_of_ten(benchmark::State& state) {
  const int64_t ns = state.range(0);
  for (auto _ : state) {
    state.PauseTiming();
    work(1'000'000);
    state.ResumeTiming();
    ParallelScope hot;
    for (int i = 0; i < 10; ++i) parallel_for(num_threads(), 1, [ns](int64_t, int64_t) { work(ns); });
  }
}
BENCHMARK(scope_of_ten)->ArgName("ns")->Arg(5000)->Arg(20000)->Iterations(1000)->UseRealTime();

}  // namespace
