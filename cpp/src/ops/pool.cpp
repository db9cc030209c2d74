#include "lanner/ops/pool.h"

#include <algorithm>

#include "cpu/dispatch.h"
#include "cpu/kernels/pool.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/epilogue.h"
#include "ops/window.h"

namespace lanner {
namespace {

// Windows of the last `dims` axes, which lie at the end of each list: the first entry is the height's, the second the
// width's. Without kernel (adaptive) the windows follow from the sizes.
struct PoolAttrs {
  int dims;
  bool adaptive, count_include_pad;
  int64_t kernel[2], stride[2], pad[2], dilation[2];
  // Where the largest was found: its place in the window, which a byte holds, for the gradient; else in the plane.
  bool by_offset = false;
};

int64_t planes_of(const Shape& shape, int dims) {
  int64_t planes = 1;
  for (int d = 0; d < shape.size() - dims; ++d) planes *= shape[d];
  return planes;
}
// Height (d = 0) or width (d = 1); one spatial dimension has height 1.
int64_t side(const Shape& shape, int dims, int d) { return d == 0 && dims == 1 ? 1 : shape[shape.size() - 2 + d]; }

// The windows along one axis, in memory of their own.
class Windows {
 public:
  Windows(const PoolAttrs& a, int d, int64_t in, int64_t out) : memory_(static_cast<size_t>(3 * out + 1) * 4) {
    int32_t* const first = memory_.as<int32_t>();
    int32_t* const count = first + out;
    int32_t* const size = count + out;
    for (int64_t i = 0; i < out; ++i) {
      int64_t begin, n, divisor;
      if (a.adaptive) {
        begin = i * in / out;
        n = divisor = ((i + 1) * in + out - 1) / out - begin;
      } else {
        const int64_t start = i * a.stride[d] - a.pad[d], step = a.dilation[d];
        begin = start < 0 ? start + (-start + step - 1) / step * step : start;
        const int64_t end = std::min(start + step * (a.kernel[d] - 1) + 1, in);
        n = begin < end ? end - begin : 0;
        if (step > 1) n = (n + step - 1) / step;  // a division costs more than the rest
        divisor = a.count_include_pad ? std::min(start + a.kernel[d], in + a.pad[d]) - start : n;
      }
      first[i] = static_cast<int32_t>(begin), count[i] = static_cast<int32_t>(n);
      size[i] = static_cast<int32_t>(divisor);
    }
    if (a.adaptive)
      axis_ = {in, out, 1, first, count, size, 0, 0, 0};
    else
      axis_ = {in, out, a.dilation[d], first, count, size, a.kernel[d], a.stride[d], a.pad[d]};
  }
  const cpu::PoolAxis& axis() const { return axis_; }

