#include "lanner/ops/reduce.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "cpu/dispatch.h"
#include "cpu/kernels/reduce.h"
#include "each_isa.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"

namespace lanner {
namespace {

class ReduceOnIsa : public EachIsa {};
LANNER_ON_EACH_ISA(ReduceOnIsa);

template <class T>
Tensor random_tensor(const Shape& shape, unsigned seed = 1) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> distribution(-4, 5);
  Tensor x = Tensor::empty(shape, DTypeOf<T>::value);
  for (int64_t i = 0; i < x.size(); ++i) x.data<T>()[i] = static_cast<T>(distribution(engine));
  return x;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.size()) * itemsize(a.dtype())) == 0;
}

// Visits x[outer, n, inner] (row-major) naively: f(output index, element).
template <class T, class F>
void each(const Tensor& x, int64_t n, int64_t inner, F f) {
  for (int64_t i = 0; i < x.size(); ++i) f(i / (n * inner) * inner + i % inner, x.data<T>()[i]);
}

struct Sizes {
  int64_t outer, n, inner;
};
constexpr Sizes kSizes[] = {{1, 1, 1},      {1, 7, 1},      {3, 65, 1},   {2, 3000, 1},  {1, 100003, 1},
                            {5, 3, 2},      {2, 17, 33},    {1, 40, 600}, {1, 70000, 3}, {300, 1, 5},
                            {3, 5000, 17},  {1, 130, 1025}, {0, 3, 2},    {2, 3, 0},     {40000, 4, 1},
                            {1, 300000, 1}, {1, 1000, 7},   {1, 999, 31}, {2, 5000, 3}};

template <class T>
void test_sums() {
  for (const auto& [outer, n, inner] : kSizes) {
    const Tensor x = random_tensor<T>({outer, n, inner});
    std::vector<double> sum(outer * inner), squares(outer * inner), magnitude(outer * inner);
    each<T>(x, n, inner, [&](int64_t at, T v) {
      sum[at] += static_cast<double>(v);
      squares[at] += static_cast<double>(v) * static_cast<double>(v);
      magnitude[at] += std::abs(static_cast<double>(v));
    });
    const Tensor y = ops::sum(x, {1}), z = ops::sum_squares(x, {1}), m = ops::mean(x, {1});
    // Pairwise: blocks of at most 2048 in eight chains of 16, then a tree.
    const double eps = std::numeric_limits<T>::epsilon() * (32 + std::log2(static_cast<double>(n)));
    for (int64_t i = 0; i < outer * inner; ++i) {
      EXPECT_NEAR(y.data<T>()[i], sum[i], eps * magnitude[i]) << outer << " " << n << " " << inner;
      EXPECT_NEAR(z.data<T>()[i], squares[i], eps * squares[i]) << outer << " " << n << " " << inner;
      EXPECT_NEAR(m.data<T>()[i], sum[i] / static_cast<double>(n), eps * magnitude[i] / static_cast<double>(n));
    }
  }
}
TEST_P(ReduceOnIsa, SumsStayWithinThePairwiseBound) {
  test_sums<float>();
  test_sums<double>();
}

template <class T>
void test_extremes() {
  for (const auto& [outer, n, inner] : kSizes) {
    const Tensor x = random_tensor<T>({outer, n, inner}, 2);
    std::vector<T> high(outer * inner, std::numeric_limits<T>::lowest()),
        low(outer * inner, std::numeric_limits<T>::max());
    std::vector<int64_t> high_at(outer * inner), low_at(outer * inner);
    std::vector<int64_t> seen(outer * inner);
    each<T>(x, n, inner, [&](int64_t at, T v) {
      const int64_t i = seen[at]++;
      if (i == 0 || v > high[at]) high[at] = v, high_at[at] = i;
      if (i == 0 || v < low[at]) low[at] = v, low_at[at] = i;
    });
    const Tensor y = ops::max(x, {1}), z = ops::min(x, {1}), a = ops::argmax(x, 1), b = ops::argmin(x, 1);
    for (int64_t i = 0; i < outer * inner; ++i) {
      EXPECT_EQ(y.data<T>()[i], high[i]);
      EXPECT_EQ(z.data<T>()[i], low[i]);
      EXPECT_EQ(a.data<int64_t>()[i], high_at[i]) << outer << " " << n << " " << inner;
      EXPECT_EQ(b.data<int64_t>()[i], low_at[i]) << outer << " " << n << " " << inner;
    }
  }
}
TEST_P(ReduceOnIsa, ExtremesAndWhereTheyAre) {
  test_extremes<float>();
  test_extremes<double>();
  test_extremes<int32_t>();
  test_extremes<int64_t>();
}

TEST_P(ReduceOnIsa, NanWins) {
  for (int64_t n : {1, 5, 64, 3000}) {
    for (int64_t at : {int64_t{0}, n / 2, n - 1}) {
      Tensor x = random_tensor<float>({n});
      x.data<float>()[at] = std::nanf("");
      EXPECT_TRUE(std::isnan(ops::max(x).item()));
      EXPECT_TRUE(std::isnan(ops::min(x).item()));
      EXPECT_EQ(ops::argmax(x).item_int(), at);
      EXPECT_EQ(ops::argmin(x, 0).item_int(), at);
      EXPECT_EQ(ops::argmax(ops::reshape(x, {n, 1}), 0).item_int(), at);
    }
  }
}

