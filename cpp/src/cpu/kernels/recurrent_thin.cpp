#include "cpu/kernels/recurrent_thin.h"

#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// A packed panel is two vectors wide. Two rows and four gates are 16 sums: registers that only AVX-512 and NEON have.
#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr int kThinRows = 2;
#else
constexpr int kThinRows = 1;
#endif
constexpr int kPanelVectors = 2;

template <class T>
LANNER_INLINE void put_sums(const ThinProduct<T>& p, int row, int gate, const V<T>* sums) {
  T* c = p.c + row * p.c_row + gate * p.c_gate;
  for (int j = 0; j < kPanelVectors; ++j) {
    const int left = p.columns - j * kLanes<T>, n = left < kLanes<T> ? left : kLanes<T>;
    if (n <= 0) return;
    V<T> sum = sums[j];
    if (p.add) sum += n == kLanes<T> ? load(c + j * kLanes<T>) : load_n(c + j * kLanes<T>, n);
    n == kLanes<T> ? store(c + j * kLanes<T>, sum) : store_n(c + j * kLanes<T>, sum, n);
  }
}

template <class T, int kRows, int kGates>
void thin_gates(const ThinProduct<T>& p) {
  constexpr int L = kLanes<T>;
  V<T> sums[kRows][kGates][kPanelVectors] = {};
  for (int64_t s = 0; s < p.k; ++s) {
    const T* b = p.packed + s * kPanelVectors * L;
#pragma GCC unroll 4
    for (int g = 0; g < kGates; ++g, b += p.packed_gate)
#pragma GCC unroll 2
      for (int j = 0; j < kPanelVectors; ++j)
#pragma GCC unroll 2
        for (int r = 0; r < kRows; ++r)
          sums[r][g][j] = fma(splat(p.a[r * p.a_row + s]), load(b + j * L), sums[r][g][j]);
  }
  for (int r = 0; r < kRows; ++r)
    for (int g = 0; g < kGates; ++g) put_sums(p, r, g, sums[r][g]);
}

// One matrix: four parts of k side by side, what is left of k with the first.
template <class T, int kRows>
void thin_parts(const ThinProduct<T>& p) {
  constexpr int L = kLanes<T>, kParts = 4;
  const int64_t part = p.k / kParts;
  V<T> sums[kRows][kParts][kPanelVectors] = {};
  const auto add = [&](int64_t s, int q) __attribute__((always_inline)) {
    const T* b = p.packed + s * kPanelVectors * L;
#pragma GCC unroll 2
    for (int j = 0; j < kPanelVectors; ++j)
#pragma GCC unroll 2
      for (int r = 0; r < kRows; ++r) sums[r][q][j] = fma(splat(p.a[r * p.a_row + s]), load(b + j * L), sums[r][q][j]);
  };
  for (int64_t s = 0; s < part; ++s) {
#pragma GCC unroll 4
    for (int q = 0; q < kParts; ++q) add(q * part + s, q);
  }
  for (int64_t s = kParts * part; s < p.k; ++s) add(s, 0);
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < kPanelVectors; ++j)
      sums[r][0][j] = (sums[r][0][j] + sums[r][1][j]) + (sums[r][2][j] + sums[r][3][j]);
    put_sums(p, r, 0, sums[r][0]);
  }
}

template <class T, int kRows>
void thin_rows(const ThinProduct<T>& p) {
  if (p.gates == 4) return thin_gates<T, kRows, 4>(p);
  if (p.gates == 3) return thin_gates<T, kRows, 3>(p);
  ThinProduct<T> one = p;
  for (int g = 0; g < p.gates; ++g, one.packed += p.packed_gate, one.c += p.c_gate) thin_parts<T, kRows>(one);
}
template <class T>
void thin(const ThinProduct<T>& p) {
  if constexpr (kThinRows == 2) {
    if (p.rows == 2) return thin_rows<T, 2>(p);
  }
  thin_rows<T, 1>(p);
}

}  // namespace

extern const ThinKernels recurrent_thin_kernels;
const ThinKernels recurrent_thin_kernels = {{kThinRows, thin<float>}, {kThinRows, thin<double>}};

}  // namespace lanner::cpu::LANNER_ISA
