#include "cpu/kernels/channel_norm.h"

#include "cpu/kernels/conv_epilogue.h"
#include "cpu/kernels/lines.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// Planes of a few elements, down to length = 1, are columns of the matrix [N, channels * length]: vectors run over several
// channels. The vectors of longer planes run along each.

// As many float64 as a vector of T has lanes: lane by lane, a channel's planes are added up in them.
template <class T>
using Wide [[gnu::vector_size(sizeof(double) * kLanes<T>)]] = double;

template <class T>
LANNER_INLINE Wide<T> widen(V<T> v) {
  return __builtin_convertvector(v, Wide<T>);
}
template <class T>
double total(const Wide<T>& v) {
  double lane[kLanes<T>];
  __builtin_memcpy(lane, &v, sizeof lane);
  for (int half = kLanes<T> / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}

constexpr int64_t kSmallPlane = 256;
// Columns that are worked on together, and rows of them that go into a sum before it goes back to memory.
constexpr int64_t kColumnBlock = 1024, kRowBlock = 8;
// Rows whose mean is taken off all before they are squared.
constexpr int64_t kPivotRows = 16;

template <class T>
struct Two {
  V<T> a{}, b{};
  LANNER_INLINE void operator+=(const Two& other) { a += other.a, b += other.b; }
};
template <class T>
LANNER_INLINE V<T> or_zero(Part<T> part, V<T> v) {
  return part.or_else(v, 0);
}
template <class T>
LANNER_INLINE Two<T> or_zero(Part<T> part, const Two<T>& v) {
  return {part.or_else(v.a, 0), part.or_else(v.b, 0)};
}
template <class T>
struct Sum {
  Wide<T> a{};
  LANNER_INLINE void operator+=(V<T> v) { a += widen<T>(v); }
};
template <class T>
struct TwoSums {
  Wide<T> a{}, b{};
  LANNER_INLINE void operator+=(const Two<T>& v) { a += widen<T>(v.a), b += widen<T>(v.b); }
};

// sum += f(vector, offset) over a line; in T over 64 vectors at most.
template <class T, class Term, class S, class F>
LANNER_INLINE void add_line(S& sum, int64_t n, F f) {
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
  while (i + 4 * L <= n) {
    Term part[4] = {};
    const int64_t end = n - i < 256 * L ? n : i + 256 * L;
    for (; i + 4 * L <= end; i += 4 * L)
      for (int k = 0; k < 4; ++k) part[k] += f(Whole<T>{}, i + k * L);
    part[0] += part[1], part[2] += part[3];
    part[0] += part[2];
    sum += part[0];
  }
  Term rest{};
  for (; i + L <= n; i += L) rest += f(Whole<T>{}, i);
  if (i < n) rest += or_zero<T>(Part<T>{n - i}, f(Part<T>{n - i}, i));
  sum += rest;
}

// f(vector, offset into x) summed over the planes of channel c.
template <class T, class Term, class S, class F>
LANNER_INLINE S sum_planes(const ChannelRange& r, int64_t c, F f) {
  S sum;
  for (int64_t n = r.n0; n < r.n1; ++n) {
    const int64_t at = (n * r.channels + c) * r.length;
    add_line<T, Term>(sum, r.length, [&](auto v, int64_t i) __attribute__((always_inline)) { return f(v, at + i); });
  }
  return sum;
}

// A block of channels as columns.
struct Columns {
  int64_t c0, c1, length, row;
  int64_t begin, width;  // in a row
};
// f(Columns) for blocks that cover r.
template <class F>
LANNER_INLINE void each_block(const ChannelRange& r, F f) {
  const int64_t block = kColumnBlock / r.length;
  for (int64_t c = r.c0; c < r.c1; c += block) {
    const int64_t end = r.c1 - c < block ? r.c1 : c + block;
    f(Columns{c, end, r.length, r.channels * r.length, c * r.length, (end - c) * r.length});
  }
}

// An array by channel as one by column of the block, in `memory` unless it is that already.
template <class T>
LANNER_INLINE const T* by_column(const Columns& b, const T* of, T* memory) {
  if (b.length == 1) return of + b.c0;
  T* to = memory;
  for (int64_t c = b.c0; c < b.c1; ++c)
    for (int64_t i = 0; i < b.length; ++i) *to++ = of[c];
  return memory;
}
template <class T, class F>
LANNER_INLINE double sum_of_channel(const Columns& b, int64_t c, F f) {
  double sum = 0;
  for (int64_t i = (c - b.c0) * b.length; i < (c - b.c0 + 1) * b.length; ++i) sum += f(i);
  return sum;
}

// a[i], b[i] = the sums over rows of the two terms f(vector, offset into x, i) of column i.
template <class T, class F>
LANNER_INLINE void sum_columns(const Columns& columns, const ChannelRange& r, T* a, T* b, F f) {
  for (int64_t i = 0; i < columns.width; ++i) a[i] = b[i] = 0;
  for (int64_t n = r.n0; n < r.n1;) {
    const int64_t end = r.n1 - n < kRowBlock ? r.n1 : n + kRowBlock;
    each_vector<T>(
        columns.width, [&](auto v, int64_t i) __attribute__((always_inline)) {
          Two<T> sum;
          for (int64_t row = n; row < end; ++row) sum += f(v, row * columns.row + columns.begin + i, i);
          v.store(a + i, v.load(a + i) + sum.a);
          v.store(b + i, v.load(b + i) + sum.b);
        });
    n = end;
  }
}

// The moments of x - pivot, where pivot is the mean of the first rows: squaring before the mean is known loses a factor of
// rows / kPivotRows at most, and nothing where the rows are alike.
template <class T>
void moments_of_columns(const T* x, const ChannelRange& r, const Columns& columns, T* mean, T* m2) {
  const int64_t rows = r.n1 - r.n0, some = rows < kPivotRows ? rows : kPivotRows;
  T pivot[kColumnBlock];
  each_vector<T>(columns.width, [&](auto v, int64_t i) {
    V<T> sum{};
    for (int64_t n = 0; n < some; ++n) sum += v.load(x + (r.n0 + n) * columns.row + columns.begin + i);
    v.store(pivot + i, sum / splat(static_cast<T>(some)));
  });
  sum_columns(
      columns, r, mean, m2, [&](auto v, int64_t at, int64_t i) __attribute__((always_inline)) {
        const V<T> d = v.load(x + at) - v.load(pivot + i);
        return Two<T>{d, d * d};
      });
  const V<T> count = splat(static_cast<T>(rows));
  each_vector<T>(columns.width, [&](auto v, int64_t i) {
    const V<T> sum = v.load(mean + i), d = sum / count;
    v.store(mean + i, v.load(pivot + i) + d);
    v.store(m2 + i, max(v.load(m2 + i) - sum * d, V<T>{}));
  });
}

template <class T>
void moments(const T* x, const ChannelRange& r, T* mean, T* m2) {
  const double rows = static_cast<double>(r.n1 - r.n0), length = static_cast<double>(r.length);
  if (r.length < kSmallPlane) {
    each_block(r, [&](const Columns& columns) {
      if (r.length == 1) return moments_of_columns(x, r, columns, mean + columns.c0, m2 + columns.c0);
      T means[kColumnBlock], m2s[kColumnBlock];
      moments_of_columns(x, r, columns, means, m2s);
      for (int64_t c = columns.c0; c < columns.c1; ++c) {
        const double m =
            sum_of_channel<T>(columns, c, [&](int64_t i) { return static_cast<double>(means[i]); }) / length;
        mean[c] = static_cast<T>(m);
        m2[c] = static_cast<T>(sum_of_channel<T>(columns, c, [&](int64_t i) {
          const double d = static_cast<double>(means[i]) - m;
          return static_cast<double>(m2s[i]) + rows * d * d;
        }));
      }
    });
    return;
  }
  for (int64_t c = r.c0; c < r.c1; ++c) {
    const double sum =
        total<T>(sum_planes<T, V<T>, Sum<T>>(r, c, [&](auto v, int64_t at) { return v.load(x + at); }).a);
    mean[c] = static_cast<T>(sum / (rows * length));
    const V<T> center = splat(mean[c]);
    m2[c] = static_cast<T>(total<T>(sum_planes<T, V<T>, Sum<T>>(r, c, [&](auto v, int64_t at) {
                                      const V<T> d = v.load(x + at) - center;
                                      return d * d;
                                    }).a));
  }
}

// Chan's update, piece by piece.
template <class T>
void merge(const T* means, const T* m2s, const double* counts, int64_t pieces, int64_t channels, T* mean, T* m2) {
  each_vector<T>(channels, [&](auto v, int64_t i) {
    Wide<T> m{}, q{};
    double before = 0;
    for (int64_t p = 0; p < pieces; ++p) {
      const double all = before + counts[p], share = counts[p] / all;
      const Wide<T> d = widen<T>(v.load(means + p * channels + i)) - m;
      m += d * share;
      q += widen<T>(v.load(m2s + p * channels + i)) + d * d * (before * share);
      before = all;
    }
    v.store(mean + i, __builtin_convertvector(m, V<T>));
    v.store(m2 + i, __builtin_convertvector(q, V<T>));
  });
}

template <class T>
void inverse_std(T* rstd, double count, double eps, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    rstd[i] = static_cast<T>(1 / __builtin_sqrt(static_cast<double>(rstd[i]) / count + eps));
}

// f(vector, offset, values) over all elements of r; values: of K arrays by channel.
template <class T, int K, class F>
LANNER_INLINE void each_element(const ChannelRange& r, const T* const (&of)[K], F f) {
  V<T> values[K];
  if (r.length < kSmallPlane) {
    each_block(r, [&](const Columns& columns) {
      T memory[K][kColumnBlock];
      const T* column[K];
      for (int k = 0; k < K; ++k) column[k] = by_column(columns, of[k], memory[k]);
      for (int64_t n = r.n0; n < r.n1; ++n) {
        const int64_t base = n * columns.row + columns.begin;
        each_vector<T>(
            columns.width, [&](auto v, int64_t i) __attribute__((always_inline)) {
              for (int k = 0; k < K; ++k) values[k] = v.load(column[k] + i);
              f(v, base + i, values);
            });
      }
    });
    return;
  }
  for (int64_t n = r.n0; n < r.n1; ++n) {
    for (int64_t c = r.c0; c < r.c1; ++c) {
      const int64_t base = (n * r.channels + c) * r.length;
      for (int k = 0; k < K; ++k) values[k] = splat(of[k][c]);
      each_vector<T>(r.length, [&](auto v, int64_t i) __attribute__((always_inline)) { f(v, base + i, values); });
    }
  }
}

template <class T>
size_t lanes_of(Whole<T>) {
  return kLanes<T>;
}
template <class T>
size_t lanes_of(Part<T> p) {
  return static_cast<size_t>(p.n);
}

template <class T>
void apply(const T* x, T* y, const ChannelRange& r, const T* mean, const T* scale, const T* shift,
           const Epilogue<T>& epilogue) {
  const Finish<T> finish(epilogue, y);
  const auto affine = [&](auto v, int64_t at, const V<T>* k) { return fma(v.load(x + at) - k[0], k[1], k[2]); };
  if (finish.any) {
    each_element<T, 3>(r, {mean, scale, shift}, [&](auto v, int64_t at, const V<T>* k) {
      v.store(y + at, finish(affine(v, at, k), y + at, lanes_of(v)));
    });
  } else {
    each_element<T, 3>(r, {mean, scale, shift},
                       [&](auto v, int64_t at, const V<T>* k) { v.store(y + at, affine(v, at, k)); });
  }
}

// g at an offset, gated.
template <class T>
struct Open {
  const T* g;
  LANNER_INLINE V<T> operator()(auto v, int64_t at) const { return v.load(g + at); }
};
template <class T>
struct Gated {
  const T *g, *y;
  T slope;
  LANNER_INLINE V<T> operator()(auto v, int64_t at) const {
    const V<T> gi = v.load(g + at);
    return v.load(y + at) > V<T>{} ? gi : (slope == 0 ? V<T>{} : gi * slope);
  }
};

template <class T>
void backward_sums(const T* g, const T* x, const ChannelRange& r, const T* mean, const Gate<T>& gate, T* sum_g,
                   T* sum_gx) {
  const auto run = [&](auto gradient, T* gated) {
    const auto terms = [&](auto v, int64_t at, V<T> center) __attribute__((always_inline)) {
      const V<T> gi = gradient(v, at);
      if (gated) v.store(gated + at, gi);
      return Two<T>{gi, gi * (v.load(x + at) - center)};
    };
    if (r.length < kSmallPlane) {
      each_block(r, [&](const Columns& columns) {
        T memory[kColumnBlock], gs[kColumnBlock], gxs[kColumnBlock];
        const T* const center = by_column(columns, mean, memory);
        sum_columns(
            columns, r, gs, gxs, [&](auto v, int64_t at, int64_t i) __attribute__((always_inline)) {
              return terms(v, at, v.load(center + i));
            });
        for (int64_t c = columns.c0; c < columns.c1; ++c) {
          sum_g[c] =
              static_cast<T>(sum_of_channel<T>(columns, c, [&](int64_t i) { return static_cast<double>(gs[i]); }));
          sum_gx[c] =
              static_cast<T>(sum_of_channel<T>(columns, c, [&](int64_t i) { return static_cast<double>(gxs[i]); }));
        }
      });
      return;
    }
    for (int64_t c = r.c0; c < r.c1; ++c) {
      const V<T> center = splat(mean[c]);
      const auto sums =
          sum_planes<T, Two<T>, TwoSums<T>>(r, c, [&](auto v, int64_t at) { return terms(v, at, center); });
      sum_g[c] = static_cast<T>(total<T>(sums.a));
      sum_gx[c] = static_cast<T>(total<T>(sums.b));
    }
  };
  if (gate.y)
    run(Gated<T>{g, gate.y, gate.slope}, gate.gated);
  else
    run(Open<T>{g}, nullptr);
}

template <class T>
void backward_apply(const T* g, const T* x, T* dx, const ChannelRange& r, const T* mean, const T* scale, const T* slope,
                    const T* offset, const Gate<T>& gate, const Epilogue<T>& epilogue) {
  const auto run = [&](auto gradient, auto finish) {
    each_element<T, 4>(r, {mean, scale, slope, offset}, [&](auto v, int64_t at, const V<T>* k) {
      const V<T> d = v.load(x + at) - k[0];
      v.store(dx + at, finish(gradient(v, at) * k[1] - d * k[2] - k[3], dx + at, lanes_of(v)));
    });
  };
  const Finish<T> finish(epilogue, dx);
  const auto as_it_is = [](V<T> v, T*, size_t) { return v; };
  if (gate.y && !gate.gated)
    finish.any ? run(Gated<T>{g, gate.y, gate.slope}, finish) : run(Gated<T>{g, gate.y, gate.slope}, as_it_is);
  else
    finish.any ? run(Open<T>{gate.gated ? gate.gated : g}, finish)
               : run(Open<T>{gate.gated ? gate.gated : g}, as_it_is);
}

template <class T>
constexpr ChannelNormOf<T> kChannelNorm = {moments<T>, merge<T>,         inverse_std<T>,
                                           apply<T>,   backward_sums<T>, backward_apply<T>};

}  // namespace

extern const ChannelNormKernels channel_norm_kernels;
const ChannelNormKernels channel_norm_kernels = {kChannelNorm<float>, kChannelNorm<double>};

}  // namespace lanner::cpu::LANNER_ISA
