#include "lanner/ops/recurrent.h"

#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/join.h"
#include "lanner/ops/linalg.h"
#include "lanner/ops/shape.h"
#include "ops/norm.h"
#include "ops/recurrent.h"

namespace lanner {
namespace {

// x W_ih^T is made step by step, beside h W_hh^T, where both weights fit in the second-level caches of two cores and
// there are rows enough for the products not to be bound by reading weights: so the products of all steps, 13 MB for
// 100 x 32 rows and 256 units of an LSTM, are never written.
constexpr int64_t kStepRows = 8, kStepBytes = 1800 * 1024;

using ops::RecurrentOptions;
using ops::RecurrentResult;
using ops::RecurrentWeights;
using In = RecurrentIn;
using Out = RecurrentOut;

void expect(const char* op, const char* name, const Tensor& t, const Shape& shape, const Tensor& x) {
  check<ShapeError>(t.shape() == shape, op, ": ", name, " expects shape ", shape, ", got ", t.shape(), " (x ",
                    x.shape(), ")");
  check<DTypeError>(t.dtype() == x.dtype(), op, ": ", name, " has dtype ", dtype_name(t.dtype()), ", x ",
                    dtype_name(x.dtype()));
}

// GRU: r and z have one bias, n has two, since r multiplies the one beside the recurrent product.
Tensor joined_bias(Op op, const RecurrentWeights& w, int64_t hidden) {
  if (!w.bias_ih.defined()) return {};
  if (op != Op::Gru) return w.bias_ih + w.bias_hh;
  const auto part = [&](const Tensor& b, int64_t first, int64_t count) {
    return ops::narrow(b, 0, first * hidden, count * hidden);
  };
  return ops::concat({part(w.bias_ih, 0, 2) + part(w.bias_hh, 0, 2), part(w.bias_ih, 2, 1), part(w.bias_hh, 2, 1)});
}

// x with zeros past the sequences' ends, where the gates' gradients are zeros: what lies there, NaN too, has no part in
// those of the weights.
Tensor without_padding(const Tensor& x, const Tensor& lengths) {
  const Tensor times = ops::reshape(ops::arange(0, x.size(0), 1), {x.size(0), 1, 1});
  return ops::where(ops::less(times, ops::reshape(lengths, {1, x.size(1), 1})), x, Tensor::weak(0.0));
}

RecurrentResult recurrent(Op op, const Tensor& x, const RecurrentWeights& w, const RecurrentOptions& options,
                          bool relu) {
  const char* name = op_name(op);
  check_floating(name, "x", x);
  if (is_half(x.dtype())) {
    const RecurrentWeights wide{to_float32(w.ih), to_float32(w.hh), to_float32(w.bias_ih), to_float32(w.bias_hh),
                                to_float32(w.hr)};
    RecurrentOptions o = options;
    o.h0 = to_float32(o.h0), o.c0 = to_float32(o.c0);
    const RecurrentResult r = recurrent(op, to_float32(x), wide, o, relu);
    return {ops::cast(r.y, x.dtype()), ops::cast(r.h, x.dtype()), r.c.defined() ? ops::cast(r.c, x.dtype()) : r.c};
  }
  const Cell cell = cell_of(op);
  check<ShapeError>(x.ndim() == 3, name, ": x must be [T, N, features], got ", x.shape());
  const int64_t steps = x.size(0), rows = x.size(1);
  check<ShapeError>(steps >= 1, name, ": x must have at least one step, got ", x.shape());
  check<ShapeError>(w.hh.ndim() == 2 && w.hh.size(0) > 0 && w.hh.size(0) % cell.gates == 0 && w.hh.size(1) > 0, name,
                    ": weight_hh expects [", cell.gates, " * hidden, hidden], got ", w.hh.shape());
  const int64_t hidden = w.hh.size(0) / cell.gates, state = w.hr.defined() ? w.hh.size(1) : hidden;
  check<ShapeError>(w.ih.ndim() == 2 && w.ih.size(0) == w.hh.size(0) && w.ih.size(1) == x.size(2), name,
                    ": weight_ih expects shape [", w.hh.size(0), ", ", x.size(2), "], got ", w.ih.shape(), " (x ",
                    x.shape(), ")");
  check<DTypeError>(w.ih.dtype() == x.dtype(), name, ": weight_ih has dtype ", dtype_name(w.ih.dtype()), ", x ",
                    dtype_name(x.dtype()));
  expect(name, "weight_hh", w.hh, {cell.gates * hidden, state}, x);
  check(w.bias_ih.defined() == w.bias_hh.defined(), name, ": expected both biases or none");
  if (w.bias_ih.defined()) {
    expect(name, "bias_ih", w.bias_ih, {cell.gates * hidden}, x);
    expect(name, "bias_hh", w.bias_hh, {cell.gates * hidden}, x);
  }
  if (w.hr.defined()) expect(name, "weight_hr", w.hr, {state, hidden}, x);

  const Tensor& lengths = options.lengths;
  if (lengths.defined()) {
    check<ShapeError>(lengths.shape() == Shape{rows}, name, ": lengths expects shape ", Shape{rows}, ", got ",
                      lengths.shape(), " (x ", x.shape(), ")");
    check<DTypeError>(is_integer(lengths.dtype()), name, ": lengths must be integers, got ",
                      dtype_name(lengths.dtype()));
  }
  const auto first_state = [&](const char* argument, const Tensor& given, int64_t features) {
    if (!given.defined()) return ops::zeros({rows, features}, x.dtype());
    expect(name, argument, given, {rows, features}, x);
    return ops::contiguous(given);
  };
  Tensors in(In::kCount);
  in[In::kWeight] = ops::contiguous(w.hh);
  in[In::kBias] = joined_bias(op, w, hidden);
  in[In::kH0] = first_state("h0", options.h0, state);
  if (lengths.defined()) in[In::kLengths] = ops::contiguous(ops::cast(lengths, DType::Int64));
  const Tensor input = lengths.defined() ? without_padding(x, in[In::kLengths]) : x;
  if (op == Op::Lstm) in[In::kC0] = first_state("c0", options.c0, hidden);
  if (w.hr.defined()) in[In::kProjection] = ops::contiguous(w.hr);
  const int64_t weight_bytes = w.ih.size(0) * (x.size(2) + state) * static_cast<int64_t>(itemsize(x.dtype()));
  if (rows >= kStepRows && x.size(2) > 0 && weight_bytes <= kStepBytes) {
    in[In::kInput] = input.strides()[2] == 1 ? input : ops::contiguous(input);
    in[In::kInputWeight] = ops::contiguous(w.ih);
  } else {
    in[In::kInput] = ops::linear(input, w.ih);
  }

  RecurrentAttrs attrs;
  attrs.reverse = options.reverse, attrs.relu = relu;
  if (grad_enabled())
    for (const Tensor& t : in) attrs.keep |= t.defined() && t.requires_grad();
  const DType t = x.dtype();
  const Shape none{0};
  const Shape gates = attrs.keep && cell.kept > 1 ? Shape{steps, rows, kept_row(cell.kept * hidden, x.dtype())} : none;
  const Shape c = attrs.keep && op == Op::Lstm ? Shape{steps, rows, hidden} : none;
  const OutSpec specs[] = {{{steps, rows, state}, t},
                           {gates, t},
                           {c, t},
                           {{rows, state}, t},
                           {op == Op::Lstm ? Shape{rows, hidden} : none, t}};
  Tensors out = emit(op, in, attrs, specs);
  return {out[Out::kY], out[Out::kHLast], op == Op::Lstm ? out[Out::kCLast] : Tensor()};
}

}  // namespace

RecurrentResult ops::rnn(const Tensor& x, const RecurrentWeights& weights, const RecurrentOptions& options, bool relu) {
  return recurrent(Op::Rnn, x, weights, options, relu);
}
RecurrentResult ops::lstm(const Tensor& x, const RecurrentWeights& weights, const RecurrentOptions& options) {
  return recurrent(Op::Lstm, x, weights, options, false);
}
RecurrentResult ops::gru(const Tensor& x, const RecurrentWeights& weights, const RecurrentOptions& options) {
  return recurrent(Op::Gru, x, weights, options, false);
}

// ---- the decomposition ----------------------------------------------------------------------------------------------

Tensors recurrent_decomposed(Op op, const Tensors& in, const RecurrentAttrs& attrs) {
  const Tensor &input_weight = in[In::kInputWeight], &bias = in[In::kBias], &lengths = in[In::kLengths],
               &projection = in[In::kProjection];
  const Tensor input = input_weight.defined() ? ops::linear(in[In::kInput], input_weight) : in[In::kInput];
  const int64_t steps = input.size(0), rows = input.size(1);
  const int gates = cell_of(op).gates;
  const int64_t hidden = in[In::kWeight].size(0) / gates;
  const Tensor w = ops::matrix_transpose(in[In::kWeight]);
  const auto part = [&](const Tensor& x, int gate) { return ops::narrow(x, -1, gate * hidden, hidden); };
  Tensor h = in[In::kH0], c = in[In::kC0];
  Tensors y(static_cast<size_t>(steps));
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t t = attrs.reverse ? steps - 1 - step : step;
    const Tensor x = ops::reshape(ops::narrow(input, 0, t, 1), {rows, gates * hidden}), product = ops::matmul(h, w);
    Tensor next_h, next_c = c;
    if (op == Op::Gru) {
      const auto with_bias = [&](const Tensor& p, int place) { return bias.defined() ? p + part(bias, place) : p; };
      const Tensor r = ops::sigmoid(with_bias(part(x, 0) + part(product, 0), 0));
      const Tensor z = ops::sigmoid(with_bias(part(x, 1) + part(product, 1), 1));
      const Tensor n = ops::tanh(with_bias(part(x, 2), 2) + r * with_bias(part(product, 2), 3));
      next_h = n + z * (h - n);
    } else {
      const Tensor sum = bias.defined() ? x + product + bias : x + product;
      if (op == Op::Rnn) {
        next_h = attrs.relu ? ops::relu(sum) : ops::tanh(sum);
      } else {
        next_c = ops::sigmoid(part(sum, 1)) * c + ops::sigmoid(part(sum, 0)) * ops::tanh(part(sum, 2));
        next_h = ops::sigmoid(part(sum, 3)) * ops::tanh(next_c);
        if (projection.defined()) next_h = ops::matmul(next_h, ops::matrix_transpose(projection));
      }
    }
    if (lengths.defined()) {
      const Tensor runs = ops::expand_dims(ops::greater(lengths, Tensor::weak(t)), 1);
      y[static_cast<size_t>(t)] = ops::where(runs, next_h, Tensor::weak(0.0));
      h = ops::where(runs, next_h, h);
      if (c.defined()) c = ops::where(runs, next_c, c);
    } else {
      y[static_cast<size_t>(t)] = h = next_h;
      c = next_c;
    }
  }
  return {ops::stack(y), Tensor(), Tensor(), h, c};
}

}  // namespace lanner
