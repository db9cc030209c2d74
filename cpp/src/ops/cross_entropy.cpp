// Losses of class indices: cross-entropy of logits, fused with the softmax, and of log-probabilities.
#include <algorithm>
#include <cmath>

#include "cpu/dispatch.h"
#include "cpu/kernels/softmax.h"
#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/loss.h"
#include "lanner/ops/norm.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/op.h"

namespace lanner {
namespace {

using ops::LossReduction;

// Elements that one core needs some 20 us for.
constexpr int64_t kGrain = 1 << 15;

struct CrossEntropyAttrs {
  int64_t ignore_index;
  double smoothing;
};
struct NllAttrs {
  int64_t ignore_index;
  Shape shape;  // of the log-probabilities
};

// The axis of the classes in input [C], [N, C], [N, C, d1, ...]; checks the shapes and dtypes of the others.
int class_axis(const char* op, const Tensor& input, const Tensor& target, const Tensor& weight) {
  check_floating(op, "input", input);
  check<ShapeError>(input.ndim() >= 1, op, ": input must be [C], [N, C] or [N, C, d1, ...], got a scalar");
  const int axis = input.ndim() == 1 ? 0 : 1;
  Shape expected = input.shape();
  expected.erase(axis);
  check<DTypeError>(is_integer(target.dtype()), op, ": target must hold class indices, got ",
                    dtype_name(target.dtype()));
  check<ShapeError>(target.shape() == expected, op, ": target expects shape ", expected, " for input ", input.shape(),
                    ", got ", target.shape());
  check<ShapeError>(!weight.defined() || weight.shape() == Shape{input.size(axis)}, op, ": weight expects shape ",
                    Shape{input.size(axis)}, ", got ", weight.defined() ? weight.shape() : Shape{});
  return axis;
}

// In run, so that it also holds for targets that come later.
void check_targets(const char* op, const Tensor& target, int64_t classes, int64_t ignore_index) {
  const int64_t* t = target.data<int64_t>();
  for (int64_t i = 0; i < target.size(); ++i)
    check<ShapeError>((t[i] >= 0 && t[i] < classes) || t[i] == ignore_index, op, ": target ", t[i],
                      " is not one of the ", classes, " classes of input");
}

Tensor weight_like(const Tensor& weight, DType dtype) {
  return weight.defined() ? ops::contiguous(ops::cast(weight.detach(), dtype)) : weight;
}

// Mean over the weights of the targets, sum, or as it is.
Tensor reduce(const Tensor& loss, const Tensor& used, LossReduction reduction) {
  if (reduction == LossReduction::None) return loss;
  const Tensor total = ops::sum(loss);
  return reduction == LossReduction::Sum ? total : total / ops::sum(used.detach());
}

template <class T>
cpu::CrossEntropyOptions options(const CrossEntropyAttrs& a, const Tensor& weight, int64_t classes) {
  double sum = static_cast<double>(classes);
  if (weight.defined() && a.smoothing != 0) {
    sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += static_cast<double>(weight.data<T>()[c]);
  }
  return {a.ignore_index, a.smoothing, sum};
}

template <class T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

// ---- cross-entropy: x[rows, C], target[rows], weight[C] -> loss, log(sum(exp(x))), weight of the target, each [rows]
// ----

Tensors emit_cross_entropy(const Tensor& x, const Tensor& target, const Tensor& weight, const CrossEntropyAttrs& a) {
  const Tensor in[] = {x, target, weight};
  const OutSpec rows{{x.size(0)}, x.dtype()};
  const OutSpec specs[] = {rows, rows, rows};
  return emit(Op::CrossEntropy, in, a, specs);
}

Tensor emit_cross_entropy_backward(const Tensor& g, const Vjp& v, const Tensor& x, const Tensor& target,
                                   const Tensor& weight, const Tensor& lse) {
  return emit(Op::CrossEntropyBackward, {ops::contiguous(g), x, target, weight, lse.detach()}, v.attrs,
              {x.shape(), x.dtype()});
}

template <class T>
void cross_entropy(const Run& r) {
  const Tensor &x = r.in[0], &target = r.in[1], &weight = r.in[2];
  const auto& a = r.attrs.get<CrossEntropyAttrs>();
  const int64_t rows = x.size(0), n = x.size(1);
  check_targets("cross_entropy", target, n, a.ignore_index);
  const auto o = options<T>(a, weight, n);
  parallel_for(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n)), [&](int64_t begin, int64_t end) {
    cpu::kernels_of<T>(cpu::kernels().softmax)
        .cross_entropy(x.data<T>() + begin * n, target.data<int64_t>() + begin, data_or_null<T>(weight),
                       r.out[0].data<T>() + begin, r.out[1].data<T>() + begin, r.out[2].data<T>() + begin, end - begin,
                       n, o);
  });
}