 private:
  Workspace memory_;
  cpu::PoolAxis axis_;
};

template <class T>
const cpu::PoolFunctions<T>& pool_functions() {
  return cpu::kernels_of<T>(cpu::kernels().pool);
}

int64_t grain_of(int64_t planes, int64_t elements) {
  return std::max<int64_t>(1, kSliceElements * planes / std::max<int64_t>(1, elements));
}

// Calls f(functions, h, w, begin, end, workspace) for slices of the planes of x, the side that the windows lie on.
template <class F>
void over_planes(const PoolAttrs& a, const Shape& x, const Shape& y, DType dtype, F f) {
  const int64_t planes = planes_of(x, a.dims);
  if (planes == 0 || element_count(x) == 0) return;
  const Windows h(a, 0, side(x, a.dims, 0), side(y, a.dims, 0)), w(a, 1, side(x, a.dims, 1), side(y, a.dims, 1));
  with_float_type(dtype, [&](auto t) {
    const auto& functions = pool_functions<decltype(t)>();
    parallel_for(planes, grain_of(planes, element_count(x)), [&](int64_t begin, int64_t end) {
      const Workspace workspace(static_cast<size_t>(functions.workspace_bytes(w.axis())));
      f(t, functions, h.axis(), w.axis(), begin, end, workspace.data());
    });
  });
}

// ---- checks ----------------------------------------------------------------------------------------------------

void check_input(const char* op, const Tensor& x, int dims) {
  check_floating(op, "x", x);
  check<ShapeError>(x.ndim() == dims + 2 || x.ndim() == dims + 1, op, ": x expects ", dims + 2, " dimensions, or ",
                    dims + 1, " without batch, got shape ", x.shape());
  check_plane(op, x.shape(), dims);
}

struct Pooling {
  PoolAttrs attrs;
  Shape out;
};

Pooling windows(const char* op, int dims, const Tensor& x, const Dims& kernel_size, const Dims& stride,
                const Dims& padding, const Dims& dilation, bool ceil_mode, bool count_include_pad) {
  check_input(op, x, dims);
  const Dims kernel = spatial(op, "kernel_size", kernel_size, dims, 1);
  const Dims step = stride.empty() ? kernel : spatial(op, "stride", stride, dims, 1);
  const Dims pad = spatial(op, "padding", padding, dims, 0), dilate = spatial(op, "dilation", dilation, dims, 1);
  Pooling p{{dims, false, count_include_pad, {1, 1}, {1, 1}, {0, 0}, {1, 1}}, x.shape()};
  for (int d = 0; d < dims; ++d) {
    const int at = 2 - dims + d;
    p.attrs.kernel[at] = kernel[d], p.attrs.stride[at] = step[d];
    p.attrs.pad[at] = pad[d], p.attrs.dilation[at] = dilate[d];
    const int axis = x.ndim() - dims + d;
    const int64_t size = x.size(axis), reach = dilate[d] * (kernel[d] - 1);
    check<ShapeError>(2 * pad[d] <= kernel[d], op, ": padding may be half of kernel_size at most, got padding ", pad,
                      ", kernel_size ", kernel);
    check<ShapeError>(size > 0 && size + 2 * pad[d] > reach, op, ": the window covers ", reach + 1,
                      " elements, x padded has ", size + 2 * pad[d], " (x ", x.shape(), ", kernel_size ", kernel,
                      ", padding ", pad, ")");
    const int64_t room = size + 2 * pad[d] - reach - 1;
    int64_t out = (room + (ceil_mode ? step[d] - 1 : 0)) / step[d] + 1;
    if (ceil_mode && (out - 1) * step[d] >= size + pad[d]) --out;
    p.out[axis] = out;
  }
  return p;
}

Pooling adaptive_windows(const char* op, int dims, const Tensor& x, const Dims& output_size) {
  check_input(op, x, dims);
  const Dims size = spatial(op, "output_size", output_size, dims, -1);
  Pooling p{{dims, true, false, {}, {}, {}, {}}, x.shape()};
  for (int d = 0; d < dims; ++d) {
    const int axis = x.ndim() - dims + d;
    if (size[d] >= 0) p.out[axis] = size[d];
    check<ShapeError>(x.size(axis) > 0 || p.out[axis] == 0, op, ": x has no elements to pool, its shape is ",
                      x.shape());
  }
  return p;
}

// ---- the ops ---------------------------------------------------------------------------------------------------

Tensor pool_scatter(const Tensor& g, const Tensor& index, const Shape& x, const PoolAttrs& attrs) {
  return emit(Op::PoolScatter, {ops::contiguous(g), ops::contiguous(index)}, attrs, {x, g.dtype()});
}
Tensor pool_gather(const Tensor& x, const Tensor& index, const PoolAttrs& attrs) {
  return emit(Op::PoolGather, {ops::contiguous(x), ops::contiguous(index)}, attrs, {index.shape(), x.dtype()});
}

ops::Pooled max_pool(const Tensor& x, Pooling p, bool with_indices) {
  if (is_half(x.dtype())) {
    const auto [values, indices] = max_pool(ops::cast(x, DType::Float32), p, with_indices);
    return {ops::cast(values, x.dtype()), indices};
  }
  for (int d = 0; d < 2 && !p.attrs.adaptive && x.size() > 0; ++d) {
    const Windows w(p.attrs, d, side(x.shape(), p.attrs.dims, d), side(p.out, p.attrs.dims, d));
    for (int64_t i = 0; i < w.axis().out; ++i)
      check<ShapeError>(w.axis().count[i] > 0, "max_pool", p.attrs.dims, "d: a window holds only padding (x ",
                        x.shape(), ", dilation ", p.attrs.dilation[d], ", padding ", p.attrs.pad[d], ")");
  }
  const Tensor in = ops::contiguous(x);
  p.attrs.by_offset = !with_indices && !p.attrs.adaptive && p.attrs.kernel[0] * p.attrs.kernel[1] <= 256;
  const OutSpec out[] = {{p.out, x.dtype()}, {p.out, p.attrs.by_offset ? DType::UInt8 : DType::Int64}};
  const Tensors both = emit(Op::MaxPool, std::span(&in, 1), p.attrs, out);
  return {both[0], both[1]};
}

Tensor avg_pool(const Tensor& x, const PoolAttrs& attrs, const Shape& out) {
  if (is_half(x.dtype())) return ops::cast(avg_pool(ops::cast(x, DType::Float32), attrs, out), x.dtype());
  return emit(Op::AvgPool, {ops::contiguous(x)}, attrs, {out, x.dtype()});
}
Tensor avg_pool_grad(const Tensor& g, const PoolAttrs& attrs, const Shape& x) {
  return emit(Op::AvgPoolGrad, {ops::contiguous(g)}, attrs, {x, g.dtype()});
}

}  // namespace

LANNER_RUN(MaxPool) {
  const auto& a = r.attrs.get<PoolAttrs>();
  const Tensor &x = r.in[0], &y = r.out[0], &index = r.out[1];
  over_planes(
      a, x.shape(), y.shape(), x.dtype(), [&](auto t, auto& f, auto& h, auto& w, int64_t begin, int64_t end, void* ws) {
        using T = decltype(t);
        const cpu::Epilogue<T> e = epilogue_of<T>(r);
        const bool asked = index.defined();
        if (a.by_offset)
          f.max_offset(x.data<T>(), y.data<T>(), asked ? index.data<uint8_t>() : nullptr, h, w, begin, end, e, ws);
        else
          f.max(x.data<T>(), y.data<T>(), asked ? index.data<int64_t>() : nullptr, h, w, begin, end, e, ws);
      });
}
LANNER_VJP(MaxPool) {
  if (!v.g[0].defined()) return {Tensor()};
  return {pool_scatter(v.g[0], v.out[1], v.in[0].shape(), v.attrs.get<PoolAttrs>())};
}

LANNER_RUN(PoolScatter) {
  const auto& a = r.attrs.get<PoolAttrs>();
  const Tensor &g = r.in[0], &index = r.in[1], &dx = r.out[0];
  over_planes(
      a, dx.shape(), g.shape(), g.dtype(), [&](auto t, auto& f, auto& h, auto& w, int64_t begin, int64_t end, void*) {
        using T = decltype(t);
        const cpu::Epilogue<T> e = epilogue_of<T>(r);
        if (a.by_offset)
          f.scatter_offset(g.data<T>(), index.data<uint8_t>(), dx.data<T>(), h, w, begin, end, e);
        else
          f.scatter(g.data<T>(), index.data<int64_t>(), dx.data<T>(), h.in * w.in, h.out * w.out, begin, end, e);
      });
}
LANNER_VJP(PoolScatter) { return {pool_gather(v.g[0], v.in[1], v.attrs.get<PoolAttrs>()), Tensor()}; }

LANNER_RUN(PoolGather) {
  const auto& a = r.attrs.get<PoolAttrs>();
  const Tensor &x = r.in[0], &index = r.in[1], &y = r.out[0];
  over_planes(a, x.shape(), y.shape(), x.dtype(),
              [&](auto t, auto& f, auto& h, auto& w, int64_t begin, int64_t end, void*) {
                using T = decltype(t);
                if (a.by_offset)
                  f.gather_offset(x.data<T>(), index.data<uint8_t>(), y.data<T>(), h, w, begin, end);
                else
                  f.gather(x.data<T>(), index.data<int64_t>(), y.data<T>(), h.in * w.in, h.out * w.out, begin, end);
              });
}
LANNER_VJP(PoolGather) { return {pool_scatter(v.g[0], v.in[1], v.in[0].shape(), v.attrs.get<PoolAttrs>()), Tensor()}; }

LANNER_RUN(AvgPool) {
  const Tensor &x = r.in[0], &y = r.out[0];
  over_planes(r.attrs.get<PoolAttrs>(), x.shape(), y.shape(), x.dtype(),
              [&](auto t, auto& f, auto& h, auto& w, int64_t begin, int64_t end, void* ws) {
                using T = decltype(t);
                f.average(x.data<T>(), y.data<T>(), h, w, begin, end, ws);
              });
}
LANNER_VJP(AvgPool) { return {avg_pool_grad(v.g[0], v.attrs.get<PoolAttrs>(), v.in[0].shape())}; }

LANNER_RUN(AvgPoolGrad) {
  const Tensor &g = r.in[0], &dx = r.out[0];
  over_planes(r.attrs.get<PoolAttrs>(), dx.shape(), g.shape(), g.dtype(),
              [&](auto t, auto& f, auto& h, auto& w, int64_t begin, int64_t end, void* ws) {
                using T = decltype(t);
                f.average_grad(g.data<T>(), dx.data<T>(), h, w, begin, end, ws);
              });
}
LANNER_VJP(AvgPoolGrad) { return {avg_pool(v.g[0], v.attrs.get<PoolAttrs>(), v.in[0].shape())}; }

namespace ops {

#define LANNER_POOL(dims)                                                                                             \
  Pooled max_pool##dims##d_with_indices(const Tensor& x, const Dims& kernel_size, const Dims& stride,                 \
                                        const Dims& padding, const Dims& dilation, bool ceil_mode) {                  \
    return max_pool(                                                                                                  \
        x, windows("max_pool" #dims "d", dims, x, kernel_size, stride, padding, dilation, ceil_mode, false), true);   \
  }                                                                                                                   \
  Tensor max_pool##dims##d(const Tensor& x, const Dims& kernel_size, const Dims& stride, const Dims& padding,         \
                           const Dims& dilation, bool ceil_mode) {                                                    \
    return max_pool(x,                                                                                                \
                    windows("max_pool" #dims "d", dims, x, kernel_size, stride, padding, dilation, ceil_mode, false), \
                    false)                                                                                            \
        .first;                                                                                                       \
  }                                                                                                                   \
  Tensor avg_pool##dims##d(const Tensor& x, const Dims& kernel_size, const Dims& stride, const Dims& padding,         \
                           bool ceil_mode, bool count_include_pad) {                                                  \
    const Pooling p =                                                                                                 \
        windows("avg_pool" #dims "d", dims, x, kernel_size, stride, padding, {1}, ceil_mode, count_include_pad);      \
    return avg_pool(x, p.attrs, p.out);                                                                               \
  }                                                                                                                   \
  Tensor adaptive_avg_pool##dims##d(const Tensor& x, const Dims& output_size) {                                       \
    const Pooling p = adaptive_windows("adaptive_avg_pool" #dims "d", dims, x, output_size);                          \
    return avg_pool(x, p.attrs, p.out);                                                                               \
  }                                                                                                                   \
  Pooled adaptive_max_pool##dims##d_with_indices(const Tensor& x, const Dims& output_size) {                          \
    return max_pool(x, adaptive_windows("adaptive_max_pool" #dims "d", dims, x, output_size), true);                  \
  }                                                                                                                   \
  Tensor adaptive_max_pool##dims##d(const Tensor& x, const Dims& output_size) {                                       \
    return adaptive_max_pool##dims##d_with_indices(x, output_size).first;                                             \
  }
LANNER_POOL(1)
LANNER_POOL(2)
#undef LANNER_POOL

}  // namespace ops
}  // namespace lanner
