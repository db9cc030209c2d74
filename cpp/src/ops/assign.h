// Writing into memory that is there, for ops that do so. Users call ops::copy_ and ops::fill_.
#pragma once

#include "lanner/tensor.h"

namespace lanner {

// dst[...] = src, broadcast and cast; src may lie in the same memory.
void copy_into(const Tensor& dst, const Tensor& src);
// Elements of a tensor, through strides of their own, the first of them `offset` elements from the tensor's.
struct Part {
  const Tensor& of;
  Dims strides;
  int64_t offset = 0;
};
// The two have one shape and do not overlap.
void copy_into(const Part& dst, const Part& src, const Shape& shape);
void fill_into(const Tensor& dst, double value);

}  // namespace lanner
