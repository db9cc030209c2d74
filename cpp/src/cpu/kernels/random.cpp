#include "cpu/kernels/random.h"

#include "core/philox.h"
#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

constexpr int kChunk = kRandomChunk;
constexpr int kBlocks = kChunk / 4;  // Philox blocks in a chunk: as many as the widest vector has lanes

// The words of kLanes<float> blocks, from block `first` on. A block's word lies in a 64-bit lane, whose upper half may
// hold anything: the multiplication reads the lower half and gives both halves of the next word pair at once. Blocks of
// even number are in one set of vectors and those of odd number in another, so that a shift and a blend put the words
// in order.
LANNER_INLINE void philox_vector(uint64_t key, uint64_t high, uint64_t first, U32 out[4]) {
  constexpr int kPairs = kLanes<double>;
  U64 even{};
  for (int i = 0; i < kPairs; ++i) even[i] = 2 * i;
  even += first;
  const U64 odd = even + 1;
  const U64 m0 = U64{} + kPhiloxM0, m1 = U64{} + kPhiloxM1;
  const U64 c2 = U64{} + (high & 0xffffffff), c3 = U64{} + (high >> 32);
  U64 a[4] = {even, even >> 32, c2, c3}, b[4] = {odd, odd >> 32, c2, c3};
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const U64 key0 = U64{} + k0, key1 = U64{} + k1;
    const U64 a0 = mul_low_halves(a[0], m0), a1 = mul_low_halves(a[2], m1);
    const U64 b0 = mul_low_halves(b[0], m0), b1 = mul_low_halves(b[2], m1);
    a[0] = (a1 >> 32) ^ a[1] ^ key0;
    b[0] = (b1 >> 32) ^ b[1] ^ key0;
    a[1] = a1;
    b[1] = b1;
    a[2] = (a0 >> 32) ^ a[3] ^ key1;
    b[2] = (b0 >> 32) ^ b[3] ^ key1;
    a[3] = a0;
    b[3] = b0;
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  for (int w = 0; w < 4; ++w) out[w] = (U32)((a[w] & 0xffffffff) | (b[w] << 32));
}

// One chunk of words in the order that random.h tells.
LANNER_INLINE void chunk_words(uint64_t key, uint64_t high, uint64_t chunk, uint32_t* out) {
  constexpr int kWidth = kLanes<float>;
  for (int block = 0; block < kBlocks; block += kWidth) {
    U32 words[4];
    philox_vector(key, high, chunk * kBlocks + block, words);
    for (int w = 0; w < 4; ++w) __builtin_memcpy(out + w * kBlocks + block, &words[w], sizeof words[w]);
  }
}

// Draws again for one element whose first draw was refused: word `index` of attempt 1, 2, ..., which counts in the top
// 16 bits of the counter.
uint32_t word_again(const RandomSlice& s, uint64_t index, uint64_t attempt) {
  const uint64_t chunk = index / kChunk, within = index % kChunk;
  return philox(s.seed, s.call ^ (attempt << 48), chunk * kBlocks + within % kBlocks).word[within / kBlocks];
}

// Calls body(at, count, words) for each chunk of the slice: `at` counts from the slice's begin, `count` is kChunk but
// at the end. kWordsEach is 2 for elements of 64 bits: `words` then holds the lower words of the chunk's elements,
// followed by the upper ones.
template <int kWordsEach, class Body>
LANNER_INLINE void for_chunks(const RandomSlice& s, Body body) {
  alignas(64) uint32_t words[kChunk * kWordsEach];
  for (int64_t at = 0; at < s.n; at += kChunk) {
    const uint64_t chunk = static_cast<uint64_t>(s.begin + at) / kChunk;
    for (int i = 0; i < kWordsEach; ++i) chunk_words(s.seed, s.call, chunk * kWordsEach + i, words + i * kChunk);
    body(at, s.n - at < kChunk ? s.n - at : kChunk, words);
  }
}

