#include "ops/fused_kernel.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "cpu/dispatch.h"
#include "cpu/kernels/fused.h"
#include "lanner/parallel.h"
#include "ops/elementwise.h"
#include "ops/window.h"

namespace lanner {
namespace {

using Program = ElementwiseProgram;

// Of the first-level cache, for a tile of each operand and register; and the elements of a tile: the fewer, the more of
// the time goes into calling kernels, and past the most there is nothing left to gain.
constexpr int64_t kTileBytes = 32 * 1024, kLeastTile = 512, kMostTile = 4096;
// A transposed operand is read in squares: whole cache lines of both sides.
constexpr int64_t kSquare = 32;
// Rows so short that a kernel spends more on the row than on its elements: an operand that is repeated along rows or
// columns is written out, once for all tiles that see the same of it.
constexpr int64_t kShortRow = 64;
// What a light kernel takes in the first-level cache, and an operand to be brought there, an element; a grain of 20 us
// counts what the kernel waits for memory as well.
constexpr double kLightNs = 0.03, kOperandNs = 0.06, kLightGrainNs = 0.3, kGrainNs = 20'000;
// Of a reduction over leading axes, whose slices have each a sum of their own.
constexpr int64_t kMaxSlices = 32;

int log2_of_size(int bytes) { return __builtin_ctz(static_cast<unsigned>(bytes)); }

bool is_constant(int value) { return value >= Program::kFirstConstant && value < Program::kFirstStep; }

cpu::TileReduction tile_reduction(Program::Reduction r) {
  switch (r) {
    case Program::Reduction::SumSquares: return cpu::TileReduction::SumSquares;
    case Program::Reduction::Max: return cpu::TileReduction::Max;
    case Program::Reduction::Min: return cpu::TileReduction::Min;
    default: return cpu::TileReduction::Sum;
  }
}

double identity(Program::Reduction r) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return r == Program::Reduction::Max ? -kInfinity : r == Program::Reduction::Min ? kInfinity : 0;
}

// to[i] is combined with from[i].
void combine(Program::Reduction r, const double* from, double* to, int64_t n) {
  const auto each = [&](auto f) {
    for (int64_t i = 0; i < n; ++i) to[i] = f(to[i], from[i]);
  };
  if (r == Program::Reduction::Max)
    each([](double a, double b) { return b > a || b != b ? b : a; });
  else if (r == Program::Reduction::Min)
    each([](double a, double b) { return b < a || b != b ? b : a; });
  else
    each([](double a, double b) { return a + b; });
}

}  // namespace

// ---- making it ready ------------------------------------------------------------------------------------------------

FusedKernel::FusedKernel(const Program& program, const Shape& walked, std::span<const Tensor> in,
                         std::span<const Tensor> out)
    : program_(program) {
  walk(walked, in, out);
  describe_values(in);
  place_values();
  cut();
}

void FusedKernel::walk(const Shape& shape, std::span<const Tensor> in, std::span<const Tensor> out) {
  Dims strides[kOperands];
  for (Dims& s : strides) s = Dims::filled(shape.size(), 0);
  for (int k = 0; k < program_.inputs; ++k) strides[k] = broadcast_strides(in[static_cast<size_t>(k)], shape);
  for (int k = 0; k < program_.outputs; ++k) {
    if (program_.output[k].reduction == Program::Reduction::None)
      strides[kOutput + k] = out[static_cast<size_t>(k)].strides();
    else
      has_reduction_ = true;
  }
  if (has_reduction_) {
    for (int i = shape.size() - 1; i >= 0; --i) {
      if (program_.reduced >> i & 1) {
        reduced_ *= shape[i];
      } else {
        strides[kKept][i] = kept_;
        kept_ *= shape[i];
      }
    }
  }
  int last = -1;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    bool merge = last >= 0;
    for (int k = 0; k < kOperands && merge; ++k) merge = stride_[k][last] == strides[k][i] * shape[i];
    if (merge) {
      size_[last] *= shape[i];
    } else {
      size_[++last] = shape[i];
    }
    for (int k = 0; k < kOperands; ++k) stride_[k][last] = strides[k][i];
  }
  rank_ = std::max(1, last + 1);
  columns_ = size_[rank_ - 1];
  if (rank_ > 1) rows_ = size_[rank_ - 2];
  for (int i = 0; i < rank_ - 2; ++i) outer_ *= size_[i];
}

