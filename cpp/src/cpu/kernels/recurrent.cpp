#include "cpu/kernels/recurrent.h"

#include "cpu/kernels/lines.h"
#include "cpu/kernels/math.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// f(u, n) for the vectors of units [begin, end).
template <class T, class F>
LANNER_INLINE void each_vector(int64_t begin, int64_t end, F f) {
  int64_t u = begin;
  for (; u + kLanes<T> <= end; u += kLanes<T>) f(u, kLanes<T>);
  if (u < end) f(u, static_cast<int>(end - u));
}

template <class T>
LANNER_INLINE void copy_units(const T* from, T* to, int64_t begin, int64_t end) {
  for (int64_t u = begin; u < end; ++u) to[u] = from[u];
}
template <class T>
LANNER_INLINE void clear_units(T* to, int64_t begin, int64_t end) {
  for (int64_t u = begin; u < end; ++u) to[u] = 0;
}

// ---- forward --------------------------------------------------------------------------------------------------------

// cell(row, u, n, before) computes n units of a row; before(gate) is x W^T + b + h W^T there, or its parts.
template <class T>
struct Gates {
  const RecurrentStep<T>& s;
  const T *input, *products;
  int64_t u;
  int n;

  LANNER_INLINE V<T> product(int gate) const { return take(products + gate * s.products_gate + (u - s.unit_begin), n); }
  LANNER_INLINE V<T> with_bias(V<T> x, int place) const {
    return s.bias ? x + take(s.bias + place * s.hidden + u, n) : x;
  }
  LANNER_INLINE V<T> input_of(int gate) const { return take(input + gate * s.hidden + u, n); }
  LANNER_INLINE V<T> operator()(int gate) const {
    const V<T> x = product(gate);
    return with_bias(s.input ? x + input_of(gate) : x, gate);
  }
};

template <class T, int kGates, class Cell>
LANNER_INLINE void each_unit(const RecurrentStep<T>& s, Cell cell) {
  const int64_t H = s.hidden;
  for (int64_t r = s.row_begin; r < s.row_end; ++r) {
    if (s.lengths && s.time >= s.lengths[r]) {
      copy_units(s.h_before + r * H, s.h + r * H, s.unit_begin, s.unit_end);
      if (s.c && s.c != s.c_before) copy_units(s.c_before + r * H, s.c + r * H, s.unit_begin, s.unit_end);
      clear_units(s.y + r * H, s.unit_begin, s.unit_end);
      continue;
    }
    const T *input = s.input ? s.input + r * kGates * H : nullptr,
            *products = s.products + (r - s.row_begin) * s.products_row;
    each_vector<T>(
        s.unit_begin, s.unit_end, [&](int64_t u, int n) __attribute__((always_inline)) {
          const V<T> h = cell(Gates<T>{s, input, products, u, n}, r);
          put(s.h + r * H + u, h, n);
          if (s.lengths) put(s.y + r * H + u, h, n);
        });
  }
}

template <class T>
void rnn_tanh(const RecurrentStep<T>& s) {
  each_unit<T, 1>(s, [&](const Gates<T>& g, int64_t) __attribute__((always_inline)) { return tanh(g(0)); });
}

template <class T>
void rnn_relu(const RecurrentStep<T>& s) {
  each_unit<T, 1>(
      s, [&](const Gates<T>& g, int64_t) __attribute__((always_inline)) {
        const V<T> x = g(0);
        return x < V<T>{} ? V<T>{} : x;  // NaN stays NaN
      });
}

template <class T>
void lstm(const RecurrentStep<T>& s) {
  const int64_t H = s.hidden;
  each_unit<T, 4>(
      s, [&](const Gates<T>& g, int64_t r) __attribute__((always_inline)) {
        const V<T> i = sigmoid(g(0)), f = sigmoid(g(1)), a = tanh(g(2)), o = sigmoid(g(3));
        const V<T> c = fma(f, take(s.c_before + r * H + g.u, g.n), i * a);
        put(s.c + r * H + g.u, c, g.n);
        if (s.gates) {
          T* to = s.gates + r * s.gates_row + g.u;
          put(to, i, g.n), put(to + H, f, g.n), put(to + 2 * H, a, g.n), put(to + 3 * H, o, g.n);
        }
        return o * tanh(c);
      });
}

template <class T>
void gru(const RecurrentStep<T>& s) {
  const int64_t H = s.hidden;
  each_unit<T, 3>(
      s, [&](const Gates<T>& g, int64_t r) __attribute__((always_inline)) {
        const V<T> reset = sigmoid(g(0)), z = sigmoid(g(1));
        const V<T> recurrent = g.with_bias(g.product(2), 3);
        const V<T> a = tanh(fma(reset, recurrent, g.with_bias(s.input ? g.input_of(2) : g.product(3), 2)));
        if (s.gates) {
          T* to = s.gates + r * s.gates_row + g.u;
          put(to, reset, g.n), put(to + H, z, g.n), put(to + 2 * H, a, g.n), put(to + 3 * H, recurrent, g.n);
        }
        return fma(z, take(s.h_before + r * H + g.u, g.n) - a, a);
      });
}

