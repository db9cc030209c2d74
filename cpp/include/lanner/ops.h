// All ops, by family.
#pragma once

#include "lanner/ops/shape.h"
