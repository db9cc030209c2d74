// Batch norm: by channel over the batch.
#include <algorithm>

#include "lanner/autodiff.h"
#include "lanner/ops/norm.h"
#include "lanner/parallel.h"
#include "ops/decompose.h"
#include "ops/epilogue.h"
#include "ops/norm.h"
#include "ops/reduce.h"

namespace lanner {
namespace {

using cpu::ChannelRange;

// Elements that one core needs some 20 us for.
constexpr int64_t kGrain = 1 << 15;
// A channel whose values are read again from the second-level cache is done at once, from its statistics to its output, and
// the work is cut by channels. Larger ones are cut by samples, which is how they lie in memory: planes far apart cost more
// than the second reading (64 x 32 x 32 x 32 backward: 1.15 -> 0.91 ms; 32 x 128 x 16 x 16 forward the other way round,
// 0.18 -> 0.14). bench/norm.cpp --filter=batch_norm. [N, C] is always cut by samples.
constexpr int64_t kCachedBytes = 1 << 17;

struct BatchCut {
  int64_t channels, samples;  // a slice
  bool cached;
  // `bytes` an element: of the arrays that are read twice.
  BatchCut(const Channels& s, int64_t bytes) {
    const int64_t count = std::max<int64_t>(1, s.n * s.length), per_sample = std::max<int64_t>(1, s.c * s.length);
    cached = s.length > 1 && count * bytes <= kCachedBytes;
    channels = std::max<int64_t>(1, kGrain / count);
    samples = std::max<int64_t>(1, (s.length == 1 ? 2 : 1) * kGrain / per_sample);
  }
  int64_t pieces(const Channels& s) const { return (s.n + samples - 1) / samples; }
};

// Samples in slices, whose moments are then put together.
template <class T>
void batch_moments(const T* x, const Channels& s, const BatchCut& cut, T* mean, T* m2) {
  const auto& kernels = channel_kernels_of<T>();
  const int64_t pieces = cut.pieces(s);
  if (pieces == 1) return kernels.moments(x, {s.c, s.length, 0, s.n, 0, s.c}, mean, m2);
  const Workspace parts(static_cast<size_t>(2 * pieces * s.c) * sizeof(T)),
      sizes(static_cast<size_t>(pieces) * sizeof(double));
  T *const means = parts.as<T>(), *const m2s = means + pieces * s.c;
  double* const counts = sizes.as<double>();
  parallel_for(s.n, cut.samples, [&](int64_t begin, int64_t end) {
    const int64_t piece = begin / cut.samples;
    counts[piece] = static_cast<double>((end - begin) * s.length);
    kernels.moments(x, {s.c, s.length, begin, end, 0, s.c}, means + piece * s.c, m2s + piece * s.c);
  });
  kernels.merge(means, m2s, counts, pieces, s.c, mean, m2);
}

template <class T>
void batch_forward(const Run& r) {
  const auto& a = r.attrs.get<NormAttrs>();
  const auto& kernels = channel_kernels_of<T>();
  const Channels s(a.view);
  if (s.c == 0) return;
  const BatchCut cut(s, sizeof(T));
  const int64_t count = s.n * s.length;
  const T *x = r.in[0].data<T>(), *weight = data_or_null<T>(r.in[1]), *bias = data_or_null<T>(r.in[2]);
  T *running_mean = data_or_null<T>(r.in[3]), *running_var = data_or_null<T>(r.in[4]);
  T *y = r.out[0].data<T>(), *mean = r.out[1].data<T>(), *rstd = r.out[2].data<T>();
  const cpu::Epilogue<T> epilogue = epilogue_of<T>(r);
  const Workspace scratch(static_cast<size_t>(2 * s.c) * sizeof(T));
  T *const scale = scratch.as<T>(), *const shift = scale + s.c;
  const auto finish = [&](int64_t begin, int64_t end) {  // rstd holds m2
    const T keep = static_cast<T>(1 - a.momentum), take = static_cast<T>(a.momentum),
            unbiased = take / static_cast<T>(count - 1);
    if (running_mean)
      for (int64_t c = begin; c < end; ++c) running_mean[c] = keep * running_mean[c] + take * mean[c];
    if (running_var)
      for (int64_t c = begin; c < end; ++c) running_var[c] = keep * running_var[c] + unbiased * rstd[c];
    kernels.inverse_std(rstd + begin, static_cast<double>(count), a.eps, end - begin);
    for (int64_t c = begin; c < end; ++c) {
      scale[c] = rstd[c] * (weight ? weight[c] : 1);
      shift[c] = bias ? bias[c] : 0;
    }
  };
  if (cut.cached) {
    parallel_for(s.c, cut.channels, [&](int64_t begin, int64_t end) {
      const ChannelRange range{s.c, s.length, 0, s.n, begin, end};
      kernels.moments(x, range, mean, rstd);
      finish(begin, end);
      kernels.apply(x, y, range, mean, scale, shift, epilogue);
    });
    return;
  }
  batch_moments(x, s, cut, mean, rstd);
  finish(0, s.c);
  parallel_for(s.n, cut.samples, [&](int64_t begin, int64_t end) {
    kernels.apply(x, y, {s.c, s.length, begin, end, 0, s.c}, mean, scale, shift, epilogue);
  });
}

template <class T>
void batch_backward(const Run& r, const NormBackwardAttrs& b, const cpu::Gate<T>& gate) {
  const auto& kernels = channel_kernels_of<T>();
  const Channels s(b.norm.view);
  const BatchCut cut(s, (gate.y ? 3 : 2) * static_cast<int64_t>(sizeof(T)));
  const T *g = r.in[0].data<T>(), *x = r.in[1].data<T>(), *weight = data_or_null<T>(r.in[2]);
  const T *mean = r.in[3].data<T>(), *rstd = r.in[4].data<T>();
  T* const dx = b.want_x ? r.out[0].data<T>() : nullptr;
  const cpu::Epilogue<T> epilogue = epilogue_of<T>(r);
  const int64_t pieces = cut.cached ? 1 : cut.pieces(s);
  const Workspace scratch(static_cast<size_t>((5 + 2 * pieces) * s.c) * sizeof(T));
  T *const sum_g = scratch.as<T>(), *const sum_gx = sum_g + s.c, *const scale = sum_gx + s.c,
           *const slope = scale + s.c, *const offset = slope + s.c, *const parts = offset + s.c;
  const T share = 1 / static_cast<T>(s.n * s.length);
  const auto finish = [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      scale[c] = rstd[c] * (weight ? weight[c] : 1);
      slope[c] = scale[c] * rstd[c] * rstd[c] * (sum_gx[c] * share);
      offset[c] = scale[c] * (sum_g[c] * share);
      sum_gx[c] *= rstd[c];
    }
  };
  if (cut.cached) {
    parallel_for(s.c, cut.channels, [&](int64_t begin, int64_t end) {
      const ChannelRange range{s.c, s.length, 0, s.n, begin, end};
      kernels.backward_sums(g, x, range, mean, gate, sum_g, sum_gx);
      finish(begin, end);
      if (dx) kernels.backward_apply(g, x, dx, range, mean, scale, slope, offset, gate, epilogue);
    });
  } else {
    T* const parts_gx = parts + pieces * s.c;
    parallel_for(s.n, cut.samples, [&](int64_t begin, int64_t end) {
      const int64_t at = begin / cut.samples * s.c;
      kernels.backward_sums(g, x, {s.c, s.length, begin, end, 0, s.c}, mean, gate, parts + at, parts_gx + at);
    });
    sum_rows(r.in[0].dtype(), parts, sum_g, pieces, s.c);
    sum_rows(r.in[0].dtype(), parts_gx, sum_gx, pieces, s.c);
    finish(0, s.c);
    if (dx) {
      parallel_for(s.n, cut.samples, [&](int64_t begin, int64_t end) {
        kernels.backward_apply(g, x, dx, {s.c, s.length, begin, end, 0, s.c}, mean, scale, slope, offset, gate,
                               epilogue);
      });
    }
  }
  if (!b.want_affine) return;
  std::copy_n(sum_gx, s.c, r.out[1].data<T>());
  std::copy_n(sum_g, s.c, r.out[2].data<T>());
}

template <class T>
void plain_backward(const Run& r) {
  batch_backward<T>(r, r.attrs.get<NormBackwardAttrs>(), {});
}

template <class T>
void gated_backward(const Run& r) {
  const auto& a = r.attrs.get<GatedBatchNormAttrs>();
  batch_backward<T>(r, a.backward,
                    {r.in[5].data<T>(), static_cast<T>(a.gate_slope),
                     a.keep_gated ? r.out[a.backward.want_affine ? 3 : 1].data<T>() : nullptr});
}

template <class T>
void batch_inference(const Run& r) {
  const auto& a = r.attrs.get<NormAttrs>();
  const auto& kernels = channel_kernels_of<T>();
  const Channels s(a.view);
  const T *x = r.in[0].data<T>(), *weight = data_or_null<T>(r.in[1]), *bias = data_or_null<T>(r.in[2]);
  const T *mean = r.in[3].data<T>(), *var = r.in[4].data<T>();
  const Workspace scratch(static_cast<size_t>(2 * s.c) * sizeof(T));
  T *const scale = scratch.as<T>(), *const shift = scale + s.c;
  std::copy_n(var, s.c, scale);
  kernels.inverse_std(scale, 1, a.eps, s.c);
  for (int64_t c = 0; c < s.c; ++c) {
    if (weight) scale[c] *= weight[c];
    shift[c] = bias ? bias[c] : 0;
  }
  const int64_t per_sample = std::max<int64_t>(1, s.c * s.length);
  const cpu::Epilogue<T> epilogue = epilogue_of<T>(r);
  parallel_for(s.n, std::max<int64_t>(1, kGrain / per_sample), [&](int64_t begin, int64_t end) {
    kernels.apply(x, r.out[0].data<T>(), {s.c, s.length, begin, end, 0, s.c}, mean, scale, shift, epilogue);
  });
}

}  // namespace

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
LANNER_RUN(BatchNormBackward) { LANNER_BY_DTYPE(plain_backward, r); }
LANNER_VJP(BatchNormBackward) { return vjp_norm_backward(v); }
LANNER_RUN(GatedBatchNormBackward) { LANNER_BY_DTYPE(gated_backward, r); }

Attrs gated_batch_norm(const Attrs& backward, double gate_slope, bool keep_gated) {
  return GatedBatchNormAttrs{backward.get<NormBackwardAttrs>(), gate_slope, keep_gated};
}

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

}  // namespace lanner
