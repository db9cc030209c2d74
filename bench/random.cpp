// Random numbers and dropout: numbers a second, and bytes written (and read) against the ceiling.
#include <benchmark/benchmark.h>

#include "lanner/autodiff.h"
#include "lanner/ops.h"
#include "roof.h"

namespace {

using namespace lanner;

// The tensor is made and dropped each time, as in a training step: its memory is the allocator's.
template <class Draw>
void draw(benchmark::State& state, DType dtype, int passes, Draw op) {
  const int64_t n = state.range(0);
  NoGrad no_grad;
  for (auto _ : state) benchmark::DoNotOptimize(op(n).raw());
  state.counters["numbers/s"] =
      benchmark::Counter(static_cast<double>(n), benchmark::Counter::kIsIterationInvariantRate);
  roof::bytes(state, static_cast<double>(n) * static_cast<double>(itemsize(dtype)) * passes);
}

// A bias, LeNet-5's largest weight, an activation [64, 6, 28, 28], one of [64, 64, 32, 32].
void sizes(benchmark::internal::Benchmark* b) {
  for (const int64_t n : {120, 48'000, 301'056, 4'194'304}) b->Arg(n);
  b->ArgName("n")->UseRealTime();
}

void uniform_f32(benchmark::State& s) {
  draw(s, DType::Float32, 1, [](int64_t n) { return ops::uniform({n}); });
}
void uniform_f64(benchmark::State& s) {
  draw(s, DType::Float64, 1, [](int64_t n) { return ops::uniform({n}, 0, 1, DType::Float64); });
}
void normal_f32(benchmark::State& s) {
  draw(s, DType::Float32, 1, [](int64_t n) { return ops::normal({n}); });
}
void normal_f64(benchmark::State& s) {
  draw(s, DType::Float64, 1, [](int64_t n) { return ops::normal({n}, 0, 1, DType::Float64); });
}
void randint_i64(benchmark::State& s) {
  draw(s, DType::Int64, 1, [](int64_t n) { return ops::randint(0, 10, {n}); });
}
void bernoulli(benchmark::State& s) {
  draw(s, DType::Bool, 1, [](int64_t n) { return ops::bernoulli(0.5, {n}); });
}
void permutation(benchmark::State& s) {
  draw(s, DType::Int64, 1, [](int64_t n) { return ops::permutation(n); });
}
void dropout_f32(benchmark::State& s) {
  const Tensor x = ops::ones({s.range(0)});
  draw(s, DType::Float32, 2, [&x](int64_t) { return ops::dropout(x, 0.5); });
}

BENCHMARK(uniform_f32)->Apply(sizes);
BENCHMARK(uniform_f64)->Apply(sizes);
BENCHMARK(normal_f32)->Apply(sizes);
BENCHMARK(normal_f64)->Apply(sizes);
BENCHMARK(randint_i64)->Apply(sizes);
BENCHMARK(bernoulli)->Apply(sizes);
BENCHMARK(permutation)->Apply(sizes);
BENCHMARK(dropout_f32)->Apply(sizes);

}  // namespace
