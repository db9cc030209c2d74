// Recurrences of one or two rows forward, which are bound by reading weights from a core's second-level cache, and by
// how long a step takes from its first state to its last.
#pragma once

#include "core/team.h"
#include "ops/recurrent_sweep.h"

namespace lanner {

// W_hh by gates.
template <class T>
class ThinWeights {
 public:
  ThinWeights() = default;
  ThinWeights(int64_t hidden, int gates) : hidden_(hidden), gates_(gates) {}

  int64_t elements() const { return gates_ * packed_b_elements<T>(hidden_, hidden_); }
  // For many runs: in the order in which a step reads them, one stream; which takes longer to pack.
  void pack(const T* weight, bool once, T* to) {
    const int64_t H = hidden_, of_gate = packed_b_elements<T>(H, H), units = panel_units();
    Workspace apart(static_cast<size_t>(once ? elements() : 0) * sizeof(T));
    T* const by_gate = once ? apart.as<T>() : to;
    for (int g = 0; g < gates_; ++g) pack_b(H, H, weight + g * H * H, 1, H, by_gate + g * of_gate);
    layout_.packed = to, layout_.turned = once;
    layout_.packed_panel = units * H, layout_.packed_gate = of_gate, layout_.packed_k = units;
    if (!once) return;
    layout_.packed_panel = gates_ * units * H, layout_.packed_gate = units, layout_.packed_k = gates_ * units;
    for (int64_t unit = 0; unit < H; unit += units)
      for (int64_t k = 0; k < H; ++k)
        for (int g = 0; g < gates_; ++g)
          to = std::copy_n(by_gate + g * of_gate + unit * H + (unit + k) % H * units, units, to);
  }

  // By how many threads a step is worth being shared.
  int64_t shares() const {
    return std::clamp<int64_t>(elements() * static_cast<int64_t>(sizeof(T)) / kShareBytes, 1, panels());
  }

  // Goes through the steps: h(step) is the state before, cell(job, step) sets what is a step's own in `job`, of which
  // units and products are set, and computes it.
  template <class H, class Cell>
  void run(int64_t steps, int rows, H h, Cell cell) const {
    const cpu::ThinOf<T>& kernels = thin_kernels_of<T>();
    const int64_t units = panel_units(), all = panels();
    Team::run(steps, shares(), [&](const Team::Member& member, int64_t begin, int64_t end) {
      const int64_t first = all * member.index / member.count, last = all * (member.index + 1) / member.count;
      cpu::ThinShare<T> s = layout_;
      s.hidden = hidden_, s.rows = rows, s.gates = gates_, s.h_row = hidden_;
      s.first = first, s.own_end = std::min(last * units, hidden_);
      s.sums_gate = (last - first) * units, s.sums_row = gates_ * s.sums_gate;
      const int64_t begun = member.count > 1 ? (last - first) * rows * cpu::kThinSums * units / 2 : 0;
      Workspace buffers(static_cast<size_t>(rows * s.sums_row + begun) * sizeof(T));
      s.sums = buffers.as<T>(), s.begun = s.sums + rows * s.sums_row;
      cpu::RecurrentStep<T> job{};
      job.hidden = hidden_, job.row_end = rows, job.unit_begin = first * units, job.unit_end = s.own_end;
      job.products = s.sums, job.products_gate = s.sums_gate, job.products_row = s.sums_row;
      for (int64_t step = begin; step < end; ++step) {
        s.h = h(step);
        if (member.count == 1) {
          s.panel_begin = first, s.panel_end = last;
          s.down = step % 2;  // what was read last is in the nearer caches
          kernels.whole(s);
        } else {
          // The first panel's own part, the longest, is for the time in which the others' states come.
          s.panel_begin = first + 1, s.panel_end = last;
          kernels.own(s);
          member.wait(step);
          fetch_others(s);
          s.panel_begin = first, s.panel_end = first + 1;
          kernels.own(s);
          s.panel_end = last;
          kernels.rest(s);
        }
        cell(job, step);
        member.finish(step);
      }
    });
  }

 private:
  static constexpr int64_t kShareBytes = 96 * 1024, kLine = 64 / sizeof(T);

  void fetch_others(const cpu::ThinShare<T>& s) const {
    const int64_t own_begin = s.first * panel_units();
    for (int r = 0; r < s.rows; ++r) {
      const T* h = s.h + r * s.h_row;
      for (int64_t k = 0; k < own_begin; k += kLine) __builtin_prefetch(h + k);
      for (int64_t k = s.own_end; k < hidden_; k += kLine) __builtin_prefetch(h + k);
    }
  }
  static int64_t panel_units() { return gemm_functions<T>().nr; }
  int64_t panels() const { return ceil_div(hidden_, panel_units()); }

  int64_t hidden_ = 0;
  int gates_ = 0;
  cpu::ThinShare<T> layout_{};
};

}  // namespace lanner
