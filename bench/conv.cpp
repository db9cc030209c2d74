// Convolution, its input gradient and its weight gradient on one thread, each way that there is, on layers of LeNet-5,
// VGG, ResNet-18, an autoencoder and MobileNet (depthwise); then the op as users call it, on all threads. The rates are
// those of the direct sum's FLOPs: Winograd's products may pass the ceiling.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>

#include "cpu/dispatch.h"
#include "cpu/kernels/conv.h"
#include "lanner/autodiff.h"
#include "lanner/ops.h"
#include "lanner/parallel.h"
#include "roof.h"

namespace {

using namespace lanner;

struct Layer {
  const char* name;
  int64_t n, groups, c, m, size, kernel, stride, pad;  // c and m: channels of one group
  cpu::ConvOperands operands = cpu::ConvOperands::Full;
};
const Layer kLayers[] = {
    {"lenet5_1", 64, 1, 1, 6, 28, 5, 1, 2},        {"lenet5_2", 64, 1, 6, 16, 14, 5, 1, 0},
    {"vgg_first", 64, 1, 3, 32, 32, 3, 1, 1},      {"vgg_64", 64, 1, 64, 128, 8, 3, 1, 1},
    {"resnet_64", 32, 1, 64, 64, 32, 3, 1, 1},     {"resnet_down", 32, 1, 64, 128, 32, 3, 2, 1},
    {"resnet_256", 32, 1, 256, 256, 8, 3, 1, 1},   {"resnet_512", 32, 1, 512, 512, 4, 3, 1, 1},
    {"pointwise", 32, 1, 256, 64, 16, 1, 1, 0},    {"autoencoder_1", 64, 1, 1, 16, 28, 4, 2, 1},
    {"autoencoder_2", 64, 1, 16, 32, 14, 4, 2, 1}, {"depthwise", 32, 64, 1, 1, 32, 3, 1, 1},
    {"resnet_64_b1", 1, 1, 64, 64, 32, 3, 1, 1},   {"dcgan", 64, 1, 32, 64, 14, 4, 2, 1},
    {"autoencoder_3", 64, 1, 16, 32, 14, 3, 2, 1}, {"resnet_down_512", 32, 1, 256, 512, 8, 3, 2, 1},
    {"resnet_short", 32, 1, 64, 128, 32, 1, 2, 0}, {"resnet_short_512", 32, 1, 256, 512, 8, 1, 2, 0},
    {"depthwise_s2", 32, 64, 1, 1, 32, 3, 2, 1},   {"depthwise_5", 32, 64, 1, 1, 32, 5, 1, 2},
};

cpu::ConvGeometry geometry_of(const Layer& l) {
  cpu::ConvGeometry g;
  g.n = l.n, g.groups = l.groups, g.c = l.c, g.m = l.m, g.operands = l.operands;
  for (int d = 1; d < 3; ++d) {
    g.in[d] = l.size, g.kernel[d] = l.kernel, g.stride[d] = l.stride, g.pad[d] = l.pad;
    g.out[d] = (l.size + 2 * l.pad - l.kernel) / l.stride + 1;
  }
  return g;
}

double flops_of(const cpu::ConvGeometry& g) {
  return 2.0 * static_cast<double>(g.n * g.groups * g.m * g.c * g.out[1] * g.out[2] * g.kernel[1] * g.kernel[2]);
}

struct Buffer {
  explicit Buffer(int64_t bytes)
      : data(std::aligned_alloc(64, static_cast<size_t>((bytes + 64) / 64 * 64)), std::free) {
    float* f = static_cast<float*>(data.get());
    for (int64_t i = 0; i < bytes / 4; ++i) f[i] = static_cast<float>(i % 13) * 0.1f;
  }
  float* f32() const { return static_cast<float*>(data.get()); }
  std::unique_ptr<void, void (*)(void*)> data;
};

struct Tensors3 {
  explicit Tensors3(const cpu::ConvGeometry& g)
      : x(4 * g.n * g.groups * g.c * g.in[1] * g.in[2]),
        y(4 * g.n * g.groups * g.m * g.out[1] * g.out[2]),
        w(4 * g.groups * g.m * g.c * g.kernel[1] * g.kernel[2]) {}
  Buffer x, y, w;
};

// The kernels themselves start no threads: their ceiling is that of one.
void report_one_thread(benchmark::State& state, const cpu::ConvGeometry& g) {
  const int threads = num_threads();
  set_num_threads(1);
  roof::flops(state, flops_of(g));
  set_num_threads(threads);
}

void output(benchmark::State& state, const Layer& layer, cpu::ConvPass pass, const cpu::ConvFunctions<float>& f) {
  const cpu::ConvGeometry g = geometry_of(layer);
  const Tensors3 t(g);
  const Buffer packed(4 * f.packed_elements(g, pass)), workspace(f.workspace_bytes(g, pass));
  const bool forward = pass == cpu::ConvPass::Forward;
  cpu::ConvArgs<float> args;
  args.geometry = g, args.pass = pass, args.packed = f.packed_elements(g, pass) > 0 ? packed.f32() : t.w.f32();
  args.src = (forward ? t.x : t.y).f32(), args.dst = (forward ? t.y : t.x).f32();
  const int64_t shared_elements = f.share ? f.shared_elements(g, pass) : 0;
  const Buffer shared(4 * shared_elements);
  args.shared = shared.f32();
  for (auto _ : state) {
    f.pack(g, pass, t.w.f32(), 0, f.pack_items(g, pass), packed.f32());
    if (shared_elements > 0) f.share(args, 0, f.shared_items(g, pass), workspace.data.get());
    f.run(args, 0, f.tasks(g, pass), workspace.data.get());
  }
  report_one_thread(state, g);
  state.counters["cost"] = f.cost(g, pass, false);
}

void weight(benchmark::State& state, const Layer& layer, const cpu::ConvWeightFunctions<float>& f) {
  const cpu::ConvGeometry g = geometry_of(layer);
  const Tensors3 t(g);
  const Buffer partial(4 * f.partial_elements(g)), workspace(f.workspace_bytes(g));
  for (auto _ : state) {
    for (int64_t round = 0; round < f.rounds(g); ++round) {
      f.run(g, round, t.x.f32(), t.y.f32(), partial.f32(), 0, f.tasks(g), workspace.data.get());
      f.finish(g, round, partial.f32(), t.w.f32(), 0, f.finish_items(g));
    }
  }
  report_one_thread(state, g);
  state.counters["cost"] = f.cost(g);
}

void conv2d(benchmark::State& state, const Layer& layer) {
  const NoGrad off;
  const int64_t channels = layer.groups * layer.c;
  const Tensor x = ops::ones({layer.n, channels, layer.size, layer.size});
  const Tensor w = ops::ones({layer.groups * layer.m, layer.c, layer.kernel, layer.kernel});
  const Tensor b = ops::ones({layer.groups * layer.m});
  const int pad = static_cast<int>(layer.pad);
  for (auto _ : state) benchmark::DoNotOptimize(ops::conv2d(x, w, b, {layer.stride}, pad, {1}, layer.groups).raw());
  roof::flops(state, flops_of(geometry_of(layer)));
}

const char* const kWays[] = {"direct", "winograd2", "winograd4", "pointwise", "samples", "columns",
                             "split",  "gather",    "depthwise", "fresh",     "amx"};

const bool registered = [] {
  const cpu::ConvWays<float>& ways = cpu::kernels().conv->f32;
  for (const bool bf16 : {false, true})
    for (Layer layer : kLayers) {
      const std::string name = layer.name, precision = bf16 ? "/bf16" : "";
      if (bf16)
        layer.operands = cpu::has_amx()          ? cpu::ConvOperands::Tiles
                         : cpu::has_bf16_pairs() ? cpu::ConvOperands::Pairs
                                                 : cpu::ConvOperands::Rounded;
      const cpu::ConvGeometry g = geometry_of(layer);
      for (int i = 0; i < cpu::kConvWays; ++i) {
        const std::string end = "/" + name + "/" + kWays[i] + precision;
        if (const auto* f = ways.output[i]) {
          for (const auto pass : {cpu::ConvPass::Forward, cpu::ConvPass::InputGrad})
            if (std::isfinite(f->cost(g, pass, false)))
              benchmark::RegisterBenchmark(((pass == cpu::ConvPass::Forward ? "forward" : "input_grad") + end).c_str(),
                                           [layer, pass, f](benchmark::State& s) { output(s, layer, pass, *f); })
                  ->UseRealTime();
        }
        if (const auto* f = ways.weight[i]; f && std::isfinite(f->cost(g)))
          benchmark::RegisterBenchmark(("weight_grad" + end).c_str(), [layer, f](benchmark::State& s) {
            weight(s, layer, *f);
          })->UseRealTime();
      }
      if (!bf16) benchmark::RegisterBenchmark(("conv2d/" + name).c_str(), conv2d, layer)->UseRealTime();
    }
  return true;
}();

}  // namespace
