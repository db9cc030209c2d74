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
    if (right - left == p.width) {
      spread(from, planes, plane_step, (bottom - top) * p.width, p.width, at);
    } else {
      for (int64_t y = top; y < bottom; ++y, from += p.width, at += pitch * L)
        spread(from, planes, plane_step, right - left, right - left, at);
    }
  }

 private:
  // `count` elements, of rows of `width`.
  void spread(const T* from, int64_t planes, int64_t plane_step, int64_t count, int64_t width, T* at) {
    int64_t left = width;
    for (int64_t i = 0; i < count; i += L) {
      const int n = static_cast<int>(smaller(L, count - i));
      V<T> rows[L];
#pragma GCC unroll 16
      for (int j = 0; j < L; ++j) {
        const T* p = from + j * plane_step + i;
        rows[j] = j >= planes ? V<T>{} : n == L ? load(p) : load_n(p, static_cast<size_t>(n));
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