// ---- backward -------------------------------------------------------------------------------------------------------

// cell(row, u, n, dh, dbias) gives the gates' gradients of n units, which it adds to dbias; kGates of them a unit.
template <class T, int kGates, class Cell>
LANNER_INLINE void each_unit_back(const RecurrentStepBack<T>& s, Cell cell) {
  const int64_t H = s.hidden;
  each_vector<T>(
      s.unit_begin, s.unit_end, [&](int64_t u, int n) __attribute__((always_inline)) {
        V<T> dbias[kGates] = {};
        for (int64_t r = s.row_begin; r < s.row_end; ++r) {
          T* dgates = s.dgates + r * s.gates_row + u;
          if (s.lengths && s.time >= s.lengths[r]) {
            for (int gate = 0; gate < kGates; ++gate) put(dgates + gate * H, V<T>{}, n);
            if (s.cells) put(s.cells + r * H + u, V<T>{}, n);
            continue;
          }
          V<T> dh = take(s.dh + r * H + u, n);
          if (s.dy) dh += take(s.dy + r * s.dy_row + u, n);
          V<T> d[kGates];
          cell(r, u, n, dh, d);
#pragma GCC unroll 4
          for (int gate = 0; gate < kGates; ++gate) {
            put(dgates + gate * H, d[gate], n);
            dbias[gate] += d[gate];
            if (s.next_gates) {
              prefetch(s.next_gates + r * s.gates_row + gate * H + u);
              prefetch(s.next_dgates + r * s.gates_row + gate * H + u);
            }
          }
          if (s.next_c) prefetch(s.next_c + r * H + u);
          if (s.next_dy) prefetch(s.next_dy + r * s.dy_row + u);
        }
        if (s.dbias) {
          for (int gate = 0; gate < kGates; ++gate) {
            T* to = s.dbias + gate * H + u;
            put(to, take(to, n) + dbias[gate], n);
          }
        }
      });
}

template <class T, bool kRelu>
void rnn_back(const RecurrentStepBack<T>& s) {
  const int64_t H = s.hidden;
  each_unit_back<T, 1>(
      s, [&](int64_t r, int64_t u, int n, V<T> dh, V<T>* d) __attribute__((always_inline)) {
        const V<T> y = take(s.y + r * H + u, n);
        if constexpr (kRelu)
          d[0] = y > V<T>{} ? dh : dh * V<T>{};
        else
          d[0] = dh * (splat(T{1}) - y * y);
        if (s.lengths) put(s.dh + r * H + u, V<T>{}, n);
      });
}

template <class T>
void lstm_back(const RecurrentStepBack<T>& s) {
  const int64_t H = s.hidden;
  each_unit_back<T, 4>(
      s, [&](int64_t r, int64_t u, int n, V<T> dh, V<T>* d) __attribute__((always_inline)) {
        const V<T> one = splat(T{1});
        const T* gates = s.gates + r * s.gates_row + u;
        const V<T> i = take(gates, n), f = take(gates + H, n), a = take(gates + 2 * H, n), o = take(gates + 3 * H, n);
        const V<T> c = tanh(take(s.c + r * H + u, n));
        T* dc_at = s.dc + r * H + u;
        const V<T> dc = fma(dh * o, one - c * c, take(dc_at, n));
        d[0] = dc * a * i * (one - i);
        d[1] = dc * take(s.c_before + r * H + u, n) * f * (one - f);
        d[2] = dc * i * (one - a * a);
        d[3] = dh * c * o * (one - o);
        put(dc_at, dc * f, n);
        if (s.cells) put(s.cells + r * H + u, o * c, n);
        if (s.lengths) put(s.dh + r * H + u, V<T>{}, n);
      });
}

template <class T>
void gru_back(const RecurrentStepBack<T>& s) {
  const int64_t H = s.hidden;
  each_unit_back<T, 4>(
      s, [&](int64_t r, int64_t u, int n, V<T> dh, V<T>* d) __attribute__((always_inline)) {
        const V<T> one = splat(T{1});
        const T* gates = s.gates + r * s.gates_row + u;
        const V<T> reset = take(gates, n), z = take(gates + H, n), a = take(gates + 2 * H, n),
                   recurrent = take(gates + 3 * H, n);
        d[2] = dh * (one - z) * (one - a * a);
        d[3] = d[2] * reset;
        d[0] = d[2] * recurrent * reset * (one - reset);
        const T* h_before = s.h0 && s.time == s.lengths[r] - 1 ? s.h0 : s.h_before;
        d[1] = dh * (take(h_before + r * H + u, n) - a) * z * (one - z);
        put(s.dh + r * H + u, dh * z, n);
      });
}

template <class T>
constexpr RecurrentOf<T> functions() {
  return {rnn_tanh<T>, rnn_relu<T>, lstm<T>, gru<T>, rnn_back<T, false>, rnn_back<T, true>, lstm_back<T>, gru_back<T>};
}

}  // namespace

extern const RecurrentKernels recurrent_kernels;
const RecurrentKernels recurrent_kernels = {functions<float>(), functions<double>()};

}  // namespace lanner::cpu::LANNER_ISA
