#include "lanner/ops/shape.h"

#include "lanner/ops/elementwise.h"
#include "lanner/ops/reduce.h"
#include "ops/assign.h"
#include "ops/op.h"

namespace lanner {
namespace {

struct SliceAttrs {
  Dims starts, steps;
  Shape shape;  // of the sliced tensor
};

// Strides that show x's memory as `shape` (same number of elements, more than 0); false where there are none.
bool view_strides(const Tensor& x, const Shape& shape, Dims* strides) {
  // Axes of size 1 have any stride; the others are walked in runs of x's axes and of the result's with equal products.
  Shape from;
  Dims from_strides;
  for (int i = 0; i < x.ndim(); ++i) {
    if (x.shape()[i] == 1) continue;
    from.push_back(x.shape()[i]);
    from_strides.push_back(x.strides()[i]);
  }
  *strides = Dims::filled(shape.size(), 1);
  int i = 0, j = 0;
  while (i < from.size()) {
    int64_t old_count = from[i], new_count = 1;
    const int old_begin = i, new_begin = j;
    while (j < shape.size() && new_count * shape[j] <= old_count) new_count *= shape[j++];
    while (new_count != old_count) {
      if (new_count < old_count) {
        if (j == shape.size()) return false;
        new_count *= shape[j++];
      } else {
        if (++i == from.size()) return false;
        old_count *= from[i];
      }
    }
    for (int k = old_begin; k < i; ++k)
      if (from_strides[k] != from_strides[k + 1] * from[k + 1]) return false;
    int64_t stride = from_strides[i];
    for (int k = j - 1; k >= new_begin; --k) {
      (*strides)[k] = stride;
      stride *= shape[k];
    }
    ++i;
  }
  return true;
}

Shape with_inferred_size(const Tensor& x, Shape shape) {
  int unknown = -1;
  int64_t known = 1;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1) {
      check<ShapeError>(unknown < 0, "reshape: only one size may be -1, got ", shape);
      unknown = i;
    } else {
      check<ShapeError>(shape[i] >= 0, "reshape: a size is negative in ", shape);
      known *= shape[i];
    }
  }
  if (unknown >= 0) {
    check<ShapeError>(known > 0 && x.size() % known == 0, "reshape: ", x.size(), " elements of shape ", x.shape(),
                      " do not fill ", shape);
    shape[unknown] = x.size() / known;
  }
  check<ShapeError>(element_count(shape) == x.size(), "reshape: ", x.size(), " elements of shape ", x.shape(),
                    " do not fill ", shape);
  return shape;
}

Part slice_part(const Tensor& x, const SliceAttrs& a, const Shape& out) {
  Dims strides = x.strides();
  int64_t offset = 0;
  for (int i = 0; i < x.ndim(); ++i) {
    if (out[i] > 0) offset += a.starts[i] * x.strides()[i];
    strides[i] = x.strides()[i] * a.steps[i];
  }
  return {x, strides, element_count(out) > 0 ? offset : 0};
}

}  // namespace

