// What the elementwise families share.
#pragma once

#include "cpu/kernels/elementwise.h"
#include "ops/op.h"

namespace lanner {

// Numbers that an elementwise op takes besides its tensors.
struct ElementwiseParams {
  double value[2] = {};
};

// Checks the dtypes, broadcasts and emits. A float function of integers gives float32.
Tensor elementwise(Op op, std::initializer_list<Tensor> in, const ElementwiseParams& params = {});

// Every LANNER_RUN of an elementwise op.
void run_elementwise(const Run& r);

// ops::result_type of tensors of these dtypes; a weak one is a number that takes the other's.
DType result_type(DType a, bool a_is_weak, DType b, bool b_is_weak);

// An op's kernel in the instruction set in use; nullptr where the op has none.
const cpu::ElementwiseKernel* elementwise_kernel(Op op);

// x's strides for a walk over `shape`, 0 where x is repeated.
Dims broadcast_strides(const Tensor& x, const Shape& shape);
Dims broadcast_strides(const Shape& x, const Dims& strides, const Shape& shape);

}  // namespace lanner
