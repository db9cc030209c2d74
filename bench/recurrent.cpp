// Recurrent layers over whole sequences x [T, N, I], forward for a prediction, and forward with backward for training:
// FLOP/s of the matrix products.
#include "lanner/ops/recurrent.h"

#include <benchmark/benchmark.h>

#include <random>

#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "roof.h"

namespace lanner {
namespace {

Tensor values(const Shape& shape, float bound) {
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> uniform(-bound, bound);
  Tensor x = Tensor::empty(shape);
  for (int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] = uniform(rng);
  return x;
}

using Layer = ops::RecurrentResult (*)(const Tensor&, const ops::RecurrentWeights&, const ops::RecurrentOptions&);

void measure(benchmark::State& s, int64_t gates, Layer layer) {
  const int64_t T = s.range(0), N = s.range(1), I = s.range(2), H = s.range(3);
  const bool backward = s.range(4);
  const float bound = 1 / std::sqrt(static_cast<float>(H));
  const Tensor x = values({T, N, I}, 1);
  Tensors w{values({gates * H, I}, bound), values({gates * H, H}, bound), values({gates * H}, bound),
            values({gates * H}, bound)};
  const ops::RecurrentWeights weights{w[0], w[1], w[2], w[3], {}};
  const double flops = 2.0 * static_cast<double>(T * N * gates * H * (I + H));
  if (!backward) {
    for (auto _ : s) benchmark::DoNotOptimize(layer(x, weights, {}).y.raw());
    return roof::flops(s, flops);
  }
  for (Tensor& t : w) t.requires_grad_();
  const Tensor g = ops::ones({T, N, H});
  for (auto _ : s) {
    const Tensors d = grad({layer(x, weights, {}).y}, w, {g});
    benchmark::DoNotOptimize(d[0].raw());
  }
  roof::flops(s, 3 * flops - 2.0 * static_cast<double>(T * N * gates * H * I));
}

void lstm(benchmark::State& s) { measure(s, 4, ops::lstm); }
void gru(benchmark::State& s) { measure(s, 3, ops::gru); }
void rnn(benchmark::State& s) {
  measure(s, 1, [](const Tensor& x, const ops::RecurrentWeights& w, const ops::RecurrentOptions& o) {
    return ops::rnn(x, w, o);
  });
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"T", "N", "I", "H", "backward"})->UseRealTime();
  for (int64_t backward : {0, 1}) {
    b->Args({100, 1, 16, 32, backward});
    b->Args({200, 1, 64, 128, backward});
    b->Args({100, 1, 64, 256, backward});
    b->Args({100, 32, 64, 128, backward});
    b->Args({100, 32, 64, 256, backward});
    b->Args({50, 256, 64, 256, backward});
  }
}
BENCHMARK(lstm)->Apply(shapes);
BENCHMARK(gru)->Apply(shapes);
BENCHMARK(rnn)->Apply(shapes);

}  // namespace
}  // namespace lanner
