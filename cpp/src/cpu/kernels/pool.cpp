#include "cpu/kernels/pool.h"

#include "cpu/simd.h"
#include "cpu/transpose.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// A row of the wider side, which is read and written in whole vectors, and past its end by up to two of them.
template <class T>
int64_t row_elements(int64_t w_in, int64_t w_out) {
  constexpr int L = kLanes<T>;
  const int64_t w = w_in > w_out ? w_in : w_out;
  return (w + 3 * L) / L * L;
}
template <class T>
int64_t workspace_bytes(int64_t w_in, int64_t w_out) {
  return 2 * row_elements<T>(w_in, w_out) * static_cast<int64_t>(sizeof(T));
}

// Calls f(load, c) for vectors that cover [0, n), the last one cut off; load(p) reads as much of p + c as is inside.
template <class T, class F>
LANNER_INLINE void each_vector(int64_t n, F f) {
  constexpr int L = kLanes<T>;
  int64_t c = 0;
  for (; c + L <= n; c += L) f([](const T* p) __attribute__((always_inline)) { return load(p); }, c);
  if (c == n) return;
  if (n >= L) {  // once more the elements before: cheaper than a masked load
    f([](const T* p) __attribute__((always_inline)) { return load(p); }, n - L);
  } else {
    const size_t left = static_cast<size_t>(n - c);
    f([left](const T* p) __attribute__((always_inline)) { return load_n(p, left); }, c);
  }
}

// The even and the odd elements of the two vectors at p.
template <class T, class Vector, int... I>
LANNER_INLINE void split_pairs(Vector a, Vector b, Vector& even, Vector& odd, Indices<I...>) {
  even = __builtin_shufflevector(a, b, (2 * I)...);
  odd = __builtin_shufflevector(a, b, (2 * I + 1)...);
}

// ---- max ------------------------------------------------------------------------------------------------------

// best[c] = the largest of the window's rows in column c, row[c] = which row.
template <class T>
void max_of_rows(const T* x, int64_t width, int64_t first, int64_t count, int64_t step, T* best,
                 typename Vec<T>::Int* row) {
  each_vector<T>(width, [&](auto read, int64_t c) __attribute__((always_inline)) {
    const T* p = x + first * width + c;
    V<T> b = read(p);
    M<T> r = M<T>{} + static_cast<typename Vec<T>::Int>(first);
    for (int64_t i = 1; i < count; ++i) {
      p += step * width;
      const V<T> v = read(p);
      const M<T> take = (v > b) | (v != v);
      b = select(take, v, b);
      r = select(take, M<T>{} + static_cast<typename Vec<T>::Int>(first + i * step), r);
    }
    store(best + c, b);
    __builtin_memcpy(row + c, &r, sizeof r);
  });
}

template <class T>
void max_of_pairs(const T* best, const typename Vec<T>::Int* row, int64_t width, int64_t out, T* y, int64_t* index) {
  using Int = typename Vec<T>::Int;
  constexpr int L = kLanes<T>;
  M<T> column;
  for (int l = 0; l < L; ++l) column[l] = static_cast<Int>(2 * l);
  for (int64_t o = 0; o < out; o += L, column += static_cast<Int>(2 * L)) {
    V<T> a, b;
    M<T> ra, rb, low, high;
    split_pairs<T>(load(best + 2 * o), load(best + 2 * o + L), a, b, typename MakeIndices<L>::type{});
    __builtin_memcpy(&low, row + 2 * o, sizeof low);
    __builtin_memcpy(&high, row + 2 * o + L, sizeof high);
    split_pairs<T>(low, high, ra, rb, typename MakeIndices<L>::type{});
    // Of equals the one in the upper row comes first.
    const M<T> take = (b > a) | (b != b) | ((b == a) & (rb < ra));
    const M<T> at = select(take, rb, ra) * static_cast<Int>(width) + column - take;
    const int n = out - o < L ? static_cast<int>(out - o) : L;
    Int lane[L];
    __builtin_memcpy(lane, &at, sizeof at);
    if (n == L) {
      store(y + o, select(take, b, a));
      for (int l = 0; l < L; ++l) index[o + l] = lane[l];
    } else {
      T value[L];
      store(value, V<T>(select(take, b, a)));
      for (int l = 0; l < n; ++l) y[o + l] = value[l];
      for (int l = 0; l < n; ++l) index[o + l] = lane[l];
    }
  }
}

