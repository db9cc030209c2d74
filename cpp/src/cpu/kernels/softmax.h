// Softmax, log-softmax and softmax with cross-entropy: raw pointers, float32 and float64.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

// x is [outer, n, inner], row-major, normalized along n. A unit is a row where inner = 1, else a tile of
// kSoftmaxTile columns within one `outer`; a call works on units [u0, u1).
constexpr int64_t kSoftmaxTile = 64;
struct SoftmaxRange {
  int64_t n, inner;
  int64_t u0, u1;
};
constexpr int64_t softmax_units(int64_t outer, int64_t inner) {
  return inner == 1 ? outer : outer * ((inner + kSoftmaxTile - 1) / kSoftmaxTile);
}

// Class indices for rows of n logits. The loss of row i with target t, whose weight is w[t], is
//   (1 - smoothing) * w[t] * (lse - x[t]) + smoothing / n * sum_c w[c] * (lse - x[c]),
// and 0 where t is ignore_index.
struct CrossEntropyOptions {
  int64_t ignore_index;
  double smoothing;
  double weight_sum;  // n without weights
};

template <class T>
struct SoftmaxOf {
  void (*forward)(const T* x, T* y, const SoftmaxRange& r, bool log);
  // From the output y and its cotangent g.
  void (*backward)(const T* g, const T* y, T* dx, const SoftmaxRange& r, bool log);

  // Writes the loss, log(sum(exp(x))) and the weight of the target (0 if ignored) of each row. Targets lie in [0, n) or
  // are ignore_index. `weight` may be null.
  void (*cross_entropy)(const T* x, const int64_t* target, const T* weight, T* loss, T* lse, T* used, int64_t rows,
                        int64_t n, const CrossEntropyOptions& o);
  void (*cross_entropy_backward)(const T* g, const T* x, const int64_t* target, const T* weight, const T* lse, T* dx,
                                 int64_t rows, int64_t n, const CrossEntropyOptions& o);
};

struct SoftmaxKernels {
  SoftmaxOf<float> f32;
  SoftmaxOf<double> f64;
};

}  // namespace lanner::cpu
