// Elementary functions of vectors, within 4 units in the last place over the whole range, subnormals, infinities and
// NaN included (tests/cpp/math_test.cpp measures it). The coefficients interpolate each function at Chebyshev nodes,
// computed with 60 digits, which is within a small factor of the best polynomial of that degree.
#pragma once

#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// The element type of a vector.
template <class Vector>
struct ElementOf;
template <>
struct ElementOf<F32> {
  using Type = float;
};
template <>
struct ElementOf<F64> {
  using Type = double;
};
template <class Vector>
using Element = typename ElementOf<Vector>::Type;
template <class Vector>
constexpr bool kSingle = sizeof(Element<Vector>) == 4;

template <class Vector>
LANNER_INLINE Vector number(double x) {
  return splat(static_cast<Element<Vector>>(x));
}

// c0 + x (c1 + x (c2 + ...))
template <class Vector>
LANNER_INLINE Vector polynomial(Vector, double c0) {
  return number<Vector>(c0);
}
template <class Vector, class... C>
LANNER_INLINE Vector polynomial(Vector x, double c0, C... c) {
  return fma(polynomial(x, c...), x, number<Vector>(c0));
}

template <class Vector>
LANNER_INLINE Vector polynomial(Vector x, Vector c0, Vector c1, Vector c2) {
  return fma(fma(c2, x, c1), x, c0);
}

// ---- exponentials ---------------------------------------------------------------------------------------------------

// x = n log(2) + r, |r| <= log(2) / 2: log(2) in two parts, the first so short that n times it is exact.
template <class Vector>
struct ExpParts {
  Vector n, r;
};
template <class Vector>
LANNER_INLINE ExpParts<Vector> exp_parts(Vector x) {
  constexpr bool single = kSingle<Vector>;
  // Beside 1.5 * 2^23 (2^52) there is no room for a fraction.
  const Vector room = number<Vector>(single ? 0x1.8p23 : 0x1.8p52);
  const Vector n = rounded(fma(x, number<Vector>(0x1.71547652b82fep+0), room)) - room;
  Vector r = fma(n, number<Vector>(single ? -0x1.63p-1 : -0x1.62e42feep-1), x);
  r = fma(n, number<Vector>(single ? 0x1.bd0105c610ca8p-13 : -0x1.a39ef35793c76p-33), r);
  return {n, r};
}

// (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2: exp(r) - 1 has a relative error of 2^-29 and 2^-60.
template <class Vector>
LANNER_INLINE Vector exp_polynomial(Vector r) {
  if constexpr (kSingle<Vector>)  // by pairs: 3 additions deep in place of 5
    return polynomial(r * r, polynomial(r, 0x1p-1, 0x1.555556p-3), polynomial(r, 0x1.5554e8p-5, 0x1.1110ep-7),
                      polynomial(r, 0x1.6d43bp-10, 0x1.a1256cp-13));
  else
    return polynomial(r, 0x1p-1, 0x1.5555555555557p-3, 0x1.5555555555556p-5, 0x1.11111111100bep-7,
                      0x1.6c16c16c162c3p-10, 0x1.a01a01abf85abp-13, 0x1.a01a01a6e1e2ap-16, 0x1.71de01fdbf9cap-19,
                      0x1.27e4db46cddd1p-22, 0x1.af4e554377204p-26, 0x1.1f7340dbc337ep-29);
}
template <class Vector>
LANNER_INLINE Vector expm1_of_rest(Vector r) {
  return fma(r * r, exp_polynomial(r), r);
}

// x where it is NaN.
template <class Vector>
LANNER_INLINE Vector clamp(Vector x, double lo, double hi) {
  return max(number<Vector>(lo), min(number<Vector>(hi), x));
}

// For |x| of some 100 (750) at most, or NaN.
template <class Vector>
LANNER_INLINE Vector exp_in_range(Vector x) {
  const auto [n, r] = exp_parts(x);
  return scale(expm1_of_rest(r) + number<Vector>(1), n);
}
template <class Vector>
LANNER_INLINE Vector expm1_in_range(Vector x) {
  const auto [n, r] = exp_parts(x);
  // 2^n (exp(r) - 1) + (2^n - 1), all halved: 2^128 would overflow before its time.
  const Vector half = number<Vector>(0.5), half_power = scale(half, n);
  return fma(half_power, expm1_of_rest(r), half_power - half) * number<Vector>(2);
}

