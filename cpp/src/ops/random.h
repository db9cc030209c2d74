// Dropout, for ops that have it inside.
#pragma once

#include "lanner/random.h"
#include "ops/op.h"

namespace lanner {

// What a random word, of 32 bits, must be below for an element to be kept.
uint64_t keep_threshold(double dropout_p);

// x * scale where kept, else x * 0: what `state` draws for x's elements in row-major order.
Tensor dropout_by(RandomState state, uint64_t threshold, double scale, const Tensor& x);

}  // namespace lanner
