// Which way a convolution of a plan is computed where that is measured (ops/autotune.h): of those whose costs are near
// each other, the one that takes the least time.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/kernels/conv.h"

namespace lanner {

template <class T>
const cpu::ConvWays<T>& conv_ways() {
  return cpu::kernels_of<T>(cpu::kernels().conv);
}

// Indices of conv_ways; `rule` is the cheapest one.
template <class T>
int fastest_way(const cpu::ConvGeometry& g, cpu::ConvPass pass, int rule);
template <class T>
int fastest_weight_way(const cpu::ConvGeometry& g, int rule);

}  // namespace lanner
