#include "cpu/strided.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cpu/dispatch.h"
#include "lanner/parallel.h"

namespace lanner::cpu {
namespace {

constexpr int kMaxOperands = kMaxInputs + 1;
// A tile of four operands of 8 bytes takes 32 KiB, with its casts 64: first-level cache on most, second on the rest.
constexpr int64_t kTile = 1024;
// A transposed operand is read in squares: whole cache lines of both.
constexpr int64_t kSquare = 32;
// Rows of a slice of such work: 256 bytes of each of its pages.
constexpr int64_t kSlice = 64;

// The walk, with as few dimensions as the strides allow; the last one is the innermost. Operand 0 is the output.
struct Loops {
  int rank = 0, operands = 0;
  int64_t size[kMaxRank];
  int64_t stride[kMaxOperands][kMaxRank];
};

// Outermost the largest stride of the output; where it is 0, or equal, of the inputs.
bool outer_of(const Loops& l, int i, int j) {
  for (int k = 0; k < l.operands; ++k) {
    const int64_t a = std::abs(l.stride[k][i]), b = std::abs(l.stride[k][j]);
    if (a != b) return a > b;
  }
  return false;
}

void swap_dimensions(Loops& l, int i, int j) {
  std::swap(l.size[i], l.size[j]);
  for (int k = 0; k < l.operands; ++k) std::swap(l.stride[k][i], l.stride[k][j]);
}

// Where an input's neighbours lie along an outer dimension, that one becomes the rows' dimension.
void bring_neighbours_inwards(Loops& l) {
  for (int k = 1; k < l.operands; ++k) {
    if (std::abs(l.stride[k][l.rank - 1]) <= 1) continue;
    for (int i = 0; i < l.rank - 2; ++i) {
      if (std::abs(l.stride[k][i]) != 1) continue;
      for (int j = i; j < l.rank - 2; ++j) swap_dimensions(l, j, j + 1);
      return;
    }
  }
}

Loops make_loops(const Shape& shape, std::span<const Operand* const> operands) {
  Loops l;
  l.operands = static_cast<int>(operands.size());
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    l.size[l.rank] = shape[i];
    for (int k = 0; k < l.operands; ++k) l.stride[k][l.rank] = operands[k]->strides[i];
    ++l.rank;
  }
  for (int i = 1; i < l.rank; ++i)
    for (int j = i; j > 0 && outer_of(l, j, j - 1); --j) swap_dimensions(l, j, j - 1);
  int last = 0;
  for (int i = 1; i < l.rank; ++i) {
    bool merge = true;
    for (int k = 0; k < l.operands; ++k) merge &= l.stride[k][last] == l.stride[k][i] * l.size[i];
    if (merge) {
      l.size[last] *= l.size[i];
    } else {
      ++last;
      l.size[last] = l.size[i];
    }
    for (int k = 0; k < l.operands; ++k) l.stride[k][last] = l.stride[k][i];
  }
  if (l.rank == 0) {
    l.size[0] = 1;
    for (int k = 0; k < l.operands; ++k) l.stride[k][0] = 0;
  }
  l.rank = l.rank == 0 ? 1 : last + 1;
  bring_neighbours_inwards(l);
  return l;
}

// Whether an operand's neighbours lie along the rows' dimension: then blocks should be some rows high, or each of its
// cache lines is read anew for each row.
bool is_transposed(const Loops& l, int k) {
  const int last = l.rank - 1;
  return last > 0 && l.stride[k][last - 1] != 0 && std::abs(l.stride[k][last - 1]) < std::abs(l.stride[k][last]);
}

// Calls f(offsets of each operand, rows, columns) for blocks of the last two dimensions that together cover everything,
// on several threads. `offsets` are in elements.
template <class F>
void for_blocks(const Loops& l, int64_t grain, F&& f) {
  const int64_t columns = l.size[l.rank - 1];
  int64_t rows = 1;
  for (int i = 0; i < l.rank - 1; ++i) rows *= l.size[i];
  if (rows * columns == 0) return;
  bool squares = false;
  for (int k = 0; k < l.operands; ++k) squares |= is_transposed(l, k);
  // Long rows are cut, short ones are taken several at a time.
  const int64_t height = squares ? kSlice : 1;
  const int64_t pieces = std::max<int64_t>(1, columns * height / grain);
  const int64_t piece = pieces == 1 ? columns : ((columns + pieces - 1) / pieces + 63) / 64 * 64;
  const int64_t pieces_of_row = (columns + piece - 1) / piece;
  const int64_t together = std::max(height, grain / piece);
  parallel_for((rows + together - 1) / together * pieces_of_row, 1, [&](int64_t begin, int64_t end) {
    int64_t offset[kMaxOperands];
    for (int64_t slice = begin; slice < end; ++slice) {
      const int64_t first = slice % pieces_of_row * piece,
                    last = std::min(rows, (slice / pieces_of_row + 1) * together);
      for (int64_t row = slice / pieces_of_row * together; row < last;) {
        int64_t rest = row, count = 1;
        for (int k = 0; k < l.operands; ++k) offset[k] = first * l.stride[k][l.rank - 1];
        for (int i = l.rank - 2; i >= 0; --i) {
          const int64_t index = rest % l.size[i];
          rest /= l.size[i];
          for (int k = 0; k < l.operands; ++k) offset[k] += index * l.stride[k][i];
          if (i == l.rank - 2) count = std::min(last - row, l.size[i] - index);
        }
        f(offset, count, std::min(piece, columns - first));
        row += count;
      }
    }
  });
}

char* at(const Operand& o, int64_t offset) {
  return static_cast<char*>(o.data) + offset * static_cast<int64_t>(itemsize(o.dtype));
}

int log2_of_size(DType t) { return __builtin_ctz(static_cast<unsigned>(itemsize(t))); }

// rows x columns of elements at `from` to neighbours at `to`, cast from o.dtype to o.as.
void load_tile(const CopyKernels& k, const Operand& o, const void* from, int64_t row, int64_t step, int64_t rows,
               int64_t columns, void* to) {
  if (o.dtype == o.as) {
    k.copy[log2_of_size(o.dtype)]({rows, columns, from, row, step, to, columns, 1});
    return;
  }
  const auto cast = k.cast[static_cast<int>(o.dtype)][static_cast<int>(o.as)];
  if (step == 1 && (rows == 1 || row == columns)) {
    cast(from, to, rows * columns);
    return;
  }
  alignas(64) char packed[kTile * 8];
  k.copy[log2_of_size(o.dtype)]({rows, columns, from, row, step, packed, columns, 1});
  cast(packed, to, rows * columns);
}

void store_tile(const CopyKernels& k, const Operand& o, const void* from, void* to, int64_t row, int64_t step,
                int64_t rows, int64_t columns) {
  if (o.dtype == o.as) {
    k.copy[log2_of_size(o.dtype)]({rows, columns, from, columns, 1, to, row, step});
    return;
  }
  const auto cast = k.cast[static_cast<int>(o.as)][static_cast<int>(o.dtype)];
  if (step == 1 && (rows == 1 || row == columns)) {
    cast(from, to, rows * columns);
    return;
  }
  alignas(64) char packed[kTile * 8];
  cast(from, packed, rows * columns);
  k.copy[log2_of_size(o.dtype)]({rows, columns, packed, columns, 1, to, row, step});
}

// A kernel on one block, through tiles for the operands that it cannot take as they are.
class Tiles {
 public:
  Tiles(const Loops& l, BlockFn kernel, std::span<const Operand* const> operands, const double* params)
      : kernel_(kernel), operands_(operands), copies_(*kernels().elementwise->copies) {
    block_.params = params;
    for (int k = 0; k < l.operands; ++k) {
      step_[k] = l.stride[k][l.rank - 1];
      row_[k] = l.rank > 1 ? l.stride[k][l.rank - 2] : 0;
      direct_[k] = operands[k]->dtype == operands[k]->as &&
                   (step_[k] == 1 || (k > 0 && step_[k] == 0) || l.size[l.rank - 1] == 1);
      all_direct_ &= direct_[k];
      if (!direct_[k] && is_transposed(l, k)) transposed_ = true;
    }
  }

