#include "lanner/ops/norm.h"

#include <algorithm>
#include <limits>

#include "cpu/dispatch.h"
#include "cpu/kernels/norm.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/decompose.h"
#include "ops/norm.h"
#include "ops/reduce.h"

namespace lanner {
namespace {

using cpu::ChannelRange;

// Elements that one core needs some 20 us for.
constexpr int64_t kGrain = 1 << 15;

// ---- the decomposition ----------------------------------------------------------------------------------------------

struct Centered {
  Tensor xhat, rstd;
};
Centered normalized(const Tensor& x, const NormAttrs& a) {
  const Tensor d = a.center ? x - ops::mean(x, a.normalized, true) : x;
  const Tensor rstd = ops::rsqrt(ops::mean(d * d, a.normalized, true) + a.eps);
  return {d * rstd, rstd};
}

// dx, dweight, dbias in basic ops; undefined where they are not wanted.
Tensors backward_decomposed(const Tensor& cotangent, const Tensor& input, const Tensor& weight,
                            const NormBackwardAttrs& b) {
  const NormAttrs& a = b.norm;
  const Tensor g = ops::reshape(cotangent, a.view), x = ops::reshape(input, a.view);
  const auto [xhat, rstd] = normalized(x, a);
  Tensors out(b.want_affine ? 3 : 1);
  if (b.want_x) {
    const Tensor wg = weight.defined() ? g * ops::reshape(weight, a.affine()) : g;
    Tensor d = wg - xhat * ops::mean(wg * xhat, a.normalized, true);
    if (a.center) d = d - ops::mean(wg, a.normalized, true);
    out[0] = ops::reshape(rstd * d, input.shape());
  }
  if (b.want_affine) {
    out[1] = ops::reshape(ops::sum(g * xhat, a.shared),
                          weight.defined() ? weight.shape() : Shape{element_count(a.affine())});
    out[2] = ops::reshape(ops::sum(g, a.shared), out[1].shape());
  }
  return out;
}

}  // namespace

// ---- what batch norm shares -----------------------------------------------------------------------------------------

void check_parameter(const char* op, const char* name, const Tensor& p, const Shape& shape, const Tensor& x) {
  if (!p.defined()) return;
  check<ShapeError>(p.shape() == shape, op, ": ", name, " expects shape ", shape, ", got ", p.shape(), " (x ",
                    x.shape(), ")");
  check<DTypeError>(p.dtype() == x.dtype() || is_half(x.dtype()), op, ": ", name, " has dtype ", dtype_name(p.dtype()),
                    ", x ", dtype_name(x.dtype()));
}

Tensors emit_norm(Op op, const Tensors& in, const NormAttrs& a, int64_t statistics) {
  const DType t = in[0].dtype();
  const OutSpec specs[] = {{in[0].shape(), t}, {{a.center ? statistics : 0}, t}, {{statistics}, t}};
  return emit(op, in, a, specs);
}

// in = x, weight, bias ...; out = y, mean, 1 / sqrt(var + eps)
Tensors vjp_norm(const Vjp& v, Op backward) {
  const NormBackwardAttrs attrs{v.attrs.get<NormAttrs>(), v.needs(0), v.needs(1) || v.needs(2)};
  const Tensor& x = v.in[0];
  const Shape affine = v.in[1].defined() ? v.in[1].shape() : v.in[2].defined() ? v.in[2].shape() : Shape{0};
  std::vector<OutSpec> specs{{attrs.want_x ? x.shape() : Shape{0}, x.dtype()}};
  if (attrs.want_affine) specs.insert(specs.end(), 2, {affine, x.dtype()});
  const Tensor in[] = {ops::contiguous(v.g[0]), x, v.in[1], v.out[1].detach(), v.out[2].detach()};
  const Tensors d = emit(backward, in, attrs, specs);
  Tensors gradients(v.in.size());
  if (v.needs(0)) gradients[0] = d[0];
  if (v.needs(1)) gradients[1] = d[1];
  if (v.needs(2)) gradients[2] = d[2];
  return gradients;
}

// in = g, x, weight, and the statistics, which are functions of x; out = dx, dweight, dbias
Tensors vjp_norm_backward(const Vjp& v) {
  return vjp_by(v, [&](const Tensors& in) {
    Tensors out = backward_decomposed(in[0], in[1], in[2], v.attrs.get<NormBackwardAttrs>());
    for (Tensor& t : out)
      if (!t.defined()) t = ops::zeros({0}, in[1].dtype());
    return out;
  });
}

double norm_eps(const Attrs& attrs) { return attrs.get<NormAttrs>().eps; }

namespace {

// ---- rows: layer norm, RMS norm -------------------------------------------------------------------------------------

template <class T>
void rows_forward(const Run& r) {
  const auto& a = r.attrs.get<NormAttrs>();
  const int64_t rows = a.view[0], n = a.view[1];
  if (rows * n == 0) return;
  const T *x = r.in[0].data<T>(), *weight = data_or_null<T>(r.in[1]), *bias = data_or_null<T>(r.in[2]);
  T *y = r.out[0].data<T>(), *mean = a.center ? r.out[1].data<T>() : nullptr, *rstd = r.out[2].data<T>();
  parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
    cpu::kernels_of<T>(cpu::kernels().norm)
        .rows_forward(x + begin * n, weight, bias, y + begin * n, mean ? mean + begin : nullptr, rstd + begin,
                      end - begin, n, a.eps);
  });
}

