// Normalization: raw pointers, float32 and float64. Every sum has an order that depends on the sizes alone.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

// x is [n, channels, length], row-major; a call works on samples [n0, n1) of channels [c0, c1). Batch norm is this with
// its own n; group norm is n = 1 with a channel for each (sample, group) or (sample, channel).
struct ChannelRange {
  int64_t channels, length;
  int64_t n0, n1, c0, c1;
};

template <class T>
struct NormOf {
  // ---- rows of n elements: layer norm and, where mean is null, RMS norm ----
  // y = (x - mean) * rstd * weight + bias; weight and bias may be null; writes mean[rows] and rstd[rows].
  void (*rows_forward)(const T* x, const T* weight, const T* bias, T* y, T* mean, T* rstd, int64_t rows, int64_t n,
                       double eps);
  // dx (may be null), and over these rows dweight = sum(g * xhat), dbias = sum(g) (each may be null).
  void (*rows_backward)(const T* g, const T* x, const T* weight, const T* mean, const T* rstd, T* dx, T* dweight,
                        T* dbias, int64_t rows, int64_t n);

  // ---- channels; mean, m2, scale ... are indexed by channel ----
  // mean and sum((x - mean)^2), in two passes over what should fit into the second-level cache.
  void (*moments)(const T* x, const ChannelRange& r, T* mean, T* m2);
  // y = (x - mean) * scale + shift
  void (*apply)(const T* x, T* y, const ChannelRange& r, const T* mean, const T* scale, const T* shift);
  // sum(g) and sum(g * (x - mean))
  void (*backward_sums)(const T* g, const T* x, const ChannelRange& r, const T* mean, T* sum_g, T* sum_gx);
  // dx = g * scale - (x - mean) * slope - offset
  void (*backward_apply)(const T* g, const T* x, T* dx, const ChannelRange& r, const T* mean, const T* scale,
                         const T* slope, const T* offset);
};

struct NormKernels {
  NormOf<float> f32;
  NormOf<double> f64;
};

}  // namespace lanner::cpu
