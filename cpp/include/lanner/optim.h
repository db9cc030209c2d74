// Optimizer steps: each updates a whole list of parameters, and their state, in one pass. The formulas, the meaning of
// the options and the defaults are PyTorch's; Lion is that of Chen et al., Symbolic discovery of optimization
// algorithms, 2023. Parameters are float32 or float64, gradients of the same shape and dtype. State tensors are made by
// the caller, with zeros (but for SGD's momentum buffer, which the first step fills), of their parameter's shape and
// dtype.
//
// `steps[i]`, a 0-d float32 tensor that is 0 at first, counts the updates of parameter i: each function adds 1 to it,
// before all else.
#pragma once

#include <cstdint>
#include <vector>

#include "lanner/tensor.h"

namespace lanner::optim {

struct SgdOptions {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, maximize = false;
};
// `momentum_buffers` is empty without momentum; buffer i is filled, whatever it held, where first[i].
void sgd(const Tensors& params, const Tensors& grads, const Tensors& momentum_buffers, const std::vector<bool>& first,
         const SgdOptions& options = {});

struct AdagradOptions {
  double lr = 1e-2, lr_decay = 0, weight_decay = 0, eps = 1e-10;
  bool maximize = false;
};
void adagrad(const Tensors& params, const Tensors& grads, const Tensors& state_sums, const Tensors& steps,
             const AdagradOptions& options = {});

struct RmspropOptions {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false, maximize = false;
};
// `grad_avgs` is empty where not centered, `momentum_buffers` without momentum.
void rmsprop(const Tensors& params, const Tensors& grads, const Tensors& square_avgs, const Tensors& grad_avgs,
             const Tensors& momentum_buffers, const Tensors& steps, const RmspropOptions& options = {});

struct AdadeltaOptions {
  double lr = 1, rho = 0.9, eps = 1e-6, weight_decay = 0;
  bool maximize = false;
};
void adadelta(const Tensors& params, const Tensors& grads, const Tensors& square_avgs, const Tensors& acc_deltas,
              const Tensors& steps, const AdadeltaOptions& options = {});

struct AdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool amsgrad = false, maximize = false;
  bool decoupled_weight_decay = false;  // true is AdamW
};
// `max_exp_avg_sqs` is empty without amsgrad.
void adam(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_avg_sqs,
          const Tensors& max_exp_avg_sqs, const Tensors& steps, const AdamOptions& options = {});

struct AdamaxOptions {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool maximize = false;
};
void adamax(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_infs,
            const Tensors& steps, const AdamaxOptions& options = {});

struct NadamOptions {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, momentum_decay = 4e-3;
  bool decoupled_weight_decay = false, maximize = false;
};
// The momentum of a step, beta1 * (1 - 0.96^(step * momentum_decay) / 2).
double nadam_momentum(const NadamOptions& options, int64_t step);
// `mu_products[i]`, a 0-d float64 tensor that is 1 at first: the product of nadam_momentum over the steps of parameter i.
void nadam(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const Tensors& exp_avg_sqs,
           const Tensors& mu_products, const Tensors& steps, const NadamOptions& options = {});

struct LionOptions {
  double lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0;
  bool maximize = false;
};
void lion(const Tensors& params, const Tensors& grads, const Tensors& exp_avgs, const LionOptions& options = {});

// Multiplies all gradients by the least of 1 and max_norm / (norm + 1e-6), where `norm` is one floating number.
// `error_if_nonfinite`: an Error where it is infinite or NaN, before anything is scaled.
void clip_norm(const Tensors& grads, const Tensor& norm, double max_norm, bool error_if_nonfinite = false);

}  // namespace lanner::optim
