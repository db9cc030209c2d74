#include "lanner/ops/norm.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/dispatch.h"
#include "cpu/kernels/norm.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/decompose.h"
#include "ops/norm.h"
#include "ops/op.h"
#include "ops/reduce.h"

namespace lanner {
namespace {

using cpu::ChannelRange;

// All four normalizations are one formula on x reshaped to `view`: mean and variance over the axes `normalized`, weight
// and bias along the axes that `shared` leaves, over which their gradients are summed.
struct NormAttrs {
  Shape view;
  Dims normalized, shared;
  bool center;
  double eps, momentum;

  // Of weight and bias, to broadcast against `view`.
  Shape affine() const {
    Shape s = view;
    for (int64_t axis : shared) s[static_cast<int>(axis)] = 1;
    return s;
  }
};
struct NormBackwardAttrs {
  NormAttrs norm;
  bool want_x, want_affine;
};

// Elements that one core needs some 20 us for.
constexpr int64_t kGrain = 1 << 15;
// A channel of at most so many elements (1 MiB of float32) stays in the second-level cache from its statistics to its
// output; a larger one is cut.
constexpr int64_t kCachedChannel = 1 << 18;

template <class T>
const cpu::NormOf<T>& kernels_of() {
  if constexpr (sizeof(T) == 4)
    return cpu::kernels().norm->f32;
  else
    return cpu::kernels().norm->f64;
}

template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

void check_parameter(const char* op, const char* name, const Tensor& p, const Shape& shape, const Tensor& x) {
  if (!p.defined()) return;
  check<ShapeError>(p.shape() == shape, op, ": ", name, " expects shape ", shape, ", got ", p.shape(), " (x ",
                    x.shape(), ")");
  check<DTypeError>(p.dtype() == x.dtype() || is_half(x.dtype()), op, ": ", name, " has dtype ", dtype_name(p.dtype()),
                    ", x ", dtype_name(x.dtype()));
}

Tensor to_float32(const Tensor& x) { return x.defined() ? ops::cast(x, DType::Float32) : x; }
Tensor contiguous_or_none(const Tensor& x) { return x.defined() ? ops::contiguous(x) : x; }

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

// ---- emitting, and the vjps that all share --------------------------------------------------------------------------

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

// Runs f<float> or f<double>.
#define LANNER_BY_DTYPE(f, ...) r.in[0].dtype() == DType::Float32 ? f<float>(__VA_ARGS__) : f<double>(__VA_ARGS__)

// ---- rows: layer norm, RMS norm -------------------------------------------------------------------------------------

template <class T>
void rows_forward(const Run& r) {
  const auto& a = r.attrs.get<NormAttrs>();
  const int64_t rows = a.view[0], n = a.view[1];
  if (rows * n == 0) return;
  const T *x = r.in[0].data<T>(), *weight = data_or_null<T>(r.in[1]), *bias = data_or_null<T>(r.in[2]);
  T *y = r.out[0].data<T>(), *mean = a.center ? r.out[1].data<T>() : nullptr, *rstd = r.out[2].data<T>();
  parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
    kernels_of<T>().rows_forward(x + begin * n, weight, bias, y + begin * n, mean ? mean + begin : nullptr,
                                 rstd + begin, end - begin, n, a.eps);
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
    kernels_of<T>().rows_backward(g + begin * n, x + begin * n, weight, mean ? mean + begin : nullptr, rstd + begin,
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

// sizes of x seen as [N, C, length]
struct Channels {
  int64_t n, c, length;
  explicit Channels(const Shape& shape) : n(shape[0]), c(shape[1]), length(1) {
    for (int i = 2; i < shape.size(); ++i) length *= shape[i];
  }
};

template <class T>
T inverse_std(T m2, int64_t count, double eps) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(m2) / static_cast<double>(count) + eps));
}

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
    kernels_of<T>().moments(x, {groups, count, 0, 1, begin, end}, mean, rstd);
    for (int64_t i = begin; i < end; ++i) {
      rstd[i] = inverse_std(rstd[i], count, a.eps);
      for (int64_t j = i * per_group; j < (i + 1) * per_group; ++j) {
        center[j] = mean[i];
        scale[j] = rstd[i] * (weight ? weight[j % channels] : 1);
        shift[j] = bias ? bias[j % channels] : 0;
      }
    }
    kernels_of<T>().apply(x, y, {groups * per_group, length, 0, 1, begin * per_group, end * per_group}, center, scale,
                          shift);
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
    kernels_of<T>().backward_sums(g, x, range, center, sum_g, sum_gx);
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
    if (b.want_x) kernels_of<T>().backward_apply(g, x, r.out[0].data<T>(), range, center, scale, slope, offset);
  });
  if (!b.want_affine) return;
  sum_rows(r.in[0].dtype(), sum_gx, r.out[1].data<T>(), view[0], channels);
  sum_rows(r.in[0].dtype(), sum_g, r.out[2].data<T>(), view[0], channels);
}

