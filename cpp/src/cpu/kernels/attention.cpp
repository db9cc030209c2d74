#include "cpu/kernels/attention.h"

#include "cpu/gemm/pack.h"
#include "cpu/kernels/lines.h"
#include "cpu/kernels/math.h"
#include "cpu/kernels/random.h"

namespace lanner::cpu::LANNER_ISA {

extern const RandomKernels random_kernels;

namespace {

// A block of the weights lies in the second-level cache, with the keys and values that belong to it.
constexpr int64_t kRows = 128, kForwardKeys = 256, kBackwardKeys = 128;

constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t rounded_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// B of a product, as the micro-kernel reads it: panels of kNR columns, `panel` elements apart, rows `step` apart. The last
// panel, where it is cut off, is a packed copy.
template <class T>
struct Panels {
  const T* at;
  int64_t panel, step;
  const T* cut;

  const T* of(int64_t j, int64_t columns) const { return cut && columns < kNR<T> ? cut : at + j / kNR<T> * panel; }
  int64_t step_of(int64_t columns) const { return cut && columns < kNR<T> ? kNR<T> : step; }
};

template <class T>
constexpr int64_t cut_elements(int64_t k) {
  return k * kNR<T>;
}

// Rows [0, k) of a row-major matrix of n columns, read where it lies but for a cut-off panel, which is copied to `cut`.
template <class T>
Panels<T> in_place(int64_t k, int64_t n, const T* b, int64_t b_row, T* cut) {
  const int64_t whole = n / kNR<T> * kNR<T>;
  if (whole == n) return {b, kNR<T>, b_row, nullptr};
  pack_panel(k, static_cast<int>(n - whole), b + whole, b_row, 1, cut, kNR<T>);
  return {b, kNR<T>, b_row, cut};
}

// The transpose of `n` rows of length k, packed.
template <class T>
Panels<T> transposed(int64_t k, int64_t n, const T* rows, int64_t row, T* to) {
  for (int64_t j = 0; j < n; j += kNR<T>)
    pack_panel(k, static_cast<int>(least(n - j, kNR<T>)), rows + j * row, 1, row, to + j * k, kNR<T>);
  return {to, k * kNR<T>, kNR<T>, nullptr};
}

// Which k a tile of a product needs; none at all, and the tile is left as it is, where `begin` > `end`.
struct Range {
  int64_t begin, end;
};

// C = alpha A B + beta C. range(i0, i1, j0): what tile [i0:i1, j0:] needs.
template <class T, class F>
LANNER_INLINE void multiply(int64_t m, int64_t n, const T* a, int64_t a_row, int64_t a_step, const Panels<T>& b, T* c,
                            int64_t c_row, T alpha, T beta, F range) {
  const int height = panel_height(m);
  for (int64_t j = 0; j < n; j += kNR<T>) {
    const int64_t columns = least(n - j, kNR<T>), b_step = b.step_of(columns);
    const T* panel = b.of(j, columns);
    for (int64_t i = 0; i < m; i += height) {
      const int64_t here = least(m - i, height);
      const Range r = range(i, i + here, j);
      if (r.begin > r.end) continue;
      const TileOut<T> out{c + i * c_row + j,         c_row, 1,    static_cast<int>(here),
                           static_cast<int>(columns), alpha, beta, {}};
      tile<T>(r.end - r.begin, a + i * a_row + r.begin * a_step, a_row, a_step, panel + r.begin * b_step, b_step, out);
    }
  }
}

template <class T>
constexpr T kInfinity = static_cast<T>(__builtin_inf());

// Lays the mask of row i, keys [j0, j0 + n), over the products x.
template <class T>
void mask_line(const AttentionHead<T>& h, int64_t i, int64_t j0, int64_t n, T* x) {
  const int64_t at = i * h.mask_row + j0 * h.mask_column, step = h.mask_column;
  if (h.mask_is_bool) {
    const uint8_t* allowed = static_cast<const uint8_t*>(h.mask) + at;
    if (step == 1) {
      for (int64_t j = 0; j < n; ++j) x[j] = allowed[j] ? x[j] : -kInfinity<T>;
    } else if (!allowed[0]) {
      for (int64_t j = 0; j < n; ++j) x[j] = -kInfinity<T>;
    }
  } else {
    const T* bias = static_cast<const T*>(h.mask) + at;
    if (step == 1) {
      each_vector<T>(n, [&](auto v, int64_t j) { v.store(x + j, v.load(x + j) + v.load(bias + j)); });
    } else {
      for (int64_t j = 0; j < n; ++j) x[j] += bias[0];
    }
  }
}

template <class T>
void dropout_line(const AttentionHead<T>& h, int64_t i, int64_t j0, int64_t n, T* x) {
  const RandomSlice slice{h.seed, h.call, (h.first_row + i) * attention_padded(h.s) + j0, n};
  if constexpr (sizeof(T) == 4)
    random_kernels.dropout_f32(slice, h.threshold, h.keep_scale, x, x);
  else
    random_kernels.dropout_f64(slice, h.threshold, h.keep_scale, x, x);
}

template <class T>
void zero(T* x, int64_t n) {
  each_vector<T>(n, [&](auto v, int64_t i) { v.store(x + i, V<T>{}); });
}

// Of the keys [j0, j0 + keys), how many row i may look at.
template <class T>
int64_t visible(const AttentionHead<T>& h, int64_t i, int64_t j0, int64_t keys) {
  if (!h.causal || i - j0 + 1 >= keys) return keys;
  return i < j0 ? 0 : i - j0 + 1;
}

// scale * q[i0:i0+rows] k[j0:j0+keys]^T; tiles of which no row may see a key are left as they are, and
// so is what lies past the keys, up to a whole panel.
template <class T>
void products(const AttentionHead<T>& h, int64_t i0, int64_t rows, int64_t j0, int64_t keys, const Panels<T>& k, T* x,
              int64_t width) {
  multiply(
      rows, rounded_up(keys, kNR<T>), h.q + i0 * h.q_row, h.q_row, int64_t{1}, k, x, width, h.scale, static_cast<T>(0),
      [&](int64_t, int64_t i1, int64_t j) { return h.causal && j0 + j > i0 + i1 - 1 ? Range{1, 0} : Range{0, h.e}; });
}

// A row is worked on in whole panels, so that the rows of a causal mask, each longer by one, do not take a branch of
// their own each (L = 128, E = 64: the softmax 8.4 to 5.2 us a head). Lays the mask over the n products that row i may
// see, and returns how many elements there are with those up to the panel's end, which become -inf.
template <class T>
int64_t close_line(const AttentionHead<T>& h, int64_t i, int64_t j0, int64_t n, T* x) {
  if (n == 0) return 0;
  if (h.mask) mask_line(h, i, j0, n, x);
  const int64_t end = rounded_up(n, kNR<T>);
  for (int64_t j = end - kNR<T>; j < end; j += kLanes<T>)
    store(x + j, select(first_lanes<T>(n - j), load(x + j), splat(-kInfinity<T>)));
  return end;
}

// The products read a row up to where the last row of its tile ends.
template <class T>
void zero_after(T* x, int64_t end, int64_t width) {
  for (int64_t j = end; j < width && j < end + kMR; j += kLanes<T>) store(x + j, V<T>{});
}

// ---- forward --------------------------------------------------------------------------------------------------------

// Products to weights, yet to be divided by their sum. `top` is the largest product of the row so far, `total` the sum of
// exponentials of the products less that. What was summed up before is to be multiplied with the result.
template <class T>
T weights_line(const AttentionHead<T>& h, int64_t i, int64_t j0, int64_t keys, T* x, T& top, T& total) {
  const int64_t n = visible(h, i, j0, keys), end = close_line(h, i, j0, n, x);
  zero_after(x, end, rounded_up(keys, kNR<T>));
  if (n == 0) return 1;
  constexpr int64_t L = kLanes<T>;
  V<T> a = load(x), b = load(x + L);
  for (int64_t j = 2 * L; j < end; j += 2 * L) a = max(load(x + j), a), b = max(load(x + j + L), b);
  T lane[L];
  store(lane, max(a, b));
  for (int64_t half = L / 2; half > 0; half /= 2)
    for (int64_t j = 0; j < half; ++j) lane[j] = lane[j] > lane[j + half] ? lane[j] : lane[j + half];
  const T last = top;
  if (lane[0] > top) top = lane[0];
  const T shift = top == -kInfinity<T> ? 0 : top;  // of a row without keys all weights are exp(-inf)
  const V<T> s = splat(shift);
  a = b = V<T>{};
  for (int64_t j = 0; j < end; j += 2 * L) {
    const V<T> v = exp(load(x + j) - s), w = exp(load(x + j + L) - s);
    store(x + j, v);
    store(x + j + L, w);
    a += v, b += w;
  }
  const T sum = reduce_add<T>(a + b);
  const T before = last == top ? 1 : exp(splat(last - shift))[0];
  total = total * before + sum;
  if (h.dropout) dropout_line(h, i, j0, n, x);
  return before;
}

template <class T>
int64_t forward_keys(const AttentionHead<T>& h) {
  return rounded_up(least(h.s, kForwardKeys), kNR<T>);
}

template <class T>
int64_t forward_workspace(const AttentionHead<T>& h, int64_t rows) {
  const int64_t keys = forward_keys(h);
  return keys * h.e + cut_elements<T>(keys) + least(rows, kRows) * keys + 2 * rows;
}

template <class T>
void forward(const AttentionHead<T>& h, int64_t r0, int64_t r1, T* out, int64_t out_row, T* lse, T* workspace) {
  const int64_t width = forward_keys(h), end = h.causal ? least(h.s, r1) : h.s;
  T* const packed_keys = workspace;
  T* const cut_values = packed_keys + width * h.e;
  T* const x = cut_values + cut_elements<T>(width);
  T* const top = x + least(r1 - r0, kRows) * width;
  T* const total = top + (r1 - r0);
  for (int64_t i = 0; i < r1 - r0; ++i) top[i] = -kInfinity<T>, total[i] = 0;
  if (end == 0)
    for (int64_t i = r0; i < r1; ++i) zero(out + i * out_row, h.ev);

  for (int64_t j0 = 0; j0 < end; j0 += kForwardKeys) {
    const int64_t keys = least(end - j0, kForwardKeys);
    const Panels<T> k = transposed(h.e, keys, h.k + j0 * h.k_row, h.k_row, packed_keys);
    const Panels<T> v = in_place(keys, h.ev, h.v + j0 * h.v_row, h.v_row, cut_values);
    for (int64_t i0 = r0; i0 < r1; i0 += kRows) {
      const int64_t rows = least(r1 - i0, kRows);
      if (h.causal && i0 + rows <= j0) continue;
      products(h, i0, rows, j0, keys, k, x, width);
      for (int64_t i = i0; i < i0 + rows; ++i) {
        const T before = weights_line(h, i, j0, keys, x + (i - i0) * width, top[i - r0], total[i - r0]);
        if (j0 == 0 || before == 1) continue;
        T* const o = out + i * out_row;
        const V<T> factor = splat(before);
        each_vector<T>(h.ev, [&](auto u, int64_t c) { u.store(o + c, u.load(o + c) * factor); });
      }
      multiply(rows, h.ev, x, width, int64_t{1}, v, out + i0 * out_row, out_row, static_cast<T>(1),
               static_cast<T>(j0 == 0 ? 0 : 1), [&](int64_t, int64_t i1, int64_t) {
                 return Range{0, h.causal ? visible(h, i0 + i1 - 1, j0, keys) : keys};
               });
    }
  }

  each_vector<T>(r1 - r0, [&](auto v, int64_t i) {
    const V<T> sum = v.load(total + i);
    const auto empty = sum == V<T>{};
    v.store(lse + r0 + i, select(empty, splat(kInfinity<T>), v.load(top + i) + log(sum)));
    v.store(total + i, select(empty, V<T>{}, splat(static_cast<T>(1)) / sum));
  });
  for (int64_t i = r0; i < r1; ++i) {
    T* const o = out + i * out_row;
    const V<T> scale = splat(total[i - r0]);
    each_vector<T>(h.ev, [&](auto u, int64_t c) { u.store(o + c, u.load(o + c) * scale); });
  }
}

// ---- backward -------------------------------------------------------------------------------------------------------

// With weights P, kept ones PD (dropout), cotangent g: dV = PD^T g, dS = P * (D * (g V^T) - delta), delta = g . out,
// dQ = scale dS K, dK = scale dS^T Q.

// Row i: the products x become PD, and dp, which is g V^T, becomes dS.
template <class T>
void gradient_line(const AttentionHead<T>& h, int64_t i, int64_t j0, int64_t keys, T lse, T delta, T* x, T* dp) {
  const int64_t n = visible(h, i, j0, keys), end = close_line(h, i, j0, n, x), width = rounded_up(keys, kNR<T>);
  zero_after(x, end, width);
  zero_after(dp, end, width);
  if (h.dropout) dropout_line(h, i, j0, n, dp);
  const V<T> shift = splat(lse), offset = splat(delta);
  for (int64_t j = 0; j < end; j += kLanes<T>) {
    const V<T> p = exp(load(x + j) - shift);
    store(x + j, p);
    store(dp + j, p * (load(dp + j) - offset));
  }
  if (h.dropout) dropout_line(h, i, j0, n, x);
}

template <class T>
int64_t backward_keys(int64_t keys) {
  return rounded_up(least(keys, kBackwardKeys), kNR<T>);
}

template <class T>
int64_t backward_workspace(const AttentionHead<T>& h, int64_t keys) {
  const int64_t width = backward_keys<T>(keys), rows = least(h.l, kRows);
  return width * (h.e + h.ev) + cut_elements<T>(width) + 2 * cut_elements<T>(rows) + 2 * rows * width + h.l;
}

template <class T>
void backward(const AttentionHead<T>& h, const AttentionGradients<T>& d, int64_t s0, int64_t s1, T* workspace) {
  const int64_t width = backward_keys<T>(s1 - s0), most_rows = least(h.l, kRows);
  T* const packed_keys = workspace;
  T* const packed_values = packed_keys + width * h.e;
  T* const cut_keys = packed_values + width * h.ev;
  T* const cut_queries = cut_keys + cut_elements<T>(width);
  T* const cut_g = cut_queries + cut_elements<T>(most_rows);
  T* const x = cut_g + cut_elements<T>(most_rows);
  T* const dp = x + most_rows * width;
  T* const delta = dp + most_rows * width;

  if (d.dq)
    for (int64_t i = 0; i < h.l; ++i) zero(d.dq + i * d.dq_row, h.e);
  for (int64_t j = s0; j < s1; ++j) {
    if (d.dk) zero(d.dk + j * d.dk_row, h.e);
    if (d.dv) zero(d.dv + j * d.dv_row, h.ev);
  }
  for (int64_t i = h.causal ? s0 : 0; i < h.l; ++i) {
    const T *g = d.g + i * d.g_row, *o = d.out + i * d.out_row;
    delta[i] = sum_line<T>(h.ev, [&](auto v, int64_t c) { return v.load(g + c) * v.load(o + c); });
  }

  for (int64_t j0 = s0; j0 < s1; j0 += kBackwardKeys) {
    const int64_t keys = least(s1 - j0, kBackwardKeys);
    const Panels<T> kt = transposed(h.e, keys, h.k + j0 * h.k_row, h.k_row, packed_keys);
    const Panels<T> vt = transposed(h.ev, keys, h.v + j0 * h.v_row, h.v_row, packed_values);
    const Panels<T> k = in_place(keys, h.e, h.k + j0 * h.k_row, h.k_row, cut_keys);
    for (int64_t i0 = h.causal ? j0 : 0; i0 < h.l; i0 += kRows) {
      const int64_t rows = least(h.l - i0, kRows);
      const T *g = d.g + i0 * d.g_row, *query = h.q + i0 * h.q_row;
      products(h, i0, rows, j0, keys, kt, x, width);
      multiply(rows, rounded_up(keys, kNR<T>), g, d.g_row, int64_t{1}, vt, dp, width, static_cast<T>(1),
               static_cast<T>(0), [&](int64_t, int64_t i1, int64_t j) {
                 return h.causal && j0 + j > i0 + i1 - 1 ? Range{1, 0} : Range{0, h.ev};
               });
      for (int64_t i = i0; i < i0 + rows; ++i)
        gradient_line(h, i, j0, keys, d.lse[i], delta[i], x + (i - i0) * width, dp + (i - i0) * width);

      // Of keys from j on, the first row that sees one.
      const auto rows_that_see = [&](int64_t j, int64_t, int64_t) {
        const int64_t first = h.causal ? j0 + j - i0 : 0;
        return Range{first < 0 ? 0 : first, rows};
      };
      if (d.dv)
        multiply(keys, h.ev, x, int64_t{1}, width, in_place(rows, h.ev, g, d.g_row, cut_g), d.dv + j0 * d.dv_row,
                 d.dv_row, static_cast<T>(1), static_cast<T>(1), rows_that_see);
      if (d.dk)
        multiply(keys, h.e, dp, int64_t{1}, width, in_place(rows, h.e, query, h.q_row, cut_queries),
                 d.dk + j0 * d.dk_row, d.dk_row, h.scale, static_cast<T>(1), rows_that_see);
      if (d.dq)
        multiply(rows, h.e, dp, width, int64_t{1}, k, d.dq + i0 * d.dq_row, d.dq_row, h.scale, static_cast<T>(1),
                 [&](int64_t, int64_t i1, int64_t) {
                   return Range{0, h.causal ? visible(h, i0 + i1 - 1, j0, keys) : keys};
                 });
    }
  }
}

template <class T>
constexpr AttentionOf<T> kAttention = {kRows,      kBackwardKeys,         forward_workspace<T>,
                                       forward<T>, backward_workspace<T>, backward<T>};

}  // namespace

extern const AttentionKernels attention_kernels;
const AttentionKernels attention_kernels = {kAttention<float>, kAttention<double>};

}  // namespace lanner::cpu::LANNER_ISA
