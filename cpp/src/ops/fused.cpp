#include "ops/fused.h"

#include <cmath>

#include "lanner/ops/elementwise.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "ops/elementwise.h"
#include "ops/fused_kernel.h"

namespace lanner {
namespace {

using Program = ElementwiseProgram;

// The dtype that a kernel computes in where its operands have the dtype t, or none.
std::optional<DType> kernel_dtype(const cpu::ElementwiseKernel& k, DType t) {
  if (k.fn[static_cast<int>(t)]) return t;
  const bool in_float = is_half(t) || (!is_floating(t) && !k.fn[static_cast<int>(DType::Int64)]);
  if (in_float && k.fn[static_cast<int>(DType::Float32)]) return DType::Float32;
  return std::nullopt;
}

Program::Reduction reduction_of(Op op) {
  switch (op) {
    case Op::Sum: return Program::Reduction::Sum;
    case Op::Mean: return Program::Reduction::Mean;
    case Op::SumSquares: return Program::Reduction::SumSquares;
    case Op::Max: return Program::Reduction::Max;
    case Op::Min: return Program::Reduction::Min;
    default: return Program::Reduction::None;
  }
}

}  // namespace

bool can_fuse(Op op) { return op == Op::Cast || ((op_traits(op) & kFusible) && elementwise_kernel(op)); }

int ProgramBuilder::input(DType dtype, bool weak) {
  if (program_.inputs == Program::kMaxInputs) return -1;
  dtype_[program_.inputs] = dtype;
  weak_[program_.inputs] = weak;
  return program_.inputs++;
}

int ProgramBuilder::add_constant(double value) {
  if (program_.constants == Program::kMaxConstants) return -1;
  program_.constant[program_.constants] = value;
  return Program::kFirstConstant + program_.constants++;
}

int ProgramBuilder::constant(double value, DType dtype, bool weak) {
  if (!is_floating(dtype) && !(std::abs(value) <= 0x1p53)) return -1;  // a double would round it
  for (int c = Program::kFirstConstant; c < Program::kFirstConstant + program_.constants; ++c)
    if (std::memcmp(&program_.constant[c - Program::kFirstConstant], &value, sizeof value) == 0 && dtype_[c] == dtype &&
        weak_[c] == weak)
      return c;
  const int c = add_constant(value);
  if (c < 0) return -1;
  dtype_[c] = dtype;
  weak_[c] = weak;
  return c;
}

int ProgramBuilder::add_step(const Program::Step& step, DType result) {
  for (int i = 0; i < program_.steps; ++i)
    if (std::memcmp(&program_.step[i], &step, sizeof step) == 0) return Program::kFirstStep + i;
  if (program_.steps == Program::kMaxSteps) return -1;
  const int value = Program::kFirstStep + program_.steps;
  program_.step[program_.steps++] = step;
  dtype_[value] = result;
  weak_[value] = false;
  return value;
}

int ProgramBuilder::cast(int value, DType to) {
  if (value < 0 || dtype_[value] == to) return value;
  Program::Step step{Op::Cast, to, 1};
  step.in[0] = static_cast<uint8_t>(value);
  return add_step(step, to);
}

int ProgramBuilder::apply(Op op, const Attrs& attrs, std::span<const int> in, DType out) {
  for (int value : in)
    if (value < 0) return -1;
  const ProgramBuilder before = *this;
  const auto is_constant = [](int value) { return value >= Program::kFirstConstant && value < Program::kFirstStep; };
  const auto result = [&]() -> int {
    if (op == Op::Cast) return is_constant(in[0]) ? -1 : cast(in[0], out);
    if (!can_fuse(op)) return -1;
    const cpu::ElementwiseKernel& k = *elementwise_kernel(op);
    DType operands = out;
    if (k.gives_bool) {
      const int a = in[0], b = in.size() > 1 ? in[1] : in[0];
      operands = result_type(dtype_[a], weak_[a], dtype_[b], weak_[b]);
    }
    const std::optional<DType> compute = kernel_dtype(k, operands);
    if (!compute) return -1;
    Program::Step step{op, *compute, static_cast<uint8_t>(in.size())};
    for (size_t i = 0; i < in.size(); ++i) {
      // A constant is made ready in the dtype of each use.
      const int value = is_constant(in[i]) ? in[i] : cast(in[i], op == Op::Where && i == 0 ? DType::Bool : *compute);
      if (value < 0) return -1;
      step.in[i] = static_cast<uint8_t>(value);
    }
    const auto& params = attrs.get<ElementwiseParams>();
    if (params.value[0] != 0 || params.value[1] != 0) {
      const int first = add_constant(params.value[0]);
      if (first < 0 || add_constant(params.value[1]) < 0) return -1;
      step.params = static_cast<uint8_t>(first);
    }
    return cast(add_step(step, k.gives_bool ? DType::Bool : *compute), out);
  }();
  if (result < 0) *this = before;
  return result;
}

bool ProgramBuilder::output(int value) {
  if (value < Program::kFirstStep || program_.outputs == Program::kMaxOutputs) return false;
  program_.output[program_.outputs++] = {static_cast<uint8_t>(value), Program::Reduction::None};
  return true;
}

bool ProgramBuilder::output(int value, Op op, const ReduceAttrs& attrs, int rank) {
  const Program::Reduction reduction = reduction_of(op);
  if (value < Program::kFirstStep || program_.outputs == Program::kMaxOutputs ||
      reduction == Program::Reduction::None || !is_floating(dtype_[value]) || is_half(dtype_[value]))
    return false;
  unsigned reduced = 0;
  for (int64_t axis : attrs.axes) reduced |= 1u << axis;
  // Past the first axes reduced and those kept there is none kept again.
  int i = 0;
  while (i < rank && (reduced >> i & 1)) ++i;
  while (i < rank && !(reduced >> i & 1)) ++i;
  while (i < rank && (reduced >> i & 1)) ++i;
  if (i < rank || reduced == 0) return false;
  for (int k = 0; k < program_.outputs; ++k)
    if (program_.output[k].reduction != Program::Reduction::None &&
        (program_.reduced != reduced || program_.keepdims != attrs.keepdims))
      return false;
  program_.reduced = static_cast<uint8_t>(reduced);
  program_.keepdims = attrs.keepdims;
  program_.output[program_.outputs++] = {static_cast<uint8_t>(value), reduction};
  return true;
}

namespace {

Shape walked_shape(std::span<const Tensor> in) {
  Shape shape = in[0].shape();
  for (const Tensor& x : in) shape = broadcast_shapes(shape, x.shape(), "fused_elementwise");
  return shape;
}

Shape output_shape(const Program& p, int k, const Shape& walked) {
  if (p.output[k].reduction == Program::Reduction::None) return walked;
  Shape shape;
  for (int i = 0; i < walked.size(); ++i) {
    const bool reduced = p.reduced >> i & 1;
    if (!reduced || p.keepdims) shape.push_back(reduced ? 1 : walked[i]);
  }
  return shape;
}

DType result_dtype(const Program::Step& s) {
  return s.op != Op::Cast && elementwise_kernel(s.op)->gives_bool ? DType::Bool : s.dtype;
}

class PreparedElementwise : public Prepared {
 public:
  explicit PreparedElementwise(const Run& r) : kernel_(r.attrs.get<Program>(), walked_shape(r.in), r.in, r.out) {}
  void run(const Run& r) override { kernel_.run(r.in, r.out); }

