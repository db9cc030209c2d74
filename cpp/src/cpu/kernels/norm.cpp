#include "cpu/kernels/norm.h"

#include "cpu/kernels/lines.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// ---- rows -----------------------------------------------------------------------------------------------------------

template <class T>
void rows_forward(const T* x, const T* weight, const T* bias, T* y, T* mean, T* rstd, int64_t rows, int64_t n,
                  double eps) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const T m = mean ? sum_line<T>(n, [&](auto v, int64_t i) { return v.load(x + i); }) / static_cast<T>(n) : 0;
    const V<T> center = splat(m);
    const T m2 = sum_line<T>(n, [&](auto v, int64_t i) {
      const V<T> d = v.load(x + i) - center;
      return d * d;
    });
    const T s = static_cast<T>(1 / __builtin_sqrt(static_cast<double>(m2) / static_cast<double>(n) + eps));
    const V<T> scale = splat(s);
    if (weight && bias) {
      each_vector<T>(n, [&](auto v, int64_t i) {
        v.store(y + i, fma((v.load(x + i) - center) * scale, v.load(weight + i), v.load(bias + i)));
      });
    } else {
      each_vector<T>(n, [&](auto v, int64_t i) {
        V<T> out = (v.load(x + i) - center) * scale;
        if (weight) out *= v.load(weight + i);
        if (bias) out += v.load(bias + i);
        v.store(y + i, out);
      });
    }
    if (mean) mean[r] = m;
    rstd[r] = s;
  }
}

template <class T>
void rows_backward(const T* g, const T* x, const T* weight, const T* mean, const T* rstd, T* dx, T* dweight, T* dbias,
                   int64_t rows, int64_t n) {
  if (dweight) __builtin_memset(dweight, 0, static_cast<size_t>(n) * sizeof(T));
  if (dbias) __builtin_memset(dbias, 0, static_cast<size_t>(n) * sizeof(T));
  for (int64_t r = 0; r < rows; ++r, g += n, x += n) {
    const V<T> center = splat(mean ? mean[r] : static_cast<T>(0)), scale = splat(rstd[r]);
    if (dx) {
      // dx = rstd * (wg - mean(wg) - xhat * mean(wg * xhat)), wg = weight * g; RMS norm has no mean(wg).
      LaneSum<T> sum, product;
      if (mean) {
        sum.add(n, [&](auto v, int64_t i) { return weight ? v.load(weight + i) * v.load(g + i) : v.load(g + i); });
      }
      product.add(n, [&](auto v, int64_t i) {
        const V<T> wg = weight ? v.load(weight + i) * v.load(g + i) : v.load(g + i);
        return wg * ((v.load(x + i) - center) * scale);
      });
      const V<T> offset = splat(sum.value() / static_cast<T>(n)), slope = splat(product.value() / static_cast<T>(n));
      each_vector<T>(n, [&](auto v, int64_t i) {
        const V<T> xhat = (v.load(x + i) - center) * scale;
        const V<T> wg = weight ? v.load(weight + i) * v.load(g + i) : v.load(g + i);
        v.store(dx + i, scale * (wg - offset - xhat * slope));
      });
      dx += n;
    }
    if (dweight) {
      each_vector<T>(n, [&](auto v, int64_t i) {
        const V<T> gi = v.load(g + i);
        v.store(dweight + i, fma(gi, (v.load(x + i) - center) * scale, v.load(dweight + i)));
        if (dbias) v.store(dbias + i, v.load(dbias + i) + gi);
      });
    } else if (dbias) {
      each_vector<T>(n, [&](auto v, int64_t i) { v.store(dbias + i, v.load(dbias + i) + v.load(g + i)); });
    }
  }
}

// ---- channels
// --------------------------------------------------------------------------------------------------------- length = 1
// makes a channel a column, so that vectors run over channels; otherwise they run along `length`.

