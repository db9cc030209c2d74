// What one instruction-set library exports: one table that points to the tables of its kernel families.
// A family is a header here (a struct of plain function pointers) and one or more .cpp files that are compiled
// once for each instruction set.
#pragma once

#include "cpu/kernels/families.h"

namespace lanner::cpu {

#define LANNER_FAMILY(Type, name) struct Type;
LANNER_KERNEL_FAMILIES
#undef LANNER_FAMILY

struct KernelTable {
  const char* isa;
#define LANNER_FAMILY(Type, name) const Type* name;
  LANNER_KERNEL_FAMILIES
#undef LANNER_FAMILY
};

}  // namespace lanner::cpu
