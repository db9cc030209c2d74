// Chains of elementwise ops: joined into one op that is run tile by tile, and one op after the other.
#include "ops/fused.h"

#include <benchmark/benchmark.h>

#include <vector>

#include "lanner/autodiff.h"
#include "lanner/ops.h"
#include "ops/elementwise.h"

namespace lanner {
namespace {

using Ids = std::vector<int>;
constexpr DType kFloat = DType::Float32;

void per_element(benchmark::State& s, int64_t n) {
  s.counters["ns/element"] = benchmark::Counter(
      static_cast<double>(n) * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

// Outputs placed beforehand, as in a plan; op by op as eager code has it.
void measure(benchmark::State& s, const ElementwiseProgram& p, const Tensors& in, bool fused) {
  const NoGrad off;
  if (!fused) {
    for (auto _ : s) benchmark::DoNotOptimize(decompose(p, in)[0].raw());
  } else {
    Tensors out = fused_elementwise(p, in);
    const Attrs attrs(p);
    const Run run{Op::FusedElementwise, in, out, attrs};
    const auto prepared = prepare_of(Op::FusedElementwise)(run, 0);
    for (auto _ : s) {
      prepared->run(run);
      benchmark::ClobberMemory();
    }
  }
  per_element(s, in[0].size());
}

// Seven light ops on three inputs.
void chain_of_seven(benchmark::State& s) {
  ProgramBuilder b;
  const int x = b.input(kFloat), y = b.input(kFloat), z = b.input(kFloat), half = b.constant(0.5, kFloat, true);
  int v = b.apply(Op::Multiply, {}, Ids{x, y}, kFloat);
  v = b.apply(Op::Add, {}, Ids{v, z}, kFloat);
  v = b.apply(Op::LeakyRelu, ElementwiseParams{{0.1}}, Ids{v}, kFloat);
  v = b.apply(Op::Multiply, {}, Ids{v, half}, kFloat);
  v = b.apply(Op::Subtract, {}, Ids{v, x}, kFloat);
  v = b.apply(Op::Square, {}, Ids{v}, kFloat);
  v = b.apply(Op::Maximum, {}, Ids{v, y}, kFloat);
  b.output(v);
  const Shape shape{s.range(0)};
  measure(s, b.program(), {ops::ones(shape), ops::ones(shape), ops::ones(shape)}, s.range(1) != 0);
}
BENCHMARK(chain_of_seven)
    ->ArgNames({"n", "fused"})
    ->ArgsProduct({{64, 1024, 4096, 65536, 1 << 20, 1 << 24}, {0, 1}})
    ->UseRealTime();

// relu(x * scale + shift) by channel of NCHW.
void scale_shift_relu(benchmark::State& s) {
  ProgramBuilder b;
  const int x = b.input(kFloat), scale = b.input(kFloat), shift = b.input(kFloat);
  int v = b.apply(Op::Multiply, {}, Ids{x, scale}, kFloat);
  v = b.apply(Op::Add, {}, Ids{v, shift}, kFloat);
  v = b.apply(Op::Relu, {}, Ids{v}, kFloat);
  b.output(v);
  const int64_t c = s.range(0), side = s.range(1);
  measure(s, b.program(), {ops::ones({32, c, side, side}), ops::ones({c, 1, 1}), ops::ones({c, 1, 1})},
          s.range(2) != 0);
}
BENCHMARK(scale_shift_relu)->ArgNames({"C", "side", "fused"})->ArgsProduct({{64}, {4, 8, 32}, {0, 1}})->UseRealTime();

// A gradient through tanh and the sum of it over the batch: what a bias gets.
void gradient_and_bias(benchmark::State& s) {
  ProgramBuilder b;
  const int g = b.input(kFloat), y = b.input(kFloat);
  const int v = b.apply(Op::TanhBackward, {}, Ids{g, y}, kFloat);
  b.output(v);
  b.output(v, Op::Sum, {{0}, false}, 2);
  measure(s, b.program(), {ops::ones({s.range(0), s.range(1)}), ops::ones({s.range(0), s.range(1)})}, s.range(2) != 0);
}
BENCHMARK(gradient_and_bias)
    ->ArgNames({"M", "N", "fused"})
    ->ArgsProduct({{32, 512}, {128, 1024}, {0, 1}})
    ->UseRealTime();

// A loss: the mean of (x - y)^2.
void mean_squared_error(benchmark::State& s) {
  ProgramBuilder b;
  const int v =
      b.apply(Op::Square, {}, Ids{b.apply(Op::Subtract, {}, Ids{b.input(kFloat), b.input(kFloat)}, kFloat)}, kFloat);
  b.output(v, Op::Mean, {{0}, false}, 1);
  measure(s, b.program(), {ops::ones({s.range(0)}), ops::ones({s.range(0)})}, s.range(1) != 0);
}
BENCHMARK(mean_squared_error)->ArgNames({"n", "fused"})->ArgsProduct({{640, 50176, 1 << 22}, {0, 1}})->UseRealTime();

}  // namespace
}  // namespace lanner
