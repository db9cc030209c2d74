#include "cpu/kernels/fused.h"

#include "cpu/kernels/lines.h"
#include "cpu/transpose.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// Rows of a column added up in the tile's precision before they are added in float64.
constexpr int64_t kRun = 16;

template <class T, bool kSquares>
struct Sum {
  static constexpr double kIdentity = 0;
  LANNER_INLINE static V<T> map(V<T> x) { return kSquares ? x * x : x; }
  template <class Vector>
  LANNER_INLINE static Vector combine(Vector a, Vector b) {
    return a + b;
  }
  LANNER_INLINE static double join(double a, double b) { return a + b; }
};
template <class T>
struct Max {
  static constexpr double kIdentity = -__builtin_inf();
  LANNER_INLINE static V<T> map(V<T> x) { return x; }
  template <class Vector>
  LANNER_INLINE static Vector combine(Vector a, Vector b) {
    return (b > a) | (b != b) ? b : a;
  }
  LANNER_INLINE static double join(double a, double b) { return (b > a) | (b != b) ? b : a; }
};
template <class T>
struct Min {
  static constexpr double kIdentity = __builtin_inf();
  LANNER_INLINE static V<T> map(V<T> x) { return x; }
  template <class Vector>
  LANNER_INLINE static Vector combine(Vector a, Vector b) {
    return (b < a) | (b != b) ? b : a;
  }
  LANNER_INLINE static double join(double a, double b) { return (b < a) | (b != b) ? b : a; }
};

template <class T, class O>
void reduce_rows(const void* from, int64_t rows, int64_t columns, int64_t row, double* kept, int64_t step) {
  constexpr int64_t L = kLanes<T>;
  const T* x = static_cast<const T*>(from);
  if (step == 0 && row == columns) {
    columns *= rows;
    rows = 1;
  }
  for (int64_t r = 0; r < rows; ++r, x += row) {
    V<T> a[4];
    for (V<T>& v : a) v = splat(static_cast<T>(O::kIdentity));
    int64_t i = 0;
    for (; i + 4 * L <= columns; i += 4 * L)
      for (int k = 0; k < 4; ++k) a[k] = O::combine(a[k], O::map(load(x + i + k * L)));
    for (; i + L <= columns; i += L) a[0] = O::combine(a[0], O::map(load(x + i)));
    if (i < columns) {
      const Part<T> part{columns - i};
      a[1] = O::combine(a[1], part.or_else(O::map(part.load(x + i)), static_cast<T>(O::kIdentity)));
    }
    T lane[L];
    store(lane, O::combine(O::combine(a[0], a[1]), O::combine(a[2], a[3])));
    double wide[L];
    for (int k = 0; k < L; ++k) wide[k] = static_cast<double>(lane[k]);
    for (int half = L / 2; half > 0; half /= 2)
      for (int k = 0; k < half; ++k) wide[k] = O::join(wide[k], wide[k + half]);
    kept[r * step] = O::join(kept[r * step], wide[0]);
  }
}

// to[i] is combined with a[i]: two vectors of float64 for one of float32.
template <class O>
LANNER_INLINE void join(double* to, V<double> a) {
  store(to, O::combine(load(to), a));
}
template <class O, int... I>
LANNER_INLINE void join_halves(double* to, V<float> a, Indices<I...>) {
  constexpr int kHalf = kLanes<double>;
  join<O>(to, __builtin_convertvector(__builtin_shufflevector(a, a, I...), V<double>));
  join<O>(to + kHalf, __builtin_convertvector(__builtin_shufflevector(a, a, (I + kHalf)...), V<double>));
}
template <class O>
LANNER_INLINE void join(double* to, V<float> a) {
  join_halves<O>(to, a, typename MakeIndices<kLanes<double>>::type{});
}

template <class T, class O>
void reduce_columns(const void* from, int64_t rows, int64_t columns, int64_t row, double* kept, int64_t) {
  constexpr int64_t L = kLanes<T>;
  const T* const x = static_cast<const T*>(from);
  for (int64_t first = 0; first < rows; first += kRun) {
    const int64_t last = rows - first < kRun ? rows : first + kRun;
    int64_t i = 0;
    for (; i + L <= columns; i += L) {
      V<T> a = O::map(load(x + first * row + i));
      for (int64_t r = first + 1; r < last; ++r) a = O::combine(a, O::map(load(x + r * row + i)));
      join<O>(kept + i, a);
    }
    if (i == columns) continue;
    const Part<T> part{columns - i};
    V<T> a = O::map(part.load(x + first * row + i));
    for (int64_t r = first + 1; r < last; ++r) a = O::combine(a, O::map(part.load(x + r * row + i)));
    for (int64_t k = 0; k < columns - i; ++k) kept[i + k] = O::join(kept[i + k], static_cast<double>(a[k]));
  }
}

}  // namespace

#define LANNER_TILE(f, T) {f<T, Sum<T, false>>, f<T, Sum<T, true>>, f<T, Max<T>>, f<T, Min<T>>}
extern const FusedKernels fused_kernels;
const FusedKernels fused_kernels = {{{LANNER_TILE(reduce_rows, float), LANNER_TILE(reduce_rows, double)},
                                     {LANNER_TILE(reduce_columns, float), LANNER_TILE(reduce_columns, double)}}};

}  // namespace lanner::cpu::LANNER_ISA
