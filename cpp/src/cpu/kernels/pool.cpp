#include "cpu/kernels/pool.h"

#include "cpu/kernels/conv_epilogue.h"
#include "cpu/simd.h"
#include "cpu/transpose.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// The row buffer has room for a row of either side, for padding before it, and for whole vectors read past its end.
template <class T>
int64_t row_elements(const PoolAxis& w) {
  constexpr int L = kLanes<T>;
  const int64_t windows = w.out * w.stride + w.kernel * w.step, row = w.in + w.pad;
  const int64_t widest = windows > row ? windows : row;
  return (w.pad + widest + 4 * L) / L * L;
}
template <class T>
int64_t workspace_bytes(const PoolAxis& w) {
  return 2 * row_elements<T>(w) * static_cast<int64_t>(sizeof(T));
}
template <class T>
int64_t resize_workspace_bytes(int64_t w_in) {
  return (w_in + kLanes<T>)*static_cast<int64_t>(sizeof(T));
}

// Windows that lie evenly, at most two apart: they are combined in vectors along the output.
bool is_regular(const PoolAxis& w) { return w.stride == 1 || w.stride == 2; }

// Calls f(read, write, c) for vectors that cover [0, n); read(p) and write(p, v) touch only what is inside.
template <class T, class F>
LANNER_INLINE void each_vector(int64_t n, F f) {
  constexpr int L = kLanes<T>;
  const auto read = [](const T* p) __attribute__((always_inline)) { return load(p); };
  const auto write = [](T * p, V<T> v) __attribute__((always_inline)) { store(p, v); };
  int64_t c = 0;
  for (; c + L <= n; c += L) f(read, write, c);
  if (c == n) return;
  if (n >= L) {  // once more the elements before: cheaper than a masked load
    f(read, write, n - L);
    return;
  }
  const size_t left = static_cast<size_t>(n);
  f(
      [left](const T* p) __attribute__((always_inline)) { return load_n(p, left); },
      [left](T * p, V<T> v) __attribute__((always_inline)) { store_n(p, v, left); }, 0);
}

template <class T, class Vector, int... I>
LANNER_INLINE Vector every_second(const void* p, bool odd, Indices<I...>) {
  Vector a, b;
  __builtin_memcpy(&a, p, sizeof a);
  __builtin_memcpy(&b, static_cast<const char*>(p) + sizeof a, sizeof b);
  return odd ? Vector(__builtin_shufflevector(a, b, (2 * I + 1)...))
             : Vector(__builtin_shufflevector(a, b, (2 * I)...));
}
// Elements at, at + stride, at + 2 * stride ... of a row of T, or of the integers that go with T.
template <class T, class Vector, class Element>
LANNER_INLINE Vector load_stride(const Element* row, int64_t at, int64_t stride) {
  Vector v;
  if (stride == 1) {
    __builtin_memcpy(&v, row + at, sizeof v);
    return v;
  }
  return every_second<T, Vector>(row + (at & ~int64_t{1}), at & 1, typename MakeIndices<kLanes<T>>::type{});
}

// ---- max ------------------------------------------------------------------------------------------------------

// How the elements of a window are numbered: by their place in the plane, or in the window.
struct Numbering {
  int64_t row_step, column_step;  // from one row, or column, of a window to the next
  int64_t window_step, first;     // of the first column: from one window to the next, and of window 0
  int64_t width;                  // number = row * width + column
};
template <class Index>
Numbering numbering(const PoolAxis& h, const PoolAxis& w) {
  if constexpr (sizeof(Index) == 1)
    return {1, 1, 0, 0, w.kernel};
  else
    return {h.step, w.step, w.stride, -w.pad, w.in};
}
// The number of the first row inside of window i.
template <class Index>
int64_t first_row(const PoolAxis& h, int64_t i) {
  return sizeof(Index) == 1 ? (h.first[i] - (i * h.stride - h.pad)) / h.step : h.first[i];
}

template <class T>
using Bytes [[gnu::vector_size(kLanes<T>)]] = uint8_t;

template <class T>
LANNER_INLINE void store_index(int64_t* to, M<T> at, int64_t n) {
  typename Vec<T>::Int lane[kLanes<T>];
  __builtin_memcpy(&lane, &at, sizeof at);
  if (n >= kLanes<T>) {
    for (int l = 0; l < kLanes<T>; ++l) to[l] = lane[l];
  } else {
    for (int l = 0; l < n; ++l) to[l] = lane[l];
  }
}
template <class T>
LANNER_INLINE void store_index(uint8_t* to, M<T> at, int64_t n) {
  const Bytes<T> bytes = __builtin_convertvector(at, Bytes<T>);
  if (n >= kLanes<T>) {
    __builtin_memcpy(to, &bytes, sizeof bytes);
  } else {
    uint8_t lane[kLanes<T>];
    __builtin_memcpy(lane, &bytes, sizeof bytes);
    for (int l = 0; l < n; ++l) to[l] = lane[l];
  }
}

