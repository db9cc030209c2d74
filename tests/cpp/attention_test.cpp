#include "lanner/ops/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/kernels/attention.h"
#include "each_isa.h"
#include "lanner/autodiff.h"
#include "lanner/parallel.h"

namespace lanner {
namespace {

class AttentionOnIsa : public EachIsa {};
LANNER_ON_EACH_ISA(AttentionOnIsa);

template <class T>
Tensor random_tensor(const Shape& shape, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> distribution(-2, 2);
  Tensor x = Tensor::empty(shape, DTypeOf<T>::value);
  for (int64_t i = 0; i < x.size(); ++i) x.data<T>()[i] = static_cast<T>(distribution(engine));
  return x;
}

using Matrix = std::vector<std::vector<double>>;
Matrix zeros(int64_t rows, int64_t columns) {
  return Matrix(static_cast<size_t>(rows), std::vector<double>(static_cast<size_t>(columns)));
}
template <class T>
Matrix matrix_of(const Tensor& x, int64_t head) {
  const size_t rows = static_cast<size_t>(x.size(-2)), columns = static_cast<size_t>(x.size(-1));
  Matrix m = zeros(x.size(-2), x.size(-1));
  const T* p = x.data<T>() + head * x.size(-2) * x.size(-1);
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < columns; ++j) m[i][j] = static_cast<double>(p[i * columns + j]);
  return m;
}

// Output and gradients of one head, written out in float64.
struct Naive {
  Matrix out, dq, dk, dv;

  Naive(const Matrix& q, const Matrix& k, const Matrix& v, const Matrix& g, int64_t features, bool causal) {
    const size_t l = q.size(), s = k.size(), e = static_cast<size_t>(features), ev = g[0].size();
    out = zeros(static_cast<int64_t>(l), static_cast<int64_t>(ev));
    dq = zeros(static_cast<int64_t>(l), features), dk = zeros(static_cast<int64_t>(s), features);
    dv = zeros(static_cast<int64_t>(s), static_cast<int64_t>(ev));
    const double scale = 1 / std::sqrt(static_cast<double>(features));
    for (size_t i = 0; i < l; ++i) {
      const size_t n = causal ? std::min(s, i + 1) : s;
      std::vector<double> p(n), dp(n);
      double total = 0, dot = 0;
      for (size_t j = 0; j < n; ++j) {
        for (size_t c = 0; c < e; ++c) p[j] += scale * q[i][c] * k[j][c];
        total += p[j] = std::exp(p[j]);
      }
      for (size_t j = 0; j < n; ++j) {
        p[j] /= total;
        for (size_t c = 0; c < ev; ++c) {
          out[i][c] += p[j] * v[j][c];
          dp[j] += g[i][c] * v[j][c];
          dv[j][c] += p[j] * g[i][c];
        }
        dot += p[j] * dp[j];
      }
      for (size_t j = 0; j < n; ++j) {
        const double ds = scale * p[j] * (dp[j] - dot);
        for (size_t c = 0; c < e; ++c) dq[i][c] += ds * k[j][c], dk[j][c] += ds * q[i][c];
      }
    }
  }
};

template <class T>
void expect_near(const Tensor& got, int64_t head, const Matrix& want, double terms) {
  const Matrix m = matrix_of<T>(got, head);
  const double bound = 16 * terms * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (size_t i = 0; i < want.size(); ++i)
    for (size_t j = 0; j < want[i].size(); ++j) ASSERT_NEAR(m[i][j], want[i][j], bound) << i << ", " << j;
}

struct Sizes {
  int64_t heads, l, s, e, ev;
  bool causal;
};

template <class T>
void test_against_naive() {
  for (const auto& [heads, l, s, e, ev, causal] :
       {Sizes{1, 1, 1, 1, 1, false}, Sizes{3, 5, 7, 3, 9, false}, Sizes{2, 128, 128, 64, 64, true},
        Sizes{1, 130, 390, 33, 17, false}, Sizes{1, 390, 130, 33, 17, true}, Sizes{1, 150, 600, 8, 65, true},
        Sizes{20, 17, 31, 16, 16, true}}) {
    Tensor q = random_tensor<T>({heads, l, e}, 1), k = random_tensor<T>({heads, s, e}, 2);
    Tensor v = random_tensor<T>({heads, s, ev}, 3);
    const Tensor g = random_tensor<T>({heads, l, ev}, 4);
    q.requires_grad_(), k.requires_grad_(), v.requires_grad_();
    const Tensor y = ops::scaled_dot_product_attention(q, k, v, {}, 0, causal);
    const Tensors d = grad({y}, {q, k, v}, {g}, false, false, false);
    const double terms = static_cast<double>(std::max(l, s) + e);
    for (int64_t h = 0; h < heads; ++h) {
      const Naive want(matrix_of<T>(q, h), matrix_of<T>(k, h), matrix_of<T>(v, h), matrix_of<T>(g, h), e, causal);
      expect_near<T>(y, h, want.out, terms);
      expect_near<T>(d[0], h, want.dq, terms);
      expect_near<T>(d[1], h, want.dk, terms);
      expect_near<T>(d[2], h, want.dv, terms);
    }
  }
}
TEST_P(AttentionOnIsa, EqualsItsDefinition) {
  test_against_naive<float>();
  test_against_naive<double>();
}

TEST_P(AttentionOnIsa, WorkspaceDoesNotGrowWithTheWeights) {
  const auto& kernels = cpu::kernels().attention->f32;
  cpu::AttentionHead<float> head{};
  head.e = head.ev = 64;
  for (int64_t length : {1024, 65536}) {
    head.l = head.s = length;
    EXPECT_LT(kernels.forward_workspace(head, length), 4 * length + 200'000);
    EXPECT_LT(kernels.backward_workspace(head, length), 4 * length + 200'000);
  }
}

}  // namespace
}  // namespace lanner
