// Reductions, argmax and argmin, cumulative sums: raw pointers, strides in elements.
#pragma once

#include "lanner/dtype.h"

namespace lanner::cpu {

enum class Reduction : uint8_t { Sum, SumSquares, Prod, Max, Min, Any, All };
constexpr int kReductionCount = 7;

// Dimensions to walk over, outermost first.
struct Walk {
  int rank = 0;
  int64_t size[8] = {};
  int64_t stride[8] = {};
};

// How a strided tensor is reduced. The `line` is the innermost dimension.
//   columns = false: the line is reduced, and so is the walk `reduced` around it; one output for each index k of
//   `kept`. columns = true:  the line is kept (stride 1); k counts tiles of kReduceTile columns, within each index of
//   `kept`.
struct ReduceJob {
  Walk kept, reduced;
  int64_t line = 1, line_stride = 1;
  bool columns = false;
};
// 256 columns of float64 with a pairwise counter of 32 levels are 64 KiB of stack, of which a sum over r rows touches
// 2 KiB * log2(r / 16).
constexpr int64_t kReduceTile = 256;

// Reduces for k in [k0, k1) the indices [r0, r1) of job.reduced, and writes out[k] (rows) or the columns of tile k. The
// accumulator, and so `out`, has the dtype of x for Max and Min and for floating sums and products; Sum, SumSquares and
// Prod of integers have 64 bits, Any and All are bool. Float sums are pairwise, in an order that depends on the sizes
// alone.
using ReduceFn = void (*)(const ReduceJob& job, const void* x, void* out, int64_t k0, int64_t k1, int64_t r0,
                          int64_t r1);

// x is [outer, n, inner], row-major, and is walked along n. A unit is one of kReduceTile columns of one `outer` (all of
// it where inner = 1); a call works on units [u0, u1).
struct ScanRange {
  int64_t n, inner;
  int64_t u0, u1;
};
constexpr int64_t scan_units(int64_t outer, int64_t inner) { return outer * ((inner + kReduceTile - 1) / kReduceTile); }
// out[outer, inner] is the first index of the extreme along n (of NaN if there is one).
using ArgFn = void (*)(const void* x, int64_t* out, const ScanRange& r);
// out[:, i] combines x[:, 0..i], or with `reverse` x[:, i..n-1]; float32 accumulates in float64.
using CumulativeFn = void (*)(const void* x, void* out, const ScanRange& r, bool reverse);

// Indexed by DType; null for float16 and bfloat16, and for what has no meaning.
struct ReduceKernels {
  ReduceFn reduce[kReductionCount][kDTypeCount];
  ArgFn argmax[kDTypeCount], argmin[kDTypeCount];
  CumulativeFn cumulative_sum[kDTypeCount], cumulative_prod[kDTypeCount];
};

}  // namespace lanner::cpu
