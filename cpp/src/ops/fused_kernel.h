// An ElementwiseProgram made ready for operands of given shapes, strides and dtypes: a walk with as few dimensions as the
// strides allow, cut into tiles that stay in the first-level cache; on each tile every step is one call of its kernel.
#pragma once

#include "cpu/kernels/elementwise.h"
#include "ops/fused.h"

namespace lanner {

class FusedKernel {
 public:
  FusedKernel(const ElementwiseProgram& program, const Shape& walked, std::span<const Tensor> in,
              std::span<const Tensor> out);
  // On operands like those that it was made for.
  void run(std::span<const Tensor> in, std::span<const Tensor> out) const;

 private:
  using Program = ElementwiseProgram;
  using CastFn = void (*)(const void* from, void* to, int64_t n);
  // The operands: inputs, outputs, and what reductions keep, as an array in which reduced axes have stride 0.
  static constexpr int kOutput = Program::kMaxInputs, kKept = kOutput + Program::kMaxOutputs, kOperands = kKept + 1;

  // A value on a tile: where it does not vary along rows, or along columns, it has one row, or one column.
  struct Value {
    bool by_row = false, by_column = false;
    int8_t at_register = -1, at_output = -1;  // where its tile lies; neither: in the input or constant that it is
    DType dtype = DType::Bool;
    int bytes = 0;
  };
  struct Step {
    cpu::BlockFn kernel = nullptr;
    CastFn cast = nullptr;  // instead of it
    bool same[3] = {};      // an operand that is a constant
  };
  struct Place {
    char* data;
    int64_t row, step;  // in elements
  };
  struct Pointers {
    char* of[kOperands];
  };
  struct Cursor {  // a tile, by its place in the walk
    int64_t outer, row, column;
  };
  struct Slice;

  void walk(const Shape& shape, std::span<const Tensor> in, std::span<const Tensor> out);
  void describe_values(std::span<const Tensor> in);
  void place_values();
  void cut();

  void run_tiles(const Pointers& base, Slice& slice) const;
  void run_tile(const Pointers& at, const Pointers* before, int64_t rows, int64_t columns, char* registers,
                Place* place) const;
  void run_step(int step, int64_t rows, int64_t columns, Place* place) const;
  void run_cast(int step, int64_t rows, int64_t columns, Place* place) const;
  Cursor cursor(int64_t tile) const;
  void advance(Cursor& c) const;
  void locate(const Cursor& c, int64_t* offset, int64_t* rows, int64_t* columns) const;
  void reduce(const Pointers& base, std::span<const Tensor> out) const;
  void reduce_tile(int output, const Place& x, int64_t rows, int64_t columns, double* kept) const;

  bool is_full(const Value& v) const { return (v.by_row || rows_ == 1) && (v.by_column || columns_ == 1); }
  Place place_of(const Value& v, char* registers, int64_t columns) const;

  Program program_;

  int rank_ = 1;
  int64_t size_[kMaxRank] = {1};
  int64_t stride_[kOperands][kMaxRank] = {};
  int64_t outer_ = 1, rows_ = 1, columns_ = 1;  // the last two dimensions, and all before them
  int64_t kept_ = 1, reduced_ = 1;              // elements of a reduction, and how many make one
  bool has_reduction_ = false;

  Value value_[Program::kValues];
  Step step_[Program::kMaxSteps];
  alignas(8) char constant_[Program::kMaxSteps][3][8] = {};
  bool loaded_[Program::kMaxInputs] = {};    // copied to a register first
  bool repeated_[Program::kMaxInputs] = {};  // and that with its repeated rows or columns written out
  int registers_ = 0;
  int full_register_ = -1;
  int64_t register_bytes_ = 0;
  double ns_ = 0;  // an element

  int64_t tile_ = 0;  // elements at most
  int64_t tile_rows_ = 1, tile_columns_ = 1;
  int64_t row_tiles_ = 1, column_tiles_ = 1, tiles_ = 0, grain_ = 1;
};

}  // namespace lanner
