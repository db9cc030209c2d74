// What other families use of the reductions without the tape.
#pragma once

#include "lanner/tensor.h"

namespace lanner {

// Of every op with kReduction.
struct ReduceAttrs {
  Dims axes;  // ascending
  bool keepdims;
};

// out[columns] = the sum of the rows of x[rows, columns], both row-major, pairwise. float32 and float64.
void sum_rows(DType dtype, const void* x, void* out, int64_t rows, int64_t columns);

}  // namespace lanner
