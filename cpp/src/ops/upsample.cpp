#include <algorithm>
#include <cmath>

#include "cpu/dispatch.h"
#include "cpu/kernels/pool.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/pool.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/op.h"
#include "ops/window.h"

namespace lanner {
namespace {

struct UpsampleAttrs {
  int dims;
  bool nearest, align_corners;
  double scale[2];  // output size over input size, for height and width; 0 where the sizes say it
};

int64_t side(const Shape& shape, int dims, int d) { return d == 0 && dims == 1 ? 1 : shape[shape.size() - 2 + d]; }

// Where each output of one axis comes from, in memory of its own.
template <class T>
class Sources {
 public:
  Sources(const UpsampleAttrs& a, int d, int64_t in, int64_t out)
      : memory_(static_cast<size_t>(out + 1) * (8 + sizeof(T))) {
    T* const weight = memory_.as<T>();
    int32_t* const low = reinterpret_cast<int32_t*>(weight + out);
    int32_t* const high = low + out;
    for (int64_t i = 0; i < out; ++i) {
      if (a.nearest) {
        const int64_t at =
            a.scale[d] > 0 ? static_cast<int64_t>(std::floor(static_cast<double>(i) / a.scale[d])) : i * in / out;
        low[i] = high[i] = static_cast<int32_t>(std::min(at, in - 1));
        weight[i] = 0;
        continue;
      }
      const double position = place(a, d, in, out, i);
      const int64_t at = std::min(static_cast<int64_t>(position), in - 1);
      low[i] = static_cast<int32_t>(at), high[i] = static_cast<int32_t>(std::min(at + 1, in - 1));
      weight[i] = static_cast<T>(at + 1 < in ? position - static_cast<double>(at) : 0.0);
    }
    axis_ = {in, out, low, high, weight, a.nearest};
  }
  const cpu::ResizeAxis<T>& axis() const { return axis_; }

 private:
  static double place(const UpsampleAttrs& a, int d, int64_t in, int64_t out, int64_t i) {
    const double n = static_cast<double>(in), m = static_cast<double>(out), x = static_cast<double>(i);
    if (a.align_corners) return out > 1 ? x * (n - 1) / (m - 1) : 0;
    return std::max(0.0, (x + 0.5) * (a.scale[d] > 0 ? 1 / a.scale[d] : n / m) - 0.5);
  }
  Workspace memory_;
  cpu::ResizeAxis<T> axis_;
};

template <class F>
void over_planes(const UpsampleAttrs& a, const Shape& x, const Shape& y, DType dtype, F f) {
  int64_t planes = 1;
  for (int d = 0; d < x.size() - a.dims; ++d) planes *= x[d];
  if (planes == 0) return;
  with_float_type(dtype, [&](auto t) {
    using T = decltype(t);
    const Sources<T> h(a, 0, side(x, a.dims, 0), side(y, a.dims, 0)), w(a, 1, side(x, a.dims, 1), side(y, a.dims, 1));
    const auto& functions = cpu::kernels_of<T>(cpu::kernels().pool);
    const int64_t grain = std::max<int64_t>(1, kSliceElements * planes / std::max<int64_t>(1, element_count(y)));
    parallel_for(planes, grain, [&](int64_t begin, int64_t end) {
      const Workspace workspace(static_cast<size_t>(functions.resize_workspace_bytes(w.axis().in)));
      f(t, functions, h.axis(), w.axis(), begin, end, workspace.data());
    });
  });
}

Tensor resize(const Tensor& x, const UpsampleAttrs& attrs, const Shape& y) {
  return emit(Op::Upsample, {ops::contiguous(x)}, attrs, {y, x.dtype()});
}

}  // namespace

LANNER_RUN(Upsample) {
  const Tensor &x = r.in[0], &y = r.out[0];
  over_planes(r.attrs.get<UpsampleAttrs>(), x.shape(), y.shape(), x.dtype(),
              [&](auto t, auto& f, auto& h, auto& w, int64_t begin, int64_t end, void* ws) {
                using T = decltype(t);
                f.resize(x.data<T>(), y.data<T>(), h, w, begin, end, ws);
              });
}
LANNER_VJP(Upsample) {
  return {emit(Op::UpsampleGrad, {ops::contiguous(v.g[0])}, v.attrs, {v.in[0].shape(), v.g[0].dtype()})};
}

LANNER_RUN(UpsampleGrad) {
  const Tensor &g = r.in[0], &dx = r.out[0];
  over_planes(r.attrs.get<UpsampleAttrs>(), dx.shape(), g.shape(), g.dtype(),
              [&](auto t, auto& f, auto& h, auto& w, int64_t begin, int64_t end, void* ws) {
                using T = decltype(t);
                f.resize_grad(g.data<T>(), dx.data<T>(), h, w, begin, end, ws);
              });
}
LANNER_VJP(UpsampleGrad) { return {resize(v.g[0], v.attrs.get<UpsampleAttrs>(), v.in[0].shape())}; }

namespace ops {

Tensor upsample(const Tensor& x, const Dims& size, const std::vector<double>& scale_factor, const std::string& mode,
                bool align_corners) {
  check_floating("upsample", "x", x);
  check<Error>(mode == "nearest" || mode == "linear" || mode == "bilinear",
               "upsample: mode must be \"nearest\", \"linear\" or \"bilinear\", got \"", mode, "\"");
  check<ShapeError>(x.ndim() == 3 || x.ndim() == 4, "upsample: x expects shape [N, C, L] or [N, C, H, W], got ",
                    x.shape());
  const int dims = x.ndim() - 2;
  check<ShapeError>(mode == "nearest" || (mode == "linear") == (dims == 1), "upsample: mode \"", mode, "\" expects ",
                    mode == "linear" ? 3 : 4, " dimensions, x has shape ", x.shape());
  check<Error>(!align_corners || mode != "nearest", "upsample: align_corners goes with \"linear\" and \"bilinear\"");
  check<Error>(size.empty() != scale_factor.empty(), "upsample: expected one of size and scale_factor");
  check_plane("upsample", x.shape(), dims);

  UpsampleAttrs attrs{};
  attrs.dims = dims, attrs.nearest = mode == "nearest", attrs.align_corners = align_corners;
  Shape y = x.shape();
  const Dims target = size.empty() ? Dims::filled(dims, 1) : spatial("upsample", "size", size, dims, 1);
  const int factors = static_cast<int>(scale_factor.size());
  check<ShapeError>(factors == 0 || factors == 1 || factors == dims, "upsample: scale_factor expects 1 or ", dims,
                    " numbers, got ", factors);
  for (int d = 0; d < dims; ++d) {
    const int axis = 2 + d;
    check<ShapeError>(x.size(axis) > 0, "upsample: x has no elements to resize, its shape is ", x.shape());
    y[axis] = target[d];
    if (factors > 0) {
      const double factor = scale_factor[static_cast<size_t>(factors == 1 ? 0 : d)];
      check<ShapeError>(factor > 0 && std::isfinite(factor), "upsample: scale_factor must be positive, got ", factor);
      attrs.scale[2 - dims + d] = factor;
      y[axis] = static_cast<int64_t>(std::floor(static_cast<double>(x.size(axis)) * factor));
      check<ShapeError>(y[axis] > 0, "upsample: scale_factor ", factor, " leaves nothing of x ", x.shape());
    }
  }
  check_plane("upsample", y, dims);
  if (is_half(x.dtype())) return cast(resize(cast(x, DType::Float32), attrs, y), x.dtype());
  return resize(x, attrs, y);
}

}  // namespace ops
}  // namespace lanner