void FusedKernel::describe_values(std::span<const Tensor> in) {
  const cpu::ElementwiseKernels& kernels = *cpu::kernels().elementwise;
  for (int k = 0; k < program_.inputs; ++k) {
    const int64_t step = stride_[k][rank_ - 1];
    Value& v = value_[k];
    v.dtype = in[static_cast<size_t>(k)].dtype();
    v.by_column = step != 0;
    v.by_row = rank_ > 1 && stride_[k][rank_ - 2] != 0;
    loaded_[k] = step != 0 && step != 1 && columns_ > 1;
    if (columns_ < kShortRow && rows_ > 1 && v.by_row != v.by_column) {
      loaded_[k] = repeated_[k] = true;
      v.by_row = v.by_column = true;
    }
    ns_ += kOperandNs;
  }
  for (int i = 0; i < program_.steps; ++i) {
    const Program::Step& s = program_.step[i];
    Step& step = step_[i];
    Value& v = value_[Program::kFirstStep + i];
    v.dtype = s.dtype;
    if (s.op == Op::Cast) {
      step.cast = kernels.copies->cast[static_cast<int>(value_[s.in[0]].dtype)][static_cast<int>(s.dtype)];
      ns_ += kLightNs;
    } else {
      const cpu::ElementwiseKernel& kernel = *elementwise_kernel(s.op);
      step.kernel = kernel.fn[static_cast<int>(s.dtype)];
      if (kernel.gives_bool) v.dtype = DType::Bool;
      ns_ += std::max(kLightNs, kGrainNs / static_cast<double>(kernel.grain) - kLightGrainNs);
    }
    for (int k = 0; k < s.operands; ++k) {
      const int from = s.in[k];
      v.by_row |= value_[from].by_row;
      v.by_column |= value_[from].by_column;
      step.same[k] = is_constant(from);
      if (!step.same[k]) continue;
      const DType as = s.op == Op::Where && k == 0 ? DType::Bool : s.dtype;
      kernels.copies->cast[static_cast<int>(DType::Float64)][static_cast<int>(as)](
          &program_.constant[from - Program::kFirstConstant], constant_[i][k], 1);
    }
  }
  for (Value& v : value_) v.bytes = static_cast<int>(itemsize(v.dtype));
}

