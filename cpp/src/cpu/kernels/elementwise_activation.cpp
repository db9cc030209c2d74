// Activations, and their gradients in one pass: name_backward(g, what the gradient needs of the forward pass).
#include "cpu/kernels/elementwise_loops.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

struct Relu {
  template <class T>
  LANNER_INLINE static T run(T x, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; })
      return select(x < T{}, T{}, x);  // NaN stays
    else
      return x > 0 ? x : 0;
  }
};
struct ReluBackward {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector g, Vector y, const double*) {
    return select(y > Vector{}, g, Vector{});
  }
};

struct Step {
  template <class T>
  LANNER_INLINE static T run(T x, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; })
      return select(x >= T{}, number<T>(1), select(x < T{}, T{}, x));
    else
      return x >= 0;
  }
};

struct LeakyRelu {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double* params) {
    return select(x > Vector{}, x, x * number<Vector>(params[0]));
  }
};
struct LeakyReluBackward {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector g, Vector x, const double* params) {
    return select(x > Vector{}, g, g * number<Vector>(params[0]));
  }
};

struct Elu {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double* params) {
    return select(x > Vector{}, x, number<Vector>(params[0]) * expm1(x));
  }
};

// alpha and scale at which mean 0 and variance 1 are a fixed point (Klambauer et al., 2017).
constexpr double kSeluAlpha = 1.6732632423543772848170429916717;
constexpr double kSeluScale = 1.0507009873554804934193349852946;
struct Selu {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double*) {
    const Vector scale = number<Vector>(kSeluScale), below = number<Vector>(kSeluScale * kSeluAlpha);
    return select(x > Vector{}, scale * x, below * expm1(x));
  }
};

struct Sigmoid {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double*) {
    return sigmoid(x);
  }
};
struct SigmoidBackward {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector g, Vector y, const double*) {
    return g * (y * (number<Vector>(1) - y));
  }
};
struct TanhBackward {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector g, Vector y, const double*) {
    return g * (number<Vector>(1) - y * y);
  }
};

struct Silu {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double*) {
    // -infinity * 0 would be NaN.
    return select(x == -number<Vector>(__builtin_inf()), -Vector{}, x * sigmoid(x));
  }
};
struct SiluBackward {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector g, Vector x, const double*) {
    const Vector s = sigmoid(x);
    return g * (s * (number<Vector>(1) + x * (number<Vector>(1) - s)));
  }
};

struct Softplus {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double* params) {
    const Vector z = x * number<Vector>(params[0]);
    const Vector soft = max_nan(z, Vector{}) + log1p_of_fraction(exp(-abs(z)));
    return select(z > number<Vector>(params[1]), x, soft * number<Vector>(1 / params[0]));
  }
};

constexpr double kSqrtHalf = 0.70710678118654752440;       // 1 / sqrt(2)
constexpr double kInverseSqrtPi = 0.56418958354775628695;  // 1 / sqrt(pi)
constexpr double kSqrtTwoOverPi = 0.79788456080286535588;  // sqrt(2 / pi)
constexpr double kCubic = 0.044715;

// The normal distribution by erfc, which keeps its digits where it is small.
template <class Vector>
LANNER_INLINE Vector normal_cdf(Vector x) {
  return number<Vector>(0.5) * erfc(number<Vector>(-kSqrtHalf) * x);
}
struct Gelu {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double*) {
    return select(x == -number<Vector>(__builtin_inf()), -Vector{}, x * normal_cdf(x));
  }
};
// Distribution and x * density share one exponential: with a = |x| / sqrt(2), erfc(a) = ratio exp(-a^2), the slope is
// d = (ratio / 2 - a / sqrt(pi)) exp(-a^2) where x is negative, else 1 - d.
struct GeluBackward {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector g, Vector x, const double*) {
    const Vector z = number<Vector>(kSqrtHalf) * x, half = number<Vector>(0.5), one = number<Vector>(1);
    const auto [a, ratio, gaussian] = erfc_parts(abs(z));
    const Vector along = number<Vector>(kInverseSqrtPi) * a, d = (half * ratio - along) * gaussian;
    Vector slope = select(x < Vector{}, d, one - d);
    if constexpr (!kSingle<Vector>)  // as in erfc
      slope = select(a < half, half + fma(half, erf_near_zero(z), copysign(along * gaussian, x)), slope);
    return g * slope;
  }
};

// (1 + tanh(z)) / 2 = sigmoid(2 z), which keeps its digits where it is small.
template <class Vector>
LANNER_INLINE Vector gelu_tanh_gate(Vector x) {
  const Vector z = number<Vector>(2 * kSqrtTwoOverPi) * (x + number<Vector>(kCubic) * (x * x * x));
  return sigmoid(z);
}
struct GeluTanh {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double*) {
    return select(x == -number<Vector>(__builtin_inf()), -Vector{}, x * gelu_tanh_gate(x));
  }
};
struct GeluTanhBackward {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector g, Vector x, const double*) {
    const Vector s = gelu_tanh_gate(x), one = number<Vector>(1);
    const Vector slope = number<Vector>(2 * kSqrtTwoOverPi) * (one + number<Vector>(3 * kCubic) * (x * x));
    return g * (s + x * (s * (one - s)) * slope);
  }
};

const ElementwiseKernel kernels[] = {
    {"relu", 1, false, kLight, LANNER_NUMBERS(unary, Relu)},
    {"relu_backward", 2, false, kLight, LANNER_FLOATS(binary, ReluBackward)},
    {"step", 1, false, kLight, LANNER_NUMBERS(unary, Step)},
    {"leaky_relu", 1, false, kLight, LANNER_FLOATS(unary, LeakyRelu)},
    {"leaky_relu_backward", 2, false, kLight, LANNER_FLOATS(binary, LeakyReluBackward)},
    {"elu", 1, false, kMiddle, LANNER_FLOATS(unary, Elu)},
    {"selu", 1, false, kMiddle, LANNER_FLOATS(unary, Selu)},
    {"sigmoid", 1, false, kMiddle, LANNER_FLOATS(unary, Sigmoid)},
    {"sigmoid_backward", 2, false, kLight, LANNER_FLOATS(binary, SigmoidBackward)},
    {"tanh_backward", 2, false, kLight, LANNER_FLOATS(binary, TanhBackward)},
    {"silu", 1, false, kMiddle, LANNER_FLOATS(unary, Silu)},
    {"silu_backward", 2, false, kMiddle, LANNER_FLOATS(binary, SiluBackward)},
    {"softplus", 1, false, kMiddle, LANNER_FLOATS(unary, Softplus)},
    {"gelu", 1, false, kMiddle, LANNER_FLOATS(unary, Gelu)},
    {"gelu_backward", 2, false, kMiddle, LANNER_FLOATS(binary, GeluBackward)},
    {"gelu_tanh", 1, false, kMiddle, LANNER_FLOATS(unary, GeluTanh)},
    {"gelu_tanh_backward", 2, false, kMiddle, LANNER_FLOATS(binary, GeluTanhBackward)},
};

}  // namespace

const ElementwiseList activation_kernels = {kernels, sizeof kernels / sizeof *kernels};

}  // namespace lanner::cpu::LANNER_ISA
