// GEMM: C[M,N] = epilogue(alpha * A[M,K] B[K,N] + beta * C), float32 and float64; integer products; matrix times
// vector. A and B are a pointer, a row stride and a column stride, in elements: a transposed operand is the same call.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cpu/kernels/epilogue.h"

namespace lanner::cpu {

template <class T>
struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  int64_t a_row = 0, a_col = 0;
  const T* b = nullptr;
  int64_t b_row = 0, b_col = 0;
  const T* packed_b = nullptr;  // what pack_b made; b is then not read
  T* c = nullptr;
  int64_t c_row = 0, c_col = 1;
  T alpha = 1, beta = 0;  // with beta = 0, C is not read
  Epilogue<T> epilogue;
};

template <class T>
struct GemmFunctions {
  int mr, nr;  // rows and columns of the tile of C that is held in registers
  int kc;      // K is walked in blocks of kc

  // B packed: panels of nr columns, each k x nr contiguous, row k at k * nr; columns past n are zero.
  int64_t (*packed_b_elements)(int64_t k, int64_t n);
  // Packs the panels [panel_begin, panel_end) to where they belong in `packed`.
  void (*pack_b)(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, int64_t panel_begin, int64_t panel_end,
                 T* packed);

  // C[m0:m1, n0:n1]; n0 is a multiple of nr, and so is n1 unless it is n. `packs_b` copies B to the workspace first, some
  // panels at a time: needed where b_col is not 1, and worth it where many rows meet each panel.
  int64_t (*block_workspace_elements)(const GemmArgs<T>& g, int64_t rows, bool packs_b);
  void (*block)(const GemmArgs<T>& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, bool packs_b, T* workspace);

  // y[r0:r1] = epilogue(alpha * M x + beta * y), M [rows, columns] with one of its strides 1; args: a = M, m = rows,
  // k = columns, b = x with stride b_row, c = y with stride c_row. n is 1.
  void (*gemv)(const GemmArgs<T>& g, int64_t r0, int64_t r1);
};

struct GemmKernels {
  GemmFunctions<float> f32;
  GemmFunctions<double> f64;
  // Operands rounded to bfloat16, sums in float32; always with packed_b, of their own making; A is packed
  // by `block`; no gemv.
  // Pairs: where the processor has AVX-512 BF16; null for other instruction sets.
  const GemmFunctions<float>*bf16_rounded, *bf16_pairs;
  // The same on AMX tiles, null but with AVX-512, and on an imitation of these for tests.
  const GemmFunctions<float>*bf16_amx, *bf16_amx_plain;
  // C[m0:m1, :] += A B modulo 2^bits, C row-major; the element size in bytes is the index's power of two. Signed and
  // unsigned products have the same bits.
  void (*integer[4])(int64_t m0, int64_t m1, int64_t n, int64_t k, const void* a, int64_t a_row, int64_t a_col,
                     const void* b, int64_t b_row, int64_t b_col, void* c);
};

}  // namespace lanner::cpu