// Registers, each taken by a value from its step to its last use.
void FusedKernel::place_values() {
  int last_use[Program::kValues] = {}, last_read = -1;
  for (int i = 0; i < program_.steps; ++i) {
    for (int k = 0; k < program_.step[i].operands; ++k) {
      const int from = program_.step[i].in[k];
      last_use[from] = i;
      if (from < program_.inputs && !loaded_[from] && (value_[from].by_row || value_[from].by_column)) last_read = i;
    }
  }
  for (int k = 0; k < program_.inputs; ++k)
    if (repeated_[k]) last_use[k] = Program::kMaxSteps;
  for (int k = 0; k < program_.outputs; ++k) {
    Value& v = value_[program_.output[k].value];
    last_use[program_.output[k].value] = Program::kMaxSteps;
    // Straight into the output, unless an input is read later that may lie in the same memory.
    if (program_.output[k].reduction == Program::Reduction::None && is_full(v) && v.at_output < 0 &&
        program_.output[k].value - Program::kFirstStep >= last_read)
      v.at_output = static_cast<int8_t>(k);
  }
  int8_t free[Program::kValues];
  int frees = 0, widest = 1;
  const auto take = [&](Value& v) {
    v.at_register = frees > 0 ? free[--frees] : static_cast<int8_t>(registers_++);
    widest = std::max(widest, v.bytes);
  };
  for (int k = 0; k < program_.inputs; ++k)
    if (loaded_[k]) take(value_[k]);
  for (int i = 0; i < program_.steps; ++i) {
    Value& v = value_[Program::kFirstStep + i];
    if (v.at_output < 0) take(v);
    for (int k = 0; k < program_.step[i].operands; ++k) {
      const int from = program_.step[i].in[k];
      bool again = false;  // x * x frees its register once
      for (int j = 0; j < k; ++j) again |= program_.step[i].in[j] == from;
      if (!again && last_use[from] == i && value_[from].at_register >= 0) free[frees++] = value_[from].at_register;
    }
  }
  // One more, for a reduced value that has one row or column to be written out in full.
  for (int k = 0; k < program_.outputs; ++k) {
    const Value& v = value_[program_.output[k].value];
    if (program_.output[k].reduction == Program::Reduction::None || is_full(v)) continue;
    full_register_ = registers_;
    widest = std::max(widest, v.bytes);
  }
  if (full_register_ >= 0) ++registers_;
  int64_t bytes = registers_ * widest;
  for (const Value& v : value_)
    if (v.by_column && (&v < value_ + program_.inputs || v.at_output >= 0)) bytes += v.bytes;
  tile_ = kLeastTile;
  while (tile_ < kMostTile && 2 * tile_ * bytes <= kTileBytes) tile_ *= 2;
  register_bytes_ = tile_ * widest;
}

void FusedKernel::cut() {
  bool squares = false;
  for (int k = 0; k < program_.inputs; ++k)
    squares |= loaded_[k] && !repeated_[k] && value_[k].by_row &&
               std::abs(stride_[k][rank_ - 2]) < std::abs(stride_[k][rank_ - 1]);
  if (squares && rows_ >= kSquare) {
    tile_columns_ = std::min(columns_, kSquare);
  } else {
    const int64_t pieces = std::max<int64_t>(1, (columns_ + tile_ - 1) / tile_);
    tile_columns_ = pieces == 1 ? std::max<int64_t>(1, columns_) : ((columns_ + pieces - 1) / pieces + 63) / 64 * 64;
  }
  tile_rows_ = std::clamp<int64_t>(tile_ / tile_columns_, 1, std::max<int64_t>(1, rows_));
  row_tiles_ = (rows_ + tile_rows_ - 1) / tile_rows_;
  column_tiles_ = (columns_ + tile_columns_ - 1) / tile_columns_;
  tiles_ = outer_ * row_tiles_ * column_tiles_;
  grain_ =
      std::max<int64_t>(1, static_cast<int64_t>(kGrainNs / (ns_ * static_cast<double>(tile_rows_ * tile_columns_))));
}

// ---- tiles ----------------------------------------------------------------------------------------------------------

// A slice of the tiles, on one thread; `kept`: for each output what its reduction has come to, by index of what is kept.
struct FusedKernel::Slice {
  int64_t begin, end;
  double* kept[Program::kMaxOutputs];
};

FusedKernel::Cursor FusedKernel::cursor(int64_t tile) const {
  Cursor c;
  c.column = tile % column_tiles_;
  tile /= column_tiles_;
  c.row = tile % row_tiles_;
  c.outer = tile / row_tiles_;
  return c;
}

void FusedKernel::advance(Cursor& c) const {
  if (++c.column < column_tiles_) return;
  c.column = 0;
  if (++c.row < row_tiles_) return;
  c.row = 0;
  ++c.outer;
}

