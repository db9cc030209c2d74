// Comparisons, logic and bits.
#include "cpu/kernels/elementwise_loops.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

#define LANNER_TEST_2(Name, expression)                         \
  struct Name {                                                 \
    template <class T>                                          \
    LANNER_INLINE static uint8_t run(T a, T b, const double*) { \
      return expression;                                        \
    }                                                           \
  };
LANNER_TEST_2(Equal, a == b)
LANNER_TEST_2(NotEqual, a != b)
LANNER_TEST_2(Less, a < b)
LANNER_TEST_2(LessEqual, a <= b)
LANNER_TEST_2(Greater, a > b)
LANNER_TEST_2(GreaterEqual, a >= b)
LANNER_TEST_2(LogicalAnd, (a != 0) & (b != 0))
LANNER_TEST_2(LogicalOr, (a != 0) | (b != 0))
LANNER_TEST_2(LogicalXor, (a != 0) ^ (b != 0))
#undef LANNER_TEST_2

// Of an integer, the answer is the same for all.
#define LANNER_TEST_1(Name, of_float, of_integer)          \
  struct Name {                                            \
    template <class T>                                     \
    LANNER_INLINE static uint8_t run(T x, const double*) { \
      if constexpr (kIsFloat<T>)                           \
        return of_float;                                   \
      else                                                 \
        return of_integer;                                 \
    }                                                      \
  };
LANNER_TEST_1(LogicalNot, x == 0, x == 0)
LANNER_TEST_1(IsNan, x != x, x != x)
LANNER_TEST_1(IsInf, x - x != 0 && x == x, x != x)
LANNER_TEST_1(IsFinite, x - x == 0, x == x)
LANNER_TEST_1(SignBit, __builtin_signbit(x) != 0, x < T(0))
#undef LANNER_TEST_1

#define LANNER_BITS(Name, symbol)                         \
  struct Name {                                           \
    template <class T>                                    \
    LANNER_INLINE static T run(T a, T b, const double*) { \
      return static_cast<T>(a symbol b);                  \
    }                                                     \
  };
LANNER_BITS(BitwiseAnd, &)
LANNER_BITS(BitwiseOr, |)
LANNER_BITS(BitwiseXor, ^)
#undef LANNER_BITS

struct BitwiseInvert {
  template <class T>
  LANNER_INLINE static T run(T x, const double*) {
    return static_cast<T>(~x);
  }
};
struct Not {
  static uint8_t run(uint8_t x, const double*) { return x ^ 1; }
};

// A place that the type does not have (negative, or too far): all bits have left.
template <class T>
LANNER_INLINE bool shifts_out(T places) {
  return places < 0 || places >= static_cast<T>(8 * sizeof(T));
}
struct LeftShift {
  template <class T>
  LANNER_INLINE static T run(T x, T places, const double*) {
    using U = typename Unsigned<T>::Type;
    return shifts_out(places) ? T(0) : static_cast<T>(static_cast<U>(x) << (places & T(8 * sizeof(T) - 1)));
  }
};
struct RightShift {
  template <class T>
  LANNER_INLINE static T run(T x, T places, const double*) {
    const T all_out = x < 0 ? static_cast<T>(-1) : T(0);
    return shifts_out(places) ? all_out : static_cast<T>(x >> (places & T(8 * sizeof(T) - 1)));
  }
};

#define LANNER_NO_BOOL(loop, F)                                                                                  \
  {nullptr,          loop<uint8_t, F>, loop<uint16_t, F>, loop<uint32_t, F>, loop<uint64_t, F>, loop<int8_t, F>, \
   loop<int16_t, F>, loop<int32_t, F>, loop<int64_t, F>,  nullptr,           nullptr,           nullptr,         \
   nullptr}

const ElementwiseKernel kernels[] = {
    {"equal", 2, true, kLight, LANNER_ALL(test_2, Equal, Equal)},
    {"not_equal", 2, true, kLight, LANNER_ALL(test_2, NotEqual, NotEqual)},
    {"less", 2, true, kLight, LANNER_ALL(test_2, Less, Less)},
    {"less_equal", 2, true, kLight, LANNER_ALL(test_2, LessEqual, LessEqual)},
    {"greater", 2, true, kLight, LANNER_ALL(test_2, Greater, Greater)},
    {"greater_equal", 2, true, kLight, LANNER_ALL(test_2, GreaterEqual, GreaterEqual)},
    {"logical_and", 2, true, kLight, LANNER_ALL(test_2, LogicalAnd, LogicalAnd)},
    {"logical_or", 2, true, kLight, LANNER_ALL(test_2, LogicalOr, LogicalOr)},
    {"logical_xor", 2, true, kLight, LANNER_ALL(test_2, LogicalXor, LogicalXor)},
    {"logical_not", 1, true, kLight, LANNER_ALL(test_1, LogicalNot, LogicalNot)},
    {"isnan", 1, true, kLight, LANNER_ALL(test_1, IsNan, IsNan)},
    {"isinf", 1, true, kLight, LANNER_ALL(test_1, IsInf, IsInf)},
    {"isfinite", 1, true, kLight, LANNER_ALL(test_1, IsFinite, IsFinite)},
    {"signbit", 1, true, kLight, LANNER_NUMBERS(test_1, SignBit)},
    {"bitwise_and", 2, false, kLight, LANNER_INTEGERS(binary, BitwiseAnd, BitwiseAnd)},
    {"bitwise_or", 2, false, kLight, LANNER_INTEGERS(binary, BitwiseOr, BitwiseOr)},
    {"bitwise_xor", 2, false, kLight, LANNER_INTEGERS(binary, BitwiseXor, BitwiseXor)},
    {"bitwise_invert", 1, false, kLight, LANNER_INTEGERS(unary, BitwiseInvert, Not)},
    {"bitwise_left_shift", 2, false, kLight, LANNER_NO_BOOL(binary, LeftShift)},
    {"bitwise_right_shift", 2, false, kLight, LANNER_NO_BOOL(binary, RightShift)},
};

}  // namespace

const ElementwiseList logic_kernels = {kernels, sizeof kernels / sizeof *kernels};

}  // namespace lanner::cpu::LANNER_ISA
