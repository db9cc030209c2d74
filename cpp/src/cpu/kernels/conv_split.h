// Minimal filtering of 3x3 and 4x4 kernels with stride 2. By the parity of their columns and rows such a convolution is
// a sum of four with stride 1 and up to 2x2 taps,
//
//   y[i] = sum over parities q and taps t of w[2 t + q] x[2 (i + t) + q - pad]      along each dimension,
//
// and a tile of M outputs needs M + 1 products where the direct sum has 2 M: with 4x4 outputs 2.56 times fewer for 4x4
// kernels. A second tap of zeros (3x3) has no product at infinity: 81 instead of 144, 1.78 times fewer.
//
//   forward:          Y  = A^T [ (G w G^T) * (B^T x B) ] A      summed over input channels and parities
//   input gradient:   X  = B [ (G w G^T) * (A dy A^T) ] B^T     a full convolution: tiles overlap by one
//   weight gradient:  dw = G^T [ (A dy A^T) * (B^T x B) ] G     summed over tiles
//
// Tiles of 4 are interpolated at 0, +-3/4, infinity and -2, tiles of 3 at the first four of them, with the same G: what
// 4 does not divide (7 = 4 + 3) wastes no products. Points are in that order.
//
// Error: the worst case is 45 times that of the direct sum in the forward pass and the input gradient, 26 in the weight
// gradient; for random values the root mean square is twice as large (conv_test.cpp).
#pragma once

#include "cpu/kernels/conv_lanes.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

constexpr int kSplitPoints = 5;  // along a dimension, of a tile of 4
constexpr int kAtInfinity = 3, kOnlyOf4 = 4;

// The products of the differences between a point and the others, 1 over which interpolation has: in G those of tiles
// of 4, so that B has the rest of those of tiles of 3.
constexpr float kSplitA = 0.75f, kSplitA2 = kSplitA * kSplitA;
constexpr float kSplitNorm[kSplitPoints] = {-1 / (2 * kSplitA2), 1 / (2 * kSplitA2 * (kSplitA + 2)),
                                            1 / (2 * kSplitA2 * (2 - kSplitA)), 1, 1 / (-2 * (4 - kSplitA2))};

// Each applies one matrix to a column of vectors.
template <int M>
struct SplitInput;  // B^T
template <>
struct SplitInput<4> {
  static constexpr int kIn = 5, kOut = 5;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[5], V (&y)[5]) {
    const V d0 = x[1] + 2.0f * x[0], d1 = x[2] + 2.0f * x[1], d2 = x[3] + 2.0f * x[2], d3 = x[4] + 2.0f * x[3];
    y[0] = d2 - kSplitA2 * d0, y[1] = d2 + kSplitA * d1, y[2] = d2 - kSplitA * d1, y[3] = d3 - kSplitA2 * d1;
    y[4] = x[3] - kSplitA2 * x[1];
  }
};
template <>
struct SplitInput<3> {
  static constexpr int kIn = 4, kOut = 4;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[4], V (&y)[4]) {
    const V odd = kSplitA * x[1];
    y[0] = 2.0f * (x[2] - kSplitA2 * x[0]), y[1] = (2 + kSplitA) * (x[2] + odd), y[2] = (2 - kSplitA) * (x[2] - odd);
    y[3] = x[3] - kSplitA2 * x[1];
  }
};

template <int M>
struct SplitInputGrad;  // B
template <>
struct SplitInputGrad<4> {
  static constexpr int kIn = 5, kOut = 5;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[5], V (&y)[5]) {
    const V d0 = -kSplitA2 * x[0], d1 = kSplitA * (x[1] - x[2]) - kSplitA2 * x[3], d2 = x[0] + x[1] + x[2], d3 = x[3];
    y[0] = 2.0f * d0, y[1] = d0 + 2.0f * d1 - kSplitA2 * x[4], y[2] = d1 + 2.0f * d2, y[3] = d2 + 2.0f * d3 + x[4];
    y[4] = d3;
  }
};
template <>
struct SplitInputGrad<3> {
  static constexpr int kIn = 4, kOut = 4;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[4], V (&y)[4]) {
    const V a = 2.0f * x[0], b = (2 + kSplitA) * x[1], c = (2 - kSplitA) * x[2];
    y[0] = -kSplitA2 * a, y[1] = kSplitA * (b - c) - kSplitA2 * x[3], y[2] = a + b + c, y[3] = x[3];
  }
};

