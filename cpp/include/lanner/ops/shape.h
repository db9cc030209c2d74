#pragma once

#include "lanner/tensor.h"

namespace lanner::ops {

// Views: they share x's memory wherever its strides allow.

// The same elements in row-major order under another shape; one size may be -1. Copies where x's strides do not allow
// a view.
Tensor reshape(const Tensor& x, const Shape& shape);
// Axis i of the result is axis axes[i] of x.
Tensor permute_dims(const Tensor& x, const Dims& axes);
Tensor matrix_transpose(const Tensor& x);  // the last two axes, swapped
Tensor swapaxes(const Tensor& x, int64_t axis1, int64_t axis2);
Tensor moveaxis(const Tensor& x, const Dims& source, const Dims& destination);
Tensor expand_dims(const Tensor& x, int64_t axis);
// Without the given axes, which must have size 1.
Tensor squeeze(const Tensor& x, const Dims& axes);
Tensor squeeze(const Tensor& x);  // without any axis of size 1
Tensor flatten(const Tensor& x, int64_t start_axis = 0, int64_t end_axis = -1);
Tensor unflatten(const Tensor& x, int64_t axis, const Shape& sizes);
// Repeats along axes of size 1, and along new leading axes, without copying.
Tensor broadcast_to(const Tensor& x, const Shape& shape);
// x[starts[i]:stops[i]:steps[i]] on each axis i; bounds already within the axis, steps not 0. A negative step walks
// down from start to just above stop (which may be -1).
Tensor slice(const Tensor& x, const Dims& starts, const Dims& stops, const Dims& steps);
// `length` elements from `start` along one axis.
Tensor narrow(const Tensor& x, int64_t axis, int64_t start, int64_t length);

// Adds up what broadcasting repeated, until x has `shape`: the reverse of broadcast_to.
Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace lanner::ops
