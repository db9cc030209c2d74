// Copies operands into the order in which the micro-kernel reads them.
#pragma once

#include "cpu/gemm/micro.h"
#include "cpu/transpose.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// to[s * step + j] = from[s * k_stride + j * j_stride] for s < k and j < width; zero for width <= j < step. Whole
// vectors are stored, from the last to the first of a row, rows upwards: what spills over a row's end is overwritten by
// the next row, and the last row's spill takes up to kLanes<T> - 1 elements past to[k * step].
template <class T>
void pack_panel(int64_t k, int width, const T* from, int64_t k_stride, int64_t j_stride, T* to, int step) {
  constexpr int L = kLanes<T>;
  const int last = (step - 1) / L * L;
  int64_t s = 0;
  if (j_stride == 1) {
    if (width == kNR<T> && step == kNR<T>) {
      for (; s < k; ++s)
        for (int j = 0; j < kNR<T>; j += L) store(to + s * step + j, load(from + s * k_stride + j));
      return;
    }
    for (; s < k; ++s) {
      for (int j = last; j >= 0; j -= L) {
        const int n = width - j < 0 ? 0 : width - j;
        store(to + s * step + j, n >= L ? load(from + s * k_stride + j) : load_n(from + s * k_stride + j, n));
      }
    }
    return;
  }
  if (k_stride == 1) {
    for (; s + L <= k; s += L) {
      for (int j = last; j >= 0; j -= L) {
        V<T> rows[L];
        if (width - j >= L) {
#pragma GCC unroll 16
          for (int i = 0; i < L; ++i) rows[i] = load(from + s + (j + i) * j_stride);
        } else {
#pragma GCC unroll 16
          for (int i = 0; i < L; ++i) rows[i] = j + i < width ? load(from + s + (j + i) * j_stride) : V<T>{};
        }
        transpose<T>(rows);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) store(to + (s + i) * step + j, rows[i]);
      }
    }
  }
  for (; s < k; ++s) {
    for (int j = 0; j < width; ++j) to[s * step + j] = from[s * k_stride + j * j_stride];
    for (int j = width; j < step; ++j) to[s * step + j] = 0;
  }
}

// The panels of A are of one height too, rather than `most` and a low remainder.
inline int panel_height(int64_t rows, int most = kMR) {
  const int64_t panels = (rows + most - 1) / most;
  return static_cast<int>((rows + panels - 1) / panels);
}

// A panel holds rows [i, i + height) at to + i * k, element (i, s) at s * height + i; the last may be lower.
template <class T>
void pack_rows(int64_t rows, int height, int64_t k, const T* a, int64_t a_row, int64_t a_col, T* to) {
  for (int64_t i = 0; i < rows; i += height) {
    const int here = rows - i < height ? static_cast<int>(rows - i) : height;
    pack_panel(k, here, a + i * a_row, a_col, a_row, to + i * k, here);
  }
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
