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

// The rows of a panel that channel c (or pair of channels) of src has, tap by tap, rounded as the plan says.
template <class T, int kWidth = kNR<T>>
class PanelRows {
 public:
  static constexpr int64_t kTaps = 32;

  PanelRows(const Plan<T>& p, const T* weight, int height, int width)
      : p_(p), weight_(weight), height_(height), width_(width) {}

  void read(int64_t c) {
    const int64_t first = p_.pairs() ? 2 * c : c;
    from_ = weight_ + first * p_.weight_c;
    alone_ = first + 1 == p_.channels;
    if (p_.taps > kTaps) return;
    pack_panel(p_.taps, height_, from_, 1, p_.weight_m, even_, width_);
    if (p_.pairs() && !alone_) pack_panel(p_.taps, height_, from_ + p_.weight_c, 1, p_.weight_m, odd_, width_);
  }
  void write(int64_t tap, T* row) {
    const T *even = even_ + tap * width_, *odd = odd_ + tap * width_;
    if (p_.taps > kTaps) {
      gather(from_ + tap, even_), even = even_;
      if (p_.pairs() && !alone_) gather(from_ + p_.weight_c + tap, odd_), odd = odd_;
    }
    if constexpr (sizeof(T) == 4) {
      if (p_.pairs()) return round_elements<true>(row, even, alone_ ? nullptr : odd, width_);
      if (p_.operands == ConvOperands::Rounded) return round_elements<false>(row, even, nullptr, width_);
    }
    copy_elements(row, even, width_);
  }

 private:
  void gather(const T* from, T* row) const {
    for (int j = 0; j < height_; ++j) row[j] = from[j * p_.weight_m];
    for (int j = height_; j < width_; ++j) row[j] = 0;
  }
  const Plan<T>& p_;
  const T *weight_, *from_ = nullptr;
  int height_, width_;
  bool alone_ = false;
  alignas(64) T even_[(kTaps + 1) * kWidth], odd_[(kTaps + 1) * kWidth];
};

// Group by group, phase by phase, panel by panel: [k, channels], with k = (c, tap).
template <class T>
void pack_weight(const Plan<T>& p, const T* weight, int64_t begin, int64_t end, T* packed) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t group = item / p.panels, panel = item % p.panels, m0 = panel * p.panel;
    const int64_t width = p.width(panel);
    const T* const from = weight + group * p.channels * p.m * p.taps + m0 * p.weight_m;
    T* const to = packed + group * p.packed_group();
    if (p.operands == ConvOperands::Full && p.weight_c == p.taps && p.phases() == 1) {
      pack_columns(p.c * p.taps, static_cast<int>(p.height(panel)), from, p.weight_m, to + m0 * p.c * p.taps,
                   static_cast<int>(width));
      continue;
    }
    PanelRows<T> rows(p, from, static_cast<int>(p.height(panel)), static_cast<int>(width));
    for (int64_t c = 0; c < p.c; ++c) {
      rows.read(c);
      T* phase_to = to;
      for (int64_t phase = 0; phase < p.phases(); ++phase) {
        const int64_t taps = p.taps_of(phase), k = p.c * taps;
        each_tap(p, phase, [&](int64_t i, int64_t tap, int64_t, int64_t, int64_t) {
          rows.write(tap, phase_to + m0 * k + (c * taps + i) * width);
        });
        phase_to += p.packed_channels() * k;
      }
    }
  }
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
