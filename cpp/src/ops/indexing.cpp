// gather and scatter along an axis; take and put of whole slices, on which embedding and advanced indexing stand.
#include "lanner/ops/indexing.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "cpu/dispatch.h"
#include "cpu/kernels/indexing.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/indexing.h"
#include "ops/op.h"

namespace lanner {
namespace {

const cpu::IndexKernels& kernels() { return *cpu::kernels().indexing; }

struct AxisAttrs {
  int axis;
};
struct TakeAttrs {
  int axis, shown_axis;
  TakeAs as;
  int64_t skip;
};
struct TakeGradAttrs {
  int axis;
  int64_t size, skip;
};
struct PutAttrs {
  int axis;
  bool accumulate;
};
constexpr const char* kTakeNames[] = {"take", "index", "embedding"};

// Calls f(x offset, index offset, lines) until each index of `index` (row-major, as src is) was in one block of lines.
// x is row-major as well, and may be larger than index on every axis.
template <class F>
void for_blocks(const Shape& x, const Shape& index, int axis, F f) {
  const Dims x_strides = contiguous_strides(x), index_strides = contiguous_strides(index);
  struct Axis {
    int64_t n, x, index;
  };
  // The axes before and behind `axis`, joined where they lie one behind the other in both.
  Axis axes[kMaxRank + 2];
  int count = 0, before = 0;
  for (int i = 0; i < index.size(); ++i) {
    if (i == axis) before = count;
    if (i == axis || index[i] == 1) continue;
    const Axis next{index[i], x_strides[i], index_strides[i]};
    Axis* last = count > (i > axis ? before : 0) ? &axes[count - 1] : nullptr;
    if (last && last->x == next.x * next.n && last->index == next.index * next.n)
      *last = {last->n * next.n, next.x, next.index};
    else
      axes[count++] = next;
  }
  const Axis outer = before > 0 ? axes[before - 1] : Axis{1, 0, 0};
  // Innermost elements lie side by side unless the axis itself is the last.
  const bool has_inner = count > before && axes[count - 1].x == 1;
  const int64_t inner = has_inner ? axes[count - 1].n : 1;
  const cpu::IndexLines lines{.outer = outer.n,
                              .count = index[axis],
                              .inner = inner,
                              .size = x[axis],
                              .x_outer = outer.x,
                              .x_axis = x_strides[axis],
                              .index_outer = outer.index,
                              .index_axis = index_strides[axis],
                              .src_outer = outer.index,
                              .src_axis = index_strides[axis]};
  // What is left is walked block by block.
  Axis rest[kMaxRank];
  int rest_count = 0;
  for (int i = 0; i < count; ++i)
    if (i != before - 1 && !(has_inner && i == count - 1)) rest[rest_count++] = axes[i];
  int64_t blocks = 1;
  for (int i = 0; i < rest_count; ++i) blocks *= rest[i].n;
  const int64_t block = std::max<int64_t>(1, lines.outer * lines.count * lines.inner);
  parallel_for(blocks, kMoveGrain / block, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      int64_t x_offset = 0, index_offset = 0, at = b;
      for (int i = rest_count - 1; i >= 0; --i) {
        x_offset += at % rest[i].n * rest[i].x;
        index_offset += at % rest[i].n * rest[i].index;
        at /= rest[i].n;
      }
      f(x_offset, index_offset, lines);
    }
  });
}

// One block, cut between lines: no two slices meet in one place.
template <class F>
void cut_lines(const cpu::IndexLines& lines, F f) {
  const int64_t line = std::max<int64_t>(1, lines.count);
  if (lines.outer > 1) {
    parallel_for(lines.outer, kMoveGrain / (line * lines.inner), [&](int64_t begin, int64_t end) {
      cpu::IndexLines l = lines;
      l.outer = end - begin;
      f(begin * l.x_outer, begin * l.index_outer, l);
    });
  } else {
    parallel_for(lines.inner, std::max<int64_t>(16, kMoveGrain / line), [&](int64_t begin, int64_t end) {
      cpu::IndexLines l = lines;
      l.inner = end - begin;
      f(begin, begin, l);
    });
  }
}

