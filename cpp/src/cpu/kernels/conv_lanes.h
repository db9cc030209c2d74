// Between planes and vectors: a vector holds one element of kLanes planes, be they channels or samples.
#pragma once

#include "cpu/kernels/conv_plan.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

struct Plane {
  int64_t height, width;
};

// A part of up to kLanes planes of src, `plane_step` apart, as vectors: element (y, x) of the part at
// to + (y * pitch + x) * L. Outside of the image it is zero.
template <class T>
struct Gathered {
  static constexpr int L = kLanes<T>;
  T* to;
  ConvOperands operands = ConvOperands::Full;
  int64_t pair_step = 0;  // to the plane that makes pairs with the first; 0: zero does
  int64_t pitch = 0;
  int64_t clip[7] = {-1, -1, -1, -1, -1, -1, -1};  // of the part that `to` holds

  void gather(const T* src, int64_t planes, int64_t plane_step, const Plane& p, int64_t y0, int64_t rows, int64_t x0,
              int64_t columns) {
    pitch = columns;
    const int64_t top = smaller(rows, larger(0, -y0)), left = smaller(columns, larger(0, -x0));
    const int64_t bottom = larger(top, smaller(rows, p.height - y0)),
                  right = larger(left, smaller(columns, p.width - x0));
    // What lies outside is still zero where the part before had the same place in its image.
    const int64_t now[7] = {rows, columns, top, left, bottom, right, planes};
    bool same = true;
    for (int i = 0; i < 7; ++i) same = same && now[i] == clip[i], clip[i] = now[i];
    if (!same && (top > 0 || left > 0 || bottom < rows || right < columns)) zero_elements(to, rows * columns * L);
    if (bottom == top || right == left) return;
    const T* from = src + (y0 + top) * p.width + x0 + left;
    T* at = to + (top * pitch + left) * L;
    const bool whole = right - left == p.width;
    const int64_t lines = whole ? 1 : bottom - top, count = whole ? (bottom - top) * p.width : right - left;
    for (int64_t y = 0; y < lines; ++y, from += p.width, at += pitch * L) {
      if constexpr (sizeof(T) == 4) {
        if (paired(operands)) {
          spread<ConvOperands::Pairs>(from, planes, plane_step, count, right - left, at);
          continue;
        }
        if (operands == ConvOperands::Rounded) {
          spread<ConvOperands::Rounded>(from, planes, plane_step, count, right - left, at);
          continue;
        }
      }
      spread<ConvOperands::Full>(from, planes, plane_step, count, right - left, at);
    }
  }

 private:
  // `count` elements, of rows of `width`.
  template <ConvOperands kOperands>
  void spread(const T* from, int64_t planes, int64_t plane_step, int64_t count, int64_t width, T* at) {
    int64_t left = width;
    for (int64_t i = 0; i < count; i += L) {
      const int n = static_cast<int>(smaller(L, count - i));
      V<T> rows[L];
#pragma GCC unroll 16
      for (int j = 0; j < L; ++j) {
        const T* p = from + j * plane_step + i;
        const auto read = [n](const T* p) __attribute__((always_inline)) {
          return n == L ? load(p) : load_n(p, static_cast<size_t>(n));
        };
        rows[j] = j >= planes ? V<T>{} : read(p);
        if constexpr (kOperands == ConvOperands::Rounded) rows[j] = rounded_to_bf16(rows[j]);
        if constexpr (kOperands == ConvOperands::Pairs)
          rows[j] = pair_of(rows[j], j >= planes || pair_step == 0 ? V<T>{} : read(p + pair_step));
      }
      transpose<T>(rows);
      if (left >= L && n == L) {
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) store(at + j * L, rows[j]);
        at += L * L;
        left -= L;
        if (left == 0) left = width, at += (pitch - width) * L;
        continue;
      }
#pragma GCC unroll 16
      for (int j = 0; j < L; ++j)
        if (j < n) {
          store(at, rows[j]);
          at += L;
          if (--left == 0) left = width, at += (pitch - width) * L;
        }
    }
  }
};

// Back: `count` elements of up to kLanes planes of dst, `plane_step` apart.
template <class T>
void spread_lanes(const T* from, int64_t count, int64_t planes, V<T> bias, const Finish<T>& finish, T* dst,
                  int64_t plane_step) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < count; i += L) {
    const size_t n = static_cast<size_t>(smaller(L, count - i));
    V<T> rows[L];
#pragma GCC unroll 16
    for (int j = 0; j < L; ++j) rows[j] = load(from + (i + j) * L) + bias;
    transpose<T>(rows);
    T* at = dst + i;
#pragma GCC unroll 16
    for (int j = 0; j < L; ++j)
      if (j < planes) {
        if (finish.any) rows[j] = finish(rows[j], at + j * plane_step, n);
        if (n == L)
          store(at + j * plane_step, rows[j]);
        else
          store_n(at + j * plane_step, rows[j], n);
      }
  }
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
