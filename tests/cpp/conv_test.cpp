// Convolution kernels of every instruction set against a naive float64 convolution.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/half.h"
#include "cpu/dispatch.h"
#include "cpu/kernels/conv.h"
#include "cpu/kernels/gemm.h"
#include "ops/op.h"

namespace lanner::cpu {
namespace {

struct Spec {
  int64_t n, groups, c, m;  // channels of one group
  int64_t in[3], kernel[3], stride[3], pad[3], dilation[3];
};

// Channels and widths on both sides of a vector, of a tile and of a panel; strides with remainders; borders wider than
// the kernel; kernels smaller than their stride, of which some phases have no tap.
const Spec kSpecs[] = {
    {2, 1, 1, 6, {1, 28, 28}, {1, 5, 5}, {1, 1, 1}, {0, 2, 2}, {1, 1, 1}},
    {3, 1, 6, 16, {1, 14, 14}, {1, 5, 5}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}},
    {2, 1, 8, 64, {1, 32, 32}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {5, 1, 40, 70, {1, 4, 4}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {33, 1, 3, 17, {1, 5, 7}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {2, 1, 64, 33, {1, 7, 7}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}},
    {2, 1, 64, 33, {1, 16, 16}, {1, 1, 1}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}},
    {2, 1, 3, 8, {1, 28, 28}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}},
    {2, 1, 16, 1, {1, 14, 14}, {1, 4, 4}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}},
    {2, 1, 5, 3, {1, 17, 40}, {1, 3, 3}, {1, 2, 3}, {0, 1, 1}, {1, 2, 2}},
    {2, 1, 5, 35, {1, 13, 19}, {1, 2, 2}, {1, 3, 3}, {0, 0, 0}, {1, 1, 1}},
    {2, 1, 4, 24, {1, 9, 9}, {1, 3, 3}, {1, 1, 1}, {0, 4, 4}, {1, 1, 1}},
    {2, 1, 4, 24, {1, 9, 11}, {1, 2, 4}, {1, 1, 2}, {0, 3, 5}, {1, 3, 2}},
    {2, 12, 1, 1, {1, 15, 33}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {2, 12, 1, 2, {1, 8, 8}, {1, 5, 5}, {1, 2, 2}, {0, 2, 2}, {1, 1, 1}},
    {2, 4, 3, 20, {1, 6, 6}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {20, 20, 2, 3, {1, 3, 3}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {1, 1, 1, 1, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}},
    {1, 1, 2, 40, {1, 1, 1}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {3, 1, 7, 9, {1, 1, 50}, {1, 1, 5}, {1, 1, 2}, {0, 0, 2}, {1, 1, 1}},
    {2, 1, 5, 20, {1, 1, 37}, {1, 1, 3}, {1, 1, 1}, {0, 0, 4}, {1, 1, 4}},
    {2, 1, 3, 5, {5, 6, 18}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}},
    {2, 2, 4, 33, {6, 5, 7}, {2, 3, 3}, {2, 2, 2}, {1, 0, 1}, {1, 1, 1}},
    {1, 1, 150, 40, {1, 60, 40}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {1, 1, 150, 40, {1, 61, 43}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}},
    {1, 1, 64, 4, {9, 40, 40}, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}, {1, 1, 1}},
    {3, 1, 20, 37, {1, 13, 18}, {1, 3, 3}, {1, 1, 1}, {0, 0, 3}, {1, 1, 1}},
    {2, 3, 17, 16, {1, 8, 9}, {1, 3, 3}, {1, 1, 1}, {0, 2, 1}, {1, 1, 1}},
    {1, 1, 16, 33, {1, 3, 300}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {5, 1, 96, 130, {1, 28, 28}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
    {9, 1, 16, 40, {1, 14, 14}, {1, 4, 4}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}},
    {2, 2, 9, 16, {1, 11, 24}, {1, 4, 3}, {1, 2, 2}, {0, 0, 2}, {1, 1, 1}},
    {1, 1, 48, 33, {1, 70, 64}, {1, 3, 4}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}},
    {3, 1, 5, 7, {1, 9, 5}, {1, 4, 4}, {1, 2, 2}, {0, 4, 0}, {1, 1, 1}},
    {2, 3, 20, 50, {1, 5, 7}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}},
    {3, 2, 40, 50, {1, 9, 7}, {1, 1, 1}, {1, 3, 2}, {0, 0, 0}, {1, 1, 1}},
    {29, 1, 70, 20, {1, 8, 7}, {1, 1, 1}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}},
    {2, 1, 33, 9, {1, 40, 36}, {1, 1, 1}, {1, 2, 1}, {0, 0, 0}, {1, 1, 1}},
    {3, 5, 1, 1, {1, 16, 21}, {1, 5, 5}, {1, 2, 2}, {0, 2, 2}, {1, 1, 1}},
    {2, 7, 1, 1, {1, 13, 40}, {1, 3, 3}, {1, 2, 2}, {0, 1, 2}, {1, 1, 1}},
    {2, 3, 1, 1, {1, 90, 70}, {1, 5, 5}, {1, 1, 1}, {0, 4, 0}, {1, 1, 1}},
    {1, 2, 1, 1, {1, 130, 65}, {1, 3, 3}, {1, 2, 2}, {0, 0, 1}, {1, 1, 1}},
    {0, 1, 3, 5, {1, 6, 6}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}},
};

