// matmul and linear as a plan runs them: with an epilogue, prepared or not, operands constant or not.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "each_isa.h"
#include "lanner/ops/shape.h"
#include "ops/op.h"

namespace lanner {
namespace {

LANNER_ON_EACH_ISA(EachIsa);

template <class T>
Tensor random_tensor(const Shape& shape, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<T> distribution(-1, 1);
  Tensor t = Tensor::empty(shape, DTypeOf<T>::value);
  for (int64_t i = 0; i < t.size(); ++i) t.data<T>()[i] = distribution(engine);
  return t;
}

// Where the matrix of an operand begins that belongs to `index` of the broadcast batch, plus its row or column.
int64_t offset_of(const Tensor& x, const std::vector<int64_t>& index) {
  int64_t offset = 0;
  const size_t missing = index.size() - x.ndim();
  for (int d = 0; d < x.ndim(); ++d)
    if (x.shape()[d] != 1) offset += index[missing + d] * x.strides()[d];
  return offset;
}

// sum_k a[..., i, k] b[..., k, j] + bias[j], in float64.
template <class T>
std::vector<double> product(const Tensor& a, const Tensor& b, const Tensor& bias, const Shape& shape) {
  std::vector<double> c;
  std::vector<int64_t> index(shape.size(), 0);
  const int n = shape.size();
  for (int64_t e = 0; e < element_count(shape); ++e) {
    double sum = bias.defined() ? static_cast<double>(bias.data<T>()[index[n - 1]]) : 0;
    std::vector<int64_t> row = index, column = index;
    row[n - 1] = column[n - 2] = 0;
    const T* pa = a.data<T>() + offset_of(a, row);
    const T* pb = b.data<T>() + offset_of(b, column);
    for (int64_t s = 0; s < a.size(-1); ++s)
      sum += static_cast<double>(pa[s * a.strides().back()]) * static_cast<double>(pb[s * b.strides()[b.ndim() - 2]]);
    c.push_back(sum);
    for (int d = n - 1; d >= 0 && ++index[d] == shape[d]; --d) index[d] = 0;
  }
  return c;
}

double finished(double x, double residual, double gate, const Fused& f) {
  if (f.residual >= 0) x += residual;
  if (f.activation == cpu::Activation::Relu && x < 0) x = 0;
  if (f.activation == cpu::Activation::LeakyRelu && x < 0) x *= f.slope;
  if (f.gate >= 0 && gate <= 0) x *= f.gate_slope;
  return x;
}

// Runs `op` on `in` with each epilogue, as run_of and as prepare_of have it, and compares with `expected` + epilogue.
template <class T>
void check_op(Op op, Tensors in, const Shape& shape, const std::vector<double>& expected, int64_t k,
              Precision precision = Precision::Full) {
  const Tensor residual = random_tensor<T>(shape, 11), gate = random_tensor<T>(shape, 12);
  const int own = static_cast<int>(in.size());
  in.push_back(residual);
  in.push_back(gate);
  const double tolerance = std::numeric_limits<T>::epsilon() * (static_cast<double>(k) + 8) * 2;
  for (int options = 0; options < 6; ++options) {
    Fused fused;
    if (options & 1) fused.residual = own;
    if (options & 2) fused.gate = own + 1;
    fused.activation = static_cast<cpu::Activation>(options / 2);
    fused.slope = 0.25, fused.gate_slope = options == 2 ? 0 : 0.5;
    Tensors out = {Tensor::empty(shape, DTypeOf<T>::value)};
    const Run r{op, in, out, {}, &fused, precision};
    const auto verify = [&](const char* how) {
      for (int64_t i = 0; i < out[0].size(); ++i)
        ASSERT_NEAR(out[0].data<T>()[i], finished(expected[i], residual.data<T>()[i], gate.data<T>()[i], fused),
                    tolerance)
            << op_name(op) << ' ' << how << ", epilogue " << options << ", at " << i << " of " << shape;
      for (int64_t i = 0; i < out[0].size(); ++i) out[0].data<T>()[i] = std::numeric_limits<T>::quiet_NaN();
    };
    run_of(op)(r);
    verify("run");
    if (const std::unique_ptr<Prepared> prepared = prepare_of(op)(r, 0b11)) {
      prepared->refresh(r);
      for (int i = 0; i < 2; ++i) {
        prepared->run(r);
        verify("prepared");
      }
    }
  }
}

template <class T>
void check_matmul(const Tensor& a, const Tensor& b, const Shape& shape) {
  check_op<T>(Op::Matmul, {a, b}, shape, product<T>(a, b, {}, shape), a.size(-1));
}

template <class T>
void matmuls() {
  const auto random = [](const Shape& s, unsigned seed) { return random_tensor<T>(s, seed); };
  check_matmul<T>(random({5, 7}, 1), random({7, 9}, 2), {5, 9});
  check_matmul<T>(random({70, 40}, 1), random({40, 66}, 2), {70, 66});
  check_matmul<T>(ops::matrix_transpose(random({40, 70}, 1)), random({40, 66}, 2), {70, 66});
  check_matmul<T>(random({33, 300}, 1), ops::matrix_transpose(random({35, 300}, 2)), {33, 35});
  check_matmul<T>(random({1, 300}, 1), random({300, 41}, 2), {1, 41});
  check_matmul<T>(random({41, 300}, 1), random({300, 1}, 2), {41, 1});
  check_matmul<T>(random({4, 5, 7}, 1), random({7, 9}, 2), {4, 5, 9});              // one b: more rows
  check_matmul<T>(random({3, 5, 7}, 1), random({3, 7, 9}, 2), {3, 5, 9});           // a batch
  check_matmul<T>(random({2, 1, 5, 7}, 1), random({3, 7, 9}, 2), {2, 3, 5, 9});     // broadcast
  check_matmul<T>(random({64, 20, 12}, 1), random({64, 12, 33}, 2), {64, 20, 33});  // on several threads
  check_matmul<T>(ops::permute_dims(random({7, 3, 5}, 1), {1, 2, 0}), random({3, 7, 9}, 2), {3, 5, 9});
  check_matmul<T>(random({3, 5, 0}, 1), random({3, 0, 9}, 2), {3, 5, 9});
}
TEST_P(EachIsa, MatmulFloat32) { matmuls<float>(); }
TEST_P(EachIsa, MatmulFloat64) { matmuls<double>(); }

template <class T>
void linears() {
  for (int64_t m : {1, 2, 5, 16, 32, 33, 100})
    for (auto [n, k] : {std::pair<int64_t, int64_t>{1, 3}, {10, 84}, {40, 300}, {256, 784}})
      for (bool with_bias : {false, true})
        for (bool transposed : {false, true}) {
          const Tensor x = random_tensor<T>({m, k}, 1), bias = with_bias ? random_tensor<T>({n}, 3) : Tensor();
          Tensor w = random_tensor<T>(transposed ? Shape{k, n} : Shape{n, k}, 2);
          if (transposed) w = ops::matrix_transpose(w);
          check_op<T>(Op::Linear, {x, w, bias}, {m, n}, product<T>(x, ops::matrix_transpose(w), bias, {m, n}), k);
        }
  const Tensor x = random_tensor<T>({2, 3, 50}, 1), w = random_tensor<T>({20, 50}, 2);
  check_op<T>(Op::Linear, {x, w, {}}, {2, 3, 20}, product<T>(x, ops::matrix_transpose(w), {}, {2, 3, 20}), 50);
}
TEST_P(EachIsa, LinearFloat32) { linears<float>(); }
// Of values that bfloat16 has, so that rounding changes nothing.
TEST_P(EachIsa, BFloat16) {
  const auto random = [](const Shape& s, unsigned seed) {
    Tensor t = random_tensor<float>(s, seed);
    for (int64_t i = 0; i < t.size(); ++i) t.data<float>()[i] = std::round(t.data<float>()[i] * 128) / 128;
    return t;
  };
  const auto check = [](Op op, const Tensors& in, const Tensor& a, const Tensor& b, const Shape& shape) {
    check_op<float>(op, in, shape, product<float>(a, b, {}, shape), a.size(-1), Precision::BFloat16);
  };
  for (int64_t m : {1, 3, 40}) {
    const Tensor x = random({m, 75}, 1), w = random({50, 75}, 2);
    check(Op::Linear, {x, w, {}}, x, ops::matrix_transpose(w), {m, 50});
    const Tensor b = random({75, 33}, 3);
    check(Op::Matmul, {x, b}, x, b, {m, 33});
  }
  const Tensor a = random({3, 5, 7}, 1), b = random({3, 7, 9}, 2);
  check(Op::Matmul, {a, b}, a, b, {3, 5, 9});
}
TEST_P(EachIsa, LinearFloat64) { linears<double>(); }

}  // namespace
}  // namespace lanner
