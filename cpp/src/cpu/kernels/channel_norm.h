// Normalization by channel: raw pointers, float32 and float64. Every sum has an order that depends on the sizes alone.
#pragma once

#include "cpu/kernels/epilogue.h"

namespace lanner::cpu {

// x is [n, channels, length], row-major; a call works on samples [n0, n1) of channels [c0, c1). Batch norm is this with
// its own n; group norm is n = 1 with a channel for each (sample, group) or (sample, channel).
struct ChannelRange {
  int64_t channels, length;
  int64_t n0, n1, c0, c1;
};

// A gradient that comes through an activation which gave y: it counts in full where y > 0, and `slope` times elsewhere.
// It is left in `gated`, unless that is null. All are laid out as x is.
template <class T>
struct Gate {
  const T* y = nullptr;
  T slope = 0;
  T* gated = nullptr;
};

// mean, m2, scale ... are indexed by channel.
template <class T>
struct ChannelNormOf {
  // mean and sum((x - mean)^2), in two passes over what should fit into the second-level cache.
  void (*moments)(const T* x, const ChannelRange& r, T* mean, T* m2);
  // The moments of pieces [pieces, channels], of counts[piece] elements a channel, together.
  void (*merge)(const T* means, const T* m2s, const double* counts, int64_t pieces, int64_t channels, T* mean, T* m2);
  // rstd = 1 / sqrt(rstd / count + eps), of n channels.
  void (*inverse_std)(T* rstd, double count, double eps, int64_t n);
  // y = epilogue((x - mean) * scale + shift)
  void (*apply)(const T* x, T* y, const ChannelRange& r, const T* mean, const T* scale, const T* shift,
                const Epilogue<T>& epilogue);
  // sum(g) and sum(g * (x - mean)) of the gated g
  void (*backward_sums)(const T* g, const T* x, const ChannelRange& r, const T* mean, const Gate<T>& gate, T* sum_g,
                        T* sum_gx);
  // dx = epilogue(g * scale - (x - mean) * slope - offset) of the gated g
  void (*backward_apply)(const T* g, const T* x, T* dx, const ChannelRange& r, const T* mean, const T* scale,
                         const T* slope, const T* offset, const Gate<T>& gate, const Epilogue<T>& epilogue);
};

struct ChannelNormKernels {
  ChannelNormOf<float> f32;
  ChannelNormOf<double> f64;
};

}  // namespace lanner::cpu
