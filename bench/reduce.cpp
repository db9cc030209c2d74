// Reductions and running sums: GB/s of what is read and written.
#include "lanner/ops/reduce.h"

#include <benchmark/benchmark.h>

#include "lanner/ops/elementwise.h"
#include "roof.h"

namespace lanner {
namespace {

// Rows, columns; the axis that is reduced. Bias gradients of linear layers and of convolutions, features of a batch, a
// parameter, a large array; short rows, where each element counts.
void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"M", "N", "axis"});
  for (int64_t axis : {0, 1})
    for (const auto& [m, n] : {std::pair<int64_t, int64_t>{64, 10}, {64, 1024}, {512, 1024}, {8192, 768}, {4096, 4096}})
      b->Args({m, n, axis});
  b->Args({1, 1 << 24, 1})->Args({1000000, 4, 1})->Args({1000000, 4, 0})->Args({100000, 33, 1});
}

Tensor values(int64_t m, int64_t n) {
  Tensor x = Tensor::empty({m, n});
  for (int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] = static_cast<float>(i * 37 % 101) * 0.01f;
  return x;
}

template <class F>
void reduction(benchmark::State& s, F f) {
  const Tensor x = values(s.range(0), s.range(1));
  const int64_t axis = s.range(2);
  int64_t outputs = 0;
  for (auto _ : s) {
    const Tensor y = f(x, axis);
    outputs = y.size() * static_cast<int64_t>(itemsize(y.dtype()));
    benchmark::DoNotOptimize(y.raw());
  }
  roof::bytes(s, 4.0 * static_cast<double>(x.size()) + static_cast<double>(outputs));
}

void sum(benchmark::State& s) {
  reduction(s, [](const Tensor& x, int64_t axis) { return ops::sum(x, axis); });
}
BENCHMARK(sum)->Apply(shapes)->UseRealTime();
void max(benchmark::State& s) {
  reduction(s, [](const Tensor& x, int64_t axis) { return ops::max(x, axis); });
}
BENCHMARK(max)->Apply(shapes)->UseRealTime();
void argmax(benchmark::State& s) {
  reduction(s, [](const Tensor& x, int64_t axis) { return ops::argmax(x, axis); });
}
BENCHMARK(argmax)->Apply(shapes)->UseRealTime();
void cumulative_sum(benchmark::State& s) {
  reduction(s, [](const Tensor& x, int64_t axis) { return ops::cumulative_sum(x, axis); });
}
BENCHMARK(cumulative_sum)
    ->ArgNames({"M", "N", "axis"})
    ->Args({64, 1024, 1})
    ->Args({4096, 4096, 1})
    ->Args({4096, 4096, 0})
    ->UseRealTime();

// Of [N, C, H, W] over all but C: the bias gradient of a convolution.
void sum_of_channels(benchmark::State& s) {
  const Tensor x = ops::ones({s.range(0), s.range(1), s.range(2), s.range(2)});
  for (auto _ : s) benchmark::DoNotOptimize(ops::sum(x, {0, 2, 3}).raw());
  roof::bytes(s, 4.0 * static_cast<double>(x.size()));
}
BENCHMARK(sum_of_channels)
    ->ArgNames({"N", "C", "HW"})
    ->Args({64, 6, 28})
    ->Args({32, 64, 32})
    ->Args({32, 512, 4})
    ->UseRealTime();

}  // namespace
}  // namespace lanner
