// Moving elements by index. What only moves is written by element size, entry log2(size) of a table of four; what adds
// is written by dtype, entry index_add_entry(dtype).
#pragma once

#include "lanner/dtype.h"

namespace lanner::cpu {

// Lines along one axis of x, `outer` times `inner` of them, and the `count` indices of each. Strides are in elements;
// along inner all strides are 1.
struct IndexLines {
  int64_t outer, count, inner;
  int64_t size;  // of the axis in x: indices lie in [-size, size), negative ones count from the end
  int64_t x_outer, x_axis;
  int64_t index_outer, index_axis;
  int64_t src_outer, src_axis;  // of what is gathered into or scattered from
};

// Row i of src and row index[i] of x, which has `size` of them. Strides are in bytes.
struct IndexRows {
  int64_t count, size;
  int64_t x_stride, src_stride;
  int64_t bytes;  // of a row
};

// Entry i joins row from[i] of one matrix to row to[i] of another, of as many columns. It is left out where an index is
// the one that stands for none. Strides are in elements.
struct RowPairs {
  const int64_t *from, *to;
  int64_t count, columns;
  int64_t from_stride, to_stride;
  int64_t from_none, to_none;
};

// Wrapping integers add alike with and without sign.
constexpr int kIndexAddEntries = 6;
constexpr int index_add_entry(DType t) {
  return t == DType::Float32   ? 4
         : t == DType::Float64 ? 5
         : itemsize(t) == 8    ? 3
         : itemsize(t) == 4    ? 2
                               : itemsize(t) == 2;
}

struct IndexKernels {
  // The smallest and the largest of n > 0 indices.
  void (*range)(const int64_t* index, int64_t n, int64_t* smallest, int64_t* largest);
  // out[i] (+)= stride * index[i], negative indices counted from the end of `size`.
  void (*ravel)(const int64_t* index, int64_t n, int64_t size, int64_t stride, bool add, int64_t* out);

  void (*gather[4])(const void* x, const int64_t* index, void* out, const IndexLines& lines);
  // In the order of the indices: of several writes to one place the last wins.
  void (*scatter[4])(void* x, const int64_t* index, const void* src, const IndexLines& lines);
  void (*scatter_add[kIndexAddEntries])(void* x, const int64_t* index, const void* src, const IndexLines& lines);

  void (*take_rows)(const void* x, const int64_t* index, void* out, const IndexRows& rows);
  void (*put_rows)(void* x, const int64_t* index, const void* src, const IndexRows& rows);
  // Rows whose index is `skip` are left out (-1: none).
  void (*add_rows[kIndexAddEntries])(void* x, const int64_t* index, const void* src, const IndexRows& rows,
                                     int64_t skip);
  // y[to[i]] += scale[i] * x[from[i]] in the order of the entries, which is fastest where those of one row of y lie side
  // by side; without scale 1. By dtype: float32, float64.
  void (*sum_rows[2])(const void* x, const void* scale, void* y, const RowPairs& pairs);
  // out[i] = the product of x[from[i]] and y[to[i]], 0 where the entry is left out.
  void (*dot_rows[2])(const void* x, const void* y, void* out, const RowPairs& pairs);
  // `rows` rows of `bytes`, at strides in bytes.
  void (*copy_rows)(const void* x, int64_t x_stride, void* out, int64_t out_stride, int64_t rows, int64_t bytes);

  // Rows [begin, end) of matrices [rows, columns] that lie one behind the other: keeps what lies on or below the k-th
  // diagonal (on or above it with `upper`), and zeros the rest.
  void (*triangle)(const void* x, void* out, int64_t begin, int64_t end, int64_t rows, int64_t columns, int64_t k,
                   bool upper, int64_t itemsize);
  // How many of n bytes, each 0 or 1, are 1; and where they are, counted from `first`.
  int64_t (*count_true)(const uint8_t* x, int64_t n);
  void (*find_true)(const uint8_t* x, int64_t n, int64_t first, int64_t* out);
};

}  // namespace lanner::cpu
