// The micro-kernels of convolution: a tile of accumulators in registers while k runs over a table of offsets. They are
// GEMM tiles whose one operand is not a matrix: element k of row i lies at row[i] + offset[k], which is what an input
// patch is, and costs no copy of it.
//
//   channels_tile: vectors of channels. Forward: rows are output positions, k runs over (channel, tap), the panel is
//   the
//     packed weight. Weight gradient: rows are (channel, tap), k runs over positions, the panel is the gradient,
//     transposed. Any stride and width; the lanes are full where there are many channels.
//   width_tile: vectors of output positions next to each other, for few channels.
//   dot_tile: both operands are vectors along positions, summed across lanes at the end: the weight gradient of few
//   channels.
//
// kPairs: both operands are pairs of bfloat16 (cpu/bf16.h).
#pragma once

#include "cpu/gemm/micro.h"
#include "cpu/kernels/conv_epilogue.h"
#include "cpu/transpose.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// out[i, :] = init[i, :] + sum_k row[i][offset[k]] * panel[k, :], for kRows rows and kVectors vectors of columns.
template <class T, int kRows, int kVectors, bool kPairs>
void channels_tile(int64_t k, const T* const* row, const int32_t* offset, const T* panel, const T* init,
                   int64_t init_step, T* out, int64_t out_step) {
  constexpr int L = kLanes<T>;
  V<T> acc[kRows][kVectors];
  const T* r[kRows];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    r[i] = row[i];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) acc[i][j] = load(init + i * init_step + j * L);
  }
  for (int64_t s = 0; s < k; ++s) {
    V<T> b[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) b[j] = load(panel + j * L);
    const int64_t o = offset[s];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const V<T> a = splat(r[i][o]);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) acc[i][j] = multiply_add<kPairs>(a, b[j], acc[i][j]);
    }
    panel += kVectors * L;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) store(out + i * out_step + j * L, acc[i][j]);
}

// The same for one vector of channels and positions next to each other in src, `columns` of each of kRows rows (kRows
// pointers instead of one for each position, which would not fit the registers).
template <class T, int kColumns, int kRows, bool kPairs>
void rows_tile(int64_t k, const T* const* row, const int32_t* offset, const T* panel, const T* init, T* out,
               int64_t out_row) {
  constexpr int L = kLanes<T>;
  V<T> acc[kRows][kColumns];
  const T* r[kRows];
#pragma GCC unroll 2
  for (int y = 0; y < kRows; ++y) {
    r[y] = row[y];
#pragma GCC unroll 16
    for (int x = 0; x < kColumns; ++x) acc[y][x] = load(init);
  }
  for (int64_t s = 0; s < k; ++s, panel += L) {
    const V<T> b = load(panel);
    const int64_t o = offset[s];
#pragma GCC unroll 2
    for (int y = 0; y < kRows; ++y)
#pragma GCC unroll 16
      for (int x = 0; x < kColumns; ++x) acc[y][x] = multiply_add<kPairs>(splat(r[y][o + x]), b, acc[y][x]);
  }
#pragma GCC unroll 2
  for (int y = 0; y < kRows; ++y)
#pragma GCC unroll 16
    for (int x = 0; x < kColumns; ++x) store(out + y * out_row + x * L, acc[y][x]);
}

template <class T>
using RowsTile = void (*)(int64_t, const T* const*, const int32_t*, const T*, const T*, T*, int64_t);

template <class T>
struct RowsTiles {
  RowsTile<T> of[15][3];  // by the number of columns and of rows
};
template <class T, bool kPairs>
constexpr RowsTiles<T> make_rows_tiles() {
  RowsTiles<T> t{};
#define LANNER_COLUMNS(c)                    \
  if constexpr (c <= kMR) {                  \
    t.of[c][1] = rows_tile<T, c, 1, kPairs>; \
    t.of[c][2] = rows_tile<T, c, 2, kPairs>; \
  }
  // clang-format off
  LANNER_COLUMNS(1) LANNER_COLUMNS(2) LANNER_COLUMNS(3) LANNER_COLUMNS(4) LANNER_COLUMNS(5) LANNER_COLUMNS(6)
  LANNER_COLUMNS(7) LANNER_COLUMNS(8) LANNER_COLUMNS(9) LANNER_COLUMNS(10) LANNER_COLUMNS(11) LANNER_COLUMNS(12)
  LANNER_COLUMNS(13) LANNER_COLUMNS(14)
  // clang-format on
#undef LANNER_COLUMNS
              return t;
}
template <class T, bool kPairs = false>
constexpr RowsTiles<T> kRowsTiles = make_rows_tiles<T, kPairs>();

template <class T>
using ChannelsTile = void (*)(int64_t, const T* const*, const int32_t*, const T*, const T*, int64_t, T*, int64_t);

