// All ops, by family.
#pragma once

#include "lanner/ops/elementwise.h"
#include "lanner/ops/indexing.h"
#include "lanner/ops/random.h"
#include "lanner/ops/shape.h"
