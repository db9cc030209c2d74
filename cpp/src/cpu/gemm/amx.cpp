// Matrix products of bfloat16 on AMX (amx_product.h).
#include "cpu/gemm/amx_product.h"
#include "cpu/gemm/families.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

constexpr int64_t kTileK = 2 * kTilePairs, kBlockK = 2 * kKC;  // a block of K is as many bytes as with float32

int64_t packed_b_elements(int64_t k, int64_t n) {
  return (n + kAmxColumns - 1) / kAmxColumns * kAmxColumns * amx_steps(k);
}

void pack_b(int64_t k, int64_t n, const float* b, int64_t b_row, int64_t b_col, int64_t panel_begin, int64_t panel_end,
            float* packed) {
  for (int64_t p = panel_begin; p < panel_end; ++p) {
    const int64_t left = n - p * kAmxColumns;
    float* const to = packed + p * kAmxColumns * amx_steps(k);
    pack_rounded<true, kAmxColumns>(k, left < kAmxColumns ? static_cast<int>(left) : kAmxColumns,
                                    b + p * kAmxColumns * b_col, b_row, b_col, to, kAmxColumns);
    for (int64_t i = packed_steps<true>(k) * kAmxColumns; i < amx_steps(k) * kAmxColumns; ++i) to[i] = 0;
  }
}

void pack_a(int64_t rows, int64_t k, const float* a, int64_t a_row, int64_t a_col, float* to) {
  for (int64_t i = 0; i < rows; i += kTileRows) {
    const int here = rows - i < kTileRows ? static_cast<int>(rows - i) : kTileRows;
    for (int64_t s = 0; s < k; s += kTileK, to += kTileRows * kTilePairs) {
      alignas(64) float across[kTilePairs * kTileRows + kLanes<float>] = {};
      pack_rounded<true, kTileRows>(k - s < kTileK ? k - s : kTileK, here, a + i * a_row + s * a_col, a_col, a_row,
                                    across, kTileRows);
      turn_tile(across, kTileRows, to);
    }
  }
}

int64_t block_workspace_elements(const GemmArgs<float>& g, int64_t rows, bool) {
  return (rows + kTileRows - 1) / kTileRows * kTileRows * amx_steps(g.k < kBlockK ? g.k : kBlockK);
}

template <class Tiles>
void block(const GemmArgs<float>& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, bool, float* workspace) {
  const int64_t rows = m1 - m0;
  Tiles t;
  t.configure();
  int64_t k0 = 0;
  do {  // once also with K = 0
    const int64_t k = g.k - k0 < kBlockK ? g.k - k0 : kBlockK;
    pack_a(rows, k, g.a + m0 * g.a_row + k0 * g.a_col, g.a_row, g.a_col, workspace);
    for (int64_t j = n0; j < n1; j += kAmxColumns) {
      const float* b = g.packed_b + j * amx_steps(g.k) + k0 / 2 * kAmxColumns;
      for (int64_t i = 0; i < rows; i += kAmxRows) {
        const int here = rows - i < kAmxRows ? static_cast<int>(rows - i) : kAmxRows;
        const int columns = n1 - j < kAmxColumns ? static_cast<int>(n1 - j) : kAmxColumns;
        const TileOut<float> out = tile_out(g, m0 + i, j, here, columns, k0, k0 + k);
        amx_product(t, amx_steps(k), workspace + i * amx_steps(k), b, out);
      }
    }
    k0 += k;
  } while (k0 < g.k);
  t.release();
}

template <class Tiles>
constexpr GemmFunctions<float> kFunctions = {kAmxRows,          kAmxColumns, static_cast<int>(kBlockK),
                                             packed_b_elements, pack_b,      block_workspace_elements,
                                             block<Tiles>,      nullptr};

}  // namespace

const GemmFunctions<float> bf16_amx_plain = kFunctions<PlainTiles>;
#if defined(__AVX512F__)
const GemmFunctions<float> bf16_amx = kFunctions<HardwareTiles>;
#endif

}  // namespace lanner::cpu::LANNER_ISA
