// Scaled dot-product attention, forward and backward: heads x L x E, of small transformers first.
#include <benchmark/benchmark.h>

#include "lanner/autodiff.h"
#include "lanner/ops/attention.h"
#include "lanner/ops/random.h"
#include "lanner/ops/shape.h"
#include "roof.h"

namespace {

using lanner::Tensor;

struct Operands {
  Tensor q, k, v;
  // Heads split from one projection [N, L, 3, H, E] as a layer has them.
  explicit Operands(const benchmark::State& s) {
    const int64_t n = s.range(0), h = s.range(1), l = s.range(2), e = s.range(3);
    const Tensor x = lanner::ops::permute_dims(lanner::ops::normal({n, l, 3, h, e}), {2, 0, 3, 1, 4});
    const auto part = [&](int64_t i) { return lanner::ops::squeeze(lanner::ops::narrow(x, 0, i, 1), {0}); };
    q = part(0), k = part(1), v = part(2);
  }
};

// Of `products` matrices of L x L x E in each head; a causal mask leaves half of it.
double flops(const benchmark::State& s, double products) {
  const double half = s.range(4) ? 0.5 : 1.0;
  return half * 2 * products * static_cast<double>(s.range(0) * s.range(1) * s.range(2) * s.range(2) * s.range(3));
}

void forward(benchmark::State& s) {
  const Operands x(s);
  for (auto _ : s)
    benchmark::DoNotOptimize(lanner::ops::scaled_dot_product_attention(x.q, x.k, x.v, {}, 0, s.range(4) != 0));
  roof::flops(s, flops(s, 2));
}

void backward(benchmark::State& s) {
  Operands x(s);
  x.q.requires_grad_(), x.k.requires_grad_(), x.v.requires_grad_();
  const Tensor y = lanner::ops::scaled_dot_product_attention(x.q, x.k, x.v, {}, 0, s.range(4) != 0);
  const Tensor g = lanner::ops::normal(y.shape());
  for (auto _ : s) benchmark::DoNotOptimize(lanner::grad({y}, {x.q, x.k, x.v}, {g}, true, false, false));
  roof::flops(s, flops(s, 5));
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "H", "L", "E", "causal"})->UseRealTime();
  b->Args({1, 4, 64, 32, 1})->Args({16, 4, 128, 64, 1})->Args({16, 4, 128, 64, 0});
  b->Args({4, 8, 512, 64, 1})->Args({1, 8, 2048, 64, 1})->Args({1, 1, 4096, 64, 0});
}
BENCHMARK(forward)->Apply(shapes);
BENCHMARK(backward)->Apply(shapes);

}  // namespace
