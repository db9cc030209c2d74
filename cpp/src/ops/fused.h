// Elementwise ops joined by a plan: one pass over memory, tile by tile, the values in between in the first-level cache.
#pragma once

#include <optional>

#include "ops/op.h"
#include "ops/reduce.h"

namespace lanner {

// The attributes of Op::FusedElementwise. Values are numbered: inputs from 0, constants from kFirstConstant, the results
// of the steps from kFirstStep. A value may be smaller than the shape that is walked over, which is what the inputs
// broadcast to; an output is of that shape, or a reduction of a value of that shape.
struct ElementwiseProgram {
  static constexpr int kMaxInputs = 12, kMaxConstants = 16, kMaxSteps = 28, kMaxOutputs = 4;
  static constexpr int kFirstConstant = kMaxInputs, kFirstStep = kFirstConstant + kMaxConstants,
                       kValues = kFirstStep + kMaxSteps;

  // A kernel run in `dtype`: that of its operands, but for the condition of where, which is bool. Op::Cast: of its
  // result.
  struct Step {
    Op op = Op::Count;
    DType dtype = DType::Bool;
    uint8_t operands = 0;
    uint8_t in[3] = {};
    uint8_t params = 0;  // the first of two constants, the op's ElementwiseParams; 0: none
  };
  enum class Reduction : uint8_t { None, Sum, Mean, SumSquares, Max, Min };
  struct Output {
    uint8_t value = 0;
    Reduction reduction = Reduction::None;
  };

  uint8_t inputs = 0, constants = 0, steps = 0, outputs = 0;
  uint8_t reduced = 0;  // bit i: axis i, of the shape walked over, is reduced, in all outputs that are reductions
  bool keepdims = false;
  Output output[kMaxOutputs];
  Step step[kMaxSteps];
  double constant[kMaxConstants] = {};
};

// Whether ProgramBuilder::apply takes it: an elementwise op, of any dtype.
bool can_fuse(Op op);

// Makes a program, op by op. What has no room is refused, with -1 or false, and leaves the program as it was.
class ProgramBuilder {
 public:
  // A value's dtype; a weak one is a number that takes the dtype of what it is combined with.
  int input(DType dtype, bool weak = false);
  int constant(double value, DType dtype, bool weak = false);
  // What `op` gives of `in`, where it was recorded with these attributes and gave the dtype `out`. What ops on tensors do
  // unseen (operands brought to one dtype, float16 computed in float32) becomes steps of its own.
  int apply(Op op, const Attrs& attrs, std::span<const int> in, DType out);
  // One more output: a value computed by a step, or (Op::Sum, Mean, SumSquares, Max, Min) its reduction. All reductions
  // of a program have the same axes, of the `rank` of the shape walked over: some of the first, some of the last, or
  // both, so that the others are neighbours; and a floating dtype that is no half one.
  bool output(int value);
  bool output(int value, Op reduction, const ReduceAttrs& attrs, int rank);

  DType dtype(int value) const { return dtype_[value]; }
  const ElementwiseProgram& program() const { return program_; }

 private:
  int add_constant(double value);
  int add_step(const ElementwiseProgram::Step& step, DType result);
  int cast(int value, DType to);
  bool is_step(int value) const { return value >= ElementwiseProgram::kFirstStep; }

  ElementwiseProgram program_;
  DType dtype_[ElementwiseProgram::kValues] = {};
  bool weak_[ElementwiseProgram::kValues] = {};
};

// Runs the program: one tensor an output. The outputs may lie where inputs of their shape, dtype and strides did.
Tensors fused_elementwise(const ElementwiseProgram& program, std::span<const Tensor> in);
// The same with the ops that it was made of.
Tensors decompose(const ElementwiseProgram& program, std::span<const Tensor> in);

}  // namespace lanner
