#include "lanner/ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/dispatch.h"
#include "cpu/kernels/reduce.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/join.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/decompose.h"
#include "ops/op.h"
#include "ops/reduce.h"

namespace lanner {
namespace {

using cpu::ReduceJob;
using cpu::Reduction;

struct ScanAttrs {
  int axis;
  bool reverse;
};

// float32 elements that one core adds up in about 20 us.
constexpr int64_t kGrain = 1 << 16;
// Four vectors of the widest registers.
constexpr int64_t kFoldedColumns = 64;

Shape reduced_shape(const Shape& shape, const Dims& axes, bool keepdims) {
  Shape out;
  int next = 0;
  for (int i = 0; i < shape.size(); ++i) {
    const bool reduced = next < axes.size() && axes[next] == i;
    if (reduced) ++next;
    if (!reduced || keepdims) out.push_back(reduced ? 1 : shape[i]);
  }
  return out;
}

int64_t reduced_count(const Shape& shape, const Dims& axes) {
  int64_t n = 1;
  for (int64_t axis : axes) n *= shape[static_cast<int>(axis)];
  return n;
}

DType accumulator(Reduction kind, DType t) {
  if (kind == Reduction::Any || kind == Reduction::All) return DType::Bool;
  if (kind == Reduction::Max || kind == Reduction::Min || is_floating(t) || t == DType::UInt64) return t;
  return DType::Int64;
}

// ---- how a strided tensor is walked ---------------------------------------------------------------------------------

struct Dim {
  int64_t size, stride;
};

// Joins neighbours that one stride walks through.
// A few of them, in place: reductions run in replays, which allocate nothing.
class DimList {
 public:
  bool empty() const { return count_ == 0; }
  Dim& back() { return dims_[count_ - 1]; }
  void push_back(Dim d) { dims_[count_++] = d; }
  void pop_back() { --count_; }
  const Dim* begin() const { return dims_; }
  const Dim* end() const { return dims_ + count_; }
  // By falling stride; equal ones stay in order.
  void sort() {
    for (int i = 1; i < count_; ++i)
      for (int j = i; j > 0 && std::abs(dims_[j].stride) > std::abs(dims_[j - 1].stride); --j)
        std::swap(dims_[j], dims_[j - 1]);
  }

 private:
  Dim dims_[kMaxRank];
  int count_ = 0;
};

void add_dim(DimList& dims, Dim d) {
  if (!dims.empty() && dims.back().stride == d.stride * d.size) {
    dims.back() = {dims.back().size * d.size, d.stride};
  } else {
    dims.push_back(d);
  }
}

cpu::Walk walk_of(const DimList& dims) {
  cpu::Walk walk;
  for (const Dim& d : dims) {
    walk.size[walk.rank] = d.size;
    walk.stride[walk.rank++] = d.stride;
  }
  return walk;
}

int64_t count(const cpu::Walk& walk) {
  int64_t n = 1;
  for (int i = 0; i < walk.rank; ++i) n *= walk.size[i];
  return n;
}

ReduceJob plan(const Shape& shape, const Dims& strides, const Dims& axes) {
  DimList kept, reduced, unordered;
  int next = 0;
  for (int i = 0; i < shape.size(); ++i) {
    const bool is_reduced = next < axes.size() && axes[next] == i;
    if (is_reduced) ++next;
    if (shape[i] == 1) continue;
    if (is_reduced) {
      unordered.push_back({shape[i], strides[i]});
    } else {
      add_dim(kept, {shape[i], strides[i]});
    }
  }
  unordered.sort();
  for (const Dim& d : unordered) add_dim(reduced, d);

  ReduceJob job;
  job.columns = !kept.empty() && kept.back().stride == 1 && (reduced.empty() || reduced.back().stride != 1);
  DimList& with_line = job.columns ? kept : reduced;
  if (!with_line.empty()) {
    job.line = with_line.back().size;
    job.line_stride = with_line.back().stride;
    with_line.pop_back();
  }
  job.kept = walk_of(kept);
  job.reduced = walk_of(reduced);
  return job;
}

// ---- running it -----------------------------------------------------------------------------------------------------

template <class T>
void fill(void* out, int64_t n, T value) {
  std::fill_n(static_cast<T*>(out), n, value);
}

void fill_identity(void* out, int64_t n, Reduction kind, DType t) {
  const bool one = kind == Reduction::Prod || kind == Reduction::All;
  switch (accumulator(kind, t)) {
    case DType::Bool: return fill<uint8_t>(out, n, one);
    case DType::Float32: return fill<float>(out, n, one);
    case DType::Float64: return fill<double>(out, n, one);
    default: return fill<int64_t>(out, n, one);
  }
}

// out[columns] = the reduction of the rows of x[rows, columns].
void reduce_rows_of(Reduction kind, DType dtype, const void* x, void* out, int64_t rows, int64_t columns) {
  const ReduceJob job = plan({rows, columns}, {columns, 1}, {0});
  const int64_t units = job.columns ? (job.line + cpu::kReduceTile - 1) / cpu::kReduceTile : count(job.kept);
  const cpu::ReduceFn reduce = cpu::kernels().reduce->reduce[static_cast<int>(kind)][static_cast<int>(dtype)];
  reduce(job, x, out, 0, units, 0, count(job.reduced));
}

// Few outputs of many elements each: pieces of the reduced dimensions, cut by size, then the pieces are reduced.
void reduce_in_pieces(Reduction kind, DType dtype, const ReduceJob& job, const char* x, char* out, int64_t outputs,
                      int64_t units, int64_t walked) {
  const cpu::ReduceFn reduce = cpu::kernels().reduce->reduce[static_cast<int>(kind)][static_cast<int>(dtype)];
  const DType acc = accumulator(kind, dtype);
  const size_t in_bytes = itemsize(dtype), acc_bytes = itemsize(acc);
  const bool cut_line = !job.columns && job.line > walked;
  const int64_t length = cut_line ? job.line : walked;
  const int64_t per_step = job.columns ? outputs : outputs * (cut_line ? walked : job.line);
  const int64_t piece = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, per_step));
  const int64_t pieces = (length + piece - 1) / piece;

