// What a convolution does to an element before it stores it, apart from the bias, with which its sums begin.
#pragma once

#include "cpu/kernels/epilogue.h"
#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

template <class T>
struct Finish {
  const T* dst;  // to which residual and gate are parallel
  const T *residual, *gate;
  Activation activation;
  T slope, gate_slope;
  bool any;

  Finish(const Epilogue<T>& e, const T* dst)
      : dst(dst),
        residual(e.residual),
        gate(e.gate),
        activation(e.activation),
        slope(e.activation == Activation::LeakyRelu ? e.slope : T{0}),
        gate_slope(e.gate_slope),
        any(e.residual || e.gate || e.activation != Activation::None) {}

  // x, of which the first n elements (the one element) will be stored at `to`. A slope of 0 gives 0 for every x, as
  // relu and its gradient do; in the activation NaN stays NaN.
  LANNER_INLINE V<T> operator()(V<T> x, const T* to, size_t n) const {
    const int64_t at = to - dst;
    const auto read = [n](const T* p) __attribute__((always_inline)) {
      return n == kLanes<T> ? load(p) : load_n(p, n);
    };
    if (residual) x += read(residual + at);
    if (activation != Activation::None) x = x < V<T>{} ? (slope == 0 ? V<T>{} : x * slope) : x;
    if (gate) x = read(gate + at) > V<T>{} ? x : (gate_slope == 0 ? V<T>{} : x * gate_slope);
    return x;
  }
  // The same for a tile in registers, one part of the epilogue after the other, so that what is to be done is asked once
  // for all. place(i, j, apply) calls apply(to, n) with where acc[i][j] will be stored, if it will.
  template <int kRows, int kColumns, class Place>
  LANNER_INLINE void tile(V<T> (&acc)[kRows][kColumns], Place place) const {
    const auto each = [&](auto f) __attribute__((always_inline)) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < kColumns; ++j) f(i, j);
    };
    const auto add = [&](int i, int j) __attribute__((always_inline)) {
      place(
          i, j, [&](const T* to, size_t n) __attribute__((always_inline)) {
            acc[i][j] += n == kLanes<T> ? load(residual + (to - dst)) : load_n(residual + (to - dst), n);
          });
    };
    const auto gated = [&](int i, int j) __attribute__((always_inline)) {
      place(
          i, j, [&](const T* to, size_t n) __attribute__((always_inline)) {
            const V<T> g = n == kLanes<T> ? load(gate + (to - dst)) : load_n(gate + (to - dst), n);
            acc[i][j] = g > V<T>{} ? acc[i][j] : (gate_slope == 0 ? V<T>{} : acc[i][j] * gate_slope);
          });
    };
    if (residual) each(add);
    if (activation != Activation::None && slope == 0)
      each([&](int i, int j) __attribute__((always_inline)) { acc[i][j] = acc[i][j] < V<T>{} ? V<T>{} : acc[i][j]; });
    else if (activation != Activation::None)
      each([&](int i, int j)
               __attribute__((always_inline)) { acc[i][j] = acc[i][j] < V<T>{} ? acc[i][j] * slope : acc[i][j]; });
    if (gate) each(gated);
  }
  // The same where the elements will be stored at to[at[0]], to[at[1]], ...: without a branch for each, which the signs
  // of a gate would make hard to foretell.
  LANNER_INLINE V<T> scattered(V<T> x, const T* to, const int32_t* at, int n) const {
    T r[kLanes<T>] = {}, g[kLanes<T>] = {};
    if (residual)
      for (int l = 0; l < n; ++l) r[l] = residual[to - dst + at[l]];
    if (gate)
      for (int l = 0; l < n; ++l) g[l] = gate[to - dst + at[l]];
    if (residual) x += load(r);
    if (activation != Activation::None) x = x < V<T>{} ? (slope == 0 ? V<T>{} : x * slope) : x;
    if (gate) x = load(g) > V<T>{} ? x : (gate_slope == 0 ? V<T>{} : x * gate_slope);
    return x;
  }
  LANNER_INLINE T scalar(T x, const T* to) const {
    const int64_t at = to - dst;
    if (residual) x += residual[at];
    if (activation != Activation::None && x < 0) x = slope == 0 ? T{0} : x * slope;
    if (gate && !(gate[at] > 0)) x = gate_slope == 0 ? T{0} : x * gate_slope;
    return x;
  }
};

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