// Beyond the bounds the results are 0, -1 and infinity anyhow.
template <class Vector>
LANNER_INLINE Vector exp(Vector x) {
  return exp_in_range(kSingle<Vector> ? clamp(x, -104, 89) : clamp(x, -746, 710));
}
template <class Vector>
LANNER_INLINE Vector expm1(Vector x) {
  return copysign(expm1_in_range(kSingle<Vector> ? clamp(x, -20, 89) : clamp(x, -40, 710)), x);
}

// t / (t + 2), t = exp(2 |x|) - 1
template <class Vector>
LANNER_INLINE Vector tanh(Vector x) {
  const Vector a = min(number<Vector>(kSingle<Vector> ? 10 : 20), abs(x));  // from there on, 1
  const Vector t = expm1_in_range(a + a);
  return copysign(t / (t + number<Vector>(2)), x);
}

// With exp(-|x|) nothing overflows, and the small side keeps its digits.
template <class Vector>
LANNER_INLINE Vector sigmoid(Vector x) {
  const Vector one = number<Vector>(1);
  const Vector e = exp_in_range(max(number<Vector>(kSingle<Vector> ? -104 : -746), -abs(x)));
  return select(x < Vector{}, e, one) / (one + e);
}

// ---- logarithms -----------------------------------------------------------------------------------------------------

// x = 2^k m with m in [sqrt(1/2), sqrt(2)), for a positive normal x.
template <class Vector>
struct LogParts {
  Vector k, f;  // f = m - 1
};
LANNER_INLINE LogParts<F32> log_parts(F32 x) {
  const U32 from_root = (U32)x + (0x3f800000u - 0x3f3504f3u);  // sqrt(1/2) to 1
  const F32 m = (F32)((from_root & 0x7fffffu) + 0x3f3504f3u);
  // The exponent written beside 2^23 is 2^23 plus itself.
  return {(F32)((from_root >> 23) | 0x4b000000u) - splat32(0x1p23 + 127), m - splat32(1)};
}
LANNER_INLINE LogParts<F64> log_parts(F64 x) {
  const U64 from_root = (U64)x + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
  const F64 m = (F64)((from_root & 0xfffffffffffffu) + 0x3fe6a09e667f3bcdu);
  return {(F64)((from_root >> 52) | 0x4330000000000000u) - splat64(0x1p52 + 1023), m - splat64(1)};
}

// log(1 + f) + low, f as in LogParts: relative error 2^-28 and 2^-60. For float64 with s = f / (2 + f):
// log(1 + f) = 2 atanh(s) = f - f^2/2 + s (f^2/2 + R(s^2)), where the large terms carry no rounding of s.
template <class Vector>
LANNER_INLINE Vector log_of_rest(Vector f, Vector low) {
  const Vector square = f * f, half = number<Vector>(0.5) * square;
  if constexpr (kSingle<Vector>) {
    const Vector p = polynomial(f, 0x1.555554p-2, -0x1.fffffcp-3, 0x1.999d5ap-3, -0x1.555b4ap-3, 0x1.23d202p-3,
                                -0x1.fcf46ep-4, 0x1.dea43p-4, -0x1.d6393ep-4, 0x1.1d8e5ep-4);
    return f - (half - fma(f * square, p, low));
  } else {
    const Vector s = f / (f + number<Vector>(2)), z = s * s;
    const Vector rest =
        z * polynomial(z, 0x1.5555555555555p-1, 0x1.9999999999a38p-2, 0x1.2492492476c87p-2, 0x1.c71c720160b47p-3,
                       0x1.745cf901605f7p-3, 0x1.3b1c360763b8ap-3, 0x1.0fbe83c2cbcf3p-3, 0x1.0c04595972ab8p-3);
    return f - (half - fma(s, half + rest, low));
  }
}

