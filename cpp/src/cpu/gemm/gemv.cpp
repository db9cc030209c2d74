// Matrix times vector: each element of the matrix is used once, so all there is to do is to read it at full width, with
// enough independent sums to hide the latency of the additions.
#include "cpu/gemm/families.h"
#include "cpu/gemm/micro.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

constexpr int kSums = 8;  // two FMAs a cycle, four cycles until a sum may be added to again

// y[row:row + n] = epilogue(alpha * sums + beta * y).
template <class T>
void put(const GemmArgs<T>& g, int64_t row, int n, V<T> sums) {
  sums *= g.alpha;
  if (g.c_row == 1) {
    Epilogue<T> e = g.epilogue;
    e.bias_per_column = g.epilogue.bias_per_row, e.bias_per_row = g.epilogue.bias_per_column;
    T* const c = g.c + row;
    if (g.beta != 0) sums += g.beta * (n == kLanes<T> ? load(c) : load_n(c, n));
    sums = finish_vector(sums, e, 0, row, row, n);
    n == kLanes<T> ? store(c, sums) : store_n(c, sums, n);
    return;
  }
  T sum[kLanes<T>];
  store(sum, sums);
  for (int i = 0; i < n; ++i) {
    const int64_t at = (row + i) * g.c_row;
    T y = sum[i];
    if (g.beta != 0) y += g.beta * g.c[at];
    g.c[at] = finish_element(y, g.epilogue, row + i, 0, at);
  }
}

// Rows are contiguous: kRows dot products at a time, each in kSums / kRows partial sums.
template <class T, int kRows>
LANNER_INLINE void dot_rows(const GemmArgs<T>& g, int64_t row, V<T>* sums) {
  constexpr int L = kLanes<T>, kParts = kSums / kRows;
  const T* a = g.a + row * g.a_row;
  V<T> acc[kRows][kParts] = {};
  int64_t s = 0;
  for (; s + kParts * L <= g.k; s += kParts * L) {
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) {
      const V<T> x = load(g.b + s + p * L);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) acc[i][p] = fma(load(a + i * g.a_row + s + p * L), x, acc[i][p]);
    }
  }
  for (; s < g.k; s += L) {
    const size_t n = g.k - s < L ? g.k - s : L;
    const V<T> x = load_n(g.b + s, n);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) acc[i][0] = fma(load_n(a + i * g.a_row + s, n), x, acc[i][0]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int half = kParts / 2; half > 0; half /= 2)
#pragma GCC unroll 8
      for (int p = 0; p < half; ++p) acc[i][p] += acc[i][p + half];
    sums[i] = acc[i][0];
  }
}

// A vector's worth of rows, or the `rows` that are left: what each row's partial sums add up to is found for all rows at
// once, by a transposition.
template <class T>
void dot_block(const GemmArgs<T>& g, int64_t row, int rows) {
  constexpr int L = kLanes<T>, kGroup = L < kSums ? L : kSums;
  V<T> sums[L] = {};
  int i = 0;
  for (; i + kGroup <= rows; i += kGroup) dot_rows<T, kGroup>(g, row + i, sums + i);
  for (; i < rows; ++i) dot_rows<T, 1>(g, row + i, sums + i);
  transpose<T>(sums);
#pragma GCC unroll 4
  for (int half = L / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int p = 0; p < half; ++p) sums[p] += sums[p + half];
  put(g, row, rows, sums[0]);
}

// Columns are contiguous: kVectors vectors of rows at a time, the last of them `n` elements long.
template <class T, int kVectors>
void sum_columns(const GemmArgs<T>& g, int64_t row, int n) {
  constexpr int L = kLanes<T>;
  const T* a = g.a + row;
  V<T> acc[kVectors] = {};
  for (int64_t s = 0; s < g.k; ++s, a += g.a_col) {
    const V<T> x = splat(g.b[s * g.b_row]);
#pragma GCC unroll 8
    for (int j = 0; j < kVectors - 1; ++j) acc[j] = fma(load(a + j * L), x, acc[j]);
    constexpr int j = kVectors - 1;
    acc[j] = fma(n == L ? load(a + j * L) : load_n(a + j * L, n), x, acc[j]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < kVectors; ++j) put(g, row + j * L, j == kVectors - 1 ? n : L, acc[j]);
}

}  // namespace

template <class T>
void gemv(const GemmArgs<T>& g, int64_t r0, int64_t r1) {
  constexpr int L = kLanes<T>;
  int64_t r = r0;
  if (g.a_col == 1 && g.b_row == 1) {
    for (; r < r1; r += L) dot_block(g, r, r1 - r < L ? static_cast<int>(r1 - r) : L);
  } else {
    for (; r + 8 * L <= r1; r += 8 * L) sum_columns<T, 8>(g, r, L);
    for (; r + 4 * L <= r1; r += 4 * L) sum_columns<T, 4>(g, r, L);
    for (; r < r1; r += L) sum_columns<T, 1>(g, r, r1 - r < L ? static_cast<int>(r1 - r) : L);
  }
}

template void gemv<float>(const GemmArgs<float>&, int64_t, int64_t);
template void gemv<double>(const GemmArgs<double>&, int64_t, int64_t);

}  // namespace lanner::cpu::LANNER_ISA