  Workspace partial(static_cast<size_t>(pieces * outputs) * acc_bytes);
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * piece, last = std::min(length, first + piece);
      char* to = partial.as<char>() + static_cast<size_t>(i * outputs) * acc_bytes;
      if (cut_line) {
        ReduceJob part = job;
        part.line = last - first;
        reduce(part, x + first * job.line_stride * static_cast<int64_t>(in_bytes), to, 0, units, 0, walked);
      } else {
        reduce(job, x, to, 0, units, first, last);
      }
    }
  });
  const Reduction join = kind == Reduction::SumSquares ? Reduction::Sum : kind;
  reduce_rows_of(join, acc, partial.data(), out, pieces, outputs);
}

void reduce_job(Reduction kind, DType dtype, const ReduceJob& job, const char* x, char* out, int64_t outputs);

// Rows of few columns, one after the other in memory, leave most of a vector idle: they are seen as fewer rows of
// several times the columns, whose results are then added.
void reduce_folded(Reduction kind, DType dtype, const ReduceJob& job, const char* x, char* out) {
  const int64_t columns = job.line, rows = job.reduced.size[0], fold = kFoldedColumns / columns;
  const int64_t whole = rows / fold, rest = rows % fold, partials = fold + (rest > 0);
  const DType acc = accumulator(kind, dtype);
  Workspace partial(static_cast<size_t>(partials * columns) * itemsize(acc));
  const auto part = [&](int64_t first, int64_t n, int64_t width, int64_t to) {
    reduce_job(kind, dtype, plan({n, width}, {width, 1}, {0}),
               x + first * columns * static_cast<int64_t>(itemsize(dtype)),
               partial.as<char>() + to * columns * static_cast<int64_t>(itemsize(acc)), width);
  };
  part(0, whole, fold * columns, 0);
  if (rest > 0) part(whole * fold, rest, columns, fold);
  reduce_rows_of(kind == Reduction::SumSquares ? Reduction::Sum : kind, acc, partial.data(), out, partials, columns);
}

void reduce_job(Reduction kind, DType dtype, const ReduceJob& job, const char* x, char* out, int64_t outputs) {
  const int64_t walked = count(job.reduced);
  const int64_t tiles = job.columns ? (job.line + cpu::kReduceTile - 1) / cpu::kReduceTile : 1;
  const int64_t units = count(job.kept) * tiles;
  const int64_t elements = count(job.kept) * walked * job.line, per_unit = std::max<int64_t>(1, elements / units);
  if (job.columns && job.kept.rank == 0 && job.reduced.rank == 1 && job.reduced.stride[0] == job.line &&
      job.line <= kFoldedColumns / 2 && elements >= 64 * kFoldedColumns)
    return reduce_folded(kind, dtype, job, x, out);
  if (units < 8 && per_unit > kGrain) return reduce_in_pieces(kind, dtype, job, x, out, outputs, units, walked);
  const cpu::ReduceFn reduce = cpu::kernels().reduce->reduce[static_cast<int>(kind)][static_cast<int>(dtype)];
  parallel_for(units, std::max<int64_t>(1, kGrain / per_unit),
               [&](int64_t begin, int64_t end) { reduce(job, x, out, begin, end, 0, walked); });
}

