#include "cpu/kernels/optim.h"

#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// A vector of the parameter, its gradient and its state, in registers. What is set here is stored back.
template <class T>
struct Lane {
  V<T> p, g, s0, s1, s2;
};

// body(lane) for each vector of the slice; the number of state arrays that exist is a constant, so that no more is
// read.
template <int kStates, class T, class Body>
LANNER_INLINE void for_vectors(const OptimSlice<T>& a, Body body) {
  constexpr int64_t kWidth = kLanes<T>;
  Lane<T> v{};
  int64_t i = 0;
  for (; i + kWidth <= a.n; i += kWidth) {
    v.p = load(a.p + i);
    v.g = load(a.g + i);
    if constexpr (kStates > 0) v.s0 = load(a.state[0] + i);
    if constexpr (kStates > 1) v.s1 = load(a.state[1] + i);
    if constexpr (kStates > 2) v.s2 = load(a.state[2] + i);
    body(v);
    store(a.p + i, v.p);
    if constexpr (kStates > 0) store(a.state[0] + i, v.s0);
    if constexpr (kStates > 1) store(a.state[1] + i, v.s1);
    if constexpr (kStates > 2) store(a.state[2] + i, v.s2);
  }
  if (i == a.n) return;
  const size_t left = static_cast<size_t>(a.n - i);
  v.p = load_n(a.p + i, left);
  v.g = load_n(a.g + i, left);
  if constexpr (kStates > 0) v.s0 = load_n(a.state[0] + i, left);
  if constexpr (kStates > 1) v.s1 = load_n(a.state[1] + i, left);
  if constexpr (kStates > 2) v.s2 = load_n(a.state[2] + i, left);
  body(v);
  store_n(a.p + i, v.p, left);
  if constexpr (kStates > 0) store_n(a.state[0] + i, v.s0, left);
  if constexpr (kStates > 1) store_n(a.state[1] + i, v.s1, left);
  if constexpr (kStates > 2) store_n(a.state[2] + i, v.s2, left);
}

// Scalars of the update in the parameter's type.
template <class T>
V<T> all(double x) {
  return splat(static_cast<T>(x));
}

// The gradient as the update sees it: g * sign + weight_decay * p. Without weight decay p is not read, so that an
// infinite parameter does no harm.
template <class T>
struct Gradient {
  V<T> sign, decay;
  bool decays;
  Gradient(double weight_decay, bool maximize)
      : sign(all<T>(maximize ? -1 : 1)), decay(all<T>(weight_decay)), decays(weight_decay != 0) {}
  LANNER_INLINE V<T> operator()(const Lane<T>& v) const {
    const V<T> g = v.g * sign;
    return decays ? fma(decay, v.p, g) : g;
  }
};

// a + weight * (b - a), from the nearer end: exact at weight 0 and 1.
template <class T>
struct Lerp {
  V<T> weight, rest;
  bool near_end;
  explicit Lerp(double w) : weight(all<T>(w)), rest(all<T>(1 - w)), near_end(w >= 0.5) {}
  LANNER_INLINE V<T> operator()(V<T> a, V<T> b) const { return near_end ? b - (b - a) * rest : fma(weight, b - a, a); }
};

template <class T>
void sgd(const SgdScalars& c, const OptimSlice<T>& a) {
  const Gradient<T> gradient(c.weight_decay, c.maximize);
  const V<T> lr = all<T>(c.lr), momentum = all<T>(c.momentum), fresh = all<T>(1 - c.dampening);
  if (c.momentum == 0) return for_vectors<0>(a, [&](Lane<T>& v) { v.p -= lr * gradient(v); });
  const bool first = c.first, nesterov = c.nesterov;
  for_vectors<1>(a, [&](Lane<T>& v) {
    const V<T> g = gradient(v);
    v.s0 = first ? g : fma(momentum, v.s0, fresh * g);
    v.p -= lr * (nesterov ? fma(momentum, v.s0, g) : v.s0);
  });
}

template <class T>
void adagrad(const AdagradScalars& c, const OptimSlice<T>& a) {
  const Gradient<T> gradient(c.weight_decay, c.maximize);
  const V<T> lr = all<T>(c.lr), eps = all<T>(c.eps);
  for_vectors<1>(a, [&](Lane<T>& v) {
    const V<T> g = gradient(v);
    v.s0 = fma(g, g, v.s0);
    v.p -= lr * g / (sqrt(v.s0) + eps);
  });
}

template <class T>
void rmsprop(const RmspropScalars& c, const OptimSlice<T>& a) {
  const Gradient<T> gradient(c.weight_decay, c.maximize);
  const Lerp<T> lerp(1 - c.alpha);
  const V<T> lr = all<T>(c.lr), alpha = all<T>(c.alpha), fresh = all<T>(1 - c.alpha), eps = all<T>(c.eps);
  const V<T> momentum = all<T>(c.momentum);
  const auto square = [&](Lane<T>& v, V<T> g) { v.s0 = fma(alpha, v.s0, fresh * g * g); };
  if (c.momentum > 0 && c.centered)
    return for_vectors<3>(a, [&](Lane<T>& v) {
      const V<T> g = gradient(v);
      square(v, g);
      v.s1 = lerp(v.s1, g);
      v.s2 = fma(momentum, v.s2, g / (sqrt(v.s0 - v.s1 * v.s1) + eps));
      v.p -= lr * v.s2;
    });
  if (c.momentum > 0)
    return for_vectors<2>(a, [&](Lane<T>& v) {
      const V<T> g = gradient(v);
      square(v, g);
      v.s1 = fma(momentum, v.s1, g / (sqrt(v.s0) + eps));
      v.p -= lr * v.s1;
    });
  if (c.centered)
    return for_vectors<2>(a, [&](Lane<T>& v) {
      const V<T> g = gradient(v);
      square(v, g);
      v.s1 = lerp(v.s1, g);
      v.p -= lr * g / (sqrt(v.s0 - v.s1 * v.s1) + eps);
    });
  for_vectors<1>(a, [&](Lane<T>& v) {
    const V<T> g = gradient(v);
    square(v, g);
    v.p -= lr * g / (sqrt(v.s0) + eps);
  });
}

