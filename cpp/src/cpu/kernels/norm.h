// Normalization of rows: raw pointers, float32 and float64. Every sum has an order that depends on the sizes alone.
// By channel: channel_norm.h.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

template <class T>
struct NormOf {
  // ---- rows of n elements: layer norm and, where mean is null, RMS norm ----
  // y = (x - mean) * rstd * weight + bias; weight and bias may be null; writes mean[rows] and rstd[rows].
  void (*rows_forward)(const T* x, const T* weight, const T* bias, T* y, T* mean, T* rstd, int64_t rows, int64_t n,
                       double eps);
  // dx (may be null), and over these rows dweight = sum(g * xhat), dbias = sum(g) (each may be null).
  void (*rows_backward)(const T* g, const T* x, const T* weight, const T* mean, const T* rstd, T* dx, T* dweight,
                        T* dbias, int64_t rows, int64_t n);
};

struct NormKernels {
  NormOf<float> f32;
  NormOf<double> f64;
};

}  // namespace lanner::cpu
