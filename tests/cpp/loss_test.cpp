#include "lanner/ops/loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "cpu/dispatch.h"
#include "each_isa.h"
#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"

namespace lanner {
namespace {

using ops::LossReduction;

class LossOnIsa : public EachIsa {};
LANNER_ON_EACH_ISA(LossOnIsa);

template <class T>
Tensor random_tensor(const Shape& shape, double low, double high) {
  std::mt19937 engine(7);
  std::uniform_real_distribution<double> distribution(low, high);
  Tensor x = Tensor::empty(shape, DTypeOf<T>::value);
  for (int64_t i = 0; i < x.size(); ++i) x.data<T>()[i] = static_cast<T>(distribution(engine));
  return x;
}

Tensor classes(int64_t n, int64_t c) {
  Tensor t = Tensor::empty({n}, DType::Int64);
  for (int64_t i = 0; i < n; ++i) t.data<int64_t>()[i] = i * 7 % c;
  return t;
}

template <class T>
void test_cross_entropy() {
  const double eps = std::numeric_limits<T>::epsilon();
  for (const auto& [n, c] : {std::pair<int64_t, int64_t>{1, 1}, {3, 2}, {64, 10}, {5, 1000}, {0, 4}}) {
    Tensor x = random_tensor<T>({n, c}, -30, 30);
    x.requires_grad_();
    const Tensor t = classes(n, c);
    const Tensor loss = ops::cross_entropy(x, t, {}, -100, LossReduction::None);
    const Tensor dx = grad({loss}, {x}, {ops::ones(loss.shape(), x.dtype())})[0];
    for (int64_t i = 0; i < n; ++i) {
      const T* row = x.data<T>() + i * c;
      double sum = 0;
      for (int64_t j = 0; j < c; ++j) sum += std::exp(static_cast<double>(row[j]));
      const double lse = std::log(sum);
      EXPECT_NEAR(loss.data<T>()[i], lse - static_cast<double>(row[t.data<int64_t>()[i]]), 200 * eps);
      for (int64_t j = 0; j < c; ++j)
        EXPECT_NEAR(dx.data<T>()[i * c + j], std::exp(static_cast<double>(row[j]) - lse) - (j == t.data<int64_t>()[i]),
                    100 * eps);
    }
  }
}
TEST_P(LossOnIsa, CrossEntropy) {
  test_cross_entropy<float>();
  test_cross_entropy<double>();
}

TEST_P(LossOnIsa, CrossEntropyOfTheExtremes) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::from_vector<float>({1e30f, -1e30f, 0, -inf, 0, 0, inf, 0, 0}, {3, 3});
  const Tensor t = Tensor::from_vector<int64_t>({0, 1, 1}, {3});
  const Tensor loss = ops::cross_entropy(x, t, {}, -100, LossReduction::None);
  EXPECT_EQ(loss.data<float>()[0], 0);
  EXPECT_NEAR(loss.data<float>()[1], std::log(2.0), 1e-6);
  EXPECT_EQ(loss.data<float>()[2], inf);
}

template <class T>
void test_binary() {
  const double eps = std::numeric_limits<T>::epsilon();
  for (int64_t n : {0, 1, 7, 100, 40000}) {
    const Tensor x = random_tensor<T>({n}, 0, 1), logits = random_tensor<T>({n}, -90, 90),
                 t = random_tensor<T>({n}, 0, 1);
    const Tensor a = ops::binary_cross_entropy(x, t, {}, LossReduction::None);
    const Tensor b = ops::binary_cross_entropy_with_logits(logits, t, {}, LossReduction::None);
    for (int64_t i = 0; i < n; ++i) {
      const double p = static_cast<double>(x.data<T>()[i]), y = static_cast<double>(t.data<T>()[i]);
      const double z = static_cast<double>(logits.data<T>()[i]);
      const double expected = -(y * std::log(p) + (1 - y) * std::log1p(-p));
      ASSERT_NEAR(a.data<T>()[i], expected, 16 * eps * (1 + std::abs(expected)));
      ASSERT_NEAR(b.data<T>()[i], std::max(z, 0.0) - z * y + std::log1p(std::exp(-std::abs(z))), 200 * eps);
    }
  }
}
TEST_P(LossOnIsa, Binary) {
  test_binary<float>();
  test_binary<double>();
  const Tensor certain = Tensor::from_vector<float>({0, 1, 0, 1}, {4}),
               truth = Tensor::from_vector<float>({0, 1, 1, 0}, {4});
  const Tensor loss = ops::binary_cross_entropy(certain, truth, {}, LossReduction::None);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(loss.data<float>()[i], i < 2 ? 0 : 100);
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const ShapeError& e) {
    return e.what();
  }
  return "";
}

TEST(Loss, ATargetThatIsNoClassIsNamed) {
  const Tensor x = random_tensor<float>({2, 3}, 0, 1);
  const Tensor t = Tensor::from_vector<int64_t>({0, 3}, {2});
  EXPECT_EQ(message_of([&] { ops::cross_entropy(x, t); }),
            "cross_entropy: target 3 is not one of the 3 classes of input");
  EXPECT_EQ(message_of([&] { ops::nll_loss(x, t); }), "nll_loss: target 3 is not one of the 3 classes of input");
  EXPECT_NE(message_of([&] { ops::multi_margin_loss(x, t); }), "");
  EXPECT_EQ(ops::cross_entropy(x, t, {}, 3, LossReduction::None).data<float>()[1], 0);
}

TEST(Loss, Errors) {
  const Tensor x = random_tensor<float>({2, 3}, 0, 1);
  EXPECT_NE(message_of([&] { ops::mse_loss(x, random_tensor<float>({2}, 0, 1)); }), "");
  EXPECT_NE(message_of([&] { ops::cross_entropy(x, classes(3, 3)); }), "");
  EXPECT_NE(message_of([&] { ops::cross_entropy(x, classes(2, 3), random_tensor<float>({2}, 0, 1)); }), "");
  EXPECT_THROW(ops::cross_entropy(x, Tensor::empty({2}, DType::Bool)), DTypeError);
  EXPECT_THROW(ops::loss_reduction("max", "mse_loss"), Error);
}

}  // namespace
}  // namespace lanner