template <int M>
struct SplitOutput;  // A^T
template <>
struct SplitOutput<4> {
  static constexpr int kIn = 5, kOut = 4;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[5], V (&y)[4]) {
    const V even = x[1] + x[2], odd = kSplitA * (x[1] - x[2]);
    y[0] = x[0] + even + x[4], y[1] = odd - 2.0f * x[4];
    y[2] = kSplitA2 * even + 4.0f * x[4], y[3] = kSplitA2 * odd + (x[3] - 8.0f * x[4]);
  }
};
template <>
struct SplitOutput<3> {
  static constexpr int kIn = 4, kOut = 3;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[4], V (&y)[3]) {
    const V even = x[1] + x[2];
    y[0] = x[0] + even, y[1] = kSplitA * (x[1] - x[2]), y[2] = kSplitA2 * even + x[3];
  }
};

template <int M>
struct SplitOutputGrad;  // A
template <>
struct SplitOutputGrad<4> {
  static constexpr int kIn = 4, kOut = 5;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[4], V (&y)[5]) {
    const V even = x[0] + kSplitA2 * x[2], odd = kSplitA * (x[1] + kSplitA2 * x[3]);
    y[0] = x[0], y[1] = even + odd, y[2] = even - odd, y[3] = x[3];
    y[4] = (x[0] + 4.0f * x[2]) - 2.0f * (x[1] + 4.0f * x[3]);
  }
};
template <>
struct SplitOutputGrad<3> {
  static constexpr int kIn = 3, kOut = 4;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[3], V (&y)[4]) {
    const V even = x[0] + kSplitA2 * x[2], odd = kSplitA * x[1];
    y[0] = x[0], y[1] = even + odd, y[2] = even - odd, y[3] = x[2];
  }
};

struct SplitWeight {  // G
  static constexpr int kIn = 2, kOut = 5;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[2], V (&y)[5]) {
    const V odd = kSplitA * x[1];
    y[0] = kSplitNorm[0] * x[0], y[1] = kSplitNorm[1] * (x[0] + odd), y[2] = kSplitNorm[2] * (x[0] - odd);
    y[3] = x[1], y[4] = kSplitNorm[4] * (x[0] - 2.0f * x[1]);
  }
};
struct SplitWeightGrad {  // G^T
  static constexpr int kIn = 5, kOut = 2;
  template <class V>
  LANNER_INLINE static void apply(const V (&x)[5], V (&y)[2]) {
    const V a = kSplitNorm[1] * x[1], b = kSplitNorm[2] * x[2], c = kSplitNorm[4] * x[4];
    y[0] = kSplitNorm[0] * x[0] + a + b + c, y[1] = kSplitA * (a - b) + (x[3] - 2.0f * c);
  }
};

// to(i, j) = Rows applied to each column of from(i, j), then Columns to each row.
template <class Vector, class Rows, class Columns, class Load, class Store>
LANNER_INLINE void both_ways(Load from, Store to) {
  Vector half[Rows::kOut][Columns::kIn];
#pragma GCC unroll 5
  for (int j = 0; j < Columns::kIn; ++j) {
    Vector x[Rows::kIn], y[Rows::kOut];
#pragma GCC unroll 5
    for (int i = 0; i < Rows::kIn; ++i) x[i] = from(i, j);
    Rows::apply(x, y);
#pragma GCC unroll 5
    for (int i = 0; i < Rows::kOut; ++i) half[i][j] = y[i];
  }
#pragma GCC unroll 5
  for (int i = 0; i < Rows::kOut; ++i) {
    Vector y[Columns::kOut];
    Columns::apply(half[i], y);
#pragma GCC unroll 5
    for (int j = 0; j < Columns::kOut; ++j) to(i, j, y[j]);
  }
}

template <int M>
struct TileOf {
  static constexpr int kSize = M;
};

// f(TileOf<rows>, TileOf<columns>).
template <class F>
LANNER_INLINE void of_kind(bool rows_of_4, bool columns_of_4, F f) {
  if (rows_of_4)
    columns_of_4 ? f(TileOf<4>{}, TileOf<4>{}) : f(TileOf<4>{}, TileOf<3>{});
  else
    columns_of_4 ? f(TileOf<3>{}, TileOf<4>{}) : f(TileOf<3>{}, TileOf<3>{});
}

// ---- tiles and points ----------------------------------------------------------------------------------------

// How a dimension is cut: first the tiles of 4, then those of 3.
struct Cuts {
  int64_t fours = 0, threes = 0;
  Cuts() = default;
  explicit Cuts(int64_t size) {
    threes = smaller((4 - size % 4) % 4, ceil_div(size, 3));
    fours = ceil_div(larger(0, size - 3 * threes), 4);
  }
  int64_t all() const { return fours + threes; }
  int64_t begin(int64_t tile) const { return 4 * smaller(tile, fours) + 3 * larger(0, tile - fours); }
  int64_t points() const { return 5 * fours + 4 * threes; }
  // Along one dimension, over both parities.
  int64_t products(int64_t kernel) const { return kernel == 4 ? 10 * fours + 8 * threes : 9 * fours + 7 * threes; }
};

struct Range {
  int64_t begin, end;
};

