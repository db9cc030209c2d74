#pragma once

#include <string>

namespace lanner {

// "0.1.0"
std::string version();
// The instruction set whose kernels are in use: "baseline", "avx2", "avx512" or "neon".
std::string isa();
// A few lines for a bug report: version, compiler, instruction set, how bfloat16 products are computed, threads, CUDA.
std::string show_config();

}  // namespace lanner
