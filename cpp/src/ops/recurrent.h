// What the ops of recurrent layers share. An op is given the product x W_ih^T of all steps, made by Op::Linear; or x
// and W_ih, where it is faster to make that product step by step, between the states' (see recurrent.cpp).
//
// Of Precision::BFloat16 only the products over all steps take notice (Op::Linear, the gradients of the weights): what is
// rounded within a step would add up from step to step.
#pragma once

#include <algorithm>

#include "cpu/dispatch.h"
#include "cpu/kernels/recurrent.h"
#include "cpu/kernels/recurrent_thin.h"
#include "ops/op.h"

namespace lanner {

// G of W_ih and W_hh, and how many values each unit keeps for its gradient.
struct Cell {
  int gates, kept;
};
inline Cell cell_of(Op op) {
  const bool is_lstm = op == Op::Lstm || op == Op::LstmBackward, is_rnn = op == Op::Rnn || op == Op::RnnBackward;
  return is_lstm ? Cell{4, 4} : is_rnn ? Cell{1, 1} : Cell{3, 4};
}

struct RecurrentAttrs {
  bool reverse = false, relu = false;
  bool keep = false;  // forward: what the gradient needs
  bool want_weight = false, want_input_weight = false, want_bias = false, want_h0 = false,  // backward
      want_projection = false;
};

// Inputs and outputs of the ops by place. Undefined: bias, lengths, and what the cell does not have.
struct RecurrentIn {
  static constexpr size_t kInput = 0, kWeight = 1, kBias = 2, kH0 = 3, kLengths = 4, kC0 = 5, kProjection = 6,
                          kInputWeight = 7, kCount = 8;
};
struct RecurrentOut {  // gates and c are empty unless kept; c and c_last are of the LSTM
  static constexpr size_t kY = 0, kGates = 1, kC = 2, kHLast = 3, kCLast = 4, kCount = 5;
};
struct RecurrentBackIn {  // the forward op's inputs up to kProjection, dy in place of kInput; then its outputs; x
  static constexpr size_t kDy = 0, kY = 7, kGates = 8, kC = 9, kDhLast = 10, kDcLast = 11, kInput = 12, kCount = 13;
};
struct RecurrentBackOut {  // empty where not wanted
  static constexpr size_t kDgates = 0, kDweight = 1, kDbias = 2, kDh0 = 3, kDc0 = 4, kDprojection = 5,
                          kDinputWeight = 6, kCount = 7;
};

template <class T>
const cpu::RecurrentOf<T>& recurrent_kernels_of() {
  return cpu::kernels_of<T>(cpu::kernels().recurrent);
}

template <class T>
const cpu::ThinOf<T>& thin_kernels_of() {
  return cpu::kernels_of<T>(cpu::kernels().recurrent_thin);
}

// Of gates kept and their gradients the distance of two rows: where it were a multiple of 1 KiB, one line more, so that a
// step's rows do not share the sets of the caches.
inline int64_t kept_row(int64_t elements, DType t) {
  const int64_t size = static_cast<int64_t>(itemsize(t));
  return elements * size % 1024 ? elements : elements + 64 / size;
}

// T, N, H and the features K of h: H, or those of its projection.
struct RecurrentSizes {
  int64_t steps, rows, hidden, state;
};

// Throws where a length is not from 1 to `steps`; gives the longest.
int64_t longest_of(const char* op, const Tensor& lengths, int64_t steps);

// The forward op in basic ops, step by step: its gradient where that is to be differentiated again.
Tensors recurrent_decomposed(Op op, const Tensors& in, const RecurrentAttrs& attrs);

}  // namespace lanner