ConvGeometry geometry_of(const Spec& s) {
  ConvGeometry g;
  g.n = s.n, g.groups = s.groups, g.c = s.c, g.m = s.m;
  for (int d = 0; d < 3; ++d) {
    g.in[d] = s.in[d], g.kernel[d] = s.kernel[d], g.stride[d] = s.stride[d], g.pad[d] = s.pad[d];
    g.dilation[d] = s.dilation[d];
    g.out[d] = (s.in[d] + 2 * s.pad[d] - s.dilation[d] * (s.kernel[d] - 1) - 1) / s.stride[d] + 1;
  }
  return g;
}

int64_t volume(const int64_t (&v)[3]) { return v[0] * v[1] * v[2]; }

// Calls f(x, w, y) with the flat indices of each product that the convolution sums.
template <class F>
void each_product(const ConvGeometry& g, F f) {
  const int64_t in = volume(g.in), out = volume(g.out), taps = volume(g.kernel);
  for (int64_t n = 0; n < g.n; ++n)
    for (int64_t group = 0; group < g.groups; ++group)
      for (int64_t m = 0; m < g.m; ++m)
        for (int64_t p = 0; p < out; ++p)
          for (int64_t c = 0; c < g.c; ++c)
            for (int64_t t = 0; t < taps; ++t) {
              const int64_t o[3] = {p / g.out[2] / g.out[1], p / g.out[2] % g.out[1], p % g.out[2]};
              const int64_t k[3] = {t / g.kernel[2] / g.kernel[1], t / g.kernel[2] % g.kernel[1], t % g.kernel[2]};
              int64_t i[3];
              bool inside = true;
              for (int d = 0; d < 3; ++d) {
                i[d] = o[d] * g.stride[d] + k[d] * g.dilation[d] - g.pad[d];
                inside = inside && i[d] >= 0 && i[d] < g.in[d];
              }
              if (!inside) continue;
              f(((n * g.groups + group) * g.c + c) * in + (i[0] * g.in[1] + i[1]) * g.in[2] + i[2],
                ((group * g.m + m) * g.c + c) * taps + t, ((n * g.groups + group) * g.m + m) * out + p);
            }
}

template <class T>
std::vector<T> random_values(int64_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> value(-1, 1);
  std::vector<T> v(static_cast<size_t>(n));
  for (T& x : v) x = static_cast<T>(value(engine));
  return v;
}

