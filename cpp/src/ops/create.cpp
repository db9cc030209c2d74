// New tensors of given values; casts and copies.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/strided.h"
#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/assign.h"
#include "ops/elementwise.h"

namespace lanner {
namespace {

cpu::Operand operand(const Tensor& x, const Dims& strides) { return {x.raw(), x.dtype(), x.dtype(), strides}; }

void copy_apart(const Tensor& dst, const Tensor& src) {
  cpu::run_copy(dst.shape(), operand(dst, dst.strides()), operand(src, broadcast_strides(src, dst.shape())));
}

struct FullAttrs {
  char bytes[8];  // the value, in the dtype of the output
};

// Exact for integers, as the value of a tensor of one element is.
FullAttrs value_bytes(const Tensor& value, DType dtype) {
  FullAttrs a{};
  const cpu::Operand to{a.bytes, dtype, dtype, {}};
  cpu::run_copy({}, to, operand(value, {}));
  return a;
}

FullAttrs value_bytes(double value, DType dtype) {
  FullAttrs a{};
  cpu::run_copy({}, {a.bytes, dtype, dtype, {}}, {&value, DType::Float64, DType::Float64, {}});
  return a;
}

void fill(const Tensor& dst, const FullAttrs& a) {
  if (dst.is_contiguous() && std::all_of(a.bytes, a.bytes + 8, [](char c) { return c == 0; })) {
    constexpr int64_t kGrain = 1 << 20;
    char* p = static_cast<char*>(dst.raw());
    parallel_for(dst.size() * static_cast<int64_t>(itemsize(dst.dtype())), kGrain,
                 [p](int64_t begin, int64_t end) { std::memset(p + begin, 0, static_cast<size_t>(end - begin)); });
    return;
  }
  const cpu::Operand from{const_cast<char*>(a.bytes), dst.dtype(), dst.dtype(), Dims::filled(dst.ndim(), 0)};
  cpu::run_copy(dst.shape(), operand(dst, dst.strides()), from);
}

// First and last byte of what x's elements occupy.
std::pair<const char*, const char*> extent(const Tensor& x) {
  const auto* first = static_cast<const char*>(x.raw());
  const auto* last = first;
  const auto bytes = static_cast<int64_t>(itemsize(x.dtype()));
  for (int i = 0; i < x.ndim(); ++i) {
    const int64_t span = (x.shape()[i] - 1) * x.strides()[i] * bytes;
    (span < 0 ? first : last) += span;
  }
  return {first, last + bytes};
}

bool overlap(const Tensor& a, const Tensor& b) {
  const auto [a_begin, a_end] = extent(a);
  const auto [b_begin, b_end] = extent(b);
  return a_begin < b_end && b_begin < a_end;
}

bool same_elements(const Tensor& a, const Tensor& b) {
  return a.raw() == b.raw() && a.dtype() == b.dtype() && a.shape() == b.shape() && a.strides() == b.strides();
}

// Where nothing will be written: will_write()'s errors without its count.
void check_writable(const char* op, const Tensor& x) {
  if (grad_enabled() && x.requires_grad()) x.will_write(op);
}

struct ArangeAttrs {
  double start, step;
  int64_t integer_start, integer_step;
};

struct LinspaceAttrs {
  double start, stop, step;
  bool endpoint;
};

Tensor create(Op op, const Attrs& attrs, const Shape& shape, DType dtype) {
  return emit(op, std::initializer_list<Tensor>{}, attrs, {shape, dtype});
}

template <class T, class F>
void generate(T* p, int64_t n, F f) {
  parallel_for(n, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) p[i] = static_cast<T>(f(i));
  });
}

// Computed in float64 or int64, then cast.
template <class T, class F>
void generate_as(const Tensor& out, F f) {
  if (out.dtype() == DTypeOf<T>::value) return generate<T>(out.data<T>(), out.size(), f);
  const Workspace wide(static_cast<size_t>(out.size()) * sizeof(T));
  generate<T>(wide.as<T>(), out.size(), f);
  const DType dtype = DTypeOf<T>::value;
  cpu::run_copy(out.shape(), operand(out, out.strides()), {wide.data(), dtype, dtype, contiguous_strides(out.shape())});
}

}  // namespace