// best[c] = the largest of the window's rows in column c, row[c] = which row, counted from `number` on.
template <class T>
void max_of_rows(const T* x, int64_t width, int64_t first, int64_t count, int64_t step, int64_t number,
                 int64_t number_step, T* best, typename Vec<T>::Int* row) {
  using Int = typename Vec<T>::Int;
  each_vector<T>(
      width, [&](auto read, auto write, int64_t c) __attribute__((always_inline)) {
        const T* p = x + first * width + c;
        V<T> b = read(p);
        M<T> r = M<T>{} + static_cast<Int>(number);
        for (int64_t i = 1; i < count; ++i) {
          p += step * width;
          const V<T> v = read(p);
          const M<T> take = (v > b) | (v != v);
          b = select(take, v, b);
          r = select(take, M<T>{} + static_cast<Int>(number + i * number_step), r);
        }
        write(best + c, b);
        write(reinterpret_cast<T*>(row) + c, (V<T>)r);
      });
}

// Windows of a row that begins w.pad before the image, where `row` is larger than any row that there is.
template <class T, class Index>
void max_of_columns(const T* best, const typename Vec<T>::Int* row, const PoolAxis& w, const Numbering& number, T* y,
                    Index* index, const Finish<T>& finish) {
  using Int = typename Vec<T>::Int;
  constexpr int L = kLanes<T>;
  M<T> column;
  for (int l = 0; l < L; ++l) column[l] = static_cast<Int>(l * number.window_step + number.first);
  for (int64_t o = 0; o < w.out; o += L, column += static_cast<Int>(L * number.window_step)) {
    V<T> b = load_stride<T, V<T>>(best, o * w.stride, w.stride);
    M<T> r = load_stride<T, M<T>>(row, o * w.stride, w.stride), c = column;
    for (int64_t j = 1; j < w.kernel; ++j) {
      const V<T> v = load_stride<T, V<T>>(best, o * w.stride + j * w.step, w.stride);
      const M<T> rv = load_stride<T, M<T>>(row, o * w.stride + j * w.step, w.stride);
      // Of equals the one in the upper row comes first.
      const M<T> take = (v > b) | (v != v) | ((v == b) & (rv < r));
      b = select(take, v, b);
      r = select(take, rv, r);
      c = select(take, column + static_cast<Int>(j * number.column_step), c);
    }
    const int64_t left = w.out - o;
    if (index) store_index<T>(index + o, r * static_cast<Int>(number.width) + c, left);
    if (left >= L)
      store(y + o, finish.any ? finish(b, y + o, L) : b);
    else
      store_n(y + o, finish.any ? finish(b, y + o, static_cast<size_t>(left)) : b, static_cast<size_t>(left));
  }
}

// Windows of 2 x 2 side by side, all of them inside.
bool is_2x2(const PoolAxis& h, const PoolAxis& w) {
  const auto plain = [](const PoolAxis& a) {
    return a.kernel == 2 && a.stride == 2 && a.pad == 0 && a.step == 1 && 2 * a.out <= a.in;
  };
  return plain(h) && plain(w);
}

// f(first window, windows) for vectors that cover a row of `out` windows; what the last of several vectors has in common
// with the one before it comes out the same again.
template <class T, class F>
LANNER_INLINE void each_windows(int64_t out, F f) {
  constexpr int64_t L = kLanes<T>;
  int64_t o = 0;
  for (; o + L <= out; o += L) f(o, L);
  if (o == out) return;
  if (out >= L)
    f(out - L, L);
  else
    f(0, out);
}

