// What the elementwise families share.
#pragma once

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

// x's strides for a walk over `shape`, 0 where x is repeated.
Dims broadcast_strides(const Tensor& x, const Shape& shape);
Dims broadcast_strides(const Shape& x, const Dims& strides, const Shape& shape);

}  // namespace lanner
