#include "ops/elementwise.h"

#include "cpu/dispatch.h"
#include "cpu/strided.h"
#include "lanner/ops/elementwise.h"
#include "lanner/parallel.h"

namespace lanner {
namespace {

using cpu::ElementwiseKernel;

// Where an op's kernel stands in the lists, the same for each instruction set.
struct Place {
  int list = -1, index = 0;
};

Place find(const char* name) {
  const auto& lists = cpu::kernels().elementwise->lists;
  for (int l = 0; l < cpu::kElementwiseLists; ++l)
    for (int i = 0; i < lists[l]->count; ++i)
      if (std::strcmp(lists[l]->begin[i].name, name) == 0) return {l, i};
  return {};
}

const ElementwiseKernel& kernel_of(Op op) { return *elementwise_kernel(op); }

bool has(const ElementwiseKernel& k, DType t) {
  return k.fn[static_cast<int>(t)] || (is_half(t) && k.fn[static_cast<int>(DType::Float32)]);
}

// The dtype of the inputs once they are brought together: where the kernel has none for integers, they become float32.
DType input_dtype(const char* name, const ElementwiseKernel& k, std::span<const Tensor> in) {
  const DType t = ops::result_type(in[0], in.size() > 1 ? in[1] : in[0]);
  if (has(k, t)) return t;
  if (!is_floating(t) && has(k, DType::Float32) && !has(k, DType::Int64)) return DType::Float32;
  const char* wanted = !has(k, DType::Float32) ? (has(k, DType::Bool) ? "integers or bools" : "integers") : "numbers";
  throw DTypeError(std::string(name) + ": takes " + wanted + ", got " + dtype_name(in[0].dtype()) +
                   (in.size() > 1 ? std::string(" and ") + dtype_name(in[1].dtype()) : ""));
}

Shape common_shape(std::span<const Tensor> in, const char* name) {
  Shape shape = in[0].shape();
  for (size_t i = 1; i < in.size(); ++i)
    if (!(in[i].shape() == shape)) shape = broadcast_shapes(shape, in[i].shape(), name);
  return shape;
}

// The common case without the driver: everything contiguous, of one dtype and shape, or one value for all.
bool run_neighbours(const ElementwiseKernel& k, std::span<const Tensor> in, const Tensor& out, DType t,
                    const double* params) {
  if (out.dtype() != (k.gives_bool ? DType::Bool : t)) return false;
  for (const Tensor& x : in)
    if (x.dtype() != t || !(x.size() == 1 || (x.is_contiguous() && x.shape() == out.shape()))) return false;
  parallel_for(out.size(), k.grain, [&](int64_t begin, int64_t end) {
    cpu::Block b;
    b.rows = 1;
    b.columns = end - begin;
    b.out = static_cast<char*>(out.raw()) + begin * static_cast<int64_t>(itemsize(out.dtype()));
    b.params = params;
    for (size_t i = 0; i < in.size(); ++i) {
      b.in_step[i] = in[i].size() != 1;
      b.in[i] = static_cast<char*>(in[i].raw()) + begin * b.in_step[i] * static_cast<int64_t>(itemsize(t));
    }
    k.fn[static_cast<int>(t)](b);
  });
  return true;
}

// `t`: the dtype of the inputs, but for the condition of `where`.
void run_kernel(Op op, std::span<const Tensor> in, const Tensor& out, DType t, const double* params) {
  const ElementwiseKernel& k = kernel_of(op);
  const DType compute = k.fn[static_cast<int>(t)] ? t : DType::Float32;
  if (out.is_contiguous() && run_neighbours(k, in, out, compute, params)) return;
  cpu::Operand operands[cpu::kMaxInputs];
  for (size_t i = 0; i < in.size(); ++i) {
    const DType as = op == Op::Where && i == 0 ? DType::Bool : compute;
    operands[i] = {in[i].raw(), in[i].dtype(), as, broadcast_strides(in[i], out.shape())};
  }
  const cpu::Operand target{out.raw(), out.dtype(), k.gives_bool ? DType::Bool : compute, out.strides()};
  cpu::run_elementwise(k.fn[static_cast<int>(compute)], k.grain, out.shape(), target, std::span(operands, in.size()),
                       params);
}

// The dtype in which a run computes, found again from what was passed to emit.
DType run_dtype(Op op, std::span<const Tensor> in, DType out) {
  const ElementwiseKernel& k = kernel_of(op);
  return k.gives_bool ? input_dtype(op_name(op), k, in) : out;
}

}  // namespace

const ElementwiseKernel* elementwise_kernel(Op op) {
  static const auto places = [] {
    std::array<Place, static_cast<size_t>(Op::Count)> found;
    for (size_t i = 0; i < found.size(); ++i) found[i] = find(op_name(static_cast<Op>(i)));
    return found;
  }();
  const Place place = places[static_cast<size_t>(op)];
  return place.list < 0 ? nullptr : &cpu::kernels().elementwise->lists[place.list]->begin[place.index];
}

Dims broadcast_strides(const Shape& x, const Dims& strides, const Shape& shape) {
  if (x == shape) return strides;
  Dims out = Dims::filled(shape.size(), 0);
  const int lead = shape.size() - x.size();
  for (int i = 0; i < x.size(); ++i) out[lead + i] = x[i] == 1 ? 0 : strides[i];
  return out;
}

Dims broadcast_strides(const Tensor& x, const Shape& shape) { return broadcast_strides(x.shape(), x.strides(), shape); }

Tensor elementwise(Op op, std::initializer_list<Tensor> in, const ElementwiseParams& params) {
  const std::span<const Tensor> inputs(in.begin(), in.size());
  const ElementwiseKernel& k = kernel_of(op);
  const DType t = input_dtype(op_name(op), k, inputs);
  return emit(op, in, params, {common_shape(inputs, op_name(op)), k.gives_bool ? DType::Bool : t});
}

void run_elementwise(const Run& r) {
  run_kernel(r.op, r.in, r.out[0], run_dtype(r.op, r.in, r.out[0].dtype()), r.attrs.get<ElementwiseParams>().value);
}

DType result_type(DType a, bool a_is_weak, DType b, bool b_is_weak) {
  const auto with_weak = [](DType t, DType number) {
    if (is_floating(t)) return t;
    if (is_floating(number)) return DType::Float32;
    return t == DType::Bool ? DType::Int64 : t;
  };
  if (a_is_weak && b_is_weak) return is_floating(a) || is_floating(b) ? DType::Float32 : DType::Int64;
  if (b_is_weak) return with_weak(a, b);
  if (a_is_weak) return with_weak(b, a);
  return promote(a, b);
}

namespace ops {

DType result_type(const Tensor& a, const Tensor& b) {
  return lanner::result_type(a.dtype(), a.is_weak(), b.dtype(), b.is_weak());
}

#define LANNER_ELEMENTWISE_1(Name, name, python_name, traits, doc, example, result) \
  Tensor name(const Tensor& x) { return elementwise(Op::Name, {x}); }
#define LANNER_ELEMENTWISE_2(Name, name, python_name, traits, doc, example, result) \
  Tensor name(const Tensor& x1, const Tensor& x2) { return elementwise(Op::Name, {x1, x2}); }
#include "lanner/ops/elementwise.def"

// A number as the exponent is known here, and often one that has a shorter way.
Tensor pow(const Tensor& x1, const Tensor& x2) {
  if (x2.is_weak() && x2.ndim() == 0 && (is_floating(x1.dtype()) || !is_floating(x2.dtype()))) {
    const double exponent = x2.item();
    if (exponent == 2 && x1.dtype() != DType::Bool) return square(x1);
    if (is_floating(x1.dtype())) {
      if (exponent == 0.5) return sqrt(x1);
      if (exponent == -0.5) return rsqrt(x1);
      if (exponent == -1) return reciprocal(x1);
    }
  }
  return elementwise(Op::Pow, {x1, x2});
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  const Shape shape = broadcast_shapes(broadcast_shapes(condition.shape(), a.shape(), "where"), b.shape(), "where");
  return emit(Op::Where, {condition, a, b}, ElementwiseParams{}, {shape, result_type(a, b)});
}

Tensor clip(const Tensor& x, const Tensor& lo, const Tensor& hi) {
  if (!lo.defined() && !hi.defined()) return x;
  if (!hi.defined()) return maximum(x, lo);
  if (!lo.defined()) return minimum(x, hi);
  DType t = result_type(x, lo);
  t = promote(t, result_type(x, hi));
  check<DTypeError>(t != DType::Bool, "clip: takes numbers, got bool");
  const Shape shape = broadcast_shapes(broadcast_shapes(x.shape(), lo.shape(), "clip"), hi.shape(), "clip");
  return emit(Op::Clip, {x, lo, hi}, ElementwiseParams{}, {shape, t});
}

}  // namespace ops

#define LANNER_ELEMENTWISE_1(Name, name, python_name, traits, doc, example, result) \
  LANNER_RUN(Name) { run_elementwise(r); }
#define LANNER_ELEMENTWISE_2(Name, name, python_name, traits, doc, example, result) \
  LANNER_RUN(Name) { run_elementwise(r); }
#include "lanner/ops/elementwise.def"
LANNER_RUN(Pow) { run_elementwise(r); }
LANNER_RUN(Where) { run_elementwise(r); }
LANNER_RUN(Clip) { run_elementwise(r); }

}  // namespace lanner