// Two vectors that hold the 2n elements at p, the even and the odd ones.
template <class T, int... I>
LANNER_INLINE void load_pairs(const T* p, int64_t n, V<T>& even, V<T>& odd, Indices<I...>) {
  constexpr int64_t L = kLanes<T>;
  V<T> a, b{};
  if (n == L) {
    a = load(p), b = load(p + L);
  } else {
    a = load_n(p, static_cast<size_t>(2 * n < L ? 2 * n : L));
    if (2 * n > L) b = load_n(p + L, static_cast<size_t>(2 * n - L));
  }
  even = __builtin_shufflevector(a, b, (2 * I)...);
  odd = __builtin_shufflevector(a, b, (2 * I + 1)...);
}
// Its reverse.
template <class T, int... I>
LANNER_INLINE void store_pairs(T* p, int64_t n, V<T> even, V<T> odd, const Finish<T>& finish, Indices<I...>) {
  constexpr int L = kLanes<T>;
  const V<T> a = __builtin_shufflevector(even, odd, (I % 2 * L + I / 2)...),
             b = __builtin_shufflevector(even, odd, (I % 2 * L + I / 2 + L / 2)...);
  const auto put = [&](T * to, V<T> v, int64_t m) __attribute__((always_inline)) {
    if (m <= 0) return;
    const size_t count = static_cast<size_t>(m < L ? m : L);
    if (finish.any) v = finish(v, to, count);
    if (count == L)
      store(to, v);
    else
      store_n(to, v, count);
  };
  put(p, a, 2 * n);
  put(p + L, b, 2 * n - L);
}

template <class T, bool kPlaces>
void max_2x2(const T* x, T* y, uint8_t* offset, const PoolAxis& h, const PoolAxis& w, int64_t begin, int64_t end,
             const Finish<T>& finish) {
  using Int = typename Vec<T>::Int;
  constexpr int64_t L = kLanes<T>;
  const auto indices = typename MakeIndices<kLanes<T>>::type{};
  [[maybe_unused]] const int64_t all = end * h.out * w.out;
  for (int64_t plane = begin; plane < end; ++plane) {
    for (int64_t i = 0; i < h.out; ++i) {
      const T* const from = x + (plane * h.in + 2 * i) * w.in;
      const int64_t row = (plane * h.out + i) * w.out;
      each_windows<T>(
          w.out, [&](int64_t o, int64_t n) __attribute__((always_inline)) {
            V<T> best, v[3];
            load_pairs<T>(from + 2 * o, n, best, v[0], indices);
            load_pairs<T>(from + w.in + 2 * o, n, v[1], v[2], indices);
            [[maybe_unused]] M<T> which{};
            for (int k = 0; k < 3; ++k) {
              const M<T> take = (v[k] > best) | (v[k] != v[k]);
              best = select(take, v[k], best);
              if constexpr (kPlaces) which = select(take, M<T>{} + static_cast<Int>(k + 1), which);
            }
            T* const to = y + row + o;
            if (finish.any) best = finish(best, to, static_cast<size_t>(n));
            if (n == L)
              store(to, best);
            else
              store_n(to, best, static_cast<size_t>(n));
            // A short row is stored as a whole vector, of which the rows after it overwrite the rest.
            if constexpr (kPlaces) store_index<T>(offset + row + o, which, row + o + L <= all ? L : n);
          });
    }
  }
}

template <class T, class Index>
void max(const T* x, T* y, Index* index, const PoolAxis& h, const PoolAxis& w, int64_t begin, int64_t end,
         const Epilogue<T>& epilogue, void* workspace) {
  using Int = typename Vec<T>::Int;
  const Finish<T> finish(epilogue, y);
  if constexpr (sizeof(Index) == 1)
    if (is_2x2(h, w)) {
      if (index) return max_2x2<T, true>(x, y, index, h, w, begin, end, finish);
      return max_2x2<T, false>(x, y, nullptr, h, w, begin, end, finish);
    }
  const Numbering number = numbering<Index>(h, w);
  const int64_t elements = row_elements<T>(w);
  T* const padded = static_cast<T*>(workspace);
  Int* const padded_row = reinterpret_cast<Int*>(padded + elements);
  T* const best = padded + w.pad;
  Int* const row = padded_row + w.pad;
  for (int64_t c = 0; c < elements; ++c) {
    padded[c] = static_cast<T>(-__builtin_inf());
    padded_row[c] = INT32_MAX;
  }
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* const from = x + plane * h.in * w.in;
    for (int64_t i = 0; i < h.out; ++i) {
      T* const to = y + (plane * h.out + i) * w.out;
      Index* const to_index = index ? index + (plane * h.out + i) * w.out : nullptr;
      max_of_rows(from, w.in, h.first[i], h.count[i], h.step, first_row<Index>(h, i), number.row_step, best, row);
      if (is_regular(w)) {
        max_of_columns<T>(padded, padded_row, w, number, to, to_index, finish);
        continue;
      }
      for (int64_t o = 0; o < w.out; ++o) {
        int64_t at = w.first[o], c = at;
        for (int64_t j = 1; j < w.count[o]; ++j) {
          c += w.step;
          const T v = best[c], b = best[at];
          if (v > b || v != v || (v == b && row[c] < row[at])) at = c;
        }
        const int64_t column = sizeof(Index) == 1 ? (at - (o * w.stride - w.pad)) / w.step : at;
        to[o] = finish.scalar(best[at], to + o);
        if (to_index) to_index[o] = static_cast<Index>(row[at] * number.width + column);
      }
    }
  }
}

