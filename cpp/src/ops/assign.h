#pragma once

#include <cstring>

#include "lanner/tensor.h"

namespace lanner {

// Writes row-major `values` into `x`, of the same shape and dtype, whose strides may be any.
inline void assign(const Tensor& x, const Tensor& values) {
  const size_t bytes = itemsize(x.dtype());
  const char* from = static_cast<const char*>(values.raw());
  char* to = static_cast<char*>(x.raw());
  if (x.is_contiguous()) {
    if (x.size() > 0) std::memcpy(to, from, static_cast<size_t>(x.size()) * bytes);
    return;
  }
  Dims index = Dims::filled(x.ndim(), 0);
  int64_t offset = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    std::memcpy(to + offset * static_cast<int64_t>(bytes), from + i * static_cast<int64_t>(bytes), bytes);
    for (int axis = x.ndim() - 1; axis >= 0; --axis) {
      offset += x.strides()[axis];
      if (++index[axis] < x.size(axis)) break;
      offset -= x.size(axis) * x.strides()[axis];
      index[axis] = 0;
    }
  }
}

}  // namespace lanner
