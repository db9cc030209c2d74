// The taps of a phase, and the weight in the order in which the tiles read it.
#pragma once

#include "cpu/gemm/pack.h"
#include "cpu/kernels/conv_plan.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// Calls f(i, tap) for the taps of a phase, in their order.
template <class T, class F>
LANNER_INLINE void each_tap(const Plan<T>& p, int64_t phase, F f) {
  int64_t offset, i = 0;
  for (int64_t a = 0; a < p.axis[0].kernel; ++a) {
    if (!p.axis[0].reads(p.phase_of(phase, 0), a, &offset)) continue;
    const int64_t z = offset - p.first[0];
    for (int64_t b = 0; b < p.axis[1].kernel; ++b) {
      if (!p.axis[1].reads(p.phase_of(phase, 1), b, &offset)) continue;
      const int64_t y = offset - p.first[1];
      for (int64_t d = 0; d < p.axis[2].kernel; ++d) {
        if (!p.axis[2].reads(p.phase_of(phase, 2), d, &offset)) continue;
        f(i++, (a * p.axis[1].kernel + b) * p.axis[2].kernel + d, z, y, offset - p.first[2]);
      }
    }
  }
}

// to[s * width + j] = from[s + j * step] for s < k and j < height, zero for the other j.
template <class T>
void pack_columns(int64_t k, int height, const T* from, int64_t step, T* to, int width) {
  pack_panel(k, height, from, 1, step, to, width);
}

// Group by group, phase by phase, panel by panel: [k, channels], with k = (c, tap).
template <class T>
void pack_weight(const Plan<T>& p, const T* weight, int64_t begin, int64_t end, T* packed) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t group = item / p.panels, panel = item % p.panels, m0 = panel * p.panel;
    const int height = static_cast<int>(p.height(panel)), width = static_cast<int>(p.width(panel));
    const T* from = weight + group * p.c * p.m * p.taps + m0 * p.weight_m;
    T* phase_to = packed + group * p.packed_group();
    for (int64_t phase = 0; phase < p.phases(); ++phase) {
      const int64_t taps = p.taps_of(phase), k = p.c * taps;
      T* to = phase_to + m0 * k;
      if (p.weight_c == p.taps && taps == p.taps) {
        pack_columns(k, height, from, p.weight_m, to, width);
      } else {
        each_tap(p, phase, [&](int64_t i, int64_t tap, int64_t, int64_t, int64_t) {
          for (int64_t c = 0; c < p.c; ++c) {
            T* row = to + (c * taps + i) * width;
            const T* w = from + c * p.weight_c + tap;
            for (int j = 0; j < height; ++j) row[j] = w[j * p.weight_m];
            for (int j = height; j < width; ++j) row[j] = 0;
          }
        });
      }
      phase_to += p.packed_channels() * k;
    }
  }
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
