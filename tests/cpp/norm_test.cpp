#include "lanner/ops/norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "cpu/dispatch.h"
#include "each_isa.h"
#include "lanner/autodiff.h"
#include "lanner/parallel.h"

namespace lanner {
namespace {

class NormOnIsa : public EachIsa {};
LANNER_ON_EACH_ISA(NormOnIsa);

template <class T>
Tensor random_tensor(const Shape& shape, unsigned seed, double low = -3, double high = 3) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> distribution(low, high);
  Tensor x = Tensor::empty(shape, DTypeOf<T>::value);
  for (int64_t i = 0; i < x.size(); ++i) x.data<T>()[i] = static_cast<T>(distribution(engine));
  return x;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.size()) * itemsize(a.dtype())) == 0;
}

struct Sizes {
  int64_t outer, n, inner;
};

template <class T>
void test_softmax() {
  for (const auto& [outer, n, inner] : {Sizes{1, 1, 1}, Sizes{3, 65, 1}, Sizes{2, 3000, 1}, Sizes{40, 10, 1},
                                        Sizes{2, 7, 5}, Sizes{3, 33, 130}, Sizes{0, 3, 2}, Sizes{2, 3, 0}}) {
    const Tensor x = random_tensor<T>({outer, n, inner}, 1, -20, 20);
    const Tensor y = ops::softmax(x, 1), z = ops::log_softmax(x, 1);
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        const auto at = [&](int64_t k) { return (o * n + k) * inner + i; };
        double top = -1e300, sum = 0;
        for (int64_t k = 0; k < n; ++k) top = std::max(top, static_cast<double>(x.data<T>()[at(k)]));
        for (int64_t k = 0; k < n; ++k) sum += std::exp(static_cast<double>(x.data<T>()[at(k)]) - top);
        const double eps = std::numeric_limits<T>::epsilon();
        for (int64_t k = 0; k < n; ++k) {
          const double d = static_cast<double>(x.data<T>()[at(k)]) - top;
          // Rounding d (up to 40) to T moves exp(d) by 40 eps; the sum has at most 32 roundings.
          EXPECT_NEAR(y.data<T>()[at(k)], std::exp(d) / sum, 80 * eps * std::exp(d) / sum);
          EXPECT_NEAR(z.data<T>()[at(k)], d - std::log(sum), 80 * eps);
        }
      }
    }
  }
}
TEST_P(NormOnIsa, Softmax) {
  test_softmax<float>();
  test_softmax<double>();
}

TEST_P(NormOnIsa, SoftmaxOfTheExtremes) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::from_vector<float>({-inf, 0, 0, 1e30f, 0, -1e30f, NAN, 1, 2}, {3, 3});
  const Tensor y = ops::softmax(x);
  EXPECT_EQ(y.data<float>()[0], 0);
  EXPECT_EQ(y.data<float>()[1], 0.5f);
  EXPECT_EQ(y.data<float>()[3], 1);
  EXPECT_EQ(y.data<float>()[5], 0);
  for (int i = 6; i < 9; ++i) EXPECT_TRUE(std::isnan(y.data<float>()[i]));
}

// y = (x - mean) / sqrt(var + eps) for the elements that `group` maps to one number.
template <class T, class Group>
void expect_normalized(const Tensor& x, const Tensor& y, int64_t groups, Group group, double eps, double tolerance) {
  // The plain sum of 300 thousand terms would be no reference in double.
  std::vector<long double> mean(groups), m2(groups), count(groups);
  for (int64_t i = 0; i < x.size(); ++i) {
    mean[group(i)] += static_cast<double>(x.data<T>()[i]);
    count[group(i)] += 1;
  }
  for (int64_t g = 0; g < groups; ++g) mean[g] /= count[g];
  for (int64_t i = 0; i < x.size(); ++i) {
    const long double d = static_cast<long double>(x.data<T>()[i]) - mean[group(i)];
    m2[group(i)] += d * d;
  }
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t g = group(i);
    const long double d = static_cast<long double>(x.data<T>()[i]) - mean[g];
    ASSERT_NEAR(y.data<T>()[i], static_cast<double>(d / std::sqrt(m2[g] / count[g] + eps)), tolerance);
  }
}

