// Connectionist temporal classification of one sample (Graves et al. 2006), in logarithms: float32 and float64.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

// The labels with blanks around each are 2 * length + 1 states; a path goes through them in `frames` steps, each to the
// same state, the next, or, between different labels, the one after the blank.
template <class T>
struct CtcSample {
  const T* log_probs;  // frame t at t * step
  int64_t step, frames, classes;
  const int64_t* labels;  // in [0, classes), none of them blank
  int64_t length, blank;

  int64_t states() const { return 2 * length + 1; }
};

template <class T>
struct CtcOf {
  int64_t (*workspace)(int64_t states);
  // Returns -log of the probability of all paths. alpha [frames, states]: the logarithm of that of all beginnings that end
  // in a state at a frame.
  T (*forward)(const CtcSample<T>& c, T* alpha, T* workspace);
  // dlog_probs[t * d_step + k] = -g * the probability that a path is at label k at frame t.
  void (*backward)(const CtcSample<T>& c, const T* alpha, T loss, T g, T* dlog_probs, int64_t d_step, T* workspace);
};

struct CtcKernels {
  CtcOf<float> f32;
  CtcOf<double> f64;
};

}  // namespace lanner::cpu
