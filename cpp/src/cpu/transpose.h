// A square of vectors transposed in registers: log2(lanes) rounds, in each of which vectors `d` apart exchange blocks
// of d elements. Compiled once for each instruction set, like simd.h.
#pragma once

#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};

template <class T, int kDistance, int... I>
LANNER_INLINE void exchange(V<T>& a, V<T>& b, Indices<I...>) {
  constexpr int L = kLanes<T>, d = kDistance;
  const V<T> low = __builtin_shufflevector(a, b, ((I & d) ? L + I - d : I)...);
  b = __builtin_shufflevector(a, b, ((I & d) ? L + I : I + d)...);
  a = low;
}

// rows[i][j] becomes rows[j][i].
template <class T, int kDistance = kLanes<T> / 2>
LANNER_INLINE void transpose(V<T> (&rows)[kLanes<T>]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i)
    if ((i & kDistance) == 0)
      exchange<T, kDistance>(rows[i], rows[i + kDistance], typename MakeIndices<kLanes<T>>::type{});
  if constexpr (kDistance > 1) transpose<T, kDistance / 2>(rows);
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
