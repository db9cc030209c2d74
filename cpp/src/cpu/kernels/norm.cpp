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
    const T* next = x + next_row<T>(n);
    const T m2 = sum_line<T>(n, [&](auto v, int64_t i) {
      prefetch(next + i);
      prefetch_to_write(y + i);
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
        sum.add(n, [&](auto v, int64_t i) {
          prefetch(x + i);
          return weight ? v.load(weight + i) * v.load(g + i) : v.load(g + i);
        });
      }
      product.add(n, [&](auto v, int64_t i) {
        prefetch_to_write(dx + i);
        const V<T> wg = weight ? v.load(weight + i) * v.load(g + i) : v.load(g + i);
        return wg * ((v.load(x + i) - center) * scale);
      });
      const V<T> offset = splat(sum.value() / static_cast<T>(n)), slope = splat(product.value() / static_cast<T>(n));
      const T* next = g + next_row<T>(n);
      each_vector<T>(n, [&](auto v, int64_t i) {
        prefetch(next + i);
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

template <class T>
constexpr NormOf<T> kNorm = {rows_forward<T>, rows_backward<T>};

}  // namespace

extern const NormKernels norm_kernels;
const NormKernels norm_kernels = {kNorm<float>, kNorm<double>};

}  // namespace lanner::cpu::LANNER_ISA
