// All ops, by family.
#pragma once

#include "lanner/ops/attention.h"
#include "lanner/ops/conv.h"
#include "lanner/ops/ctc.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/halt.h"
#include "lanner/ops/indexing.h"
#include "lanner/ops/join.h"
#include "lanner/ops/linalg.h"
#include "lanner/ops/loss.h"
#include "lanner/ops/norm.h"
#include "lanner/ops/pool.h"
#include "lanner/ops/random.h"
#include "lanner/ops/recurrent.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "lanner/ops/sort.h"
