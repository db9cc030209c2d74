// Activations: those with parameters, and the gradients of all.
#include <limits>

#include "lanner/ops/elementwise.h"
#include "ops/elementwise.h"

namespace lanner {

using namespace ops;

#define G v.g[0]
#define X v.in[0]
#define Y v.out[0]

namespace {

// A parameter of a gradient that is computed in one kernel with it.
const ElementwiseParams& params_of(const Vjp& v) { return v.attrs.get<ElementwiseParams>(); }

double first(const Vjp& v) { return params_of(v).value[0]; }

constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
constexpr double kGaussian = 0.39894228040143267794;  // 1 / sqrt(2 pi)
constexpr double kCubic = 0.044715;

}  // namespace

// ---- relu, leaky_relu: piecewise linear, so the gradient of the gradient is the same function of g ----

LANNER_VJP(Relu) {
  if (is_floating(G.dtype())) return {elementwise(Op::ReluBackward, {G, Y})};
  return {Tensor()};
}
LANNER_RUN(ReluBackward) { run_elementwise(r); }
LANNER_VJP(ReluBackward) { return {v.needs(0) ? elementwise(v.op, {G, v.in[1]}) : Tensor(), Tensor()}; }

namespace ops {
Tensor leaky_relu(const Tensor& x, double slope) {
  check_floating("leaky_relu", "x", x);
  return elementwise(Op::LeakyRelu, {x}, {{slope}});
}
}  // namespace ops
LANNER_RUN(LeakyRelu) { run_elementwise(r); }
LANNER_VJP(LeakyRelu) { return {elementwise(Op::LeakyReluBackward, {G, X}, params_of(v))}; }
LANNER_RUN(LeakyReluBackward) { run_elementwise(r); }
LANNER_VJP(LeakyReluBackward) {
  return {v.needs(0) ? elementwise(v.op, {G, v.in[1]}, params_of(v)) : Tensor(), Tensor()};
}

// ---- tanh, sigmoid: the gradient needs the output alone ----

LANNER_VJP(Tanh) { return {elementwise(Op::TanhBackward, {G, Y})}; }
LANNER_RUN(TanhBackward) { run_elementwise(r); }
LANNER_VJP(TanhBackward) {  // g (1 - y^2)
  const Tensor& y = v.in[1];
  return {v.needs(0) ? elementwise(v.op, {G, y}) : Tensor(), v.needs(1) ? G * X * (y * -2) : Tensor()};
}

LANNER_VJP(Sigmoid) { return {elementwise(Op::SigmoidBackward, {G, Y})}; }
LANNER_RUN(SigmoidBackward) { run_elementwise(r); }
LANNER_VJP(SigmoidBackward) {  // g y (1 - y)
  const Tensor& y = v.in[1];
  return {v.needs(0) ? elementwise(v.op, {G, y}) : Tensor(), v.needs(1) ? G * X * (1 - y * 2) : Tensor()};
}

// ---- silu ----

LANNER_VJP(Silu) { return {elementwise(Op::SiluBackward, {G, X})}; }
LANNER_RUN(SiluBackward) { run_elementwise(r); }
LANNER_VJP(SiluBackward) {  // g s (1 + x (1 - s)), s = sigmoid(x)
  const Tensor& x = v.in[1];
  Tensor by_x;
  if (v.needs(1)) {
    const Tensor s = sigmoid(x);
    by_x = G * X * (s * (1 - s) * (2 + x * (1 - 2 * s)));
  }
  return {v.needs(0) ? elementwise(v.op, {G, x}) : Tensor(), by_x};
}

// ---- gelu ----

namespace ops {
Tensor gelu(const Tensor& x, bool tanh_approximation) {
  check_floating("gelu", "x", x);
  return elementwise(tanh_approximation ? Op::GeluTanh : Op::Gelu, {x});
}
}  // namespace ops
LANNER_RUN(Gelu) { run_elementwise(r); }
LANNER_VJP(Gelu) { return {elementwise(Op::GeluBackward, {G, X})}; }
LANNER_RUN(GeluBackward) { run_elementwise(r); }
LANNER_VJP(GeluBackward) {  // g (Phi(x) + x phi(x)), whose slope is phi(x) (2 - x^2)
  const Tensor& x = v.in[1];
  Tensor by_x;
  if (v.needs(1)) by_x = G * X * (exp(square(x) * -0.5) * kGaussian) * (2 - square(x));
  return {v.needs(0) ? elementwise(v.op, {G, x}) : Tensor(), by_x};
}
LANNER_RUN(GeluTanh) { run_elementwise(r); }
LANNER_VJP(GeluTanh) { return {elementwise(Op::GeluTanhBackward, {G, X})}; }
LANNER_RUN(GeluTanhBackward) { run_elementwise(r); }
LANNER_VJP(GeluTanhBackward) {  // g (s + x s' z'), s = sigmoid(z), z = 2 sqrt(2/pi) (x + kCubic x^3)
  const Tensor& x = v.in[1];
  Tensor by_x;
  if (v.needs(1)) {
    const double c = 2 * kSqrtTwoOverPi;
    const Tensor s = sigmoid((x + x * square(x) * kCubic) * c), slope = (1 + square(x) * (3 * kCubic)) * c;
    const Tensor ds = s * (1 - s);
    by_x = G * X * ds * (2 * slope + x * ((1 - 2 * s) * square(slope) + x * (6 * kCubic * c)));
  }
  return {v.needs(0) ? elementwise(v.op, {G, x}) : Tensor(), by_x};
}

// ---- elu, selu, softplus ----

namespace ops {
Tensor elu(const Tensor& x, double alpha) {
  check_floating("elu", "x", x);
  return elementwise(Op::Elu, {x}, {{alpha}});
}
Tensor softplus(const Tensor& x, double beta, double threshold) {
  check_floating("softplus", "x", x);
  check(beta > 0, "softplus: beta must be positive, got ", beta);
  return elementwise(Op::Softplus, {x}, {{beta, threshold}});
}
}  // namespace ops
LANNER_RUN(Elu) { run_elementwise(r); }
LANNER_VJP(Elu) { return {G * where(greater(X, weak(0)), weak(1), exp(minimum(X, weak(0))) * first(v))}; }
LANNER_VJP(Selu) {
  constexpr double kAlpha = 1.6732632423543772848170429916717, kScale = 1.0507009873554804934193349852946;
  return {G * where(greater(X, weak(0)), weak(kScale), exp(minimum(X, weak(0))) * (kScale * kAlpha))};
}
LANNER_RUN(Softplus) { run_elementwise(r); }
LANNER_VJP(Softplus) {
  const double beta = params_of(v).value[0], threshold = params_of(v).value[1];
  const Tensor z = X * beta;
  return {G * where(greater(z, weak(threshold)), weak(1), sigmoid(z))};
}

// ---- compositions ----

namespace ops {
Tensor hardtanh(const Tensor& x, double lo, double hi) {
  check(lo <= hi, "hardtanh: the lower bound ", lo, " is above the upper one, ", hi);
  return clip(x, weak(lo), weak(hi));
}
Tensor threshold(const Tensor& x, double threshold, double value) {
  return where(greater(x, weak(threshold)), x, weak(value));
}
}  // namespace ops

}  // namespace lanner
