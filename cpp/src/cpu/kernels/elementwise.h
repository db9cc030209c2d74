// Elementwise kernels: each computes a block of rows whose elements are neighbours. Other strides and dtypes,
// broadcasting and threads are the business of cpu/strided.cpp.
#pragma once

#include "lanner/dtype.h"

namespace lanner::cpu {

constexpr int kMaxInputs = 3;

// Rows begin `*_row` elements apart; an input with in_step 0 has one value for the whole row.
struct Block {
  int64_t rows = 0, columns = 0;
  void* out = nullptr;
  int64_t out_row = 0;
  const void* in[kMaxInputs] = {};
  int64_t in_row[kMaxInputs] = {};
  int64_t in_step[kMaxInputs] = {};  // 0 or 1
  const double* params = nullptr;    // numbers that the op was given besides its tensors
};
using BlockFn = void (*)(const Block&);

// What an elementwise op computes in each dtype of its inputs; null where it has no meaning there. float16 and bfloat16
// are computed in float32. `where` and the like take a bool first, and are listed by the dtype of the rest.
struct ElementwiseKernel {
  const char* name;
  int inputs;
  bool gives_bool;
  int64_t grain;  // elements whose time, some 20 us, is worth a thread
  BlockFn fn[kDTypeCount];
};
struct ElementwiseList {
  const ElementwiseKernel* begin;
  int count;
};

// A strided block of elements of one size, copied; the two do not overlap.
struct CopyBlock {
  int64_t rows, columns;
  const void* from;
  int64_t from_row, from_step;
  void* to;
  int64_t to_row, to_step;
};

struct CopyKernels {
  // n neighbours to n neighbours, [from][to].
  void (*cast[kDTypeCount][kDTypeCount])(const void* from, void* to, int64_t n);
  // By the logarithm of the element's size: 1, 2, 4, 8 bytes.
  void (*copy[4])(const CopyBlock&);
};

constexpr int kElementwiseLists = 6;
struct ElementwiseKernels {
  const ElementwiseList* lists[kElementwiseLists];
  const CopyKernels* copies;
};

}  // namespace lanner::cpu