template <class T>
void adadelta(const AdadeltaScalars& c, const OptimSlice<T>& a) {
  const Gradient<T> gradient(c.weight_decay, c.maximize);
  const V<T> lr = all<T>(c.lr), rho = all<T>(c.rho), fresh = all<T>(1 - c.rho), eps = all<T>(c.eps);
  for_vectors<2>(a, [&](Lane<T>& v) {
    const V<T> g = gradient(v);
    v.s0 = fma(rho, v.s0, fresh * g * g);
    const V<T> delta = sqrt(v.s1 + eps) / sqrt(v.s0 + eps) * g;
    v.s1 = fma(rho, v.s1, fresh * delta * delta);
    v.p -= lr * delta;
  });
}

template <class T>
void adam(const AdamScalars& c, const OptimSlice<T>& a) {
  const Gradient<T> gradient(c.decoupled ? 0 : c.weight_decay, c.maximize);
  const Lerp<T> lerp(1 - c.beta1);
  const V<T> keep = all<T>(c.decoupled ? 1 - c.lr * c.weight_decay : 1), beta2 = all<T>(c.beta2),
             fresh = all<T>(1 - c.beta2), eps = all<T>(c.eps), rate = all<T>(c.lr / c.correction1),
             scale = all<T>(1 / c.correction2_sqrt);
  const auto update = [&](Lane<T>& v, V<T> square, V<T> g) {
    v.s0 = lerp(v.s0, g);
    v.p = v.p * keep - rate * v.s0 / fma(sqrt(square), scale, eps);
  };
  if (c.amsgrad)
    return for_vectors<3>(a, [&](Lane<T>& v) {
      const V<T> g = gradient(v);
      v.s1 = fma(beta2, v.s1, fresh * g * g);
      v.s2 = max_nan(v.s2, v.s1);
      update(v, v.s2, g);
    });
  for_vectors<2>(a, [&](Lane<T>& v) {
    const V<T> g = gradient(v);
    v.s1 = fma(beta2, v.s1, fresh * g * g);
    update(v, v.s1, g);
  });
}

template <class T>
void adamax(const AdamaxScalars& c, const OptimSlice<T>& a) {
  const Gradient<T> gradient(c.weight_decay, c.maximize);
  const Lerp<T> lerp(1 - c.beta1);
  const V<T> beta2 = all<T>(c.beta2), eps = all<T>(c.eps), rate = all<T>(c.lr / c.correction1);
  for_vectors<2>(a, [&](Lane<T>& v) {
    const V<T> g = gradient(v);
    v.s0 = lerp(v.s0, g);
    v.s1 = max_nan(v.s1 * beta2, abs(g) + eps);
    v.p -= rate * v.s0 / v.s1;
  });
}

template <class T>
void nadam(const NadamScalars& c, const OptimSlice<T>& a) {
  const Gradient<T> gradient(c.decoupled ? 0 : c.weight_decay, c.maximize);
  const Lerp<T> lerp(1 - c.beta1);
  const V<T> keep = all<T>(1 - c.shrink), beta2 = all<T>(c.beta2), fresh = all<T>(1 - c.beta2), eps = all<T>(c.eps),
             scale = all<T>(1 / c.correction2), gradient_rate = all<T>(c.gradient_rate),
             average_rate = all<T>(c.average_rate);
  for_vectors<2>(a, [&](Lane<T>& v) {
    const V<T> g = gradient(v);
    v.s0 = lerp(v.s0, g);
    v.s1 = fma(beta2, v.s1, fresh * g * g);
    const V<T> denominator = sqrt(v.s1 * scale) + eps;
    v.p = v.p * keep - fma(gradient_rate, g, average_rate * v.s0) / denominator;
  });
}

template <class T>
void lion(const LionScalars& c, const OptimSlice<T>& a) {
  const V<T> sign = all<T>(c.maximize ? -1 : 1), keep = all<T>(1 - c.lr * c.weight_decay), lr = all<T>(c.lr);
  const Lerp<T> blend(1 - c.beta1), average(1 - c.beta2);
  const V<T> zero{};
  for_vectors<1>(a, [&](Lane<T>& v) {
    const V<T> g = v.g * sign, u = blend(v.s0, g);
    const V<T> step = (u == zero) | (u != u) ? u : copysign(lr, u);  // lr * sign(u), NaN as it is
    v.p = v.p * keep - step;
    v.s0 = average(v.s0, g);
  });
}

}  // namespace

extern const OptimKernels optim_kernels;
const OptimKernels optim_kernels = {
    sgd<float>,      sgd<double>,      adagrad<float>, adagrad<double>, rmsprop<float>, rmsprop<double>,
    adadelta<float>, adadelta<double>, adam<float>,    adam<double>,    adamax<float>,  adamax<double>,
    nadam<float>,    nadam<double>,    lion<float>,    lion<double>,
};

}  // namespace lanner::cpu::LANNER_ISA