// Where x is only read, lines may be cut, so that index and output are walked in one piece.
template <class F>
void cut_reads(const cpu::IndexLines& lines, F f) {
  if (lines.outer > 1 || lines.count == 1) return cut_lines(lines, f);
  parallel_for(lines.count, kMoveGrain / lines.inner, [&](int64_t begin, int64_t end) {
    cpu::IndexLines l = lines;
    l.count = end - begin;
    f(int64_t{0}, begin * l.index_axis, l);
  });
}

void copy_or_zero(const Tensor& out, const Tensor& x) {
  const int64_t bytes = out.size() * static_cast<int64_t>(itemsize(out.dtype()));
  x.defined() ? copy_bytes(out.raw(), x.raw(), bytes) : zero_bytes(out.raw(), bytes);
}

// What gather and scatter expect of index; gives the axis.
int check_lines(const char* op, const Tensor& x, const Tensor& index, int64_t axis) {
  check<ShapeError>(x.ndim() > 0, op, ": x must have at least 1 dimension");
  const int a = normalize_axis(axis, x.ndim(), op);
  check<ShapeError>(index.ndim() == x.ndim(), op, ": index expects ", x.ndim(), " dimensions as x has, got shape ",
                    index.shape(), " for x ", x.shape());
  for (int i = 0; i < x.ndim(); ++i)
    check<ShapeError>(i == a || index.shape()[i] <= x.shape()[i], op, ": index has size ", index.shape()[i],
                      " on axis ", i, ", x only ", x.shape()[i], " (index ", index.shape(), ", x ", x.shape(), ")");
  return a;
}

// src cut, or a scalar spread, to the shape of index.
Tensor source_for(const char* op, const Tensor& src, const Tensor& x, const Shape& index) {
  Tensor s = ops::as_source(op, "src", src, x);
  if (s.shape() == index) return ops::contiguous(s);
  if (s.ndim() == 0) return ops::contiguous(ops::broadcast_to(s, index));
  bool fits = s.ndim() == index.size();
  for (int i = 0; fits && i < index.size(); ++i) fits = s.shape()[i] >= index[i];
  check<ShapeError>(fits, op, ": src has shape ", s.shape(), ", expected at least index's ", index);
  const int rank = index.size();
  return ops::contiguous(ops::slice(s, Dims::filled(rank, 0), index, Dims::filled(rank, 1)));
}

Tensor emit_scatter(Op op, const Tensor& x, const Tensor& index, const Tensor& src, int axis, const Shape& shape) {
  return emit(op, {x, index, src}, AxisAttrs{axis}, {shape, src.dtype()});
}

// 1 where the write of an index stays, 0 where a later one goes over it: scatters the writes' numbers and reads back.
Tensor lasting(const Tensor& index, const Shape& x, int axis, DType dtype) {
  const Shape& shape = index.shape();
  Shape line = Dims::filled(shape.size(), 1);
  line[axis] = shape[axis];
  const Tensor numbers = ops::arange(int64_t{0}, shape[axis], int64_t{1}, DType::Int64);
  const Tensor order = ops::contiguous(ops::broadcast_to(ops::reshape(numbers, line), shape));
  const Tensor last = ops::scatter_into_zeros(x, index, order, axis, false);
  return ops::cast(ops::equal(ops::gather(last, index, axis), order), dtype);
}

Shape take_shape(const Shape& x, const Shape& index, int axis) {
  check<ShapeError>(x.size() + index.size() - 1 <= kMaxRank, "take: more than ", kMaxRank, " dimensions from x ", x,
                    " and indices ", index);
  Shape out;
  for (int i = 0; i < axis; ++i) out.push_back(x[i]);
  for (int64_t n : index) out.push_back(n);
  for (int i = axis + 1; i < x.size(); ++i) out.push_back(x[i]);
  return out;
}