// Where a tile begins in each operand, in elements, and its size.
void FusedKernel::locate(const Cursor& c, int64_t* offset, int64_t* rows, int64_t* columns) const {
  const int64_t column = c.column * tile_columns_, row = c.row * tile_rows_;
  int64_t rest = c.outer, index[kMaxRank];
  for (int i = rank_ - 3; i >= 0; --i) {
    index[i] = rest % size_[i];
    rest /= size_[i];
  }
  for (int k = 0; k < kOperands; ++k) {
    if (k == program_.inputs) k = kOutput;
    if (k == kOutput + program_.outputs) k = kKept;
    int64_t at = column * stride_[k][rank_ - 1];
    if (rank_ > 1) at += row * stride_[k][rank_ - 2];
    for (int i = 0; i < rank_ - 2; ++i) at += index[i] * stride_[k][i];
    offset[k] = at;
  }
  *rows = std::min(tile_rows_, rows_ - row);
  *columns = std::min(tile_columns_, columns_ - column);
}

void FusedKernel::run_cast(int step, int64_t rows, int64_t columns, Place* place) const {
  const Program::Step& s = program_.step[step];
  const Place from = place[s.in[0]], to = place[Program::kFirstStep + step];
  const Value &v = value_[Program::kFirstStep + step], &x = value_[s.in[0]];
  const CastFn cast = step_[step].cast;
  const int64_t n = v.by_column ? columns : 1, m = v.by_row ? rows : 1;
  if (m == 1 || (from.row == n && to.row == n)) return cast(from.data, to.data, m * n);
  for (int64_t r = 0; r < m; ++r) cast(from.data + r * from.row * x.bytes, to.data + r * to.row * v.bytes, n);
}

void FusedKernel::run_step(int step, int64_t rows, int64_t columns, Place* place) const {
  const Program::Step& s = program_.step[step];
  const Value& v = value_[Program::kFirstStep + step];
  const Place& out = place[Program::kFirstStep + step];
  cpu::Block b;
  b.rows = v.by_row ? rows : 1;
  b.columns = v.by_column ? columns : 1;
  b.out = out.data;
  b.out_row = out.row;
  b.params = s.params ? program_.constant + (s.params - Program::kFirstConstant) : nullptr;
  // Rows without a gap are one row; a column is one as well.
  bool joined = b.rows > 1 && out.row == b.columns;
  for (int k = 0; k < s.operands; ++k) {
    if (step_[step].same[k]) {
      b.in[k] = constant_[step][k];
      continue;
    }
    const Place& p = place[s.in[k]];
    b.in[k] = p.data;
    b.in_row[k] = p.row;
    b.in_step[k] = p.step;
    joined &= v.by_column ? (p.step == 1 ? p.row == b.columns : p.row == 0) : p.row == 0 || p.row == 1;
  }
  if (joined) {
    for (int k = 0; k < s.operands; ++k)
      if (!v.by_column) b.in_step[k] = b.in_row[k];
    b.columns *= b.rows;
    b.rows = 1;
  }
  step_[step].kernel(b);
}

FusedKernel::Place FusedKernel::place_of(const Value& v, char* registers, int64_t columns) const {
  const int64_t width = v.by_column ? columns : 1;
  return {registers + v.at_register * register_bytes_, v.by_row ? width : 0, v.by_column};
}

