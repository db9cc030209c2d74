// Runs elementwise kernels over tensors of any strides and dtypes: merges dimensions, hands contiguous rows to the
// kernel as they are, brings everything else through tiles in the first-level cache, and splits the work over threads.
#pragma once

#include <span>

#include "cpu/kernels/elementwise.h"
#include "lanner/shape.h"

namespace lanner::cpu {

// One tensor: its strides fit the shape that is walked over, 0 where it is repeated. `as` is the dtype that the kernel
// reads or writes; where it is not `dtype`, the elements are cast on the way.
struct Operand {
  void* data;
  DType dtype, as;
  Dims strides;  // in elements
};

// out[i] = kernel(in[0][i], ...) for every index i of the shape. `out` may be one of the inputs, with the same strides.
void run_elementwise(BlockFn kernel, int64_t grain, const Shape& shape, const Operand& out, std::span<const Operand> in,
                     const double* params);

// to[i] = from[i], cast. The two must not overlap.
void run_copy(const Shape& shape, const Operand& to, const Operand& from);

}  // namespace lanner::cpu
