#include "lanner/ops/ctc.h"

#include <algorithm>
#include <limits>

#include "cpu/dispatch.h"
#include "cpu/kernels/ctc.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/indexing.h"
#include "lanner/ops/join.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/decompose.h"

namespace lanner {
namespace {

struct CtcAttrs {
  int64_t blank;
  int64_t given;  // the length of targets that were one after the other, or -1
  int64_t zero_infinity;
};

// in = log_probs [T, N, C], targets [N, S], input_lengths, target_lengths [N], int64
template <class T>
cpu::CtcSample<T> sample_of(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
                            const Tensor& target_lengths, int64_t blank, int64_t i) {
  cpu::CtcSample<T> c;
  c.log_probs = log_probs.data<T>() + i * log_probs.strides()[1];
  c.step = log_probs.strides()[0], c.classes = log_probs.size(2);
  c.frames = input_lengths.data<int64_t>()[i];
  c.labels = targets.data<int64_t>() + i * targets.size(1);
  c.length = target_lengths.data<int64_t>()[i];
  c.blank = blank;
  return c;
}

void check_values(const Run& r) {
  const auto& a = r.attrs.get<CtcAttrs>();
  const int64_t frames = r.in[0].size(0), samples = r.in[0].size(1), classes = r.in[0].size(2), room = r.in[1].size(1);
  const int64_t *labels = r.in[1].data<int64_t>(), *inputs = r.in[2].data<int64_t>(),
                *lengths = r.in[3].data<int64_t>();
  int64_t sum = 0;
  for (int64_t i = 0; i < samples; ++i) {
    check<ShapeError>(inputs[i] >= 1 && inputs[i] <= frames, "ctc_loss: input_lengths[", i, "] is ", inputs[i],
                      ", log_probs has ", frames, " frames");
    const int64_t most = a.given >= 0 ? a.given : room;
    check<ShapeError>(lengths[i] >= 0 && lengths[i] <= most, "ctc_loss: target_lengths[", i, "] is ", lengths[i],
                      ", targets has room for ", most);
    check<ShapeError>(a.zero_infinity || lengths[i] <= inputs[i], "ctc_loss: target_lengths[", i, "] is ", lengths[i],
                      ", more than input_lengths[", i, "], which is ", inputs[i],
                      "; zero_infinity=True gives such a sample a loss of 0");
    sum += lengths[i];
    for (int64_t j = 0; j < std::min(lengths[i], room); ++j) {
      const int64_t label = labels[i * room + j];
      check<ShapeError>(label >= 0 && label < classes, "ctc_loss: targets: label ", j, " of sample ", i, " is ", label,
                        ", log_probs has ", classes, " classes");
      check<ShapeError>(label != a.blank, "ctc_loss: targets: label ", j, " of sample ", i, " is the blank, ", label);
    }
  }
  check<ShapeError>(a.given < 0 || sum == a.given, "ctc_loss: target_lengths sum up to ", sum, ", targets has ",
                    a.given, " labels");
}

// Targets one after the other hold no more labels of a sample than there are frames: of a longer one it is enough to know
// that it cannot be said.
bool too_long(const Run& r, const Tensor& targets, int64_t length) {
  return r.attrs.get<CtcAttrs>().given >= 0 && length > targets.size(1);
}

// out = loss [N], alpha [N, T, 2 S + 1], of which each sample uses its own states alone.
template <class T>
void forward(const Run& r) {
  check_values(r);
  const auto& a = r.attrs.get<CtcAttrs>();
  const Tensor &alpha = r.out[1], &lengths = r.in[3];
  T* loss = r.out[0].data<T>();
  parallel_for(r.out[0].size(), 1, [&](int64_t begin, int64_t end) {
    const auto& kernels = cpu::kernels_of<T>(cpu::kernels().ctc);
    Workspace workspace(static_cast<size_t>(kernels.workspace(alpha.size(2))) * sizeof(T));
    for (int64_t i = begin; i < end; ++i) {
      if (too_long(r, r.in[1], lengths.data<int64_t>()[i])) {
        loss[i] = std::numeric_limits<T>::infinity();
        continue;
      }
      const auto c = sample_of<T>(r.in[0], r.in[1], r.in[2], lengths, a.blank, i);
      loss[i] = kernels.forward(c, alpha.data<T>() + i * alpha.strides()[0], workspace.as<T>());
    }
  });
}

// in = g [N], log_probs, targets, input_lengths, target_lengths, loss, alpha
template <class T>
void backward(const Run& r) {
  const auto& a = r.attrs.get<CtcAttrs>();
  const Tensor &alpha = r.in[6], &d = r.out[0], &lengths = r.in[4];
  const int64_t frames = d.size(0), samples = d.size(1), classes = d.size(2), step = samples * classes;
  const T *g = r.in[0].data<T>(), *loss = r.in[5].data<T>();
  parallel_for(samples, 1, [&](int64_t begin, int64_t end) {
    const auto& kernels = cpu::kernels_of<T>(cpu::kernels().ctc);
    Workspace workspace(static_cast<size_t>(kernels.workspace(alpha.size(2))) * sizeof(T));
    for (int64_t i = begin; i < end; ++i) {
      T* to = d.data<T>() + i * classes;
      int64_t done = 0;
      const bool impossible = loss[i] == std::numeric_limits<T>::infinity();
      if (!impossible) {
        const auto c = sample_of<T>(r.in[1], r.in[2], r.in[3], lengths, a.blank, i);
        kernels.backward(c, alpha.data<T>() + i * alpha.strides()[0], loss[i], g[i], to, step, workspace.as<T>());
        done = c.frames;
      } else if (!a.zero_infinity) {
        done = r.in[3].data<int64_t>()[i];
        for (int64_t t = 0; t < done; ++t) std::fill_n(to + t * step, classes, std::numeric_limits<T>::quiet_NaN());
      }
      for (int64_t t = done; t < frames; ++t) std::fill_n(to + t * step, classes, static_cast<T>(0));
    }
  });
}

// ---- the decomposition ----------------------------------------------------------------------------------------------

Tensor never_like(const Tensor& x) { return ops::full_like(x, -std::numeric_limits<double>::infinity()); }

// log(sum(exp(x))) along the first axis, without a NaN in the gradient where all of it is -inf.
Tensor log_sum(const Tensor& x) {
  const Tensor top = ops::max(x.detach(), 0), never = never_like(top);
  const Tensor empty = ops::equal(top, never);
  const Tensor shift = ops::where(empty, ops::zeros_like(top), top);
  const Tensor total = ops::sum(ops::exp(x - shift), 0);
  return ops::where(empty, never, shift + ops::log(ops::where(empty, ops::ones_like(total), total)));
}

// x [N, n], moved `by` columns to the right, where -inf comes in.
Tensor moved(const Tensor& x, int64_t by) {
  return ops::pad(ops::narrow(x, 1, 0, std::max<int64_t>(x.size(1) - by, 0)), {std::min(by, x.size(1)), 0},
                  ops::PadMode::Constant, -std::numeric_limits<double>::infinity());
}

// x[n, index[n]] for x [..., N, states], zeros outside.
Tensor picked(const Tensor& x, const Tensor& index) {
  const Tensor here = ops::equal(ops::arange(int64_t{0}, x.size(-1), int64_t{1}), ops::expand_dims(index, 1));
  const Tensor none = never_like(x);
  return ops::max(ops::where(here, x, none), -1);
}

// The losses [N].
Tensor decomposed(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
                  const Tensor& target_lengths, const CtcAttrs& a) {
  const int64_t frames = log_probs.size(0), samples = log_probs.size(1), room = targets.size(1);
  // The labels of the states, those past a sample's length anything within range.
  const Tensor blanks = ops::full({samples, room}, static_cast<double>(a.blank), DType::Int64);
  const Tensor columns = ops::arange(int64_t{0}, room, int64_t{1});
  const Tensor own = ops::where(ops::less(columns, ops::expand_dims(target_lengths, 1)), targets, blanks);
  const Tensor pairs = ops::reshape(ops::stack({blanks, own}, 2), {samples, 2 * room});
  const Tensor labels = ops::concat({pairs, ops::full({samples, 1}, static_cast<double>(a.blank), DType::Int64)}, 1);
  const Tensor before =
      ops::pad(ops::narrow(labels, 1, 0, std::max<int64_t>(2 * room - 1, 0)), {std::min<int64_t>(2, 2 * room + 1), 0},
               ops::PadMode::Constant, static_cast<double>(a.blank));
  const Tensor skips = ops::logical_and(ops::not_equal(labels, before), ops::not_equal(labels, Tensor::weak(a.blank)));

  Tensor alpha;
  Tensors all;
  for (int64_t t = 0; t < frames; ++t) {
    const Tensor emitted =
        ops::take_along_axis(ops::reshape(ops::narrow(log_probs, 0, t, 1), {samples, -1}), labels, 1);
    if (t == 0) {
      const Tensor first = ops::less(ops::arange(int64_t{0}, labels.size(1), int64_t{1}), Tensor::weak(2));
      alpha = ops::where(first, emitted, never_like(emitted));
    } else {
      const Tensor two = moved(alpha, 2);
      alpha = log_sum(ops::stack({alpha, moved(alpha, 1), ops::where(skips, two, never_like(two))})) + emitted;
    }
    all.push_back(alpha);
  }
  const Tensor last = ops::expand_dims(input_lengths - Tensor::weak(1), 0);
  const Tensor times = ops::expand_dims(ops::arange(int64_t{0}, frames, int64_t{1}), 1);
  const Tensor stacked = ops::stack(all);
  const Tensor at_end = ops::expand_dims(ops::equal(times, last), 2);
  const Tensor ends = ops::max(ops::where(at_end, stacked, never_like(stacked)), 0);
  return -log_sum(ops::stack({picked(ends, target_lengths * 2), picked(ends, target_lengths * 2 - Tensor::weak(1))}));
}

// dlog_probs of the losses, in ops; `in` = g, log_probs, targets, input_lengths, target_lengths.
Tensor backward_decomposed(const Tensors& in, const CtcAttrs& a) {
  const Tensor x = in[1].requires_grad() ? in[1] : in[1].detach().requires_grad_();
  const Tensor loss = decomposed(x, in[2], in[3], in[4], a);
  return grad({loss}, {x}, {in[0]}, true, true, false)[0];
}

// ---- checks ---------------------------------------------------------------------------------------------------------

Tensor lengths_of(const char* name, const Tensor& lengths, int64_t samples, bool batched) {
  check<DTypeError>(is_integer(lengths.dtype()), "ctc_loss: ", name, " must be integers, got ",
                    dtype_name(lengths.dtype()));
  check<ShapeError>(lengths.shape() == Shape{samples} || (!batched && lengths.ndim() == 0), "ctc_loss: ", name,
                    " expects shape ", Shape{samples}, ", got ", lengths.shape());
  return ops::contiguous(ops::cast(ops::reshape(lengths, {samples}), DType::Int64));
}

// Targets that lie one after the other, [sum of lengths], as rows [N, S].
Tensor as_rows(const Tensor& targets, const Tensor& lengths, int64_t most) {
  const int64_t samples = lengths.size(0), room = std::min(targets.size(0), most);
  if (room == 0) return ops::zeros({samples, 0}, DType::Int64);
  const Tensor begin = ops::cumulative_sum(lengths, 0) - lengths;
  const Tensor at = ops::expand_dims(begin, 1) + ops::arange(int64_t{0}, room, int64_t{1});
  return ops::take(targets,
                   ops::clip(at, Tensor::scalar(0, DType::Int64),
                             Tensor::scalar(static_cast<double>(targets.size(0) - 1), DType::Int64)),
                   0);
}

}  // namespace

Tensor ops::ctc_loss(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
                     const Tensor& target_lengths, int64_t blank, LossReduction reduction, bool zero_infinity) {
  check_floating("ctc_loss", "log_probs", log_probs);
  if (is_half(log_probs.dtype()))
    return cast(ctc_loss(cast(log_probs, DType::Float32), targets, input_lengths, target_lengths, blank, reduction,
                         zero_infinity),
                log_probs.dtype());
  check<ShapeError>(log_probs.ndim() == 2 || log_probs.ndim() == 3,
                    "ctc_loss: log_probs must be [T, N, C] or [T, C], got ", log_probs.shape());
  const bool batched = log_probs.ndim() == 3;
  const Tensor x3 = batched ? log_probs : expand_dims(log_probs, 1);
  const Tensor x = x3.size(2) <= 1 || x3.strides()[2] == 1 ? x3 : contiguous(x3);
  const int64_t frames = x.size(0), samples = x.size(1);
  check<ShapeError>(blank >= 0 && blank < x.size(2), "ctc_loss: blank is ", blank, ", log_probs has ", x.size(2),
                    " classes");
  check<DTypeError>(is_integer(targets.dtype()), "ctc_loss: targets must be integers, got ",
                    dtype_name(targets.dtype()));
  check<ShapeError>(targets.ndim() == 1 || (targets.ndim() == 2 && targets.size(0) == samples),
                    "ctc_loss: targets expects [", samples, ", S] or [sum of target_lengths], got ", targets.shape());
  const Tensor inputs = lengths_of("input_lengths", input_lengths, samples, batched);
  const Tensor lengths = lengths_of("target_lengths", target_lengths, samples, batched);
  // One sample's targets may be padded though they have one axis.
  const bool flat = targets.ndim() == 1 && batched;
  const Tensor wide = cast(targets, DType::Int64);
  const Tensor rows = contiguous(flat ? as_rows(wide, lengths, frames) : reshape(wide, {samples, targets.size(-1)}));
  const CtcAttrs attrs{blank, flat ? targets.size(0) : -1, zero_infinity};
  const OutSpec specs[] = {{{samples}, x.dtype()}, {{samples, frames, 2 * rows.size(1) + 1}, x.dtype()}};
  const Tensor in[] = {x, rows, inputs, lengths};
  Tensor loss = emit(Op::CtcLoss, in, attrs, specs)[0];
  if (zero_infinity) {
    const Tensor infinity = full_like(loss, std::numeric_limits<double>::infinity());
    loss = where(equal(loss, infinity), zeros_like(loss), loss);
  }
  if (reduction == LossReduction::Mean) return mean(loss / cast(maximum(lengths, Tensor::weak(1)), x.dtype()));
  if (reduction == LossReduction::Sum) return sum(loss);
  return batched ? loss : reshape(loss, {});
}
LANNER_RUN(CtcLoss) { r.in[0].dtype() == DType::Float32 ? ::lanner::forward<float>(r) : ::lanner::forward<double>(r); }
LANNER_VJP(CtcLoss) {
  Tensors gradients(v.in.size());
  gradients[0] =
      emit(Op::CtcLossBackward,
           {ops::contiguous(v.g[0]), v.in[0], v.in[1], v.in[2], v.in[3], v.out[0].detach(), v.out[1].detach()}, v.attrs,
           {v.in[0].shape(), v.in[0].dtype()});
  return gradients;
}
LANNER_RUN(CtcLossBackward) {
  r.in[0].dtype() == DType::Float32 ? ::lanner::backward<float>(r) : ::lanner::backward<double>(r);
}
LANNER_VJP(CtcLossBackward) {
  return vjp_by(v, [&](const Tensors& in) { return Tensors{backward_decomposed(in, v.attrs.get<CtcAttrs>())}; });
}

}  // namespace lanner
