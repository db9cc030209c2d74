#include "cpu/kernels/gemm.h"

#include "cpu/gemm/families.h"
#include "cpu/gemm/pack.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

template <class T>
int64_t packed_b_elements(int64_t k, int64_t n) {
  return (n + kNR<T> - 1) / kNR<T> * kNR<T> * k;
}

template <class T>
void pack_b(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, int64_t panel_begin, int64_t panel_end,
            T* packed) {
  int64_t p = panel_begin;
  if (b_col == 1) {
    // Several panels at a time, so that each row is read in stretches of 1 KiB rather than of a panel's width.
    constexpr int kTogether = 1024 / (kNR<T> * static_cast<int>(sizeof(T)));
    for (; p + kTogether <= panel_end && (p + kTogether) * kNR<T> <= n; p += kTogether) {
      const T* from = b + p * kNR<T>;
      T* to = packed + p * k * kNR<T>;
      for (int64_t s = 0; s < k; ++s, from += b_row, to += kNR<T>)
        for (int q = 0; q < kTogether; ++q)
          for (int j = 0; j < kNR<T>; j += kLanes<T>) store(to + q * k * kNR<T> + j, load(from + q * kNR<T> + j));
    }
  }
  for (; p < panel_end; ++p) {
    const int64_t j = p * kNR<T>, left = n - j;
    const int width = left < kNR<T> ? static_cast<int>(left) : kNR<T>;
    pack_panel(k, width, b + j * b_col, b_row, b_col, packed + p * k * kNR<T>, kNR<T>);
  }
}

// K in blocks of one size, as near to kKC as that gives; 0 for K = 0.
template <class T>
int64_t k_block(const GemmArgs<T>& g) {
  const int64_t most = g.c_col == 1 ? kKC : kTransposedKC, blocks = (g.k + most - 1) / most;
  return blocks ? (g.k + blocks - 1) / blocks : 0;
}

// Workspace: the block of A, with the spill of its last row; then the cut-off panel of B.
template <class T>
int64_t packed_a_elements(int64_t rows, int64_t k, bool pack_a) {
  return pack_a ? (rows * k + 2 * kLanes<T>) / kLanes<T> * kLanes<T> : 0;
}
template <class T>
int64_t block_workspace_elements(const GemmArgs<T>& g, int64_t rows, bool pack_a) {
  return packed_a_elements<T>(rows, k_block(g), pack_a) + (g.packed_b ? 0 : k_block(g) * kNR<T>);
}

template <class T>
void block(const GemmArgs<T>& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, bool pack_a, T* workspace) {
  constexpr int kN = kNR<T>;
  const int64_t rows = m1 - m0, kb = k_block(g);
  // Rows a multiple of 4 KiB apart lie in one set of the first-level cache, which has 8 or 12 ways: no more of them are
  // read side by side (1024 x 32 x 1024: 14 rows 441 us, 8 rows 323).
  const bool aliased = !pack_a && g.a_row * static_cast<int64_t>(sizeof(T)) % 4096 == 0;
  const int height = panel_height(rows, aliased && kMR > 8 ? 8 : kMR);
  const int wide = rows <= kWideRows && g.c_col == 1 && !pack_a ? kWidePanels[rows] : 0;
  T* const cut_panel = workspace + packed_a_elements<T>(rows, kb, pack_a);

  int64_t k0 = 0;
  do {  // once also with K = 0, where C = epilogue(beta * C)
    const int64_t k = g.k - k0 < kb ? g.k - k0 : kb;
    const bool last = k0 + k == g.k;
    const T* a = g.a + m0 * g.a_row + k0 * g.a_col;
    int64_t a_row = g.a_row;
    if (pack_a) {
      pack_rows(rows, height, k, a, g.a_row, g.a_col, workspace);
      a = workspace;
      a_row = 1;
    }
    const auto out_at = [&](int64_t i, int64_t j, int here, int columns) {
      const T beta = k0 == 0 ? g.beta : T{1};
      T* const c = g.c + (m0 + i) * g.c_row + j * g.c_col;
      TileOut<T> out{c, g.c_row, g.c_col, here, columns, g.alpha, beta, {}};
      if (last) out.epilogue = epilogue_at(g.epilogue, m0 + i, j, g.c_row, g.c_col);
      return out;
    };
    int64_t j = n0;
    for (; wide && j + wide * kN <= n1; j += wide * kN) {
      const T* b = g.packed_b ? g.packed_b + j * g.k + k0 * kN : g.b + k0 * g.b_row + j;
      kWideKernels<T>[rows](k, a, a_row, g.a_col, b, g.packed_b ? kN : g.b_row, g.packed_b ? g.k * kN : kN,
                            out_at(0, j, static_cast<int>(rows), wide * kN));
    }
    for (; j < n1; j += kN) {
      const int columns = n1 - j < kN ? static_cast<int>(n1 - j) : kN;
      const T* b;
      int64_t b_step = kN;
      if (g.packed_b) {
        b = g.packed_b + j * g.k + k0 * kN;
      } else if (columns == kN) {
        b = g.b + k0 * g.b_row + j;
        b_step = g.b_row;
      } else {
        pack_panel(k, columns, g.b + k0 * g.b_row + j * g.b_col, g.b_row, g.b_col, cut_panel, kN);
        b = cut_panel;
      }
      for (int64_t i = 0; i < rows; i += height) {
        const int here = rows - i < height ? static_cast<int>(rows - i) : height;
        const TileOut<T> out = out_at(i, j, here, columns);
        if (pack_a)
          tile<T>(k, a + i * k, 1, here, b, b_step, out);
        else
          tile<T>(k, a + i * a_row, a_row, g.a_col, b, b_step, out);
      }
    }
    k0 += k;
  } while (k0 < g.k);
}

template <class T>
constexpr GemmFunctions<T> functions() {
  return {kMR,      kNR<T>, static_cast<int>(kKC), packed_b_elements<T>, pack_b<T>, block_workspace_elements<T>,
          block<T>, gemv<T>};
}

}  // namespace

extern const GemmKernels gemm_kernels;
const GemmKernels gemm_kernels = {
    functions<float>(),
    functions<double>(),
    &bf16_rounded,
    bf16_pairs,
    {integer_gemm<uint8_t>, integer_gemm<uint16_t>, integer_gemm<uint32_t>, integer_gemm<uint64_t>},
};

}  // namespace lanner::cpu::LANNER_ISA