// f(i) for the elements i of a chunk; the usual count is a constant, so that the loop is unrolled into vectors.
template <class F>
LANNER_INLINE void for_elements(int64_t count, F f) {
  if (count == kChunk) {
    for (int64_t i = 0; i < kChunk; ++i) f(i);
  } else {
    for (int64_t i = 0; i < count; ++i) f(i);
  }
}

void words(const RandomSlice& s, uint32_t* out) {
  for_chunks<1>(s, [&](int64_t at, int64_t count, const uint32_t* w) {
    __builtin_memcpy(out + at, w, static_cast<size_t>(count) * sizeof(uint32_t));
  });
}

// ---- floating --------------------------------------------------------------------------------------------

// Whole vectors of one chunk: draw(w, i) gives the vector of elements i, i + 1, ... of the chunk.
template <class T, class Draw>
LANNER_INLINE void store_chunk(T* out, int64_t count, Draw draw) {
  if (count == kChunk) {
    for (int i = 0; i < kChunk; i += kLanes<T>) store(out + i, draw(i));
    return;
  }
  for (int i = 0; i < count; i += kLanes<T>) {
    const int64_t left = count - i;
    store_n(out + i, draw(i), static_cast<size_t>(left < kLanes<T> ? left : kLanes<T>));
  }
}

LANNER_INLINE U32 load_words(const uint32_t* words) {
  U32 v;
  __builtin_memcpy(&v, words, sizeof v);
  return v;
}
LANNER_INLINE U64 widen_words(const uint32_t* words) {
  typedef uint32_t Half __attribute__((vector_size(LANNER_VECTOR_BYTES / 2)));
  Half v;
  __builtin_memcpy(&v, words, sizeof v);
  return __builtin_convertvector(v, U64);
}

// The upper 24 or 53 bits of the words as a number of [0, 1): exact.
LANNER_INLINE F32 unit(const uint32_t* words, int i, float) {
  return to_float((I32)(load_words(words + i) >> 8)) * 0x1p-24f;
}
LANNER_INLINE F64 unit(const uint32_t* words, int i, double) {
  const U64 bits = widen_words(words + i) >> 11 ^ widen_words(words + kChunk + i) << 21;
  return to_float((I64)bits) * 0x1p-53;
}

template <class T>
void uniform(const RandomSlice& s, T low, T scale, T last, T* out) {
  for_chunks<sizeof(T) / 4>(s, [&](int64_t at, int64_t count, const uint32_t* words) {
    store_chunk(out + at, count, [&](int i) {
      // The product is rounded before the sum, also where the machine could do both in one rounding.
      return min(splat(low) + rounded(unit(words, i, T()) * splat(scale)), splat(last));
    });
  });
}

// Taylor's series, as many terms as T's precision asks for within the reduced ranges below.
template <class T>
constexpr int kLogTerms = sizeof(T) == 4 ? 5 : 11;
template <class T>
constexpr int kSinTerms = sizeof(T) == 4 ? 5 : 9;
struct Series {
  double atanh[11], sin[9], cos[9];
};
constexpr Series make_series() {
  Series series{};
  for (int k = 0; k < 11; ++k) series.atanh[k] = 1.0 / (2 * k + 1);
  double factor = 1;  // (-1)^k / (2k)!
  for (int k = 0; k < 9; ++k) {
    series.cos[k] = factor;
    series.sin[k] = factor / (2 * k + 1);
    factor /= -(2.0 * k + 1) * (2.0 * k + 2);
  }
  return series;
}
constexpr Series kSeries = make_series();