// Aligned as the caching allocator's memory is.
struct Scratch {
  explicit Scratch(int64_t bytes)
      : size((static_cast<size_t>(bytes) + 64) / 64 * 64), data(std::aligned_alloc(64, size)) {
    std::memset(data, 0xff, size);  // NaN: what is read without being written shows
  }
  ~Scratch() { std::free(data); }
  size_t size;
  void* data;
};

// |got - want| within the rounding of a sum of `terms` products of values up to 1, `growth` times that.
template <class T>
void expect_near(const std::vector<T>& got, const std::vector<double>& want, int64_t terms, double growth,
                 const std::string& what) {
  const double tolerance = std::numeric_limits<T>::epsilon() * 2 * growth *
                           (std::sqrt(static_cast<double>(terms)) + 1) * std::sqrt(static_cast<double>(terms) + 1);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(static_cast<double>(got[i]), want[i], tolerance) << what << " element " << i;
}

template <class T>
const ConvWays<T>& ways_of(const KernelTable& table) {
  if constexpr (sizeof(T) == 4)
    return table.conv->f32;
  else
    return table.conv->f64;
}

template <class T>
std::vector<T> run(const ConvFunctions<T>& f, const ConvGeometry& g, ConvPass pass, const std::vector<T>& src,
                   const std::vector<T>& weight, const Epilogue<T>& epilogue, int64_t size, int64_t step) {
  Scratch packed(f.packed_elements(g, pass) * static_cast<int64_t>(sizeof(T)));
  T* const p = static_cast<T*>(packed.data);
  for (int64_t i = f.pack_items(g, pass); i-- > 0;) f.pack(g, pass, weight.data(), i, i + 1, p);  // any order
  Scratch workspace(f.workspace_bytes(g, pass));
  std::vector<T> dst(static_cast<size_t>(size), static_cast<T>(NAN));
  const int64_t tasks = f.tasks(g, pass);
  const T* const read = f.packed_elements(g, pass) > 0 ? p : weight.data();
  ConvArgs<T> args{g, pass, src.data(), read, dst.data(), nullptr, nullptr, epilogue};
  Scratch tables(f.make_tables ? f.table_bytes(g, pass) : 0);
  if (step > 1 && f.make_tables && f.table_bytes(g, pass) > 0) f.make_tables(g, pass, args.tables = tables.data);
  const bool shares = f.share && f.shared_elements(g, pass) > 0;
  Scratch shared(shares ? f.shared_elements(g, pass) * static_cast<int64_t>(sizeof(T)) : 0);
  if (shares) {
    args.shared = static_cast<T*>(shared.data);
    const int64_t items = f.shared_items(g, pass);
    for (int64_t i = 0; i < items; i += step) f.share(args, i, std::min(i + step, items), workspace.data);
  }
  for (int64_t i = 0; i < tasks; i += step) f.run(args, i, std::min(i + step, tasks), workspace.data);
  return dst;
}

template <class T>
std::vector<double> finished(std::vector<double> v, const Epilogue<T>& e) {
  for (size_t i = 0; i < v.size(); ++i) {
    if (e.residual) v[i] += e.residual[i];
    if (e.activation != Activation::None && v[i] < 0) v[i] *= e.activation == Activation::Relu ? 0.0 : e.slope;
    if (e.gate && !(e.gate[i] > 0)) v[i] *= e.gate_slope;
  }
  return v;
}

constexpr int kAmxWay = 10;
// What the ways other than the direct sum (way 1: Winograd, 2 x 2; way 2: 4 x 4; way 6:
// stride 2; way 9: 4 x 4 again) add to the error, in sums of `terms`.
double growth(int way) { return way == 1 ? 9 : way == 2 ? 69 : way == 6 ? 45 : way == 9 ? 69 : 1; }