void reduce_into(Reduction kind, const Tensor& x, const Dims& axes, Tensor& out) {
  if (out.size() == 0) return;
  if (x.size() == 0) return fill_identity(out.raw(), out.size(), kind, x.dtype());
  reduce_job(kind, x.dtype(), plan(x.shape(), x.strides(), axes), static_cast<const char*>(x.raw()),
             static_cast<char*>(out.raw()), out.size());
}

void run_reduce(const Run& r, Reduction kind) { reduce_into(kind, r.in[0], r.attrs.get<ReduceAttrs>().axes, r.out[0]); }

template <class T>
void divide_by(Tensor& x, int64_t n) {
  T* p = x.data<T>();
  parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) p[i] /= static_cast<T>(n);
  });
}

// ---- helpers of the public functions and of the vjps ----------------------------------------------------------------

// Half dtypes are reduced in float32.
template <class F>
Tensor in_float32(const Tensor& x, F f) {
  return is_half(x.dtype()) ? ops::cast(f(ops::cast(x, DType::Float32)), x.dtype()) : f(x);
}

Tensor emit_reduce(Op op, Reduction kind, const Tensor& x, const ops::Axes& axes, bool keepdims) {
  const ReduceAttrs attrs{axes.of(x, op_name(op)), keepdims};
  return emit(op, {x}, attrs, {reduced_shape(x.shape(), attrs.axes, keepdims), accumulator(kind, x.dtype())});
}

Tensor emit_extreme(Op op, Reduction kind, const Tensor& x, const ops::Axes& axes, bool keepdims) {
  const Dims reduced = axes.of(x, op_name(op));
  check<ShapeError>(x.size() > 0 || element_count(reduced_shape(x.shape(), reduced, false)) == 0, op_name(op), ": x ",
                    x.shape(), " has no elements along axes ", reduced, ", so that there is no extreme");
  return in_float32(x, [&](const Tensor& y) { return emit_reduce(op, kind, y, axes, keepdims); });
}

// g, of the shape that a reduction gave, with the reduced axes back as size 1.
Tensor with_axes(const Tensor& g, const Vjp& v) {
  const auto& a = v.attrs.get<ReduceAttrs>();
  return a.keepdims ? g : ops::reshape(g, reduced_shape(v.in[0].shape(), a.axes, true));
}

Tensors vjp_extreme(const Vjp& v) {
  const Dims& axes = v.attrs.get<ReduceAttrs>().axes;
  const Tensor extreme = ops::cast(ops::equal(v.in[0], with_axes(v.out[0], v)), v.g[0].dtype());
  return {extreme * (with_axes(v.g[0], v) / ops::sum(extreme, axes, true))};
}

// sqrt(s) for s >= 0, with gradient 0 where s is 0.
Tensor sqrt_or_zero(const Tensor& s) {
  const Tensor zero = ops::equal(s, Tensor::weak(0.0));
  return ops::where(zero, s, ops::sqrt(ops::where(zero, ops::ones_like(s), s)));
}

}  // namespace

void sum_rows(DType dtype, const void* x, void* out, int64_t rows, int64_t columns) {
  reduce_rows_of(Reduction::Sum, dtype, x, out, rows, columns);
}

Dims ops::Axes::of(const Tensor& x, const char* op) const {
  bool taken[kMaxRank] = {};
  for (int64_t axis : axes_) {
    const int i = normalize_axis(axis, x.ndim(), op);
    check<ShapeError>(!taken[i], op, ": axis ", axis, " is named twice in ", axes_);
    taken[i] = true;
  }
  Dims out;
  for (int i = 0; i < x.ndim(); ++i)
    if (all_ || taken[i]) out.push_back(i);
  return out;
}

// ---- sum, prod, mean ------------------------------------------------------------------------------------------------