template <class T>
void max(const T* x, T* y, int64_t* index, const PoolAxis& h, const PoolAxis& w, int64_t begin, int64_t end,
         void* workspace) {
  using Int = typename Vec<T>::Int;
  T* const best = static_cast<T*>(workspace);
  Int* const row = reinterpret_cast<Int*>(best + row_elements<T>(w.in, w.out));
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* const from = x + plane * h.in * w.in;
    for (int64_t i = 0; i < h.out; ++i) {
      T* const to = y + (plane * h.out + i) * w.out;
      int64_t* const to_index = index + (plane * h.out + i) * w.out;
      max_of_rows(from, w.in, h.first[i], h.count[i], h.step, best, row);
      if (w.pairs) {
        max_of_pairs<T>(best, row, w.in, w.out, to, to_index);
        continue;
      }
      for (int64_t o = 0; o < w.out; ++o) {
        int64_t at = w.first[o], c = at;
        for (int64_t j = 1; j < w.count[o]; ++j) {
          c += w.step;
          const T v = best[c], b = best[at];
          if (v > b || v != v || (v == b && row[c] < row[at])) at = c;
        }
        to[o] = best[at];
        to_index[o] = row[at] * w.in + at;
      }
    }
  }
}

// ---- average ----------------------------------------------------------------------------------------------------

template <class T>
void average(const T* x, T* y, const PoolAxis& h, const PoolAxis& w, int64_t begin, int64_t end, void* workspace) {
  constexpr int L = kLanes<T>;
  T* const sum = static_cast<T*>(workspace);
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* const from = x + plane * h.in * w.in;
    for (int64_t i = 0; i < h.out; ++i) {
      T* const to = y + (plane * h.out + i) * w.out;
      each_vector<T>(w.in, [&](auto read, int64_t c) __attribute__((always_inline)) {
        const T* p = from + h.first[i] * w.in + c;
        V<T> s = read(p);
        for (int64_t k = 1; k < h.count[i]; ++k) {
          p += h.step * w.in;
          s += read(p);
        }
        store(sum + c, s);
      });
      const T rows = static_cast<T>(h.size[i]);
      if (w.pairs) {
        for (int64_t o = 0; o < w.out; o += L) {
          V<T> a, b;
          split_pairs<T>(load(sum + 2 * o), load(sum + 2 * o + L), a, b, typename MakeIndices<L>::type{});
          const V<T> mean = (a + b) / (2 * rows);
          const size_t n = static_cast<size_t>(w.out - o < L ? w.out - o : L);
          if (n == L)
            store(to + o, mean);
          else
            store_n(to + o, mean, n);
        }
        continue;
      }
      for (int64_t o = 0; o < w.out; ++o) {
        const T* p = sum + w.first[o];
        T s = *p;
        for (int64_t j = 1; j < w.count[o]; ++j) s += *(p += w.step);
        to[o] = s / (rows * static_cast<T>(w.size[o]));
      }
    }
  }
}

template <class T>
LANNER_INLINE void clear(T* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = 0;
}

template <class T>
void average_grad(const T* g, T* dx, const PoolAxis& h, const PoolAxis& w, int64_t begin, int64_t end,
                  void* workspace) {
  T* const row = static_cast<T*>(workspace);
  for (int64_t plane = begin; plane < end; ++plane) {
    T* const to = dx + plane * h.in * w.in;
    clear(to, h.in * w.in);
    for (int64_t i = 0; i < h.out; ++i) {
      const T* const from = g + (plane * h.out + i) * w.out;
      const T rows = static_cast<T>(h.size[i]);
      clear(row, w.in);
      if (w.pairs) {
        for (int64_t o = 0; o < w.out; ++o) row[2 * o] = row[2 * o + 1] = from[o] / (2 * rows);
      } else {
        for (int64_t o = 0; o < w.out; ++o) {
          const T share = from[o] / (rows * static_cast<T>(w.size[o]));
          T* p = row + w.first[o];
          for (int64_t j = 0; j < w.count[o]; ++j, p += w.step) *p += share;
        }
      }
      for (int64_t k = 0; k < h.count[i]; ++k) {
        T* const line = to + (h.first[i] + k * h.step) * w.in;
        for (int64_t c = 0; c < w.in; ++c) line[c] += row[c];
      }
    }
  }
}