// Leaves in `place` where each value lies. `before`: the tile run before, of the same size.
void FusedKernel::run_tile(const Pointers& at, const Pointers* before, int64_t rows, int64_t columns, char* registers,
                           Place* place) const {
  const cpu::CopyKernels& copies = *cpu::kernels().elementwise->copies;
  const auto row_of = [&](int k) { return rank_ > 1 ? stride_[k][rank_ - 2] : 0; };
  for (int k = 0; k < program_.inputs; ++k) {
    const Value& v = value_[k];
    if (!loaded_[k]) {
      place[k] = {at.of[k], row_of(k), v.by_column};
      continue;
    }
    place[k] = place_of(v, registers, columns);
    if (repeated_[k] && before && before->of[k] == at.of[k]) continue;
    copies.copy[log2_of_size(v.bytes)](
        {v.by_row ? rows : 1, columns, at.of[k], row_of(k), stride_[k][rank_ - 1], place[k].data, columns, 1});
  }
  for (int i = 0; i < program_.steps; ++i) {
    const int value = Program::kFirstStep + i;
    const Value& v = value_[value];
    if (v.at_output >= 0)
      place[value] = {at.of[kOutput + v.at_output], row_of(kOutput + v.at_output), 1};
    else
      place[value] = place_of(v, registers, columns);
    if (step_[i].cast)
      run_cast(i, rows, columns, place);
    else
      run_step(i, rows, columns, place);
  }
  for (int k = 0; k < program_.outputs; ++k) {
    const Value& v = value_[program_.output[k].value];
    if (program_.output[k].reduction != Program::Reduction::None || v.at_output == k) continue;
    const Place& from = place[program_.output[k].value];
    copies.copy[log2_of_size(v.bytes)](
        {rows, columns, from.data, from.row, from.step, at.of[kOutput + k], row_of(kOutput + k), 1});
  }
}

void FusedKernel::run_tiles(const Pointers& base, Slice& slice) const {
  const Workspace memory(static_cast<size_t>(registers_ * register_bytes_));
  char* const registers = memory.as<char>();
  Place place[Program::kValues];
  int64_t offset[kOperands], rows, columns;
  Pointers at, before;
  int64_t rows_before = 0, columns_before = 0;
  Cursor c = cursor(slice.begin);
  for (int64_t t = slice.begin; t < slice.end; ++t, advance(c)) {
    locate(c, offset, &rows, &columns);
    for (int k = 0; k < program_.inputs; ++k) at.of[k] = base.of[k] + offset[k] * value_[k].bytes;
    for (int k = 0; k < program_.outputs; ++k)
      at.of[kOutput + k] = base.of[kOutput + k] + offset[kOutput + k] * value_[program_.output[k].value].bytes;
    run_tile(at, rows == rows_before && columns == columns_before ? &before : nullptr, rows, columns, registers, place);
    before = at, rows_before = rows, columns_before = columns;
    for (int k = 0; k < program_.outputs; ++k) {
      if (program_.output[k].reduction == Program::Reduction::None) continue;
      Place x = place[program_.output[k].value];
      const Value& v = value_[program_.output[k].value];
      if (!is_full(v)) {
        char* const full = registers + full_register_ * register_bytes_;
        cpu::kernels().elementwise->copies->copy[log2_of_size(v.bytes)](
            {rows, columns, x.data, x.row, x.step, full, columns, 1});
        x = {full, columns, 1};
      }
      reduce_tile(k, x, rows, columns, slice.kept[k] + offset[kKept]);
    }
  }
}

void FusedKernel::run(std::span<const Tensor> in, std::span<const Tensor> out) const {
  Pointers base;
  for (int k = 0; k < program_.inputs; ++k) base.of[k] = static_cast<char*>(in[static_cast<size_t>(k)].raw());
  for (int k = 0; k < program_.outputs; ++k)
    base.of[kOutput + k] = static_cast<char*>(out[static_cast<size_t>(k)].raw());
  if (has_reduction_) return reduce(base, out);
  parallel_for(tiles_, grain_, [&](int64_t begin, int64_t end) {
    Slice slice{begin, end, {}};
    run_tiles(base, slice);
  });
}

// ---- reductions -----------------------------------------------------------------------------------------------------