template <class T>
void test_output(const ConvFunctions<T>& f, double growth, const ConvGeometry& g, ConvPass pass,
                 const std::vector<T>& src, const std::vector<T>& w, const std::vector<T>& bias,
                 const std::vector<double>& want, const std::string& what) {
  const bool forward = pass == ConvPass::Forward;
  const int64_t size = static_cast<int64_t>(want.size()), terms = (forward ? g.c : g.m) * volume(g.kernel);
  Epilogue<T> plain;
  plain.bias_per_row = bias.data();
  const auto dst = run(f, g, pass, src, w, plain, size, 1000000);
  expect_near(dst, want, terms, growth, what);
  EXPECT_EQ(dst, run(f, g, pass, src, w, plain, size, 1)) << what;

  // Every part of the epilogue alone, then all together.
  const auto like = random_values<T>(size, 6);
  for (const int parts : {1, 2, 4, 8, 1 | 4 | 8}) {
    Epilogue<T> e = plain;
    e.slope = T(0.25), e.gate_slope = parts == 8 ? T{0} : T(0.5);
    if (parts & 1) e.residual = like.data();
    if (parts & 2) e.activation = Activation::Relu;
    if (parts & 4) e.activation = Activation::LeakyRelu;
    if (parts & 8) e.gate = like.data();
    expect_near(run(f, g, pass, src, w, e, size, 3), finished(want, e), terms, growth,
                what + " epilogue " + std::to_string(parts));
  }
}

template <class T>
void test_weight(const ConvWeightFunctions<T>& f, double growth, const ConvGeometry& g, const std::vector<T>& x,
                 const std::vector<T>& dy, const std::vector<double>& want, const std::string& what) {
  std::vector<T> first;
  for (const int64_t step : {int64_t{1}, int64_t{1000000}}) {
    Scratch partial(f.partial_elements(g) * static_cast<int64_t>(sizeof(T)));
    Scratch workspace(f.workspace_bytes(g));
    T* const sums = static_cast<T*>(partial.data);
    std::vector<T> got(want.size(), static_cast<T>(NAN));
    const int64_t tasks = f.tasks(g), items = f.finish_items(g);
    for (int64_t round = 0; round < f.rounds(g); ++round) {
      for (int64_t i = 0; i < tasks; i += step)
        f.run(g, round, x.data(), dy.data(), sums, i, std::min(i + step, tasks), workspace.data);
      for (int64_t i = 0; i < items; i += step) f.finish(g, round, sums, got.data(), i, std::min(i + step, items));
    }
    if (first.empty()) {
      expect_near(got, want, g.n * volume(g.out), growth, what);
      first = got;
    } else {
      EXPECT_EQ(first, got) << what;
    }
  }
}

template <class T>
void round_operands(std::vector<T>* values, ConvOperands operands) {
  if (operands == ConvOperands::Full) return;
  for (T& x : *values) x = static_cast<T>(to_float(to_bfloat16(static_cast<float>(x))));
}

