// Copies operands into the order in which the micro-kernel reads them.
#pragma once

#include "cpu/gemm/micro.h"
#include "cpu/transpose.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// to[s * step + j] = from[s * k_stride + j * j_stride] for s < k and j < width; zero for width <= j < step. Whole
// vectors are stored: what spills over a row's end is overwritten by the next rows, and what would pass to[k * step] is
// cut off.
template <class T>
void pack_panel(int64_t k, int width, const T* from, int64_t k_stride, int64_t j_stride, T* to, int step) {
  constexpr int L = kLanes<T>;
  const int last = (step - 1) / L * L;
  const auto put = [&](int64_t s, int j, V<T> x) {
    const int64_t left = (k - s) * step - j;
    left < L ? store_n(to + s * step + j, x, left) : store(to + s * step + j, x);
  };
  if (j_stride == 1 && width == kNR<T> && step == kNR<T>) {
    for (int64_t s = 0; s < k; ++s)
      for (int j = 0; j < kNR<T>; j += L) store(to + s * step + j, load(from + s * k_stride + j));
  } else if (j_stride == 1) {
    for (int64_t s = 0; s < k; ++s) {
      for (int j = last; j >= 0; j -= L) {
        const int n = width - j < 0 ? 0 : width - j;
        put(s, j, n >= L ? load(from + s * k_stride + j) : load_n(from + s * k_stride + j, n));
      }
    }
  } else if (k_stride == 1) {
    // One vector's width after the other: each row read is a stream of its own, and where they lie a multiple of 4 KiB
    // apart no more than these fit into the first-level cache (a panel of 512 x 32 from the third level: 9.6 cycles a
    // vector with both in one pass).
    for (int j = last; j >= 0; j -= L) {
      for (int64_t s = 0; s < k; s += L) {
        const int here = k - s < L ? static_cast<int>(k - s) : L;
        V<T> rows[L];
        if (width - j >= L && here == L) {
#pragma GCC unroll 16
          for (int i = 0; i < L; ++i) rows[i] = load(from + s + (j + i) * j_stride);
        } else {
#pragma GCC unroll 16
          for (int i = 0; i < L; ++i) rows[i] = j + i < width ? load_n(from + s + (j + i) * j_stride, here) : V<T>{};
        }
        transpose<T>(rows);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i)
          if (i < here) put(s + i, j, rows[i]);
      }
    }
  } else {
    for (int64_t s = 0; s < k; ++s) {
      for (int j = 0; j < width; ++j) to[s * step + j] = from[s * k_stride + j * j_stride];
      for (int j = width; j < step; ++j) to[s * step + j] = 0;
    }
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
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  if (a_row == 1) {
    // Several panels at a time, so that each k is read in longer stretches (14 panels of 512, k 4 KiB apart: 15 to 5
    // cycles a vector). Here the last row of a panel must not spill into the next, whose first row is there already.
    constexpr int kTogether = 8;
    const int last = (height - 1) / L * L;
    for (; i + kTogether * height + L <= rows; i += kTogether * height) {
      for (int64_t s = 0; s < k; ++s) {
        const T* from = a + i + s * a_col;
        T* at = to + i * k + s * height;
        for (int q = 0; q < kTogether; ++q, from += height, at += height * k) {
          for (int j = 0; j < last; j += L) store(at + j, load(from + j));
          (k - s) * height >= last + L ? store(at + last, load(from + last))
                                       : store_n(at + last, load(from + last), height - last);
        }
      }
    }
  }
  for (; i < rows; i += height) {
    const int here = rows - i < height ? static_cast<int>(rows - i) : height;
    pack_panel(k, here, a + i * a_row, a_col, a_row, to + i * k, here);
  }
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
