// Pooling over windows of the last two axes, and resizing of them; float32 and float64. x is [planes, h.in, w.in], y
// [planes, h.out, w.out]; one spatial dimension has h.in = h.out = 1. Calls work on planes [begin, end).
//
// Windows are separable: a row of the output first combines its rows of the input, in vectors along the width, into a
// row buffer in the workspace, then columns of that.
#pragma once

#include <stddef.h>

#include "cpu/kernels/epilogue.h"

namespace lanner::cpu {

// The windows along one axis: output i covers count[i] >= 1 elements from first[i] on, `step` apart, all of them
// inside.
struct PoolAxis {
  int64_t in, out;
  int64_t step;  // dilation
  const int32_t *first, *count;
  const int32_t* size;  // what an average divides by: count[i], or more where padding is counted
  // Where stride > 0, window i is the part inside of [0, in) of `kernel` elements from i * stride - pad on.
  int64_t kernel, stride, pad;
};

// Output i is x[low[i]] + weight[i] * (x[high[i]] - x[low[i]]); nearest: x[low[i]].
template <class T>
struct ResizeAxis {
  int64_t in, out;
  const int32_t *low, *high;
  const T* weight;
  bool nearest;
};

template <class T>
struct PoolFunctions {
  int64_t (*workspace_bytes)(const PoolAxis& w);

  // y = epilogue(the largest). NaN wins, of equals the first. `index`: its place in the plane, row-major; `offset`: its
  // place in the window, row-major, padding included (windows of 256 elements at most, not adaptive). Either may
  // be null, where nobody asks.
  void (*max)(const T* x, T* y, int64_t* index, const PoolAxis& h, const PoolAxis& w, int64_t begin, int64_t end,
              const Epilogue<T>& epilogue, void* workspace);
  void (*max_offset)(const T* x, T* y, uint8_t* offset, const PoolAxis& h, const PoolAxis& w, int64_t begin,
                     int64_t end, const Epilogue<T>& epilogue, void* workspace);
  void (*average)(const T* x, T* y, const PoolAxis& h, const PoolAxis& w, int64_t begin, int64_t end, void* workspace);
  void (*average_grad)(const T* g, T* dx, const PoolAxis& h, const PoolAxis& w, int64_t begin, int64_t end,
                       void* workspace);
  // y[i] = x[index[i]] in each plane, and its transpose: dx = 0, dx[index[i]] += g[i], then the epilogue.
  void (*gather)(const T* x, const int64_t* index, T* y, int64_t in, int64_t out, int64_t begin, int64_t end);
  void (*scatter)(const T* g, const int64_t* index, T* dx, int64_t in, int64_t out, int64_t begin, int64_t end,
                  const Epilogue<T>& epilogue);
  void (*gather_offset)(const T* x, const uint8_t* offset, T* y, const PoolAxis& h, const PoolAxis& w, int64_t begin,
                        int64_t end);
  void (*scatter_offset)(const T* g, const uint8_t* offset, T* dx, const PoolAxis& h, const PoolAxis& w, int64_t begin,
                         int64_t end, const Epilogue<T>& epilogue);

  int64_t (*resize_workspace_bytes)(int64_t w_in);
  void (*resize)(const T* x, T* y, const ResizeAxis<T>& h, const ResizeAxis<T>& w, int64_t begin, int64_t end,
                 void* workspace);
  void (*resize_grad)(const T* g, T* dx, const ResizeAxis<T>& h, const ResizeAxis<T>& w, int64_t begin, int64_t end,
                      void* workspace);
};

struct PoolKernels {
  PoolFunctions<float> f32;
  PoolFunctions<double> f64;
};

}  // namespace lanner::cpu
