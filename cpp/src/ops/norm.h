#pragma once

#include "ops/op.h"

namespace lanner {

// The eps among the attributes of any normalization's forward op.
double norm_eps(const Attrs& attrs);

}  // namespace lanner