// f(k, rest) for the parts of x. Subnormals, zero, infinity, negative numbers and NaN have a path of their own, which
// is taken by the whole vector and gives the others the same bits.
template <class Vector, class F>
[[gnu::noinline]] Vector log_with_edges(Vector x, F f) {
  const Vector infinity = number<Vector>(__builtin_inf()), nan = number<Vector>(__builtin_nan(""));
  const auto subnormal = x < number<Vector>(kSingle<Vector> ? 0x1p-126 : 0x1p-1022);
  const auto [k, rest] = log_parts(select(subnormal, x * number<Vector>(0x1p54), x));
  const Vector y = f(select(subnormal, k - number<Vector>(54), k), rest);
  const Vector edge = select(x == Vector{}, -infinity, select(x > Vector{}, x, nan));
  return select((x > Vector{}) & (x < infinity), y, edge);
}
template <class Vector, class F>
LANNER_INLINE Vector log_by_parts(Vector x, F f) {
  const auto usual =
      (x >= number<Vector>(kSingle<Vector> ? 0x1p-126 : 0x1p-1022)) & (x < number<Vector>(__builtin_inf()));
  if (__builtin_expect(any(~usual), 0)) return log_with_edges(x, f);
  const auto [k, rest] = log_parts(x);
  return f(k, rest);
}

template <class Vector>
LANNER_INLINE Vector log(Vector x) {
  return log_by_parts(x, [](Vector k, Vector rest) {
    constexpr bool single = kSingle<Vector>;
    const Vector low = k * number<Vector>(single ? -0x1.bd0105c610ca8p-13 : 0x1.a39ef35793c76p-33);
    return fma(k, number<Vector>(single ? 0x1.63p-1 : 0x1.62e42feep-1), log_of_rest(rest, low));
  });
}

template <class Vector>
LANNER_INLINE Vector log2(Vector x) {
  return log_by_parts(x, [](Vector k, Vector rest) {
    return fma(log_of_rest(rest, Vector{}), number<Vector>(0x1.71547652b82fep+0), k);
  });
}

template <class Vector>
LANNER_INLINE Vector log10(Vector x) {
  return log_by_parts(x, [](Vector k, Vector rest) {
    constexpr bool single = kSingle<Vector>;
    const Vector low = k * number<Vector>(single ? 0x1.3509f79fef312p-18 : 0x1.f79fef311f12bp-34);
    const Vector y = fma(log_of_rest(rest, Vector{}), number<Vector>(0x1.bcb7b1526e50ep-2), low);
    return fma(k, number<Vector>(single ? 0x1.344p-2 : 0x1.34413508p-2), y);
  });
}

// log(u) + d / u, where u + d is 1 + x without rounding; d / u has no meaning where u is 0 or infinite.
template <class Vector>
LANNER_INLINE Vector log1p(Vector x) {
  const Vector one = number<Vector>(1), u = rounded(one + x), x_in_u = rounded(u - one);
  const Vector d = (one - rounded(u - x_in_u)) + (x - x_in_u), correction = d / u, y = log(u);
  return copysign(select(correction == correction, y + correction, y), x);
}

// log(1 + x) for 0 <= x <= 1, where what log takes apart is known without the sum: 1 + x, or twice (1 + x) / 2.
template <class Vector>
LANNER_INLINE Vector log1p_of_fraction(Vector x) {
  constexpr bool single = kSingle<Vector>;
  const auto upper = x > number<Vector>(0.41421356237309503);  // sqrt(2) - 1
  const Vector f = select(upper, number<Vector>(0.5) * (x - number<Vector>(1)), x);
  const Vector low = number<Vector>(single ? -0x1.bd0105c610ca8p-13 : 0x1.a39ef35793c76p-33);
  const Vector high = number<Vector>(single ? 0x1.63p-1 : 0x1.62e42feep-1);
  return select(upper, high, Vector{}) + log_of_rest(f, select(upper, low, Vector{}));
}

// ---- the error function ---------------------------------------------------------------------------------------------