template <class T>
void rows_backward(const Run& r) {
  const auto& b = r.attrs.get<NormBackwardAttrs>();
  const int64_t rows = b.norm.view[0], n = b.norm.view[1];
  if (n == 0) return;
  const T *g = r.in[0].data<T>(), *x = r.in[1].data<T>(), *weight = data_or_null<T>(r.in[2]);
  const T *mean = b.norm.center ? r.in[3].data<T>() : nullptr, *rstd = r.in[4].data<T>();
  T* dx = b.want_x ? r.out[0].data<T>() : nullptr;
  // Each slice of rows sums its share of dweight and dbias; the shares are added at the end.
  const int64_t grain = std::max<int64_t>(1, kGrain / n);
  const int64_t slices = std::max<int64_t>(1, (rows + grain - 1) / grain);
  Workspace shares(b.want_affine ? static_cast<size_t>(2 * slices * n) * sizeof(T) : 0);
  T *dweight = b.want_affine ? shares.as<T>() : nullptr, *dbias = b.want_affine ? dweight + slices * n : nullptr;
  if (rows == 0 && b.want_affine) std::fill_n(dweight, 2 * n, static_cast<T>(0));
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    const int64_t share = begin / grain * n;
    cpu::kernels_of<T>(cpu::kernels().norm)
        .rows_backward(g + begin * n, x + begin * n, weight, mean ? mean + begin : nullptr, rstd + begin,
                       dx ? dx + begin * n : nullptr, dweight ? dweight + share : nullptr,
                       dbias ? dbias + share : nullptr, end - begin, n);
  });
  if (!b.want_affine) return;
  sum_rows(r.in[0].dtype(), dweight, r.out[1].data<T>(), slices, n);
  sum_rows(r.in[0].dtype(), dbias, r.out[2].data<T>(), slices, n);
}

