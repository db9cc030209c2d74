// Matrix products on the CPU for the ops: chooses the route by size and strides, brings the workspace, and cuts C into
// blocks for the threads. What is cut depends on sizes alone, and K is never cut across threads, so the bits are the
// same for any number of them.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/kernels/gemm.h"
#include "ops/op.h"

namespace lanner {

// T is float or double; a lower precision has an effect on float only.
template <class T>
void gemm(const cpu::GemmArgs<T>& g, Precision precision = Precision::Full);

// Where each product of a batch begins, in elements from g.a, g.b and g.c.
struct BatchOffsets {
  std::span<const int64_t> a, b, c;
};
template <class T>
void gemm_batch(const cpu::GemmArgs<T>& g, const BatchOffsets& offsets, Precision precision = Precision::Full);

// B packed once for many products of this precision: `packed` has room for packed_b_elements(k, n), and goes into
// GemmArgs::packed_b.
template <class T>
int64_t packed_b_elements(int64_t k, int64_t n, Precision precision = Precision::Full);
template <class T>
void pack_b(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, T* packed,
            Precision precision = Precision::Full);

// Integers of `itemsize` bytes, modulo 2^bits; C row-major, and overwritten.
void integer_gemm(size_t itemsize, int64_t m, int64_t n, int64_t k, const void* a, int64_t a_row, int64_t a_col,
                  const void* b, int64_t b_row, int64_t b_col, void* c);

}  // namespace lanner