 private:
  FusedKernel kernel_;
};

}  // namespace

Tensors fused_elementwise(const Program& p, std::span<const Tensor> in) {
  check(p.inputs == static_cast<int>(in.size()) && p.inputs > 0 && p.outputs > 0, "fused_elementwise: the program has ",
        int{p.inputs}, " inputs and ", int{p.outputs}, " outputs, got ", in.size(), " tensors");
  const Shape walked = walked_shape(in);
  std::vector<OutSpec> specs;
  for (int k = 0; k < p.outputs; ++k)
    specs.push_back({output_shape(p, k, walked), result_dtype(p.step[p.output[k].value - Program::kFirstStep])});
  return emit(Op::FusedElementwise, in, p, specs);
}

LANNER_RUN(FusedElementwise) { FusedKernel(r.attrs.get<Program>(), walked_shape(r.in), r.in, r.out).run(r.in, r.out); }
LANNER_PREPARE(FusedElementwise) { return std::make_unique<PreparedElementwise>(r); }

Tensors decompose(const Program& p, std::span<const Tensor> in) {
  Tensors value(Program::kValues);
  std::copy(in.begin(), in.end(), value.begin());
  for (int i = 0; i < p.steps; ++i) {
    const Program::Step& s = p.step[i];
    Tensor& result = value[static_cast<size_t>(Program::kFirstStep + i)];
    if (s.op == Op::Cast) {
      result = ops::cast(value[s.in[0]], s.dtype);
      continue;
    }
    Tensors operands;
    Shape shape;
    for (int k = 0; k < s.operands; ++k) {
      const int from = s.in[k];
      const bool is_constant = from >= Program::kFirstConstant && from < Program::kFirstStep;
      const DType dtype = s.op == Op::Where && k == 0 ? DType::Bool : s.dtype;
      operands.push_back(is_constant ? Tensor::scalar(p.constant[from - Program::kFirstConstant], dtype) : value[from]);
      shape = broadcast_shapes(shape, operands.back().shape(), "fused_elementwise");
    }
    ElementwiseParams params;
    if (s.params) std::copy_n(p.constant + (s.params - Program::kFirstConstant), 2, params.value);
    const OutSpec spec{shape, result_dtype(s)};
    result = emit(s.op, operands, params, std::span(&spec, 1))[0];
  }
  const Shape walked = walked_shape(in);
  Dims axes;
  for (int i = 0; i < walked.size(); ++i)
    if (p.reduced >> i & 1) axes.push_back(i);
  Tensors out;
  for (int k = 0; k < p.outputs; ++k) {
    const Tensor x = ops::broadcast_to(value[p.output[k].value], walked);
    switch (p.output[k].reduction) {
      case Program::Reduction::None: out.push_back(x); break;
      case Program::Reduction::Sum: out.push_back(ops::sum(x, axes, p.keepdims)); break;
      case Program::Reduction::Mean: out.push_back(ops::mean(x, axes, p.keepdims)); break;
      case Program::Reduction::SumSquares: out.push_back(ops::sum_squares(x, axes, p.keepdims)); break;
      case Program::Reduction::Max: out.push_back(ops::max(x, axes, p.keepdims)); break;
      case Program::Reduction::Min: out.push_back(ops::min(x, axes, p.keepdims)); break;
    }
  }
  return out;
}

}  // namespace lanner
