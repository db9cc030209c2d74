// Losses of one element that need more than basic ops do: float32 and float64, n elements.
#pragma once

#include <stddef.h>

namespace lanner::cpu {

template <class T>
struct LossOf {
  // -(t * log(x) + (1 - t) * log(1 - x)), each logarithm at least -100
  void (*binary_cross_entropy)(const T* x, const T* t, T* y, size_t n);
  // The same of sigmoid(x): max(x, 0) - x * t + log1p(exp(-|x|)), which does not overflow.
  void (*binary_cross_entropy_with_logits)(const T* x, const T* t, T* y, size_t n);
};

struct LossKernels {
  LossOf<float> f32;
  LossOf<double> f64;
};

}  // namespace lanner::cpu