Tensor ops::sum(const Tensor& x, const Axes& axes, bool keepdims, std::optional<DType> dtype) {
  if (dtype) return cast(sum(cast(x, *dtype), axes, keepdims), *dtype);
  return in_float32(x, [&](const Tensor& y) { return emit_reduce(Op::Sum, Reduction::Sum, y, axes, keepdims); });
}
LANNER_RUN(Sum) { run_reduce(r, Reduction::Sum); }
LANNER_VJP(Sum) { return {ops::broadcast_to(with_axes(v.g[0], v), v.in[0].shape())}; }

Tensor ops::sum_squares(const Tensor& x, const Axes& axes, bool keepdims) {
  return in_float32(
      x, [&](const Tensor& y) { return emit_reduce(Op::SumSquares, Reduction::SumSquares, y, axes, keepdims); });
}
LANNER_RUN(SumSquares) { run_reduce(r, Reduction::SumSquares); }
LANNER_VJP(SumSquares) { return {v.in[0] * (with_axes(v.g[0], v) * 2.0)}; }

Tensor ops::prod(const Tensor& x, const Axes& axes, bool keepdims, std::optional<DType> dtype) {
  if (dtype) return cast(prod(cast(x, *dtype), axes, keepdims), *dtype);
  return in_float32(x, [&](const Tensor& y) { return emit_reduce(Op::Prod, Reduction::Prod, y, axes, keepdims); });
}
LANNER_RUN(Prod) { run_reduce(r, Reduction::Prod); }

// Products of halves, so that no gradient divides by an element, which may be 0.
static Tensor prod_by_halves(const Tensor& x, const Dims& axes, const Shape& out) {
  Dims front;
  for (int i = 0; i < axes.size(); ++i) front.push_back(i);
  int64_t n = reduced_count(x.shape(), axes);
  if (n == 0) return ops::ones(out, x.dtype());
  Tensor y = ops::reshape(ops::moveaxis(x, axes, front), {n, x.size() / n});
  Tensor odd;
  for (; n > 1; n /= 2) {
    if (n % 2) {
      const Tensor last = ops::narrow(y, 0, n - 1, 1);
      odd = odd.defined() ? odd * last : last;
    }
    y = ops::narrow(y, 0, 0, n / 2) * ops::narrow(y, 0, n / 2, n / 2);
  }
  return ops::reshape(odd.defined() ? y * odd : y, out);
}
LANNER_VJP(Prod) {
  return vjp_by(v, [&](const Tensors& in) {
    return Tensors{prod_by_halves(in[0], v.attrs.get<ReduceAttrs>().axes, v.g[0].shape())};
  });
}

Tensor ops::mean(const Tensor& x, const Axes& axes, bool keepdims) {
  if (!is_floating(x.dtype())) return mean(cast(x, DType::Float32), axes, keepdims);
  return in_float32(x, [&](const Tensor& y) { return emit_reduce(Op::Mean, Reduction::Sum, y, axes, keepdims); });
}
LANNER_RUN(Mean) {
  run_reduce(r, Reduction::Sum);
  const int64_t n = reduced_count(r.in[0].shape(), r.attrs.get<ReduceAttrs>().axes);
  if (r.out[0].dtype() == DType::Float32) {
    divide_by<float>(r.out[0], n);
  } else {
    divide_by<double>(r.out[0], n);
  }
}
LANNER_VJP(Mean) {
  const int64_t n = reduced_count(v.in[0].shape(), v.attrs.get<ReduceAttrs>().axes);
  return {ops::broadcast_to(with_axes(v.g[0] / static_cast<double>(n), v), v.in[0].shape())};
}

Tensor ops::var(const Tensor& x, const Axes& axes, double correction, bool keepdims) {
  check_floating("var", "x", x);
  return in_float32(x, [&](const Tensor& y) {
    const Dims reduced = axes.of(y, "var");
    const double n = static_cast<double>(reduced_count(y.shape(), reduced)) - correction;
    return sum_squares(y - mean(y, reduced, true), reduced, keepdims) / std::max(n, 0.0);
  });
}

Tensor ops::std(const Tensor& x, const Axes& axes, double correction, bool keepdims) {
  check_floating("std", "x", x);
  return in_float32(x, [&](const Tensor& y) { return sqrt_or_zero(var(y, axes.of(y, "std"), correction, keepdims)); });
}

// ---- max, min, any, all ---------------------------------------------------------------------------------------------

Tensor ops::max(const Tensor& x, const Axes& axes, bool keepdims) {
  return emit_extreme(Op::Max, Reduction::Max, x, axes, keepdims);
}
LANNER_RUN(Max) { run_reduce(r, Reduction::Max); }
LANNER_VJP(Max) { return vjp_extreme(v); }