template <class T>
void cross_entropy_backward(const Run& r) {
  const Tensor &g = r.in[0], &x = r.in[1], &target = r.in[2], &weight = r.in[3], &lse = r.in[4];
  const int64_t rows = x.size(0), n = x.size(1);
  const auto o = options<T>(r.attrs.get<CrossEntropyAttrs>(), weight, n);
  parallel_for(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n)), [&](int64_t begin, int64_t end) {
    cpu::kernels_of<T>(cpu::kernels().softmax)
        .cross_entropy_backward(g.data<T>() + begin, x.data<T>() + begin * n, target.data<int64_t>() + begin,
                                data_or_null<T>(weight), lse.data<T>() + begin, r.out[0].data<T>() + begin * n,
                                end - begin, n, o);
  });
}

// Targets that are probabilities.
Tensor cross_entropy_of_probabilities(const Tensor& input, const Tensor& target, const Tensor& weight,
                                      LossReduction reduction, double smoothing) {
  const int axis = input.ndim() == 1 ? 0 : 1;
  const int64_t classes = input.size(axis);
  check<ShapeError>(target.shape() == input.shape(),
                    "cross_entropy: a floating target holds probabilities and expects the shape of input, ",
                    input.shape(), ", got ", target.shape());
  Tensor p = smoothing == 0 ? target : target * (1 - smoothing) + smoothing / static_cast<double>(classes);
  if (weight.defined()) {
    check<ShapeError>(weight.shape() == Shape{classes}, "cross_entropy: weight expects shape ", Shape{classes},
                      ", got ", weight.shape());
    Shape along = Dims::filled(input.ndim(), 1);
    along[axis] = classes;
    p = p * ops::reshape(weight, along);
  }
  const Tensor loss = -ops::sum(p * ops::log_softmax(input, axis), axis);
  if (reduction == LossReduction::None) return loss;
  return reduction == LossReduction::Sum ? ops::sum(loss) : ops::mean(loss);
}

// ---- negative log-likelihood: x[N, C, length], target[N, length], weight[C] -> loss and weight, each [N, length] ----

// f(position among the targets, position in x, target) for each target that is not ignored.
template <class F>
void each_target(const Tensor& target, const NllAttrs& a, F f) {
  const int64_t classes = a.shape[1], length = a.shape[2];
  const int64_t* t = target.data<int64_t>();
  for (int64_t i = 0; i < target.size(); ++i)
    if (t[i] != a.ignore_index) f(i, (i / length * classes + t[i]) * length + i % length, t[i]);
}

Tensors emit_nll(const Tensor& x, const Tensor& target, const Tensor& weight, const NllAttrs& a) {
  const Tensor in[] = {x, target, weight};
  const OutSpec one{target.shape(), x.dtype()};
  const OutSpec specs[] = {one, one};
  return emit(Op::NllLoss, in, a, specs);
}

template <class T>
void nll(const Run& r) {
  const auto& a = r.attrs.get<NllAttrs>();
  check_targets("nll_loss", r.in[1], a.shape[1], a.ignore_index);
  const T *x = r.in[0].data<T>(), *weight = data_or_null<T>(r.in[2]);
  T *loss = r.out[0].data<T>(), *used = r.out[1].data<T>();
  std::fill_n(loss, r.out[0].size(), static_cast<T>(0));
  std::fill_n(used, r.out[1].size(), static_cast<T>(0));
  each_target(r.in[1], a, [&](int64_t i, int64_t at, int64_t t) {
    used[i] = weight ? weight[t] : 1;
    loss[i] = -used[i] * x[at];
  });
}

template <class T>
void nll_backward(const Run& r) {
  const T *g = r.in[0].data<T>(), *weight = data_or_null<T>(r.in[2]);
  T* dx = r.out[0].data<T>();
  std::fill_n(dx, r.out[0].size(), static_cast<T>(0));
  each_target(r.in[1], r.attrs.get<NllAttrs>(),
              [&](int64_t i, int64_t at, int64_t t) { dx[at] = -(weight ? weight[t] : 1) * g[i]; });
}

}  // namespace

