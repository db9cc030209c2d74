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

// h W_g^T of one or two rows for all gates, of some panels of units. Each panel's sum over k begins with its own units
// and goes round: what a thread has computed itself in the step before comes first, so that it can begin without what
// other threads compute. The sums do not depend on what a thread's share is.
template <class T>
struct ThinShare {
  int64_t hidden;  // k as well as the units
  int rows, gates;
  int64_t first, own_end;          // the share's first panel, and the end of its units
  int64_t panel_begin, panel_end;  // of it, those to be computed
  bool down;                       // from the last to the first
  const T* h;
  int64_t h_row;
  const T* packed;  // W_g^T in panels, of which the next, the next gate's and the next k's are so far away
  int64_t packed_panel, packed_gate, packed_k;
  bool turned;  // a panel begins with the k of its own units
  T* sums;      // of the share's units, up to the end of its last panel
  int64_t sums_row, sums_gate;
  T* begun;  // room for kThinSums vectors a panel and row between the two parts
};
constexpr int kThinSums = 8;

template <class T>
struct ThinOf {
  int rows;  // at most
  void (*multiply)(const ThinProduct<T>&);
  void (*whole)(const ThinShare<T>&);
  void (*own)(const ThinShare<T>&);  // up to the end of the share's units

  void (*rest)(const ThinShare<T>&);
};
struct ThinKernels {
  ThinOf<float> f32;
  ThinOf<double> f64;
};

}  // namespace lanner::cpu
