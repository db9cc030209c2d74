// The micro-kernel: a tile of C, up to kMR rows by kNR columns, held in registers while k runs. All that multiplies
// matrices (GEMM, implicit-GEMM convolution) is loops around it.
//
//   C tile [rows, columns] = epilogue(alpha * sum_k a[i, k] b[k, j] + beta * C)
//
// B comes in panels: row k has kNR<T> columns next to each other at b + k * b_step (b_step >= kNR<T>; a packed panel
// has b_step = kNR<T>, and zeros in the columns past the end). kNR<T> elements are read of each row, however few
// columns are stored.
// A is read one element at a time, so it may lie anywhere: element (i, k) at a + i * a_row + k * a_step. A packed panel
// has a_row = 1 and a_step = the panel's rows; that case has kernels of its own, without address arithmetic.
#pragma once

#include "cpu/kernels/gemm.h"
#include "cpu/transpose.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// Tiles are two vectors wide, so that sizes that are multiples of 32 leave no remainder in float32 with AVX-512, and as
// high as the registers allow: each element of B is used kMR times per load, each of A kNR times.
//   AVX-512: 14 x 2 vectors: 28 accumulators, 2 of B, 1 of A: 31 of 32 registers. 16 loads for 28 FMAs.
//   AVX2:     6 x 2: 12 + 2 + 1 of 16.     SSE2: 4 x 2: 8 + 2 + 1 and the product, of 16.     NEON: 12 x 2 of 32.
// bench/gemm.cpp, --benchmark_filter=tile.
#if defined(__AVX512F__)
constexpr int kMR = 14;
#elif defined(__AVX2__)
constexpr int kMR = 6;
#elif defined(__ARM_NEON)
constexpr int kMR = 12;
#else
constexpr int kMR = 4;
#endif
constexpr int kTileVectors = 2;
template <class T>
constexpr int kNR = kTileVectors * kLanes<T>;

// K is walked in blocks, so that a block of A stays in the second-level cache; C is read and written once a block. A
// panel of B, kKC x kNR<T>, is 64 KiB with AVX-512 and comes from the second-level cache too: 9 bytes a cycle, and no
// slower than from the first (2048^3 on one core: 256 102 ms, 384 98, 512 94).
constexpr int64_t kKC = 512;
// Where C is the transpose of a row-major matrix each block costs more, and B has few columns.
constexpr int64_t kTransposedKC = 2048;

// Where a tile goes. The epilogue's pointers are those of the tile's own first element, row and column.
template <class T>
struct TileOut {
  T* c;
  int64_t c_row, c_col;  // c_col = 1 is the fast case
  int rows, columns;     // rows <= kMR, columns <= kNR<T>
  T alpha, beta;         // with beta = 0, C is not read
  Epilogue<T> epilogue;
};

// NaN stays NaN. X is a vector or one element.
template <class X>
LANNER_INLINE X relu_of(X x) {
  return x < X{} ? X{} : x;
}
template <class X, class T>
LANNER_INLINE X leaky_relu_of(X x, T slope) {
  return x > X{} ? x : x * slope;
}
template <class X, class T>
LANNER_INLINE X gated(X x, X gate, T slope) {
  return gate > X{} ? x : x * slope;
}
template <class T>
LANNER_INLINE V<T> relu_vector(V<T> x) {
  return relu_of(x);
}

// The epilogue of the tile that begins at (row, column), of a result with these strides.
template <class T>
LANNER_INLINE Epilogue<T> epilogue_at(Epilogue<T> e, int64_t row, int64_t column, int64_t c_row, int64_t c_col) {
  if (e.bias_per_column) e.bias_per_column += column;
  if (e.bias_per_row) e.bias_per_row += row;
  if (e.residual) e.residual += row * c_row + column * c_col;
  if (e.gate) e.gate += row * c_row + column * c_col;
  return e;
}

