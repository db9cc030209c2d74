// Scaled dot-product attention of one head, forward and backward, without the L x S matrix of weights in memory: blocks of
// it are computed, used and forgotten (Milakov & Gimelshein 2018; Dao et al. 2022). Raw pointers, float32 and float64.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

// Queries [L, E], keys [S, E] and values [S, Ev]: rows `*_row` elements apart, columns next to each other. The weights of
// query i are softmax over j of scale * q[i] . k[j], among the keys that the mask allows.
template <class T>
struct AttentionHead {
  int64_t l, s, e, ev;
  const T *q, *k, *v;
  int64_t q_row, k_row, v_row;
  const void* mask;  // of (i, j): bool, true where j is allowed, or T, added to the products; null: no mask
  int64_t mask_row, mask_column;
  bool mask_is_bool;
  bool causal;  // only keys j <= i
  T scale;
  // Dropout of the weights: kept with probability threshold / 2^32 and then times keep_scale. Weight (i, j) is element
  // (first_row + i) * attention_padded(S) + j of what is drawn.
  bool dropout;
  uint64_t seed, call, threshold;
  T keep_scale;
  int64_t first_row;
};

// Rows of what dropout draws begin at the chunks that random numbers are drawn in.
constexpr int64_t attention_padded(int64_t s) { return (s + 63) / 64 * 64; }

template <class T>
struct AttentionGradients {
  const T *g, *out;  // of the output [L, Ev], and the output itself
  int64_t g_row, out_row;
  const T* lse;
  T *dq, *dk, *dv;  // null: not wanted
  int64_t dq_row, dk_row, dv_row;
};

template <class T>
struct AttentionOf {
  int rows, keys;  // of a block

  // out[r0:r1] and the logarithm of the sum of exponentials of each row, lse[r0:r1]: infinity for a row that may look at
  // no key; its output is zero.
  int64_t (*forward_workspace)(const AttentionHead<T>& h, int64_t rows);
  void (*forward)(const AttentionHead<T>& h, int64_t r0, int64_t r1, T* out, int64_t out_row, T* lse, T* workspace);

  // dk[s0:s1], dv[s0:s1] and what these keys contribute to dq[0:L], all overwritten.
  int64_t (*backward_workspace)(const AttentionHead<T>& h, int64_t keys);
  void (*backward)(const AttentionHead<T>& h, const AttentionGradients<T>& d, int64_t s0, int64_t s1, T* workspace);
};

struct AttentionKernels {
  AttentionOf<float> f32;
  AttentionOf<double> f64;
};

}  // namespace lanner::cpu
