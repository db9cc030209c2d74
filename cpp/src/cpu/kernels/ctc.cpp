#include "cpu/kernels/ctc.h"

#include "cpu/kernels/lines.h"
#include "cpu/kernels/math.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

template <class T>
constexpr T kNever = static_cast<T>(-__builtin_inf());

// log(exp(a) + exp(b) + exp(c)); -inf where all are.
template <class Vector>
LANNER_INLINE Vector log_sum(Vector a, Vector b, Vector c) {
  const Vector top = max(max(a, b), c), shift = select(top == -__builtin_inff() + Vector{}, Vector{}, top);
  return shift + log(exp(a - shift) + exp(b - shift) + exp(c - shift));
}

// A row of the workspace: the states, and -inf on both sides, as far as a vector or a step of two reaches.
template <class T>
constexpr int64_t kMargin = kLanes<T> + 2;
template <class T>
int64_t row_elements(int64_t states) {
  return states + 2 * kMargin<T>;
}
template <class T>
int64_t workspace_elements(int64_t states) {
  return 4 * row_elements<T>(states);
}

template <class T>
struct Rows {
  T *emitted, *skip, *a, *b;

  // `skip` is 0 where a path may come from two states before, else -inf.
  Rows(const CtcSample<T>& c, T* workspace) {
    const int64_t n = row_elements<T>(c.states());
    for (int64_t i = 0; i < 4 * n; ++i) workspace[i] = kNever<T>;
    emitted = workspace + kMargin<T>, skip = emitted + n, a = skip + n, b = a + n;
    for (int64_t j = 1; j < c.length; ++j)
      if (c.labels[j] != c.labels[j - 1]) skip[2 * j + 1] = 0;
  }
  // The log-probability of each state's label at frame t.
  void emit(const CtcSample<T>& c, int64_t t) const {
    const T* row = c.log_probs + t * c.step;
    for (int64_t j = 0; j < c.length; ++j) {
      emitted[2 * j] = row[c.blank];
      emitted[2 * j + 1] = row[c.labels[j]];
    }
    emitted[2 * c.length] = row[c.blank];
  }
};

template <class T>
T forward(const CtcSample<T>& c, T* alpha, T* workspace) {
  const int64_t states = c.states();
  const Rows<T> rows(c, workspace);
  T *before = rows.a, *now = rows.b;
  for (int64_t t = 0; t < c.frames; ++t, alpha += states) {
    rows.emit(c, t);
    if (t == 0) {
      for (int64_t s = 0; s < states; ++s) alpha[s] = now[s] = s < 2 ? rows.emitted[s] : kNever<T>;
    } else {
      each_vector<T>(states, [&](auto v, int64_t s) {
        const V<T> from =
            log_sum(v.load(before + s), v.load(before + s - 1), v.load(before + s - 2) + v.load(rows.skip + s));
        const V<T> x = from + v.load(rows.emitted + s);
        v.store(now + s, x);
        v.store(alpha + s, x);
      });
    }
    T* const last = before;
    before = now, now = last;
  }
  const T* end = before + states - 1;
  return -log_sum(splat(end[0]), splat(states > 1 ? end[-1] : kNever<T>), splat(kNever<T>))[0];
}

template <class T>
void backward(const CtcSample<T>& c, const T* alpha, T loss, T g, T* dlog_probs, int64_t d_step, T* workspace) {
  const int64_t states = c.states();
  const Rows<T> rows(c, workspace);
  T *after = rows.a, *share = rows.b;  // of a state: all that follows from it on, this frame included; its probability
  const V<T> total = splat(loss);
  for (int64_t t = c.frames - 1; t >= 0; --t) {
    rows.emit(c, t);
    const T* here = alpha + t * states;
    const bool last = t == c.frames - 1;
    // In place: the states after s are read before they are written to.
    each_vector<T>(states, [&](auto v, int64_t s) {
      V<T> rest;
      if (last) {
        T ends[kLanes<T>];
        for (int i = 0; i < kLanes<T>; ++i) ends[i] = s + i == states - 1 || s + i == states - 2 ? 0 : kNever<T>;
        rest = load(ends);
      } else {
        rest = log_sum(v.load(after + s), load(after + s + 1), load(after + s + 2) + load(rows.skip + s + 2));
      }
      v.store(share + s, exp(v.load(here + s) + rest + total));
      v.store(after + s, rest + v.load(rows.emitted + s));
    });
    T* const d = dlog_probs + t * d_step;
    __builtin_memset(d, 0, static_cast<size_t>(c.classes) * sizeof(T));
    T blank = share[0];
    for (int64_t j = 0; j < c.length; ++j) {
      d[c.labels[j]] -= g * share[2 * j + 1];
      blank += share[2 * j + 2];
    }
    d[c.blank] = -g * blank;
  }
}

template <class T>
constexpr CtcOf<T> kCtc = {workspace_elements<T>, forward<T>, backward<T>};

}  // namespace

extern const CtcKernels ctc_kernels;
const CtcKernels ctc_kernels = {kCtc<float>, kCtc<double>};

}  // namespace lanner::cpu::LANNER_ISA
