#pragma once

#include "lanner/tensor.h"

namespace lanner::ops {

// Recurrent layers: one layer in one direction over a whole sequence x [T, N, input]. Weights are PyTorch's, with its
// order of gates: ih [G * H, input], hh [G * H, H], biases [G * H]; the biases may be undefined, both. All of one
// floating dtype; float16 and bfloat16 are computed in float32.
struct RecurrentWeights {
  Tensor ih, hh, bias_ih, bias_hh;
  Tensor hr;  // of lstm alone, may be undefined: projects the states h to P features, [P, H]; hh is then [4 * H, P]
};

// The states h [N, H] (and c) before the first step; zeros where undefined. Sequence n has lengths[n] steps, from 1 to
// T (all T where undefined): past them its states stay and y is 0. A reverse layer begins at each sequence's own last
// step.
struct RecurrentOptions {
  Tensor h0, c0;
  Tensor lengths;  // int64 [N]
  bool reverse = false;
};

// y [T, N, H], and the states after the last step.
struct RecurrentResult {
  Tensor y, h, c;
};

// h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it.
RecurrentResult rnn(const Tensor& x, const RecurrentWeights& weights, const RecurrentOptions& options = {},
                    bool relu = false);
// i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of W_ih x + b_ih + W_hh h + b_hh; c' = f c + i g; h' = o tanh(c').
RecurrentResult lstm(const Tensor& x, const RecurrentWeights& weights, const RecurrentOptions& options = {});
// r, z = sigmoid of W_ih x + b_ih + W_hh h + b_hh; n = tanh(W_in x + b_in + r (W_hn h + b_hn)); h' = (1 - z) n + z h.
RecurrentResult gru(const Tensor& x, const RecurrentWeights& weights, const RecurrentOptions& options = {});

}  // namespace lanner::ops