// Calls f(x, index, src, rows) for blocks of the slices at `index`; no order, and slices of one place in several.
template <class F>
void for_rows(const Tensor& x, const Tensor& index, const Tensor& src, int axis, F f) {
  const AxisView v(x.shape(), axis);
  const int64_t bytes = v.inner * static_cast<int64_t>(itemsize(x.dtype())), m = index.size();
  const int64_t grain = std::max<int64_t>(1, kMoveGrain / std::max<int64_t>(1, v.inner / 4));
  parallel_for(v.outer * m, grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t o = begin / m, first = begin % m, count = std::min(end - begin, m - first);
      f(static_cast<char*>(x.raw()) + o * v.size * bytes, index.data<int64_t>() + first,
        static_cast<char*>(src.raw()) + begin * bytes,
        cpu::IndexRows{.count = count, .size = v.size, .x_stride = bytes, .src_stride = bytes, .bytes = bytes});
      begin += count;
    }
  });
}

// Likewise, but cut between outer slices or columns, so that all writes to one place are in one block, in order.
template <class F>
void for_columns(const Tensor& x, const Tensor& index, const Tensor& src, int axis, F f) {
  const AxisView v(x.shape(), axis);
  const int64_t item = static_cast<int64_t>(itemsize(x.dtype())), m = index.size();
  if (m == 0) return;
  // Pieces of whole cache lines, of all rows or of a part of their columns.
  const int64_t line = 64 / item;
  const int64_t pieces =
      v.outer > 1 ? 1 : std::clamp<int64_t>(v.inner * m / kMoveGrain, 1, (v.inner + line - 1) / line);
  const int64_t width = (v.inner + pieces - 1) / pieces + line - 1;
  const int64_t columns = std::max<int64_t>(1, pieces == 1 ? v.inner : width / line * line);
  const int64_t cuts = (v.inner + columns - 1) / columns;
  parallel_for(v.outer * cuts, kMoveGrain / std::max<int64_t>(1, columns * m), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i / cuts, column = i % cuts * columns;
      f(static_cast<char*>(x.raw()) + (o * v.size * v.inner + column) * item, index.data<int64_t>(),
        static_cast<char*>(src.raw()) + (o * m * v.inner + column) * item,
        cpu::IndexRows{.count = m,
                       .size = v.size,
                       .x_stride = v.inner * item,
                       .src_stride = v.inner * item,
                       .bytes = std::min(columns, v.inner - column) * item});
    }
  });
}

}  // namespace

void copy_bytes(void* to, const void* from, int64_t bytes) {
  parallel_for(bytes, 1 << 19, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                static_cast<size_t>(end - begin));
  });
}

void zero_bytes(void* to, int64_t bytes) {
  parallel_for(bytes, 1 << 19, [&](int64_t begin, int64_t end) {
    std::memset(static_cast<char*>(to) + begin, 0, static_cast<size_t>(end - begin));
  });
}

