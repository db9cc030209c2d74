#pragma once

#include <optional>

#include "lanner/tensor.h"

namespace lanner::ops {

// Which axes a reduction takes away: `{}` means all, `{1, -1}` those, `Dims()` none.
class Axes {
 public:
  Axes() = default;
  Axes(std::initializer_list<int64_t> axes) : axes_(axes), all_(false) {}
  Axes(const Dims& axes) : axes_(axes), all_(false) {}  // NOLINT: a natural conversion
  Axes(int64_t axis) : axes_({axis}), all_(false) {}    // NOLINT: a natural conversion

  // Non-negative, ascending. Throws ShapeError, which begins with `op`, for one that x has not, or has twice.
  Dims of(const Tensor& x, const char* op) const;

 private:
  Dims axes_;
  bool all_ = true;
};

// ---- reductions: `keepdims` leaves the axes there, of size 1 ----

// Integers and bool are added as int64 (uint64 stays); of floats, pairwise. `dtype`: what x is first converted to.
Tensor sum(const Tensor& x, const Axes& axes = {}, bool keepdims = false, std::optional<DType> dtype = {});
Tensor prod(const Tensor& x, const Axes& axes = {}, bool keepdims = false, std::optional<DType> dtype = {});
// The sum of x * x in one pass.
Tensor sum_squares(const Tensor& x, const Axes& axes = {}, bool keepdims = false);
// Of integers: float32.
Tensor mean(const Tensor& x, const Axes& axes = {}, bool keepdims = false);
// sum((x - mean(x))^2) / (n - correction), in two passes. The gradient of std is 0 where it is 0.
Tensor var(const Tensor& x, const Axes& axes = {}, double correction = 0, bool keepdims = false);
Tensor std(const Tensor& x, const Axes& axes = {}, double correction = 0, bool keepdims = false);
// NaN if one element is. The gradient is shared evenly by equal extremes. ShapeError over no elements.
Tensor max(const Tensor& x, const Axes& axes = {}, bool keepdims = false);
Tensor min(const Tensor& x, const Axes& axes = {}, bool keepdims = false);
inline Tensor amax(const Tensor& x, const Axes& axes = {}, bool keepdims = false) { return max(x, axes, keepdims); }
inline Tensor amin(const Tensor& x, const Axes& axes = {}, bool keepdims = false) { return min(x, axes, keepdims); }
Tensor any(const Tensor& x, const Axes& axes = {}, bool keepdims = false);
Tensor all(const Tensor& x, const Axes& axes = {}, bool keepdims = false);
Tensor count_nonzero(const Tensor& x, const Axes& axes = {}, bool keepdims = false);
// log(sum(exp(x))), which does not overflow.
Tensor logsumexp(const Tensor& x, const Axes& axes = {}, bool keepdims = false);

// int64 index of the first extreme along an axis, of the first NaN if there is one; without an axis into the flattened
// x.
Tensor argmax(const Tensor& x, std::optional<int64_t> axis = {}, bool keepdims = false);
Tensor argmin(const Tensor& x, std::optional<int64_t> axis = {}, bool keepdims = false);

// Element i combines 0..i. `include_initial` puts the sum (product) of nothing first, so that the axis grows by 1.
Tensor cumulative_sum(const Tensor& x, int64_t axis, std::optional<DType> dtype = {}, bool include_initial = false);
Tensor cumulative_prod(const Tensor& x, int64_t axis, std::optional<DType> dtype = {}, bool include_initial = false);

// ---- vector norms ----

// sum(|x|^ord)^(1/ord); ord may be 0 (how many are not 0) and +-infinity (the largest, the smallest magnitude). The
// gradient is 0 where the norm is 0.
Tensor norm(const Tensor& x, double ord = 2, const Axes& axes = {}, bool keepdims = false);
// x / max(norm(x, p, axis), eps)
Tensor normalize(const Tensor& x, double p = 2, const Axes& axes = {1}, double eps = 1e-12);

}  // namespace lanner::ops
