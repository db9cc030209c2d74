// The parts of the gemm family that have files of their own.
#pragma once

#include "cpu/kernels/gemm.h"

namespace lanner::cpu::LANNER_ISA {

template <class T>
void gemv(const GemmArgs<T>& g, int64_t r0, int64_t r1);
extern template void gemv<float>(const GemmArgs<float>&, int64_t, int64_t);
extern template void gemv<double>(const GemmArgs<double>&, int64_t, int64_t);

extern const GemmFunctions<float> bf16_rounded;
extern const GemmFunctions<float> bf16_pairs;                // only with AVX-512
extern const GemmFunctions<float> bf16_amx, bf16_amx_plain;  // amx.cpp; the first only with AVX-512

template <class U>
void integer_gemm(int64_t m0, int64_t m1, int64_t n, int64_t k, const void* a, int64_t a_row, int64_t a_col,
                  const void* b, int64_t b_row, int64_t b_col, void* c);
#define LANNER_INTEGER_GEMM(U)                                                                                  \
  template void integer_gemm<U>(int64_t, int64_t, int64_t, int64_t, const void*, int64_t, int64_t, const void*, \
                                int64_t, int64_t, void*);
extern LANNER_INTEGER_GEMM(uint8_t) extern LANNER_INTEGER_GEMM(uint16_t) extern LANNER_INTEGER_GEMM(
    uint32_t) extern LANNER_INTEGER_GEMM(uint64_t)

}  // namespace lanner::cpu::LANNER_ISA
