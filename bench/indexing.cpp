// Moving by index and sorting: GB/s of what must be read and written, elements/s of what is sorted.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/kernels/indexing.h"
#include "lanner/autodiff.h"
#include "lanner/ops/indexing.h"
#include "lanner/ops/join.h"
#include "lanner/ops/sort.h"
#include "roof.h"

namespace lanner {
namespace {

Tensor random_indices(const Shape& shape, int64_t high) {
  std::mt19937_64 rng(1);
  Tensor t = Tensor::empty(shape, DType::Int64);
  for (int64_t i = 0; i < t.size(); ++i)
    t.data<int64_t>()[i] = static_cast<int64_t>(rng() % static_cast<uint64_t>(high));
  return t;
}

Tensor random_values(const Shape& shape) {
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  Tensor t = Tensor::empty(shape);
  for (int64_t i = 0; i < t.size(); ++i) t.data<float>()[i] = normal(rng);
  return t;
}

// Copies of rows of `bytes` from a table that lies in the L2 cache: the kernel alone.
void take_rows(benchmark::State& s) {
  const int64_t bytes = s.range(0), rows = (1 << 19) / bytes, n = 4096;
  const Tensor index = random_indices({n}, rows);
  std::vector<char> table(static_cast<size_t>(rows * bytes)), out(static_cast<size_t>(n * bytes));
  for (auto _ : s) {
    cpu::kernels().indexing->take_rows(table.data(), index.data<int64_t>(), out.data(), {n, rows, bytes, bytes, bytes});
    benchmark::ClobberMemory();
  }
  roof::bytes(s, 2.0 * n * bytes + 8.0 * n);
}
BENCHMARK(take_rows)->ArgName("bytes")->Arg(4)->Arg(16)->Arg(64)->Arg(256)->Arg(512)->Arg(4096);

// Vocabulary, features, batch x length.
void embedding(benchmark::State& s) {
  const Tensor weight = random_values({s.range(0), s.range(1)}), index = random_indices({s.range(2)}, s.range(0));
  for (auto _ : s) benchmark::DoNotOptimize(ops::embedding(weight, index).raw());
  roof::bytes(s, s.range(2) * (8.0 * s.range(1) + 8.0));
}
BENCHMARK(embedding)
    ->ArgNames({"V", "D", "N"})
    ->Args({65, 64, 2048})
    ->Args({10000, 256, 4096})
    ->Args({30000, 768, 4096});

void embedding_backward(benchmark::State& s) {
  Tensor weight = random_values({s.range(0), s.range(1)});
  weight.requires_grad_();
  const Tensor index = random_indices({s.range(2)}, s.range(0)), g = random_values({s.range(2), s.range(1)});
  for (auto _ : s) {
    const Tensor y = ops::embedding(weight, index);
    benchmark::DoNotOptimize(grad({y}, {weight}, {g})[0].raw());
  }
  // The lookup; zeros of the table; g read, its row read and written.
  roof::bytes(s,
              s.range(2) * (8.0 * s.range(1) + 8.0) + 4.0 * s.range(0) * s.range(1) + 12.0 * s.range(2) * s.range(1));
}
BENCHMARK(embedding_backward)->ArgNames({"V", "D", "N"})->Args({65, 64, 2048})->Args({10000, 256, 4096});

// One of C logits a row, and shuffles along the last axis.
void gather(benchmark::State& s) {
  const Tensor x = random_values({s.range(0), s.range(1)}),
               index = random_indices({s.range(0), s.range(2)}, s.range(1));
  for (auto _ : s) benchmark::DoNotOptimize(ops::gather(x, index, 1).raw());
  roof::bytes(s, 16.0 * index.size());
}
BENCHMARK(gather)
    ->ArgNames({"rows", "n", "picked"})
    ->Args({512, 10, 1})
    ->Args({4096, 1000, 1})
    ->Args({1024, 1024, 1024});

void scatter_add(benchmark::State& s) {
  const Tensor x = random_values({s.range(0), s.range(1)}), index = random_indices(x.shape(), s.range(0));
  for (auto _ : s) benchmark::DoNotOptimize(ops::scatter_add(x, index, x, 0).raw());
  roof::bytes(s, 28.0 * x.size());
}
BENCHMARK(scatter_add)->ArgNames({"rows", "n"})->Args({1000, 64})->Args({1000, 1000});

void concat(benchmark::State& s) {
  const Tensor a = random_values({s.range(0), s.range(1)}), b = random_values({s.range(0), s.range(2)});
  for (auto _ : s) benchmark::DoNotOptimize(ops::concat({a, b}, 1).raw());
  roof::bytes(s, 8.0 * (a.size() + b.size()));
}
BENCHMARK(concat)->ArgNames({"rows", "a", "b"})->Args({64, 128, 128})->Args({4096, 256, 256});

template <bool kIndices>
void sort(benchmark::State& s) {
  const Tensor x = random_values({s.range(0), s.range(1)});
  for (auto _ : s) benchmark::DoNotOptimize((kIndices ? ops::argsort(x) : ops::sort(x)).raw());
  s.counters["elements/s"] =
      benchmark::Counter(static_cast<double>(x.size()), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(sort<false>)
    ->Name("sort")
    ->ArgNames({"rows", "n"})
    ->Args({1000, 16})
    ->Args({100, 200})
    ->Args({100, 1000})
    ->Args({1, 100000})
    ->Args({1, 10000000});
BENCHMARK(sort<true>)
    ->Name("argsort")
    ->ArgNames({"rows", "n"})
    ->Args({1000, 16})
    ->Args({100, 200})
    ->Args({100, 300})
    ->Args({100, 1000})
    ->Args({1, 100000})
    ->Args({1, 10000000});

void topk(benchmark::State& s) {
  const Tensor x = random_values({s.range(0), s.range(1)});
  for (auto _ : s) benchmark::DoNotOptimize(ops::topk(x, s.range(2)).first.raw());
  roof::bytes(s, 4.0 * x.size());
}
BENCHMARK(topk)->ArgNames({"rows", "n", "k"})->Args({64, 1000, 5})->Args({64, 50000, 50})->Args({1, 10000000, 100});

}  // namespace
}  // namespace lanner
