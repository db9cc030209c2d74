// To integers; an integer is one already.
#include "cpu/kernels/elementwise_loops.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

#define LANNER_ROUNDING(Name, function)                        \
  struct Name {                                                \
    template <class T>                                         \
    LANNER_INLINE static T run(T x, const double*) {           \
      if constexpr (requires { typename ElementOf<T>::Type; }) \
        return function(x);                                    \
      else                                                     \
        return x;                                              \
    }                                                          \
  };
LANNER_ROUNDING(Floor, floor)
LANNER_ROUNDING(Ceil, ceil)
LANNER_ROUNDING(Round, rint)
LANNER_ROUNDING(Trunc, trunc)
#undef LANNER_ROUNDING

const ElementwiseKernel kernels[] = {
    {"floor", 1, false, kLight, LANNER_NUMBERS(unary, Floor)},
    {"ceil", 1, false, kLight, LANNER_NUMBERS(unary, Ceil)},
    {"round", 1, false, kLight, LANNER_NUMBERS(unary, Round)},
    {"trunc", 1, false, kLight, LANNER_NUMBERS(unary, Trunc)},
};

}  // namespace

const ElementwiseList rounding_kernels = {kernels, sizeof kernels / sizeof *kernels};

}  // namespace lanner::cpu::LANNER_ISA