namespace ops {

Tensor reshape(const Tensor& x, const Shape& shape) {
  const Shape out = with_inferred_size(x, shape);
  if (out == x.shape()) return x;
  Dims strides;
  if (x.is_contiguous() || x.size() == 0)
    strides = contiguous_strides(out);
  else if (!view_strides(x, out, &strides))
    return reshape(contiguous(x), out);
  return emit_view(Op::Reshape, x, {}, x.view(out, strides));
}

Tensor permute_dims(const Tensor& x, const Dims& axes) {
  check<ShapeError>(axes.size() == x.ndim(), "permute_dims: ", axes.size(), " axes for ", x.ndim(), " dimensions");
  Dims order = axes, strides = axes;
  Shape shape = axes;
  bool seen[kMaxRank] = {};
  for (int i = 0; i < axes.size(); ++i) {
    order[i] = normalize_axis(axes[i], x.ndim(), "permute_dims");
    check<ShapeError>(!seen[order[i]], "permute_dims: an axis is repeated in ", axes);
    seen[order[i]] = true;
    shape[i] = x.shape()[static_cast<int>(order[i])];
    strides[i] = x.strides()[static_cast<int>(order[i])];
  }
  return emit_view(Op::PermuteDims, x, order, x.view(shape, strides));
}

Tensor matrix_transpose(const Tensor& x) {
  check<ShapeError>(x.ndim() >= 2, "matrix_transpose: expected at least 2 dimensions, x has shape ", x.shape());
  return swapaxes(x, -2, -1);
}

Tensor swapaxes(const Tensor& x, int64_t axis1, int64_t axis2) {
  const int a = normalize_axis(axis1, x.ndim(), "swapaxes"), b = normalize_axis(axis2, x.ndim(), "swapaxes");
  Dims axes;
  for (int i = 0; i < x.ndim(); ++i) axes.push_back(i == a ? b : i == b ? a : i);
  return permute_dims(x, axes);
}

Tensor moveaxis(const Tensor& x, const Dims& source, const Dims& destination) {
  check<ShapeError>(source.size() == destination.size(), "moveaxis: ", source.size(), " sources but ",
                    destination.size(), " destinations");
  Dims axes = Dims::filled(x.ndim(), -1);
  bool moved[kMaxRank] = {};
  for (int i = 0; i < source.size(); ++i) {
    const int from = normalize_axis(source[i], x.ndim(), "moveaxis");
    const int to = normalize_axis(destination[i], x.ndim(), "moveaxis");
    check<ShapeError>(!moved[from] && axes[to] < 0, "moveaxis: an axis is repeated");
    axes[to] = from;
    moved[from] = true;
  }
  int next = 0;
  for (int64_t& axis : axes) {
    if (axis >= 0) continue;
    while (moved[next]) ++next;
    axis = next++;
  }
  return permute_dims(x, axes);
}

Tensor expand_dims(const Tensor& x, int64_t axis) {
  Shape shape = x.shape();
  Dims strides = x.strides();
  const int at = normalize_axis(axis, x.ndim() + 1, "expand_dims");
  shape.insert(at, 1);
  strides.insert(at, 1);
  return emit_view(Op::Reshape, x, {}, x.view(shape, strides));
}

Tensor squeeze(const Tensor& x, const Dims& axes) {
  bool drop[kMaxRank] = {};
  for (int64_t axis : axes) {
    const int at = normalize_axis(axis, x.ndim(), "squeeze");
    check<ShapeError>(x.shape()[at] == 1, "squeeze: axis ", axis, " has size ", x.shape()[at], ", not 1 (shape ",
                      x.shape(), ")");
    drop[at] = true;
  }
  Shape shape;
  Dims strides;
  for (int i = 0; i < x.ndim(); ++i) {
    if (drop[i]) continue;
    shape.push_back(x.shape()[i]);
    strides.push_back(x.strides()[i]);
  }
  return emit_view(Op::Reshape, x, {}, x.view(shape, strides));
}

Tensor squeeze(const Tensor& x) {
  Dims axes;
  for (int i = 0; i < x.ndim(); ++i)
    if (x.shape()[i] == 1) axes.push_back(i);
  return squeeze(x, axes);
}

Tensor flatten(const Tensor& x, int64_t start_axis, int64_t end_axis) {
  if (x.ndim() == 0) return reshape(x, {1});
  const int start = normalize_axis(start_axis, x.ndim(), "flatten");
  const int end = normalize_axis(end_axis, x.ndim(), "flatten");
  check<ShapeError>(start <= end, "flatten: start axis ", start, " lies behind end axis ", end);
  Shape shape;
  for (int i = 0; i < x.ndim(); ++i) {
    if (i > start && i <= end)
      shape[shape.size() - 1] *= x.shape()[i];
    else
      shape.push_back(x.shape()[i]);
  }
  return reshape(x, shape);
}

Tensor unflatten(const Tensor& x, int64_t axis, const Shape& sizes) {
  const int at = normalize_axis(axis, x.ndim(), "unflatten");
  int64_t known = 1;
  int unknown = -1;
  Shape parts = sizes;
  for (int i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == -1) {
      check<ShapeError>(unknown < 0, "unflatten: only one size may be -1, got ", sizes);
      unknown = i;
    } else {
      known *= sizes[i];
    }
  }
  if (unknown >= 0 && known > 0) parts[unknown] = x.shape()[at] / known;
  check<ShapeError>(element_count(parts) == x.shape()[at], "unflatten: sizes ", sizes, " do not make up axis ", axis,
                    " of size ", x.shape()[at]);
  Shape shape = x.shape();
  shape.erase(at);
  for (int i = 0; i < parts.size(); ++i) shape.insert(at + i, parts[i]);
  return reshape(x, shape);
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const int lead = shape.size() - x.ndim();
  check<ShapeError>(lead >= 0, "broadcast_to: shape ", x.shape(), " does not broadcast to ", shape);
  Dims strides = Dims::filled(shape.size(), 0);
  for (int i = 0; i < x.ndim(); ++i) {
    const int64_t n = x.shape()[i];
    check<ShapeError>(n == shape[lead + i] || n == 1, "broadcast_to: shape ", x.shape(), " does not broadcast to ",
                      shape);
    strides[lead + i] = n == 1 ? 0 : x.strides()[i];
  }
  return emit_view(Op::BroadcastTo, x, {}, x.view(shape, strides));
}

