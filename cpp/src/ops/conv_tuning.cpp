#include "ops/conv_tuning.h"

#include <algorithm>
#include <chrono>
#include <sstream>
#include <vector>

#include "lanner/config.h"
#include "lanner/tensor.h"
#include "ops/autotune.h"

namespace lanner {
namespace {

// In vector FMAs, some 7e9 of which pass in a second: what takes less than 15 us is not worth its measuring, and a way
// that should take three times the cheapest is not worth its own.
constexpr double kLeastCost = 1e5, kFarOff = 3;

int64_t volume(const int64_t (&v)[3]) { return v[0] * v[1] * v[2]; }

double seconds(auto&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string key_of(const char* pass, const cpu::ConvGeometry& g, size_t itemsize) {
  std::ostringstream key;
  key << isa() << ':' << pass << ':' << 8 * itemsize << (g.operands == cpu::ConvOperands::Full ? "" : "b") << ":n"
      << g.n << 'g' << g.groups << 'c' << g.c << 'm' << g.m;
  const auto add = [&](char name, const int64_t(&v)[3]) { key << name << v[0] << 'x' << v[1] << 'x' << v[2]; };
  add('i', g.in), add('o', g.out), add('k', g.kernel), add('s', g.stride), add('p', g.pad), add('d', g.dilation);
  return key.str();
}

template <class Functions, class Cost>
std::vector<int> worth_measuring(const Functions* const (&ways)[cpu::kConvWays], Cost cost_of, int rule) {
  std::vector<int> near;
  const double least = cost_of(*ways[rule]);
  if (!(least >= kLeastCost)) return near;
  for (int i = 0; i < cpu::kConvWays; ++i)
    if (ways[i] && cost_of(*ways[i]) <= kFarOff * least) near.push_back(i);
  return near;
}

template <class T>
Tensor room(int64_t elements) {
  return Tensor::empty({elements}, DTypeOf<T>::value);
}
// Of no net, but no time depends on them.
template <class T>
Tensor values(int64_t n) {
  Tensor t = room<T>(n);
  std::fill_n(t.template data<T>(), n, T(0.5));
  return t;
}

}  // namespace

template <class T>
int fastest_way(const cpu::ConvGeometry& g, cpu::ConvPass pass, int rule) {
  const auto& ways = conv_ways<T>().output;
  const std::vector<int> near =
      worth_measuring(ways, [&](const cpu::ConvFunctions<T>& f) { return f.cost(g, pass, false); }, rule);
  if (near.size() < 2) return rule;
  const bool forward = pass == cpu::ConvPass::Forward;
  Tensor x, y, w;
  return Autotune::instance().choose(key_of(forward ? "forward" : "grad", g, sizeof(T)), rule, near, [&](int way) {
    const cpu::ConvFunctions<T>& f = *ways[way];
    if (!x.defined()) {
      x = values<T>(g.n * g.groups * g.c * volume(g.in));
      y = values<T>(g.n * g.groups * g.m * volume(g.out));
      w = values<T>(g.groups * g.m * g.c * volume(g.kernel));
    }
    Tensor packed = room<T>(f.packed_elements(g, pass));
    const int64_t shared_elements = f.shared_elements ? f.shared_elements(g, pass) : 0;
    Tensor shared = room<T>(shared_elements);
    Tensor workspace = room<uint8_t>(f.workspace_bytes(g, pass));
    cpu::ConvArgs<T> args;
    args.geometry = g, args.pass = pass;
    args.packed = (packed.size() > 0 ? packed : w).template data<T>();
    args.src = (forward ? x : y).template data<T>(), args.dst = (forward ? y : x).template data<T>();
    args.shared = shared.template data<T>();
    return seconds([&] {
      f.pack(g, pass, w.template data<T>(), 0, f.pack_items(g, pass), packed.template data<T>());
      if (shared_elements > 0) f.share(args, 0, f.shared_items(g, pass), workspace.raw());
      f.run(args, 0, f.tasks(g, pass), workspace.raw());
    });
  });
}

template <class T>
int fastest_weight_way(const cpu::ConvGeometry& g, int rule) {
  const auto& ways = conv_ways<T>().weight;
  const std::vector<int> near =
      worth_measuring(ways, [&](const cpu::ConvWeightFunctions<T>& f) { return f.cost(g); }, rule);
  if (near.size() < 2) return rule;
  Tensor x, dy, dw;
  return Autotune::instance().choose(key_of("weight", g, sizeof(T)), rule, near, [&](int way) {
    const cpu::ConvWeightFunctions<T>& f = *ways[way];
    if (!x.defined()) {
      x = values<T>(g.n * g.groups * g.c * volume(g.in));
      dy = values<T>(g.n * g.groups * g.m * volume(g.out));
      dw = room<T>(g.groups * g.m * g.c * volume(g.kernel));
    }
    Tensor partial = room<T>(f.partial_elements(g));
    Tensor workspace = room<uint8_t>(f.workspace_bytes(g));
    return seconds([&] {
      for (int64_t round = 0; round < f.rounds(g); ++round) {
        f.run(g, round, x.template data<T>(), dy.template data<T>(), partial.template data<T>(), 0, f.tasks(g),
              workspace.raw());
        f.finish(g, round, partial.template data<T>(), dw.template data<T>(), 0, f.finish_items(g));
      }
    });
  });
}

#define LANNER_INSTANTIATE(T)                                                \
  template int fastest_way<T>(const cpu::ConvGeometry&, cpu::ConvPass, int); \
  template int fastest_weight_way<T>(const cpu::ConvGeometry&, int);
LANNER_INSTANTIATE(float)
LANNER_INSTANTIATE(double)
#undef LANNER_INSTANTIATE

}  // namespace lanner