  void run(const int64_t* offset, int64_t rows, int64_t columns) const {
    if (all_direct_) {
      Block b = block_;
      b.rows = rows;
      b.columns = columns;
      b.out = at(*operands_[0], offset[0]);
      b.out_row = row_[0];
      for (size_t k = 1; k < operands_.size(); ++k) set_input(b, k, at(*operands_[k], offset[k]), row_[k], step_[k]);
      kernel_(b);
      return;
    }
    alignas(64) char tile[kMaxOperands][kTile * 8];
    const int64_t width = std::min(columns, transposed_ && rows >= kSquare ? kSquare : kTile);
    const int64_t height = std::clamp<int64_t>(kTile / width, 1, rows);
    for (int64_t r = 0; r < rows; r += height)
      for (int64_t c = 0; c < columns; c += width) {
        int64_t corner[kMaxOperands];
        for (size_t k = 0; k < operands_.size(); ++k) corner[k] = offset[k] + r * row_[k] + c * step_[k];
        one_tile(corner, std::min(height, rows - r), std::min(width, columns - c), tile);
      }
  }

 private:
  static void set_input(Block& b, size_t k, const void* data, int64_t row, int64_t step) {
    b.in[k - 1] = data;
    b.in_row[k - 1] = row;
    b.in_step[k - 1] = step != 0 || b.columns == 1;
  }