template <class T>
void test_norms() {
  // Values around 500 with a spread of 1: a variance from sums of squares would lose all its digits in float32.
  const double tolerance = 500 * 8 * std::numeric_limits<T>::epsilon();
  for (int64_t n : {1, 3, 64, 65, 768, 5000}) {
    const Tensor x = random_tensor<T>({3, n}, 2, 500, 501);
    expect_normalized<T>(x, ops::layer_norm(x, {n}), 3, [&](int64_t i) { return i / n; }, 1e-5, tolerance * 4);
  }
  const Shape shapes[] = {{2, 3}, {300, 37}, {4, 6, 7}, {2, 6, 9, 15}, {3, 2, 300, 301}};
  for (const Shape& shape : shapes) {
    const Tensor x = random_tensor<T>(shape, 3, 500, 501);
    const int64_t c = shape[1], length = x.size() / shape[0] / c;
    expect_normalized<T>(
        x, ops::batch_norm(x, {}, {}, {}, {}, true), c, [&](int64_t i) { return i / length % c; }, 1e-5, tolerance * 4);
    if (c % 2 == 0) {
      expect_normalized<T>(
          x, ops::group_norm(x, 2), 2 * shape[0], [&](int64_t i) { return i / (length * c / 2); }, 1e-5, tolerance * 4);
    }
  }
}
TEST_P(NormOnIsa, FarFromZero) {
  test_norms<float>();
  test_norms<double>();
}

TEST_P(NormOnIsa, RunningStatistics) {
  const Tensor x = random_tensor<float>({5, 2, 3}, 4);
  const Tensor mean = Tensor::from_vector<float>({1, 2}, {2}), var = Tensor::from_vector<float>({3, 4}, {2});
  ops::batch_norm(x, mean, var, {}, {}, true, 0.25);
  for (int c = 0; c < 2; ++c) {
    double sum = 0, squares = 0;
    for (int n = 0; n < 5; ++n)
      for (int i = 0; i < 3; ++i) sum += x.data<float>()[(n * 2 + c) * 3 + i];
    for (int n = 0; n < 5; ++n)
      for (int i = 0; i < 3; ++i) squares += std::pow(x.data<float>()[(n * 2 + c) * 3 + i] - sum / 15, 2);
    EXPECT_NEAR(mean.data<float>()[c], 0.75 * (1 + c) + 0.25 * sum / 15, 1e-6);
    EXPECT_NEAR(var.data<float>()[c], 0.75 * (3 + c) + 0.25 * squares / 14, 1e-6);
  }
  EXPECT_THROW(ops::batch_norm(x, mean, Tensor(), {}, {}, true), Error);
  EXPECT_THROW(ops::batch_norm(x, random_tensor<float>({3}, 1), var, {}, {}, true), ShapeError);
  EXPECT_THROW(ops::batch_norm(random_tensor<float>({1, 2}, 1), mean, var, {}, {}, true), ShapeError);
}

TEST_P(NormOnIsa, SameBitsForAnyNumberOfThreads) {
  const int threads = num_threads();
  const auto run = [&](int n) {
    set_num_threads(n);
    Tensor x = random_tensor<float>({200, 64, 9}, 5).requires_grad_(),
           w = random_tensor<float>({64}, 6).requires_grad_();
    Tensor b = random_tensor<float>({64}, 7).requires_grad_(), rows = random_tensor<float>({64, 9}, 8).requires_grad_();
    Tensors out{ops::batch_norm(x, {}, {}, w, b, true), ops::group_norm(x, 4, w, b), ops::layer_norm(x, {64, 9}, rows),
                ops::softmax(x, 1), ops::log_softmax(x)};
    const Tensor g = random_tensor<float>(x.shape(), 9);
    for (size_t i = 0, forward = out.size(); i < forward; ++i)
      for (const Tensor& d : grad({out[i]}, i < 2 ? Tensors{x, w, b} : i == 2 ? Tensors{x, rows} : Tensors{x}, {g}))
        out.push_back(d);
    return out;
  };
  const Tensors one = run(1), four = run(4);
  set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(same_bits(one[i], four[i])) << i;
}

TEST(Norm, Errors) {
  const Tensor x = random_tensor<float>({2, 6}, 1);
  EXPECT_THROW(ops::layer_norm(x, {5}), ShapeError);
  EXPECT_THROW(ops::layer_norm(x, {6}, random_tensor<float>({5}, 1)), ShapeError);
  EXPECT_THROW(ops::layer_norm(x, {6}, random_tensor<double>({6}, 1)), DTypeError);
  EXPECT_THROW(ops::group_norm(x, 4), ShapeError);
  EXPECT_THROW(ops::softmax(Tensor::empty({3}, DType::Int32)), DTypeError);
  EXPECT_THROW(ops::softmax(x, 2), ShapeError);
}

}  // namespace
}  // namespace lanner