// How batch norm is cut: by channels where one fits into the cache, else by samples first.
struct BatchCut {
  int64_t channels, samples;  // a slice
  bool cached;
  explicit BatchCut(const Channels& s) {
    const int64_t count = std::max<int64_t>(1, s.n * s.length);
    cached = count <= kCachedChannel;
    channels = std::max<int64_t>(1, kGrain / count);
    if (s.length == 1) channels = (channels + 15) / 16 * 16;  // a cache line of float32
    samples = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, s.c * s.length));
  }
};

template <class T>
void batch_moments(const T* x, const Channels& s, const BatchCut& cut, T* mean, T* m2) {
  const int64_t pieces = (s.n + cut.samples - 1) / cut.samples;
  Workspace parts(static_cast<size_t>(2 * pieces * s.c) * sizeof(T));
  T *means = parts.as<T>(), *squares = means + pieces * s.c;
  parallel_for(s.n, cut.samples, [&](int64_t begin, int64_t end) {
    const int64_t at = begin / cut.samples * s.c;
    kernels_of<T>().moments(x, {s.c, s.length, begin, end, 0, s.c}, means + at, squares + at);
  });
  for (int64_t c = 0; c < s.c; ++c) {  // Chan's update
    double total = 0, m = 0, q = 0;
    for (int64_t p = 0; p < pieces; ++p) {
      const double count = static_cast<double>((std::min(s.n, (p + 1) * cut.samples) - p * cut.samples) * s.length);
      const double d = static_cast<double>(means[p * s.c + c]) - m;
      q += static_cast<double>(squares[p * s.c + c]) + d * d * total * count / (total + count);
      total += count;
      m += d * count / total;
    }
    mean[c] = static_cast<T>(m);
    m2[c] = static_cast<T>(q);
  }
}

template <class T>
void batch_forward(const Run& r) {
  const auto& a = r.attrs.get<NormAttrs>();
  const Channels s(a.view);
  if (s.c == 0) return;
  const BatchCut cut(s);
  const int64_t count = s.n * s.length;
  const T *x = r.in[0].data<T>(), *weight = data_or_null<T>(r.in[1]), *bias = data_or_null<T>(r.in[2]);
  T *running_mean = data_or_null<T>(r.in[3]), *running_var = data_or_null<T>(r.in[4]);
  T *y = r.out[0].data<T>(), *mean = r.out[1].data<T>(), *rstd = r.out[2].data<T>();
  Workspace scratch(static_cast<size_t>(2 * s.c) * sizeof(T));
  T *scale = scratch.as<T>(), *shift = scale + s.c;
  const auto finish = [&](int64_t begin, int64_t end) {  // rstd holds m2
    const T keep = static_cast<T>(1 - a.momentum), take = static_cast<T>(a.momentum);
    for (int64_t c = begin; c < end; ++c) {
      if (running_mean) running_mean[c] = keep * running_mean[c] + take * mean[c];
      if (running_var) running_var[c] = keep * running_var[c] + take * rstd[c] / static_cast<T>(count - 1);
      rstd[c] = inverse_std(rstd[c], count, a.eps);
      scale[c] = rstd[c] * (weight ? weight[c] : 1);
      shift[c] = bias ? bias[c] : 0;
    }
  };
  if (cut.cached) {
    parallel_for(s.c, cut.channels, [&](int64_t begin, int64_t end) {
      const ChannelRange range{s.c, s.length, 0, s.n, begin, end};
      kernels_of<T>().moments(x, range, mean, rstd);
      finish(begin, end);
      kernels_of<T>().apply(x, y, range, mean, scale, shift);
    });
    return;
  }
  batch_moments(x, s, cut, mean, rstd);
  finish(0, s.c);
  parallel_for(s.n, cut.samples, [&](int64_t begin, int64_t end) {
    kernels_of<T>().apply(x, y, {s.c, s.length, begin, end, 0, s.c}, mean, scale, shift);
  });
}