template <class T>
struct ChannelsTiles {
  ChannelsTile<T> of[15][kTileVectors + 1];  // by the number of rows and of vectors
};
template <class T, bool kPairs>
constexpr ChannelsTiles<T> make_channels_tiles() {
  ChannelsTiles<T> t{};
#define LANNER_ROWS(r)                           \
  if constexpr (r <= kMR) {                      \
    t.of[r][1] = channels_tile<T, r, 1, kPairs>; \
    t.of[r][2] = channels_tile<T, r, 2, kPairs>; \
  }
  // clang-format off
  LANNER_ROWS(1) LANNER_ROWS(2) LANNER_ROWS(3) LANNER_ROWS(4) LANNER_ROWS(5) LANNER_ROWS(6) LANNER_ROWS(7)
  LANNER_ROWS(8) LANNER_ROWS(9) LANNER_ROWS(10) LANNER_ROWS(11) LANNER_ROWS(12) LANNER_ROWS(13) LANNER_ROWS(14)
  // clang-format on
#undef LANNER_ROWS
          return t;
}
template <class T, bool kPairs = false>
constexpr ChannelsTiles<T> kChannelsTiles = make_channels_tiles<T, kPairs>();

// How many vectors of positions go with `rows` channels: as many as the registers hold beside them, so that even one
// channel (depthwise) has independent sums in flight.
constexpr int kAccumulators = kMR * kTileVectors;
constexpr int width_vectors(int rows) {
  const int fit = kAccumulators / rows;
  return fit > 8 ? 8 : fit < 2 ? 2 : fit > 4 && rows > 3 ? fit - 1 : fit;
}

// acc[i][j] = bias[i] + sum_k panel[k, i] * (vector at at[j] + offset[k]).
template <class T>
struct WidthOut {
  T* dst;  // of the tile's first channel
  int64_t channel_step;
  int64_t column_step;      // 1 is the fast case
  const int32_t* position;  // of vector j, from dst
  const int32_t* lanes;     // how many of vector j are stored
  int vectors;              // how many of the tile's vectors are stored
  const T* bias;
  const Finish<T>& finish;
};

template <class T, int kRows, bool kPairs>
void width_tile(int64_t k, const T* const* at, const int32_t* offset, const T* panel, const WidthOut<T>& out) {
  constexpr int L = kLanes<T>, N = width_vectors(kRows);
  V<T> acc[kRows][N];
  const T* b[N];
#pragma GCC unroll 8
  for (int j = 0; j < N; ++j) b[j] = at[j];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    const V<T> start = out.bias ? splat(out.bias[i]) : V<T>{};
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) acc[i][j] = start;
  }
  for (int64_t s = 0; s < k; ++s) {
    const int64_t o = offset[s];
    V<T> x[N];
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) x[j] = load(b[j] + o);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const V<T> a = splat(panel[i]);
#pragma GCC unroll 8
      for (int j = 0; j < N; ++j) acc[i][j] = multiply_add<kPairs>(a, x[j], acc[i][j]);
    }
    panel += kRows;
  }
  const Finish<T>& finish = out.finish;
  if (finish.any && out.column_step == 1)
    finish.tile(
        acc, [&](int i, int j, auto apply) __attribute__((always_inline)) {
          if (j < out.vectors)
            apply(out.dst + out.position[j] + i * out.channel_step, static_cast<size_t>(out.lanes[j]));
        });
#pragma GCC unroll 8
  for (int j = 0; j < N; ++j) {
    if (j >= out.vectors) continue;
    T* to = out.dst + out.position[j];
    const int lanes = out.lanes[j];
    if (out.column_step == 1 && lanes == L) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) store(to + i * out.channel_step, acc[i][j]);
    } else if (kVectorBytes == 64 && out.column_step == 1) {  // elsewhere a masked store is no faster than the loop
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) store_n(to + i * out.channel_step, acc[i][j], static_cast<size_t>(lanes));
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        T lane[L];
        store(lane, acc[i][j]);
        for (int l = 0; l < lanes; ++l) {
          T* at = to + i * out.channel_step + l * out.column_step;
          *at = finish.any && out.column_step != 1 ? finish.scalar(lane[l], at) : lane[l];
        }
      }
    }
  }
}

template <class T>
using WidthTile = void (*)(int64_t, const T* const*, const int32_t*, const T*, const WidthOut<T>&);
template <class T>
struct WidthTiles {
  WidthTile<T> of[15];  // by the number of channels
};
template <class T, bool kPairs>
constexpr WidthTiles<T> make_width_tiles() {
  WidthTiles<T> t{};
#define LANNER_ROWS(r) \
  if constexpr (r <= kMR) t.of[r] = width_tile<T, r, kPairs>;
  // clang-format off
  LANNER_ROWS(1) LANNER_ROWS(2) LANNER_ROWS(3) LANNER_ROWS(4) LANNER_ROWS(5) LANNER_ROWS(6) LANNER_ROWS(7)
  LANNER_ROWS(8) LANNER_ROWS(9) LANNER_ROWS(10) LANNER_ROWS(11) LANNER_ROWS(12) LANNER_ROWS(13) LANNER_ROWS(14)
  // clang-format on
#undef LANNER_ROWS
          return t;
}
template <class T, bool kPairs = false>
constexpr WidthTiles<T> kWidthTiles = make_width_tiles<T, kPairs>();