  void one_tile(const int64_t* corner, int64_t rows, int64_t columns, char (*tile)[kTile * 8]) const {
    Block b = block_;
    b.rows = rows;
    b.columns = columns;
    for (size_t k = 1; k < operands_.size(); ++k) {
      const Operand& o = *operands_[k];
      const char* from = at(o, corner[k]);
      if (direct_[k]) {
        set_input(b, k, from, row_[k], step_[k]);
        continue;
      }
      // What is repeated is loaded once.
      const int64_t tile_rows = row_[k] == 0 ? 1 : rows, tile_columns = step_[k] == 0 ? 1 : columns;
      load_tile(copies_, o, from, row_[k], step_[k], tile_rows, tile_columns, tile[k]);
      set_input(b, k, tile[k], row_[k] == 0 ? 0 : tile_columns, step_[k] == 0 ? 0 : 1);
    }
    char* to = at(*operands_[0], corner[0]);
    b.out = direct_[0] ? to : tile[0];
    b.out_row = direct_[0] ? row_[0] : columns;
    kernel_(b);
    if (!direct_[0]) store_tile(copies_, *operands_[0], tile[0], to, row_[0], step_[0], rows, columns);
  }

  BlockFn kernel_;
  std::span<const Operand* const> operands_;
  const CopyKernels& copies_;
  Block block_;
  int64_t row_[kMaxOperands], step_[kMaxOperands];
  bool direct_[kMaxOperands];
  bool all_direct_ = true, transposed_ = false;
};

}  // namespace

void run_elementwise(BlockFn kernel, int64_t grain, const Shape& shape, const Operand& out, std::span<const Operand> in,
                     const double* params) {
  const Operand* operands[kMaxOperands] = {&out};
  Operand cast_once[kMaxInputs];
  alignas(8) char value[kMaxInputs][8];
  for (size_t k = 0; k < in.size(); ++k) {
    operands[k + 1] = &in[k];
    if (in[k].dtype == in[k].as) continue;
    // One value for all is cast here, once.
    if (std::any_of(in[k].strides.begin(), in[k].strides.end(), [](int64_t s) { return s != 0; })) continue;
    if (element_count(shape) == 0) continue;
    kernels().elementwise->copies->cast[static_cast<int>(in[k].dtype)][static_cast<int>(in[k].as)](in[k].data, value[k],
                                                                                                   1);
    cast_once[k] = {value[k], in[k].as, in[k].as, in[k].strides};
    operands[k + 1] = &cast_once[k];
  }
  const std::span<const Operand* const> all(operands, in.size() + 1);
  const Loops l = make_loops(shape, all);
  const Tiles tiles(l, kernel, all, params);
  for_blocks(l, grain, [&](const int64_t* offset, int64_t rows, int64_t columns) { tiles.run(offset, rows, columns); });
}

void run_copy(const Shape& shape, const Operand& to, const Operand& from) {
  constexpr int64_t kGrain = 65536;
  const Operand* operands[] = {&to, &from};
  const Loops l = make_loops(shape, operands);
  const CopyKernels& k = *kernels().elementwise->copies;
  const int64_t to_step = l.stride[0][l.rank - 1], from_step = l.stride[1][l.rank - 1];
  const int64_t to_row = l.rank > 1 ? l.stride[0][l.rank - 2] : 0, from_row = l.rank > 1 ? l.stride[1][l.rank - 2] : 0;
  const Operand target{to.data, to.dtype, to.dtype, {}}, source{from.data, from.dtype, to.dtype, {}};
  for_blocks(l, kGrain, [&](const int64_t* offset, int64_t rows, int64_t columns) {
    char* out = at(to, offset[0]);
    const char* in = at(from, offset[1]);
    if (from.dtype == to.dtype) {
      k.copy[log2_of_size(to.dtype)]({rows, columns, in, from_row, from_step, out, to_row, to_step});
      return;
    }
    alignas(64) char tile[kTile * 8];
    const int64_t width = std::min(columns, is_transposed(l, 1) && rows >= kSquare ? kSquare : kTile);
    const int64_t height = std::clamp<int64_t>(kTile / width, 1, rows);
    for (int64_t r = 0; r < rows; r += height)
      for (int64_t c = 0; c < columns; c += width) {
        const int64_t m = std::min(height, rows - r), n = std::min(width, columns - c);
        char* corner = at(to, offset[0] + r * to_row + c * to_step);
        const bool direct = to_step == 1 && (m == 1 || to_row == n);
        load_tile(k, source, at(from, offset[1] + r * from_row + c * from_step), from_row, from_step, m, n,
                  direct ? corner : tile);
        if (!direct) store_tile(k, target, tile, corner, to_row, to_step, m, n);
      }
  });
}

}  // namespace lanner::cpu