namespace ops {

Tensor as_index(const char* op, const char* argument, const Tensor& index) {
  check<DTypeError>(is_integer(index.dtype()), op, ": ", argument, " must be integers, got ",
                    dtype_name(index.dtype()));
  return contiguous(index.dtype() == DType::Int64 ? index : cast(index, DType::Int64));
}

void check_index(const char* op, const Tensor& index, int64_t low, int64_t axis, int64_t size) {
  parallel_for(index.size(), 4 * kMoveGrain, [&](int64_t begin, int64_t end) {
    if (begin == end) return;
    int64_t smallest, largest;
    kernels().range(index.data<int64_t>() + begin, end - begin, &smallest, &largest);
    check<IndexError>(smallest >= low && largest < size, op, ": index ", smallest < low ? smallest : largest,
                      " is out of range for axis ", axis, " of size ", size);
  });
}

Tensor as_source(const char* op, const char* argument, const Tensor& src, const Tensor& x) {
  if (src.is_weak()) return cast(src, x.dtype());
  check<DTypeError>(src.dtype() == x.dtype(), op, ": ", argument, " must have x's dtype ", dtype_name(x.dtype()),
                    ", got ", dtype_name(src.dtype()));
  return src;
}

Tensor gather(const Tensor& x, const Tensor& index, int64_t axis) {
  const int a = check_lines("gather", x, index, axis);
  return emit(Op::Gather, {contiguous(x), as_index("gather", "index", index)}, AxisAttrs{a},
              {index.shape(), x.dtype()});
}

Tensor take_along_axis(const Tensor& x, const Tensor& indices, int64_t axis) {
  const int a = normalize_axis(axis, std::max(1, x.ndim()), "take_along_axis");
  check<ShapeError>(x.ndim() > 0 && indices.ndim() == x.ndim(), "take_along_axis: indices expect ", x.ndim(),
                    " dimensions as x has, got shape ", indices.shape(), " for x ", x.shape());
  Shape others = x.shape(), wanted = indices.shape();
  others[a] = wanted[a] = 1;
  Shape shape = broadcast_shapes(others, wanted, "take_along_axis");
  shape[a] = x.shape()[a];
  const Tensor from = broadcast_to(x, shape);
  shape[a] = indices.shape()[a];
  return gather(from, broadcast_to(indices, shape), a);
}

Tensor scatter(const Tensor& x, const Tensor& index, const Tensor& src, int64_t axis) {
  const int a = check_lines("scatter", x, index, axis);
  return emit_scatter(Op::Scatter, contiguous(x), as_index("scatter", "index", index),
                      source_for("scatter", src, x, index.shape()), a, x.shape());
}

Tensor scatter_add(const Tensor& x, const Tensor& index, const Tensor& src, int64_t axis) {
  const int a = check_lines("scatter_add", x, index, axis);
  check<DTypeError>(x.dtype() != DType::Bool, "scatter_add: x must be numeric, got bool");
  const Tensor s = source_for("scatter_add", src, x, index.shape());
  if (is_half(x.dtype()))
    return cast(scatter_add(cast(x, DType::Float32), index, cast(s, DType::Float32), a), x.dtype());
  return emit_scatter(Op::ScatterAdd, contiguous(x), as_index("scatter_add", "index", index), s, a, x.shape());
}

Tensor scatter_into_zeros(const Shape& shape, const Tensor& index, const Tensor& src, int axis, bool add) {
  if (add && is_half(src.dtype()))
    return cast(scatter_into_zeros(shape, index, cast(src, DType::Float32), axis, true), src.dtype());
  return emit_scatter(add ? Op::ScatterAdd : Op::Scatter, {}, index, contiguous(src), axis, shape);
}

Tensor take_rows(const Tensor& x, const Tensor& index, int axis, TakeAs as, int shown_axis, int64_t skip) {
  return emit(Op::Take, {contiguous(x), index}, TakeAttrs{axis, shown_axis, as, skip},
              {take_shape(x.shape(), index.shape(), axis), x.dtype()});
}

Tensor take_grad(const Tensor& g, const Tensor& index, int axis, int64_t size, int64_t skip) {
  if (is_half(g.dtype())) return cast(take_grad(cast(g, DType::Float32), index, axis, size, skip), g.dtype());
  Shape shape;
  for (int i = 0; i < axis; ++i) shape.push_back(g.shape()[i]);
  shape.push_back(size);
  for (int i = axis + index.ndim(); i < g.ndim(); ++i) shape.push_back(g.shape()[i]);
  return emit(Op::TakeGrad, {contiguous(g), index}, TakeGradAttrs{axis, size, skip}, {shape, g.dtype()});
}

Tensor put_rows(const Tensor& x, const Tensor& index, const Tensor& src, int axis, bool accumulate) {
  if (accumulate && is_half(x.dtype()))
    return cast(put_rows(cast(x, DType::Float32), index, cast(src, DType::Float32), axis, true), x.dtype());
  return emit(Op::Put, {contiguous(x), index, contiguous(src)}, PutAttrs{axis, accumulate}, {x.shape(), x.dtype()});
}

Tensor take(const Tensor& x, const Tensor& indices, int64_t axis) {
  check<ShapeError>(x.ndim() > 0, "take: x must have at least 1 dimension");
  const int a = normalize_axis(axis, x.ndim(), "take");
  return take_rows(x, as_index("take", "indices", indices), a, TakeAs::Take, a);
}

}  // namespace ops

