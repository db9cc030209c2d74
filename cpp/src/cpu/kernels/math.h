// Elementary functions of vectors.
#pragma once

#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// The element type of a vector.
template <class Vector>
struct ElementOf;
template <>
struct ElementOf<F32> {
  using Type = float;
};
template <>
struct ElementOf<F64> {
  using Type = double;
};
template <class Vector>
using Element = typename ElementOf<Vector>::Type;

// A scalar function, lane by lane: where a vector of it would not pay.
template <class T, class F>
LANNER_INLINE V<T> by_lane(V<T> x, F f) {
  T lane[kLanes<T>];
  __builtin_memcpy(lane, &x, sizeof lane);
  for (T& v : lane) v = f(v);
  __builtin_memcpy(&x, lane, sizeof lane);
  return x;
}
template <class T, class F>
LANNER_INLINE V<T> by_lane(V<T> x, V<T> y, F f) {
  T lane[kLanes<T>], other[kLanes<T>];
  __builtin_memcpy(lane, &x, sizeof lane);
  __builtin_memcpy(other, &y, sizeof other);
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = f(lane[i], other[i]);
  __builtin_memcpy(&x, lane, sizeof lane);
  return x;
}

#define LANNER_BY_LANE(name)                                                        \
  inline F32 name(F32 x) {                                                          \
    return by_lane<float>(x, [](float v) { return __builtin_##name##f(v); });       \
  }                                                                                 \
  inline F64 name(F64 x) {                                                          \
    return by_lane<double>(x, [](double v) { return __builtin_##name(v); });        \
  }
LANNER_BY_LANE(exp)
LANNER_BY_LANE(expm1)
LANNER_BY_LANE(log)
LANNER_BY_LANE(log1p)
LANNER_BY_LANE(log2)
LANNER_BY_LANE(log10)
LANNER_BY_LANE(sin)
LANNER_BY_LANE(cos)
LANNER_BY_LANE(tan)
LANNER_BY_LANE(asin)
LANNER_BY_LANE(acos)
LANNER_BY_LANE(atan)
LANNER_BY_LANE(sinh)
LANNER_BY_LANE(cosh)
LANNER_BY_LANE(tanh)
LANNER_BY_LANE(asinh)
LANNER_BY_LANE(acosh)
LANNER_BY_LANE(atanh)
LANNER_BY_LANE(erf)
LANNER_BY_LANE(erfc)
LANNER_BY_LANE(floor)
LANNER_BY_LANE(ceil)
LANNER_BY_LANE(trunc)
LANNER_BY_LANE(rint)

#define LANNER_BY_LANE_2(name)                                                                        \
  inline F32 name(F32 x, F32 y) {                                                                     \
    return by_lane<float>(x, y, [](float a, float b) { return __builtin_##name##f(a, b); });          \
  }                                                                                                   \
  inline F64 name(F64 x, F64 y) {                                                                     \
    return by_lane<double>(x, y, [](double a, double b) { return __builtin_##name(a, b); });          \
  }
LANNER_BY_LANE_2(pow)
LANNER_BY_LANE_2(atan2)
LANNER_BY_LANE_2(hypot)

template <class Vector>
LANNER_INLINE Vector sigmoid(Vector x) {
  const Vector one = splat(Element<Vector>(1));
  return one / (one + exp(-x));
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
