// Pooling and resizing kernels of every instruction set against naive ones in float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/kernels/pool.h"

namespace lanner::cpu {
namespace {

template <class T>
const PoolFunctions<T>& functions(const KernelTable& table) {
  if constexpr (sizeof(T) == 4)
    return table.pool->f32;
  else
    return table.pool->f64;
}

template <class T>
std::vector<T> random_values(size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> value(-1, 1);
  std::vector<T> v(n);
  for (T& x : v) x = static_cast<T>(value(engine));
  return v;
}

struct Windows {
  Windows(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t step) {
    for (int64_t start = -pad; start + step * (kernel - 1) < in + pad; start += stride) {
      int64_t begin = start, n = 0;
      while (begin < 0) begin += step;
      for (int64_t p = start; p < start + step * kernel; p += step) n += p >= 0 && p < in;
      first.push_back(static_cast<int32_t>(begin));
      count.push_back(static_cast<int32_t>(n));
      size.push_back(static_cast<int32_t>(kernel));
    }
    axis = {in, static_cast<int64_t>(first.size()), step, first.data(), count.data(), size.data(), kernel, stride, pad};
  }
  std::vector<int32_t> first, count, size;
  PoolAxis axis;
};

// Calls f(output, input) for each pair that a window joins, both counted over all planes, in row-major order.
template <class F>
void each_pair(const PoolAxis& h, const PoolAxis& w, int64_t planes, F f) {
  for (int64_t p = 0; p < planes; ++p)
    for (int64_t i = 0; i < h.out; ++i)
      for (int64_t o = 0; o < w.out; ++o)
        for (int64_t a = 0; a < h.count[i]; ++a)
          for (int64_t b = 0; b < w.count[o]; ++b)
            f((p * h.out + i) * w.out + o, (p * h.in + h.first[i] + a * h.step) * w.in + w.first[o] + b * w.step,
              h.size[i] * w.size[o]);
}

template <class T>
void expect_near(const std::vector<T>& got, const std::vector<double>& want, double terms, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(static_cast<double>(got[i]), want[i], std::numeric_limits<T>::epsilon() * 4 * (terms + 1))
        << what << " " << i;
}

struct Spec {
  int64_t planes, h, w, kernel[2], stride[2], pad[2], step[2];
};
// Widths on both sides of a vector and of two.
const Spec kSpecs[] = {
    {6, 28, 28, {2, 2}, {2, 2}, {0, 0}, {1, 1}}, {3, 10, 10, {2, 2}, {2, 2}, {0, 0}, {1, 1}},
    {2, 5, 65, {2, 2}, {2, 2}, {0, 0}, {1, 1}},  {2, 2, 3, {2, 2}, {2, 2}, {0, 0}, {1, 1}},
    {2, 9, 33, {3, 3}, {2, 2}, {1, 1}, {1, 1}},  {2, 7, 20, {3, 2}, {1, 3}, {1, 0}, {2, 3}},
    {3, 1, 31, {1, 5}, {1, 2}, {0, 2}, {1, 1}},  {1, 1, 1, {1, 1}, {1, 1}, {0, 0}, {1, 1}},
    {2, 4, 40, {2, 3}, {2, 1}, {1, 1}, {1, 1}},  {2, 4, 70, {2, 3}, {2, 2}, {0, 1}, {1, 2}},
    {4, 7, 7, {7, 7}, {7, 7}, {0, 0}, {1, 1}},   {0, 4, 4, {2, 2}, {2, 2}, {0, 0}, {1, 1}},
};

template <class T>
T finished(T x, const Epilogue<T>& e, size_t i) {
  if (e.residual) x += e.residual[i];
  if (e.activation != Activation::None && x < 0) x = e.activation == Activation::Relu ? 0 : x * e.slope;
  if (e.gate && !(e.gate[i] > 0)) x *= e.gate_slope;
  return x;
}

template <class T>
void expect_finished(const std::vector<T>& got, const std::vector<T>& plain, const Epilogue<T>& e,
                     const std::string& what) {
  for (size_t i = 0; i < got.size(); ++i)
    if (!std::isnan(plain[i])) ASSERT_EQ(got[i], finished(plain[i], e, i)) << what << " " << i;
}

// What is found by a place in the window is what is found by a place in the plane, and so are the gradients; with and
// without an epilogue.
template <class T>
void test_offsets(const PoolFunctions<T>& f, const Spec& s, const PoolAxis& h, const PoolAxis& w,
                  const std::vector<T>& x, const std::vector<T>& y, const std::vector<int64_t>& index,
                  bool special_values) {
  const size_t in = x.size(), out = y.size();
  std::vector<char> workspace(static_cast<size_t>(f.workspace_bytes(w)));
  const std::vector<T> for_y = random_values<T>(out, 5), for_x = random_values<T>(in, 6);
  Epilogue<T> relu, leaky, gated;
  relu.residual = for_y.data(), relu.activation = Activation::Relu;
  leaky.activation = Activation::LeakyRelu, leaky.slope = static_cast<T>(0.25);
  gated.gate = for_x.data(), gated.gate_slope = static_cast<T>(0.5);

  std::vector<T> z(out);
  std::vector<uint8_t> offset(out);
  std::vector<int64_t> again(out);
  f.max_offset(x.data(), z.data(), offset.data(), h, w, 0, s.planes, {}, workspace.data());
  expect_finished(z, y, {}, "max by offset");
  for (size_t o = 0; o < out; ++o) {
    const int64_t i = static_cast<int64_t>(o) / w.out % h.out, j = static_cast<int64_t>(o) % w.out;
    const int64_t row = i * h.stride - h.pad + offset[o] / w.kernel * h.step,
                  column = j * w.stride - w.pad + offset[o] % w.kernel * w.step;
    const int64_t plane = static_cast<int64_t>(o) / (h.out * w.out) * s.h * s.w;
    if (std::isnan(y[o]))
      EXPECT_TRUE(std::isnan(x[plane + row * s.w + column]));
    else
      EXPECT_EQ(row * s.w + column, index[o]) << o;
  }
  for (const Epilogue<T>& e : {relu, leaky}) {
    f.max_offset(x.data(), z.data(), offset.data(), h, w, 0, s.planes, e, workspace.data());
    expect_finished(z, y, e, "max by offset, epilogue");
    f.max(x.data(), z.data(), again.data(), h, w, 0, s.planes, e, workspace.data());
    expect_finished(z, y, e, "max, epilogue");
    EXPECT_EQ(again, index);
  }
  if (special_values) return;

  std::vector<T> dx(in), dz(in, static_cast<T>(NAN));
  f.gather_offset(x.data(), offset.data(), z.data(), h, w, 0, s.planes);
  EXPECT_EQ(z, y);
  f.scatter(for_y.data(), index.data(), dx.data(), s.h * s.w, h.out * w.out, 0, s.planes, {});
  f.scatter_offset(for_y.data(), offset.data(), dz.data(), h, w, 0, s.planes, {});
  EXPECT_EQ(dz, dx);
  f.scatter_offset(for_y.data(), offset.data(), dz.data(), h, w, 0, s.planes, gated);
  expect_finished(dz, dx, gated, "scatter by offset, gated");
  f.scatter(for_y.data(), index.data(), dz.data(), s.h * s.w, h.out * w.out, 0, s.planes, gated);
  expect_finished(dz, dx, gated, "scatter, gated");
}

template <class T>
void test_spec(const KernelTable& table, const Spec& s, bool special_values) {
  const PoolFunctions<T>& f = functions<T>(table);
  const Windows h(s.h, s.kernel[0], s.stride[0], s.pad[0], s.step[0]);
  const Windows w(s.w, s.kernel[1], s.stride[1], s.pad[1], s.step[1]);
  const size_t in = static_cast<size_t>(s.planes * s.h * s.w);
  const size_t out = static_cast<size_t>(s.planes * h.axis.out * w.axis.out);
  const std::string what = std::string(table.isa) + (sizeof(T) == 4 ? " float32 " : " float64 ") + std::to_string(s.w);
  std::vector<T> x = random_values<T>(in, 1);
  if (special_values)  // equals everywhere, and some NaN
    for (size_t i = 0; i < in; ++i) x[i] = i % 17 == 3 ? static_cast<T>(NAN) : static_cast<T>(i % 3 == 0);
  std::vector<char> workspace(static_cast<size_t>(f.workspace_bytes(w.axis)));

  std::vector<T> y(out);
  std::vector<int64_t> index(out);
  f.max(x.data(), y.data(), index.data(), h.axis, w.axis, 0, s.planes, {}, workspace.data());
  std::vector<int64_t> best(out, -1);
  each_pair(h.axis, w.axis, s.planes, [&](int64_t o, int64_t i, int64_t) {
    if (best[o] < 0 || x[i] > x[best[o]] || (std::isnan(x[i]) && !std::isnan(x[best[o]]))) best[o] = i;
  });
  for (size_t o = 0; o < out; ++o) {
    const int64_t plane = static_cast<int64_t>(o) / (h.axis.out * w.axis.out) * s.h * s.w;
    if (std::isnan(x[best[o]])) {
      EXPECT_TRUE(std::isnan(y[o]) && std::isnan(x[plane + index[o]])) << what;
    } else {
      EXPECT_EQ(y[o], x[best[o]]) << what;
      EXPECT_EQ(plane + index[o], best[o]) << what;
    }
  }
  test_offsets(f, s, h.axis, w.axis, x, y, index, special_values);
  if (special_values) return;

  std::vector<T> picked(out);
  f.gather(x.data(), index.data(), picked.data(), s.h * s.w, h.axis.out * w.axis.out, 0, s.planes);
  EXPECT_EQ(picked, y) << what;
  const std::vector<T> g = random_values<T>(out, 2);
  std::vector<T> dx(in, static_cast<T>(NAN));
  f.scatter(g.data(), index.data(), dx.data(), s.h * s.w, h.axis.out * w.axis.out, 0, s.planes, {});
  std::vector<double> want(in);
  for (size_t o = 0; o < out; ++o) want[best[o]] += g[o];
  const double window = static_cast<double>(s.kernel[0] * s.kernel[1]);
  expect_near(dx, want, window, what + " scatter");

  std::vector<double> mean(out), spread(in);
  each_pair(h.axis, w.axis, s.planes, [&](int64_t o, int64_t i, int64_t size) {
    mean[o] += static_cast<double>(x[i]) / static_cast<double>(size);
    spread[i] += static_cast<double>(g[o]) / static_cast<double>(size);
  });
  f.average(x.data(), y.data(), h.axis, w.axis, 0, s.planes, workspace.data());
  expect_near(y, mean, window, what + " average");
  f.average_grad(g.data(), dx.data(), h.axis, w.axis, 0, s.planes, workspace.data());
  expect_near(dx, spread, window, what + " average gradient");
}

TEST(Pool, MatchesNaive) {
  for (const KernelTable* table : available())
    for (const Spec& spec : kSpecs)
      for (const bool special : {false, true}) {
        test_spec<float>(*table, spec, special);
        test_spec<double>(*table, spec, special);
      }
}

template <class T>
void test_resize(const KernelTable& table, int64_t in, int64_t out, bool nearest) {
  const PoolFunctions<T>& f = functions<T>(table);
  std::vector<int32_t> low, high;
  std::vector<T> weight;
  for (int64_t i = 0; i < out; ++i) {
    const double place = out > 1 ? static_cast<double>(i * (in - 1)) / static_cast<double>(out - 1) : 0;
    low.push_back(static_cast<int32_t>(place));
    high.push_back(nearest ? low.back() : static_cast<int32_t>(std::min(low.back() + int64_t{1}, in - 1)));
    weight.push_back(nearest ? T{0} : static_cast<T>(place - low.back()));
  }
  const ResizeAxis<T> axis{in, out, low.data(), high.data(), weight.data(), nearest};
  const std::vector<T> x = random_values<T>(static_cast<size_t>(2 * in * in), 3);
  const std::vector<T> g = random_values<T>(static_cast<size_t>(2 * out * out), 4);
  std::vector<T> y(g.size()), dx(x.size());
  std::vector<double> want(g.size()), back(x.size());
  for (int64_t p = 0; p < 2; ++p)
    for (int64_t i = 0; i < out; ++i)
      for (int64_t o = 0; o < out; ++o)
        for (int corner = 0; corner < 4; ++corner) {
          const int64_t row = corner & 1 ? high[i] : low[i], column = corner & 2 ? high[o] : low[o];
          const double share = (corner & 1 ? weight[i] : 1 - weight[i]) * (corner & 2 ? weight[o] : 1 - weight[o]);
          want[(p * out + i) * out + o] += share * x[(p * in + row) * in + column];
          back[(p * in + row) * in + column] += share * g[(p * out + i) * out + o];
        }
  std::vector<char> workspace(static_cast<size_t>(f.resize_workspace_bytes(in)));
  f.resize(x.data(), y.data(), axis, axis, 0, 2, workspace.data());
  expect_near(y, want, 4, table.isa);
  f.resize_grad(g.data(), dx.data(), axis, axis, 0, 2, workspace.data());
  expect_near(dx, back, static_cast<double>(out), table.isa);
}

TEST(Resize, MatchesNaive) {
  for (const KernelTable* table : available())
    for (const bool nearest : {true, false})
      for (const auto& [in, out] : {std::pair{7, 14}, {5, 9}, {16, 33}, {9, 4}, {1, 3}, {3, 1}}) {
        test_resize<float>(*table, in, out, nearest);
        test_resize<double>(*table, in, out, nearest);
      }
}

}  // namespace
}  // namespace lanner::cpu
