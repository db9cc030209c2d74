// What ops over spatial windows (convolution, pooling, resizing) check alike.
#pragma once

#include "lanner/tensor.h"

namespace lanner {

// About 20 microseconds of work: what a slice that goes to another thread should last.
constexpr int64_t kSliceFlops = 2'000'000;
constexpr int64_t kSliceElements = 50'000;

// An argument for each of `dims` spatial dimensions; one number stands for all.
inline Dims spatial(const char* op, const char* argument, const Dims& given, int dims, int64_t least) {
  check<ShapeError>(given.size() == 1 || given.size() == dims, op, ": ", argument, " expects 1 or ", dims,
                    " numbers, got ", given);
  const Dims all = given.size() == dims ? given : Dims::filled(dims, given[0]);
  for (const int64_t n : all)
    check<ShapeError>(n >= least, op, ": ", argument, " must be at least ", least, ", got ", given);
  return all;
}

// Offsets within a plane (the last `dims` axes) are 32 bits wide in the kernels.
inline void check_plane(const char* op, const Shape& shape, int dims) {
  int64_t plane = 1;
  for (int d = shape.size() - dims; d < shape.size(); ++d) plane *= shape[d];
  check<ShapeError>(plane < int64_t{1} << 28, op, ": an image of ", plane, " elements a channel is too large");
}

template <class F>
auto with_float_type(DType dtype, F f) {
  return dtype == DType::Float32 ? f(float{}) : f(double{});
}

}  // namespace lanner
