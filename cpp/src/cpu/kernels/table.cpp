#include "cpu/kernels/table.h"

#define LANNER_STRING_(x) #x
#define LANNER_STRING(x) LANNER_STRING_(x)
#define LANNER_JOIN_(a, b) a##b
#define LANNER_JOIN(a, b) LANNER_JOIN_(a, b)

namespace lanner::cpu::LANNER_ISA {
#define LANNER_FAMILY(Type, name) extern const Type name##_kernels;
LANNER_KERNEL_FAMILIES
#undef LANNER_FAMILY
}  // namespace lanner::cpu::LANNER_ISA

extern "C" const lanner::cpu::KernelTable LANNER_JOIN(lanner_kernels_, LANNER_ISA) = {LANNER_STRING(LANNER_ISA),
#define LANNER_FAMILY(Type, name) &lanner::cpu::LANNER_ISA::name##_kernels,
                                                                                      LANNER_KERNEL_FAMILIES
#undef LANNER_FAMILY
};
