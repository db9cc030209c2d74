// + - * / and what else is one or two instructions.
#include "cpu/kernels/elementwise_loops.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// Floats and vectors of them take the operator, integers the one of the unsigned type: it wraps around.
#define LANNER_ARITHMETIC(Name, symbol)                                    \
  struct Name {                                                            \
    template <class T>                                                     \
    LANNER_INLINE static T run(T a, T b, const double*) {                  \
      if constexpr (requires { typename ElementOf<T>::Type; }) {           \
        return a symbol b;                                                 \
      } else {                                                             \
        using U = typename Unsigned<T>::Type;                              \
        return static_cast<T>(static_cast<U>(a) symbol static_cast<U>(b)); \
      }                                                                    \
    }                                                                      \
  };
LANNER_ARITHMETIC(Add, +)
LANNER_ARITHMETIC(Subtract, -)
LANNER_ARITHMETIC(Multiply, *)
#undef LANNER_ARITHMETIC

struct Or {
  static uint8_t run(uint8_t a, uint8_t b, const double*) { return a | b; }
};
struct And {
  static uint8_t run(uint8_t a, uint8_t b, const double*) { return a & b; }
};

struct Divide {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector a, Vector b, const double*) {
    return a / b;
  }
};

struct FloorDivide {
  template <class T>
  LANNER_INLINE static T run(T a, T b, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; }) {
      return by_lane<Element<T>>(a, b, [](Element<T> x, Element<T> y) { return divide(x, y); });
    } else {
      if (b == 0) return 0;
      if constexpr (kIsSigned<T>) {
        // The smallest integer over -1 does not fit, and traps in the division.
        if (b == -1) return static_cast<T>(typename Unsigned<T>::Type{0} - static_cast<typename Unsigned<T>::Type>(a));
        const T quotient = a / b, rest = a % b;
        return static_cast<T>(rest != 0 && ((rest < 0) != (b < 0)) ? quotient - 1 : quotient);
      } else {
        return a / b;
      }
    }
  }

  // As Python: from the exact remainder, so that (a // b) * b + a % b is a within rounding.
  template <class T>
  static T divide(T a, T b) {
    if (b == 0) return a / b;
    T rest = __builtin_fmod(a, b);
    T quotient = (a - rest) / b;
    if (rest != 0 && ((rest < 0) != (b < 0))) quotient -= 1;
    if (quotient == 0) return __builtin_copysign(T(0), a / b);
    const T floor = __builtin_floor(quotient);
    return quotient - floor > T(0.5) ? floor + 1 : floor;
  }
};

struct Remainder {
  template <class T>
  LANNER_INLINE static T run(T a, T b, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; }) {
      return by_lane<Element<T>>(a, b, [](Element<T> x, Element<T> y) { return rest(x, y); });
    } else {
      if (b == 0) return 0;
      if constexpr (kIsSigned<T>) {
        if (b == -1) return 0;
        const T rest = a % b;
        return static_cast<T>(rest != 0 && ((rest < 0) != (b < 0)) ? rest + b : rest);
      } else {
        return a % b;
      }
    }
  }

  template <class T>
  static T rest(T a, T b) {
    T r = __builtin_fmod(a, b);
    if (r == 0) return __builtin_copysign(T(0), b);
    return (r < 0) != (b < 0) ? r + b : r;
  }
};

struct Maximum {
  template <class T>
  LANNER_INLINE static T run(T a, T b, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; })
      return max_nan(a, b);
    else
      return a > b ? a : b;
  }
};
struct Minimum {
  template <class T>
  LANNER_INLINE static T run(T a, T b, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; })
      return min_nan(a, b);
    else
      return a < b ? a : b;
  }
};

struct CopySign {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector a, Vector b, const double*) {
    return copysign(a, b);
  }
};

struct Neg {
  template <class T>
  LANNER_INLINE static T run(T x, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; })
      return -x;
    else
      return static_cast<T>(typename Unsigned<T>::Type{0} - static_cast<typename Unsigned<T>::Type>(x));
  }
};

struct Abs {
  template <class T>
  LANNER_INLINE static T run(T x, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; })
      return abs(x);
    else if constexpr (kIsSigned<T>)
      return x < 0 ? Neg::run(x, nullptr) : x;
    else
      return x;
  }
};

struct Sign {
  template <class T>
  LANNER_INLINE static T run(T x, const double*) {
    if constexpr (requires { typename ElementOf<T>::Type; }) {
      const T zero{}, one = splat(Element<T>(1));
      return select(x > zero, one, select(x < zero, -one, x));  // 0, -0 and NaN stay
    } else if constexpr (kIsSigned<T>) {
      return static_cast<T>((x > 0) - (x < 0));
    } else {
      return x != 0;
    }
  }
};

struct Square {
  template <class T>
  LANNER_INLINE static T run(T x, const double*) {
    return Multiply::run(x, x, nullptr);
  }
};
struct Sqrt {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double*) {
    return sqrt(x);
  }
};
struct Rsqrt {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double*) {
    return splat(Element<Vector>(1)) / sqrt(x);
  }
};
struct Reciprocal {
  template <class Vector>
  LANNER_INLINE static Vector run(Vector x, const double*) {
    return splat(Element<Vector>(1)) / x;
  }
};

const ElementwiseKernel kernels[] = {
    {"add", 2, false, kLight, LANNER_ALL(binary, Add, Or)},
    {"subtract", 2, false, kLight, LANNER_NUMBERS(binary, Subtract)},
    {"multiply", 2, false, kLight, LANNER_ALL(binary, Multiply, And)},
    {"divide", 2, false, kLight, LANNER_FLOATS(binary, Divide)},
    {"floor_divide", 2, false, kHeavy, LANNER_NUMBERS(binary, FloorDivide)},
    {"remainder", 2, false, kHeavy, LANNER_NUMBERS(binary, Remainder)},
    {"maximum", 2, false, kLight, LANNER_ALL(binary, Maximum, Or)},
    {"minimum", 2, false, kLight, LANNER_ALL(binary, Minimum, And)},
    {"copysign", 2, false, kLight, LANNER_FLOATS(binary, CopySign)},
    {"neg", 1, false, kLight, LANNER_NUMBERS(unary, Neg)},
    {"abs", 1, false, kLight, LANNER_NUMBERS(unary, Abs)},
    {"sign", 1, false, kLight, LANNER_NUMBERS(unary, Sign)},
    {"square", 1, false, kLight, LANNER_NUMBERS(unary, Square)},
    {"sqrt", 1, false, kLight, LANNER_FLOATS(unary, Sqrt)},
    {"rsqrt", 1, false, kLight, LANNER_FLOATS(unary, Rsqrt)},
    {"reciprocal", 1, false, kLight, LANNER_FLOATS(unary, Reciprocal)},
};

}  // namespace

const ElementwiseList arithmetic_kernels = {kernels, sizeof kernels / sizeof *kernels};

}  // namespace lanner::cpu::LANNER_ISA