// The tile of C that begins at (row, column), in the pass over [k0, k1) of K: the first pass reads C as the caller asks,
// the last one ends with the epilogue.
template <class T>
LANNER_INLINE TileOut<T> tile_out(const GemmArgs<T>& g, int64_t row, int64_t column, int rows, int columns, int64_t k0,
                                  int64_t k1) {
  T* const c = g.c + row * g.c_row + column * g.c_col;
  TileOut<T> out{c, g.c_row, g.c_col, rows, columns, g.alpha, k0 == 0 ? g.beta : T{1}, {}};
  if (k1 == g.k) out.epilogue = epilogue_at(g.epilogue, row, column, g.c_row, g.c_col);
  return out;
}

// The epilogue of one element; `at` is where it lies in the result.
template <class T>
LANNER_INLINE T finish_element(T x, const Epilogue<T>& e, int64_t row, int64_t column, int64_t at) {
  if (e.bias_per_column) x += e.bias_per_column[column];
  if (e.bias_per_row) x += e.bias_per_row[row];
  if (e.residual) x += e.residual[at];
  if (e.activation == Activation::Relu) x = relu_of(x);
  if (e.activation == Activation::LeakyRelu) x = leaky_relu_of(x, e.slope);
  if (e.gate) x = gated(x, e.gate[at], e.gate_slope);
  return x;
}

// Of n elements next to each other in a row of the result, from `column` on.
template <class T>
LANNER_INLINE V<T> finish_vector(V<T> x, const Epilogue<T>& e, int64_t row, int64_t column, int64_t at, int n) {
  const auto take = [&](const T* p) { return n == kLanes<T> ? load(p) : load_n(p, n); };
  if (e.bias_per_column) x += take(e.bias_per_column + column);
  if (e.bias_per_row) x += e.bias_per_row[row];
  if (e.residual) x += take(e.residual + at);
  if (e.activation == Activation::Relu) x = relu_of(x);
  if (e.activation == Activation::LeakyRelu) x = leaky_relu_of(x, e.slope);
  if (e.gate) x = gated(x, take(e.gate + at), e.gate_slope);
  return x;
}

// Stores `buffer`, whose rows are kStep apart and which already holds alpha * a b, to a C with contiguous rows.
template <class T, int kStep = kNR<T>>
void finish_rows(const T* buffer, const TileOut<T>& out) {
  constexpr int L = kLanes<T>;
  for (int i = 0; i < out.rows; ++i) {
    for (int j = 0; j < out.columns; j += L) {
      const int64_t at = i * out.c_row + j;
      const int n = out.columns - j < L ? out.columns - j : L;
      V<T> x = load(buffer + i * kStep + j);
      if (out.beta != 0) x += out.beta * (n == L ? load(out.c + at) : load_n(out.c + at, n));
      x = finish_vector(x, out.epilogue, i, j, at, n);
      n == L ? store(out.c + at, x) : store_n(out.c + at, x, n);
    }
  }
}

// The same to a C with contiguous columns: squares are transposed in registers, and a vector runs down a column.
template <class T>
void finish_columns(const T* buffer, const TileOut<T>& out) {
  constexpr int L = kLanes<T>;
  const Epilogue<T>& e = out.epilogue;
  for (int i = 0; i < out.rows; i += L) {
    const int n = out.rows - i < L ? out.rows - i : L;
    const auto take = [&](const T* p) { return n == L ? load(p) : load_n(p, n); };
    for (int j = 0; j < out.columns; j += L) {
      V<T> x[L];
#pragma GCC unroll 16
      for (int q = 0; q < L; ++q) x[q] = q < n ? load(buffer + (i + q) * kNR<T> + j) : V<T>{};
      transpose<T>(x);
      const int columns = out.columns - j;
      const int64_t at = i + j * out.c_col;
#define LANNER_EACH_COLUMN _Pragma("GCC unroll 16") for (int q = 0; q < L; ++q) if (q < columns)
      if (out.beta != 0) {
        LANNER_EACH_COLUMN x[q] += out.beta * take(out.c + at + q * out.c_col);
      }
      if (e.bias_per_column) {
        LANNER_EACH_COLUMN x[q] += e.bias_per_column[j + q];
      }
      if (e.bias_per_row) {
        const V<T> bias = take(e.bias_per_row + i);
        LANNER_EACH_COLUMN x[q] += bias;
      }
      if (e.residual) {
        LANNER_EACH_COLUMN x[q] += take(e.residual + at + q * out.c_col);
      }
      if (e.activation == Activation::Relu) {
        LANNER_EACH_COLUMN x[q] = relu_of(x[q]);
      } else if (e.activation == Activation::LeakyRelu) {
        LANNER_EACH_COLUMN x[q] = leaky_relu_of(x[q], e.slope);
      }
      if (e.gate) {
        LANNER_EACH_COLUMN x[q] = gated(x[q], take(e.gate + at + q * out.c_col), e.gate_slope);
      }
      LANNER_EACH_COLUMN n == L ? store(out.c + at + q * out.c_col, x[q])
                                : store_n(out.c + at + q * out.c_col, x[q], n);
#undef LANNER_EACH_COLUMN
    }
  }
}

