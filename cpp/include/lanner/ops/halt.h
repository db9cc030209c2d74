#pragma once

#include "lanner/error.h"
#include "lanner/tensor.h"

namespace lanner {

// What ends a step that is not worth going on with.
class Halted : public Error {
 public:
  using Error::Error;
};

namespace ops {

// Throws Halted where the number x is NaN or infinite. A replayed plan that has it ends there: what stands behind it is
// not done, and what it gives is what it gave last time.
void halt_unless_finite(const Tensor& x);

}  // namespace ops
}  // namespace lanner
