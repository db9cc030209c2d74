// What the ops that index share.
#pragma once

#include <bit>

#include "lanner/tensor.h"

namespace lanner {

// Elements that one slice of parallel work moves at least: some 20 microseconds.
constexpr int64_t kMoveGrain = 16384;

// Entry of a table by element size.
inline int size_entry(DType dtype) { return std::countr_zero(itemsize(dtype)); }

// x seen as [outer, axis, inner].
struct AxisView {
  int64_t outer = 1, size = 1, inner = 1;
  AxisView(const Shape& shape, int axis) : size(shape[axis]) {
    for (int i = 0; i < axis; ++i) outer *= shape[i];
    for (int i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  }
};

// Under whose name an index out of range is reported.
enum class TakeAs : uint8_t { Take, Index, Embedding };

// Where an element of a row-major tensor lies.
inline char* at(const Tensor& t, int64_t element) {
  return static_cast<char*>(t.raw()) + element * static_cast<int64_t>(itemsize(t.dtype()));
}
void copy_bytes(void* to, const void* from, int64_t bytes);
void zero_bytes(void* to, int64_t bytes);

namespace ops {

// Indices as row-major int64; throws DTypeError for what is not integer.
Tensor as_index(const char* op, const char* argument, const Tensor& index);
// Throws IndexError unless low <= i < size for every index i.
void check_index(const char* op, const Tensor& index, int64_t low, int64_t axis, int64_t size);
// A number becomes x's dtype; a tensor must have it.
Tensor as_source(const char* op, const char* argument, const Tensor& src, const Tensor& x);

// scatter (or scatter_add) of row-major int64 indices and src into zeros of the given shape.
Tensor scatter_into_zeros(const Shape& shape, const Tensor& index, const Tensor& src, int axis, bool add);
// take of row-major int64 indices, of which one out of range is said to be one of x's axis `shown_axis`. Slice `skip`
// gets no gradient (-1: every slice does).
Tensor take_rows(const Tensor& x, const Tensor& index, int axis, TakeAs as, int shown_axis, int64_t skip = -1);
// The reverse of take: zeros of `size` on the axis, to which the slices of g are added. Index `skip` is left out.
Tensor take_grad(const Tensor& g, const Tensor& index, int axis, int64_t size, int64_t skip = -1);
// A copy of x in which the slices at `index` of one axis are those of src (of take's shape), or have them added.
Tensor put_rows(const Tensor& x, const Tensor& index, const Tensor& src, int axis, bool accumulate);

}  // namespace ops
}  // namespace lanner
