// What the normalizations share, and what a plan asks of them.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/kernels/channel_norm.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/shape.h"
#include "ops/op.h"

namespace lanner {

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

// Of GatedBatchNormBackward.
struct GatedBatchNormAttrs {
  NormBackwardAttrs backward;
  double gate_slope;
  bool keep_gated;
};

// ---- what a plan asks -----------------------------------------------------------------------------------------------

// The eps among the attributes of any normalization's forward op.
double norm_eps(const Attrs& attrs);

// Op::GatedBatchNormBackward is an activation's backward, g = y > 0 ? g : gate_slope * g (relu, leaky relu), and
// Op::BatchNormBackward of that g: its attributes, made of those of BatchNormBackward. Inputs: those of
// BatchNormBackward, then y; outputs: those of BatchNormBackward, then, where it is kept, the gated g.
Attrs gated_batch_norm(const Attrs& backward, double gate_slope, bool keep_gated);

// ---- for the family -------------------------------------------------------------------------------------------------

void check_parameter(const char* op, const char* name, const Tensor& p, const Shape& shape, const Tensor& x);
Tensors emit_norm(Op op, const Tensors& in, const NormAttrs& a, int64_t statistics);
Tensors vjp_norm(const Vjp& v, Op backward);
Tensors vjp_norm_backward(const Vjp& v);

template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}
inline Tensor to_float32(const Tensor& x) { return x.defined() ? ops::cast(x, DType::Float32) : x; }
inline Tensor contiguous_or_none(const Tensor& x) { return x.defined() ? ops::contiguous(x) : x; }

template <class T>
const cpu::ChannelNormOf<T>& channel_kernels_of() {
  return cpu::kernels_of<T>(cpu::kernels().channel_norm);
}

// sizes of x seen as [N, C, length]
struct Channels {
  int64_t n, c, length;
  explicit Channels(const Shape& shape) : n(shape[0]), c(shape[1]), length(1) {
    for (int i = 2; i < shape.size(); ++i) length *= shape[i];
  }
};

// Runs f<float> or f<double>.
#define LANNER_BY_DTYPE(f, ...) r.in[0].dtype() == DType::Float32 ? f<float>(__VA_ARGS__) : f<double>(__VA_ARGS__)

}  // namespace lanner
