// Sorting lines of any dtype through unsigned integer keys of the same order: NaN comes last whichever way is sorted,
// and -0 equals 0.
#pragma once

#include "lanner/dtype.h"

namespace lanner::cpu {

// One line of n elements. Strides are in elements.
struct SortLine {
  const void* x;
  int64_t n, x_stride;
  bool descending;
  void* values;      // may be null
  int64_t* indices;  // may be null; where each value stood
  int64_t out_stride;
};

struct SortKernels {
  // Bytes that `sort` needs for a line of n elements.
  size_t (*sort_workspace)(int64_t n, int64_t itemsize, bool indices);
  // Equal elements keep their order.
  void (*sort)(DType dtype, const SortLine& line, void* workspace);

  size_t (*topk_workspace)(int64_t n, int64_t k, int64_t itemsize);
  // The first k <= n elements of what `sort` would give.
  void (*topk)(DType dtype, const SortLine& line, int64_t k, void* workspace);

  // out[i]: how many of n ascending elements stand before values[i]; with `right` those that equal it as well.
  void (*search)(DType dtype, const void* sorted, int64_t n, const void* values, int64_t m, bool right, int64_t* out);
};

}  // namespace lanner::cpu