// erf(x) for |x| <= 0.6 (0.75): relative error 2^-24 and 2^-56.
template <class Vector>
LANNER_INLINE Vector erf_near_zero(Vector x) {
  const Vector z = x * x;
  if constexpr (kSingle<Vector>)
    return x * polynomial(z, 0x1.20dd74p+0, -0x1.8126f4p-2, 0x1.ce1222p-4, -0x1.b49bf8p-6, 0x1.27dc32p-8);
  else
    return x * polynomial(z, 0x1.20dd750429b6dp+0, -0x1.812746b0379e0p-2, 0x1.ce2f21a0424c3p-4, -0x1.b82ce31257412p-6,
                          0x1.565bcd03657c0p-8, -0x1.c02db1220cfe6p-11, 0x1.f9a2afa3a8f86p-14, -0x1.f4c5debf1228ap-17,
                          0x1.b90ecd4aeec12p-20, -0x1.564f71bbc0d35p-23, 0x1.8a312cb07e6ccp-27);
}

// erfc(a) = ratio * gaussian with gaussian = exp(-a^2), for a >= 0: a polynomial in t = (a - K) / (a + K), over a + K:
// relative error 2^-25. In float64, for a >= 0.5, the form of Shepherd and Laframboise (1981), over 1 + 2 a: relative
// error 2^-52.
template <class Vector>
struct ErfcParts {
  Vector a, ratio, gaussian;  // a: the argument, cut off where the gaussian is 0
};
template <class Vector>
LANNER_INLINE ErfcParts<Vector> erfc_parts(Vector a) {
  a = min(number<Vector>(kSingle<Vector> ? 10.5 : 27.5), a);  // 0 from there on
  Vector p;
  if constexpr (kSingle<Vector>) {
    const Vector one = number<Vector>(1), inverse = one / (a + number<Vector>(2)),
                 t = one - number<Vector>(4) * inverse;
    p = inverse * polynomial(t, 0x1.058672p+0, -0x1.5fd388p-1, 0x1.1e2dd8p-2, -0x1.2a86e2p-5, -0x1.605920p-6,
                             0x1.a82ddap-8, 0x1.9143bap-9, -0x1.afb2e6p-11, -0x1.343c4ap-11, 0x1.4ab930p-15,
                             0x1.0d163ep-14);
  } else {
    const Vector one = number<Vector>(1), K = number<Vector>(3), denominator = one + a + a;
    const Vector inverse = one / (denominator * (a + K)), t = (a - K) * denominator * inverse;
    p = (a + K) * inverse *
        polynomial(t, 0x1.40c522d7e4987p+0, -0x1.15c084bb9e938p-3, -0x1.85a15c58a9e0ep-5, 0x1.098366a5b6465p-3,
                   -0x1.e88b803a5a587p-4, 0x1.17ca287779e96p-4, -0x1.8574c4048cd6cp-6, 0x1.4b884f1af3a06p-9,
                   0x1.ef1bd719b6933p-10, -0x1.98db6aa96b40fp-11, -0x1.b90f72df6a70cp-14, 0x1.065beaec7e8e8p-13,
                   0x1.4b4120d2741f8p-18, -0x1.515a6464fcaa1p-16, -0x1.736415708f5d8p-21, 0x1.d2de9edfd93d7p-19,
                   0x1.31477e71bc16ep-22, -0x1.46ec15954a631p-21, -0x1.14e665f9bf5e9p-24, 0x1.5d35bd0a47237p-24);
  }
  // The rounding of a^2 matters where a^2 is large. It is known where there is an fma (elsewhere it reads as 0).
  const Vector square = rounded(a * a), rest = fma(a, a, -square);
  const Vector e = exp_in_range(-square);
  return {a, p, e - e * rest};
}
template <class Vector>
LANNER_INLINE Vector erfc_tail(Vector a) {
  const ErfcParts<Vector> parts = erfc_parts(a);
  return parts.ratio * parts.gaussian;
}

template <class Vector>
LANNER_INLINE Vector erf(Vector x) {
  const Vector a = abs(x);
  const auto near = a < number<Vector>(kSingle<Vector> ? 0.6 : 0.75);
  return select(near, erf_near_zero(x), copysign(number<Vector>(1) - erfc_tail(a), x));
}

