// Random tensors. Each call takes one state from the program's generator (lanner/random.h), and each element depends on
// that state and its index alone: the same bits on any number of threads.
#pragma once

#include <optional>

#include "lanner/random.h"
#include "lanner/tensor.h"

namespace lanner::ops {

// Gaussian numbers of the given mean and standard deviation.
Tensor normal(const Shape& shape, double mean = 0, double std = 1, DType dtype = DType::Float32);
// Evenly from [low, high).
Tensor uniform(const Shape& shape, double low = 0, double high = 1, DType dtype = DType::Float32);
// Integers from low to high - 1, all equally likely.
Tensor randint(int64_t low, int64_t high, const Shape& shape, DType dtype = DType::Int64);
// 0, 1, ..., n - 1 in random order, as int64.
Tensor permutation(int64_t n);
// x with its first axis in random order.
Tensor permutation(const Tensor& x);
// True (or 1) with probability p.
Tensor bernoulli(double p, const Shape& shape, DType dtype = DType::Bool);
// Of p's shape and dtype: 1 with the probability that p holds at that place.
Tensor bernoulli(const Tensor& p);
// Classes, as int64: k along `axis` of logits with probability softmax(logits)[k]. The result is of the shape of the other
// axes, or of `shape`, which ends with theirs: as many draws of each.
Tensor categorical(const Tensor& logits, int64_t axis = -1, const std::optional<Shape>& shape = {});

// In training: each element is 0 with probability p, else x / (1 - p). Otherwise x itself. No mask is kept: the
// gradient draws the same numbers again.
Tensor dropout(const Tensor& x, double p = 0.5, bool training = true);
// The same for whole channels, x [N, C, ...] or [C, H, W].
Tensor dropout2d(const Tensor& x, double p = 0.5, bool training = true);

// Overwrite a tensor, for initialisation.
void uniform_(const Tensor& x, double low = 0, double high = 1);
void normal_(const Tensor& x, double mean = 0, double std = 1);

}  // namespace lanner::ops
