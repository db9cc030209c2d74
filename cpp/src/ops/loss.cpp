#include "lanner/ops/loss.h"

#include <algorithm>

#include "cpu/dispatch.h"
#include "cpu/kernels/loss.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/norm.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/op.h"

namespace lanner {
namespace {

using ops::LossReduction;

// Elements that one core needs some 20 us for.
constexpr int64_t kGrain = 1 << 14;

Tensor reduce(const Tensor& loss, LossReduction reduction) {
  switch (reduction) {
    case LossReduction::Mean: return ops::mean(loss);
    case LossReduction::Sum: return ops::sum(loss);
    default: return loss;
  }
}

void check_pair(const char* op, const Tensor& input, const Tensor& target, const char* name = "target") {
  check_floating(op, "input", input);
  check<ShapeError>(input.shape() == target.shape(), op, ": ", name, " expects the shape of input, ", input.shape(),
                    ", got ", target.shape());
}

// Integer and bool targets (labels, pixels) are taken as numbers of the input's dtype.
Tensor as_floating(const Tensor& target, const Tensor& input) {
  return is_floating(target.dtype()) ? target : ops::cast(target, input.dtype());
}

// The loss function of a half input is computed in float32.
Tensor widen(const Tensor& x) { return x.defined() && is_half(x.dtype()) ? ops::cast(x, DType::Float32) : x; }

Tensor weighted(const Tensor& loss, const Tensor& weight) { return weight.defined() ? loss * weight : loss; }

}  // namespace

ops::LossReduction ops::loss_reduction(const std::string& word, const char* op) {
  check(word == "none" || word == "mean" || word == "sum", op, ": reduction must be 'none', 'mean' or 'sum', got '",
        word, "'");
  return word == "none" ? LossReduction::None : word == "mean" ? LossReduction::Mean : LossReduction::Sum;
}

// ---- distances ------------------------------------------------------------------------------------------------------

Tensor ops::mse_loss(const Tensor& input, const Tensor& target, LossReduction reduction) {
  check_pair("mse_loss", input, target);
  const Tensor d = input - as_floating(target, input);
  if (reduction == LossReduction::None) return square(d);
  const Tensor total = sum_squares(d);
  return reduction == LossReduction::Sum ? total : total / static_cast<double>(d.size());
}

Tensor ops::l1_loss(const Tensor& input, const Tensor& target, LossReduction reduction) {
  check_pair("l1_loss", input, target);
  return reduce(abs(input - as_floating(target, input)), reduction);
}

Tensor ops::smooth_l1_loss(const Tensor& input, const Tensor& target, LossReduction reduction, double beta) {
  check_pair("smooth_l1_loss", input, target);
  check(beta >= 0, "smooth_l1_loss: beta must not be negative, got ", beta);
  if (beta == 0) return l1_loss(input, target, reduction);
  const Tensor d = abs(input - as_floating(target, input));
  return reduce(where(less(d, Tensor::weak(beta)), square(d) * (0.5 / beta), d - 0.5 * beta), reduction);
}

Tensor ops::huber_loss(const Tensor& input, const Tensor& target, LossReduction reduction, double delta) {
  check_pair("huber_loss", input, target);
  check(delta > 0, "huber_loss: delta must be positive, got ", delta);
  const Tensor d = abs(input - as_floating(target, input));
  return reduce(where(less(d, Tensor::weak(delta)), square(d) * 0.5, (d - 0.5 * delta) * delta), reduction);
}

// ---- probabilities of one event -------------------------------------------------------------------------------------

static Tensor emit_binary(Op op, const Tensor& input, const Tensor& target) {
  const Tensor x = widen(input), t = ops::cast(as_floating(target, x), x.dtype());
  const Tensor loss = emit(op, {ops::contiguous(x), ops::contiguous(t)}, {}, {x.shape(), x.dtype()});
  return is_half(input.dtype()) ? ops::cast(loss, input.dtype()) : loss;
}

template <class T>
static void run_binary(const Run& r, void (*loss)(const T*, const T*, T*, size_t)) {
  const T *x = r.in[0].data<T>(), *t = r.in[1].data<T>();
  T* y = r.out[0].data<T>();
  parallel_for(r.out[0].size(), kGrain, [&](int64_t begin, int64_t end) {
    loss(x + begin, t + begin, y + begin, static_cast<size_t>(end - begin));
  });
}

Tensor ops::binary_cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight,
                                 LossReduction reduction) {
  check_pair("binary_cross_entropy", input, target);
  return reduce(weighted(emit_binary(Op::BinaryCrossEntropy, input, target), weight), reduction);
}
LANNER_RUN(BinaryCrossEntropy) {
  const auto& k = *cpu::kernels().loss;
  if (r.in[0].dtype() == DType::Float32)
    run_binary<float>(r, k.f32.binary_cross_entropy);
  else
    run_binary<double>(r, k.f64.binary_cross_entropy);
}
LANNER_VJP(BinaryCrossEntropy) {
  const Tensor &g = v.g[0], &x = v.in[0], &t = v.in[1];
  const auto log_or_least = [](const Tensor& y) { return ops::maximum(y, Tensor::weak(-100.0)); };
  return {v.needs(0) ? g * (x - t) / ops::maximum(x * (1.0 - x), Tensor::weak(1e-12)) : Tensor(),
          v.needs(1) ? g * (log_or_least(ops::log1p(-x)) - log_or_least(ops::log(x))) : Tensor()};
}

