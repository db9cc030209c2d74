// GEMM on the shapes of real nets. M, N, K; ta, tb: A, B transposed (a linear layer's forward pass is tb, its weight
// gradient ta). Threads are lanner's own: LANNER_NUM_THREADS=1 gives the figures of one core.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "cpu/dispatch.h"
#include "ops/gemm.h"
#include "roof.h"

namespace {

using namespace lanner;

template <class T>
struct Operands {
  std::vector<T> a, b, c, bias;
  cpu::GemmArgs<T> g;

  Operands(int64_t m, int64_t n, int64_t k, bool ta = false, bool tb = false) : a(m * k), b(k * n), c(m * n), bias(n) {
    std::mt19937 engine(0);
    std::uniform_real_distribution<T> distribution(-1, 1);
    for (auto* values : {&a, &b, &bias})
      for (T& v : *values) v = distribution(engine);
    g.m = m, g.n = n, g.k = k;
    g.a = a.data(), g.a_row = ta ? 1 : k, g.a_col = ta ? m : 1;
    g.b = b.data(), g.b_row = tb ? 1 : n, g.b_col = tb ? k : 1;
    g.c = c.data(), g.c_row = n;
  }
};

template <class T>
void gemm(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  Operands<T> o(m, n, k, state.range(3), state.range(4));
  for (auto _ : state) lanner::gemm(o.g);
  roof::flops(state, 2.0 * m * n * k, DTypeOf<T>::value);
}
void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"M", "N", "K", "ta", "tb"})->UseRealTime();
  for (int64_t n : {64, 128, 256, 512, 1024, 2048}) b->Args({n, n, n, 0, 0});
  b->Args({1024, 1024, 1024, 0, 1})->Args({1024, 1024, 1024, 1, 0})->Args({1024, 1024, 1024, 1, 1});
  b->Args({32, 256, 784, 0, 0})->Args({32, 256, 784, 0, 1});  // an MLP's first layer: stored [in, out], [out, in]
  b->Args({256, 784, 32, 1, 0});                              // its weight gradient
  b->Args({32, 256, 128, 0, 0})->Args({256, 128, 32, 1, 0})->Args({32, 128, 256, 0, 1})->Args({32, 10, 128, 0, 1});
  b->Args({64, 1024, 784, 0, 1})->Args({128, 1024, 784, 0, 1})->Args({256, 1024, 784, 0, 1});
  b->Args({512, 1024, 784, 0, 1})->Args({512, 784, 1024, 0, 0})->Args({1024, 784, 512, 1, 0});
  b->Args({512, 1024, 1024, 0, 1})->Args({512, 1024, 1024, 0, 0})->Args({1024, 1024, 512, 1, 0});
  b->Args({64, 120, 400, 0, 1})->Args({64, 10, 84, 0, 1});  // LeNet-5's linear layers
  b->Args({1, 256, 784, 0, 1})->Args({1, 128, 784, 0, 1})->Args({1, 128, 256, 0, 1})->Args({1, 10, 128, 0, 1});
  b->Args({1, 256, 784, 0, 0})->Args({2, 256, 784, 0, 1})->Args({8, 256, 784, 0, 1})->Args({16, 256, 784, 0, 1});
}
BENCHMARK(gemm<float>)->Apply(shapes);
BENCHMARK(gemm<double>)
    ->ArgNames({"M", "N", "K", "ta", "tb"})
    ->UseRealTime()
    ->Args({256, 256, 256, 0, 0})
    ->Args({1024, 1024, 1024, 0, 0});

// B packed beforehand, as the weights of a net that predicts.
void prepacked(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  Operands<float> o(m, n, k, false, true);
  std::vector<float> packed(packed_b_elements<float>(k, n));
  pack_b(k, n, o.g.b, o.g.b_row, o.g.b_col, packed.data());
  o.g.packed_b = packed.data();
  for (auto _ : state) lanner::gemm(o.g);
  roof::flops(state, 2.0 * m * n * k);
}
BENCHMARK(prepacked)
    ->ArgNames({"M", "N", "K"})
    ->UseRealTime()
    ->Args({1, 256, 784})
    ->Args({1, 128, 784})
    ->Args({2, 256, 784})
    ->Args({4, 256, 784})
    ->Args({8, 256, 784})
    ->Args({16, 256, 784})
    ->Args({32, 256, 784})
    ->Args({64, 120, 400})
    ->Args({512, 1024, 784});

// Operands rounded to bfloat16, on the same roof: where the processor multiplies pairs of them, it is twice as high.
void bf16(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  Operands<float> o(m, n, k, state.range(3), state.range(4));
  for (auto _ : state) lanner::gemm(o.g, Precision::BFloat16);
  roof::flops(state, 2.0 * m * n * k);
}
BENCHMARK(bf16)
    ->ArgNames({"M", "N", "K", "ta", "tb"})
    ->UseRealTime()
    ->Args({64, 64, 64, 0, 0})
    ->Args({256, 256, 256, 0, 0})
    ->Args({1024, 1024, 1024, 0, 0})
    ->Args({32, 256, 784, 0, 1})
    ->Args({256, 784, 32, 1, 0})
    ->Args({512, 1024, 784, 0, 1});

// What the epilogue costs beside gemm of the same shape.
void bias_relu(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  Operands<float> o(m, n, k);
  o.g.epilogue.bias_per_column = o.bias.data();
  o.g.epilogue.activation = cpu::Activation::Relu;
  for (auto _ : state) lanner::gemm(o.g);
  roof::flops(state, 2.0 * m * n * k);
}
BENCHMARK(bias_relu)->ArgNames({"M", "N", "K"})->UseRealTime()->Args({64, 64, 64})->Args({32, 256, 784});

// One tile, both operands packed and in the first-level cache: how near the micro-kernel itself comes to the peak.
void tile(benchmark::State& state) {
  const auto& f = cpu::kernels().gemm->f32;
  const int64_t rows = state.range(0), k = f.kc;
  Operands<float> o(rows, f.nr, k, true);
  std::vector<float> packed(f.packed_b_elements(k, f.nr));
  f.pack_b(k, f.nr, o.g.b, o.g.b_row, o.g.b_col, 0, 1, packed.data());
  o.g.packed_b = packed.data();
  const int threads = num_threads();
  set_num_threads(1);
  for (auto _ : state) f.block(o.g, 0, rows, 0, f.nr, false, nullptr);
  roof::flops(state, 2.0 * static_cast<double>(rows * f.nr * k));
  set_num_threads(threads);
}
BENCHMARK(tile)->ArgName("rows")->UseRealTime()->DenseRange(1, 14);

}  // namespace
