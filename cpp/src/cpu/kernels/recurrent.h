// What a step of a recurrent layer does besides its product with the recurrent weights: gates and states forward, the
// gates' gradients backward. A slice is some rows (sequences of the batch) and some hidden units.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace lanner::cpu {

// Pointers are those of row 0 and unit 0 of the step; rows lie one after the other. G gates of H units: those of the
// input and the weights come in PyTorch's order (LSTM i f g o, GRU r z n).
template <class T>
struct RecurrentStep {
  int64_t hidden;
  int64_t row_begin, row_end, unit_begin, unit_end;
  // h W_hh^T: gate g of the slice's first row and unit at g * products_gate, rows products_row apart. Without `input`
  // what belongs there has been added, of GRU to r and z, and that of n is a fourth.
  const T* products;
  int64_t products_gate, products_row;
  const T* input;  // x W_ih^T [rows, G * H], or null
  const T* bias;   // [G * H], of GRU [4 * H]: r z n and that beside the product of n; or null
  const T *h_before, *c_before;
  T *h, *c;  // [rows, H]; c may be c_before
  T* gates;  // kept for the gradient: LSTM i f g o; GRU r z n and what r is multiplied with; or null
  int64_t gates_row;
  // Sequences that ended before step `time` keep their states and have zeros in y. Without lengths, h is y.
  const int64_t* lengths;
  int64_t time;
  T* y;
};

template <class T>
struct RecurrentStepBack {
  int64_t hidden;
  int64_t row_begin, row_end, unit_begin, unit_end;
  const T* dy;  // or null
  int64_t dy_row;
  // In: what later steps say of h and c. Out: of dc what this step says of the c before; of dh the part that does not
  // come through the gates, to which the product with the weights is to be added.
  T *dh, *dc;
  const T *y, *h_before, *c, *c_before, *gates;
  int64_t gates_row;  // of `gates` and `dgates`
  const T* h0;        // the state before a sequence's own last step, of a reverse layer with lengths; or null
  T* dgates;          // before the activations; GRU r z n and that beside the product of n
  T* dbias;           // added to; or null
  T* cells;           // LSTM: o tanh(c), or null
  const T *next_gates, *next_c, *next_dgates, *next_dy;  // what the next call will touch, or null
  const int64_t* lengths;
  int64_t time;
};

template <class T>
struct RecurrentOf {
  void (*rnn_tanh)(const RecurrentStep<T>&);
  void (*rnn_relu)(const RecurrentStep<T>&);
  void (*lstm)(const RecurrentStep<T>&);
  void (*gru)(const RecurrentStep<T>&);
  void (*rnn_tanh_back)(const RecurrentStepBack<T>&);
  void (*rnn_relu_back)(const RecurrentStepBack<T>&);
  void (*lstm_back)(const RecurrentStepBack<T>&);
  void (*gru_back)(const RecurrentStepBack<T>&);
};
struct RecurrentKernels {
  RecurrentOf<float> f32;
  RecurrentOf<double> f64;
};

}  // namespace lanner::cpu
