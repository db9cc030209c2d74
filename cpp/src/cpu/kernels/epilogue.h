// What a kernel does to an element of its result before it stores it, in this order: + bias, + residual, activation,
// gate. `residual` and `gate` are laid out as the result is.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

enum class Activation : int32_t { None, Relu, LeakyRelu };

template <class T>
struct Epilogue {
  const T* bias_per_column = nullptr;  // [N]
  const T* bias_per_row = nullptr;     // [M]
  const T* residual = nullptr;
  Activation activation = Activation::None;
  T slope = 0;  // of LeakyRelu for negative values
  // What an activation gave in the forward pass: the result, a gradient, is multiplied with the activation's slope
  // there: 1 where gate > 0, else gate_slope (0 of Relu).
  const T* gate = nullptr;
  T gate_slope = 0;
};

}  // namespace lanner::cpu