// ---- average ----------------------------------------------------------------------------------------------------

// `even`: all windows divide by the same.
template <class T>
void average_columns(const T* sum, const PoolAxis& w, T rows, bool even, T* y) {
  constexpr int L = kLanes<T>;
  V<T> divisor = splat(rows * static_cast<T>(w.size[0]));
  for (int64_t o = 0; o < w.out; o += L) {
    const int64_t n = w.out - o < L ? w.out - o : L;
    V<T> s = load_stride<T, V<T>>(sum, o * w.stride, w.stride);
    for (int64_t j = 1; j < w.kernel; ++j) s += load_stride<T, V<T>>(sum, o * w.stride + j * w.step, w.stride);
    if (!even)
      for (int64_t l = 0; l < n; ++l) divisor[l] = rows * static_cast<T>(w.size[o + l]);
    s /= divisor;
    if (n == L) {
      store(y + o, s);
    } else {
      store_n(y + o, s, static_cast<size_t>(n));
    }
  }
}

// The mean of each plane, in four sums that are added at the end.
template <class T>
void average_all(const T* x, T* y, int64_t plane, int64_t begin, int64_t end) {
  constexpr int L = kLanes<T>;
  for (int64_t p = begin; p < end; ++p) {
    const T* const from = x + p * plane;
    V<T> s[4] = {};
    int64_t i = 0;
    for (; i + 4 * L <= plane; i += 4 * L)
      for (int j = 0; j < 4; ++j) s[j] += load(from + i + j * L);
    for (; i + L <= plane; i += L) s[0] += load(from + i);
    if (i < plane) s[1] += load_n(from + i, static_cast<size_t>(plane - i));
    y[p] = reduce_add<T>((s[0] + s[1]) + (s[2] + s[3])) / static_cast<T>(plane);
  }
}

