// Loops over a contiguous line of floats, shared by the reductions, softmax and the normalizations. The body is written
// once: it is given a `Whole` vector or, for the remainder, a `Part`, and loads and stores through it.
#pragma once

#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// All ones in the first n lanes.
template <class T>
LANNER_INLINE M<T> first_lanes(int64_t n) {
  M<T> lane;
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
  return lane < static_cast<typename Vec<T>::Int>(n);
}

template <class T>
struct Whole {
  LANNER_INLINE V<T> load(const T* p) const { return LANNER_ISA::load(p); }
  LANNER_INLINE void store(T* p, V<T> v) const { LANNER_ISA::store(p, v); }
  // v, and `other` in the lanes beyond the line.
  LANNER_INLINE V<T> or_else(V<T> v, T) const { return v; }
};
template <class T>
struct Part {
  int64_t n;
  LANNER_INLINE V<T> load(const T* p) const { return load_n(p, static_cast<size_t>(n)); }
  LANNER_INLINE void store(T* p, V<T> v) const { store_n(p, v, static_cast<size_t>(n)); }
  LANNER_INLINE V<T> or_else(V<T> v, T other) const { return select(first_lanes<T>(n), v, splat(other)); }
};

// A vector at p, or the n elements that a line still has.
template <class T>
LANNER_INLINE V<T> take(const T* p, int n) {
  return n == kLanes<T> ? load(p) : load_n(p, n);
}
template <class T>
LANNER_INLINE void put(T* p, V<T> x, int n) {
  n == kLanes<T> ? store(p, x) : store_n(p, x, n);
}

// f(Whole or Part, i) for each vector of a line of n.
template <class T, class F>
LANNER_INLINE void each_vector(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) f(Whole<T>{}, i);
  if (i < n) f(Part<T>{n - i}, i);
}

// A kernel that goes over each row several times would wait for memory in the first pass alone, and again where it writes:
// in a pass that computes it asks for the row after it, and for the lines it will write. So far the next row is away, in
// elements; 0 where rows are too long to be kept. Softmax of [8192, 1000], two cores: 2.4 to 1.65 ms.
template <class T>
LANNER_INLINE int64_t next_row(int64_t n) {
  return n * static_cast<int64_t>(sizeof(T)) <= 16 << 10 ? n : 0;
}
LANNER_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
LANNER_INLINE void prefetch_to_write(const void* p) { __builtin_prefetch(p, 1); }

// Sums f(Whole or Part, i), lane by lane: four chains to hide the latency, which are folded into a total after 32
// rounds, so that the rounding error grows with n / (128 * lanes) + 32 rather than with n.
template <class T>
struct LaneSum {
  V<T> total{};

  template <class F>
  LANNER_INLINE void add(int64_t n, F f) {
    constexpr int64_t L = kLanes<T>;
    int64_t i = 0;
    while (i + 4 * L <= n) {
      V<T> a{}, b{}, c{}, d{};
      const int64_t end = n - i < 128 * L ? n : i + 128 * L;
      for (; i + 4 * L <= end; i += 4 * L) {
        a += f(Whole<T>{}, i);
        b += f(Whole<T>{}, i + L);
        c += f(Whole<T>{}, i + 2 * L);
        d += f(Whole<T>{}, i + 3 * L);
      }
      total += (a + b) + (c + d);
    }
    V<T> rest{};
    for (; i + L <= n; i += L) rest += f(Whole<T>{}, i);
    if (i < n) {
      const Part<T> part{n - i};
      rest += part.or_else(f(part, i), 0);
    }
    total += rest;
  }
  T value() const { return reduce_add<T>(total); }
};

template <class T, class F>
LANNER_INLINE T sum_line(int64_t n, F f) {
  LaneSum<T> sum;
  sum.add(n, f);
  return sum.value();
}

// The largest element that is a number; -infinity if there is none.
template <class T>
LANNER_INLINE T max_line(const T* x, int64_t n) {
  constexpr int64_t L = kLanes<T>;
  const V<T> lowest = splat(static_cast<T>(-__builtin_inf()));
  V<T> a = lowest, b = lowest, c = lowest, d = lowest;
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    a = max(load(x + i), a);
    b = max(load(x + i + L), b);
    c = max(load(x + i + 2 * L), c);
    d = max(load(x + i + 3 * L), d);
  }
  for (; i + L <= n; i += L) a = max(load(x + i), a);
  if (i < n) {
    const Part<T> part{n - i};
    b = max(part.or_else(part.load(x + i), lowest[0]), b);
  }
  a = max(max(a, b), max(c, d));
  T lane[kLanes<T>];
  store(lane, a);
  for (int half = kLanes<T> / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) lane[j] = lane[j] > lane[j + half] ? lane[j] : lane[j + half];
  return lane[0];
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
