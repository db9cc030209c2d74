// Optimizer updates: one pass over the parameter, its gradient and its state. The formulas are PyTorch's.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

// A slice of one parameter. `state` in the order that each struct below tells.
template <class T>
struct OptimSlice {
  T* p;
  const T* g;
  T* state[3];
  int64_t n;
};

// Scalars are double here and converted to the parameter's type once a slice. Every gradient is first negated where
// `maximize`, then, where `weight_decay` is not decoupled, weight_decay * p is added to it.

struct SgdScalars {  // state: momentum buffer
  double lr, weight_decay, momentum, dampening;
  bool nesterov, maximize;
  bool first;  // the buffer is not yet written to: it becomes the gradient
};
struct AdagradScalars {  // state: sum of squares
  double lr, weight_decay, eps;
  bool maximize;
};
struct RmspropScalars {  // state: mean square; mean gradient where centered; momentum buffer where momentum
  double lr, weight_decay, alpha, eps, momentum;
  bool centered, maximize;
};
struct AdadeltaScalars {  // state: mean square, mean squared update
  double lr, weight_decay, rho, eps;
  bool maximize;
};
struct AdamScalars {  // state: exp_avg, exp_avg_sq; max_exp_avg_sq where amsgrad
  double lr, weight_decay, beta1, beta2, eps;
  double correction1, correction2_sqrt;  // 1 - beta1^step, sqrt(1 - beta2^step)
  bool amsgrad, maximize;
  bool decoupled;  // AdamW: p shrinks by lr * weight_decay, the gradient stays as it is
};
struct AdamaxScalars {  // state: exp_avg, exp_inf
  double lr, weight_decay, beta1, beta2, eps, correction1;
  bool maximize;
};
struct NadamScalars {  // state: exp_avg, exp_avg_sq
  double weight_decay, beta1, beta2, eps, correction2;
  double shrink;                       // lr * weight_decay where decoupled, else 0
  double gradient_rate, average_rate;  // what g / denominator and exp_avg / denominator are multiplied with
  bool decoupled, maximize;
};
struct LionScalars {  // state: exp_avg
  double lr, weight_decay, beta1, beta2;
  bool maximize;
};

struct OptimKernels {
#define LANNER_OPTIM(name, Scalars)                             \
  void (*name##_f32)(const Scalars&, const OptimSlice<float>&); \
  void (*name##_f64)(const Scalars&, const OptimSlice<double>&);
  LANNER_OPTIM(sgd, SgdScalars)
  LANNER_OPTIM(adagrad, AdagradScalars)
  LANNER_OPTIM(rmsprop, RmspropScalars)
  LANNER_OPTIM(adadelta, AdadeltaScalars)
  LANNER_OPTIM(adam, AdamScalars)
  LANNER_OPTIM(adamax, AdamaxScalars)
  LANNER_OPTIM(nadam, NadamScalars)
  LANNER_OPTIM(lion, LionScalars)
#undef LANNER_OPTIM
};

}  // namespace lanner::cpu
