// The machine's ceiling, with which the time of a kernel is compared. Measured at first use, some tenths of a second,
// with lanner's own threads.
#pragma once

#include "lanner/dtype.h"

namespace lanner {

// FLOP/s of fused multiply-adds in registers, on all of lanner's threads.
double peak_flops(DType dtype = DType::Float32);

// Bytes a second, where `bytes` in all are used again and again: from a second-level cache up to 512 KiB a thread, from
// a third-level one up to 16 MiB, else from memory.
double peak_bandwidth(double bytes);

}  // namespace lanner