// log of a positive normal number: x = 2^e m with m in [sqrt(1/2), sqrt(2)), log(m) = 2 atanh((m - 1) / (m + 1)).
template <class T>
LANNER_INLINE V<T> log_positive(V<T> x) {
  using Int = typename Vec<T>::Int;
  constexpr int kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr Int kSqrtHalf = sizeof(T) == 4 ? 0x3f3504f3 : static_cast<Int>(0x3fe6a09e667f3bcd);
  const M<T> shifted = (M<T>)x - kSqrtHalf;
  const V<T> m = (V<T>)((shifted & ((Int(1) << kMantissa) - 1)) + kSqrtHalf);
  const V<T> e = to_float(shifted >> kMantissa);
  const V<T> s = (m - T(1)) / (m + T(1)), s2 = s * s;
  V<T> sum = splat(T(0));
#pragma GCC unroll 11
  for (int k = kLogTerms<T> - 1; k >= 0; --k) sum = fma(sum, s2, splat(T(kSeries.atanh[k])));
  return fma(e, splat(T(0.693147180559945309417)), T(2) * s * sum);
}

// cos and sin of 2 pi t, t in [0, 1]: t is first reduced, exactly, to an eighth of a turn around a multiple of 1/4.
template <class T>
LANNER_INLINE void cos_sin_turns(V<T> t, V<T>& cos, V<T>& sin) {
  const M<T> quarter = to_int(t * T(4) + T(0.5));
  const V<T> x = (t * T(4) - to_float(quarter)) * T(1.57079632679489661923), x2 = x * x;
  V<T> s = splat(T(0)), c = splat(T(0));
#pragma GCC unroll 9
  for (int k = kSinTerms<T> - 1; k >= 0; --k) {
    s = fma(s, x2, splat(T(kSeries.sin[k])));
    c = fma(c, x2, splat(T(kSeries.cos[k])));
  }
  s *= x;
  const M<T> swap = -(quarter & 1);
  const V<T> sin_part = swap ? c : s, cos_part = swap ? s : c;
  constexpr int kSignShift = sizeof(T) * 8 - 2;
  cos = (V<T>)((M<T>)cos_part ^ ((quarter + 1) & 2) << kSignShift);
  sin = (V<T>)((M<T>)sin_part ^ (quarter & 2) << kSignShift);
}

// Box and Muller: two normals of two uniforms. The first is taken from (0, 1] with all the bits that T holds near 0,
// which is where the far tail comes from: up to 6.7 in float, 8.6 in double.
template <class T>
LANNER_INLINE void normal_pair(V<T> u, V<T> t, V<T>& z0, V<T>& z1) {
  const V<T> r = sqrt(T(-2) * log_positive<T>(u));
  V<T> c, s;
  cos_sin_turns<T>(t, c, s);
  z0 = r * c;
  z1 = r * s;
}

void normal_f32(const RandomSlice& s, float mean, float std, float* out) {
  for_chunks<1>(s, [&](int64_t at, int64_t count, const uint32_t* words) {
    alignas(64) float z[kChunk];
    for (int half = 0; half < kChunk; half += kChunk / 2)
      for (int i = half; i < half + kBlocks; i += kLanes<float>) {
        const F32 u = (__builtin_convertvector(load_words(words + i), F32) + 1.0f) * 0x1p-32f;
        F32 z0, z1;
        normal_pair<float>(u, unit(words, i + kBlocks, 0.0f), z0, z1);
        store(z + i, fma(z0, splat(std), splat(mean)));
        store(z + i + kBlocks, fma(z1, splat(std), splat(mean)));
      }
    __builtin_memcpy(out + at, z, static_cast<size_t>(count) * sizeof(float));
  });
}

void normal_f64(const RandomSlice& s, double mean, double std, double* out) {
  for_chunks<2>(s, [&](int64_t at, int64_t count, const uint32_t* words) {
    alignas(64) double z[kChunk];
    for (int i = 0; i < kChunk / 2; i += kLanes<double>) {
      const F64 u = unit(words, i, 0.0) + 0x1p-53;
      F64 z0, z1;
      normal_pair<double>(u, unit(words, i + kChunk / 2, 0.0), z0, z1);
      store(z + i, fma(z0, splat(std), splat(mean)));
      store(z + i + kChunk / 2, fma(z1, splat(std), splat(mean)));
    }
    __builtin_memcpy(out + at, z, static_cast<size_t>(count) * sizeof(double));
  });
}