// ---- gather, scatter ----

LANNER_RUN(Gather) {
  const auto& [x, index] = std::tie(r.in[0], r.in[1]);
  const int axis = r.attrs.get<AxisAttrs>().axis;
  ops::check_index("gather", index, -x.shape()[axis], axis, x.shape()[axis]);
  if (index.size() == 0) return;
  const auto kernel = kernels().gather[size_entry(x.dtype())];
  for_blocks(x.shape(), index.shape(), axis, [&](int64_t x_block, int64_t block, const cpu::IndexLines& lines) {
    cut_reads(lines, [&](int64_t x_cut, int64_t cut, const cpu::IndexLines& l) {
      kernel(at(x, x_block + x_cut), index.data<int64_t>() + block + cut, at(r.out[0], block + cut), l);
    });
  });
}

LANNER_VJP(Gather) {
  const int axis = v.attrs.get<AxisAttrs>().axis;
  if (!v.needs(0)) return {Tensor(), Tensor()};
  return {ops::scatter_into_zeros(v.in[0].shape(), v.in[1], v.g[0], axis, true), Tensor()};
}

// x may be undefined: zeros.
LANNER_RUN(Scatter) {
  const auto& [x, index, src] = std::tie(r.in[0], r.in[1], r.in[2]);
  const Tensor& out = r.out[0];
  const int axis = r.attrs.get<AxisAttrs>().axis;
  ops::check_index("scatter", index, -out.shape()[axis], axis, out.shape()[axis]);
  copy_or_zero(out, x);
  if (index.size() == 0) return;
  const auto kernel = kernels().scatter[size_entry(out.dtype())];
  for_blocks(out.shape(), index.shape(), axis, [&](int64_t x_block, int64_t block, const cpu::IndexLines& lines) {
    cut_lines(lines, [&](int64_t x_cut, int64_t cut, const cpu::IndexLines& l) {
      kernel(at(out, x_block + x_cut), index.data<int64_t>() + block + cut, at(src, block + cut), l);
    });
  });
}

LANNER_VJP(Scatter) {
  const int axis = v.attrs.get<AxisAttrs>().axis;
  const Tensor &g = v.g[0], &index = v.in[1];
  Tensor x_gradient, src_gradient;
  if (v.needs(0)) x_gradient = ops::scatter(g, index, ops::zeros(index.shape(), g.dtype()), axis);
  if (v.needs(2)) src_gradient = ops::gather(g, index, axis) * lasting(index, g.shape(), axis, g.dtype());
  return {x_gradient, Tensor(), src_gradient};
}

LANNER_RUN(ScatterAdd) {
  const auto& [x, index, src] = std::tie(r.in[0], r.in[1], r.in[2]);
  const Tensor& out = r.out[0];
  const int axis = r.attrs.get<AxisAttrs>().axis;
  ops::check_index("scatter_add", index, -out.shape()[axis], axis, out.shape()[axis]);
  copy_or_zero(out, x);
  if (index.size() == 0) return;
  const auto kernel = kernels().scatter_add[cpu::index_add_entry(out.dtype())];
  for_blocks(out.shape(), index.shape(), axis, [&](int64_t x_block, int64_t block, const cpu::IndexLines& lines) {
    cut_lines(lines, [&](int64_t x_cut, int64_t cut, const cpu::IndexLines& l) {
      kernel(at(out, x_block + x_cut), index.data<int64_t>() + block + cut, at(src, block + cut), l);
    });
  });
}

LANNER_VJP(ScatterAdd) {
  const int axis = v.attrs.get<AxisAttrs>().axis;
  return {v.needs(0) ? v.g[0] : Tensor(), Tensor(), v.needs(2) ? ops::gather(v.g[0], v.in[1], axis) : Tensor()};
}