namespace ops {

// ---- casts, copies ----

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype && !x.is_weak()) return x;
  return emit(Op::Cast, {x}, {}, {x.shape(), dtype});
}

Tensor copy(const Tensor& x) { return emit(Op::Copy, {x}, {}, {x.shape(), x.dtype()}); }

Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : copy(x); }

void copy_(const Tensor& dst, const Tensor& src) {
  check<ShapeError>(broadcast_shapes(dst.shape(), src.shape(), "copy_") == dst.shape(), "copy_: a value of shape ",
                    src.shape(), " does not fit into ", dst.shape());
  if (dst.size() == 0 || same_elements(dst, src)) return check_writable("copy_", dst);
  if (src.is_weak() && src.size() == 1) return fill_(dst, src);
  const Tensor in[] = {dst, src};
  dst.will_write("copy_");
  emit(Op::Assign, in, {}, {});
}

void fill_(const Tensor& dst, const Tensor& value) {
  check<ShapeError>(value.size() == 1, "fill_: expected one value, got a tensor of shape ", value.shape());
  if (!value.is_weak()) return copy_(dst, reshape(value.detach(), {}));
  dst.will_write("fill_");
  emit(Op::Fill, std::span(&dst, 1), value_bytes(value, dst.dtype()), {});
}

void fill_(const Tensor& dst, double value) { fill_(dst, Tensor::weak(value)); }

// ---- new tensors ----

Tensor full(const Shape& shape, const Tensor& value, DType dtype) {
  check<ShapeError>(value.size() == 1, "full: expected one value, got a tensor of shape ", value.shape());
  if (!value.is_weak()) return copy(broadcast_to(reshape(cast(value.detach(), dtype), {}), shape));
  return create(Op::Full, value_bytes(value, dtype), shape, dtype);
}

Tensor full(const Shape& shape, double value, DType dtype) { return full(shape, Tensor::weak(value), dtype); }
Tensor zeros(const Shape& shape, DType dtype) { return create(Op::Full, FullAttrs{}, shape, dtype); }
Tensor ones(const Shape& shape, DType dtype) { return full(shape, 1.0, dtype); }
Tensor full_like(const Tensor& x, double value) { return full(x.shape(), value, x.dtype()); }
Tensor zeros_like(const Tensor& x) { return zeros(x.shape(), x.dtype()); }
Tensor ones_like(const Tensor& x) { return ones(x.shape(), x.dtype()); }

Tensor arange(double start, double stop, double step, DType dtype) {
  check(step != 0, "arange: the step is 0");
  check(std::isfinite(start) && std::isfinite(stop) && std::isfinite(step),
        "arange: start, stop and step must be finite, got ", start, ", ", stop, ", ", step);
  const double count = std::max(0.0, std::ceil((stop - start) / step));
  check<ShapeError>(count < 0x1p62, "arange: ", count, " elements are too many");
  return create(Op::Arange, ArangeAttrs{start, step, 0, 0}, {static_cast<int64_t>(count)}, dtype);
}

Tensor arange(int64_t start, int64_t stop, int64_t step, DType dtype) {
  check(step != 0, "arange: the step is 0");
  // Differences of int64 need 65 bits; as unsigned ones they are right where stop lies in the step's direction.
  const bool forward = step > 0 ? stop > start : stop < start;
  const uint64_t distance = step > 0 ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start)
                                     : static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  const uint64_t count = forward ? (distance - 1) / stride + 1 : 0;
  check<ShapeError>(count < (uint64_t{1} << 62), "arange: ", count, " elements are too many");
  return create(Op::Arange, ArangeAttrs{0, 0, start, step}, {static_cast<int64_t>(count)}, dtype);
}

Tensor linspace(double start, double stop, int64_t count, DType dtype, bool endpoint) {
  check<ShapeError>(count >= 0, "linspace: the count is negative, ", count);
  const auto intervals = static_cast<double>(endpoint ? std::max<int64_t>(count - 1, 1) : std::max<int64_t>(count, 1));
  return create(Op::Linspace, LinspaceAttrs{start, stop, (stop - start) / intervals, endpoint}, {count}, dtype);
}

