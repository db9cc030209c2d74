#include "lanner/ops/join.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/kernels/indexing.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/indexing.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/assign.h"
#include "ops/indexing.h"
#include "ops/op.h"

namespace lanner {
namespace {

const cpu::IndexKernels& kernels() { return *cpu::kernels().indexing; }

// Of concat and of split.
struct AxisAttrs {
  int axis;
};
struct PadAttrs {
  Dims before;
  double value;
};
struct PadEdgesAttrs {
  Dims before, after;
  ops::PadMode mode;
};
struct TriangleAttrs {
  int64_t k;
  bool upper;
};

Part inner_part(const Tensor& padded, const Dims& before) {
  int64_t offset = 0;
  for (int i = 0; i < before.size(); ++i) offset += before[i] * padded.strides()[i];
  return {padded, padded.strides(), offset};
}

Part whole(const Tensor& x) { return {x, x.strides()}; }

// Which element of an axis of n stands at place i of the padded axis, where 0 is the first of the n.
int64_t padded_from(int64_t i, int64_t n, ops::PadMode mode) {
  const int64_t nearest = std::clamp<int64_t>(i, 0, n - 1);
  if (mode == ops::PadMode::Replicate) return nearest;
  return mode == ops::PadMode::Reflect ? 2 * nearest - i : (i + n) % n;
}

void check_pads(int64_t n, int64_t before, int64_t after, ops::PadMode mode, int axis) {
  const bool reflect = mode == ops::PadMode::Reflect, circular = mode == ops::PadMode::Circular;
  const int64_t most = std::max(before, after), limit = reflect ? n - 1 : circular ? n : most;
  check<ShapeError>(n > 0 && most <= limit, "pad: mode \"",
                    reflect    ? "reflect"
                    : circular ? "circular"
                               : "replicate",
                    "\" cannot add ", most, " elements to axis ", axis, " of size ", n);
}

Tensor triangle(const char* op, const Tensor& x, int64_t k, bool upper) {
  check<ShapeError>(x.ndim() >= 2, op, ": expected at least 2 dimensions, x has shape ", x.shape());
  return emit(Op::Triangle, {ops::contiguous(x)}, TriangleAttrs{k, upper}, {x.shape(), x.dtype()});
}

}  // namespace

namespace ops {

Tensor concat(const Tensors& tensors, int64_t axis) {
  check<ShapeError>(!tensors.empty(), "concat: expected at least one tensor");
  const Tensor& first = tensors[0];
  check<ShapeError>(first.ndim() > 0, "concat: a 0-d tensor has no axis to join; stack makes one");
  const int a = normalize_axis(axis, first.ndim(), "concat");
  Shape shape = first.shape();
  DType dtype = first.dtype();
  for (size_t i = 1; i < tensors.size(); ++i) {
    const Shape& other = tensors[i].shape();
    bool fits = other.size() == shape.size();
    for (int k = 0; fits && k < other.size(); ++k) fits = k == a || other[k] == shape[k];
    check<ShapeError>(fits, "concat: tensor ", i, " has shape ", other, ", expected that of tensor 0, ", first.shape(),
                      ", but for axis ", a);
    shape[a] += other[a];
    dtype = promote(dtype, tensors[i].dtype());
  }
  Tensors in;
  for (const Tensor& t : tensors) in.push_back(t.dtype() == dtype ? t : cast(t, dtype));
  return emit(Op::Concat, in, AxisAttrs{a}, std::vector<OutSpec>{{shape, dtype}})[0];
}

Tensor stack(const Tensors& tensors, int64_t axis) {
  check<ShapeError>(!tensors.empty(), "stack: expected at least one tensor");
  Tensors in;
  for (const Tensor& t : tensors) {
    check<ShapeError>(t.shape() == tensors[0].shape(), "stack: tensor ", in.size(), " has shape ", t.shape(),
                      ", expected that of tensor 0, ", tensors[0].shape());
    in.push_back(expand_dims(t, axis));
  }
  return concat(in, axis);
}

Tensors split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis) {
  check<ShapeError>(x.ndim() > 0, "split: x must have at least 1 dimension");
  const int a = normalize_axis(axis, x.ndim(), "split");
  int64_t sum = 0;
  for (int64_t n : sizes) {
    check<ShapeError>(n >= 0, "split: a size is negative: ", n);
    sum += n;
  }
  check<ShapeError>(sum == x.shape()[a], "split: the sizes add up to ", sum, ", axis ", a, " has size ", x.shape()[a]);
  // One op for all pieces: their cotangents are joined, where those of slices would be added up over the whole of x.
  Tensors out;
  Shape shape = x.shape();
  int64_t offset = 0;
  for (int64_t n : sizes) {
    shape[a] = n;
    out.push_back(x.view(shape, x.strides(), element_count(shape) > 0 ? offset : 0));
    offset += n * x.strides()[a];
  }
  return emit_views(Op::Split, x, AxisAttrs{a}, std::move(out));
}

Tensors split(const Tensor& x, int64_t size, int64_t axis) {
  check<ShapeError>(x.ndim() > 0, "split: x must have at least 1 dimension");
  check<ShapeError>(size > 0, "split: the size of a piece must be positive, got ", size);
  const int64_t n = x.shape()[normalize_axis(axis, x.ndim(), "split")];
  std::vector<int64_t> sizes(static_cast<size_t>(n / size), size);
  if (n % size != 0 || n == 0) sizes.push_back(n % size);
  return split(x, sizes, axis);
}

Tensors chunk(const Tensor& x, int64_t count, int64_t axis) {
  check<ShapeError>(x.ndim() > 0, "chunk: x must have at least 1 dimension");
  check<ShapeError>(count > 0, "chunk: the number of pieces must be positive, got ", count);
  const int64_t n = x.shape()[normalize_axis(axis, x.ndim(), "chunk")];
  return split(x, std::max<int64_t>(1, (n + count - 1) / count), axis);
}

Tensors unstack(const Tensor& x, int64_t axis) {
  check<ShapeError>(x.ndim() > 0, "unstack: x must have at least 1 dimension");
  const int a = normalize_axis(axis, x.ndim(), "unstack");
  Tensors out = split(x, std::vector<int64_t>(static_cast<size_t>(x.shape()[a]), 1), a);
  for (Tensor& piece : out) piece = squeeze(piece, {a});
  return out;
}

Tensor pad(const Tensor& x, const std::vector<int64_t>& pads, PadMode mode, double value) {
  const int count = static_cast<int>(pads.size()) / 2, rank = x.ndim();
  check<ShapeError>(pads.size() % 2 == 0 && count <= rank, "pad: expected a pair of numbers for each of at most ", rank,
                    " axes, got ", pads.size(), " numbers");
  Dims before = Dims::filled(rank, 0), after = before, starts = before, stops = x.shape();
  bool crops = false, grows = false;
  for (int k = 0; k < count; ++k) {
    const int axis = rank - 1 - k;
    const int64_t low = pads[static_cast<size_t>(2 * k)], high = pads[static_cast<size_t>(2 * k + 1)];
    const int64_t n = x.shape()[axis];
    check<ShapeError>(n + std::min<int64_t>(low, 0) + std::min<int64_t>(high, 0) >= 0, "pad: ", low, " and ", high,
                      " crop more than axis ", axis, " of size ", n, " has");
    starts[axis] = std::max<int64_t>(-low, 0);
    stops[axis] = n + std::min<int64_t>(high, 0);
    before[axis] = std::max<int64_t>(low, 0);
    after[axis] = std::max<int64_t>(high, 0);
    crops |= low < 0 || high < 0;
    grows |= low > 0 || high > 0;
  }
  Tensor out = crops ? slice(x, starts, stops, Dims::filled(rank, 1)) : x;
  if (!grows) return out;
  if (mode == PadMode::Constant) {
    Shape shape = out.shape();
    for (int i = 0; i < rank; ++i) shape[i] += before[i] + after[i];
    return emit(Op::Pad, {out}, PadAttrs{before, value}, {shape, x.dtype()});
  }
  Shape shape = out.shape();
  for (int i = 0; i < rank; ++i) {
    if (before[i] == 0 && after[i] == 0) continue;
    check_pads(shape[i], before[i], after[i], mode, i);
    shape[i] += before[i] + after[i];
  }
  return emit(Op::PadEdges, {out}, PadEdgesAttrs{before, after, mode}, {shape, x.dtype()});
}

Tensor flip(const Tensor& x, const Dims& axes) {
  Dims starts = Dims::filled(x.ndim(), 0), stops = x.shape(), steps = Dims::filled(x.ndim(), 1);
  for (int64_t axis : axes) {
    const int a = normalize_axis(axis, x.ndim(), "flip");
    check<ShapeError>(steps[a] == 1, "flip: an axis is repeated in ", axes);
    starts[a] = x.shape()[a] - 1;
    stops[a] = steps[a] = -1;
  }
  return slice(x, starts, stops, steps);
}

Tensor flip(const Tensor& x) {
  Dims axes;
  for (int i = 0; i < x.ndim(); ++i) axes.push_back(i);
  return flip(x, axes);
}

Tensor roll(const Tensor& x, const Dims& shifts, const Dims& axes) {
  check<ShapeError>(shifts.size() == axes.size(), "roll: ", shifts.size(), " shifts for ", axes.size(), " axes");
  Tensor out = x;
  for (int i = 0; i < axes.size(); ++i) {
    const int a = normalize_axis(axes[i], x.ndim(), "roll");
    const int64_t n = x.shape()[a];
    if (n == 0 || shifts[i] % n == 0) continue;
    const int64_t shift = (shifts[i] % n + n) % n;
    out = concat({narrow(out, a, n - shift, shift), narrow(out, a, 0, n - shift)}, a);
  }
  return out;
}

Tensor roll(const Tensor& x, int64_t shift) { return reshape(roll(reshape(x, {-1}), {shift}, {0}), x.shape()); }

Tensor repeat(const Tensor& x, int64_t repeats, int64_t axis) {
  check<ShapeError>(repeats >= 0, "repeat: repeats must not be negative, got ", repeats);
  check<ShapeError>(x.ndim() > 0, "repeat: x must have at least 1 dimension");
  const int a = normalize_axis(axis, x.ndim(), "repeat");
  const AxisView v(x.shape(), a);
  Shape shape = x.shape();
  shape[a] *= repeats;
  const Tensor parts = reshape(x, {v.outer * v.size, 1, v.inner});
  return reshape(broadcast_to(parts, {v.outer * v.size, repeats, v.inner}), shape);
}

Tensor repeat(const Tensor& x, const Tensor& repeats, int64_t axis) {
  check<ShapeError>(x.ndim() > 0, "repeat: x must have at least 1 dimension");
  const int a = normalize_axis(axis, x.ndim(), "repeat");
  const Tensor counts = as_index("repeat", "repeats", repeats);
  counts.will_read("repeat");
  if (counts.size() == 1) return repeat(x, counts.item_int(), a);
  check<ShapeError>(counts.ndim() == 1 && counts.size() == x.shape()[a], "repeat: repeats expect shape [", x.shape()[a],
                    "], one number for each element of axis ", a, ", got ", counts.shape());
  std::vector<int64_t> from;
  for (int64_t i = 0; i < counts.size(); ++i) {
    const int64_t n = counts.data<int64_t>()[i];
    check<ShapeError>(n >= 0, "repeat: repeats must not be negative, got ", n);
    from.insert(from.end(), static_cast<size_t>(n), i);
  }
  const int64_t count = static_cast<int64_t>(from.size());
  return take(x, Tensor::from_vector(from, {count}), a);
}

Tensor tile(const Tensor& x, const Dims& repeats) {
  const int rank = std::max(x.ndim(), repeats.size());
  Shape shape = Dims::filled(rank, 1);
  for (int i = 0; i < x.ndim(); ++i) shape[rank - x.ndim() + i] = x.shape()[i];
  Tensor out = reshape(x, shape);
  for (int i = repeats.size() - 1; i >= 0; --i) {
    const int a = rank - repeats.size() + i;
    check<ShapeError>(repeats[i] >= 0, "tile: repeats must not be negative, got ", repeats);
    if (repeats[i] == 1) continue;
    const AxisView v(shape, a);
    shape[a] *= repeats[i];
    const Tensor whole = reshape(out, {v.outer, 1, v.size * v.inner});
    out = reshape(broadcast_to(whole, {v.outer, repeats[i], v.size * v.inner}), shape);
  }
  return out;
}

Tensor tril(const Tensor& x, int64_t k) { return triangle("tril", x, k, false); }
Tensor triu(const Tensor& x, int64_t k) { return triangle("triu", x, k, true); }

Tensor diagonal(const Tensor& x, int64_t offset, int64_t axis1, int64_t axis2) {
  check<ShapeError>(x.ndim() >= 2, "diagonal: expected at least 2 dimensions, x has shape ", x.shape());
  const int a = normalize_axis(axis1, x.ndim(), "diagonal"), b = normalize_axis(axis2, x.ndim(), "diagonal");
  check<ShapeError>(a != b, "diagonal: axis1 and axis2 are both ", a);
  const Tensor matrices = moveaxis(x, {a, b}, {-2, -1});
  const int64_t rows = x.shape()[a], columns = x.shape()[b];
  const int64_t first_row = std::max<int64_t>(-offset, 0), first_column = std::max<int64_t>(offset, 0);
  const int64_t length = std::max<int64_t>(0, std::min(rows - first_row, columns - first_column));
  // Row by row, the diagonal is every (columns + 1)-th element.
  const Tensor flat = flatten(matrices, -2, -1);
  const int last = flat.ndim() - 1;
  Dims starts = Dims::filled(flat.ndim(), 0), stops = flat.shape(), steps = Dims::filled(flat.ndim(), 1);
  starts[last] = length > 0 ? first_row * columns + first_column : 0;
  stops[last] = length > 0 ? starts[last] + (length - 1) * (columns + 1) + 1 : 0;
  steps[last] = columns + 1;
  return slice(flat, starts, stops, steps);
}

Tensor trace(const Tensor& x, int64_t offset) { return sum(diagonal(x, offset), {-1}); }

}  // namespace ops

