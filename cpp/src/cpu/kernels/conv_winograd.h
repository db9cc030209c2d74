// Winograd's minimal filtering of 3x3 kernels with stride 1: a tile of M x M outputs is a bilinear form in its
// (M+2) x (M+2) inputs and the 9 weights that needs (M+2)^2 products where the direct sum has 9 M^2: 2.25 times fewer
// with M = 2, 4 times with M = 4.
//
//   forward:          Y  = A^T [ (G w G^T) * (B^T x B) ] A      summed over input channels between the brackets
//   weight gradient:  dw = G^T [ (A dy A^T) * (B^T x B) ] G     summed over tiles
//
// The products are GEMMs, one for each of the (M+2)^2 points; the transforms have vectors of channels. F(4x4, 3x3) is
// interpolated at 0, +-sqrt(1/2), +-sqrt(2) and infinity: with the usual 0, +-1, +-2 the error is 2.5 times as large.
//
// Error: an output is off by at most u * (c + 16) * growth * 9 max|w| max|x|, u being the rounding unit. `growth`, the largest row of |A^T| (|G| 1 * |B^T| 1) squared, over 9, is
// 7.2 with M = 2 and 69 with M = 4; that of the weight gradient, over M^2, is 9 and 59. That is the worst case; for
// random values the root mean square is below 2 and 3 times that of the direct sum (tests/cpp/conv_winograd_test.cpp).
// A NaN or an infinity in x spreads over the tiles that read it.
#pragma once

#include "cpu/kernels/conv_lanes.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

template <int M>
struct Minimal;

// Each function applies one matrix to a column of vectors.
template <>
struct Minimal<2> {
  template <class V>
  LANNER_INLINE static void input(const V (&x)[4], V (&y)[4]) {  // B^T
    y[0] = x[0] - x[2], y[1] = x[1] + x[2], y[2] = x[2] - x[1], y[3] = x[3] - x[1];
  }
  template <class V>
  LANNER_INLINE static void output(const V (&x)[4], V (&y)[2]) {  // A^T
    y[0] = x[0] + x[1] + x[2], y[1] = x[1] - x[2] + x[3];
  }
  template <class V>
  LANNER_INLINE static void weight(const V (&x)[3], V (&y)[4]) {  // G
    const V even = (x[0] + x[2]) * 0.5f, odd = x[1] * 0.5f;
    y[0] = x[0], y[1] = even + odd, y[2] = even - odd, y[3] = x[2];
  }
  template <class V>
  LANNER_INLINE static void output_grad(const V (&x)[2], V (&y)[4]) {  // A
    y[0] = x[0], y[1] = x[0] + x[1], y[2] = x[0] - x[1], y[3] = x[1];
  }
  template <class V>
  LANNER_INLINE static void weight_grad(const V (&x)[4], V (&y)[3]) {  // G^T
    const V even = (x[1] + x[2]) * 0.5f;
    y[0] = x[0] + even, y[1] = (x[1] - x[2]) * 0.5f, y[2] = even + x[3];
  }
};

template <>
struct Minimal<4> {
  static constexpr float a = 0.70710678118654752440f, b = 1.41421356237309504880f;
  template <class V>
  LANNER_INLINE static void input(const V (&x)[6], V (&y)[6]) {
    const V even_a = x[4] - 2.0f * x[2], odd_a = x[3] - 2.0f * x[1];
    const V even_b = x[4] - 0.5f * x[2], odd_b = x[3] - 0.5f * x[1];
    y[0] = x[0] + x[4] - 2.5f * x[2];
    y[1] = even_a + a * odd_a, y[2] = even_a - a * odd_a;
    y[3] = even_b + b * odd_b, y[4] = even_b - b * odd_b;
    y[5] = x[1] + x[5] - 2.5f * x[3];
  }
  template <class V>
  LANNER_INLINE static void output(const V (&x)[6], V (&y)[4]) {
    const V even_a = x[1] + x[2], odd_a = (x[1] - x[2]) * a, even_b = x[3] + x[4], odd_b = (x[3] - x[4]) * b;
    y[0] = x[0] + even_a + even_b, y[1] = odd_a + odd_b;
    y[2] = even_a * 0.5f + even_b * 2.0f, y[3] = odd_a * 0.5f + odd_b * 2.0f + x[5];
  }
  template <class V>
  LANNER_INLINE static void weight(const V (&x)[3], V (&y)[6]) {
    const V even_a = x[0] * (-2.0f / 3) - x[2] * (1.0f / 3), odd_a = x[1] * (-2.0f / 3 * a);
    const V even_b = x[0] * (1.0f / 6) + x[2] * (1.0f / 3), odd_b = x[1] * (1.0f / 6 * b);
    y[0] = x[0], y[1] = even_a + odd_a, y[2] = even_a - odd_a, y[3] = even_b + odd_b, y[4] = even_b - odd_b;
    y[5] = x[2];
  }
  template <class V>
  LANNER_INLINE static void output_grad(const V (&x)[4], V (&y)[6]) {
    const V even_a = x[0] + 0.5f * x[2], odd_a = (x[1] + 0.5f * x[3]) * a;
    const V even_b = x[0] + 2.0f * x[2], odd_b = (x[1] + 2.0f * x[3]) * b;
    y[0] = x[0], y[1] = even_a + odd_a, y[2] = even_a - odd_a, y[3] = even_b + odd_b, y[4] = even_b - odd_b;
    y[5] = x[3];
  }
  template <class V>
  LANNER_INLINE static void weight_grad(const V (&x)[6], V (&y)[3]) {
    const V even_a = (x[1] + x[2]) * (1.0f / 3), even_b = x[3] + x[4];
    y[0] = x[0] - 2.0f * even_a + even_b * (1.0f / 6);
    y[1] = (x[1] - x[2]) * (-2.0f / 3 * a) + (x[3] - x[4]) * (1.0f / 6 * b);
    y[2] = even_b * (1.0f / 3) - even_a + x[5];
  }
};

