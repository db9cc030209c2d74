// How a recurrence is cut: by time into steps, a step by rows of the batch and hidden units into tasks.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/team.h"
#include "lanner/parallel.h"
#include "ops/gemm.h"
#include "ops/recurrent.h"

namespace lanner {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
const cpu::GemmFunctions<T>& gemm_functions() {
  return cpu::kernels_of<T>(cpu::kernels().gemm);
}

// Matrices B_0, B_1, ... of k rows and n columns, packed one after the other: those of the gates, so that a panel of
// each covers the same hidden units.
template <class T>
struct PackedGates {
  const T* data = nullptr;
  int64_t k = 0, n = 0;
  bool thin = false;  // of the whole batch, so that how it is cut does not matter

  int64_t gate_elements() const { return packed_b_elements<T>(k, n); }
  int64_t panels() const { return ceil_div(n, gemm_functions<T>().nr); }
  // C_g[rows, panel] = A B_g (+ C_g) for `gates` gates from `first` on: a and c begin at the first row, c at the
  // panel's first column.
  void multiply(int first, int gates, int64_t panel, int64_t rows, const T* a, int64_t a_row, T* c, int64_t c_row,
                int64_t c_gate, bool add = false) const {
    const cpu::GemmFunctions<T>& f = gemm_functions<T>();
    const int columns = static_cast<int>(std::min<int64_t>(f.nr, n - panel * f.nr));
    const T* packed = data + first * gate_elements() + panel * f.nr * k;
    if (thin)
      return thin_kernels_of<T>().multiply(
          {k, static_cast<int>(rows), gates, a, a_row, packed, gate_elements(), c, c_row, c_gate, columns, add});
    cpu::GemmArgs<T> g;
    g.m = rows, g.n = columns, g.k = k;
    g.a = a, g.a_row = a_row, g.a_col = 1;
    g.c = c, g.c_row = c_row, g.beta = add ? T{1} : T{0};
    for (int i = 0; i < gates; ++i, g.c += c_gate) {
      g.packed_b = packed + i * gate_elements();
      f.block(g, 0, rows, 0, columns, false, nullptr);
    }
  }
};

// One task of a phase: rows [begin, end), and the share part / parts of the panels of units.
struct RecurrentTask {
  int64_t row_begin, row_end, part, parts;
  int64_t first_of(int64_t panels) const { return panels * part / parts; }
  int64_t last_of(int64_t panels) const { return panels * (part + 1) / parts; }
};

class RecurrentSweep {
 public:
  // A step multiplies `rows` rows with a matrix of `weights` elements. The results do not depend on how that is cut:
  // sums over rows are made by groups of kGroup, and added in their order.
  static constexpr int64_t kGroup = 8;

  RecurrentSweep(int64_t rows, int64_t weights, int64_t panels, size_t itemsize) : rows_(rows) {
    const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(weights);
    const int64_t groups = ceil_div(rows, kGroup), threads = num_threads(), most = kRows / kGroup;
    alone_ = flops > kTaskFlops && threads > 1 && groups >= kAloneGroups * kAloneBlocks * threads &&
             weights * static_cast<int64_t>(itemsize) <= kAloneBytes;
    const int64_t blocks = alone_ ? std::max(kAloneBlocks * threads, ceil_div(groups, most)) : ceil_div(groups, most);
    block_ = ceil_div(groups, blocks) * kGroup;
    const double work = std::max(flops / kTaskFlops, static_cast<double>(weights) / kTaskWeights);
    const int64_t wanted = static_cast<int64_t>(std::clamp(work, 1.0, static_cast<double>(kTasks * threads)));
    parts_ = alone_ ? 1 : std::min(wanted, panels);
    row_tasks_ = std::min(ceil_div(wanted, parts_), this->blocks());
  }

  // Rows are cut into blocks, of whole groups, which tasks do not cut.
  int64_t block() const { return block_; }
  int64_t blocks() const { return ceil_div(rows_, block_); }
  int64_t groups() const { return ceil_div(rows_, kGroup); }

  // f(phase, task) for all tasks of a phase, phase after phase.
  template <class F>
  void run(int64_t phases, F f) const {
    if (alone_) {
      parallel_for(rows_, block_, [&](int64_t begin, int64_t end) {
        for (int64_t phase = 0; phase < phases; ++phase) f(phase, RecurrentTask{begin, end, 0, 1});
      });
      return;
    }
    const int64_t tasks = parts_ * row_tasks_;
    const auto task = [&](int64_t i) {
      const int64_t at = i / parts_, count = blocks();
      const int64_t begin = count * at / row_tasks_ * block_, end = count * (at + 1) / row_tasks_ * block_;
      return RecurrentTask{begin, std::min(end, rows_), i % parts_, parts_};
    };
    if (tasks == 1) {
      for (int64_t phase = 0; phase < phases; ++phase) f(phase, task(0));
      return;
    }
    if (rows_ <= kTeamRows) {
      Team::run(phases, tasks, [&](const Team::Member& member, int64_t begin, int64_t end) {
        for (int64_t phase = begin; phase < end; ++phase) {
          member.wait(phase);
          for (int64_t i = tasks * member.index / member.count; i < tasks * (member.index + 1) / member.count; ++i)
            f(phase, task(i));
          member.finish(phase);
        }
      });
      return;
    }
    const ParallelScope awake;
    for (int64_t phase = 0; phase < phases; ++phase) {
      parallel_for(tasks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) f(phase, task(i));
      });
    }
  }

 private:
  // Rows that a product takes at once: what it gives, for the gates of a panel, stays in the first-level cache (56
  // rows, 4 gates of 32 units: 28 KiB).
  static constexpr int64_t kRows = 56;
  // Where rows suffice for several blocks a thread, and a core keeps most of the weights, each block goes through all
  // steps by itself. With one block a thread the slower core would decide.
  static constexpr int64_t kAloneGroups = 2, kAloneBlocks = 4, kAloneBytes = 1 << 20;
  // Rows of which a step is so short that to share it out anew would take a third of it; for more, that evens out what
  // cores differ in.
  static constexpr int64_t kTeamRows = 2;
  // As in ops/gemm.cpp: 1 us of work, and the weights that are worth another thread. Two tasks a thread: more of them,
  // which would even out what the cores differ in, each read the states of all again.
  static constexpr int64_t kTaskFlops = 250'000, kTaskWeights = 32 * 1024, kTasks = 2;

  int64_t rows_, block_, parts_, row_tasks_;
  bool alone_;
};

}  // namespace lanner