Tensor ops::min(const Tensor& x, const Axes& axes, bool keepdims) {
  return emit_extreme(Op::Min, Reduction::Min, x, axes, keepdims);
}
LANNER_RUN(Min) { run_reduce(r, Reduction::Min); }
LANNER_VJP(Min) { return vjp_extreme(v); }

Tensor ops::any(const Tensor& x, const Axes& axes, bool keepdims) {
  if (is_half(x.dtype())) return any(cast(x, DType::Float32), axes, keepdims);
  return emit_reduce(Op::Any, Reduction::Any, x, axes, keepdims);
}
LANNER_RUN(Any) { run_reduce(r, Reduction::Any); }

Tensor ops::all(const Tensor& x, const Axes& axes, bool keepdims) {
  if (is_half(x.dtype())) return all(cast(x, DType::Float32), axes, keepdims);
  return emit_reduce(Op::All, Reduction::All, x, axes, keepdims);
}
LANNER_RUN(All) { run_reduce(r, Reduction::All); }

Tensor ops::count_nonzero(const Tensor& x, const Axes& axes, bool keepdims) {
  return sum(x.dtype() == DType::Bool ? x : cast(x, DType::Bool), axes, keepdims);
}

Tensor ops::logsumexp(const Tensor& x, const Axes& axes, bool keepdims) {
  check_floating("logsumexp", "x", x);
  return in_float32(x, [&](const Tensor& y) {
    const Dims reduced = axes.of(y, "logsumexp");
    if (reduced_count(y.shape(), reduced) == 0) return log(sum(exp(y), reduced, keepdims));
    const Tensor extreme = max(y.detach(), reduced, true);
    const Tensor shift = where(isfinite(extreme), extreme, zeros_like(extreme));  // inf - inf would be NaN
    const Tensor total = log(sum(exp(y - shift), reduced, true)) + shift;
    return keepdims ? total : reshape(total, reduced_shape(y.shape(), reduced, false));
  });
}

// ---- argmax, argmin -------------------------------------------------------------------------------------------------

static Tensor emit_arg(Op op, const Tensor& x, std::optional<int64_t> axis, bool keepdims) {
  const char* name = op_name(op);
  if (is_half(x.dtype())) return emit_arg(op, ops::cast(x, DType::Float32), axis, keepdims);
  if (!axis) {
    const Tensor index = emit_arg(op, ops::reshape(x, {x.size()}), 0, false);
    return keepdims ? ops::reshape(index, Dims::filled(x.ndim(), 1)) : index;
  }
  const int i = normalize_axis(*axis, x.ndim(), name);
  const Shape out = reduced_shape(x.shape(), {i}, keepdims);
  check<ShapeError>(x.size(i) > 0 || element_count(out) == 0, name, ": x ", x.shape(), " has no elements along axis ",
                    i, ", so that there is no extreme");
  return emit(op, {ops::contiguous(x)}, ScanAttrs{i, false}, {out, DType::Int64});
}

// f(range) on slices of the units of x along `axis`.
template <class F>
static void over_units(const Tensor& x, int axis, F f) {
  int64_t outer = 1, inner = 1;
  const int64_t n = x.size(axis);
  for (int i = 0; i < axis; ++i) outer *= x.size(i);
  for (int i = axis + 1; i < x.ndim(); ++i) inner *= x.size(i);
  const int64_t per_unit = std::max<int64_t>(1, n * std::min(inner, cpu::kReduceTile));
  parallel_for(cpu::scan_units(outer, inner), std::max<int64_t>(1, kGrain / 4 / per_unit),
               [&](int64_t begin, int64_t end) { f(cpu::ScanRange{n, inner, begin, end}); });
}

static void run_arg(const Run& r, const cpu::ArgFn (&table)[kDTypeCount]) {
  const Tensor& x = r.in[0];
  const cpu::ArgFn arg = table[static_cast<int>(x.dtype())];
  int64_t* to = r.out[0].data<int64_t>();
  over_units(x, r.attrs.get<ScanAttrs>().axis, [&](const cpu::ScanRange& range) { arg(x.raw(), to, range); });
}

Tensor ops::argmax(const Tensor& x, std::optional<int64_t> axis, bool keepdims) {
  return emit_arg(Op::ArgMax, x, axis, keepdims);
}
LANNER_RUN(ArgMax) { run_arg(r, cpu::kernels().reduce->argmax); }