LANNER_RUN(Concat) {
  const int axis = r.attrs.get<AxisAttrs>().axis;
  const Tensor& out = r.out[0];
  const int64_t item = static_cast<int64_t>(itemsize(out.dtype()));
  const AxisView view(out.shape(), axis);
  int64_t start = 0;
  for (const Tensor& x : r.in) {
    const int64_t row = x.shape()[axis] * view.inner * item, step = view.size * view.inner * item;
    if (!x.is_contiguous()) {
      Dims before = Dims::filled(x.ndim(), 0);
      before[axis] = start;
      if (x.size() > 0) copy_into(inner_part(out, before), whole(x), x.shape());
    } else if (row > 0) {
      const char* from = static_cast<const char*>(x.raw());
      char* to = static_cast<char*>(out.raw()) + start * view.inner * item;
      if (view.outer == 1)
        copy_bytes(to, from, row);
      else
        parallel_for(view.outer, 4 * kMoveGrain / row, [&](int64_t begin, int64_t end) {
          kernels().copy_rows(from + begin * row, row, to + begin * step, step, end - begin, row);
        });
    }
    start += x.shape()[axis];
  }
}

LANNER_VJP(Concat) {  // views, which cost nothing where they are not needed
  const int axis = v.attrs.get<AxisAttrs>().axis;
  std::vector<int64_t> sizes;
  for (const Tensor& x : v.in) sizes.push_back(x.shape()[axis]);
  return ops::split(v.g[0], sizes, axis);
}