// ---- choices ---------------------------------------------------------------------------------------------

// word < threshold, for thresholds up to 2^32: a comparison of 32 bits with the greatest word that passes.
void bernoulli(const RandomSlice& s, uint64_t threshold, uint8_t* out) {
  if (threshold == 0) {
    __builtin_memset(out, 0, static_cast<size_t>(s.n));
    return;
  }
  const uint32_t greatest = static_cast<uint32_t>(threshold - 1);
  for_chunks<1>(s, [&](int64_t at, int64_t count, const uint32_t* words) {
    uint8_t* o = out + at;
    for_elements(count, [&](int64_t i) { o[i] = words[i] <= greatest; });
  });
}

template <class T>
void dropout(const RandomSlice& s, uint64_t threshold, T scale, const T* x, T* out) {
  const uint32_t greatest = static_cast<uint32_t>(threshold - 1);
  if (threshold == 0) scale = 0;
  for_chunks<1>(s, [&](int64_t at, int64_t count, const uint32_t* words) {
    const T* from = x + at;
    T* to = out + at;
    for_elements(count, [&](int64_t i) { to[i] = from[i] * (words[i] <= greatest ? scale : T(0)); });
  });
}

// Lemire, Fast random integer generation in an interval, 2019: the upper half of word * range, refused where the lower
// half is one of the 2^32 mod range values that would come once too often.
template <class T>
void integers(const RandomSlice& s, uint64_t low, uint64_t range, T* out) {
  if (range - 1 <= 0xffffffff) {
    const uint64_t refused = (uint64_t{1} << 32) % range;
    for_chunks<1>(s, [&](int64_t at, int64_t count, const uint32_t* words) {
      T* o = out + at;
      uint32_t again = 0;
      for_elements(count, [&](int64_t i) {
        const uint64_t product = words[i] * range;
        again |= static_cast<uint32_t>(product) < refused;
        o[i] = static_cast<T>(low + (product >> 32));
      });
      if (!again) return;
      for (int64_t i = 0; i < count; ++i) {
        uint64_t product = words[i] * range;
        for (uint64_t attempt = 1; static_cast<uint32_t>(product) < refused; ++attempt)
          product = word_again(s, static_cast<uint64_t>(s.begin + at + i), attempt) * range;
        o[i] = static_cast<T>(low + (product >> 32));
      }
    });
    return;
  }
  using Wide = unsigned __int128;
  const uint64_t refused = range == 0 ? 0 : -range % range;
  for_chunks<2>(s, [&](int64_t at, int64_t count, const uint32_t* words) {
    for (int64_t i = 0; i < count; ++i) {
      uint64_t bits = words[i] | static_cast<uint64_t>(words[kChunk + i]) << 32;
      if (range != 0) {
        Wide product = static_cast<Wide>(bits) * range;
        const uint64_t first = static_cast<uint64_t>(s.begin + at) * 2 + static_cast<uint64_t>(i);
        for (uint64_t attempt = 1; static_cast<uint64_t>(product) < refused; ++attempt) {
          bits = word_again(s, first, attempt) | static_cast<uint64_t>(word_again(s, first + kChunk, attempt)) << 32;
          product = static_cast<Wide>(bits) * range;
        }
        bits = static_cast<uint64_t>(product >> 64);
      }
      out[at + i] = static_cast<T>(low + bits);
    }
  });
}

}  // namespace

extern const RandomKernels random_kernels;
const RandomKernels random_kernels = {
    words,          uniform<float>,    uniform<double>,    normal_f32,         normal_f64,
    bernoulli,      integers<uint8_t>, integers<uint16_t>, integers<uint32_t>, integers<uint64_t>,
    dropout<float>, dropout<double>,
};

}  // namespace lanner::cpu::LANNER_ISA
