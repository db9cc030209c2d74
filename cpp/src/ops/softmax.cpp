#include <algorithm>

#include "cpu/dispatch.h"
#include "cpu/kernels/softmax.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/norm.h"
#include "lanner/ops/reduce.h"
#include "lanner/parallel.h"
#include "ops/op.h"

namespace lanner {
namespace {

struct SoftmaxAttrs {
  int axis;
};

// Elements that one core needs some 20 us for.
constexpr int64_t kGrain = 1 << 15;

// f(range) on slices of the units of x along `axis`.
template <class F>
void over_units(const Tensor& x, int axis, F f) {
  if (x.size() == 0) return;
  const int64_t n = x.size(axis);
  int64_t inner = 1;
  for (int i = axis + 1; i < x.ndim(); ++i) inner *= x.size(i);
  const int64_t outer = x.size() / (n * inner);
  const int64_t per_unit = n * std::min(inner, cpu::kSoftmaxTile);
  parallel_for(cpu::softmax_units(outer, inner), std::max<int64_t>(1, kGrain / per_unit),
               [&](int64_t begin, int64_t end) { f(cpu::SoftmaxRange{n, inner, begin, end}); });
}

template <class T>
void forward(const Run& r, bool log) {
  over_units(r.in[0], r.attrs.get<SoftmaxAttrs>().axis, [&](const cpu::SoftmaxRange& range) {
    cpu::kernels_of<T>(cpu::kernels().softmax).forward(r.in[0].data<T>(), r.out[0].data<T>(), range, log);
  });
}
template <class T>
void backward(const Run& r, bool log) {
  over_units(r.in[0], r.attrs.get<SoftmaxAttrs>().axis, [&](const cpu::SoftmaxRange& range) {
    cpu::kernels_of<T>(cpu::kernels().softmax)
        .backward(r.in[0].data<T>(), r.in[1].data<T>(), r.out[0].data<T>(), range, log);
  });
}

Tensor emit_softmax(Op op, const Tensor& x, int64_t axis) {
  check_floating(op_name(op), "x", x);
  const SoftmaxAttrs attrs{normalize_axis(axis, x.ndim(), op_name(op))};
  if (is_half(x.dtype())) return ops::cast(emit_softmax(op, ops::cast(x, DType::Float32), axis), x.dtype());
  return emit(op, {ops::contiguous(x)}, attrs, {x.shape(), x.dtype()});
}

// From an output y and its cotangent g.
Tensor emit_backward(Op op, const Tensor& g, const Tensor& y, const Attrs& attrs) {
  return emit(op, {ops::contiguous(g), y}, attrs, {y.shape(), y.dtype()});
}

}  // namespace

Tensor ops::softmax(const Tensor& x, int64_t axis) { return emit_softmax(Op::Softmax, x, axis); }
LANNER_RUN(Softmax) { r.in[0].dtype() == DType::Float32 ? forward<float>(r, false) : forward<double>(r, false); }
LANNER_VJP(Softmax) { return {emit_backward(Op::SoftmaxBackward, v.g[0], v.out[0], v.attrs)}; }

// dx = y * (g - sum(g * y))
LANNER_RUN(SoftmaxBackward) {
  r.in[0].dtype() == DType::Float32 ? backward<float>(r, false) : backward<double>(r, false);
}
LANNER_VJP(SoftmaxBackward) {
  const Tensor &u = v.g[0], &g = v.in[0], &y = v.in[1];
  const ops::Axes axis = v.attrs.get<SoftmaxAttrs>().axis;
  return {v.needs(0) ? emit_backward(Op::SoftmaxBackward, u, y, v.attrs) : Tensor(),
          v.needs(1) ? u * (g - ops::sum(g * y, axis, true)) - g * ops::sum(u * y, axis, true) : Tensor()};
}

Tensor ops::log_softmax(const Tensor& x, int64_t axis) { return emit_softmax(Op::LogSoftmax, x, axis); }
LANNER_RUN(LogSoftmax) { r.in[0].dtype() == DType::Float32 ? forward<float>(r, true) : forward<double>(r, true); }
LANNER_VJP(LogSoftmax) { return {emit_backward(Op::LogSoftmaxBackward, v.g[0], v.out[0], v.attrs)}; }

// dx = g - exp(y) * sum(g)
LANNER_RUN(LogSoftmaxBackward) {
  r.in[0].dtype() == DType::Float32 ? backward<float>(r, true) : backward<double>(r, true);
}
LANNER_VJP(LogSoftmaxBackward) {
  const Tensor &u = v.g[0], &g = v.in[0];
  const ops::Axes axis = v.attrs.get<SoftmaxAttrs>().axis;
  const Tensor weighted = u * ops::exp(v.in[1]);
  return {v.needs(0) ? u - ops::sum(weighted, axis, true) : Tensor(),
          v.needs(1) ? -(weighted * ops::sum(g, axis, true)) : Tensor()};
}

}  // namespace lanner