// ---- by index ---------------------------------------------------------------------------------------------------

template <class T>
void gather(const T* x, const int64_t* index, T* y, int64_t in, int64_t out, int64_t begin, int64_t end) {
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* const from = x + plane * in;
    for (int64_t i = plane * out; i < (plane + 1) * out; ++i) y[i] = from[index[i]];
  }
}

template <class T>
void scatter(const T* g, const int64_t* index, T* dx, int64_t in, int64_t out, int64_t begin, int64_t end) {
  for (int64_t plane = begin; plane < end; ++plane) {
    T* const to = dx + plane * in;
    clear(to, in);
    for (int64_t i = plane * out; i < (plane + 1) * out; ++i) to[index[i]] += g[i];
  }
}

// ---- resize -----------------------------------------------------------------------------------------------------

template <class T>
void resize(const T* x, T* y, const ResizeAxis<T>& h, const ResizeAxis<T>& w, int64_t begin, int64_t end,
            void* workspace) {
  T* const row = static_cast<T*>(workspace);
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* const from = x + plane * h.in * w.in;
    for (int64_t i = 0; i < h.out; ++i) {
      T* const to = y + (plane * h.out + i) * w.out;
      const T* const low = from + h.low[i] * w.in;
      if (w.nearest) {
        // A row that comes from the same one as the row before it is a copy of that.
        const T* const above = i > 0 && h.low[i] == h.low[i - 1] ? to - w.out : nullptr;
        if (above) {
          for (int64_t o = 0; o < w.out; ++o) to[o] = above[o];
        } else {
          for (int64_t o = 0; o < w.out; ++o) to[o] = low[w.low[o]];
        }
        continue;
      }
      const T* const high = from + h.high[i] * w.in;
      const T weight = h.weight[i];
      for (int64_t c = 0; c < w.in; ++c) row[c] = (1 - weight) * low[c] + weight * high[c];
      for (int64_t o = 0; o < w.out; ++o)
        to[o] = (1 - w.weight[o]) * row[w.low[o]] + w.weight[o] * row[w.high[o]];
    }
  }
}

template <class T>
void resize_grad(const T* g, T* dx, const ResizeAxis<T>& h, const ResizeAxis<T>& w, int64_t begin, int64_t end,
                 void* workspace) {
  T* const row = static_cast<T*>(workspace);
  for (int64_t plane = begin; plane < end; ++plane) {
    T* const to = dx + plane * h.in * w.in;
    clear(to, h.in * w.in);
    for (int64_t i = 0; i < h.out; ++i) {
      const T* const from = g + (plane * h.out + i) * w.out;
      T* const low = to + h.low[i] * w.in;
      if (w.nearest) {
        for (int64_t o = 0; o < w.out; ++o) low[w.low[o]] += from[o];
        continue;
      }
      clear(row, w.in);
      for (int64_t o = 0; o < w.out; ++o) {
        row[w.low[o]] += (1 - w.weight[o]) * from[o];
        row[w.high[o]] += w.weight[o] * from[o];
      }
      T* const high = to + h.high[i] * w.in;
      const T weight = h.weight[i];
      for (int64_t c = 0; c < w.in; ++c) low[c] += (1 - weight) * row[c];
      for (int64_t c = 0; c < w.in; ++c) high[c] += weight * row[c];
    }
  }
}

template <class T>
constexpr PoolFunctions<T> functions() {
  return {workspace_bytes<T>, max<T>,     average<T>, average_grad<T>, gather<T>,
          scatter<T>,         resize<T>, resize_grad<T>};
}

}  // namespace

extern const PoolKernels pool_kernels;
const PoolKernels pool_kernels = {functions<float>(), functions<double>()};

}  // namespace lanner::cpu::LANNER_ISA
