#include "cpu/kernels/softmax.h"

#include "cpu/kernels/lines.h"
#include "cpu/kernels/math.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// ---- a row: three passes, of which only the first meets memory ------------------------------------------------------

// The maximum need not look for NaN: exp carries one into the sum and so into the whole row.

// Writes exp(x - shift) and returns its sum.
template <class T>
LANNER_INLINE T exp_line(const T* x, T* y, int64_t n, T shift) {
  const V<T> s = splat(shift);
  const T *next = x + next_row<T>(n), *next_y = y + next_row<T>(n);
  return sum_line<T>(n, [&](auto v, int64_t i) {
    prefetch(next + i);
    prefetch_to_write(next_y + i);
    const V<T> e = exp(v.load(x + i) - s);
    v.store(y + i, e);
    return e;
  });
}

// log(sum(exp(x))) of a row. An infinite maximum is not subtracted: inf - inf would be NaN.
template <class T>
LANNER_INLINE T logsumexp_line(const T* x, int64_t n) {
  const T extreme = max_line(x, n);
  const T shift = extreme - extreme == 0 ? extreme : static_cast<T>(0);
  const V<T> s = splat(shift);
  const T* next = x + next_row<T>(n);
  const T sum = sum_line<T>(n, [&](auto v, int64_t i) {
    prefetch(next + i);
    return exp(v.load(x + i) - s);
  });
  return shift + static_cast<T>(__builtin_log(static_cast<double>(sum)));
}

template <class T>
void forward_rows(const T* x, T* y, const SoftmaxRange& r, bool is_log) {
  for (int64_t u = r.u0; u < r.u1; ++u) {
    const T* p = x + u * r.n;
    T* q = y + u * r.n;
    const T extreme = max_line(p, r.n);
    if (is_log) {
      const V<T> top = splat(extreme);
      const T* next = p + next_row<T>(r.n);
      const T sum = sum_line<T>(r.n, [&](auto v, int64_t i) {
        prefetch(next + i);
        prefetch_to_write(q + i);
        return exp(v.load(p + i) - top);
      });
      const V<T> rest = splat(static_cast<T>(__builtin_log(static_cast<double>(sum))));
      each_vector<T>(r.n, [&](auto v, int64_t i) { v.store(q + i, (v.load(p + i) - top) - rest); });
    } else {
      const V<T> scale = splat(static_cast<T>(1) / exp_line(p, q, r.n, extreme));
      each_vector<T>(r.n, [&](auto v, int64_t i) { v.store(q + i, v.load(q + i) * scale); });
    }
  }
}

template <class T>
void backward_rows(const T* g, const T* y, T* dx, const SoftmaxRange& r, bool is_log) {
  for (int64_t u = r.u0; u < r.u1; ++u) {
    const T *gp = g + u * r.n, *p = y + u * r.n;
    T* q = dx + u * r.n;
    const T *next_g = gp + next_row<T>(r.n), *next_y = p + next_row<T>(r.n);
    const T sum = sum_line<T>(r.n, [&](auto v, int64_t i) {
      prefetch_to_write(q + i);
      return is_log ? v.load(gp + i) : v.load(gp + i) * v.load(p + i);
    });
    const V<T> s = splat(sum);
    each_vector<T>(r.n, [&](auto v, int64_t i) {
      prefetch(next_g + i);
      prefetch(next_y + i);
      const V<T> gi = v.load(gp + i), yi = v.load(p + i);
      v.store(q + i, is_log ? gi - exp(yi) * s : yi * (gi - s));
    });
  }
}

// ---- columns: a vector holds neighbouring columns, each normalized on its own ---------------------------------------

// f(Whole or Part, offset of the vector in x) for each vector of columns of the units.
template <class T, class F>
LANNER_INLINE void each_column(const SoftmaxRange& r, F f) {
  const int64_t tiles = (r.inner + kSoftmaxTile - 1) / kSoftmaxTile;
  for (int64_t u = r.u0; u < r.u1; ++u) {
    const int64_t first = u % tiles * kSoftmaxTile;
    const int64_t at = u / tiles * r.n * r.inner + first;
    each_vector<T>(r.inner - first < kSoftmaxTile ? r.inner - first : kSoftmaxTile,
                   [&](auto v, int64_t i) { f(v, at + i); });
  }
}

// Sums term(i) for i in [0, n): sixteen at a time, so that the error grows with n / 16 + 16.
template <class T, class F>
LANNER_INLINE V<T> sum_rows(int64_t n, F term) {
  V<T> all{};
  for (int64_t i = 0; i < n;) {
    V<T> part{};
    for (const int64_t end = n - i < 16 ? n : i + 16; i < end; ++i) part += term(i);
    all += part;
  }
  return all;
}

