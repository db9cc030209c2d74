// Which table of kernels is in use. Chosen once, at load: the best that the machine runs, or LANNER_ISA.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels/table.h"

namespace lanner::cpu {

// The table in use.
const KernelTable& kernels();

// The tables that this machine can run, slowest first: "baseline", "avx2", "avx512" or "baseline", "neon".
const std::vector<const KernelTable*>& available();

// Switches the table, for tests; throws Error for a name that is not available.
void set_isa(const std::string& name);

}  // namespace lanner::cpu
