#pragma once

#include <vector>

#include "lanner/ops/loss.h"
#include "lanner/tensor.h"

// Connectionist temporal classification: labels for a sequence of frames, without being told where each label is.
namespace lanner::ops {

// -log of the probability of all ways in which the frames say the target, with repeats and blanks taken out (Graves et
// al. 2006). log_probs [T, N, C] or [T, C]; targets [N, S], or those of all samples one after the other, [sum of
// target_lengths]; lengths are integers [N], or [] for one sample. Reduction to the mean divides each loss by its target's
// length first. A target that its frames cannot say has an infinite loss, or, with zero_infinity, 0 and no gradient.
Tensor ctc_loss(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
                const Tensor& target_lengths, int64_t blank = 0, LossReduction reduction = LossReduction::Mean,
                bool zero_infinity = false);

struct CtcHypothesis {
  std::vector<int64_t> labels;
  double log_prob;
};

// Of each sample of log_probs [T, N, C]: the label of each frame that is the most probable, repeats and blanks taken out.
// log_prob is that of the one path. `input_lengths` [N] may be undefined.
std::vector<CtcHypothesis> ctc_greedy_decode(const Tensor& log_probs, const Tensor& input_lengths = {},
                                             int64_t blank = 0);
// Of each sample the `top` most probable label sequences, best first, found by keeping the `beam_width` most probable
// prefixes at each frame (Hannun et al. 2014); log_prob is that of all their paths that were kept.
std::vector<std::vector<CtcHypothesis>> ctc_beam_search(const Tensor& log_probs, const Tensor& input_lengths = {},
                                                        int64_t beam_width = 100, int64_t blank = 0, int64_t top = 1);

}  // namespace lanner::ops