template <class T>
void forward_columns(const T* x, T* y, const SoftmaxRange& r, bool is_log) {
  each_column<T>(r, [&](auto v, int64_t at) {
    const T* p = x + at;
    T* q = y + at;
    V<T> top = v.load(p);
    for (int64_t i = 1; i < r.n; ++i) top = max(v.load(p + i * r.inner), top);
    if (is_log) {
      const V<T> rest = log(sum_rows<T>(r.n, [&](int64_t i) { return exp(v.load(p + i * r.inner) - top); }));
      for (int64_t i = 0; i < r.n; ++i) v.store(q + i * r.inner, (v.load(p + i * r.inner) - top) - rest);
    } else {
      const V<T> sum = sum_rows<T>(r.n, [&](int64_t i) {
        const V<T> e = exp(v.load(p + i * r.inner) - top);
        v.store(q + i * r.inner, e);
        return e;
      });
      const V<T> scale = splat(static_cast<T>(1)) / sum;
      for (int64_t i = 0; i < r.n; ++i) v.store(q + i * r.inner, v.load(q + i * r.inner) * scale);
    }
  });
}

template <class T>
void backward_columns(const T* g, const T* y, T* dx, const SoftmaxRange& r, bool is_log) {
  each_column<T>(r, [&](auto v, int64_t at) {
    const T *gp = g + at, *p = y + at;
    T* q = dx + at;
    const int64_t step = r.inner;
    if (is_log) {
      const V<T> sum = sum_rows<T>(r.n, [&](int64_t i) { return v.load(gp + i * step); });
      for (int64_t i = 0; i < r.n; ++i) v.store(q + i * step, v.load(gp + i * step) - exp(v.load(p + i * step)) * sum);
    } else {
      const V<T> dot = sum_rows<T>(r.n, [&](int64_t i) { return v.load(gp + i * step) * v.load(p + i * step); });
      for (int64_t i = 0; i < r.n; ++i) v.store(q + i * step, v.load(p + i * step) * (v.load(gp + i * step) - dot));
    }
  });
}

template <class T>
void forward(const T* x, T* y, const SoftmaxRange& r, bool log) {
  r.inner == 1 ? forward_rows(x, y, r, log) : forward_columns(x, y, r, log);
}
template <class T>
void backward(const T* g, const T* y, T* dx, const SoftmaxRange& r, bool log) {
  r.inner == 1 ? backward_rows(g, y, dx, r, log) : backward_columns(g, y, dx, r, log);
}

// ---- cross-entropy --------------------------------------------------------------------------------------------------

template <class T>
void cross_entropy(const T* x, const int64_t* target, const T* weight, T* loss, T* lse, T* used, int64_t rows,
                   int64_t n, const CrossEntropyOptions& o) {
  for (int64_t r = 0; r < rows; ++r, x += n) {
    lse[r] = logsumexp_line(x, n);
    const int64_t t = target[r];
    if (t == o.ignore_index) {
      loss[r] = used[r] = 0;
      continue;
    }
    used[r] = weight ? weight[t] : 1;
    loss[r] = used[r] * (lse[r] - x[t]);
    if (o.smoothing != 0) {
      const V<T> l = splat(lse[r]);
      const T all = sum_line<T>(n, [&](auto v, int64_t i) {
        const V<T> d = l - v.load(x + i);
        return weight ? v.load(weight + i) * d : d;
      });
      loss[r] = static_cast<T>(1 - o.smoothing) * loss[r] + static_cast<T>(o.smoothing / static_cast<double>(n)) * all;
    }
  }
}

template <class T>
void cross_entropy_backward(const T* g, const T* x, const int64_t* target, const T* weight, const T* lse, T* dx,
                            int64_t rows, int64_t n, const CrossEntropyOptions& o) {
  for (int64_t r = 0; r < rows; ++r, x += n, dx += n) {
    const int64_t t = target[r];
    if (t == o.ignore_index) {
      __builtin_memset(dx, 0, static_cast<size_t>(n) * sizeof(T));
      continue;
    }
    const double spread = o.smoothing / static_cast<double>(n);
    const T own = static_cast<T>((1 - o.smoothing) * static_cast<double>(weight ? weight[t] : 1));
    const V<T> scale = splat(static_cast<T>(g[r] * (static_cast<double>(own) + spread * o.weight_sum)));
    const V<T> l = splat(lse[r]), part = splat(static_cast<T>(static_cast<double>(g[r]) * spread));
    each_vector<T>(n, [&](auto v, int64_t i) {
      V<T> d = scale * exp(v.load(x + i) - l);
      if (o.smoothing != 0) d -= weight ? part * v.load(weight + i) : part;
      v.store(dx + i, d);
    });
    dx[t] -= g[r] * own;
  }
}

template <class T>
constexpr SoftmaxOf<T> kSoftmax = {forward<T>, backward<T>, cross_entropy<T>, cross_entropy_backward<T>};

}  // namespace

extern const SoftmaxKernels softmax_kernels;
const SoftmaxKernels softmax_kernels = {kSoftmax<float>, kSoftmax<double>};

}  // namespace lanner::cpu::LANNER_ISA