Tensor ops::cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                          LossReduction reduction, double label_smoothing) {
  check(label_smoothing >= 0 && label_smoothing <= 1, "cross_entropy: label_smoothing must lie in [0, 1], got ",
        label_smoothing);
  check_floating("cross_entropy", "input", input);
  if (is_half(input.dtype()))
    return cast(cross_entropy(cast(input, DType::Float32), target, weight, ignore_index, reduction, label_smoothing),
                input.dtype());
  if (is_floating(target.dtype()))
    return cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing);
  const int axis = class_axis("cross_entropy", input, target, weight);
  const int64_t classes = input.size(axis);
  const Tensor last = input.ndim() > 2 ? moveaxis(input, {1}, {-1}) : input;
  const Tensor x = contiguous(reshape(last, {target.size(), classes}));
  const Tensor t = contiguous(reshape(cast(target, DType::Int64), {target.size()}));
  const Tensors out = emit_cross_entropy(x, t, weight_like(weight, x.dtype()), {ignore_index, label_smoothing});
  return reduce(reduction == LossReduction::None ? reshape(out[0], target.shape()) : out[0], out[2], reduction);
}
LANNER_RUN(CrossEntropy) {
  r.in[0].dtype() == DType::Float32 ? ::lanner::cross_entropy<float>(r) : ::lanner::cross_entropy<double>(r);
}
LANNER_VJP(CrossEntropy) {
  return {emit_cross_entropy_backward(v.g[0], v, v.in[0], v.in[1], v.in[2], v.out[1]), Tensor(), Tensor()};
}
LANNER_RUN(CrossEntropyBackward) {
  r.in[0].dtype() == DType::Float32 ? ::lanner::cross_entropy_backward<float>(r)
                                    : ::lanner::cross_entropy_backward<double>(r);
}
// dx[i, c] = g[i] * (A[i] * p[i, c] - K[i, c]), where p = softmax(x), K does not depend on x, and
// A = (1 - smoothing) * weight of the target + smoothing / C * sum of the weights, or 0 where the target is ignored.
LANNER_VJP(CrossEntropyBackward) {
  const Tensor &u = v.g[0], &g = v.in[0], &x = v.in[1], &target = v.in[2], &weight = v.in[3];
  const auto& a = v.attrs.get<CrossEntropyAttrs>();
  Tensors gradients(v.in.size());
  if (v.needs(0))
    gradients[0] = ops::sum(u * emit_cross_entropy_backward(ops::ones_like(g), v, x, target, weight, v.in[4]), {1});
  if (v.needs(1)) {
    const Tensor used = emit_cross_entropy(x.detach(), target, weight, a)[2];
    Tensor scale = used * (1 - a.smoothing);
    if (a.smoothing != 0) {
      const Tensor counted = ops::cast(ops::not_equal(target, Tensor::weak(a.ignore_index)), x.dtype());
      const double each = a.smoothing / static_cast<double>(x.size(1));
      scale = scale + (weight.defined() ? counted * (ops::sum(weight) * each) : counted * a.smoothing);
    }
    const Tensor p = ops::softmax(x, 1), weighted = u * ops::expand_dims(g * scale, 1);
    gradients[1] = p * (weighted - ops::sum(weighted * p, {1}, true));
  }
  return gradients;
}

Tensor ops::nll_loss(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                     LossReduction reduction) {
  const int axis = class_axis("nll_loss", input, target, weight);
  if (is_half(input.dtype()))
    return cast(nll_loss(cast(input, DType::Float32), target, weight, ignore_index, reduction), input.dtype());
  const int64_t n = axis == 0 ? 1 : input.size(0), classes = input.size(axis);
  const int64_t length = target.size() / std::max<int64_t>(1, n);
  const NllAttrs attrs{ignore_index, {n, classes, length}};
  const Tensor x = contiguous(reshape(input, attrs.shape));
  const Tensor t = contiguous(reshape(cast(target, DType::Int64), {n, length}));
  const Tensors out = emit_nll(x, t, weight_like(weight, x.dtype()), attrs);
  return lanner::reduce(reduction == LossReduction::None ? reshape(out[0], target.shape()) : out[0], out[1], reduction);
}
LANNER_RUN(NllLoss) { r.in[0].dtype() == DType::Float32 ? nll<float>(r) : nll<double>(r); }
LANNER_VJP(NllLoss) {
  const auto& a = v.attrs.get<NllAttrs>();
  return {emit(Op::NllLossBackward, {ops::contiguous(v.g[0]), v.in[1], v.in[2]}, a, {a.shape, v.g[0].dtype()}),
          Tensor(), Tensor()};
}
// Linear in g: its gradient is the forward.
LANNER_RUN(NllLossBackward) { r.in[0].dtype() == DType::Float32 ? nll_backward<float>(r) : nll_backward<double>(r); }
LANNER_VJP(NllLossBackward) {
  return {emit_nll(ops::contiguous(v.g[0]), v.in[1], v.in[2], v.attrs.get<NllAttrs>())[0], Tensor(), Tensor()};
}

}  // namespace lanner
