// Run::fused for the kernels.
#pragma once

#include "ops/op.h"

namespace lanner {

// None where nothing is fused; the bias is the op's own.
template <class T>
cpu::Epilogue<T> epilogue_of(const Run& r) {
  cpu::Epilogue<T> e;
  if (!r.fused) return e;
  const Fused& f = *r.fused;
  if (f.residual >= 0) e.residual = r.in[static_cast<size_t>(f.residual)].data<T>();
  if (f.gate >= 0) e.gate = r.in[static_cast<size_t>(f.gate)].data<T>();
  e.activation = f.activation;
  e.slope = static_cast<T>(f.slope);
  e.gate_slope = static_cast<T>(f.gate_slope);
  return e;
}

}  // namespace lanner