Tensor slice(const Tensor& x, const Dims& starts, const Dims& stops, const Dims& steps) {
  const int rank = x.ndim();
  check<ShapeError>(starts.size() == rank && stops.size() == rank && steps.size() == rank, "slice: expected ", rank,
                    " starts, stops and steps");
  Shape out = x.shape();
  for (int i = 0; i < rank; ++i) {
    const int64_t n = x.shape()[i], step = steps[i];
    check<ShapeError>(step != 0, "slice: a step is 0");
    const bool inside = step > 0 ? starts[i] >= 0 && stops[i] <= n : starts[i] < n && stops[i] >= -1;
    out[i] = step > 0 ? (stops[i] - starts[i] + step - 1) / step : (starts[i] - stops[i] - step - 1) / -step;
    if (out[i] < 0 || (step > 0 ? stops[i] <= starts[i] : stops[i] >= starts[i])) out[i] = 0;
    check<ShapeError>(inside || out[i] == 0, "slice: ", starts[i], " to ", stops[i], " leaves axis ", i, " of size ",
                      n);
  }
  const SliceAttrs attrs{starts, steps, x.shape()};
  const Part part = slice_part(x, attrs, out);
  return emit_view(Op::Slice, x, attrs, x.view(out, part.strides, part.offset));
}

Tensor narrow(const Tensor& x, int64_t axis, int64_t start, int64_t length) {
  const int at = normalize_axis(axis, x.ndim(), "narrow");
  check<ShapeError>(start >= 0 && length >= 0 && start + length <= x.shape()[at], "narrow: ", length, " elements from ",
                    start, " leave axis ", axis, " of size ", x.shape()[at]);
  Dims starts = Dims::filled(x.ndim(), 0), stops = x.shape(), steps = Dims::filled(x.ndim(), 1);
  starts[at] = start;
  stops[at] = start + length;
  return slice(x, starts, stops, steps);
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const int lead = x.ndim() - shape.size();
  check<ShapeError>(lead >= 0, "sum_to: shape ", x.shape(), " was not broadcast from ", shape);
  Dims axes;
  for (int i = 0; i < x.ndim(); ++i)
    if (i < lead || (shape[i - lead] == 1 && x.shape()[i] != 1)) axes.push_back(i);
  return reshape(axes.empty() ? x : sum(x, axes), shape);
}

}  // namespace ops

LANNER_VJP(Reshape) { return {ops::reshape(v.g[0], v.in[0].shape())}; }

LANNER_VJP(PermuteDims) {
  const Dims& axes = v.attrs.get<Dims>();
  Dims inverse = axes;
  for (int i = 0; i < axes.size(); ++i) inverse[static_cast<int>(axes[i])] = i;
  return {ops::permute_dims(v.g[0], inverse)};
}

LANNER_VJP(BroadcastTo) { return {v.g[0]}; }  // the walk sums to the input's shape

LANNER_VJP(Slice) { return {emit(Op::Unslice, {v.g[0]}, v.attrs, {v.in[0].shape(), v.g[0].dtype()})}; }

// Zeros, but for the slice.
LANNER_RUN(Unslice) {
  const auto& a = r.attrs.get<SliceAttrs>();
  fill_into(r.out[0], 0);
  const Tensor& x = r.in[0];
  copy_into(slice_part(r.out[0], a, x.shape()), {x, x.strides()}, x.shape());
}

LANNER_VJP(Unslice) {
  const auto& a = v.attrs.get<SliceAttrs>();
  Dims stops = a.starts;
  for (int i = 0; i < stops.size(); ++i) {
    stops[i] = a.starts[i] + a.steps[i] * v.in[0].shape()[i];
    if (a.steps[i] > 0 && stops[i] > a.shape[i]) stops[i] = a.shape[i];
    if (a.steps[i] < 0 && stops[i] < -1) stops[i] = -1;
  }
  return {ops::slice(v.g[0], a.starts, stops, a.steps)};
}

}  // namespace lanner