template <class Vector>
LANNER_INLINE Vector erfc(Vector x) {
  const Vector a = abs(x), tail = erfc_tail(a);
  const Vector y = select(x < Vector{}, number<Vector>(2) - tail, tail);
  if constexpr (kSingle<Vector>)
    return y;
  else
    return select(a < number<Vector>(0.5), number<Vector>(1) - erf_near_zero(x), y);
}

// ---- sine and cosine ------------------------------------------------------------------------------------------------

// A scalar function, lane by lane: where a vector of it would not pay.
template <class T, class F>
[[gnu::noinline]] V<T> by_lane(V<T> x, F f) {
  T lane[kLanes<T>];
  __builtin_memcpy(lane, &x, sizeof lane);
  for (T& v : lane) v = f(v);
  __builtin_memcpy(&x, lane, sizeof lane);
  return x;
}
template <class T, class F>
[[gnu::noinline]] V<T> by_lane(V<T> x, V<T> y, F f) {
  T lane[kLanes<T>], other[kLanes<T>];
  __builtin_memcpy(lane, &x, sizeof lane);
  __builtin_memcpy(other, &y, sizeof other);
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = f(lane[i], other[i]);
  __builtin_memcpy(&x, lane, sizeof lane);
  return x;
}

// Up to here n pi/2 is exact in its first two parts of 33 bits.
constexpr double kLargestAngle = 0x1p20;

// sin(x + quarter * pi/2) for |x| < kLargestAngle; `kTerms` 4 suffices for a result that is rounded to float32.
template <int kTerms>
LANNER_INLINE F64 sin_of_quarters(F64 x, int64_t quarter) {
  const F64 room = splat64(0x1.8p52), shifted = rounded(fma(x, splat64(0x1.45f306dc9c883p-1), room)),
            n = shifted - room;
  const I64 q = (I64)shifted + quarter;
  F64 r = fma(n, splat64(-0x1.921fb544p+0), x);
  r = fma(n, splat64(-0x1.0b4611a6p-34), r);
  r = fma(n, splat64(-0x1.3198a2e037073p-69), r);
  const F64 z = r * r;
  F64 s, c;
  if constexpr (kTerms == 4) {
    s = polynomial(z, -0x1.555555545dd83p-3, 0x1.11110deeb33b2p-7, -0x1.a013a6edc8f34p-13, 0x1.6dbdd26f56d2dp-19);
    c = polynomial(z, 0x1.5555555502be6p-5, -0x1.6c16bf5495185p-10, 0x1.a015c40ec65ecp-16, -0x1.25242a3a17327p-22);
  } else {
    s = polynomial(z, -0x1.5555555555555p-3, 0x1.1111111111110p-7, -0x1.a01a01a019936p-13, 0x1.71de3a54605eep-19,
                   -0x1.ae64541266378p-26, 0x1.61217ec01749dp-33, -0x1.ab17a79237a19p-41);
    c = polynomial(z, 0x1.5555555555555p-5, -0x1.6c16c16c16c16p-10, 0x1.a01a01a019d0ap-16, -0x1.27e4fb7712bdfp-22,
                   0x1.1eed8deb6d561p-29, -0x1.9394b9c9c20a4p-37, 0x1.ab783376962cfp-45);
  }
  s = fma(r * z, s, r);
  c = fma(z * z, c, splat64(1) - splat64(0.5) * z);
  const F64 y = select((q & 1) != 0, c, s);
  return (F64)((I64)y ^ ((q & 2) << 62));
}

typedef float HalfF32 __attribute__((vector_size(LANNER_VECTOR_BYTES / 2)));

// In float64: no part of the angle is lost, for twice the work.
LANNER_INLINE F32 sin_of_quarters(F32 x, int64_t quarter) {
  HalfF32 half[2];
  __builtin_memcpy(half, &x, sizeof half);
  for (HalfF32& h : half)
    h = __builtin_convertvector(sin_of_quarters<4>(__builtin_convertvector(h, F64), quarter), HalfF32);
  __builtin_memcpy(&x, half, sizeof half);
  return x;
}
LANNER_INLINE F64 sin_of_quarters(F64 x, int64_t quarter) { return sin_of_quarters<7>(x, quarter); }

