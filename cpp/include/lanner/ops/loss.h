#pragma once

#include <string>

#include "lanner/tensor.h"

namespace lanner::ops {

// Losses, with PyTorch's definitions. `input` and `target` have the same shape unless said otherwise.
enum class LossReduction { None, Mean, Sum };
// "none", "mean" or "sum"; throws Error, which begins with `op`, for another word.
LossReduction loss_reduction(const std::string& word, const char* op);

Tensor mse_loss(const Tensor& input, const Tensor& target, LossReduction reduction = LossReduction::Mean);
Tensor l1_loss(const Tensor& input, const Tensor& target, LossReduction reduction = LossReduction::Mean);
// d = |input - target|; d^2 / (2 beta) below beta, d - beta / 2 above.
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, LossReduction reduction = LossReduction::Mean,
                      double beta = 1.0);
// d^2 / 2 up to delta, delta * (d - delta / 2) above.
Tensor huber_loss(const Tensor& input, const Tensor& target, LossReduction reduction = LossReduction::Mean,
                  double delta = 1.0);

// Of logits [C], [N, C] or [N, C, d1, ...] with an integer target, class indices [], [N] or [N, d1, ...], or a floating
// one of the shape of input, probabilities. `weight` [C] may be undefined. The mean is over the weights of the targets
// that are not ignore_index; for probabilities over the samples. ShapeError for an index outside [0, C).
Tensor cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight = {}, int64_t ignore_index = -100,
                     LossReduction reduction = LossReduction::Mean, double label_smoothing = 0.0);
// The same of log-probabilities, class indices only.
Tensor nll_loss(const Tensor& input, const Tensor& target, const Tensor& weight = {}, int64_t ignore_index = -100,
                LossReduction reduction = LossReduction::Mean);

// -(t log(x) + (1 - t) log(1 - x)) * weight, each logarithm at least -100; `weight` broadcasts or is undefined.
Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight = {},
                            LossReduction reduction = LossReduction::Mean);
// The same of sigmoid(input), without overflow; `pos_weight` multiplies the term with t, broadcasts, or is undefined.
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const Tensor& weight = {},
                                        LossReduction reduction = LossReduction::Mean, const Tensor& pos_weight = {});
// target * (log(target) - input), where input, and with log_target also target, is a log-probability.
Tensor kl_div(const Tensor& input, const Tensor& target, LossReduction reduction = LossReduction::Mean,
              bool log_target = false);
// Its sum divided by the size of the first axis: the mathematical divergence, averaged over the batch.
Tensor kl_div_batchmean(const Tensor& input, const Tensor& target, bool log_target = false);

// max(0, 1 - input * target), target -1 or 1.
Tensor hinge_loss(const Tensor& input, const Tensor& target, LossReduction reduction = LossReduction::Mean);
// sum over i != t of max(0, margin - x[t] + x[i])^p * weight[t] / C; input [C] or [N, C], target [] or [N], p 1 or 2.
Tensor multi_margin_loss(const Tensor& input, const Tensor& target, int64_t p = 1, double margin = 1.0,
                         const Tensor& weight = {}, LossReduction reduction = LossReduction::Mean);
// 1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1; inputs [D] or [N, D].
Tensor cosine_embedding_loss(const Tensor& input1, const Tensor& input2, const Tensor& target, double margin = 0.0,
                             LossReduction reduction = LossReduction::Mean);
// max(0, margin + d(anchor, positive) - d(anchor, negative)), d(a, b) = |a - b + eps|_p over the last axis. With swap,
// d(positive, negative) stands for d(anchor, negative) where it is smaller.
Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative, double margin = 1.0,
                           double p = 2.0, double eps = 1e-6, bool swap = false,
                           LossReduction reduction = LossReduction::Mean);

}  // namespace lanner::ops