// The dot tile: kRows channels of the gradient by dot_columns(kRows) taps of the input. AVX-512: up to 6 x 4 = 24
// accumulators; AVX2 and SSE2: 3 x 3 of 16 registers.
constexpr int kDotRows = kAccumulators >= 24 ? 6 : 3;
constexpr int dot_columns(int rows) {
  if (kAccumulators < 24) return rows == 1 ? 8 : rows == 2 ? 4 : 3;
  return rows == 1 ? 12 : rows == 2 ? 10 : rows == 3 ? 8 : rows == 4 ? 6 : rows == 5 ? 5 : 4;
}
constexpr int kDotColumns = 12;

// out[i * out_row + j] += sum over the vectors v, and their lanes, of g[i][v * L + lane] * column[j][offset[v] + lane],
// for j < columns. Of the vectors from `full` on, only `tail` lanes of the columns are read (g holds zeros in the
// others).
template <class T, int kRows, bool kPairs>
void dot_tile(int64_t full, int64_t vectors, int tail, const T* g, int64_t g_step, const T* const* column,
              const int32_t* offset, int columns, T* out, int64_t out_row) {
  constexpr int L = kLanes<T>, N = dot_columns(kRows), kAll = (kRows * N + L - 1) / L * L;
  V<T> acc[kAll] = {};
  const T* c[N];
#pragma GCC unroll 12
  for (int j = 0; j < N; ++j) c[j] = column[j];
  const auto run = [&](int64_t from, int64_t to, auto read) __attribute__((always_inline)) {
    for (int64_t v = from; v < to; ++v) {
      V<T> a[kRows];
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) a[i] = load(g + i * g_step + v * L);
      const int64_t o = offset[v];
#pragma GCC unroll 12
      for (int j = 0; j < N; ++j) {
        const V<T> x = read(c[j] + o);
#pragma GCC unroll 6
        for (int i = 0; i < kRows; ++i) acc[i * N + j] = multiply_add<kPairs>(a[i], x, acc[i * N + j]);
      }
    }
  };
  run(0, full, [](const T* p) __attribute__((always_inline)) { return load(p); });
  run(full, vectors, [&](const T* p) __attribute__((always_inline)) { return load_n(p, static_cast<size_t>(tail)); });

  // Through memory: an index that is not a constant would keep the accumulators there during the loop above.
  T lanes[kAll * L], sum[kAll];
#pragma GCC unroll 32
  for (int i = 0; i < kAll; ++i) store(lanes + i * L, acc[i]);
  for (int b = 0; b < kAll; b += L) {
    V<T> rows[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) rows[i] = load(lanes + (b + i) * L);
    transpose<T>(rows);
#pragma GCC unroll 4
    for (int half = L / 2; half > 0; half /= 2)
#pragma GCC unroll 8
      for (int i = 0; i < half; ++i) rows[i] += rows[i + half];
    store(sum + b, rows[0]);
  }
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < columns; ++j) out[i * out_row + j] += sum[i * N + j];
}

template <class T>
using DotTile = void (*)(int64_t, int64_t, int, const T*, int64_t, const T* const*, const int32_t*, int, T*, int64_t);
template <class T, bool kPairs = false>
constexpr DotTile<T> dot_tile_of(int rows) {
  switch (rows) {
    case 1: return dot_tile<T, 1, kPairs>;
    case 2: return dot_tile<T, 2, kPairs>;
    case 3: return dot_tile<T, 3, kPairs>;
    case 4: return dot_tile<T, (kDotRows >= 4 ? 4 : 1), kPairs>;
    case 5: return dot_tile<T, (kDotRows >= 5 ? 5 : 1), kPairs>;
    default: return dot_tile<T, (kDotRows >= 6 ? 6 : 1), kPairs>;
  }
}

// The tiles for a plan: pairs where it has them, which only AVX-512 does.
template <class T>
constexpr bool kHasPairs = sizeof(T) == 4 && kVectorBytes == 64;
template <class T>
const RowsTiles<T>& rows_tiles(bool pairs) {
  if constexpr (kHasPairs<T>)
    if (pairs) return kRowsTiles<T, true>;
  return kRowsTiles<T>;
}
template <class T>
const ChannelsTiles<T>& channels_tiles(bool pairs) {
  if constexpr (kHasPairs<T>)
    if (pairs) return kChannelsTiles<T, true>;
  return kChannelsTiles<T>;
}
template <class T>
const WidthTiles<T>& width_tiles(bool pairs) {
  if constexpr (kHasPairs<T>)
    if (pairs) return kWidthTiles<T, true>;
  return kWidthTiles<T>;
}
template <class T>
DotTile<T> dot_tile_of(int rows, bool pairs) {
  if constexpr (kHasPairs<T>)
    if (pairs) return dot_tile_of<T, true>(rows);
  return dot_tile_of<T>(rows);
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
