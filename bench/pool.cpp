// Pooling and resizing, as users call them: LeNet-5's layers, VGG's, a ResNet's stem and its head, a decoder.
#include <benchmark/benchmark.h>

#include <string>

#include "lanner/autodiff.h"
#include "lanner/ops.h"
#include "roof.h"

namespace {

using namespace lanner;

// `f` of x, and with it its gradient where `backward` says so.
template <class F>
void measure(benchmark::State& state, const Shape& shape, bool backward, F f) {
  Tensor x = ops::ones(shape);
  x.requires_grad_(backward);
  int64_t elements = x.size();
  for (auto _ : state) {
    const Tensor y = f(x);
    elements = x.size() + y.size();
    if (backward) y.backward(y.detach());
    benchmark::DoNotOptimize(y.raw());
    if (backward) x.set_grad({});
  }
  roof::bytes(state, static_cast<double>(4 * elements * (backward ? 2 : 1)));
}

const Shape kShapes[] = {{64, 6, 28, 28}, {64, 16, 10, 10}, {64, 64, 32, 32}, {32, 512, 4, 4}};

const bool registered = [] {
  for (const Shape& shape : kShapes)
    for (const bool backward : {false, true}) {
      const std::string name = to_string(shape) + (backward ? "/backward" : "");
      const auto add = [&](const char* op, auto f) {
        benchmark::RegisterBenchmark((std::string(op) + name).c_str(), [=](benchmark::State& state) {
          measure(state, shape, backward, f);
        })->UseRealTime();
      };
      add("max_pool2d_2x2", [](const Tensor& x) { return ops::max_pool2d(x, {2}); });
      add("max_pool2d_3x3s2", [](const Tensor& x) { return ops::max_pool2d(x, {3}, {2}, {1}); });
      add("avg_pool2d_2x2", [](const Tensor& x) { return ops::avg_pool2d(x, {2}); });
      add("adaptive_avg_pool2d_1", [](const Tensor& x) { return ops::adaptive_avg_pool2d(x, {1}); });
      add("upsample_nearest", [](const Tensor& x) { return ops::upsample(x, {}, {2.0}); });
      add("upsample_bilinear", [](const Tensor& x) { return ops::upsample(x, {}, {2.0}, "bilinear"); });
    }
  return true;
}();

}  // namespace
