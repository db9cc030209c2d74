// Reductions of a tile that lies in the first-level cache into sums that are kept in float64 from tile to tile.
#pragma once

#include <stdint.h>

namespace lanner::cpu {

enum class TileReduction : uint8_t { Sum, SumSquares, Max, Min };
constexpr int kTileReductions = 4;

// x is [rows, columns] of float32 or float64, its rows `row` elements apart. NaN wins over all else.
struct TileReduceKernels {
  using Fn = void (*)(const void* x, int64_t rows, int64_t columns, int64_t row, double* kept, int64_t step);
  // kept[r * step] is combined with the reduction of row r; step 0: all into one.
  Fn rows[2][kTileReductions];
  // kept[c] is combined with the reduction of column c; step is not used.
  Fn columns[2][kTileReductions];
};

struct FusedKernels {
  TileReduceKernels reduce;  // [0]: float32, [1]: float64
};

}  // namespace lanner::cpu
