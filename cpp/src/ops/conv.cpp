#include "lanner/ops/conv.h"

#include <algorithm>

#include "lanner/ops/elementwise.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "ops/conv_job.h"
#include "ops/op.h"
#include "ops/window.h"

namespace lanner {
namespace {

// Of all three ops; `pad` is what comes before the first element. Sizes are those of the tensors.
struct ConvAttrs {
  int64_t groups;
  Dims stride, pad, dilation;
};

cpu::ConvGeometry geometry_of(const ConvAttrs& a, const Shape& x, const Shape& weight, const Shape& y) {
  cpu::ConvGeometry g;
  g.n = x[0], g.groups = a.groups, g.c = weight[1], g.m = weight[0] / a.groups;
  const int dims = a.stride.size();
  for (int d = 0; d < dims; ++d) {
    const int at = 3 - dims + d;
    g.in[at] = x[2 + d], g.out[at] = y[2 + d], g.kernel[at] = weight[2 + d];
    g.stride[at] = a.stride[d], g.pad[at] = a.pad[d], g.dilation[at] = a.dilation[d];
  }
  return g;
}

// ---- the ops: y from x, dx from dy, dw from both. The gradient of each is the other two. ------------------------

Tensor conv(const Tensor& x, const Tensor& weight, const Tensor& bias, const Shape& y, const ConvAttrs& attrs) {
  return emit(Op::Conv, {ops::contiguous(x), ops::contiguous(weight), bias.defined() ? ops::contiguous(bias) : bias},
              attrs, {y, x.dtype()});
}
Tensor conv_input_grad(const Tensor& g, const Tensor& weight, const Tensor& bias, const Shape& x,
                       const ConvAttrs& attrs) {
  return emit(Op::ConvInputGrad,
              {ops::contiguous(g), ops::contiguous(weight), bias.defined() ? ops::contiguous(bias) : bias}, attrs,
              {x, g.dtype()});
}
Tensor conv_weight_grad(const Tensor& x, const Tensor& g, const Shape& weight, const ConvAttrs& attrs) {
  return emit(Op::ConvWeightGrad, {ops::contiguous(x), ops::contiguous(g)}, attrs, {weight, x.dtype()});
}

// The gradient by the bias: over all but the channels.
Tensor channel_sum(const Tensor& g) {
  Dims axes{0};
  for (int d = 2; d < g.ndim(); ++d) axes.push_back(d);
  return ops::sum(g, axes);
}

// ---- checks ----------------------------------------------------------------------------------------------------

void check_tensors(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias, int dims) {
  check_floating(op, "x", x);
  check<DTypeError>(weight.dtype() == x.dtype() && (!bias.defined() || bias.dtype() == x.dtype()), op,
                    ": x, weight and bias must have one dtype, got ", dtype_name(x.dtype()), ", ",
                    dtype_name(weight.dtype()), bias.defined() ? " and " : "",
                    bias.defined() ? dtype_name(bias.dtype()) : "");
  check<ShapeError>(x.ndim() == dims + 2, op, ": x expects ", dims + 2, " dimensions, or ", dims + 1,
                    " without batch, got shape ", x.shape());
  check<ShapeError>(weight.ndim() == dims + 2 && weight.size() > 0, op, ": weight expects ", dims + 2,
                    " dimensions, none of size 0, got shape ", weight.shape());
}

void check_bias(const char* op, const Tensor& bias, int64_t channels) {
  check<ShapeError>(!bias.defined() || (bias.ndim() == 1 && bias.size(0) == channels), op, ": bias expects shape [",
                    channels, "], got ", bias.defined() ? bias.shape() : Shape());
}

// [C, ...] to [1, C, ...] and back.
template <class F>
Tensor with_batch(const Tensor& x, int dims, F f) {
  if (x.ndim() != dims + 1) return f(x);
  return ops::squeeze(f(ops::expand_dims(x, 0)), {0});
}

template <class F>
Tensor in_float32(const Tensor& x, const Tensor& weight, const Tensor& bias, F f) {
  const auto wide = [](const Tensor& t) { return t.defined() ? ops::cast(t, DType::Float32) : t; };
  return ops::cast(f(wide(x), wide(weight), wide(bias)), x.dtype());
}

Tensor forward(const char* op, int dims, const Tensor& x, const Tensor& weight, const Tensor& bias, const Dims& stride,
               const ops::Padding& padding, const Dims& dilation, int64_t groups) {
  if (x.ndim() == dims + 1)
    return with_batch(x, dims, [&](const Tensor& t) {
      return forward(op, dims, t, weight, bias, stride, padding, dilation, groups);
    });
  check_tensors(op, x, weight, bias, dims);
  check<ShapeError>(groups >= 1 && weight.size(0) % groups == 0, op, ": groups must divide the ", weight.size(0),
                    " output channels, got ", groups);
  check<ShapeError>(weight.size(1) * groups == x.size(1), op, ": weight expects ", weight.size(1) * groups,
                    " input channels, x has ", x.size(1), " (x ", x.shape(), ", weight ", weight.shape(),
                    ", groups=", groups, ")");
  check_bias(op, bias, weight.size(0));
  ConvAttrs attrs{groups, spatial(op, "stride", stride, dims, 1), Dims::filled(dims, 0),
                  spatial(op, "dilation", dilation, dims, 1)};
  const std::string& mode = padding.mode();
  check<ShapeError>(mode.empty() || mode == "same" || mode == "valid", op,
                    ": padding must be numbers, \"same\" or \"valid\", got \"", mode, "\"");
  if (mode.empty()) attrs.pad = spatial(op, "padding", padding.size(), dims, 0);
  Shape y{x.size(0), weight.size(0)};
  for (int d = 0; d < dims; ++d) {
    const int64_t reach = attrs.dilation[d] * (weight.size(2 + d) - 1), size = x.size(2 + d);
    int64_t both = 2 * attrs.pad[d];
    if (mode == "same") {
      check<ShapeError>(attrs.stride[d] == 1, op, ": padding \"same\" goes with stride 1, got ", stride);
      attrs.pad[d] = reach / 2;
      both = reach;
    }
    check<ShapeError>(size + both > reach, op, ": the kernel covers ", reach + 1, " elements, x padded has ",
                      size + both, " (x ", x.shape(), ", weight ", weight.shape(), ", padding ", attrs.pad,
                      ", dilation ", attrs.dilation, ")");
    y.push_back((size + both - reach - 1) / attrs.stride[d] + 1);
  }
  check_plane(op, x.shape(), dims);
  check_plane(op, y, dims);
  if (is_half(x.dtype()))
    return in_float32(x, weight, bias,
                      [&](const Tensor& a, const Tensor& w, const Tensor& b) { return conv(a, w, b, y, attrs); });
  return conv(x, weight, bias, y, attrs);
}

Tensor transposed(const char* op, int dims, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  const Dims& stride, const Dims& padding, const Dims& output_padding, int64_t groups,
                  const Dims& dilation) {
  if (x.ndim() == dims + 1)
    return with_batch(x, dims, [&](const Tensor& t) {
      return transposed(op, dims, t, weight, bias, stride, padding, output_padding, groups, dilation);
    });
  check_tensors(op, x, weight, bias, dims);
  check<ShapeError>(groups >= 1 && weight.size(0) % groups == 0, op, ": groups must divide the ", weight.size(0),
                    " input channels, got ", groups);
  check<ShapeError>(weight.size(0) == x.size(1), op, ": weight expects ", weight.size(0), " input channels, x has ",
                    x.size(1), " (x ", x.shape(), ", weight ", weight.shape(), ")");
  check_bias(op, bias, weight.size(1) * groups);
  const ConvAttrs attrs{groups, spatial(op, "stride", stride, dims, 1), spatial(op, "padding", padding, dims, 0),
                        spatial(op, "dilation", dilation, dims, 1)};
  const Dims extra = spatial(op, "output_padding", output_padding, dims, 0);
  Shape y{x.size(0), weight.size(1) * groups};
  for (int d = 0; d < dims; ++d) {
    check<ShapeError>(extra[d] < std::max(attrs.stride[d], attrs.dilation[d]), op,
                      ": output_padding must be smaller than stride or dilation, got ", extra, " (stride ",
                      attrs.stride, ", dilation ", attrs.dilation, ")");
    const int64_t size = (x.size(2 + d) - 1) * attrs.stride[d] - 2 * attrs.pad[d] +
                         attrs.dilation[d] * (weight.size(2 + d) - 1) + extra[d] + 1;
    check<ShapeError>(size > 0, op, ": the output would have size ", size, " (x ", x.shape(), ", weight ",
                      weight.shape(), ", padding ", attrs.pad, ")");
    y.push_back(size);
  }
  check_plane(op, x.shape(), dims);
  check_plane(op, y, dims);
  if (is_half(x.dtype()))
    return in_float32(x, weight, bias, [&](const Tensor& a, const Tensor& w, const Tensor& b) {
      return conv_input_grad(a, w, b, y, attrs);
    });
  return conv_input_grad(x, weight, bias, y, attrs);
}

}  // namespace

namespace {

// r is of Conv, of ConvInputGrad or of ConvWeightGrad.
cpu::ConvGeometry geometry_of(const Run& r) {
  const Shape &a = r.in[0].shape(), &b = r.in[1].shape(), &out = r.out[0].shape();
  const auto& attrs = r.attrs.get<ConvAttrs>();
  cpu::ConvGeometry g = r.op == Op::Conv            ? geometry_of(attrs, a, b, out)
                        : r.op == Op::ConvInputGrad ? geometry_of(attrs, out, b, a)
                                                    : geometry_of(attrs, a, out, b);
  if (r.precision == Precision::BFloat16 && r.out[0].dtype() == DType::Float32)
    g.operands = cpu::has_amx()          ? cpu::ConvOperands::Tiles
                 : cpu::has_bf16_pairs() ? cpu::ConvOperands::Pairs
                                         : cpu::ConvOperands::Rounded;
  return g;
}

void run_pass(const Run& r, cpu::ConvPass pass) {
  with_float_type(r.out[0].dtype(), [&](auto t) { ConvJob<decltype(t)>(geometry_of(r), pass, false).run(r); });
}

std::unique_ptr<Prepared> prepare_pass(const Run& r, cpu::ConvPass pass, uint64_t constant) {
  return with_float_type(r.out[0].dtype(), [&](auto t) -> std::unique_ptr<Prepared> {
    return std::make_unique<PreparedConv<decltype(t)>>(geometry_of(r), pass, ((constant >> 1) & 1) != 0);
  });
}

}  // namespace

LANNER_RUN(Conv) { run_pass(r, cpu::ConvPass::Forward); }
LANNER_PREPARE(Conv) { return prepare_pass(r, cpu::ConvPass::Forward, constant); }
LANNER_VJP(Conv) {
  const auto& a = v.attrs.get<ConvAttrs>();
  const Tensor &x = v.in[0], &weight = v.in[1], &g = v.g[0];
  return {v.needs(0) ? conv_input_grad(g, weight, {}, x.shape(), a) : Tensor(),
          v.needs(1) ? conv_weight_grad(x, g, weight.shape(), a) : Tensor(), v.needs(2) ? channel_sum(g) : Tensor()};
}

LANNER_RUN(ConvInputGrad) { run_pass(r, cpu::ConvPass::InputGrad); }
LANNER_PREPARE(ConvInputGrad) { return prepare_pass(r, cpu::ConvPass::InputGrad, constant); }
LANNER_VJP(ConvInputGrad) {  // of dx: what it is to dy and the weight
  const auto& a = v.attrs.get<ConvAttrs>();
  const Tensor &dy = v.in[0], &weight = v.in[1], &g = v.g[0];
  return {v.needs(0) ? conv(g, weight, {}, dy.shape(), a) : Tensor(),
          v.needs(1) ? conv_weight_grad(g, dy, weight.shape(), a) : Tensor(), v.needs(2) ? channel_sum(g) : Tensor()};
}

LANNER_RUN(ConvWeightGrad) {
  with_float_type(r.out[0].dtype(), [&](auto t) { ConvWeightJob<decltype(t)>(geometry_of(r)).run(r); });
}
LANNER_PREPARE(ConvWeightGrad) {
  return with_float_type(r.out[0].dtype(), [&](auto t) -> std::unique_ptr<Prepared> {
    return std::make_unique<PreparedConvWeight<decltype(t)>>(geometry_of(r));
  });
}
LANNER_VJP(ConvWeightGrad) {  // of dw: what it is to x and dy
  const auto& a = v.attrs.get<ConvAttrs>();
  const Tensor &x = v.in[0], &dy = v.in[1], &g = v.g[0];
  return {v.needs(0) ? conv_input_grad(dy, g, {}, x.shape(), a) : Tensor(),
          v.needs(1) ? conv(x, g, {}, dy.shape(), a) : Tensor()};
}

namespace ops {

#define LANNER_CONV(dims)                                                                                         \
  Tensor conv##dims##d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Dims& stride,             \
                       const Padding& padding, const Dims& dilation, int64_t groups) {                            \
    return forward("conv" #dims "d", dims, x, weight, bias, stride, padding, dilation, groups);                   \
  }                                                                                                               \
  Tensor conv_transpose##dims##d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Dims& stride,   \
                                 const Dims& padding, const Dims& output_padding, int64_t groups,                 \
                                 const Dims& dilation) {                                                          \
    return transposed("conv_transpose" #dims "d", dims, x, weight, bias, stride, padding, output_padding, groups, \
                      dilation);                                                                                  \
  }
LANNER_CONV(1)
LANNER_CONV(2)
LANNER_CONV(3)
#undef LANNER_CONV

}  // namespace ops
}  // namespace lanner
