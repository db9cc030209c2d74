// What a reduction does to elements: how one is mapped, how two are combined, in what they are accumulated.
#pragma once

#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

template <class T>
constexpr bool kFloat = false;
template <>
constexpr bool kFloat<float> = true;
template <>
constexpr bool kFloat<double> = true;

template <class T>
struct Wide {  // of integers
  using Type = int64_t;
};
template <>
struct Wide<uint64_t> {
  using Type = uint64_t;
};
template <>
struct Wide<float> {
  using Type = float;
};
template <>
struct Wide<double> {
  using Type = double;
};

template <class T>
constexpr T lowest() {
  if constexpr (kFloat<T>) {
    return static_cast<T>(-__builtin_inf());
  } else if constexpr (static_cast<T>(-1) > static_cast<T>(0)) {
    return 0;
  } else {
    return static_cast<T>(static_cast<uint64_t>(1) << (8 * sizeof(T) - 1));
  }
}
template <class T>
constexpr T highest() {
  if constexpr (kFloat<T>) {
    return static_cast<T>(__builtin_inf());
  } else {
    return static_cast<T>(~lowest<T>());
  }
}

// kVector: works on V<T> as it does on T. kOrdered: rounding depends on the order, so it is pairwise.
template <class T>
struct SumOf {
  using In = T;
  using Acc = typename Wide<T>::Type;
  static constexpr bool kVector = kFloat<T>, kOrdered = kFloat<T>, kEarly = false;
  static constexpr Acc kIdentity = 0;
  LANNER_INLINE static Acc map(T x) { return static_cast<Acc>(x); }
  template <class X>
  LANNER_INLINE static X map_vector(X x) {
    return x;
  }
  template <class X>
  LANNER_INLINE static X combine(X a, X b) {
    return a + b;
  }
};
template <class T>
struct SumSquaresOf : SumOf<T> {
  using Acc = typename SumOf<T>::Acc;
  LANNER_INLINE static Acc map(T x) { return static_cast<Acc>(x) * static_cast<Acc>(x); }
  template <class X>
  LANNER_INLINE static X map_vector(X x) {
    return x * x;
  }
};
template <class T>
struct ProdOf : SumOf<T> {
  static constexpr typename SumOf<T>::Acc kIdentity = 1;
  template <class X>
  LANNER_INLINE static X combine(X a, X b) {
    return a * b;
  }
};
template <class T>
struct MaxOf {
  using In = T;
  using Acc = T;
  static constexpr bool kVector = kFloat<T>, kOrdered = false, kEarly = false;
  static constexpr Acc kIdentity = lowest<T>();
  LANNER_INLINE static Acc map(T x) { return x; }
  template <class X>
  LANNER_INLINE static X map_vector(X x) {
    return x;
  }
  template <class X>
  LANNER_INLINE static X combine(X a, X b) {
    return max_nan(a, b);
  }
};
template <class T>
struct MinOf : MaxOf<T> {
  static constexpr T kIdentity = highest<T>();
  template <class X>
  LANNER_INLINE static X combine(X a, X b) {
    return min_nan(a, b);
  }
};
template <class T>
struct AnyOf {
  using In = T;
  using Acc = uint8_t;
  static constexpr bool kVector = false, kOrdered = false, kEarly = true;
  static constexpr Acc kIdentity = 0;
  LANNER_INLINE static Acc map(T x) { return x != 0; }
  LANNER_INLINE static Acc combine(Acc a, Acc b) { return a | b; }
};
template <class T>
struct AllOf : AnyOf<T> {
  static constexpr uint8_t kIdentity = 1;
  LANNER_INLINE static uint8_t combine(uint8_t a, uint8_t b) { return a & b; }
};

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