// The tiles that are cut off at C's edge, and those whose columns are not next to each other.
template <class T>
[[gnu::noinline]] void finish(const T* buffer, const TileOut<T>& out) {
  if (out.c_col == 1) {
    finish_rows(buffer, out);
  } else if (out.c_row == 1) {
    finish_columns(buffer, out);
  } else {
    for (int i = 0; i < out.rows; ++i) {
      for (int j = 0; j < out.columns; ++j) {
        const int64_t at = i * out.c_row + j * out.c_col;
        T x = buffer[i * kNR<T> + j];
        if (out.beta != 0) x += out.beta * out.c[at];
        out.c[at] = finish_element(x, out.epilogue, i, j, at);
      }
    }
  }
}

#if defined(__AVX512F__)
// sum + a[0] b[0] + a[1] b[1] in each lane, whose 32 bits are two bfloat16. Only where the processor has AVX-512 BF16;
// assembly, since the rest of the file must not be compiled for it.
LANNER_INLINE F32 dot_pairs(F32 a, F32 b, F32 sum) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}
#endif

// sum + a b, of pairs or of elements.
template <bool kPairs, class Vector>
LANNER_INLINE Vector multiply_add(Vector a, Vector b, Vector sum) {
#if defined(__AVX512F__)
  if constexpr (kPairs) return dot_pairs(a, b, sum);
#endif
  return fma(a, b, sum);
}

// kVectors past kTileVectors are those of the next panels of B, each `panel_step` after the one before. kPairs: the
// elements of A and B are pairs of bfloat16.
template <class T, int kRows, int kVectors, bool kPackedA, bool kPairs = false>
void tile_kernel(int64_t k, const T* a, int64_t a_row, int64_t a_step, const T* b, int64_t b_step, int64_t panel_step,
                 const TileOut<T>& out) {
  constexpr int N = kVectors, L = kLanes<T>;
  V<T> acc[kRows][N] = {};
  // Every fourth row has a pointer; the rows between are reached by 1, 2 and 3 times the row stride.
  constexpr int kGroups = (kRows + 3) / 4;
  const T* group[kGroups];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) group[g] = a + 4 * g * a_row;

  // C is asked for now and needed after k steps.
  if (out.c_col == 1) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      __builtin_prefetch(out.c + i * out.c_row, 1);
      __builtin_prefetch(out.c + i * out.c_row + N * L - 1, 1);
    }
  }

  for (int64_t s = 0; s < k; ++s) {
    V<T> bv[N];
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) bv[j] = load(b + j / kTileVectors * panel_step + j % kTileVectors * L);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const V<T> av = splat(kPackedA ? a[i] : group[i / 4][(i % 4) * a_row]);
#pragma GCC unroll 8
      for (int j = 0; j < N; ++j) acc[i][j] = multiply_add<kPairs>(av, bv[j], acc[i][j]);
    }
    b += b_step;
    if constexpr (kPackedA) {
      a += a_step;
    } else {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) group[g] += a_step;
    }
  }

