// Products of one or two rows with the weights of a recurrent layer, as sequences without a batch have them.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

// C_g = A B_g (+ C_g) for one or two rows of A, where a tile of the GEMM has too few sums to hide the latency of
// additions: all gates at once, or where there is only one, parts of k.
template <class T>
struct ThinProduct {
  int64_t k;
  int rows, gates;
  const T* a;
  int64_t a_row;
  const T* packed;  // a panel of B_0, as GemmFunctions::pack_b makes it
  int64_t packed_gate;
  T* c;
  int64_t c_row, c_gate;
  int columns;  // at most those of a panel
  bool add;
};

template <class T>
struct ThinOf {
  int rows;  // at most
  void (*multiply)(const ThinProduct<T>&);
};
struct ThinKernels {
  ThinOf<float> f32;
  ThinOf<double> f64;
};

}  // namespace lanner::cpu
