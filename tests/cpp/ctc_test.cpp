#include "lanner/ops/ctc.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "each_isa.h"
#include "lanner/autodiff.h"

namespace lanner {
namespace {

class CtcOnIsa : public EachIsa {};
LANNER_ON_EACH_ISA(CtcOnIsa);

// The recursion in probabilities, float64: the loss and its gradient by each probability's logarithm.
struct Naive {
  double loss = 0;
  std::vector<double> gradient;

  Naive(const std::vector<double>& p, int64_t frames, int64_t classes, const std::vector<int64_t>& labels) {
    const int64_t states = 2 * static_cast<int64_t>(labels.size()) + 1;
    const auto label = [&](int64_t s) { return s % 2 ? labels[static_cast<size_t>(s / 2)] : 0; };
    const auto at = [&](int64_t t, int64_t s) { return static_cast<size_t>(t * states + s); };
    const auto may_skip = [&](int64_t s) { return s >= 2 && s % 2 && label(s) != label(s - 2); };
    const auto emitted = [&](int64_t t, int64_t s) { return p[static_cast<size_t>(t * classes + label(s))]; };
    std::vector<double> a(static_cast<size_t>(frames * states)), b(a.size());
    for (int64_t t = 0; t < frames; ++t) {
      for (int64_t s = 0; s < states; ++s) {
        double from = t == 0 ? s < 2 : a[at(t - 1, s)];
        if (t > 0 && s > 0) from += a[at(t - 1, s - 1)];
        if (t > 0 && may_skip(s)) from += a[at(t - 1, s - 2)];
        a[at(t, s)] = from * emitted(t, s);
      }
    }
    for (int64_t t = frames - 1; t >= 0; --t) {
      for (int64_t s = 0; s < states; ++s) {
        double& to = b[at(t, s)];
        if (t == frames - 1) {
          to = s >= states - 2;
          continue;
        }
        to = b[at(t + 1, s)] * emitted(t + 1, s);
        if (s + 1 < states) to += b[at(t + 1, s + 1)] * emitted(t + 1, s + 1);
        if (s + 2 < states && may_skip(s + 2)) to += b[at(t + 1, s + 2)] * emitted(t + 1, s + 2);
      }
    }
    const double total = a[at(frames - 1, states - 1)] + (states > 1 ? a[at(frames - 1, states - 2)] : 0);
    loss = -std::log(total);
    gradient.resize(static_cast<size_t>(frames * classes));
    for (int64_t t = 0; t < frames; ++t)
      for (int64_t s = 0; s < states; ++s)
        gradient[static_cast<size_t>(t * classes + label(s))] -= a[at(t, s)] * b[at(t, s)] / total;
  }
};

template <class T>
void test_against_naive() {
  std::mt19937 engine(3);
  for (const auto& [frames, classes, length] :
       {std::array<int64_t, 3>{1, 2, 0}, {1, 2, 1}, {5, 3, 2}, {40, 7, 9}, {90, 30, 33}, {60, 2, 17}}) {
    std::vector<double> p(static_cast<size_t>(frames * classes));
    for (int64_t t = 0; t < frames; ++t) {
      double sum = 0;
      for (int64_t k = 0; k < classes; ++k)
        sum += p[static_cast<size_t>(t * classes + k)] = 0.1 + std::generate_canonical<double, 53>(engine);
      for (int64_t k = 0; k < classes; ++k) p[static_cast<size_t>(t * classes + k)] /= sum;
    }
    std::vector<int64_t> labels;
    for (int64_t j = 0; j < length; ++j) labels.push_back(1 + static_cast<int64_t>(engine() % (classes - 1)));
    Tensor x = Tensor::empty({frames, 1, classes}, DTypeOf<T>::value);
    for (size_t i = 0; i < p.size(); ++i) x.data<T>()[i] = static_cast<T>(std::log(p[i]));
    x.requires_grad_();
    const Tensor loss =
        ops::ctc_loss(x, Tensor::from_vector<int64_t>(labels, {1, length}), Tensor::from_vector<int64_t>({frames}, {1}),
                      Tensor::from_vector<int64_t>({length}, {1}), 0, ops::LossReduction::Sum);
    const Naive want(p, frames, classes, labels);
    const double eps = std::numeric_limits<T>::epsilon(), bound = 16 * eps * static_cast<double>(frames);
    ASSERT_NEAR(loss.item(), want.loss, bound * (1 + want.loss));
    const Tensor g = grad({loss}, {x}, {}, false, false, false)[0];
    for (size_t i = 0; i < p.size(); ++i) ASSERT_NEAR(g.data<T>()[i], want.gradient[i], bound * (1 + want.loss)) << i;
  }
}
TEST_P(CtcOnIsa, LossAndGradient) {
  test_against_naive<float>();
  test_against_naive<double>();
}

TEST(Ctc, BeamsJoinPaths) {
  const Tensor x =
      Tensor::from_vector<float>({std::log(0.6f), std::log(0.4f), std::log(0.6f), std::log(0.4f)}, {2, 1, 2});
  EXPECT_TRUE(ops::ctc_greedy_decode(x)[0].labels.empty());
  const auto best = ops::ctc_beam_search(x, {}, 4, 0, 2)[0];
  ASSERT_EQ(best.size(), 2u);
  EXPECT_EQ(best[0].labels, std::vector<int64_t>{1});
  EXPECT_NEAR(best[0].log_prob, std::log(0.64), 1e-6);
  EXPECT_TRUE(best[1].labels.empty());
  EXPECT_NEAR(best[1].log_prob, std::log(0.36), 1e-6);
}

}  // namespace
}  // namespace lanner
