// Which table of kernels is in use. Chosen once, at load: the best that the machine runs, or LANNER_ISA.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels/table.h"

namespace lanner::cpu {

// The table in use.
const KernelTable& kernels();

// Of a family that has its kernels for float32 and for float64, those for T.
template <class T, class Family>
const auto& kernels_of(const Family* family) {
  if constexpr (sizeof(T) == 4)
    return family->f32;
  else
    return family->f64;
}

// The tables that this machine can run, slowest first: "baseline", "avx2", "avx512" or "baseline", "neon".
const std::vector<const KernelTable*>& available();

// Whether bfloat16 products may use the kernels that multiply pairs (AVX-512 BF16): the table in use has them, and the
// processor runs them.
bool has_bf16_pairs();

// Whether they may use AMX tiles: likewise, and the system has allowed it to this process.
bool has_amx();

// Switches the table, for tests; throws Error for a name that is not available.
void set_isa(const std::string& name);

}  // namespace lanner::cpu
