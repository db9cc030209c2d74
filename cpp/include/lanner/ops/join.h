#pragma once

#include <vector>

#include "lanner/tensor.h"

// Putting arrays together, taking them apart, and moving their parts about.
namespace lanner::ops {

// Shapes agree on all axes but `axis`; the dtype is that to which all promote.
Tensor concat(const Tensors& tensors, int64_t axis = 0);
Tensor stack(const Tensors& tensors, int64_t axis = 0);  // along a new axis

// Views: pieces of `size` (the last may be smaller), pieces of the given sizes, `count` pieces of like size.
Tensors split(const Tensor& x, int64_t size, int64_t axis = 0);
Tensors split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis = 0);
Tensors chunk(const Tensor& x, int64_t count, int64_t axis = 0);
Tensors unstack(const Tensor& x, int64_t axis = 0);  // without the axis

enum class PadMode : uint8_t { Constant, Reflect, Replicate, Circular };
// `pads`: elements to add before and after the last axis, then the one before it, and so on. A negative number crops.
Tensor pad(const Tensor& x, const std::vector<int64_t>& pads, PadMode mode = PadMode::Constant, double value = 0);

Tensor flip(const Tensor& x, const Dims& axes);  // a view
Tensor flip(const Tensor& x);                    // on all axes
// Elements that leave one end of an axis come in at the other. Without axes: of x read row by row.
Tensor roll(const Tensor& x, const Dims& shifts, const Dims& axes);
Tensor roll(const Tensor& x, int64_t shift);
// Each element of an axis `repeats` times.
Tensor repeat(const Tensor& x, int64_t repeats, int64_t axis);
// Element i of an axis repeats[i] times.
Tensor repeat(const Tensor& x, const Tensor& repeats, int64_t axis);
// The whole of x, repeats[i] times along axis i.
Tensor tile(const Tensor& x, const Dims& repeats);

// The matrices of the last two axes, zero above (below) the k-th diagonal.
Tensor tril(const Tensor& x, int64_t k = 0);
Tensor triu(const Tensor& x, int64_t k = 0);
// The offset-th diagonal of the two axes, as a new last axis; a view where x's strides allow one.
Tensor diagonal(const Tensor& x, int64_t offset = 0, int64_t axis1 = -2, int64_t axis2 = -1);
Tensor trace(const Tensor& x, int64_t offset = 0);  // the sum of the diagonal of the last two axes

}  // namespace lanner::ops
