#include "cpu/kernels/recurrent_thin.h"

#include "cpu/kernels/lines.h"

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
    put(c + j * kLanes<T>, p.add ? sums[j] + take(c + j * kLanes<T>, n) : sums[j], n);
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
  constexpr int L = kLanes<T>, kPasss = 4;
  const int64_t part = p.k / kPasss;
  V<T> sums[kRows][kPasss][kPanelVectors] = {};
  const auto add = [&](int64_t s, int q) __attribute__((always_inline)) {
    const T* b = p.packed + s * kPanelVectors * L;
#pragma GCC unroll 2
    for (int j = 0; j < kPanelVectors; ++j)
#pragma GCC unroll 2
      for (int r = 0; r < kRows; ++r) sums[r][q][j] = fma(splat(p.a[r * p.a_row + s]), load(b + j * L), sums[r][q][j]);
  };
  for (int64_t s = 0; s < part; ++s) {
#pragma GCC unroll 4
    for (int q = 0; q < kPasss; ++q) add(q * part + s, q);
  }
  for (int64_t s = kPasss * part; s < p.k; ++s) add(s, 0);
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

enum class Pass { kWhole, kOwn, kRest };

// sums[q] has every kPasss-th k from k_begin + q on.
template <class T, int kRows, int kGates, int kPasss>
LANNER_INLINE void add_products(const ThinShare<T>& p, const T* b, int64_t k_begin, int64_t k_end,
                                V<T> (&sums)[kRows][kGates][kPasss][kPanelVectors]) {
  constexpr int L = kLanes<T>;
  const auto add = [&](int64_t k, int q) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int g = 0; g < kGates; ++g)
#pragma GCC unroll 2
      for (int j = 0; j < kPanelVectors; ++j)
#pragma GCC unroll 2
        for (int r = 0; r < kRows; ++r)
          sums[r][g][q][j] = fma(splat(p.h[r * p.h_row + k]), load(b + g * p.packed_gate + j * L), sums[r][g][q][j]);
    b += p.packed_k;
  };
  int64_t k = k_begin;
  for (; k + kPasss <= k_end; k += kPasss) {
#pragma GCC unroll 4
    for (int q = 0; q < kPasss; ++q) add(k + q, q);
  }
  if constexpr (kPasss > 1)
    for (; k < k_end; ++k) add(k, 0);
}

template <class T, int kRows, int kGates, Pass kPass>
void share(const ThinShare<T>& p) {
  constexpr int L = kLanes<T>, kPanel = kPanelVectors * L, kPasss = kGates == 1 ? 4 : 1;
  static_assert(kGates * kPasss * kPanelVectors <= kThinSums && kPanel % kPasss == 0);
  for (int64_t i = p.panel_begin; i < p.panel_end; ++i) {
    const int64_t panel = p.down ? p.panel_begin + p.panel_end - 1 - i : i;
    const int64_t unit = panel * kPanel, turned = p.turned ? unit : 0;
    const T* at = p.packed + panel * p.packed_panel;
    const T *from_unit = at + (unit - turned) * p.packed_k,
            *from_zero = at + (turned ? p.hidden - turned : 0) * p.packed_k;
    T* begun = p.begun + (panel - p.first) * kRows * kThinSums * L;
    V<T> sums[kRows][kGates][kPasss][kPanelVectors] = {};
    V<T>* const all = &sums[0][0][0][0];
    constexpr int kAll = kRows * kGates * kPasss * kPanelVectors;
    if constexpr (kPass == Pass::kRest) {
#pragma GCC unroll 16
      for (int i = 0; i < kAll; ++i) all[i] = load(begun + i * L);
    } else {
      add_products<T, kRows, kGates, kPasss>(p, from_unit, unit, kPass == Pass::kOwn ? p.own_end : p.hidden, sums);
    }
    if constexpr (kPass == Pass::kOwn) {
#pragma GCC unroll 16
      for (int i = 0; i < kAll; ++i) store(begun + i * L, all[i]);
    } else {
      if constexpr (kPass == Pass::kRest)
        add_products<T, kRows, kGates, kPasss>(p, from_unit + (p.own_end - unit) * p.packed_k, p.own_end, p.hidden,
                                               sums);
      add_products<T, kRows, kGates, kPasss>(p, from_zero, 0, unit, sums);
      T* to = p.sums + (panel - p.first) * kPanel;
#pragma GCC unroll 2
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (int g = 0; g < kGates; ++g)
#pragma GCC unroll 2
          for (int j = 0; j < kPanelVectors; ++j) {
            V<T> sum = sums[r][g][0][j];
            if constexpr (kPasss == 4) sum = (sum + sums[r][g][1][j]) + (sums[r][g][2][j] + sums[r][g][3][j]);
            store(to + r * p.sums_row + g * p.sums_gate + j * L, sum);
          }
    }
  }
}

template <class T, int kRows, Pass kPass>
void share_of_gates(const ThinShare<T>& p) {
  if (p.gates == 4) return share<T, kRows, 4, kPass>(p);
  if (p.gates == 3) return share<T, kRows, 3, kPass>(p);
  share<T, kRows, 1, kPass>(p);
}
template <class T, Pass kPass>
void share(const ThinShare<T>& p) {
  if constexpr (kThinRows == 2) {
    if (p.rows == 2) return share_of_gates<T, 2, kPass>(p);
  }
  share_of_gates<T, 1, kPass>(p);
}

template <class T>
constexpr ThinOf<T> functions() {
  return {kThinRows, thin<T>, share<T, Pass::kWhole>, share<T, Pass::kOwn>, share<T, Pass::kRest>};
}

}  // namespace

extern const ThinKernels recurrent_thin_kernels;
const ThinKernels recurrent_thin_kernels = {functions<float>(), functions<double>()};

}  // namespace lanner::cpu::LANNER_ISA
