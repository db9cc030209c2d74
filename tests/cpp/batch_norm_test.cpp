#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "each_isa.h"
#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/norm.h"
#include "lanner/parallel.h"
#include "ops/norm.h"

namespace lanner {
namespace {

class BatchNormOnIsa : public EachIsa {};
LANNER_ON_EACH_ISA(BatchNormOnIsa);

Tensor random_tensor(const Shape& shape, DType dtype, unsigned seed, double shift = 0) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> distribution(-2 + shift, 2 + shift);
  Tensor x = Tensor::empty(shape, DType::Float64);
  for (int64_t i = 0; i < x.size(); ++i) x.data<double>()[i] = distribution(engine);
  return ops::cast(x, dtype);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.size()) * itemsize(a.dtype())) == 0;
}

// The ops of a kind that ran while it lives.
class Recorded : public Listener {
 public:
  struct Call {
    Tensors in;
    Attrs attrs;
    Tensors out;
  };
  explicit Recorded(Op op) : op_(op), before_(set_listener(this)) {}
  ~Recorded() override { set_listener(before_); }
  void ran(Op op, std::span<const Tensor> in, const Attrs& attrs, std::span<const Tensor> out) override {
    if (op == op_) calls.push_back({{in.begin(), in.end()}, attrs, {out.begin(), out.end()}});
  }
  std::vector<Call> calls;

 private:
  Op op_;
  Listener* before_;
};

Tensors outputs_like(const Tensors& out) {
  Tensors empty;
  for (const Tensor& t : out) empty.push_back(Tensor::empty(t.shape(), t.dtype()));
  return empty;
}

Tensors run_again(Op op, const Recorded::Call& call, const Tensors& more = {}, const Fused* fused = nullptr) {
  Tensors in = call.in, out = outputs_like(call.out);
  in.insert(in.end(), more.begin(), more.end());
  run_of(op)(lanner::Run{op, in, out, call.attrs, fused});
  return out;
}

