// Softmax, cross-entropy and the normalizations, forward, and forward with backward: GB/s of the tensors that must be
// read and written once.
#include "lanner/ops/norm.h"

#include <benchmark/benchmark.h>

#include <random>

#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/loss.h"
#include "roof.h"

namespace lanner {
namespace {

Tensor values(const Shape& shape) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  Tensor x = Tensor::empty(shape);
  for (int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] = normal(rng);
  return x;
}

// f(x) alone, or with its gradient: then x and g are read, y and dx written.
template <class F>
void measure(benchmark::State& s, Tensor x, const Tensors& parameters, bool backward, F f) {
  const double bytes = 4.0 * static_cast<double>(x.size());
  if (!backward) {
    for (auto _ : s) benchmark::DoNotOptimize(f(x).raw());
    return roof::bytes(s, 2 * bytes);
  }
  Tensors wanted{x.requires_grad_()};
  for (Tensor p : parameters) wanted.push_back(p.requires_grad_());
  const Tensor g = ops::ones(f(x).shape());
  for (auto _ : s) {
    const Tensors d = grad({f(x)}, wanted, {g});
    benchmark::DoNotOptimize(d[0].raw());
  }
  roof::bytes(s, 5 * bytes);
}

void softmax(benchmark::State& s) {
  measure(s, values({s.range(0), s.range(1)}), {}, s.range(2), [](const Tensor& x) { return ops::softmax(x); });
}
BENCHMARK(softmax)->ArgNames({"M", "N", "backward"})->ArgsProduct({{64, 8192}, {10, 1000}, {0, 1}})->UseRealTime();

// Over the channels of [N, C, HW].
void softmax_of_channels(benchmark::State& s) {
  measure(s, values({s.range(0), s.range(1), s.range(2)}), {}, s.range(3),
          [](const Tensor& x) { return ops::softmax(x, 1); });
}
BENCHMARK(softmax_of_channels)
    ->ArgNames({"N", "C", "HW", "backward"})
    ->Args({16, 21, 4096, 0})
    ->Args({16, 21, 4096, 1})
    ->UseRealTime();

void cross_entropy(benchmark::State& s) {
  const int64_t n = s.range(0), c = s.range(1);
  Tensor t = Tensor::empty({n}, DType::Int64);
  for (int64_t i = 0; i < n; ++i) t.data<int64_t>()[i] = i * 7 % c;
  measure(s, values({n, c}), {}, s.range(2),
          [&](const Tensor& x) { return ops::cross_entropy(x, t, {}, -100, ops::LossReduction::Mean); });
}
BENCHMARK(cross_entropy)
    ->ArgNames({"N", "C", "backward"})
    ->ArgsProduct({{64, 2048}, {10, 1000}, {0, 1}})
    ->UseRealTime();

void layer_norm(benchmark::State& s) {
  const int64_t n = s.range(1);
  const Tensor w = values({n}), b = values({n});
  measure(s, values({s.range(0), n}), {w, b}, s.range(2),
          [&](const Tensor& x) { return ops::layer_norm(x, {n}, w, b); });
}
BENCHMARK(layer_norm)->ArgNames({"M", "N", "backward"})->ArgsProduct({{2048, 8192}, {256, 768}, {0, 1}})->UseRealTime();

void batch_norm(benchmark::State& s) {
  const int64_t c = s.range(1);
  const Tensor w = values({c}), b = values({c}), mean = ops::zeros({c}), var = ops::ones({c});
  const Shape shape = s.range(2) == 0 ? Shape{s.range(0), c} : Shape{s.range(0), c, s.range(2), s.range(2)};
  measure(s, values(shape), {w, b}, s.range(3),
          [&](const Tensor& x) { return ops::batch_norm(x, mean, var, w, b, true); });
}
BENCHMARK(batch_norm)
    ->ArgNames({"N", "C", "HW", "backward"})
    ->Args({64, 32, 32, 0})
    ->Args({64, 32, 32, 1})
    ->Args({32, 128, 16, 0})
    ->Args({32, 128, 16, 1})
    ->Args({64, 64, 32, 0})
    ->Args({64, 64, 32, 1})
    ->Args({32, 512, 4, 0})
    ->Args({32, 512, 4, 1})
    ->Args({512, 1024, 0, 0})
    ->Args({512, 1024, 0, 1})
    ->UseRealTime();

void group_norm(benchmark::State& s) {
  const Tensor w = values({64}), b = values({64});
  measure(s, values({32, 64, 32, 32}), {w, b}, s.range(0),
          [&](const Tensor& x) { return ops::group_norm(x, 8, w, b); });
}
BENCHMARK(group_norm)->ArgName("backward")->Arg(0)->Arg(1)->UseRealTime();

}  // namespace
}  // namespace lanner
