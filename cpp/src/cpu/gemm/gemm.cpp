#include "cpu/kernels/gemm.h"

#include "cpu/gemm/families.h"
#include "cpu/gemm/pack.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// Panels of B that a block packs together: 4 x 64 KiB of the second-level cache, and long enough stretches of each row.
constexpr int kGroup = 4;
// A that lies by columns, these bytes apart or more, as in a weight gradient: each k of a tile's rows is a line in another
// page. Such a tile meets a group of panels also where B is not packed (1024 x 128 x 2048: 64 to 74 % of the peak).
constexpr int64_t kFarBytes = 1024;

template <class T>
int64_t packed_b_elements(int64_t k, int64_t n) {
  return (n + kNR<T> - 1) / kNR<T> * kNR<T> * k;
}

template <class T>
void pack_b(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, int64_t panel_begin, int64_t panel_end,
            T* packed) {
  int64_t p = panel_begin;
  if (b_col == 1) {
    // Several panels at a time, so that each row is read in longer stretches than a panel's width (512 x 1024 from the
    // third-level cache, rows 4 KiB apart: 9 to 4.5 cycles a vector).
    constexpr int kTogether = kGroup;
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

// K in blocks of one size, as near to the longest as that gives; 0 for K = 0.
template <class T>
int64_t k_block(const GemmArgs<T>& g) {
  const int64_t most = g.c_col == 1 ? kKC : kTransposedKC, blocks = (g.k + most - 1) / most;
  return blocks ? (g.k + blocks - 1) / blocks : 0;
}

// Workspace: a group of panels of B, or the cut-off one.
template <class T>
int64_t block_workspace_elements(const GemmArgs<T>& g, int64_t, bool pack_b) {
  return g.packed_b ? 0 : (pack_b ? kGroup : 1) * k_block(g) * kNR<T>;
}

template <class T>
void block(const GemmArgs<T>& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, bool packs_b, T* workspace) {
  constexpr int kN = kNR<T>;
  const int64_t rows = m1 - m0, kb = k_block(g);
  // Rows a multiple of 4 KiB apart lie in one set of the first-level cache, which has 8 or 12 ways: no more of them are
  // read side by side (1024 x 32 x 1024: 14 rows 441 us, 8 rows 323; 512 x 784 x 1024: 10 rows 2 % better than 8).
  const bool aliased = g.a_row * static_cast<int64_t>(sizeof(T)) % 4096 == 0;
  const int height = panel_height(rows, aliased && kMR > 10 ? 10 : kMR);
  const bool far = g.a_row == 1 && g.a_col * static_cast<int64_t>(sizeof(T)) >= kFarBytes;
  const int wide = rows <= kWideRows && g.c_col == 1 && !packs_b ? kWidePanels[rows] : 0;

  int64_t k0 = 0;
  do {  // once also with K = 0, where C = epilogue(beta * C)
    const int64_t k = g.k - k0 < kb ? g.k - k0 : kb;
    const T* const a = g.a + m0 * g.a_row + k0 * g.a_col;
    const auto out_at = [&](int64_t i, int64_t j, int here, int columns) {
      return tile_out(g, m0 + i, j, here, columns, k0, k0 + k);
    };
    int64_t j = n0;
    for (; wide && j + wide * kN <= n1; j += wide * kN) {
      const T* b = g.packed_b ? g.packed_b + j * g.k + k0 * kN : g.b + k0 * g.b_row + j;
      kWideKernels<T>[rows](k, a, g.a_row, g.a_col, b, g.packed_b ? kN : g.b_row, g.packed_b ? g.k * kN : kN,
                            out_at(0, j, static_cast<int>(rows), wide * kN));
    }
    // A group of panels, each of which every tile's rows meet. A group is one panel unless B is packed here, or A is far.
    for (int64_t group; j < n1; j += group) {
      group = n1 - j < kN ? n1 - j : kN;
      const T* b;
      int64_t b_step = kN, b_panel = k * kN;
      if (g.packed_b) {
        b = g.packed_b + j * g.k + k0 * kN;
      } else if (packs_b) {
        group = n1 - j < kGroup * kN ? n1 - j : kGroup * kN;
        pack_b(k, group, g.b + k0 * g.b_row + j * g.b_col, g.b_row, g.b_col, 0, (group + kN - 1) / kN, workspace);
        b = workspace;
      } else if (group == kN) {
        if (far) group = n1 - j < kGroup * kN ? (n1 - j) / kN * kN : kGroup * kN;
        b = g.b + k0 * g.b_row + j;
        b_step = g.b_row, b_panel = kN;
      } else {
        pack_panel(k, static_cast<int>(group), g.b + k0 * g.b_row + j * g.b_col, g.b_row, g.b_col, workspace, kN);
        b = workspace;
      }
      for (int64_t i = 0; i < rows; i += height) {
        const int here = rows - i < height ? static_cast<int>(rows - i) : height;
        for (int64_t q = 0; q < group; q += kN) {
          const int columns = group - q < kN ? static_cast<int>(group - q) : kN;
          const TileOut<T> out = out_at(i, j + q, here, columns);
          tile<T>(k, a + i * g.a_row, g.a_row, g.a_col, b + q / kN * b_panel, b_step, out);
        }
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
    functions<float>(), functions<double>(),
    &bf16_rounded,
#if defined(__AVX512F__)
    &bf16_pairs,        &bf16_amx,
#else
    nullptr,
    nullptr,
#endif
    &bf16_amx_plain,    {integer_gemm<uint8_t>, integer_gemm<uint16_t>, integer_gemm<uint32_t>, integer_gemm<uint64_t>},
};

}  // namespace lanner::cpu::LANNER_ISA
