#pragma once

#include <optional>

#include "lanner/tensor.h"

namespace lanner::ops {

// exp(x) / sum(exp(x)) along an axis, and its logarithm; neither overflows.
Tensor softmax(const Tensor& x, int64_t axis = -1);
Tensor log_softmax(const Tensor& x, int64_t axis = -1);

// Normalizations: (x - mean) / sqrt(var + eps) * weight + bias, where var has no correction. Weight and bias may be
// undefined. The dtypes of all must agree; float16 and bfloat16 are computed in float32.

// Over the last axes, whose sizes are `normalized_shape`, which is also the shape of weight and bias.
Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {}, const Tensor& bias = {},
                  double eps = 1e-5);
// x / sqrt(mean(x^2) + eps) * weight over the last axes; eps is by default that of the dtype.
Tensor rms_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                std::optional<double> eps = {});
// x is [N, C, ...]; over each of `groups` groups of neighbouring channels of a sample. Weight and bias are [C].
Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight = {}, const Tensor& bias = {},
                  double eps = 1e-5);
// x is [N, C] or [N, C, ...]; over all but C. In training (and where there are no running statistics) by the mean and
// variance of the batch, and running = (1 - momentum) * running + momentum * batch, in place, with the unbiased
// variance; otherwise by the running ones. Weight, bias and the running statistics are [C].
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight = {},
                  const Tensor& bias = {}, bool training = false, double momentum = 0.1, double eps = 1e-5);

}  // namespace lanner::ops
