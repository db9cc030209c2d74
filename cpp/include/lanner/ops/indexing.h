#pragma once

#include <vector>

#include "lanner/tensor.h"

// Indices are integers of any dtype. Where a negative one is taken, it counts from the end of its axis. Indices out of
// range throw IndexError before anything is read or written. Where places coincide, the write whose index comes last in
// row-major order wins, and sums are added in that order.
namespace lanner::ops {

// out[i][j][k] = x[i][index[i][j][k]][k] for axis 1 of 3, and so on. index has x's rank and, on the other axes, at most
// x's size. take_along_axis broadcasts the other axes of both instead.
Tensor gather(const Tensor& x, const Tensor& index, int64_t axis);
Tensor take_along_axis(const Tensor& x, const Tensor& indices, int64_t axis = -1);

// A copy of x in which out[i][index[i][j][k]][k] = src[i][j][k] (for axis 1 of 3); scatter_add adds. src has index's
// rank and on each axis at least index's size, or is a scalar.
Tensor scatter(const Tensor& x, const Tensor& index, const Tensor& src, int64_t axis);
Tensor scatter_add(const Tensor& x, const Tensor& index, const Tensor& src, int64_t axis);

// Slices of x along one axis: the result has the axes of `indices` in place of that axis.
Tensor take(const Tensor& x, const Tensor& indices, int64_t axis);

// Rows of weight [V, D]. Row padding_idx gets no gradient (-1: every row does).
Tensor embedding(const Tensor& weight, const Tensor& indices, int64_t padding_idx = -1);

enum class BagMode : uint8_t { Sum, Mean, Max };
struct BagOptions {
  BagMode mode = BagMode::Mean;
  bool include_last_offset = false;  // the last offset is the end of the last bag
  int64_t padding_idx = -1;          // indices that are left out of their bag
};
// Rows of weight [V, D], reduced bag by bag to [B, D]. Indices [B, N] are bags of N; flat ones, [N], are cut into bags
// where `offsets` [B] says that each begins. An empty bag gives zeros. per_sample_weights, of the indices' shape, scale
// each row (Sum alone).
Tensor embedding_bag(const Tensor& weight, const Tensor& indices, const Tensor& offsets = {},
                     const Tensor& per_sample_weights = {}, const BagOptions& options = {});

// NumPy's x[indices]: one entry an axis, undefined for all of that axis; the entries are broadcast against each other,
// and their axes stand where the first was, or in front where indexed axes do not lie side by side. A boolean entry of
// k axes selects on k axes of x.
Tensor index(const Tensor& x, const Tensors& indices);
// A copy of x in which x[indices] = value; with `accumulate` x[indices] += value, once for each index.
Tensor index_put(const Tensor& x, const Tensors& indices, const Tensor& value, bool accumulate = false);
// The same in x itself, whose dtype the value takes. Not recorded for gradients.
void index_put_(const Tensor& x, const Tensors& indices, const Tensor& value);
// x[indices] = value in x itself, where no index at all means x[...].
void assign_(const Tensor& x, const Tensors& indices, const Tensor& value);

// For each axis of x, the int64 indices of the elements that are not 0, in row-major order.
Tensors nonzero(const Tensor& x);
// x.shape + [classes] of int64: 1 where the last index is x's value, else 0. -1: one more than the largest value.
Tensor one_hot(const Tensor& x, int64_t num_classes = -1);

}  // namespace lanner::ops
