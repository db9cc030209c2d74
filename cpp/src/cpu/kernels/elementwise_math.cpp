// Exponentials, logarithms, trigonometry, powers: math.h, element by element.
#include "cpu/kernels/elementwise_loops.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

#define LANNER_MATH_1(Name, function)                          \
  struct Name {                                                \
    template <class Vector>                                    \
    LANNER_INLINE static Vector run(Vector x, const double*) { \
      return function(x);                                      \
    }                                                          \
  };
LANNER_MATH_1(Exp, exp)
LANNER_MATH_1(Expm1, expm1)
LANNER_MATH_1(Log, log)
LANNER_MATH_1(Log1p, log1p)
LANNER_MATH_1(Log2, log2)
LANNER_MATH_1(Log10, log10)
LANNER_MATH_1(Sin, sin)
LANNER_MATH_1(Cos, cos)
LANNER_MATH_1(Tan, tan)
LANNER_MATH_1(Asin, asin)
LANNER_MATH_1(Acos, acos)
LANNER_MATH_1(Atan, atan)
LANNER_MATH_1(Sinh, sinh)
LANNER_MATH_1(Cosh, cosh)
LANNER_MATH_1(Tanh, tanh)
LANNER_MATH_1(Asinh, asinh)
LANNER_MATH_1(Acosh, acosh)
LANNER_MATH_1(Atanh, atanh)
LANNER_MATH_1(Erf, erf)
#undef LANNER_MATH_1

#define LANNER_MATH_2(Name, function)                                    \
  struct Name {                                                          \
    template <class Vector>                                              \
    LANNER_INLINE static Vector run(Vector x, Vector y, const double*) { \
      return function(x, y);                                             \
    }                                                                    \
  };
LANNER_MATH_2(Atan2, atan2)
LANNER_MATH_2(Hypot, hypot)
#undef LANNER_MATH_2

// max + log1p(exp(-|x - y|)); of two equal infinities, that infinity.
struct LogAddExp {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, Vector y, const double*) {
    const Vector larger = max_nan(x, y), distance = select(x == y, Vector{}, abs(x - y));
    return larger + log1p_of_fraction(exp(-distance));
  }
};

struct Pow {
  template <class T>
  LANNER_INLINE static T run(T x, T y, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; })
      return pow(x, y);
    else
      return integer(x, y);
  }

  template <class T>
  static T integer(T x, T y) {
    using U = typename Unsigned<T>::Type;
    if (y < 0) return x == 1 ? 1 : kIsSigned<T> && x == static_cast<T>(-1) ? ((y & 1) ? x : 1) : 0;
    U result = 1, base = static_cast<U>(x);
    for (U places = static_cast<U>(y); places > 0; places >>= 1) {
      if (places & 1) result *= base;
      base *= base;
    }
    return static_cast<T>(result);
  }
};

const ElementwiseKernel kernels[] = {
    {"exp", 1, false, kMiddle, LANNER_FLOATS(unary, Exp)},
    {"expm1", 1, false, kMiddle, LANNER_FLOATS(unary, Expm1)},
    {"log", 1, false, kMiddle, LANNER_FLOATS(unary, Log)},
    {"log1p", 1, false, kMiddle, LANNER_FLOATS(unary, Log1p)},
    {"log2", 1, false, kMiddle, LANNER_FLOATS(unary, Log2)},
    {"log10", 1, false, kMiddle, LANNER_FLOATS(unary, Log10)},
    {"sin", 1, false, kMiddle, LANNER_FLOATS(unary, Sin)},
    {"cos", 1, false, kMiddle, LANNER_FLOATS(unary, Cos)},
    {"tan", 1, false, kHeavy, LANNER_FLOATS(unary, Tan)},
    {"asin", 1, false, kHeavy, LANNER_FLOATS(unary, Asin)},
    {"acos", 1, false, kHeavy, LANNER_FLOATS(unary, Acos)},
    {"atan", 1, false, kHeavy, LANNER_FLOATS(unary, Atan)},
    {"sinh", 1, false, kHeavy, LANNER_FLOATS(unary, Sinh)},
    {"cosh", 1, false, kHeavy, LANNER_FLOATS(unary, Cosh)},
    {"tanh", 1, false, kMiddle, LANNER_FLOATS(unary, Tanh)},
    {"asinh", 1, false, kHeavy, LANNER_FLOATS(unary, Asinh)},
    {"acosh", 1, false, kHeavy, LANNER_FLOATS(unary, Acosh)},
    {"atanh", 1, false, kHeavy, LANNER_FLOATS(unary, Atanh)},
    {"erf", 1, false, kMiddle, LANNER_FLOATS(unary, Erf)},
    {"atan2", 2, false, kHeavy, LANNER_FLOATS(binary, Atan2)},
    {"hypot", 2, false, kHeavy, LANNER_FLOATS(binary, Hypot)},
    {"logaddexp", 2, false, kMiddle, LANNER_FLOATS(binary, LogAddExp)},
    {"pow", 2, false, kHeavy, LANNER_NUMBERS(binary, Pow)},
};

}  // namespace

const ElementwiseList math_kernels = {kernels, sizeof kernels / sizeof *kernels};

}  // namespace lanner::cpu::LANNER_ISA