LANNER_INLINE float scalar_sin(float x) { return __builtin_sinf(x); }
LANNER_INLINE double scalar_sin(double x) { return __builtin_sin(x); }
LANNER_INLINE float scalar_cos(float x) { return __builtin_cosf(x); }
LANNER_INLINE double scalar_cos(double x) { return __builtin_cos(x); }

template <class Vector>
LANNER_INLINE Vector sin(Vector x) {
  using T = Element<Vector>;
  const auto large = ~(abs(x) < number<Vector>(kLargestAngle));
  const Vector y = select(x == Vector{}, x, sin_of_quarters(x, 0));  // -0
  if (__builtin_expect(any(large), 0)) return select(large, by_lane<T>(x, [](T v) { return scalar_sin(v); }), y);
  return y;
}
template <class Vector>
LANNER_INLINE Vector cos(Vector x) {
  using T = Element<Vector>;
  const auto large = ~(abs(x) < number<Vector>(kLargestAngle));
  const Vector y = sin_of_quarters(x, 1);
  if (__builtin_expect(any(large), 0)) return select(large, by_lane<T>(x, [](T v) { return scalar_cos(v); }), y);
  return y;
}

// ---- powers ---------------------------------------------------------------------------------------------------------

// x^y from |x|^y: the sign, and the points where C's pow gives something else.
template <class Vector>
LANNER_INLINE Vector power_with_sign(Vector x, Vector y, Vector power) {
  const Vector one = number<Vector>(1), magnitude = abs(x), infinity = number<Vector>(__builtin_inf());
  const auto is_integer = rint(y) == y;
  const Vector half = y * number<Vector>(0.5);
  power = select(is_integer & (rint(half) != half), copysign(power, x), power);
  power = select((x < Vector{}) & (magnitude < infinity) & ~is_integer, number<Vector>(__builtin_nan("")), power);
  power = select((magnitude == one) & (abs(y) == infinity), one, power);
  return select((x == one) | (y == Vector{}), one, power);
}

// exp(y log|x|) in float64: the exponent, 104 at most where it matters, keeps digits enough to be right in float32.
LANNER_INLINE F32 pow(F32 x, F32 y) {
  const F32 magnitude = abs(x);
  HalfF32 base[2], exponent[2];
  __builtin_memcpy(base, &magnitude, sizeof base);
  __builtin_memcpy(exponent, &y, sizeof exponent);
  for (int i = 0; i < 2; ++i) {
    const F64 power = __builtin_convertvector(exponent[i], F64) * log(__builtin_convertvector(base[i], F64));
    base[i] = __builtin_convertvector(exp(power), HalfF32);
  }
  F32 p;
  __builtin_memcpy(&p, base, sizeof p);
  return power_with_sign(x, y, p);
}

// A number as a sum: `low` is below half a unit in the last place of `high`, or little more.
struct Pair {
  F64 high, low;
};
LANNER_INLINE Pair sum_of(F64 larger, F64 smaller) {
  const F64 high = rounded(larger + smaller);
  return {high, smaller - rounded(high - larger)};
}
LANNER_INLINE Pair product_of(Pair a, Pair b) {  // needs a true fma
  const F64 high = rounded(a.high * b.high);
  return {high, fma(a.low, b.high, fma(a.high, b.low, fma(a.high, b.high, -high)))};
}