Tensor ops::argmin(const Tensor& x, std::optional<int64_t> axis, bool keepdims) {
  return emit_arg(Op::ArgMin, x, axis, keepdims);
}
LANNER_RUN(ArgMin) { run_arg(r, cpu::kernels().reduce->argmin); }

// ---- cumulative -----------------------------------------------------------------------------------------------------

static Tensor emit_cumulative(Op op, const Tensor& x, int axis, bool reverse) {
  return in_float32(x, [&](const Tensor& y) {
    return emit(op, {ops::contiguous(y)}, ScanAttrs{axis, reverse},
                {y.shape(), accumulator(Reduction::Sum, y.dtype())});
  });
}

static void run_cumulative(const Run& r, const cpu::CumulativeFn (&table)[kDTypeCount]) {
  const Tensor& x = r.in[0];
  const auto& a = r.attrs.get<ScanAttrs>();
  const cpu::CumulativeFn scan = table[static_cast<int>(x.dtype())];
  void* to = r.out[0].raw();
  over_units(x, a.axis, [&](const cpu::ScanRange& range) { scan(x.raw(), to, range, a.reverse); });
}

static Tensor cumulative(Op op, const Tensor& x, int64_t axis, std::optional<DType> dtype, bool include_initial) {
  const int i = normalize_axis(axis, x.ndim(), op_name(op));
  Tensor out = emit_cumulative(op, dtype ? ops::cast(x, *dtype) : x, i, false);
  if (dtype) out = ops::cast(out, *dtype);
  if (!include_initial) return out;
  Shape first = x.shape();
  first[i] = 1;
  return ops::concat({op == Op::CumulativeSum ? ops::zeros(first, out.dtype()) : ops::ones(first, out.dtype()), out},
                     i);
}

Tensor ops::cumulative_sum(const Tensor& x, int64_t axis, std::optional<DType> dtype, bool include_initial) {
  return cumulative(Op::CumulativeSum, x, axis, dtype, include_initial);
}
LANNER_RUN(CumulativeSum) { run_cumulative(r, cpu::kernels().reduce->cumulative_sum); }
LANNER_VJP(CumulativeSum) {
  const auto& a = v.attrs.get<ScanAttrs>();
  return {emit_cumulative(Op::CumulativeSum, v.g[0], a.axis, !a.reverse)};
}

Tensor ops::cumulative_prod(const Tensor& x, int64_t axis, std::optional<DType> dtype, bool include_initial) {
  return cumulative(Op::CumulativeProd, x, axis, dtype, include_initial);
}
LANNER_RUN(CumulativeProd) { run_cumulative(r, cpu::kernels().reduce->cumulative_prod); }

// A scan by doubling: log2(n) products, none of which divides by an element, which may be 0.
LANNER_VJP(CumulativeProd) {
  const int axis = v.attrs.get<ScanAttrs>().axis;
  return vjp_by(v, [&](const Tensors& in) {
    Tensor y = in[0];
    const int64_t n = y.size(axis);
    for (int64_t step = 1; step < n; step *= 2)
      y = ops::concat(
          {ops::narrow(y, axis, 0, step), ops::narrow(y, axis, step, n - step) * ops::narrow(y, axis, 0, n - step)},
          axis);
    return Tensors{y};
  });
}

// ---- norms ----------------------------------------------------------------------------------------------------------

Tensor ops::norm(const Tensor& x, double ord, const Axes& axes, bool keepdims) {
  check_floating("norm", "x", x);
  return in_float32(x, [&](const Tensor& y) {
    if (ord == 2) return sqrt_or_zero(sum_squares(y, axes, keepdims));
    if (ord == 1) return sum(abs(y), axes, keepdims);
    if (ord == 0) return cast(count_nonzero(y, axes, keepdims), y.dtype());
    if (std::isinf(ord)) return ord > 0 ? max(abs(y), axes, keepdims) : min(abs(y), axes, keepdims);
    const Tensor total = sum(pow(abs(y), Tensor::weak(ord)), axes, keepdims);
    const Tensor zero = equal(total, Tensor::weak(0.0));
    return where(zero, total, pow(where(zero, ones_like(total), total), Tensor::weak(1 / ord)));
  });
}

Tensor ops::normalize(const Tensor& x, double p, const Axes& axes, double eps) {
  check_floating("normalize", "x", x);
  return x / maximum(norm(x, p, axes, true), Tensor::weak(eps));
}

}  // namespace lanner