Tensor ops::binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const Tensor& weight,
                                             LossReduction reduction, const Tensor& pos_weight) {
  check_pair("binary_cross_entropy_with_logits", input, target);
  if (!pos_weight.defined())
    return reduce(weighted(emit_binary(Op::BinaryCrossEntropyWithLogits, input, target), weight), reduction);
  // softplus(-x) is the loss against a target of 1.
  const Tensor t = as_floating(target, input);
  const Tensor of_one = emit_binary(Op::BinaryCrossEntropyWithLogits, input, ones_like(input));
  return reduce(weighted((1.0 - t) * input + ((pos_weight - 1.0) * t + 1.0) * of_one, weight), reduction);
}
LANNER_RUN(BinaryCrossEntropyWithLogits) {
  const auto& k = *cpu::kernels().loss;
  if (r.in[0].dtype() == DType::Float32)
    run_binary<float>(r, k.f32.binary_cross_entropy_with_logits);
  else
    run_binary<double>(r, k.f64.binary_cross_entropy_with_logits);
}
LANNER_VJP(BinaryCrossEntropyWithLogits) {
  const Tensor &g = v.g[0], &x = v.in[0], &t = v.in[1];
  return {v.needs(0) ? g * (ops::sigmoid(x) - t) : Tensor(), v.needs(1) ? -(g * x) : Tensor()};
}

Tensor ops::kl_div(const Tensor& input, const Tensor& target, LossReduction reduction, bool log_target) {
  check_pair("kl_div", input, target);
  check_floating("kl_div", "target", target);
  if (log_target) return reduce(exp(target) * (target - input), reduction);
  const Tensor positive = where(greater(target, Tensor::weak(0.0)), target, ones_like(target));  // 0 log 0 = 0
  return reduce(target * (log(positive) - input), reduction);
}

Tensor ops::kl_div_batchmean(const Tensor& input, const Tensor& target, bool log_target) {
  check<ShapeError>(input.ndim() >= 1, "kl_div: reduction 'batchmean' needs a batch axis, input is a scalar");
  return kl_div(input, target, LossReduction::Sum, log_target) / static_cast<double>(input.size(0));
}

// ---- margins --------------------------------------------------------------------------------------------------------

Tensor ops::hinge_loss(const Tensor& input, const Tensor& target, LossReduction reduction) {
  check_pair("hinge_loss", input, target);
  return reduce(relu(1.0 - input * as_floating(target, input)), reduction);
}

Tensor ops::multi_margin_loss(const Tensor& input, const Tensor& target, int64_t p, double margin, const Tensor& weight,
                              LossReduction reduction) {
  check_floating("multi_margin_loss", "input", input);
  check(p == 1 || p == 2, "multi_margin_loss: p must be 1 or 2, got ", p);
  check<ShapeError>(input.ndim() == 1 || input.ndim() == 2, "multi_margin_loss: input must be [C] or [N, C], got ",
                    input.shape());
  if (input.ndim() == 1) {
    const Tensor loss = multi_margin_loss(expand_dims(input, 0), reshape(target, {target.size()}), p, margin, weight,
                                          LossReduction::None);
    return reduce(reshape(loss, target.shape()), reduction);
  }
  const int64_t classes = input.size(1);
  const Tensor own = -nll_loss(input, target, {}, INT64_MIN, LossReduction::None);  // input[i, target[i]], checked
  const Tensor z = relu(input - expand_dims(own, 1) + margin);
  const Tensor others = not_equal(expand_dims(cast(target, DType::Int64), 1), arange(0, classes, 1));
  Tensor loss = sum((p == 1 ? z : square(z)) * cast(others, input.dtype()), {1}) / static_cast<double>(classes);
  if (weight.defined()) {
    check<ShapeError>(weight.shape() == Shape{classes}, "multi_margin_loss: weight expects shape ", Shape{classes},
                      ", got ", weight.shape());
    const Tensor weights = broadcast_to(expand_dims(weight, 0), input.shape());
    loss = loss * -nll_loss(weights, target, {}, INT64_MIN, LossReduction::None);
  }
  return reduce(loss, reduction);
}

Tensor ops::cosine_embedding_loss(const Tensor& input1, const Tensor& input2, const Tensor& target, double margin,
                                  LossReduction reduction) {
  check_pair("cosine_embedding_loss", input1, input2, "input2");
  check<ShapeError>(input1.ndim() == 1 || input1.ndim() == 2,
                    "cosine_embedding_loss: inputs must be [D] or [N, D], got ", input1.shape());
  const Shape samples = input1.ndim() == 1 ? Shape{} : Shape{input1.size(0)};
  check<ShapeError>(target.shape() == samples, "cosine_embedding_loss: target expects shape ", samples, ", got ",
                    target.shape());
  constexpr double kTiny = 1e-12;  // PyTorch's
  const Tensor cosine =
      sum(input1 * input2, {-1}) / sqrt((sum_squares(input1, {-1}) + kTiny) * (sum_squares(input2, {-1}) + kTiny));
  const Tensor none = zeros_like(cosine);
  const Tensor alike = where(equal(target, Tensor::weak(1)), 1.0 - cosine, none);
  const Tensor apart = where(equal(target, Tensor::weak(-1)), relu(cosine - margin), none);
  return reduce(alike + apart, reduction);
}

Tensor ops::triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative, double margin,
                                double p, double eps, bool swap, LossReduction reduction) {
  check_pair("triplet_margin_loss", anchor, positive, "positive");
  check_pair("triplet_margin_loss", anchor, negative, "negative");
  check<ShapeError>(anchor.ndim() >= 1, "triplet_margin_loss: anchor must have at least one axis");
  const auto distance = [&](const Tensor& a, const Tensor& b) { return norm(a - b + eps, p, {-1}); };
  const Tensor near = distance(anchor, positive);
  Tensor far = distance(anchor, negative);
  if (swap) far = minimum(far, distance(positive, negative));
  return reduce(relu(near - far + margin), reduction);
}

}  // namespace lanner
