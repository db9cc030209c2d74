// Casts between all dtypes, and strided copies.
#include "cpu/kernels/elementwise_loops.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// ---- values ---------------------------------------------------------------------------------------------------------

struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};
struct Truth {
  uint8_t byte;
};

LANNER_INLINE float bits_to_float(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
LANNER_INLINE uint32_t float_to_bits(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Without branches, so that the loops become vectors.
LANNER_INLINE float widen(Brain x) { return bits_to_float(static_cast<uint32_t>(x.bits) << 16); }
LANNER_INLINE Brain narrow_brain(float x) {
  const uint32_t bits = float_to_bits(x);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return {static_cast<uint16_t>(x != x ? (bits >> 16) | 0x40 : rounded)};
}

LANNER_INLINE float widen(Half x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16, magnitude = x.bits & 0x7fff;
  // Exponent and fraction moved to their places; a multiplication by 2^112 mends the bias, subnormals included.
  const float scaled = bits_to_float(magnitude << 13) * 0x1p112f;
  const uint32_t bits = magnitude >= 0x7c00 ? (magnitude << 13) | 0x7f800000 : float_to_bits(scaled);
  return bits_to_float(bits | sign);
}
LANNER_INLINE Half narrow_half(float x) {
  const uint32_t bits = float_to_bits(x), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  // Below 2^-14 the float adder rounds to multiples of 2^-24.
  const uint32_t small = float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000;
  const uint32_t normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13;
  uint32_t half = magnitude < 0x38800000 ? small : normal;
  half = magnitude >= 0x477ff000 ? 0x7c00 : half;                               // 65520 and above round to infinity
  half = magnitude > 0x7f800000 ? 0x7e00 | ((magnitude >> 13) & 0x1ff) : half;  // a NaN stays one
  return {static_cast<uint16_t>(half | sign)};
}

// Float to integer: what does not fit, and NaN, would be undefined. Cut off, then modulo 2^64; outside of int64 and
// uint64 the smallest int64, as the processor's own conversion has it.
template <class To, class From>
LANNER_INLINE To to_integer(From x) {
  if constexpr (sizeof(To) <= 2) {
    return static_cast<To>(x > From(-2147483648.0) && x < From(2147483648.0) ? static_cast<int32_t>(x) : 0);
  } else if constexpr (sizeof(To) == 4 && kIsSigned<To>) {
    return x >= From(-2147483648.0) && x < From(2147483648.0) ? static_cast<int32_t>(x) : INT32_MIN;
  } else if constexpr (sizeof(To) == 4) {
    return static_cast<uint32_t>(
        x > From(-9223372036854775808.0) && x < From(9223372036854775808.0) ? static_cast<int64_t>(x) : 0);
  } else {
    if (x >= From(-9223372036854775808.0) && x < From(9223372036854775808.0))
      return static_cast<To>(static_cast<int64_t>(x));
    if (!kIsSigned<To> && x >= From(9223372036854775808.0) && x < From(18446744073709551616.0))
      return static_cast<To>(static_cast<uint64_t>(x));
    return static_cast<To>(INT64_MIN);
  }
}

template <class To, class From>
struct Convert {
  LANNER_INLINE static To run(From x) {
    if constexpr (kIsFloat<From> && !kIsFloat<To>)
      return to_integer<To>(x);
    else
      return static_cast<To>(x);
  }
};
template <class T>
struct Convert<T, T> {
  LANNER_INLINE static T run(T x) { return x; }
};
template <class From>
struct Convert<Truth, From> {
  LANNER_INLINE static Truth run(From x) { return {static_cast<uint8_t>(x != 0)}; }
};
template <class To>
struct Convert<To, Truth> {
  LANNER_INLINE static To run(Truth x) { return static_cast<To>(x.byte); }
};
// The 16-bit floats go through float. From float64 that rounds twice, so the first time to odd: the sticky bit keeps
// the second rounding right. Integers beyond 2^24 go through float64.
LANNER_INLINE float round_to_odd(double x) {
  float f = static_cast<float>(x);
  const double back = f;
  const uint32_t bits = float_to_bits(f);
  const bool inexact = back != x && x == x && (bits & 0x7fffffff) != 0x7f800000;
  // One step towards zero if rounding went away from it; then the last bit is set.
  const bool away = (x > 0 ? back > x : back < x);
  return inexact ? bits_to_float((bits - (away ? 1 : 0)) | 1) : f;
}
template <class From>
LANNER_INLINE float towards_half(From x) {
  if constexpr (sizeof(From) == 8 || (sizeof(From) == 4 && !kIsFloat<From>))
    return round_to_odd(static_cast<double>(x));
  else
    return static_cast<float>(x);
}
#define LANNER_16_BIT(Type, narrow)                                                                   \
  template <class From>                                                                               \
  struct Convert<Type, From> {                                                                        \
    LANNER_INLINE static Type run(From x) { return narrow(towards_half(x)); }                         \
  };                                                                                                  \
  template <class To>                                                                                 \
  struct Convert<To, Type> {                                                                          \
    LANNER_INLINE static To run(Type x) { return Convert<To, float>::run(widen(x)); }                 \
  };                                                                                                  \
  template <>                                                                                         \
  struct Convert<Type, Type> {                                                                        \
    LANNER_INLINE static Type run(Type x) { return x; }                                               \
  };                                                                                                  \
  template <>                                                                                         \
  struct Convert<Type, Truth> {                                                                       \
    LANNER_INLINE static Type run(Truth x) { return narrow(static_cast<float>(x.byte)); }             \
  };                                                                                                  \
  template <>                                                                                         \
  struct Convert<Truth, Type> {                                                                       \
    LANNER_INLINE static Truth run(Type x) { return {static_cast<uint8_t>((x.bits & 0x7fff) != 0)}; } \
  };
LANNER_16_BIT(Half, narrow_half)
LANNER_16_BIT(Brain, narrow_brain)
#undef LANNER_16_BIT
template <>
struct Convert<Truth, Truth> {
  LANNER_INLINE static Truth run(Truth x) { return x; }
};
template <>
struct Convert<Half, Brain> {
  LANNER_INLINE static Half run(Brain x) { return narrow_half(widen(x)); }
};
template <>
struct Convert<Brain, Half> {
  LANNER_INLINE static Brain run(Half x) { return narrow_brain(widen(x)); }
};

template <class From, class To>
void cast(const void* from, void* to, int64_t n) {
  const From* x = static_cast<const From*>(from);
  To* y = static_cast<To*>(to);
  for (int64_t i = 0; i < n; ++i) y[i] = Convert<To, From>::run(x[i]);
}

#if defined(__F16C__)
template <>
void cast<Half, float>(const void* from, void* to, int64_t n) {
  const auto* x = static_cast<const uint16_t*>(from);
  auto* y = static_cast<float*>(to);
  int64_t i = 0;
  for (; i + kLanes<float> <= n; i += kLanes<float>) store(y + i, load_half(x + i));
  for (; i < n; ++i) y[i] = widen(Half{x[i]});
}
template <>
void cast<float, Half>(const void* from, void* to, int64_t n) {
  const auto* x = static_cast<const float*>(from);
  auto* y = static_cast<uint16_t*>(to);
  int64_t i = 0;
  for (; i + kLanes<float> <= n; i += kLanes<float>) store_half(y + i, load(x + i));
  for (; i < n; ++i) y[i] = narrow_half(x[i]).bits;
}
#endif

// ---- copies ---------------------------------------------------------------------------------------------------------

// A square of L x L elements of 4 or 8 bytes, read and written in whole vectors, so that each cache line is touched
// once: with strides of a large power of two, lines that are needed again would have thrown each other out.
template <class Vector, class T>
LANNER_INLINE void transpose_square(const T* from, int64_t from_step, T* to, int64_t to_row) {
  constexpr int L = sizeof(Vector) / sizeof(T);
  Vector row[L], next[L], low_half, high_half;
  for (int i = 0; i < L; ++i) {
    low_half[i] = static_cast<T>((i & 1) * L + i / 2);
    high_half[i] = static_cast<T>((i & 1) * L + i / 2 + L / 2);
    __builtin_memcpy(&row[i], from + i * from_step, sizeof(Vector));
  }
  // Rows i and i + L/2 interleaved: log2(L) times, and the square is transposed.
#pragma GCC unroll 4
  for (int round = 1; round < L; round *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < L / 2; ++i) {
      next[2 * i] = __builtin_shuffle(row[i], row[i + L / 2], low_half);
      next[2 * i + 1] = __builtin_shuffle(row[i], row[i + L / 2], high_half);
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) row[i] = next[i];
  }
  for (int i = 0; i < L; ++i) __builtin_memcpy(to + i * to_row, &row[i], sizeof(Vector));
}

// to[r, c] = from[r, c] where the columns are neighbours in `to` and the rows in `from`.
template <class T>
void transpose(const T* from, int64_t from_step, T* to, int64_t to_row, int64_t rows, int64_t columns) {
  int64_t whole = 0;
  if constexpr (sizeof(T) >= 4) {
    // AVX2 shuffles within 16 bytes; crossing them takes three times as long as it saves.
    typedef T Vector __attribute__((vector_size(LANNER_VECTOR_BYTES == 32 ? 16 : LANNER_VECTOR_BYTES)));
    constexpr int64_t L = sizeof(Vector) / sizeof(T);
    whole = rows / L * L;
    for (int64_t r = 0; r < whole; r += L) {
      int64_t c = 0;
      for (; c + L <= columns; c += L)
        transpose_square<Vector>(from + r + c * from_step, from_step, to + r * to_row + c, to_row);
      for (; c < columns; ++c)
        for (int64_t i = r; i < r + L; ++i) to[i * to_row + c] = from[i + c * from_step];
    }
  }
  for (int64_t r = whole; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[r * to_row + c] = from[r + c * from_step];
}

// Squares that fit the first-level cache on both sides.
constexpr int64_t kSquare = 64;

template <class T>
void copy(const CopyBlock& b) {
  const T* from = static_cast<const T*>(b.from);
  T* to = static_cast<T*>(b.to);
  if (b.to_step == 1 && b.from_step == 1) {
    for (int64_t r = 0; r < b.rows; ++r)
      __builtin_memcpy(to + r * b.to_row, from + r * b.from_row, static_cast<size_t>(b.columns) * sizeof(T));
  } else if (b.to_step == 1 && b.from_step == 0) {
    for (int64_t r = 0; r < b.rows; ++r) {
      const T same = from[r * b.from_row];
      T* out = to + r * b.to_row;
      for (int64_t i = 0; i < b.columns; ++i) out[i] = same;
    }
  } else if ((b.from_row == 1 && b.to_step == 1) || (b.from_step == 1 && b.to_row == 1)) {
    const bool by_rows = b.from_row == 1;  // else the roles of rows and columns are exchanged
    const int64_t rows = by_rows ? b.rows : b.columns, columns = by_rows ? b.columns : b.rows;
    const int64_t from_step = by_rows ? b.from_step : b.from_row, to_row = by_rows ? b.to_row : b.to_step;
    for (int64_t r = 0; r < rows; r += kSquare)
      for (int64_t c = 0; c < columns; c += kSquare)
        transpose(from + r + c * from_step, from_step, to + r * to_row + c, to_row,
                  kSquare < rows - r ? kSquare : rows - r, kSquare < columns - c ? kSquare : columns - c);
  } else {
    for (int64_t r = 0; r < b.rows; ++r)
      for (int64_t c = 0; c < b.columns; ++c) to[r * b.to_row + c * b.to_step] = from[r * b.from_row + c * b.from_step];
  }
}

#define LANNER_CASTS(From)                                                                                    \
  {cast<From, Truth>,  cast<From, uint8_t>, cast<From, uint16_t>, cast<From, uint32_t>, cast<From, uint64_t>, \
   cast<From, int8_t>, cast<From, int16_t>, cast<From, int32_t>,  cast<From, int64_t>,  cast<From, Half>,     \
   cast<From, Brain>,  cast<From, float>,   cast<From, double>}

}  // namespace

const CopyKernels copy_kernels = {
    {LANNER_CASTS(Truth), LANNER_CASTS(uint8_t), LANNER_CASTS(uint16_t), LANNER_CASTS(uint32_t), LANNER_CASTS(uint64_t),
     LANNER_CASTS(int8_t), LANNER_CASTS(int16_t), LANNER_CASTS(int32_t), LANNER_CASTS(int64_t), LANNER_CASTS(Half),
     LANNER_CASTS(Brain), LANNER_CASTS(float), LANNER_CASTS(double)},
    {copy<uint8_t>, copy<uint16_t>, copy<uint32_t>, copy<uint64_t>},
};

}  // namespace lanner::cpu::LANNER_ISA
