#include "ops/halt.h"

#include <cmath>

#include "core/half.h"
#include "lanner/ops/halt.h"
#include "ops/op.h"

namespace lanner {
namespace {

double first_value(const Tensor& x) {
  switch (x.dtype()) {
    case DType::Float64: return *x.data<double>();
    case DType::Float16: return to_float(*x.data<float16>());
    case DType::BFloat16: return to_float(*x.data<bfloat16>());
    default: return *x.data<float>();
  }
}

}  // namespace

bool& halt_requested() {
  thread_local bool requested = false;
  return requested;
}

void ops::halt_unless_finite(const Tensor& x) {
  check_floating("halt_unless_finite", "x", x);
  check<ShapeError>(x.size() == 1, "halt_unless_finite: expected one number, got shape ", x.shape());
  bool& requested = halt_requested();
  requested = false;
  emit(Op::HaltUnlessFinite, std::span(&x, 1), {}, {});
  if (!requested) return;
  requested = false;
  throw Halted("halt_unless_finite: the number is NaN or infinite");
}

LANNER_RUN(HaltUnlessFinite) {
  if (!std::isfinite(first_value(r.in[0]))) halt_requested() = true;
}

}  // namespace lanner