template <class T>
void batch_backward(const Run& r) {
  const auto& b = r.attrs.get<NormBackwardAttrs>();
  const Channels s(b.norm.view);
  const BatchCut cut(s);
  const T *g = r.in[0].data<T>(), *x = r.in[1].data<T>(), *weight = data_or_null<T>(r.in[2]);
  const T *mean = r.in[3].data<T>(), *rstd = r.in[4].data<T>();
  T* dx = b.want_x ? r.out[0].data<T>() : nullptr;
  const int64_t pieces = cut.cached ? 1 : (s.n + cut.samples - 1) / cut.samples;
  Workspace scratch(static_cast<size_t>((5 + 2 * pieces) * s.c) * sizeof(T));
  T* sum_g = scratch.as<T>();
  T *sum_gx = sum_g + s.c, *scale = sum_gx + s.c, *slope = scale + s.c, *offset = slope + s.c, *parts = offset + s.c;
  const T count = static_cast<T>(s.n * s.length);
  const auto finish = [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      scale[c] = rstd[c] * (weight ? weight[c] : 1);
      slope[c] = scale[c] * rstd[c] * rstd[c] * (sum_gx[c] / count);
      offset[c] = scale[c] * (sum_g[c] / count);
      sum_gx[c] *= rstd[c];
    }
  };
  if (cut.cached) {
    parallel_for(s.c, cut.channels, [&](int64_t begin, int64_t end) {
      const ChannelRange range{s.c, s.length, 0, s.n, begin, end};
      kernels_of<T>().backward_sums(g, x, range, mean, sum_g, sum_gx);
      finish(begin, end);
      if (dx) kernels_of<T>().backward_apply(g, x, dx, range, mean, scale, slope, offset);
    });
  } else {
    T* parts_gx = parts + pieces * s.c;
    parallel_for(s.n, cut.samples, [&](int64_t begin, int64_t end) {
      const int64_t at = begin / cut.samples * s.c;
      kernels_of<T>().backward_sums(g, x, {s.c, s.length, begin, end, 0, s.c}, mean, parts + at, parts_gx + at);
    });
    sum_rows(r.in[0].dtype(), parts, sum_g, pieces, s.c);
    sum_rows(r.in[0].dtype(), parts_gx, sum_gx, pieces, s.c);
    finish(0, s.c);
    if (dx) {
      parallel_for(s.n, cut.samples, [&](int64_t begin, int64_t end) {
        kernels_of<T>().backward_apply(g, x, dx, {s.c, s.length, begin, end, 0, s.c}, mean, scale, slope, offset);
      });
    }
  }
  if (!b.want_affine) return;
  std::copy_n(sum_gx, s.c, r.out[1].data<T>());
  std::copy_n(sum_g, s.c, r.out[2].data<T>());
}