// Rows [top, bottom) of the tiles of `images` images. Tiles are numbered by kind, such that those that have a point are
// next to each other: rows x columns of 4 x 3, 4 x 4, 3 x 4, 3 x 3.
struct TileBlock {
  Cuts rows, columns;
  int64_t images, top, bottom;
  int64_t fours, threes;  // rows of tiles of an image

  TileBlock(const Cuts& rows, const Cuts& columns, int64_t images, int64_t top, int64_t bottom)
      : rows(rows), columns(columns), images(images), top(top), bottom(bottom) {
    fours = larger(0, smaller(bottom, rows.fours) - top);
    threes = bottom - top - fours;
  }
  int64_t tiles() const { return images * (bottom - top) * columns.all(); }
  int64_t index(int64_t image, int64_t row, int64_t column) const {
    const bool column_of_4 = column < columns.fours;
    const int64_t rows_of_4 = images * fours;
    if (row < rows.fours) {
      const int64_t i = image * fours + row - top;
      return column_of_4 ? rows_of_4 * columns.threes + i * columns.fours + column
                         : i * columns.threes + column - columns.fours;
    }
    const int64_t i = image * threes + row - larger(top, rows.fours);
    return rows_of_4 * columns.all() +
           (column_of_4 ? i * columns.fours + column
                        : images * threes * columns.fours + i * columns.threes + column - columns.fours);
  }
  // The tiles that have point (i, j).
  Range with_point(int i, int j) const {
    const int64_t begin = j == kOnlyOf4 ? images * fours * columns.threes : 0;
    if (i == kOnlyOf4) return {begin, images * fours * columns.all()};
    return {begin, j == kOnlyOf4 ? begin + images * (fours + threes) * columns.fours : tiles()};
  }
};

// Parities (row, column) in the order in which they are stored: those that a point needs are next to each other.
constexpr int kParityRow[4] = {0, 0, 1, 1}, kParityColumn[4] = {1, 0, 0, 1};
constexpr Range parities_at(int i, int j, int64_t kernel_rows, int64_t kernel_columns) {
  const bool even_row = i == kAtInfinity && kernel_rows == 3, even_column = j == kAtInfinity && kernel_columns == 3;
  return {even_column ? 1 : 0, even_row ? 2 : even_column ? 3 : 4};
}

struct SplitShape {
  int64_t n, groups, c, m;  // channels of x and of y in a group
  int64_t kernel[2], pad[2];
  Plane x, y;
  Cuts rows, columns;
  int64_t c_vectors, m_vectors;

  explicit SplitShape(const ConvGeometry& g)
      : n(g.n),
        groups(g.groups),
        c(g.c),
        m(g.m),
        x{g.in[1], g.in[2]},
        y{g.out[1], g.out[2]},
        rows(y.height),
        columns(y.width),
        c_vectors(ceil_div(c, kLanes<float>)),
        m_vectors(ceil_div(m, kLanes<float>)) {
    for (int d = 0; d < 2; ++d) kernel[d] = g.kernel[d + 1], pad[d] = g.pad[d + 1];
  }
  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t tiles() const { return rows.all() * columns.all(); }
  // What the tiles cover may be more than y.
  int64_t covered_rows() const { return rows.begin(rows.all()); }
  int64_t covered_columns() const { return columns.begin(columns.all()); }
};

// How long a pass takes, in vector FMAs; `products`: of one point of one tile and one parity. Reading and transforming
// the weights is for those that do.
inline double split_cost(const ConvGeometry& g, double products, bool reads_weights, bool packed) {
  for (int d = 0; d < 3; ++d) {
    const bool serves = d == 0 ? g.kernel[d] == 1 && g.stride[d] == 1 && g.in[d] == 1 && g.out[d] == 1 && g.pad[d] == 0
                               : (g.kernel[d] == 3 || g.kernel[d] == 4) && g.stride[d] == 2 && g.dilation[d] == 1 &&
                                     g.in[d] + g.pad[d] <= 2 * g.out[d] + 3;
    if (!serves) return __builtin_inf();
  }
  if (g.n == 0) return __builtin_inf();
  const SplitShape s(g);
  const double points = static_cast<double>(s.rows.points() * s.columns.points());
  const double vectors = static_cast<double>(4 * s.c_vectors + s.m_vectors);
  const double pairs = static_cast<double>(s.rows.products(s.kernel[0]) * s.columns.products(s.kernel[1]));
  // Measured: so many FMAs pass while a vector is transformed, of an image and of the weights.
  const double images = static_cast<double>(s.n) * (pairs * products / kReached + points * vectors * 16);
  const double weights = 4.0 * kSplitPoints * kSplitPoints * products;
  return static_cast<double>(g.groups) *
         (images + (packed ? 0 : weights * 24) + (reads_weights ? read_cost(weights * kVectorBytes) : 0));
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