// A tile's share of a reduction, added to `kept`.
void FusedKernel::reduce_tile(int output, const Place& x, int64_t rows, int64_t columns, double* kept) const {
  const Value& v = value_[program_.output[output].value];
  const int64_t kept_row = rank_ > 1 ? stride_[kKept][rank_ - 2] : 0;
  const cpu::TileReduceKernels& kernels = cpu::kernels().fused->reduce;
  const int kind = static_cast<int>(tile_reduction(program_.output[output].reduction)),
            type = v.dtype == DType::Float64;
  if (stride_[kKept][rank_ - 1] == 0) return kernels.rows[type][kind](x.data, rows, columns, x.row, kept, kept_row);
  const int64_t together = kept_row == 0 ? rows : 1;  // else each row is of other elements
  for (int64_t r = 0; r < rows; r += together)
    kernels.columns[type][kind](x.data + r * x.row * v.bytes, together, columns, x.row, kept + r * kept_row, 1);
}

// The slices of the tiles, cut by size alone, have each their sums, which are added in the order of the slices.
void FusedKernel::reduce(const Pointers& base, std::span<const Tensor> out) const {
  // Where the outermost dimension is kept, slices follow each other in what is kept, with at most one element in common.
  const bool leading = stride_[kKept][0] == 0;
  int64_t grain = leading ? std::max(grain_, (tiles_ + kMaxSlices - 1) / kMaxSlices) : grain_;
  if (tile_rows_ > 1 && tiles_ > 0) grain = (grain + column_tiles_ - 1) / column_tiles_ * column_tiles_;
  const int64_t slices = tiles_ == 0 ? 0 : (tiles_ + grain - 1) / grain;
  const int64_t all = leading ? slices * kept_ : kept_ + slices;
  const auto kept_of = [&](int64_t slice, int64_t* first, int64_t* last) {
    int64_t offset[kOperands], rows, columns;
    *first = 0;
    *last = kept_ - 1;
    if (leading) return;
    locate(cursor(slice * grain), offset, &rows, &columns);
    *first = offset[kKept];
    locate(cursor(std::min(tiles_, (slice + 1) * grain) - 1), offset, &rows, &columns);
    *last = offset[kKept] + (columns - 1) * stride_[kKept][rank_ - 1];
    if (rank_ > 1) *last += (rows - 1) * stride_[kKept][rank_ - 2];
  };
  const Workspace sums(static_cast<size_t>(all * program_.outputs) * sizeof(double));
  // Where slice s has the sum of the element k of output o: at place(o, s) + k.
  const auto place = [&](int o, int64_t s, int64_t first) {
    return sums.as<double>() + o * all + (leading ? s * kept_ : s + first) - first;
  };
  parallel_for(tiles_, grain, [&](int64_t begin, int64_t end) {
    Slice slice{begin, end, {}};
    int64_t first, last;
    kept_of(begin / grain, &first, &last);
    for (int o = 0; o < program_.outputs; ++o) {
      slice.kept[o] = place(o, begin / grain, first);
      std::fill(slice.kept[o] + first, slice.kept[o] + last + 1, identity(program_.output[o].reduction));
    }
    run_tiles(base, slice);
  });
  const Workspace memory(slices == 1 ? 0 : static_cast<size_t>(kept_) * sizeof(double));
  for (int o = 0; o < program_.outputs; ++o) {
    const Program::Reduction kind = program_.output[o].reduction;
    if (kind == Program::Reduction::None) continue;
    double* const total = slices == 1 ? place(o, 0, 0) : memory.as<double>();
    if (slices != 1) {
      std::fill_n(total, kept_, identity(kind));
      for (int64_t s = 0; s < slices; ++s) {
        int64_t first, last;
        kept_of(s, &first, &last);
        combine(kind, place(o, s, first) + first, total + first, last - first + 1);
      }
    }
    if (kind == Program::Reduction::Mean)
      for (int64_t k = 0; k < kept_; ++k) total[k] /= static_cast<double>(reduced_);
    with_float_type(out[static_cast<size_t>(o)].dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* const y = out[static_cast<size_t>(o)].data<T>();
      for (int64_t k = 0; k < kept_; ++k) y[k] = static_cast<T>(total[k]);
    });
  }
}

}  // namespace lanner