Tensor rows_norm(Op op, const Tensor& x, const Shape& shape, const Tensor& weight, const Tensor& bias, bool center,
                 double eps) {
  const char* name = op_name(op);
  check_floating(name, "x", x);
  const int kept = x.ndim() - shape.size();
  bool fits = kept >= 0 && !shape.empty();
  for (int i = 0; fits && i < shape.size(); ++i) fits = x.shape()[kept + i] == shape[i];
  check<ShapeError>(fits, name, ": x must end with normalized_shape ", shape, ", got x ", x.shape());
  check_parameter(name, "weight", weight, shape, x);
  check_parameter(name, "bias", bias, shape, x);
  if (is_half(x.dtype()))
    return ops::cast(rows_norm(op, to_float32(x), shape, to_float32(weight), to_float32(bias), center, eps), x.dtype());
  const int64_t n = element_count(shape);
  int64_t rows = 1;
  for (int i = 0; i < kept; ++i) rows *= x.shape()[i];
  const NormAttrs attrs{{rows, n}, {1}, {0}, center, eps, 0};
  return emit_norm(op, {ops::contiguous(x), contiguous_or_none(weight), contiguous_or_none(bias)}, attrs, rows)[0];
}

// ---- channels: group norm, batch norm -------------------------------------------------------------------------------

// A group is a channel of [1, N * groups, C / groups * length]; the affine part sees [1, N * C, length].
template <class T>
void group_forward(const Run& r) {
  const auto& a = r.attrs.get<NormAttrs>();
  const int64_t groups = a.view[0] * a.view[1], per_group = a.view[2], length = a.view[3],
                channels = a.view[1] * per_group;
  const int64_t count = per_group * length;
  if (groups * count == 0) return;
  const T *x = r.in[0].data<T>(), *weight = data_or_null<T>(r.in[1]), *bias = data_or_null<T>(r.in[2]);
  T *y = r.out[0].data<T>(), *mean = r.out[1].data<T>(), *rstd = r.out[2].data<T>();
  Workspace scratch(static_cast<size_t>(3 * groups * per_group) * sizeof(T));
  T *center = scratch.as<T>(), *scale = center + groups * per_group, *shift = scale + groups * per_group;
  parallel_for(groups, std::max<int64_t>(1, kGrain / count), [&](int64_t begin, int64_t end) {
    channel_kernels_of<T>().moments(x, {groups, count, 0, 1, begin, end}, mean, rstd);
    channel_kernels_of<T>().inverse_std(rstd + begin, static_cast<double>(count), a.eps, end - begin);
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = i * per_group; j < (i + 1) * per_group; ++j) {
        center[j] = mean[i];
        scale[j] = rstd[i] * (weight ? weight[j % channels] : 1);
        shift[j] = bias ? bias[j % channels] : 0;
      }
    }
    channel_kernels_of<T>().apply(x, y, {groups * per_group, length, 0, 1, begin * per_group, end * per_group}, center,
                                  scale, shift, {});
  });
}

template <class T>
void group_backward(const Run& r) {
  const auto& b = r.attrs.get<NormBackwardAttrs>();
  const Shape& view = b.norm.view;
  const int64_t groups = view[0] * view[1], per_group = view[2], length = view[3], channels = view[1] * per_group;
  const int64_t count = per_group * length, all = groups * per_group;
  const T *g = r.in[0].data<T>(), *x = r.in[1].data<T>(), *weight = data_or_null<T>(r.in[2]);
  const T *mean = r.in[3].data<T>(), *rstd = r.in[4].data<T>();
  Workspace scratch(static_cast<size_t>(6 * all) * sizeof(T));
  T* center = scratch.as<T>();
  T *sum_g = center + all, *sum_gx = sum_g + all, *scale = sum_gx + all, *slope = scale + all, *offset = slope + all;
  parallel_for(groups, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
    const ChannelRange range{all, length, 0, 1, begin * per_group, end * per_group};
    for (int64_t i = begin; i < end; ++i) std::fill_n(center + i * per_group, per_group, mean[i]);
    channel_kernels_of<T>().backward_sums(g, x, range, center, {}, sum_g, sum_gx);
    for (int64_t i = begin; i < end; ++i) {
      T wg = 0, wgx = 0;
      for (int64_t j = i * per_group; j < (i + 1) * per_group; ++j) {
        const T w = weight ? weight[j % channels] : 1;
        wg += w * sum_g[j];
        wgx += w * sum_gx[j];
      }
      for (int64_t j = i * per_group; j < (i + 1) * per_group; ++j) {
        scale[j] = rstd[i] * (weight ? weight[j % channels] : 1);
        slope[j] = rstd[i] * rstd[i] * rstd[i] * wgx / static_cast<T>(count);
        offset[j] = rstd[i] * wg / static_cast<T>(count);
        sum_gx[j] *= rstd[i];
      }
    }
    if (b.want_x)
      channel_kernels_of<T>().backward_apply(g, x, r.out[0].data<T>(), range, center, scale, slope, offset, {}, {});
  });
  if (!b.want_affine) return;
  sum_rows(r.in[0].dtype(), sum_gx, r.out[1].data<T>(), view[0], channels);
  sum_rows(r.in[0].dtype(), sum_g, r.out[2].data<T>(), view[0], channels);
}

}  // namespace