// Columns, small planes with and without a remainder, planes, channels larger than the second-level cache, one sample;
// several slices of each.
const std::vector<Shape> kShapes{{5, 3},         {300, 40},       {2000, 70},      {37, 1030},
                                 {4, 3, 1},      {32, 130, 2, 2}, {8, 6, 5, 7},    {9, 70, 4, 4},
                                 {6, 5, 15, 15}, {3, 2, 16, 17},  {40, 7, 32, 32}, {3, 2, 500, 300},
                                 {1, 3, 20, 20}, {2, 0, 3},       {100'000, 2},    {700, 3, 20, 20}};

double eps_of(DType t) { return t == DType::Float32 ? 0x1p-23 : 0x1p-52; }

TEST_P(BatchNormOnIsa, Moments) {
  for (DType t : {DType::Float32, DType::Float64}) {
    for (const Shape& shape : kShapes) {
      for (double shift : {0.0, 50.0}) {
        SCOPED_TRACE(to_string(shape));
        const Tensor x = random_tensor(shape, t, 1, shift);
        Recorded recorded(Op::BatchNorm);
        ops::batch_norm(x, {}, {}, {}, {}, true);
        const Tensors& out = recorded.calls[0].out;
        const Tensor wide = ops::cast(x, DType::Float64), mean = ops::cast(out[1], DType::Float64),
                     rstd = ops::cast(out[2], DType::Float64);
        const int64_t n = shape[0], c = shape[1], length = n * c == 0 ? 0 : x.size() / (n * c);
        for (int64_t k = 0; k < c; ++k) {
          long double m = 0, q = 0;  // where t is float64, the reference sums in more
          for (int64_t i = 0; i < n * length; ++i) m += wide.data<double>()[(i / length * c + k) * length + i % length];
          m /= static_cast<long double>(n * length);
          for (int64_t i = 0; i < n * length; ++i) {
            const long double d = wide.data<double>()[(i / length * c + k) * length + i % length] - m;
            q += d * d;
          }
          // A sum is rounded some 100 times one after the other, at values up to 2 + shift.
          const double variance = static_cast<double>(q) / static_cast<double>(n * length), eps = eps_of(t);
          EXPECT_NEAR(mean.data<double>()[k], static_cast<double>(m), 100 * eps * (2 + shift));
          // An error d of the mean moves the variance by d^2; its own sum is of terms up to 4.
          const double moved = 100 * eps * 4 + std::pow(100 * eps * (2 + shift), 2) + 4 * eps * (2 + shift);
          const double expected = 1 / std::sqrt(variance + 1e-5);
          EXPECT_NEAR(rstd.data<double>()[k], expected, 0.5 * moved * std::pow(expected, 3) + eps * expected);
        }
      }
    }
  }
}

TEST_P(BatchNormOnIsa, Epilogue) {
  for (DType t : {DType::Float32, DType::Float64}) {
    for (const Shape& shape : kShapes) {
      SCOPED_TRACE(to_string(shape));
      const Tensor x = random_tensor(shape, t, 1), residual = random_tensor(shape, t, 2);
      const Tensor w = random_tensor({shape[1]}, t, 3), b = random_tensor({shape[1]}, t, 4),
                   mean = random_tensor({shape[1]}, t, 5), var = ops::square(random_tensor({shape[1]}, t, 6));
      for (bool training : {true, false}) {
        const Op op = training ? Op::BatchNorm : Op::BatchNormInference;
        Recorded recorded(op);
        const Tensor y = training ? ops::batch_norm(x, {}, {}, w, b, true) : ops::batch_norm(x, mean, var, w, b, false);
        const int at = static_cast<int>(recorded.calls[0].in.size());
        const Fused relu{at, -1, cpu::Activation::Relu, 0, 0}, leaky{-1, -1, cpu::Activation::LeakyRelu, 0.2, 0},
            gated{-1, at, cpu::Activation::None, 0, 0.3};
        EXPECT_TRUE(same_bits(run_again(op, recorded.calls[0], {residual}, &relu)[0], ops::relu(y + residual)));
        EXPECT_TRUE(same_bits(run_again(op, recorded.calls[0], {}, &leaky)[0], ops::leaky_relu(y, 0.2)));
        const Tensor by_gate = ops::where(ops::greater(residual, Tensor::weak(0)), y, y * 0.3);
        EXPECT_TRUE(same_bits(run_again(op, recorded.calls[0], {residual}, &gated)[0], by_gate));
      }
    }
  }
}

TEST_P(BatchNormOnIsa, GatedBackward) {
  for (DType t : {DType::Float32, DType::Float64}) {
    for (const Shape& shape : kShapes) {
      SCOPED_TRACE(to_string(shape));
      Tensor x = random_tensor(shape, t, 1).requires_grad_(), w = random_tensor({shape[1]}, t, 2).requires_grad_(),
             b = random_tensor({shape[1]}, t, 3).requires_grad_();
      const Tensor g = random_tensor(shape, t, 4), y = random_tensor(shape, t, 5), more = random_tensor(shape, t, 6);
      for (double slope : {0.0, 0.1}) {
        const Tensor gated =
            ops::where(ops::greater(y, Tensor::weak(0)), g, slope == 0 ? ops::zeros_like(g) : g * slope);
        Recorded recorded(Op::BatchNormBackward);
        grad({ops::batch_norm(x, {}, {}, w, b, true)}, {x, w, b}, {gated});
        const Recorded::Call& call = recorded.calls[0];
        for (bool keep : {false, true}) {
          Recorded::Call fused{call.in, gated_batch_norm(call.attrs, slope, keep), call.out};
          fused.in[0] = g;
          if (keep) fused.out.push_back(g);
          const int at = static_cast<int>(fused.in.size()) + 1;
          const Fused add{at, -1, cpu::Activation::None, 0, 0};
          const Tensors plain = run_again(Op::GatedBatchNormBackward, fused, {y});
          const Tensors added = run_again(Op::GatedBatchNormBackward, fused, {y, more}, &add);
          for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(plain[i], call.out[i])) << i;
          EXPECT_TRUE(same_bits(added[0], call.out[0] + more));
          if (keep) EXPECT_TRUE(same_bits(plain[3], gated));
        }
      }
    }
  }
}

TEST(BatchNorm, SameBitsForAnyNumberOfThreads) {
  const int before = num_threads();
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(to_string(shape));
    const auto run = [&](int threads) {
      set_num_threads(threads);
      Tensor x = random_tensor(shape, DType::Float32, 1).requires_grad_(),
             w = random_tensor({shape[1]}, DType::Float32, 2).requires_grad_();
      const Tensor y = ops::batch_norm(x, {}, {}, w, {}, true);
      Tensors out = grad({y}, {x, w}, {random_tensor(shape, DType::Float32, 3)});
      out.push_back(y);
      return out;
    };
    const Tensors one = run(1);
    for (int threads : {2, 5}) {
      const Tensors many = run(threads);
      for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(same_bits(one[i], many[i])) << i;
    }
  }
  set_num_threads(before);
}

}  // namespace
}  // namespace lanner