Tensor eye(int64_t rows, int64_t columns, int64_t k, DType dtype) {
  check<ShapeError>(rows >= 0 && columns >= 0, "eye: a size is negative, ", rows, " x ", columns);
  return create(Op::Eye, k, {rows, columns}, dtype);
}

}  // namespace ops

void copy_into(const Tensor& dst, const Tensor& src) {
  if (dst.size() == 0 || same_elements(dst, src)) return;
  if (!overlap(dst, src)) return copy_apart(dst, src);
  const Workspace apart(static_cast<size_t>(src.size()) * itemsize(src.dtype()));
  const cpu::Operand copied{apart.data(), src.dtype(), src.dtype(), contiguous_strides(src.shape())};
  cpu::run_copy(src.shape(), copied, operand(src, src.strides()));
  cpu::Operand from = copied;
  from.strides = broadcast_strides(src.shape(), copied.strides, dst.shape());
  cpu::run_copy(dst.shape(), operand(dst, dst.strides()), from);
}

void copy_into(const Part& dst, const Part& src, const Shape& shape) {
  const auto place = [](const Part& p) {
    char* first = static_cast<char*>(p.of.raw()) + p.offset * static_cast<int64_t>(itemsize(p.of.dtype()));
    return cpu::Operand{first, p.of.dtype(), p.of.dtype(), p.strides};
  };
  cpu::run_copy(shape, place(dst), place(src));
}

void fill_into(const Tensor& dst, double value) { fill(dst, value_bytes(value, dst.dtype())); }

// in: what is written to, the value.
LANNER_RUN(Assign) { copy_into(r.in[0], r.in[1]); }
LANNER_RUN(Fill) { fill(r.in[0], r.attrs.get<FullAttrs>()); }
// in: a row-major sum, what is added to it, of the same shape and dtype.
LANNER_RUN(AddInto) {
  Tensor sum = r.in[0];
  run_elementwise({Op::Add, r.in, std::span(&sum, 1), r.attrs});
}

LANNER_RUN(Cast) { copy_apart(r.out[0], r.in[0]); }
LANNER_VJP(Cast) { return {is_floating(v.in[0].dtype()) ? ops::cast(v.g[0], v.in[0].dtype()) : Tensor()}; }

LANNER_RUN(Copy) { copy_apart(r.out[0], r.in[0]); }
LANNER_VJP(Copy) { return {v.g[0]}; }

LANNER_RUN(Full) { fill(r.out[0], r.attrs.get<FullAttrs>()); }

LANNER_RUN(Arange) {
  const auto& a = r.attrs.get<ArangeAttrs>();
  if (a.integer_step != 0)
    generate_as<int64_t>(r.out[0], [&](int64_t i) { return a.integer_start + i * a.integer_step; });
  else
    generate_as<double>(r.out[0], [&](int64_t i) { return a.start + static_cast<double>(i) * a.step; });
}

LANNER_RUN(Linspace) {
  const auto& a = r.attrs.get<LinspaceAttrs>();
  const int64_t last = a.endpoint && r.out[0].size() > 1 ? r.out[0].size() - 1 : -1;
  generate_as<double>(r.out[0],
                      [&](int64_t i) { return i == last ? a.stop : a.start + static_cast<double>(i) * a.step; });
}

LANNER_RUN(Eye) {
  const Tensor& out = r.out[0];
  const int64_t k = r.attrs.get<int64_t>(), rows = out.shape()[0], columns = out.shape()[1];
  fill(out, FullAttrs{});
  const int64_t row = std::max<int64_t>(0, -k), column = std::max<int64_t>(0, k);
  const int64_t n = std::max<int64_t>(0, std::min(rows - row, columns - column));
  if (n == 0) return;
  const FullAttrs one = value_bytes(1.0, out.dtype());
  const cpu::Operand diagonal{
      static_cast<char*>(out.raw()) + (row * columns + column) * static_cast<int64_t>(itemsize(out.dtype())),
      out.dtype(), out.dtype(), Dims{columns + 1}};
  cpu::run_copy({n}, diagonal, {const_cast<char*>(one.bytes), out.dtype(), out.dtype(), Dims{0}});
}

}  // namespace lanner
