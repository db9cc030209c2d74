// Products of 32 x 32 sums on AMX: 2 x 2 tiles of sums, two of A and two of B. B is panels of 32 columns of pairs, as for
// AVX-512 BF16, but K goes on with zeros to whole tiles; A is packed tile by tile.
#pragma once

#include "cpu/bf16.h"
#include "cpu/gemm/amx_tiles.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

constexpr int kAmxRows = 2 * kTileRows, kAmxColumns = 2 * kTileColumns;

// How many pairs K is, up to whole tiles.
constexpr int64_t amx_steps(int64_t k) { return (k + 2 * kTilePairs - 1) / (2 * kTilePairs) * kTilePairs; }

// A tile of A from its transpose, [pair of k, row] with rows `step` apart.
inline void turn_tile(const float* across, int step, float* to) {
  constexpr int L = kLanes<float>;
  for (int i = 0; i < kTileRows; i += L)
    for (int s = 0; s < kTilePairs; s += L) {
      V<float> square[L];
      for (int q = 0; q < L; ++q) square[q] = load(across + (s + q) * step + i);
      transpose<float>(square);
      for (int q = 0; q < L; ++q) store(to + (i + q) * kTilePairs + s, square[q]);
    }
}

// sums [kAmxRows, kAmxColumns] = A B, the second rows and columns of tiles only where they are wanted. A's second row of
// tiles lies steps * kTileRows after the first.
template <bool kTwoRows, bool kTwoColumns, class Tiles>
void multiply_tiles(Tiles& t, int64_t steps, const float* a, const float* b, float* sums) {
  t.template zero<0>();
  if constexpr (kTwoColumns) t.template zero<1>();
  if constexpr (kTwoRows) t.template zero<2>();
  if constexpr (kTwoRows && kTwoColumns) t.template zero<3>();
  const float* const lower = a + steps * kTileRows;
  constexpr int64_t kRowBytes = 4 * kAmxColumns;
  for (int64_t s = 0; s < steps; s += kTilePairs) {
    t.template load<4>(a + s * kTileRows, 4 * kTilePairs);
    t.template load<6>(b + s * kAmxColumns, kRowBytes);
    t.template dot<0, 4, 6>();
    if constexpr (kTwoColumns) {
      t.template load<7>(b + s * kAmxColumns + kTileColumns, kRowBytes);
      t.template dot<1, 4, 7>();
    }
    if constexpr (kTwoRows) {
      t.template load<5>(lower + s * kTileRows, 4 * kTilePairs);
      t.template dot<2, 5, 6>();
      if constexpr (kTwoColumns) t.template dot<3, 5, 7>();
    }
  }
  t.template store<0>(sums, kRowBytes);
  if constexpr (kTwoColumns) t.template store<1>(sums + kTileColumns, kRowBytes);
  if constexpr (kTwoRows) t.template store<2>(sums + kTileRows * kAmxColumns, kRowBytes);
  if constexpr (kTwoRows && kTwoColumns) t.template store<3>(sums + kTileRows * kAmxColumns + kTileColumns, kRowBytes);
}

// C = epilogue(alpha A B + beta C), of up to kAmxRows rows and kAmxColumns columns.
template <class Tiles>
void amx_product(Tiles& t, int64_t steps, const float* a, const float* b, const TileOut<float>& out) {
  constexpr int L = kLanes<float>;
  alignas(64) float sums[kAmxRows * kAmxColumns];
  const bool tall = out.rows > kTileRows, wide = out.columns > kTileColumns;
  const auto multiply = tall ? (wide ? multiply_tiles<true, true, Tiles> : multiply_tiles<true, false, Tiles>)
                             : (wide ? multiply_tiles<false, true, Tiles> : multiply_tiles<false, false, Tiles>);
  multiply(t, steps, a, b, sums);
  if (out.alpha != 1)
    for (int i = 0; i < out.rows * kAmxColumns; i += L) store(sums + i, load(sums + i) * out.alpha);
  if (out.c_col == 1) return finish_rows<float, kAmxColumns>(sums, out);
  for (int i = 0; i < out.rows; ++i)
    for (int j = 0; j < out.columns; ++j) {
      const int64_t at = i * out.c_row + j * out.c_col;
      float x = sums[i * kAmxColumns + j];
      if (out.beta != 0) x += out.beta * out.c[at];
      out.c[at] = finish_element(x, out.epilogue, i, j, at);
    }
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
