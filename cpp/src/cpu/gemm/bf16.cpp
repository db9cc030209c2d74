// float32 products whose operands are rounded to bfloat16 (to the nearest, ties to even) and whose sums are float32.
// Both operands are packed, and rounded on the way. With AVX-512 BF16 two consecutive k are packed beside each other, as
// one 32-bit element, and one instruction multiplies and adds both; elsewhere what is packed is the rounded float32, and
// the tile is that of any other product.
#include "cpu/bf16.h"
#include "cpu/gemm/families.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// A block of K is as many packed elements long as with float32; even.
template <bool kPairs>
int64_t k_block(int64_t k) {
  const int64_t most = kPairs ? 2 * kKC : kKC, blocks = (k + most - 1) / most;
  return blocks ? ((k + blocks - 1) / blocks + 1) / 2 * 2 : 0;
}

template <bool kPairs>
int64_t packed_b_elements(int64_t k, int64_t n) {
  return (n + kNR<float> - 1) / kNR<float> * kNR<float> * packed_steps<kPairs>(k);
}

template <bool kPairs>
void pack_b(int64_t k, int64_t n, const float* b, int64_t b_row, int64_t b_col, int64_t panel_begin, int64_t panel_end,
            float* packed) {
  constexpr int kN = kNR<float>;
  for (int64_t p = panel_begin; p < panel_end; ++p) {
    const int64_t left = n - p * kN;
    pack_rounded<kPairs>(k, left < kN ? static_cast<int>(left) : kN, b + p * kN * b_col, b_row, b_col,
                         packed + p * kN * packed_steps<kPairs>(k), kN);
  }
}

template <bool kPairs>
int64_t block_workspace_elements(const GemmArgs<float>& g, int64_t rows, bool) {
  return rows * packed_steps<kPairs>(k_block<kPairs>(g.k)) + kLanes<float>;
}

template <bool kPairs>
void block(const GemmArgs<float>& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, bool, float* workspace) {
  constexpr int kN = kNR<float>;
  const int64_t rows = m1 - m0, kb = k_block<kPairs>(g.k);
  const int height = panel_height(rows);
  int64_t k0 = 0;
  do {  // once also with K = 0
    const int64_t k = g.k - k0 < kb ? g.k - k0 : kb, packed_k = packed_steps<kPairs>(k);
    for (int64_t i = 0; i < rows; i += height) {
      const int here = rows - i < height ? static_cast<int>(rows - i) : height;
      pack_rounded<kPairs>(k, here, g.a + (m0 + i) * g.a_row + k0 * g.a_col, g.a_col, g.a_row, workspace + i * packed_k,
                           here);
    }
    for (int64_t j = n0; j < n1; j += kN) {
      const float* b = g.packed_b + j * packed_steps<kPairs>(g.k) + packed_steps<kPairs>(k0) * kN;
      for (int64_t i = 0; i < rows; i += height) {
        const int here = rows - i < height ? static_cast<int>(rows - i) : height;
        const int columns = n1 - j < kN ? static_cast<int>(n1 - j) : kN;
        const TileOut<float> out = tile_out(g, m0 + i, j, here, columns, k0, k0 + k);
        tile<float, kPairs>(packed_k, workspace + i * packed_k, 1, here, b, kN, out);
      }
    }
    k0 += k;
  } while (k0 < g.k);
}

template <bool kPairs>
constexpr GemmFunctions<float> functions() {
  return {kMR,
          kNR<float>,
          static_cast<int>(kKC),
          packed_b_elements<kPairs>,
          pack_b<kPairs>,
          block_workspace_elements<kPairs>,
          block<kPairs>,
          nullptr};
}

}  // namespace

const GemmFunctions<float> bf16_rounded = functions<false>();
#if defined(__AVX512F__)
const GemmFunctions<float> bf16_pairs = functions<true>();
#endif

}  // namespace lanner::cpu::LANNER_ISA