// The reference sees operands that are rounded as they are by the kernels.
template <class T>
void test_spec(const KernelTable& table, const Spec& spec, const std::string& what,
               ConvOperands operands = ConvOperands::Full) {
  ConvGeometry g = geometry_of(spec);
  g.operands = operands;
  const int64_t xs = g.n * g.groups * g.c * volume(g.in), ys = g.n * g.groups * g.m * volume(g.out);
  const int64_t ws = g.groups * g.m * g.c * volume(g.kernel);
  const auto whole_x = random_values<T>(xs, 1), whole_w = random_values<T>(ws, 2), whole_dy = random_values<T>(ys, 3);
  auto x = whole_x, w = whole_w, dy = whole_dy;
  for (auto* values : {&x, &w, &dy}) round_operands(values, operands);
  const auto bias = random_values<T>(g.groups * g.m, 4), input_bias = random_values<T>(g.groups * g.c, 5);

  std::vector<double> y(static_cast<size_t>(ys)), dx(static_cast<size_t>(xs)), dw(static_cast<size_t>(ws));
  for (int64_t i = 0; i < ys; ++i) y[i] = bias[i / volume(g.out) % (g.groups * g.m)];
  for (int64_t i = 0; i < xs; ++i) dx[i] = input_bias[i / volume(g.in) % (g.groups * g.c)];
  each_product(g, [&](int64_t xi, int64_t wi, int64_t yi) {
    y[yi] += static_cast<double>(x[xi]) * w[wi];
    dx[xi] += static_cast<double>(dy[yi]) * w[wi];
    dw[wi] += static_cast<double>(dy[yi]) * x[xi];
  });

  for (int way = 0; way < kConvWays; ++way) {
    const std::string name = what + " way " + std::to_string(way);
    const ConvFunctions<T>* const output = ways_of<T>(table).output[way];
    if (way == kAmxWay && !has_amx()) continue;
    if (paired(operands) && !table.gemm->bf16_pairs) continue;  // no more than the imitation of AMX runs there
    if (output && std::isfinite(output->cost(g, ConvPass::Forward, false)))
      test_output(*output, growth(way), g, ConvPass::Forward, whole_x, whole_w, bias, y, name + " forward");
    if (output && std::isfinite(output->cost(g, ConvPass::InputGrad, false)))
      test_output(*output, growth(way), g, ConvPass::InputGrad, whole_dy, whole_w, input_bias, dx,
                  name + " input gradient");
    const ConvWeightFunctions<T>* const weight = ways_of<T>(table).weight[way];
    if (weight && std::isfinite(weight->cost(g)))
      test_weight(*weight, growth(way), g, whole_x, whole_dy, dw, name + " weight gradient");
  }
  if constexpr (sizeof(T) == 4) {
    const ConvFunctions<float>& amx = *table.conv->amx_plain;
    if (std::isfinite(amx.cost(g, ConvPass::Forward, false)))
      test_output(amx, 1, g, ConvPass::Forward, whole_x, whole_w, bias, y, what + " amx forward");
    if (std::isfinite(amx.cost(g, ConvPass::InputGrad, false)))
      test_output(amx, 1, g, ConvPass::InputGrad, whole_dy, whole_w, input_bias, dx, what + " amx input gradient");
  }
}

class Conv : public ::testing::TestWithParam<int> {};

TEST_P(Conv, MatchesNaive) {
  const int i = GetParam();
  for (const KernelTable* table : available()) {
    const std::string what = std::string(table->isa) + " spec " + std::to_string(i);
    test_spec<float>(*table, kSpecs[i], what + " float32");
    test_spec<double>(*table, kSpecs[i], what + " float64");
    test_spec<float>(*table, kSpecs[i], what + " rounded", ConvOperands::Rounded);
    const bool avx512 = table->gemm->bf16_pairs != nullptr;
    if (avx512 && has_bf16_pairs()) test_spec<float>(*table, kSpecs[i], what + " pairs", ConvOperands::Pairs);
    if (!avx512 || has_bf16_pairs()) test_spec<float>(*table, kSpecs[i], what + " tiles", ConvOperands::Tiles);
  }
}

INSTANTIATE_TEST_SUITE_P(Specs, Conv, ::testing::Range(0, static_cast<int>(std::size(kSpecs))));

double rms_error(const std::vector<float>& got, const std::vector<double>& want) {
  double sum = 0;
  for (size_t i = 0; i < got.size(); ++i) sum += (got[i] - want[i]) * (got[i] - want[i]);
  return std::sqrt(sum / static_cast<double>(got.size()));
}