LANNER_VJP(Split) {
  Tensors parts;
  for (size_t i = 0; i < v.g.size(); ++i)
    parts.push_back(v.g[i].defined() ? v.g[i] : ops::zeros(v.out[i].shape(), v.out[i].dtype()));
  return {ops::concat(parts, v.attrs.get<AxisAttrs>().axis)};
}

LANNER_RUN(Pad) {
  const auto& a = r.attrs.get<PadAttrs>();
  fill_into(r.out[0], a.value);
  if (r.in[0].size() > 0) copy_into(inner_part(r.out[0], a.before), whole(r.in[0]), r.in[0].shape());
}

LANNER_VJP(Pad) {
  const auto& a = v.attrs.get<PadAttrs>();
  Dims stops = v.in[0].shape();
  for (int i = 0; i < stops.size(); ++i) stops[i] += a.before[i];
  return {ops::slice(v.g[0], a.before, stops, Dims::filled(stops.size(), 1))};
}

// The middle, then axis by axis the margins, each a copy of one slice of what stands there by then.
LANNER_RUN(PadEdges) {
  const auto& a = r.attrs.get<PadEdgesAttrs>();
  const Tensor &x = r.in[0], &out = r.out[0];
  if (out.size() == 0) return;
  copy_into(inner_part(out, a.before), whole(x), x.shape());
  Dims before = a.before;
  Shape shape = x.shape();
  for (int axis = 0; axis < shape.size(); ++axis) {
    const int64_t n = shape[axis], first = a.before[axis];
    shape[axis] = 1;
    const auto slice = [&](int64_t i) {
      before[axis] = first + i;
      return inner_part(out, before);
    };
    const auto fill = [&](int64_t i) { copy_into(slice(i), slice(padded_from(i, n, a.mode)), shape); };
    for (int64_t i = -first; i < 0; ++i) fill(i);
    for (int64_t i = n; i < n + a.after[axis]; ++i) fill(i);
    before[axis] = 0;
    shape[axis] = out.shape()[axis];
  }
}

