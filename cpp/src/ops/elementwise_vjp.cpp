// The gradients of the elementwise ops. Broadcasting is undone by the walk, and so is the cast of an input of another
// dtype.
#include "lanner/ops/elementwise.h"
#include "lanner/ops/shape.h"
#include "ops/elementwise.h"

namespace lanner {

using namespace ops;

#define G v.g[0]
#define X v.in[0]
#define Y v.out[0]

LANNER_VJP(Neg) { return {-G}; }
LANNER_VJP(Abs) { return {G * sign(X)}; }
LANNER_VJP(Square) { return {G * (X * 2)}; }
LANNER_VJP(Sqrt) { return {G / (Y * 2)}; }
LANNER_VJP(Rsqrt) { return {G * (Y / X * -0.5)}; }
LANNER_VJP(Reciprocal) { return {-G * square(Y)}; }

LANNER_VJP(Add) { return {G, G}; }
LANNER_VJP(Subtract) { return {G, v.needs(1) ? -G : Tensor()}; }
LANNER_VJP(Multiply) { return {v.needs(0) ? G * v.in[1] : Tensor(), v.needs(1) ? G * X : Tensor()}; }
LANNER_VJP(Divide) {
  const Tensor by_first = G / v.in[1];
  return {by_first, v.needs(1) ? -by_first * (X / v.in[1]) : Tensor()};
}
LANNER_VJP(Remainder) { return {G, v.needs(1) ? -G * floor(X / v.in[1]) : Tensor()}; }

LANNER_VJP(Pow) {
  // A Python number as a tensor of its own: two of them combine to float32, which would round x ** (1 / 3) in float64.
  const Tensor exponent = v.in[1].is_weak() ? cast(v.in[1], G.dtype()) : v.in[1];
  Tensor by_base, by_exponent;
  // x^0 is constant, at x = 0 too, where 0 * 0^-1 would be NaN; and so is 0^y for y > 0, where 0 * log(0) would be.
  if (v.needs(0)) by_base = G * where(equal(exponent, weak(0)), weak(0), exponent * pow(X, exponent - 1));
  if (v.needs(1)) {
    const Tensor constant = logical_and(equal(X, weak(0)), greater_equal(exponent, weak(0)));
    by_exponent = G * where(constant, weak(0), Y * log(X));
  }
  return {by_base, by_exponent};
}

namespace {

// The cotangent goes to the one that was taken; of two equal ones, half to each.
Tensors vjp_of_extreme(const Vjp& v, const Tensor& first_taken) {
  const Tensor half = G * 0.5, tie = equal(X, v.in[1]);
  return {v.needs(0) ? where(tie, half, where(first_taken, G, weak(0))) : Tensor(),
          v.needs(1) ? where(tie, half, where(first_taken, weak(0), G)) : Tensor()};
}

}  // namespace

LANNER_VJP(Maximum) { return vjp_of_extreme(v, logical_or(greater(X, v.in[1]), isnan(X))); }
LANNER_VJP(Minimum) { return vjp_of_extreme(v, logical_or(less(X, v.in[1]), isnan(X))); }
LANNER_VJP(Hypot) { return {v.needs(0) ? G * (X / Y) : Tensor(), v.needs(1) ? G * (v.in[1] / Y) : Tensor()}; }
LANNER_VJP(CopySign) {
  return {v.needs(0) ? G * (sign(X) * copysign(ones_like(X), v.in[1])) : Tensor(),
          v.needs(1) ? zeros_like(v.in[1]) : Tensor()};
}

LANNER_VJP(Exp) { return {G * Y}; }
LANNER_VJP(Expm1) { return {G * (Y + 1)}; }
LANNER_VJP(Log) { return {G / X}; }
LANNER_VJP(Log1p) { return {G / (X + 1)}; }
LANNER_VJP(Log2) { return {G / (X * 0.69314718055994530942)}; }
LANNER_VJP(Log10) { return {G / (X * 2.30258509299404568402)}; }
LANNER_VJP(LogAddExp) { return {v.needs(0) ? G * exp(X - Y) : Tensor(), v.needs(1) ? G * exp(v.in[1] - Y) : Tensor()}; }

LANNER_VJP(Sin) { return {G * cos(X)}; }
LANNER_VJP(Cos) { return {-G * sin(X)}; }
LANNER_VJP(Tan) { return {G * (square(Y) + 1)}; }
LANNER_VJP(Asin) { return {G * rsqrt(1 - square(X))}; }
LANNER_VJP(Acos) { return {-G * rsqrt(1 - square(X))}; }
LANNER_VJP(Atan) { return {G / (square(X) + 1)}; }
LANNER_VJP(Atan2) {
  const Tensor scaled = G / (square(X) + square(v.in[1]));
  return {v.needs(0) ? scaled * v.in[1] : Tensor(), v.needs(1) ? -scaled * X : Tensor()};
}
LANNER_VJP(Sinh) { return {G * cosh(X)}; }
LANNER_VJP(Cosh) { return {G * sinh(X)}; }
LANNER_VJP(Asinh) { return {G * rsqrt(square(X) + 1)}; }
LANNER_VJP(Acosh) { return {G * rsqrt(X - 1) * rsqrt(X + 1)}; }
LANNER_VJP(Atanh) { return {G / (1 - square(X))}; }
LANNER_VJP(Erf) { return {G * (exp(-square(X)) * 1.12837916709551257390)}; }  // 2 / sqrt(pi)

LANNER_VJP(Where) {
  return {Tensor(), v.needs(1) ? where(X, G, weak(0)) : Tensor(), v.needs(2) ? where(X, weak(0), G) : Tensor()};
}

LANNER_VJP(Clip) {
  const Tensor &lo = v.in[1], &hi = v.in[2];
  const Tensor above = greater(X, hi), below = less(minimum(X, hi), lo);  // as the kernel has it: lo wins over hi
  return {v.needs(0) ? where(logical_or(above, below), weak(0), G) : Tensor(),
          v.needs(1) ? where(below, G, weak(0)) : Tensor(),
          v.needs(2) ? where(logical_and(above, logical_not(below)), G, weak(0)) : Tensor()};
}

}  // namespace lanner