// to[i][j] = (matrix x matrix^T)[i][j], x[i][j] = load(i, j), each a vector.
#define LANNER_BOTH_WAYS(name, kIn, kOut)                                         \
  template <int M, class Vector, class Load, class Store>                         \
  LANNER_INLINE void name##_2d(Load load, Store store) {                          \
    Vector half[kOut][kIn];                                                       \
    _Pragma("GCC unroll 6") for (int j = 0; j < (kIn); ++j) {                     \
      Vector x[kIn], y[kOut];                                                     \
      _Pragma("GCC unroll 6") for (int i = 0; i < (kIn); ++i) x[i] = load(i, j);  \
      Minimal<M>::name(x, y);                                                     \
      _Pragma("GCC unroll 6") for (int i = 0; i < (kOut); ++i) half[i][j] = y[i]; \
    }                                                                             \
    _Pragma("GCC unroll 6") for (int i = 0; i < (kOut); ++i) {                    \
      Vector y[kOut];                                                             \
      Minimal<M>::name(half[i], y);                                               \
      _Pragma("GCC unroll 6") for (int j = 0; j < (kOut); ++j) store(i, j, y[j]); \
    }                                                                             \
  }
LANNER_BOTH_WAYS(input, M + 2, M + 2)
LANNER_BOTH_WAYS(output, M + 2, M)
LANNER_BOTH_WAYS(weight, 3, M + 2)
LANNER_BOTH_WAYS(output_grad, M, M + 2)
LANNER_BOTH_WAYS(weight_grad, M + 2, 3)
#undef LANNER_BOTH_WAYS

// ---- tiles --------------------------------------------------------------------------------------------------

// Rows [top, bottom) of tiles of one image, of columns [left, right).
struct Part {
  int64_t image, top, bottom, left, right;
  int64_t tiles() const { return (bottom - top) * (right - left); }
};

// A strip is a row of tiles of one image, of all of them or, where images are very wide, `columns` of them. A block is
// `strips` strips.
struct Tiling {
  int64_t n, down, across, columns, strips;
  int64_t segments() const { return ceil_div(across, columns); }
  int64_t all_strips() const { return n * segments() * down; }
  int64_t blocks() const { return ceil_div(all_strips(), strips); }
  int64_t most() const { return smaller(strips, all_strips()) * columns; }  // tiles of a block
  // The part that begins with `strip` and ends before `end`, at the end of its image or segment at the latest.
  Part part(int64_t strip, int64_t end) const {
    const int64_t row = strip % down, segment = strip / down % segments();
    return {strip / down / segments(), row, smaller(down, row + end - strip), segment * columns,
            smaller(across, (segment + 1) * columns)};
  }
};

inline Tiling tiling_of(int64_t n, int64_t height, int64_t width, int m, int64_t most_tiles) {
  Tiling t{n, ceil_div(height, m), ceil_div(width, m), 0, 0};
  t.columns = larger(1, ceil_div(t.across, ceil_div(t.across, most_tiles)));
  t.strips = larger(1, smaller(most_tiles / t.columns, t.all_strips()));
  t.strips = larger(1, ceil_div(t.all_strips(), larger(1, t.blocks())));  // blocks of one size
  return t;
}

template <int M>
double winograd_cost(const ConvGeometry& g, ConvPass pass, bool packed) {
  constexpr int L = kLanes<float>;
  constexpr double kPoints = (M + 2) * (M + 2);
  const bool input_grad = pass == ConvPass::InputGrad;
  const int64_t(&dst)[3] = input_grad ? g.in : g.out;
  for (int d = 0; d < 3; ++d) {
    const bool serves = g.kernel[d] == (d == 0 ? 1 : 3) && g.stride[d] == 1 && g.dilation[d] == 1;
    if (!serves || (d == 0 && (dst[0] != 1 || g.pad[0] != 0))) return __builtin_inf();
  }
  if (g.n == 0) return __builtin_inf();
  const double c = static_cast<double>(input_grad ? g.m : g.c), k = static_cast<double>(input_grad ? g.c : g.m);
  const double c_vectors = static_cast<double>(ceil_div(input_grad ? g.m : g.c, L));
  const double k_vectors = static_cast<double>(ceil_div(input_grad ? g.c : g.m, L));
  const double tiles = static_cast<double>(g.n * ceil_div(dst[1], M) * ceil_div(dst[2], M));
  const double products = tiles * kPoints * c * k_vectors / kReached;
  // Measured: so many FMAs pass while a vector of V or of the products is transformed, between a transposition and 36
  // streams; and one of the weights, which come from memory and go there.
  const double transforms = tiles * kPoints * (c_vectors + k_vectors) * 18;
  const double weights = packed ? 0 : c * k_vectors * kPoints * 32;
  const double bytes = read_cost(kPoints * c * k * static_cast<double>(sizeof(float)));
  return static_cast<double>(g.groups) * ((products > bytes ? products : bytes) + transforms + weights);
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