// Axis by axis the other way round: the middle, plus the margins at the places that they came from.
LANNER_VJP(PadEdges) {
  const auto& a = v.attrs.get<PadEdgesAttrs>();
  Tensor g = v.g[0];
  for (int axis = g.ndim() - 1; axis >= 0; --axis) {
    const int64_t n = v.in[0].shape()[axis], before = a.before[axis], after = a.after[axis];
    if (before == 0 && after == 0) continue;
    const Tensors parts = ops::split(g, {before, n, after}, axis);
    std::vector<int64_t> from;
    for (int64_t i = -before; i < 0; ++i) from.push_back(padded_from(i, n, a.mode));
    for (int64_t i = n; i < n + after; ++i) from.push_back(padded_from(i, n, a.mode));
    const Tensor margins = ops::concat({parts[0], parts[2]}, axis);
    g = parts[1] + ops::take_grad(margins, Tensor::from_vector(from, {before + after}), axis, n);
  }
  return {g};
}

LANNER_RUN(Triangle) {
  const auto& a = r.attrs.get<TriangleAttrs>();
  const Tensor &x = r.in[0], &out = r.out[0];
  if (x.size() == 0) return;
  const int64_t rows = x.size(-2), columns = x.size(-1);
  parallel_for(x.size() / columns, 4 * kMoveGrain / columns, [&](int64_t begin, int64_t end) {
    kernels().triangle(x.raw(), out.raw(), begin, end, rows, columns, a.k, a.upper,
                       static_cast<int64_t>(itemsize(x.dtype())));
  });
}

LANNER_VJP(Triangle) {
  const auto& a = v.attrs.get<TriangleAttrs>();
  return {triangle(a.upper ? "triu" : "tril", v.g[0], a.k, a.upper)};
}

}  // namespace lanner