// On random values, where a loss of accuracy would hide under the bound of the worst case.
void test_rms_error(const Spec& spec, int way, double most) {
  const ConvGeometry g = geometry_of(spec);
  const int64_t ys = g.m * volume(g.out), ws = g.m * g.c * volume(g.kernel);
  const auto x = random_values<float>(g.c * volume(g.in), 1), w = random_values<float>(ws, 2);
  std::vector<double> y(static_cast<size_t>(ys));
  each_product(g, [&](int64_t xi, int64_t wi, int64_t yi) { y[yi] += static_cast<double>(x[xi]) * w[wi]; });
  for (const KernelTable* table : available()) {
    const auto error = [&](int i) {
      return rms_error(run(*table->conv->f32.output[i], g, ConvPass::Forward, x, w, Epilogue<float>{}, ys, 1), y);
    };
    EXPECT_LT(error(way), most * error(0)) << table->isa << " way " << way;
  }
}

TEST(ConvWinograd, ErrorNearThatOfTheDirectSum) {
  const Spec spec = {1, 1, 128, 40, {1, 16, 16}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}};
  test_rms_error(spec, 1, 2);
  test_rms_error(spec, 2, 3);
}

TEST(ConvSplit, ErrorNearThatOfTheDirectSum) {
  test_rms_error({1, 1, 64, 40, {1, 22, 22}, {1, 4, 4}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}}, 6, 3);
  test_rms_error({1, 1, 64, 40, {1, 22, 22}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}}, 6, 3);
}

// A plan's step: what is prepared gives the bits of the op, also after its weight was written to, and what is fused is
// what the ops apart would do.
TEST(ConvPrepared, RunsAsTheOpDoes) {
  struct Attrs3 {
    int64_t groups;
    Dims stride, pad, dilation;
  };
  for (const int64_t n : {1, 16})
    for (const int64_t channels : {3, 32}) {
      const Attrs attrs = Attrs3{1, {1, 1}, {1, 1}, {1, 1}};
      const auto tensor = [](const Shape& shape, unsigned seed) {
        return Tensor::from_vector(random_values<float>(element_count(shape), seed), shape);
      };
      const Tensor a = tensor({n, channels, 8, 8}, 1), residual = tensor({n, 32, 8, 8}, 3);
      const Tensor bias = tensor({32}, 4), gate = tensor({n, 32, 8, 8}, 5);
      const bool forward_only = channels != 32;
      for (const Op op : {Op::Conv, Op::ConvInputGrad}) {
        if (op == Op::ConvInputGrad && forward_only) continue;
        Tensor w = tensor({32, channels, 3, 3}, 2);
        const std::vector<Tensor> in = {a, w, bias, residual, gate};
        const Fused fused{3, 4, Activation::LeakyRelu, 0.5, 0.25};
        std::vector<Tensor> plain = {Tensor::empty({n, 32, 8, 8})}, eager = {Tensor::empty({n, 32, 8, 8})},
                            planned = {Tensor::empty({n, 32, 8, 8})};
        run_of(op)({op, {in.data(), 3}, plain, attrs});
        run_of(op)({op, in, eager, attrs, &fused});
        for (int64_t i = 0; i < eager[0].size(); ++i) {
          float v = plain[0].data<float>()[i] + residual.data<float>()[i];
          v = v < 0 ? v * 0.5f : v;
          v = gate.data<float>()[i] > 0 ? v : v * 0.25f;
          ASSERT_NEAR(eager[0].data<float>()[i], v, 1e-5) << op_name(op) << " element " << i;
        }
        for (const uint64_t constant : {0, 2}) {
          const lanner::Run r{op, in, planned, attrs, &fused};
          const auto prepared = prepare_of(op)(r, constant);
          for (int time = 0; time < 2; ++time) {
            if (time == 1) w.data<float>()[5] += 1;
            run_of(op)({op, in, eager, attrs, &fused});
            prepared->refresh(r);
            prepared->run(r);
            // Another way may be the best where the weight need not be packed.
            for (int64_t i = 0; i < eager[0].size(); ++i)
              ASSERT_NEAR(eager[0].data<float>()[i], planned[0].data<float>()[i], constant ? 1e-4 : 0);
          }
        }
      }
    }
}

}  // namespace
}  // namespace lanner::cpu
