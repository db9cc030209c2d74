#include "cpu/kernels/elementwise_loops.h"

namespace lanner::cpu::LANNER_ISA {

extern const ElementwiseKernels elementwise_kernels;
const ElementwiseKernels elementwise_kernels = {
    {&arithmetic_kernels, &rounding_kernels, &math_kernels, &activation_kernels, &logic_kernels, &select_kernels},
    &copy_kernels,
};

}  // namespace lanner::cpu::LANNER_ISA
