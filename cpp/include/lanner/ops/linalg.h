#pragma once

#include <string>

#include "lanner/tensor.h"

namespace lanner::ops {

// Products of matrices. Transposed and broadcast views are read through their strides, not copied. dtypes are promoted;
// float16 and bfloat16 are multiplied in float32; integers wrap around.

// The matrix product over the last two axes, the axes before them broadcast. A 1-d x1 is a row, a 1-d x2 a column, and
// that axis is not in the result.
Tensor matmul(const Tensor& x1, const Tensor& x2);

// y[..., out] = x[..., in] weight[out, in]^T + bias[out]; bias may be undefined.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});
// The same from basic ops.
Tensor linear_decomposed(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// y[..., o] = sum_ij x1[..., i] weight[o, i, j] x2[..., j] + bias[o]; bias may be undefined.
Tensor bilinear(const Tensor& x1, const Tensor& x2, const Tensor& weight, const Tensor& bias = {});

// Sums over the last `axes` axes of x1 and the first `axes` of x2, or over the pairs of axes given.
Tensor tensordot(const Tensor& x1, const Tensor& x2, int64_t axes = 2);
Tensor tensordot(const Tensor& x1, const Tensor& x2, const Dims& axes1, const Dims& axes2);

// Einstein summation: "bij,bjk->bik". Without an arrow the result has the letters that occur once, in alphabetical
// order. A letter repeated in an operand takes its diagonal; "..." stands for axes that are broadcast.
Tensor einsum(const std::string& equation, const Tensors& operands);

// x1[M] x2[N] as [M, N].
Tensor outer(const Tensor& x1, const Tensor& x2);
// The sum of products along one axis, counted from the end and of the same size in both; the others broadcast.
Tensor vecdot(const Tensor& x1, const Tensor& x2, int64_t axis = -1);

}  // namespace lanner::ops
