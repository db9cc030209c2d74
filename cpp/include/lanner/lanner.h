// lanner's public C++ interface, all of it.
#pragma once

#include "lanner/autodiff.h"
#include "lanner/ceiling.h"
#include "lanner/config.h"
#include "lanner/data.h"
#include "lanner/device.h"
#include "lanner/dtype.h"
#include "lanner/error.h"
#include "lanner/file.h"
#include "lanner/ops.h"
#include "lanner/optim.h"
#include "lanner/parallel.h"
#include "lanner/plan.h"
#include "lanner/random.h"
#include "lanner/shape.h"
#include "lanner/tensor.h"
