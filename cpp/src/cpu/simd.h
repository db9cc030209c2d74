// The one place where vector instructions are named. Included only by files that are compiled once for each
// instruction set (see cpu/CMakeLists.txt), which define LANNER_ISA (baseline, avx2, avx512, neon) and
// LANNER_VECTOR_BYTES. No standard-library template may be used here or in those files: an inline function
// compiled for AVX-512 must not be linked into the rest.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define LANNER_INLINE [[gnu::always_inline]] inline

namespace lanner::cpu::LANNER_ISA {
namespace {

constexpr int kVectorBytes = LANNER_VECTOR_BYTES;

typedef float F32 __attribute__((vector_size(LANNER_VECTOR_BYTES)));
typedef double F64 __attribute__((vector_size(LANNER_VECTOR_BYTES)));
typedef int32_t I32 __attribute__((vector_size(LANNER_VECTOR_BYTES)));
typedef int64_t I64 __attribute__((vector_size(LANNER_VECTOR_BYTES)));
typedef uint32_t U32 __attribute__((vector_size(LANNER_VECTOR_BYTES)));
typedef uint64_t U64 __attribute__((vector_size(LANNER_VECTOR_BYTES)));

// Vec<float>::V is the vector of floats, Vec<float>::M the integer vector that a comparison of two gives
// (all ones where true), Vec<float>::kLanes the number of elements.
template <class T>
struct Vec;
template <>
struct Vec<float> {
  using V = F32;
  using M = I32;
  using U = U32;
  using Int = int32_t;
  static constexpr int kLanes = kVectorBytes / 4;
};
template <>
struct Vec<double> {
  using V = F64;
  using M = I64;
  using U = U64;
  using Int = int64_t;
  static constexpr int kLanes = kVectorBytes / 8;
};
template <class T>
using V = typename Vec<T>::V;
template <class T>
using M = typename Vec<T>::M;
template <class T>
constexpr int kLanes = Vec<T>::kLanes;

// ---- memory -------------------------------------------------------------------------------------------

template <class T>
LANNER_INLINE V<T> load(const T* p) {
  V<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
LANNER_INLINE void store(T* p, V<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// x - 0 is x for every x, so the subtraction is dropped; x + 0 would turn -0 into 0.
template <class T>
LANNER_INLINE V<T> splat(T x) {
  return x - V<T>{};
}
LANNER_INLINE F32 splat32(double x) { return static_cast<float>(x) - F32{}; }
LANNER_INLINE F64 splat64(double x) { return x - F64{}; }

// The first n elements (0 <= n <= lanes); the others read as zero and are not touched in memory.
template <class T>
LANNER_INLINE V<T> load_n(const T* p, size_t n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    return (V<T>)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
  } else {
    return (V<T>)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
  }
#elif defined(__AVX2__)
  typename Vec<T>::Int lane[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = i < static_cast<int>(n) ? -1 : 0;
  __m256i mask;
  __builtin_memcpy(&mask, lane, sizeof mask);
  if constexpr (sizeof(T) == 4) {
    return (V<T>)_mm256_maskload_ps(p, mask);
  } else {
    return (V<T>)_mm256_maskload_pd(p, mask);
  }
#else
  V<T> v{};
  for (size_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}

template <class T>
LANNER_INLINE void store_n(T* p, V<T> v, size_t n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
  } else {
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), (__m512d)v);
  }
#elif defined(__AVX2__)
  typename Vec<T>::Int lane[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = i < static_cast<int>(n) ? -1 : 0;
  __m256i mask;
  __builtin_memcpy(&mask, lane, sizeof mask);
  if constexpr (sizeof(T) == 4) {
    _mm256_maskstore_ps(p, mask, (__m256)v);
  } else {
    _mm256_maskstore_pd(p, mask, (__m256d)v);
  }
#else
  for (size_t i = 0; i < n; ++i) p[i] = v[i];
#endif
}

// ---- arithmetic: + - * / and the comparisons are the compiler's own operators on vectors ------------------

// a * b + c, in one rounding where the instruction set has it.
LANNER_INLINE F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
  return (F32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
LANNER_INLINE F64 fma(F64 a, F64 b, F64 c) {
#if defined(__AVX512F__)
  return (F64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
  return (F64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__ARM_NEON)
  return (F64)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}

// mask ? a : b, lane by lane; works for float, double and the integer vectors.
template <class Mask, class Vector>
LANNER_INLINE Vector select(Mask mask, Vector a, Vector b) {
  return mask ? a : b;
}

// The plain instruction: b where either is NaN.
template <class Vector>
LANNER_INLINE Vector max(Vector a, Vector b) {
  return a > b ? a : b;
}
template <class Vector>
LANNER_INLINE Vector min(Vector a, Vector b) {
  return a < b ? a : b;
}
// The compiler makes a comparison and a selection of those where one instruction does.
#if defined(__AVX512F__)
LANNER_INLINE F32 max(F32 a, F32 b) { return (F32)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b); }
LANNER_INLINE F32 min(F32 a, F32 b) { return (F32)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b); }
LANNER_INLINE F64 max(F64 a, F64 b) { return (F64)_mm512_maskz_max_pd(0xff, (__m512d)a, (__m512d)b); }
LANNER_INLINE F64 min(F64 a, F64 b) { return (F64)_mm512_maskz_min_pd(0xff, (__m512d)a, (__m512d)b); }
#elif defined(__AVX2__)
LANNER_INLINE F32 max(F32 a, F32 b) { return (F32)_mm256_max_ps((__m256)a, (__m256)b); }
LANNER_INLINE F32 min(F32 a, F32 b) { return (F32)_mm256_min_ps((__m256)a, (__m256)b); }
LANNER_INLINE F64 max(F64 a, F64 b) { return (F64)_mm256_max_pd((__m256d)a, (__m256d)b); }
LANNER_INLINE F64 min(F64 a, F64 b) { return (F64)_mm256_min_pd((__m256d)a, (__m256d)b); }
#elif defined(__SSE2__)
LANNER_INLINE F32 max(F32 a, F32 b) { return (F32)_mm_max_ps((__m128)a, (__m128)b); }
LANNER_INLINE F32 min(F32 a, F32 b) { return (F32)_mm_min_ps((__m128)a, (__m128)b); }
LANNER_INLINE F64 max(F64 a, F64 b) { return (F64)_mm_max_pd((__m128d)a, (__m128d)b); }
LANNER_INLINE F64 min(F64 a, F64 b) { return (F64)_mm_min_pd((__m128d)a, (__m128d)b); }
#endif

// IEEE maximum as NumPy has it: NaN if either is NaN.
template <class Vector>
LANNER_INLINE Vector max_nan(Vector a, Vector b) {
  return (a != a) ? a : max(a, b);
}
template <class Vector>
LANNER_INLINE Vector min_nan(Vector a, Vector b) {
  return (a != a) ? a : min(a, b);
}

LANNER_INLINE F32 abs(F32 x) { return (F32)((I32)x & 0x7fffffff); }
LANNER_INLINE F64 abs(F64 x) { return (F64)((I64)x & 0x7fffffffffffffffLL); }
LANNER_INLINE F32 copysign(F32 magnitude, F32 sign) {
  return (F32)(((I32)magnitude & 0x7fffffff) | ((I32)sign & static_cast<int32_t>(0x80000000)));
}
LANNER_INLINE F64 copysign(F64 magnitude, F64 sign) {
  return (F64)(((I64)magnitude & 0x7fffffffffffffffLL) | ((I64)sign & static_cast<int64_t>(1ULL << 63)));
}

LANNER_INLINE F32 sqrt(F32 x) {
#if defined(__AVX512F__)
  return (F32)_mm512_maskz_sqrt_ps(0xffff, (__m512)x);  // without mask GCC 12 warns, wrongly
#elif defined(__AVX2__)
  return (F32)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
  return (F32)_mm_sqrt_ps((__m128)x);
#else
  for (int i = 0; i < kLanes<float>; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}
LANNER_INLINE F64 sqrt(F64 x) {
#if defined(__AVX512F__)
  return (F64)_mm512_maskz_sqrt_pd(0xff, (__m512d)x);
#elif defined(__AVX2__)
  return (F64)_mm256_sqrt_pd((__m256d)x);
#elif defined(__SSE2__)
  return (F64)_mm_sqrt_pd((__m128d)x);
#else
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_sqrt(x[i]);
  return x;
#endif
}

// Float to integer of the same width, truncated; the value must fit.
LANNER_INLINE I32 to_int(F32 x) { return __builtin_convertvector(x, I32); }
LANNER_INLINE I64 to_int(F64 x) { return __builtin_convertvector(x, I64); }
LANNER_INLINE F32 to_float(I32 x) { return __builtin_convertvector(x, F32); }
LANNER_INLINE F64 to_float(I64 x) { return __builtin_convertvector(x, F64); }

// float16, as its bits, to float and back, rounded to the nearest, ties to even; where the processor converts vectors.
#if defined(__F16C__)
LANNER_INLINE F32 load_half(const uint16_t* p) {
#if defined(__AVX512F__)
  return (F32)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#else
  return (F32)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#endif
}
LANNER_INLINE void store_half(uint16_t* p, F32 x) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_maskz_cvtps_ph(0xffff, (__m512)x, _MM_FROUND_TO_NEAREST_INT));
#else
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
#endif
}
#endif

// The product of the lower 32 bits of each 64-bit lane, whole.
LANNER_INLINE U64 mul_low_halves(U64 a, U64 b) {
#if defined(__AVX512F__)
  return (U64)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (U64)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (U64)_mm_mul_epu32((__m128i)a, (__m128i)b);
#elif defined(__ARM_NEON)
  return (U64)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#else
  return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}

// x as it is: keeps the compiler from joining the operation that gave x with the next one into an fma, where a result
// must have the same bits on all instruction sets.
template <class Vector>
LANNER_INLINE Vector rounded(Vector x) {
#if defined(__AVX512F__)
  asm("" : "+v"(x));
#elif defined(__SSE2__)
  asm("" : "+x"(x));
#elif defined(__ARM_NEON)
  asm("" : "+w"(x));
#endif
  return x;
}

// ---- rounding to integers that are still floats; the sign of zero is kept ----------------------------------

#if defined(__AVX512F__)
#define LANNER_ROUNDING(name, mode)                                                                  \
  LANNER_INLINE F32 name(F32 x) { return (F32)_mm512_maskz_roundscale_ps(0xffff, (__m512)x, mode); } \
  LANNER_INLINE F64 name(F64 x) { return (F64)_mm512_maskz_roundscale_pd(0xff, (__m512d)x, mode); }
LANNER_ROUNDING(rint, _MM_FROUND_TO_NEAREST_INT)
LANNER_ROUNDING(floor, _MM_FROUND_TO_NEG_INF)
LANNER_ROUNDING(ceil, _MM_FROUND_TO_POS_INF)
LANNER_ROUNDING(trunc, _MM_FROUND_TO_ZERO)
#undef LANNER_ROUNDING
#elif defined(__AVX2__)
#define LANNER_ROUNDING(name, mode)                                               \
  LANNER_INLINE F32 name(F32 x) { return (F32)_mm256_round_ps((__m256)x, mode); } \
  LANNER_INLINE F64 name(F64 x) { return (F64)_mm256_round_pd((__m256d)x, mode); }
LANNER_ROUNDING(rint, _MM_FROUND_TO_NEAREST_INT)
LANNER_ROUNDING(floor, _MM_FROUND_TO_NEG_INF)
LANNER_ROUNDING(ceil, _MM_FROUND_TO_POS_INF)
LANNER_ROUNDING(trunc, _MM_FROUND_TO_ZERO)
#undef LANNER_ROUNDING
#else
// Beside 2^23 (2^52) a float has no room for a fraction: adding it rounds, to even.
LANNER_INLINE F32 rint(F32 x) {
  const F32 room = splat32(0x1p23), a = abs(x);
  return a < room ? copysign(rounded(a + room) - room, x) : x;
}
LANNER_INLINE F64 rint(F64 x) {
  const F64 room = splat64(0x1p52), a = abs(x);
  return a < room ? copysign(rounded(a + room) - room, x) : x;
}
template <class Vector>
LANNER_INLINE Vector floor(Vector x) {
  const Vector r = rint(x);
  return copysign(r > x ? r - (Vector{} + 1) : r, x);
}
template <class Vector>
LANNER_INLINE Vector ceil(Vector x) {
  const Vector r = rint(x);
  return copysign(r < x ? r + (Vector{} + 1) : r, x);
}
template <class Vector>
LANNER_INLINE Vector trunc(Vector x) {
  return copysign(floor(abs(x)), x);
}
#endif

// x * 2^n for an integer n, |n| < 254 (2046), rounded once.
#if defined(__AVX512F__)
LANNER_INLINE F32 scale(F32 x, F32 n) { return (F32)_mm512_maskz_scalef_ps(0xffff, (__m512)x, (__m512)n); }
LANNER_INLINE F64 scale(F64 x, F64 n) { return (F64)_mm512_maskz_scalef_pd(0xff, (__m512d)x, (__m512d)n); }
#else
// 2^n, its exponent written beside 1.5 * 2^23 (2^52), where the low bits are the integer itself.
LANNER_INLINE F32 power_of_two(F32 n) { return (F32)((I32)(n + splat32(0x1.8p23 + 127)) << 23); }
LANNER_INLINE F64 power_of_two(F64 n) { return (F64)((I64)(n + splat64(0x1.8p52 + 1023)) << 52); }
template <class Vector>
LANNER_INLINE Vector scale(Vector x, Vector n) {
  const Vector half = rint(n * (Vector{} + 0.5f));
  return x * power_of_two(half) * power_of_two(n - half);
}
#endif

// Whether a lane of the mask is true.
template <class Mask>
LANNER_INLINE bool any(Mask mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_epi8((__m256i)mask) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_epi8((__m128i)mask) != 0;
#else
  uint64_t word[sizeof mask / 8], all = 0;
  __builtin_memcpy(word, &mask, sizeof mask);
  for (uint64_t w : word) all |= w;
  return all != 0;
#endif
}

// ---- across lanes, always in the same order ----------------------------------------------------------------

// Halves are added until one lane is left: the same tree whatever the compiler does.
template <class T>
LANNER_INLINE T reduce_add(V<T> v) {
  T lane[kLanes<T>];
  __builtin_memcpy(lane, &v, sizeof v);
  for (int half = kLanes<T> / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}
template <class T>
LANNER_INLINE T reduce_max(V<T> v) {
  T best = v[0];
  for (int i = 1; i < kLanes<T>; ++i) best = (v[i] > best || v[i] != v[i]) ? v[i] : best;
  return best;
}
template <class T>
LANNER_INLINE T reduce_min(V<T> v) {
  T best = v[0];
  for (int i = 1; i < kLanes<T>; ++i) best = (v[i] < best || v[i] != v[i]) ? v[i] : best;
  return best;
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