template <class T>
void average(const T* x, T* y, const PoolAxis& h, const PoolAxis& w, int64_t begin, int64_t end, void* workspace) {
  if (h.out == 1 && w.out == 1 && h.size[0] == h.in && w.size[0] == w.in && h.count[0] == h.in && w.count[0] == w.in) {
    average_all(x, y, h.in * w.in, begin, end);
    return;
  }
  const int64_t elements = row_elements<T>(w);
  T* const padded = static_cast<T*>(workspace);
  T* const sum = padded + w.pad;
  for (int64_t c = 0; c < elements; ++c) padded[c] = 0;
  bool even = true;
  for (int64_t o = 1; o < w.out; ++o) even = even && w.size[o] == w.size[0];
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* const from = x + plane * h.in * w.in;
    for (int64_t i = 0; i < h.out; ++i) {
      T* const to = y + (plane * h.out + i) * w.out;
      each_vector<T>(
          w.in, [&](auto read, auto write, int64_t c) __attribute__((always_inline)) {
            const T* p = from + h.first[i] * w.in + c;
            V<T> s = read(p);
            for (int64_t k = 1; k < h.count[i]; ++k) {
              p += h.step * w.in;
              s += read(p);
            }
            write(sum + c, s);
          });
      const T rows = static_cast<T>(h.size[i]);
      if (is_regular(w)) {
        average_columns(padded, w, rows, even, to);
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
      if (w.stride == 2 && w.kernel == 2 && w.pad == 0 && 2 * w.out <= w.in) {
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
void finish_plane(T* x, int64_t n, const Finish<T>& finish) {
  if (!finish.any) return;
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= n; i += L) store(x + i, finish(load(x + i), x + i, L));
  const size_t left = static_cast<size_t>(n - i);
  if (left > 0) store_n(x + i, finish(load_n(x + i, left), x + i, left), left);
}

template <class T>
void scatter(const T* g, const int64_t* index, T* dx, int64_t in, int64_t out, int64_t begin, int64_t end,
             const Epilogue<T>& epilogue) {
  const Finish<T> finish(epilogue, dx);
  for (int64_t plane = begin; plane < end; ++plane) {
    T* const to = dx + plane * in;
    clear(to, in);
    for (int64_t i = plane * out; i < (plane + 1) * out; ++i) to[index[i]] += g[i];
    finish_plane(to, in, finish);
  }
}

template <class T>
void scatter_2x2(const T* g, const uint8_t* offset, T* dx, const PoolAxis& h, const PoolAxis& w, int64_t begin,
                 int64_t end, const Finish<T>& finish) {
  using Int = typename Vec<T>::Int;
  constexpr int64_t L = kLanes<T>;
  const auto indices = typename MakeIndices<kLanes<T>>::type{};
  const int64_t all = end * h.out * w.out;
  const auto nothing = [&](T* to, int64_t n) {
    clear(to, n);
    finish_plane(to, n, finish);
  };
  for (int64_t plane = begin; plane < end; ++plane) {
    T* const to = dx + plane * h.in * w.in;
    for (int64_t i = 0; i < h.out; ++i) {
      const int64_t row = (plane * h.out + i) * w.out;
      T *const upper = to + 2 * i * w.in, *const lower = upper + w.in;
      each_windows<T>(
          w.out, [&](int64_t o, int64_t n) __attribute__((always_inline)) {
            Bytes<T> bytes;
            V<T> v;
            if (row + o + L <= all) {  // of a short row, with some of the next ones
              __builtin_memcpy(&bytes, offset + row + o, sizeof bytes);
              v = load(g + row + o);
            } else {
              uint8_t lane[L] = {};
              for (int64_t l = 0; l < n; ++l) lane[l] = offset[row + o + l];
              __builtin_memcpy(&bytes, lane, sizeof bytes);
              v = load_n(g + row + o, static_cast<size_t>(n));
            }
            const M<T> which = __builtin_convertvector(bytes, M<T>);
            const auto at = [&](Int k) { return select(which == k, v, V<T>{}); };
            store_pairs<T>(upper + 2 * o, n, at(0), at(1), finish, indices);
            store_pairs<T>(lower + 2 * o, n, at(2), at(3), finish, indices);
          });
      if (w.in > 2 * w.out) {
        nothing(upper + 2 * w.out, w.in - 2 * w.out);
        nothing(lower + 2 * w.out, w.in - 2 * w.out);
      }
    }
    if (h.in > 2 * h.out) nothing(to + 2 * h.out * w.in, (h.in - 2 * h.out) * w.in);
  }
}

// f(output, input) for each window and what was taken of it, both counted over all planes.
template <class F>
LANNER_INLINE void each_taken(const uint8_t* offset, const PoolAxis& h, const PoolAxis& w, int64_t plane, F f) {
  int32_t place[256];
  for (int64_t k = 0; k < h.kernel * w.kernel; ++k)
    place[k] = static_cast<int32_t>(k / w.kernel * h.step * w.in + k % w.kernel * w.step);
  for (int64_t i = 0; i < h.out; ++i) {
    const int64_t corner = (plane * h.in + i * h.stride - h.pad) * w.in - w.pad, row = (plane * h.out + i) * w.out;
    for (int64_t o = 0; o < w.out; ++o) f(row + o, corner + o * w.stride + place[offset[row + o]]);
  }
}

template <class T>
void scatter_offset(const T* g, const uint8_t* offset, T* dx, const PoolAxis& h, const PoolAxis& w, int64_t begin,
                    int64_t end, const Epilogue<T>& epilogue) {
  const Finish<T> finish(epilogue, dx);
  if (is_2x2(h, w)) return scatter_2x2(g, offset, dx, h, w, begin, end, finish);
  for (int64_t plane = begin; plane < end; ++plane) {
    T* const to = dx + plane * h.in * w.in;
    clear(to, h.in * w.in);
    each_taken(offset, h, w, plane, [&](int64_t o, int64_t i) { dx[i] += g[o]; });
    finish_plane(to, h.in * w.in, finish);
  }
}

template <class T>
void gather_offset(const T* x, const uint8_t* offset, T* y, const PoolAxis& h, const PoolAxis& w, int64_t begin,
                   int64_t end) {
  for (int64_t plane = begin; plane < end; ++plane)
    each_taken(offset, h, w, plane, [&](int64_t o, int64_t i) { y[o] = x[i]; });
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
      for (int64_t o = 0; o < w.out; ++o) to[o] = (1 - w.weight[o]) * row[w.low[o]] + w.weight[o] * row[w.high[o]];
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
  return {workspace_bytes<T>, max<T, int64_t>, max<T, uint8_t>,  average<T>,        average_grad<T>,
          gather<T>,          scatter<T>,      gather_offset<T>, scatter_offset<T>, resize_workspace_bytes<T>,
          resize<T>,          resize_grad<T>};
}

}  // namespace

extern const PoolKernels pool_kernels;
const PoolKernels pool_kernels = {functions<float>(), functions<double>()};

}  // namespace lanner::cpu::LANNER_ISA