template <class T>
void batch_inference(const Run& r) {
  const auto& a = r.attrs.get<NormAttrs>();
  const Channels s(a.view);
  const T *x = r.in[0].data<T>(), *weight = data_or_null<T>(r.in[1]), *bias = data_or_null<T>(r.in[2]);
  const T *mean = r.in[3].data<T>(), *var = r.in[4].data<T>();
  Workspace scratch(static_cast<size_t>(2 * s.c) * sizeof(T));
  T *scale = scratch.as<T>(), *shift = scale + s.c;
  for (int64_t c = 0; c < s.c; ++c) {
    scale[c] = inverse_std(var[c], 1, a.eps) * (weight ? weight[c] : 1);
    shift[c] = bias ? bias[c] : 0;
  }
  const int64_t per_sample = std::max<int64_t>(1, s.c * s.length);
  parallel_for(s.n, std::max<int64_t>(1, kGrain / per_sample), [&](int64_t begin, int64_t end) {
    kernels_of<T>().apply(x, r.out[0].data<T>(), {s.c, s.length, begin, end, 0, s.c}, mean, scale, shift);
  });
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

// ---- batch norm -----------------------------------------------------------------------------------------------------

Tensor ops::batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                       const Tensor& bias, bool training, double momentum, double eps) {
  check_floating("batch_norm", "x", x);
  check<ShapeError>(x.ndim() >= 2, "batch_norm: x must be [N, C] or [N, C, ...], got ", x.shape());
  const Channels s(x.shape());
  check_parameter("batch_norm", "running_mean", running_mean, {s.c}, x);
  check_parameter("batch_norm", "running_var", running_var, {s.c}, x);
  check_parameter("batch_norm", "weight", weight, {s.c}, x);
  check_parameter("batch_norm", "bias", bias, {s.c}, x);
  check(running_mean.defined() == running_var.defined(),
        "batch_norm: running_mean and running_var come together or not at all");
  const bool by_batch = training || !running_mean.defined();
  if (is_half(x.dtype())) {
    check<DTypeError>(!running_mean.defined() || !by_batch ||
                          (running_mean.dtype() == DType::Float32 && running_var.dtype() == DType::Float32),
                      "batch_norm: with x in ", dtype_name(x.dtype()), " the running statistics must be float32, got ",
                      running_mean.defined() ? dtype_name(running_mean.dtype()) : "");
    return cast(batch_norm(to_float32(x), to_float32(running_mean), to_float32(running_var), to_float32(weight),
                           to_float32(bias), training, momentum, eps),
                x.dtype());
  }
  const NormAttrs attrs{{s.n, s.c, s.length}, {0, 2}, {0, 2}, true, eps, momentum};
  const Tensors in{contiguous(x), contiguous_or_none(weight), contiguous_or_none(bias), running_mean, running_var};
  if (!by_batch) {
    const Tensors fixed{in[0], in[1], in[2], contiguous(running_mean), contiguous(running_var)};
    const OutSpec spec{x.shape(), x.dtype()};
    return emit(Op::BatchNormInference, fixed, attrs, std::span(&spec, 1))[0];
  }
  check<ShapeError>(s.n * s.length > 1, "batch_norm: training needs more than one value a channel, got x ", x.shape());
  for (const Tensor& t : {running_mean, running_var}) {
    if (!t.defined()) continue;
    check<ShapeError>(t.is_contiguous(), "batch_norm: running statistics are updated in place and must be contiguous");
    t.will_write("batch_norm");
  }
  return emit_norm(Op::BatchNorm, in, attrs, s.c)[0];
}
LANNER_RUN(BatchNorm) { LANNER_BY_DTYPE(batch_forward, r); }
LANNER_VJP(BatchNorm) { return vjp_norm(v, Op::BatchNormBackward); }
LANNER_RUN(BatchNormBackward) { LANNER_BY_DTYPE(batch_backward, r); }
LANNER_VJP(BatchNormBackward) { return vjp_norm_backward(v); }

LANNER_RUN(BatchNormInference) { LANNER_BY_DTYPE(batch_inference, r); }
LANNER_VJP(BatchNormInference) {
  const auto& a = v.attrs.get<NormAttrs>();
  return vjp_by(v, [&](const Tensors& in) {
    const auto seen = [&](const Tensor& t) { return ops::reshape(t, a.affine()); };
    Tensor scale = ops::rsqrt(seen(in[4]) + a.eps);
    if (in[1].defined()) scale = scale * seen(in[1]);
    Tensor y = (ops::reshape(in[0], a.view) - seen(in[3])) * scale;
    if (in[2].defined()) y = y + seen(in[2]);
    return Tensors{ops::reshape(y, in[0].shape())};
  });
}

double norm_eps(const Attrs& attrs) { return attrs.get<NormAttrs>().eps; }

}  // namespace lanner