// ---- take, put ----

LANNER_RUN(Take) {
  const auto& [x, index] = std::tie(r.in[0], r.in[1]);
  const auto& a = r.attrs.get<TakeAttrs>();
  const int64_t size = x.shape()[a.axis];
  ops::check_index(kTakeNames[static_cast<int>(a.as)], index, a.as == TakeAs::Embedding ? 0 : -size, a.shown_axis,
                   size);
  if (r.out[0].size() == 0) return;
  for_rows(x, index, r.out[0], a.axis, kernels().take_rows);
}

LANNER_VJP(Take) {
  const auto& a = v.attrs.get<TakeAttrs>();
  if (!v.needs(0)) return {Tensor(), Tensor()};
  return {ops::take_grad(v.g[0], v.in[1], a.axis, v.in[0].shape()[a.axis], a.skip), Tensor()};
}

LANNER_RUN(TakeGrad) {
  const auto& [g, index] = std::tie(r.in[0], r.in[1]);
  const auto& a = r.attrs.get<TakeGradAttrs>();
  ops::check_index("take", index, -a.size, a.axis, a.size);
  copy_or_zero(r.out[0], {});
  if (g.size() == 0) return;
  const auto kernel = kernels().add_rows[cpu::index_add_entry(g.dtype())];
  for_columns(r.out[0], index, g, a.axis, [&](void* x, const int64_t* i, const void* src, const cpu::IndexRows& rows) {
    kernel(x, i, src, rows, a.skip);
  });
}

LANNER_VJP(TakeGrad) {
  const auto& a = v.attrs.get<TakeGradAttrs>();
  const Tensor& index = v.in[1];
  if (!v.needs(0)) return {Tensor(), Tensor()};
  Tensor taken = ops::take_rows(v.g[0], index, a.axis, TakeAs::Take, a.axis);
  if (a.skip >= 0) {
    Shape shape = index.shape();
    while (shape.size() < taken.ndim() - a.axis) shape.push_back(1);
    taken = taken * ops::cast(ops::reshape(ops::not_equal(index, Tensor::weak(a.skip)), shape), taken.dtype());
  }
  return {taken, Tensor()};
}

LANNER_RUN(Put) {
  const auto& [x, index, src] = std::tie(r.in[0], r.in[1], r.in[2]);
  const auto& a = r.attrs.get<PutAttrs>();
  const int64_t size = x.shape()[a.axis];
  ops::check_index("index_put", index, -size, a.axis, size);
  copy_or_zero(r.out[0], x);
  if (src.size() == 0) return;
  const auto put = kernels().put_rows;
  const auto add = kernels().add_rows[cpu::index_add_entry(x.dtype())];
  for_columns(r.out[0], index, src, a.axis,
              [&](void* to, const int64_t* i, const void* from, const cpu::IndexRows& rows) {
                a.accumulate ? add(to, i, from, rows, -1) : put(to, i, from, rows);
              });
}

LANNER_VJP(Put) {
  const auto& a = v.attrs.get<PutAttrs>();
  const Tensor &g = v.g[0], &index = v.in[1];
  Tensor x_gradient, src_gradient;
  if (v.needs(0))
    x_gradient = a.accumulate ? g : ops::put_rows(g, index, ops::zeros(v.in[2].shape(), g.dtype()), a.axis, false);
  if (v.needs(2)) {
    src_gradient = ops::take_rows(g, index, a.axis, TakeAs::Index, a.axis);
    if (!a.accumulate) {
      const Tensor flat = ops::reshape(index, {-1});
      Shape shape = index.shape();
      while (shape.size() < src_gradient.ndim() - a.axis) shape.push_back(1);
      src_gradient = src_gradient * ops::reshape(lasting(flat, {g.shape()[a.axis]}, 0, g.dtype()), shape);
    }
  }
  return {x_gradient, Tensor(), src_gradient};
}

}  // namespace lanner
