#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lanner/tensor.h"

namespace lanner::ops {

// Pooling over windows of the last one or two axes of x, [N, C, L] or [N, C, H, W], the batch optional. An empty stride
// is the kernel size. An output size is (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1, rounded down,
// or with ceil_mode up, where the last window still begins inside of x or of the padding before it.

// The largest element of each window; NaN if one is. Indices count in the plane of the last one or two axes, row-major.
using Pooled = std::pair<Tensor, Tensor>;  // values, indices
Pooled max_pool1d_with_indices(const Tensor& x, const Dims& kernel_size, const Dims& stride = {},
                               const Dims& padding = {0}, const Dims& dilation = {1}, bool ceil_mode = false);
Pooled max_pool2d_with_indices(const Tensor& x, const Dims& kernel_size, const Dims& stride = {},
                               const Dims& padding = {0}, const Dims& dilation = {1}, bool ceil_mode = false);
Tensor max_pool1d(const Tensor& x, const Dims& kernel_size, const Dims& stride = {}, const Dims& padding = {0},
                  const Dims& dilation = {1}, bool ceil_mode = false);
Tensor max_pool2d(const Tensor& x, const Dims& kernel_size, const Dims& stride = {}, const Dims& padding = {0},
                  const Dims& dilation = {1}, bool ceil_mode = false);

// The mean of each window; padding counts as zeros, or with count_include_pad false not at all.
Tensor avg_pool1d(const Tensor& x, const Dims& kernel_size, const Dims& stride = {}, const Dims& padding = {0},
                  bool ceil_mode = false, bool count_include_pad = true);
Tensor avg_pool2d(const Tensor& x, const Dims& kernel_size, const Dims& stride = {}, const Dims& padding = {0},
                  bool ceil_mode = false, bool count_include_pad = true);

// Windows such that the output has the given size: output i covers floor(i * in / out) to ceil((i + 1) * in / out). A
// size of -1 is that of x.
Tensor adaptive_avg_pool1d(const Tensor& x, const Dims& output_size);
Tensor adaptive_avg_pool2d(const Tensor& x, const Dims& output_size);
Pooled adaptive_max_pool1d_with_indices(const Tensor& x, const Dims& output_size);
Pooled adaptive_max_pool2d_with_indices(const Tensor& x, const Dims& output_size);
Tensor adaptive_max_pool1d(const Tensor& x, const Dims& output_size);
Tensor adaptive_max_pool2d(const Tensor& x, const Dims& output_size);

// Resizes the last axis of [N, C, L] or the last two of [N, C, H, W], to `size` or by `scale_factor` (one of them
// empty). mode: "nearest", "linear" (3-d x), "bilinear" (4-d x). Where corners are aligned, the first and last elements
// keep their places; else pixels are areas, and the centres of the outer ones move.
Tensor upsample(const Tensor& x, const Dims& size, const std::vector<double>& scale_factor = {},
                const std::string& mode = "nearest", bool align_corners = false);

}  // namespace lanner::ops
