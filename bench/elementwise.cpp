// Elementwise kernels on neighbours, in the first-level cache and from memory; ops with broadcasting, casts and
// transposes.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/kernels/elementwise.h"
#include "lanner/autodiff.h"
#include "lanner/ops.h"
#include "roof.h"

namespace {

using namespace lanner;

const cpu::ElementwiseKernel& kernel(const char* name) {
  for (const cpu::ElementwiseList* list : cpu::kernels().elementwise->lists)
    for (int i = 0; i < list->count; ++i)
      if (std::strcmp(list->begin[i].name, name) == 0) return list->begin[i];
  std::abort();
}

// One kernel, no driver: 4096 elements stay in the first-level cache, so this is the arithmetic.
template <class T>
void one_input(benchmark::State& state, const char* name) {
  const int64_t n = state.range(0);
  std::vector<T> x(static_cast<size_t>(n)), y(x.size());
  for (int64_t i = 0; i < n; ++i)
    x[static_cast<size_t>(i)] = static_cast<T>(0.01 + 4.0 * static_cast<double>(i) / static_cast<double>(n));
  cpu::Block b;
  b.rows = 1;
  b.columns = n;
  b.out = y.data();
  b.in[0] = x.data();
  b.in_step[0] = 1;
  const double params[2] = {1, 20};
  b.params = params;
  const cpu::BlockFn run = kernel(name).fn[static_cast<int>(DTypeOf<T>::value)];
  for (auto _ : state) {
    run(b);
    benchmark::ClobberMemory();
  }
  state.counters["ns/element"] = benchmark::Counter(
      static_cast<double>(n) * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void register_kernels() {
  for (const char* name : {"relu", "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "gelu", "silu", "softplus",
                           "sin", "atan", "sqrt"}) {
    benchmark::RegisterBenchmark((std::string("kernel/") + name + "/float32").c_str(), one_input<float>, name)
        ->Arg(4096);
    benchmark::RegisterBenchmark((std::string("kernel/") + name + "/float64").c_str(), one_input<double>, name)
        ->Arg(4096);
  }
}
const bool registered = (register_kernels(), true);

// Ops as users call them, allocation and dispatch included. Small ones first: a bias, an activation of LeNet-5, of
// ResNet.
template <class F>
void op(benchmark::State& state, int64_t bytes, F f) {
  NoGrad off;
  for (auto _ : state) benchmark::DoNotOptimize(f().raw());
  roof::bytes(state, static_cast<double>(bytes));
}

void add(benchmark::State& state) {
  const Tensor x = ops::ones({state.range(0)}), y = ops::ones({state.range(0)});
  op(state, 12 * x.size(), [&] { return x + y; });
}
BENCHMARK(add)->Arg(64)->Arg(4096)->Arg(64 * 6 * 28 * 28)->Arg(1 << 24);

void relu(benchmark::State& state) {
  const Tensor x = ops::ones({state.range(0)});
  op(state, 8 * x.size(), [&] { return ops::relu(x); });
}
BENCHMARK(relu)->Arg(64)->Arg(4096)->Arg(64 * 6 * 28 * 28)->Arg(1 << 24);

void gelu(benchmark::State& state) {
  const Tensor x = ops::ones({state.range(0)});
  op(state, 8 * x.size(), [&] { return ops::gelu(x); });
}
BENCHMARK(gelu)->Arg(4096)->Arg(1 << 20)->Arg(1 << 24);

void bias_of_rows(benchmark::State& state) {
  const Tensor x = ops::ones({state.range(0), state.range(1)}), bias = ops::ones({state.range(1)});
  op(state, 8 * x.size(), [&] { return x + bias; });
}
BENCHMARK(bias_of_rows)->Args({64, 10})->Args({64, 128})->Args({4096, 10})->Args({512, 4096});

void bias_of_channels(benchmark::State& state) {
  const Tensor x = ops::ones({64, state.range(0), state.range(1), state.range(1)}),
               bias = ops::ones({state.range(0), 1, 1});
  op(state, 8 * x.size(), [&] { return x + bias; });
}
BENCHMARK(bias_of_channels)->Args({6, 28})->Args({16, 10})->Args({256, 7});

void transpose_copy(benchmark::State& state) {
  const Tensor x = ops::ones({state.range(0), state.range(0)});
  op(state, 8 * x.size(), [&] { return ops::copy(ops::matrix_transpose(x)); });
}
BENCHMARK(transpose_copy)->Arg(64)->Arg(512)->Arg(4096);

void add_transposed(benchmark::State& state) {
  const Tensor x = ops::ones({state.range(0), state.range(0)});
  op(state, 12 * x.size(), [&] { return x + ops::matrix_transpose(x); });
}
BENCHMARK(add_transposed)->Arg(64)->Arg(512)->Arg(4096);

void cast(benchmark::State& state) {
  const auto from = static_cast<DType>(state.range(0)), to = static_cast<DType>(state.range(1));
  const Tensor x = ops::ones({1 << 20}, from);
  state.SetLabel(std::string(dtype_name(from)) + " to " + dtype_name(to));
  op(state, static_cast<int64_t>(itemsize(from) + itemsize(to)) * x.size(), [&] { return ops::cast(x, to); });
}
BENCHMARK(cast)
    ->Args({static_cast<int>(DType::UInt8), static_cast<int>(DType::Float32)})
    ->Args({static_cast<int>(DType::Float32), static_cast<int>(DType::Float16)})
    ->Args({static_cast<int>(DType::Float16), static_cast<int>(DType::Float32)})
    ->Args({static_cast<int>(DType::Float32), static_cast<int>(DType::BFloat16)})
    ->Args({static_cast<int>(DType::Float32), static_cast<int>(DType::Int64)})
    ->Args({static_cast<int>(DType::Float64), static_cast<int>(DType::Float16)});

void half_add(benchmark::State& state) {
  const Tensor x = ops::ones({1 << 20}, DType::BFloat16);
  op(state, 6 * x.size(), [&] { return x + x; });
}
BENCHMARK(half_add);

void where(benchmark::State& state) {
  const Tensor x = ops::ones({1 << 20}), c = ops::greater(x, Tensor::weak(0));
  op(state, 13 * x.size(), [&] { return ops::where(c, x, x); });
}
BENCHMARK(where);

void less(benchmark::State& state) {
  const Tensor x = ops::ones({1 << 20});
  op(state, 9 * x.size(), [&] { return ops::less(x, x); });
}
BENCHMARK(less);

}  // namespace
