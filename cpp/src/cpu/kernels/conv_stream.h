// The micro-kernel for weights of which each is used for few outputs: they come from memory, and what decides is how
// fast.
//
// The prefetchers of the processor ask for some lines ahead of the ones that are read, and stop at the end of a page;
// the products between two lines leave no room in the reorder buffer to see further. So the kernel asks by itself,
// kAhead bytes before it needs them. 512 channels on 4 x 4, 9.4 MB of weights, one core: 853 us without; 1 KiB ahead
// 750, 2 KiB 612, 4 KiB 478, 8 KiB 431; reading the weights alone takes 312.
#pragma once

#include "cpu/gemm/micro.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

constexpr int64_t kAhead = 8192;

// With one vector of columns a tile has as many rows as there are accumulators.
constexpr int stream_rows(int vectors) { return vectors == 1 ? kMR * kTileVectors : kMR; }

// out[i * out_row + j] = sum_k a[i, k] b[k, j] for kRows rows and kVectors vectors of columns. Either A is the stream,
// packed, element (i, k) at a[k * kRows + i], or B is, of whose rows a_row says nothing: element (i, k) at
// a[i * a_row + k].
template <class T, int kRows, int kVectors, bool kStreamsA>
void stream_tile(int64_t k, const T* a, int64_t a_row, const T* b, int64_t b_row, T* out, int64_t out_row) {
  constexpr int L = kLanes<T>;
  V<T> acc[kRows][kVectors] = {};
  constexpr int kGroups = (kRows + 3) / 4;  // rows between are reached by multiples of the stride
  const T* group[kGroups];
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) group[g] = a + 4 * g * a_row;
  const char* ahead = reinterpret_cast<const char*>(kStreamsA ? a : b) + kAhead;
  constexpr int kStepBytes = (kStreamsA ? kRows : kVectors * L) * static_cast<int>(sizeof(T));
  for (int64_t s = 0; s < k; ++s) {
#pragma GCC unroll 2
    for (int line = 0; line < (kStepBytes + 32) / 64 || line == 0; ++line) __builtin_prefetch(ahead + 64 * line);
    ahead += kStreamsA ? kStepBytes : b_row * static_cast<int64_t>(sizeof(T));
    V<T> x[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) x[j] = load(b + j * L);
#pragma GCC unroll 28
    for (int i = 0; i < kRows; ++i) {
      const V<T> w = splat(kStreamsA ? a[i] : group[i / 4][(i % 4) * a_row]);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) acc[i][j] = fma(w, x[j], acc[i][j]);
    }
    b += b_row;
    if constexpr (kStreamsA) {
      a += kRows;
    } else {
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) ++group[g];
    }
  }
#pragma GCC unroll 28
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) store(out + i * out_row + j * L, acc[i][j]);
}

template <class T>
using StreamTile = void (*)(int64_t, const T*, int64_t, const T*, int64_t, T*, int64_t);

template <class T>
struct StreamTiles {
  StreamTile<T> of[29][kTileVectors + 1];  // by the number of rows and of vectors
};
template <class T, bool kStreamsA>
constexpr StreamTiles<T> make_stream_tiles() {
  StreamTiles<T> t{};
#define LANNER_ROWS(r)                                                                             \
  if constexpr (r <= stream_rows(kStreamsA ? 1 : 2)) t.of[r][1] = stream_tile<T, r, 1, kStreamsA>; \
  if constexpr (r <= stream_rows(2)) t.of[r][2] = stream_tile<T, r, 2, kStreamsA>;
  // clang-format off
  LANNER_ROWS(1) LANNER_ROWS(2) LANNER_ROWS(3) LANNER_ROWS(4) LANNER_ROWS(5) LANNER_ROWS(6) LANNER_ROWS(7)
  LANNER_ROWS(8) LANNER_ROWS(9) LANNER_ROWS(10) LANNER_ROWS(11) LANNER_ROWS(12) LANNER_ROWS(13) LANNER_ROWS(14)
  LANNER_ROWS(15) LANNER_ROWS(16) LANNER_ROWS(17) LANNER_ROWS(18) LANNER_ROWS(19) LANNER_ROWS(20) LANNER_ROWS(21)
  LANNER_ROWS(22) LANNER_ROWS(23) LANNER_ROWS(24) LANNER_ROWS(25) LANNER_ROWS(26) LANNER_ROWS(27) LANNER_ROWS(28)
  // clang-format on
#undef LANNER_ROWS
                  return t;
}
template <class T, bool kStreamsA>
constexpr StreamTiles<T> kStreamTiles = make_stream_tiles<T, kStreamsA>();

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