template <class T>
void moments(const T* x, const ChannelRange& r, T* mean, T* m2) {
  const int64_t stride = r.channels * r.length;
  const double count = static_cast<double>((r.n1 - r.n0) * r.length);
  if (r.length == 1) {
    each_vector<T>(r.c1 - r.c0, [&](auto v, int64_t i) {
      const T* p = x + r.n0 * stride + r.c0 + i;
      const int64_t rows = r.n1 - r.n0;
      // Sixteen rows at a time, so that the error grows with rows / 16 + 16.
      const auto total = [&](auto term) {
        V<T> all{};
        for (int64_t n = 0; n < rows;) {
          V<T> part{};
          for (const int64_t end = rows - n < 16 ? rows : n + 16; n < end; ++n) part += term(v.load(p + n * stride));
          all += part;
        }
        return all;
      };
      const V<T> m = total([](V<T> a) { return a; }) / splat(static_cast<T>(count));
      v.store(mean + r.c0 + i, m);
      v.store(m2 + r.c0 + i, total([&](V<T> a) { return (a - m) * (a - m); }));
    });
    return;
  }
  for (int64_t c = r.c0; c < r.c1; ++c) {
    const T* base = x + c * r.length;
    double sum = 0, squares = 0;
    for (int64_t n = r.n0; n < r.n1; ++n) {
      const T* p = base + n * stride;
      sum += static_cast<double>(sum_line<T>(r.length, [&](auto v, int64_t i) { return v.load(p + i); }));
    }
    const T m = static_cast<T>(sum / count);
    const V<T> center = splat(m);
    for (int64_t n = r.n0; n < r.n1; ++n) {
      const T* p = base + n * stride;
      squares += static_cast<double>(sum_line<T>(r.length, [&](auto v, int64_t i) {
        const V<T> d = v.load(p + i) - center;
        return d * d;
      }));
    }
    mean[c] = m;
    m2[c] = static_cast<T>(squares);
  }
}

// f(Whole or Part, offset, channel vector of a per-channel array) over all elements of r; `channel(p)` gives the values
// of p that belong to the elements.
template <class T, class F>
LANNER_INLINE void each_element(const ChannelRange& r, F f) {
  const int64_t stride = r.channels * r.length;
  for (int64_t n = r.n0; n < r.n1; ++n) {
    if (r.length == 1) {
      const int64_t base = n * stride + r.c0;
      each_vector<T>(r.c1 - r.c0,
                     [&](auto v, int64_t i) { f(v, base + i, [&](const T* p) { return v.load(p + r.c0 + i); }); });
      continue;
    }
    for (int64_t c = r.c0; c < r.c1; ++c) {
      const int64_t base = n * stride + c * r.length;
      each_vector<T>(r.length, [&](auto v, int64_t i) { f(v, base + i, [&](const T* p) { return splat(p[c]); }); });
    }
  }
}

template <class T>
void apply(const T* x, T* y, const ChannelRange& r, const T* mean, const T* scale, const T* shift) {
  each_element<T>(r, [&](auto v, int64_t at, auto channel) {
    v.store(y + at, fma(v.load(x + at) - channel(mean), channel(scale), channel(shift)));
  });
}

template <class T>
void backward_sums(const T* g, const T* x, const ChannelRange& r, const T* mean, T* sum_g, T* sum_gx) {
  const int64_t stride = r.channels * r.length;
  if (r.length == 1) {
    each_vector<T>(r.c1 - r.c0, [&](auto v, int64_t i) {
      const int64_t base = r.c0 + i;
      const V<T> center = v.load(mean + base);
      V<T> all_g{}, all_gx{};
      for (int64_t n = r.n0; n < r.n1;) {
        V<T> part_g{}, part_gx{};
        for (const int64_t end = r.n1 - n < 16 ? r.n1 : n + 16; n < end; ++n) {
          const V<T> gi = v.load(g + n * stride + base);
          part_g += gi;
          part_gx = fma(gi, v.load(x + n * stride + base) - center, part_gx);
        }
        all_g += part_g;
        all_gx += part_gx;
      }
      v.store(sum_g + base, all_g);
      v.store(sum_gx + base, all_gx);
    });
    return;
  }
  for (int64_t c = r.c0; c < r.c1; ++c) {
    const V<T> center = splat(mean[c]);
    double total_g = 0, total_gx = 0;
    for (int64_t n = r.n0; n < r.n1; ++n) {
      const int64_t at = n * stride + c * r.length;
      LaneSum<T> sg, sgx;
      sg.add(r.length, [&](auto v, int64_t i) { return v.load(g + at + i); });
      sgx.add(r.length, [&](auto v, int64_t i) { return v.load(g + at + i) * (v.load(x + at + i) - center); });
      total_g += static_cast<double>(sg.value());
      total_gx += static_cast<double>(sgx.value());
    }
    sum_g[c] = static_cast<T>(total_g);
    sum_gx[c] = static_cast<T>(total_gx);
  }
}

template <class T>
void backward_apply(const T* g, const T* x, T* dx, const ChannelRange& r, const T* mean, const T* scale, const T* slope,
                    const T* offset) {
  each_element<T>(r, [&](auto v, int64_t at, auto channel) {
    const V<T> d = v.load(x + at) - channel(mean);
    v.store(dx + at, v.load(g + at) * channel(scale) - d * channel(slope) - channel(offset));
  });
}

template <class T>
constexpr NormOf<T> kNorm = {rows_forward<T>, rows_backward<T>, moments<T>,
                             apply<T>,        backward_sums<T>, backward_apply<T>};

}  // namespace

extern const NormKernels norm_kernels;
const NormKernels norm_kernels = {kNorm<float>, kNorm<double>};

}  // namespace lanner::cpu::LANNER_ISA