TEST_P(ReduceOnIsa, IntegersAddUpIn64Bits) {
  Tensor x = Tensor::empty({3, 70000}, DType::UInt8);
  for (int64_t i = 0; i < x.size(); ++i) x.data<uint8_t>()[i] = 255;
  const Tensor rows = ops::sum(x, {1}), columns = ops::sum(x, {0});
  EXPECT_EQ(rows.dtype(), DType::Int64);
  EXPECT_EQ(rows.data<int64_t>()[2], 255 * 70000);
  EXPECT_EQ(columns.data<int64_t>()[69999], 255 * 3);
  EXPECT_EQ(ops::sum(x).item_int(), int64_t{255} * 210000);
  EXPECT_TRUE(ops::all(x).item_int());
  x.data<uint8_t>()[123456] = 0;
  EXPECT_FALSE(ops::all(x).item_int());
  EXPECT_EQ(ops::count_nonzero(x).item_int(), 209999);
}

// Any axes of a transposed and sliced tensor, against the same of its copy.
TEST_P(ReduceOnIsa, StridesDoNotMatter) {
  const Tensor base = random_tensor<double>({6, 5, 14, 3});
  const Tensor view = ops::permute_dims(ops::slice(base, {5, 0, 0, 0}, {-1, 5, 14, 3}, {-1, 1, 3, 1}), {2, 0, 3, 1});
  const Tensor copy = Tensor::from_vector<double>(
      [&] {
        std::vector<double> v;
        const Shape& s = view.shape();
        const Dims& d = view.strides();
        for (int64_t i = 0; i < s[0]; ++i)
          for (int64_t j = 0; j < s[1]; ++j)
            for (int64_t k = 0; k < s[2]; ++k)
              for (int64_t l = 0; l < s[3]; ++l)
                v.push_back(view.data<double>()[i * d[0] + j * d[1] + k * d[2] + l * d[3]]);
        return v;
      }(),
      view.shape());
  for (int mask = 0; mask < 16; ++mask) {
    Dims axes;
    for (int i = 0; i < 4; ++i)
      if (mask >> i & 1) axes.push_back(i);
    const Tensor a = ops::sum(view, axes), b = ops::sum(copy, axes), c = ops::max(view, axes), d = ops::max(copy, axes);
    ASSERT_EQ(a.shape(), b.shape());
    for (int64_t i = 0; i < a.size(); ++i) {
      EXPECT_NEAR(a.data<double>()[i], b.data<double>()[i], 1e-12);
      EXPECT_EQ(c.data<double>()[i], d.data<double>()[i]);
    }
  }
}

TEST_P(ReduceOnIsa, RunningSums) {
  for (const auto& [outer, n, inner] : {Sizes{1, 1, 1}, Sizes{3, 65, 1}, Sizes{2, 7, 300}, Sizes{2, 0, 3}}) {
    const Tensor x = random_tensor<float>({outer, n, inner});
    const Tensor y = ops::cumulative_sum(x, 1);
    std::vector<double> sum(outer * inner);
    int64_t i = 0;
    each<float>(x, n, inner, [&](int64_t at, float v) {
      sum[at] += v;
      EXPECT_FLOAT_EQ(y.data<float>()[i++], static_cast<float>(sum[at]));
    });
  }
}

TEST_P(ReduceOnIsa, SameBitsForAnyNumberOfThreads) {
  const Tensor x = random_tensor<float>({3, 700, 301});
  const int threads = num_threads();
  for (const ops::Axes& axes :
       {ops::Axes(), ops::Axes{0}, ops::Axes{1}, ops::Axes{2}, ops::Axes{0, 1}, ops::Axes{0, 2}}) {
    set_num_threads(1);
    const Tensor one = ops::sum(x, axes);
    set_num_threads(4);
    EXPECT_TRUE(same_bits(one, ops::sum(x, axes)));
  }
  set_num_threads(threads);
}

TEST(Reduce, Errors) {
  const Tensor x = Tensor::empty({2, 0});
  EXPECT_THROW(ops::max(x), ShapeError);
  EXPECT_THROW(ops::argmax(x, 1), ShapeError);
  EXPECT_EQ(ops::max(x, {0}).shape(), Shape({0}));
  EXPECT_THROW(ops::sum(x, {2}), ShapeError);
  EXPECT_THROW(ops::sum(x, {0, -2}), ShapeError);
  EXPECT_EQ(ops::sum(x).item(), 0);
  EXPECT_EQ(ops::prod(x).item(), 1);
  EXPECT_EQ(ops::sum(x, {1}, true).shape(), Shape({2, 1}));
  EXPECT_EQ(ops::sum(x, Dims()).shape(), x.shape());
}

}  // namespace
}  // namespace lanner