// ---- layer norm, RMS norm -------------------------------------------------------------------------------------------

Tensor ops::layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight, const Tensor& bias,
                       double eps) {
  return rows_norm(Op::LayerNorm, x, normalized_shape, weight, bias, true, eps);
}
LANNER_RUN(LayerNorm) { LANNER_BY_DTYPE(rows_forward, r); }
LANNER_VJP(LayerNorm) { return vjp_norm(v, Op::LayerNormBackward); }
LANNER_RUN(LayerNormBackward) { LANNER_BY_DTYPE(rows_backward, r); }
LANNER_VJP(LayerNormBackward) { return vjp_norm_backward(v); }

Tensor ops::rms_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight, std::optional<double> eps) {
  const double least = x.dtype() == DType::Float64 ? std::numeric_limits<double>::epsilon()
                                                   : static_cast<double>(std::numeric_limits<float>::epsilon());
  return rows_norm(Op::RMSNorm, x, normalized_shape, weight, {}, false, eps.value_or(least));
}
LANNER_RUN(RMSNorm) { LANNER_BY_DTYPE(rows_forward, r); }
LANNER_VJP(RMSNorm) { return vjp_norm(v, Op::RMSNormBackward); }
LANNER_RUN(RMSNormBackward) { LANNER_BY_DTYPE(rows_backward, r); }
LANNER_VJP(RMSNormBackward) { return vjp_norm_backward(v); }

// ---- group norm -----------------------------------------------------------------------------------------------------

Tensor ops::group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  check_floating("group_norm", "x", x);
  check<ShapeError>(x.ndim() >= 2, "group_norm: x must be [N, C, ...], got ", x.shape());
  const Channels s(x.shape());
  check<ShapeError>(groups >= 1 && s.c % groups == 0, "group_norm: ", groups, " groups do not divide the ", s.c,
                    " channels of x ", x.shape());
  check_parameter("group_norm", "weight", weight, {s.c}, x);
  check_parameter("group_norm", "bias", bias, {s.c}, x);
  if (is_half(x.dtype()))
    return cast(group_norm(to_float32(x), groups, to_float32(weight), to_float32(bias), eps), x.dtype());
  const NormAttrs attrs{{s.n, groups, s.c / groups, s.length}, {2, 3}, {0, 3}, true, eps, 0};
  return emit_norm(Op::GroupNorm, {contiguous(x), contiguous_or_none(weight), contiguous_or_none(bias)}, attrs,
                   s.n * groups)[0];
}
LANNER_RUN(GroupNorm) { LANNER_BY_DTYPE(group_forward, r); }
LANNER_VJP(GroupNorm) { return vjp_norm(v, Op::GroupNormBackward); }
LANNER_RUN(GroupNormBackward) { LANNER_BY_DTYPE(group_backward, r); }
LANNER_VJP(GroupNormBackward) { return vjp_norm_backward(v); }

}  // namespace lanner
