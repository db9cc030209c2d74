// One optimizer step over all parameters of a net: bytes read and written against the ceiling.
#include <benchmark/benchmark.h>

#include <vector>

#include "lanner/ops.h"
#include "lanner/optim.h"
#include "roof.h"

namespace {

using namespace lanner;

// The sizes of the parameters of LeNet-5 (62 thousand in 10), an MLP 784-512-512-10 (670 thousand in 6), and ResNet-18
// (11 million in 62).
std::vector<int64_t> parameters(int64_t net) {
  if (net == 0) return {150, 6, 2400, 16, 48000, 120, 10080, 84, 840, 10};
  if (net == 1) return {401408, 512, 262144, 512, 5120, 10};
  std::vector<int64_t> sizes{9408, 64, 64};
  int64_t in = 64;
  for (const int64_t out : {64, 128, 256, 512})
    for (int block = 0; block < 2; ++block) {
      for (const int64_t n : {out * in * 9, out, out, out * out * 9, out, out}) sizes.push_back(n);
      if (in != out)
        for (const int64_t n : {out * in, out, out}) sizes.push_back(n);
      in = out;
    }
  sizes.push_back(512000);
  sizes.push_back(1000);
  return sizes;
}

struct Net {
  Tensors p, g, a, b;
  Tensors steps, products;
  int64_t elements = 0;
  explicit Net(int64_t which) {
    for (const int64_t n : parameters(which)) {
      p.push_back(ops::uniform({n}, -1, 1));
      g.push_back(ops::uniform({n}, -1, 1));
      a.push_back(ops::zeros({n}));
      b.push_back(ops::zeros({n}));
      steps.push_back(Tensor::scalar(5));
      products.push_back(Tensor::scalar(0.01, DType::Float64));
      elements += n;
    }
  }
};

// `arrays`: how many are read and how many written for each element, together.
template <class Update>
void step(benchmark::State& state, int arrays, Update update) {
  const Net net(state.range(0));
  for (auto _ : state) update(net);
  state.counters["parameters"] = static_cast<double>(net.elements);
  roof::bytes(state, static_cast<double>(net.elements) * 4 * arrays);
}

void sgd(benchmark::State& s) {
  step(s, 3, [](const Net& n) { optim::sgd(n.p, n.g, {}, std::vector<bool>(n.p.size())); });
}
void sgd_momentum(benchmark::State& s) {
  step(s, 5, [](const Net& n) { optim::sgd(n.p, n.g, n.a, std::vector<bool>(n.p.size()), {.momentum = 0.9}); });
}
void adagrad(benchmark::State& s) {
  step(s, 5, [](const Net& n) { optim::adagrad(n.p, n.g, n.a, n.steps); });
}
void rmsprop(benchmark::State& s) {
  step(s, 5, [](const Net& n) { optim::rmsprop(n.p, n.g, n.a, {}, {}, n.steps); });
}
void adadelta(benchmark::State& s) {
  step(s, 7, [](const Net& n) { optim::adadelta(n.p, n.g, n.a, n.b, n.steps); });
}
void adam(benchmark::State& s) {
  step(s, 7, [](const Net& n) { optim::adam(n.p, n.g, n.a, n.b, {}, n.steps); });
}
void adamw(benchmark::State& s) {
  step(s, 7, [](const Net& n) {
    optim::adam(n.p, n.g, n.a, n.b, {}, n.steps, {.weight_decay = 0.01, .decoupled_weight_decay = true});
  });
}
void adamax(benchmark::State& s) {
  step(s, 7, [](const Net& n) { optim::adamax(n.p, n.g, n.a, n.b, n.steps); });
}
void nadam(benchmark::State& s) {
  step(s, 7, [](const Net& n) { optim::nadam(n.p, n.g, n.a, n.b, n.products, n.steps); });
}
void lion(benchmark::State& s) {
  step(s, 5, [](const Net& n) { optim::lion(n.p, n.g, n.a); });
}

#define LANNER_BENCH_STEP(name) BENCHMARK(name)->ArgName("net")->Arg(0)->Arg(1)->Arg(2)->UseRealTime()
LANNER_BENCH_STEP(sgd);
LANNER_BENCH_STEP(sgd_momentum);
LANNER_BENCH_STEP(adagrad);
LANNER_BENCH_STEP(rmsprop);
LANNER_BENCH_STEP(adadelta);
LANNER_BENCH_STEP(adam);
LANNER_BENCH_STEP(adamw);
LANNER_BENCH_STEP(adamax);
LANNER_BENCH_STEP(nadam);
LANNER_BENCH_STEP(lion);

}  // namespace
