#pragma once

#include <utility>

#include "lanner/tensor.h"

// NaN comes last, ascending and descending; equal elements keep their order.
namespace lanner::ops {

Tensor sort(const Tensor& x, int64_t axis = -1, bool descending = false);
Tensor argsort(const Tensor& x, int64_t axis = -1, bool descending = false);
// The k largest (smallest) along an axis, in order, and their int64 indices.
std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t axis = -1, bool largest = true);
// The distinct values of x, ascending; each NaN counts as one.
Tensor unique_values(const Tensor& x);
// How many elements of the ascending 1-d `sorted` stand before each of `values`; with `right` those that equal it too.
Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right = false);

}  // namespace lanner::ops
