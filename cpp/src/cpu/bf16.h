// Operands rounded to bfloat16 (to the nearest, ties to even; NaN stays NaN) on their way into a packed panel or patch.
// Compiled once for each instruction set, like simd.h.
//
// Pairs: where the processor has AVX-512 BF16, two elements of K are kept beside each other, the even one in the lower
// half, as one 32-bit element; one instruction multiplies and adds both. Such an element is handled as a float of the
// same bits, which is only ever moved.
#pragma once

#include "cpu/gemm/pack.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// The bits of x rounded, in the upper half; the lower half is not cleared.
LANNER_INLINE U32 round_bits(F32 x) {
  const U32 u = (U32)x;
  return x != x ? u | 0x400000 : u + 0x7fff + ((u >> 16) & 1);
}
LANNER_INLINE F32 rounded_to_bf16(F32 x) { return (F32)(round_bits(x) & 0xffff0000); }

// Only where the processor has AVX-512 BF16; assembly, since the files that include this must not be compiled for it.
LANNER_INLINE F32 pair_of(F32 even, F32 odd) {
#if defined(__AVX512F__)
  alignas(64) static constexpr uint16_t kInterleave[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                           21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                           11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  F32 both;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(even), "v"(odd));
  return (F32)_mm512_permutexvar_epi16(_mm512_load_si512(kInterleave), (__m512i)both);
#else
  return (F32)((round_bits(even) >> 16) | (round_bits(odd) & 0xffff0000));
#endif
}

// to[i] = from[i] rounded, or its pair with odd[i], or with zero where `odd` is null; i < n.
template <bool kPairs>
LANNER_INLINE void round_elements(float* to, const float* from, const float* odd, int64_t n) {
  constexpr int L = kLanes<float>;
  for (int64_t i = 0; i < n; i += L) {
    const size_t here = static_cast<size_t>(n - i < L ? n - i : L);
    const auto read = [&](const float* p) __attribute__((always_inline)) {
      return here == L ? load(p + i) : load_n(p + i, here);
    };
    const F32 x = kPairs ? pair_of(read(from), odd ? read(odd) : F32{}) : rounded_to_bf16(read(from));
    here == L ? store(to + i, x) : store_n(to + i, x, here);
  }
}

// How far K goes in packed elements.
template <bool kPairs>
constexpr int64_t packed_steps(int64_t k) {
  return kPairs ? (k + 1) / 2 : k;
}

// A panel, as pack_panel makes it, rounded. kWidth: the most that `step` may be.
template <bool kPairs, int kWidth = kNR<float>>
void pack_rounded(int64_t k, int width, const float* from, int64_t k_stride, int64_t j_stride, float* to, int step) {
  constexpr int L = kLanes<float>, kChunk = 32;
  alignas(64) float some[(kChunk + 1) * kWidth + L] = {};
  const float* const end = to + packed_steps<kPairs>(k) * step;
  for (int64_t s = 0; s < k; s += kChunk) {
    const int count = k - s < kChunk ? static_cast<int>(k - s) : kChunk;
    pack_panel(count, width, from + s * k_stride, k_stride, j_stride, some, step);
    for (int i = 0; i < count; i += kPairs ? 2 : 1, to += step) {
      for (int j = (step - 1) / L * L; j >= 0; j -= L) {
        const F32 x = load(some + i * step + j);
        const F32 odd = kPairs && i + 1 < count ? load(some + (i + 1) * step + j) : F32{};
        const F32 packed = kPairs ? pair_of(x, odd) : rounded_to_bf16(x);
        end - to - j < L ? store_n(to + j, packed, static_cast<size_t>(end - to - j)) : store(to + j, packed);
      }
    }
  }
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