// log(x) to 2^-63 for x > 0, which the power multiplies by up to 745 / log(x): with s = f / (2 + f), 2 atanh(s) = 2 s +
// 2/3 s^3 + 2/5 s^5 + ..., of which the first two terms are pairs.
LANNER_INLINE Pair log_pair(F64 x) {
  const F64 two = splat64(2);
  const auto subnormal = x < splat64(0x1p-1022);
  const auto [exponent, f] = log_parts(select(subnormal, x * splat64(0x1p54), x));
  const F64 k = select(subnormal, exponent - splat64(54), exponent);
  const Pair d = sum_of(two, f);
  const F64 inverse = splat64(1) / d.high, quotient = rounded(f * inverse);
  const Pair s{quotient, fma(-quotient, d.low, fma(-quotient, d.high, f)) * inverse}, z = product_of(s, s);
  const Pair two_thirds{splat64(0x1.5555555555555p-1), splat64(0x1.5555555555555p-55)};
  const Pair cube = product_of(s, product_of(z, two_thirds));
  const F64 rest =
      s.high * (z.high * z.high) *
      polynomial(z.high, 0x1.999999999999ap-2, 0x1.2492492492521p-2, 0x1.c71c71c6eaa8bp-3, 0x1.745d177a8f3d1p-3,
                 0x1.3b1395d4edc40p-3, 0x1.1118c74ab78d6p-3, 0x1.df7ce91caa517p-4, 0x1.e02d1f1ff4c87p-4);
  const Pair first = sum_of(two * s.high, cube.high);
  // log(2) in two parts, k times the first of which is exact.
  const Pair sum = sum_of(k * splat64(0x1.62e42fefa38p-1), first.high);
  const F64 low = first.low + (fma(two, s.low, cube.low) + rest);
  return {sum.high, fma(k, splat64(0x1.ef35793c7673p-45), sum.low + low)};
}

// exp(y log|x|), to 1.5 units in the last place; exact where the power is a number of 53 bits.
LANNER_INLINE F64 pow(F64 x, F64 y) {
#if defined(__FMA__) || defined(__ARM_NEON)
  const F64 one = splat64(1), magnitude = abs(x), infinity = splat64(__builtin_inf());
  const Pair log = log_pair(magnitude), rough = product_of({y, F64{}}, log);
  const auto finite = abs(rough.high) < splat64(1000);
  const Pair power = sum_of(rough.high, select(finite, rough.low, F64{}));
  // As in exp, but with what each step rounds off.
  const F64 at = clamp(power.high, -746, 710), n = exp_parts(at).n;
  const F64 nearly = fma(n, splat64(-0x1.62e42feep-1), at), small = splat64(-0x1.a39ef35793c76p-33);
  const F64 r = rounded(fma(n, small, nearly));
  const F64 r_low = fma(n, small, nearly - r) + select(finite, power.low, F64{});
  const Pair e = sum_of(one, r);
  const F64 q = r * r * exp_polynomial(r);
  F64 p = scale(e.high + (e.low + fma(r_low, e.high + q, q)), n);
  const F64 edge = select((magnitude == F64{}) != (y < F64{}), F64{}, infinity);
  p = select((magnitude == F64{}) | (magnitude == infinity), select(y == y, edge, y), p);
  return power_with_sign(x, y, select(x == x, p, x));
#else
  return by_lane<double>(x, y, [](double a, double b) { return __builtin_pow(a, b); });
#endif
}

// ---- the rarer ones, from the C library -----------------------------------------------------------------------------

#define LANNER_BY_LANE(name)                                                  \
  LANNER_INLINE F32 name(F32 x) {                                             \
    return by_lane<float>(x, [](float v) { return __builtin_##name##f(v); }); \
  }                                                                           \
  LANNER_INLINE F64 name(F64 x) {                                             \
    return by_lane<double>(x, [](double v) { return __builtin_##name(v); });  \
  }
LANNER_BY_LANE(tan)
LANNER_BY_LANE(asin)
LANNER_BY_LANE(acos)
LANNER_BY_LANE(atan)
LANNER_BY_LANE(sinh)
LANNER_BY_LANE(cosh)
LANNER_BY_LANE(asinh)
LANNER_BY_LANE(acosh)
LANNER_BY_LANE(atanh)
#undef LANNER_BY_LANE

#define LANNER_BY_LANE_2(name)                                                               \
  LANNER_INLINE F32 name(F32 x, F32 y) {                                                     \
    return by_lane<float>(x, y, [](float a, float b) { return __builtin_##name##f(a, b); }); \
  }                                                                                          \
  LANNER_INLINE F64 name(F64 x, F64 y) {                                                     \
    return by_lane<double>(x, y, [](double a, double b) { return __builtin_##name(a, b); }); \
  }
LANNER_BY_LANE_2(atan2)
LANNER_BY_LANE_2(hypot)
#undef LANNER_BY_LANE_2

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