#define LANNER_EACH_VECTOR \
  _Pragma("GCC unroll 16") for (int i = 0; i < kRows; ++i) _Pragma("GCC unroll 8") for (int j = 0; j < N; ++j)
  if (out.alpha != 1) {
    LANNER_EACH_VECTOR acc[i][j] *= out.alpha;
  }
  if (N <= kTileVectors && (out.columns < N * L || out.c_col != 1)) {
    alignas(64) T buffer[kRows * kNR<T>];
    LANNER_EACH_VECTOR store(buffer + i * kNR<T> + j * L, acc[i][j]);
    finish(buffer, out);
    return;
  }
  const Epilogue<T>& e = out.epilogue;
  if (out.beta != 0) {
    LANNER_EACH_VECTOR acc[i][j] = fma(splat(out.beta), load(out.c + i * out.c_row + j * L), acc[i][j]);
  }
  if (e.bias_per_column) {
    LANNER_EACH_VECTOR acc[i][j] += load(e.bias_per_column + j * L);
  }
  if (e.bias_per_row) {
    LANNER_EACH_VECTOR acc[i][j] += e.bias_per_row[i];
  }
  if (e.residual) {
    LANNER_EACH_VECTOR acc[i][j] += load(e.residual + i * out.c_row + j * L);
  }
  if (e.activation == Activation::Relu) {
    LANNER_EACH_VECTOR acc[i][j] = relu_of(acc[i][j]);
  } else if (e.activation == Activation::LeakyRelu) {
    LANNER_EACH_VECTOR acc[i][j] = leaky_relu_of(acc[i][j], e.slope);
  }
  if (e.gate) {
    LANNER_EACH_VECTOR acc[i][j] = gated(acc[i][j], load(e.gate + i * out.c_row + j * L), e.gate_slope);
  }
  LANNER_EACH_VECTOR store(out.c + i * out.c_row + j * L, acc[i][j]);
#undef LANNER_EACH_VECTOR
}

template <class T>
using TileKernel = void (*)(int64_t, const T*, int64_t, int64_t, const T*, int64_t, int64_t, const TileOut<T>&);

template <class T>
struct TileKernels {
  TileKernel<T> of[15][kTileVectors + 1];  // by the number of rows and of vectors
};
template <class T, bool kPackedA, bool kPairs = false>
constexpr TileKernels<T> make_tile_kernels() {
  TileKernels<T> t{};
#define LANNER_ROWS(r)                                   \
  if constexpr (r <= kMR) {                              \
    t.of[r][1] = tile_kernel<T, r, 1, kPackedA, kPairs>; \
    t.of[r][2] = tile_kernel<T, r, 2, kPackedA, kPairs>; \
  }
  // clang-format off
  LANNER_ROWS(1) LANNER_ROWS(2) LANNER_ROWS(3) LANNER_ROWS(4) LANNER_ROWS(5) LANNER_ROWS(6) LANNER_ROWS(7)
  LANNER_ROWS(8) LANNER_ROWS(9) LANNER_ROWS(10) LANNER_ROWS(11) LANNER_ROWS(12) LANNER_ROWS(13) LANNER_ROWS(14)
  // clang-format on
#undef LANNER_ROWS
          return t;
}
template <class T, bool kPackedA, bool kPairs = false>
constexpr TileKernels<T> kTileKernels = make_tile_kernels<T, kPackedA, kPairs>();

// The entry: any number of rows up to kMR, of columns up to kNR<T>. Pairs are always packed.
template <class T, bool kPairs = false>
LANNER_INLINE void tile(int64_t k, const T* a, int64_t a_row, int64_t a_step, const T* b, int64_t b_step,
                        const TileOut<T>& out) {
  const TileKernels<T>& kernels = kPairs || a_row == 1 ? kTileKernels<T, true, kPairs> : kTileKernels<T, false>;
  kernels.of[out.rows][out.columns <= kLanes<T> ? 1 : 2](k, a, a_row, a_step, b, b_step, 0, out);
}

// One to three rows are too few to hide the latency of the additions: several panels at once, which are also more
// streams for the caches to read ahead. All columns are there, and next to each other in C.
constexpr int kWideRows = 3;
template <class T>
constexpr TileKernel<T> kWideKernels[kWideRows + 1] = {nullptr, tile_kernel<T, 1, 4 * kTileVectors, false>,
                                                       tile_kernel<T, 2, 2 * kTileVectors, false>,
                                                       tile_kernel<T, 3, 2 * kTileVectors, false>};
constexpr int kWidePanels[kWideRows + 1] = {0, 4, 2, 2};

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
