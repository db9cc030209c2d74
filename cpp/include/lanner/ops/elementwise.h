// Element by element, with broadcasting and dtype promotion; operators on Tensor and numbers; new tensors of given
// values; casts and copies.
#pragma once

#include <type_traits>

#include "lanner/tensor.h"

namespace lanner::ops {

// ---- dtypes ----

// The dtype that an op on both computes in. A weak one (a plain number) gives way to the other, but for a fractional
// number with integers, which gives float32.
DType result_type(const Tensor& a, const Tensor& b);
// The values as another dtype: x itself where nothing changes. Fractions are cut off on the way to integers, which
// wrap; anything but 0 is true.
Tensor cast(const Tensor& x, DType dtype);

// ---- one and two tensors: see elementwise.def for what each computes ----
#define LANNER_ELEMENTWISE_1(Name, name, python_name, traits, doc, example, result) Tensor name(const Tensor& x);
#define LANNER_ELEMENTWISE_2(Name, name, python_name, traits, doc, example, result) \
  Tensor name(const Tensor& x1, const Tensor& x2);
#include "lanner/ops/elementwise.def"

// x1 to the power x2. A plain number 2, 0.5 or -1 for x2 is a square, a square root, a reciprocal.
Tensor pow(const Tensor& x1, const Tensor& x2);

// ---- more tensors, or numbers beside them ----

// a where the condition is true (not 0), else b.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
// max(min(x, hi), lo); a bound may be undefined. The gradient passes where lo <= x <= hi.
Tensor clip(const Tensor& x, const Tensor& lo, const Tensor& hi);
// x above 0, slope * x below.
Tensor leaky_relu(const Tensor& x, double slope = 0.01);
// x above 0, alpha * (exp(x) - 1) below.
Tensor elu(const Tensor& x, double alpha = 1.0);
// x * Phi(x), Phi the normal distribution; or its approximation x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).
Tensor gelu(const Tensor& x, bool tanh_approximation = false);
// log(1 + exp(beta * x)) / beta; x itself where beta * x is above the threshold.
Tensor softplus(const Tensor& x, double beta = 1.0, double threshold = 20.0);
// x between lo and hi, else the nearer of them.
Tensor hardtanh(const Tensor& x, double lo = -1.0, double hi = 1.0);
// x where x > threshold, else value.
Tensor threshold(const Tensor& x, double threshold, double value);

// ---- new tensors ----

// `value` has one element.
Tensor full(const Shape& shape, const Tensor& value, DType dtype);
Tensor full(const Shape& shape, double value, DType dtype = DType::Float32);
Tensor zeros(const Shape& shape, DType dtype = DType::Float32);
Tensor ones(const Shape& shape, DType dtype = DType::Float32);
Tensor full_like(const Tensor& x, double value);
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
// start, start + step, ... below stop (above it, for a negative step). Integers are exact where all three are.
Tensor arange(double start, double stop, double step, DType dtype);
Tensor arange(int64_t start, int64_t stop, int64_t step, DType dtype = DType::Int64);
// `count` values evenly spaced from start to stop; stop itself is the last one if `endpoint`.
Tensor linspace(double start, double stop, int64_t count, DType dtype = DType::Float32, bool endpoint = true);
// Ones on the diagonal that begins k columns to the right, zeros elsewhere.
Tensor eye(int64_t rows, int64_t columns, int64_t k = 0, DType dtype = DType::Float32);

// ---- memory ----

// x itself if it is row-major without gaps, else a copy that is.
Tensor contiguous(const Tensor& x);
// A row-major copy in memory of its own.
Tensor copy(const Tensor& x);
// Writes src, broadcast and cast, into dst's memory. The two may overlap.
void copy_(const Tensor& dst, const Tensor& src);
void fill_(const Tensor& dst, const Tensor& value);
void fill_(const Tensor& dst, double value);
inline void fill_(const Tensor& dst, int value) { fill_(dst, static_cast<double>(value)); }

}  // namespace lanner::ops

namespace lanner {

template <class N>
concept Number = std::is_arithmetic_v<N>;

// A plain number as an operand: it takes the dtype of the tensor that it meets.
template <Number N>
Tensor weak(N value) {
  if constexpr (std::is_floating_point_v<N>)
    return Tensor::weak(static_cast<double>(value));
  else
    return Tensor::weak(static_cast<int64_t>(value));
}

#define LANNER_OPERATOR(symbol, function)                                                         \
  inline Tensor operator symbol(const Tensor& a, const Tensor& b) { return ops::function(a, b); } \
  template <Number N>                                                                             \
  Tensor operator symbol(const Tensor& a, N b) {                                                  \
    return ops::function(a, weak(b));                                                             \
  }                                                                                               \
  template <Number N>                                                                             \
  Tensor operator symbol(N a, const Tensor& b) {                                                  \
    return ops::function(weak(a), b);                                                             \
  }
LANNER_OPERATOR(+, add)
LANNER_OPERATOR(-, subtract)
LANNER_OPERATOR(*, multiply)
LANNER_OPERATOR(/, divide)
#undef LANNER_OPERATOR
inline Tensor operator-(const Tensor& x) { return ops::neg(x); }

}  // namespace lanner
