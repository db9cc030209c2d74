// Elementwise kernels by name, for the tests of each instruction set.
#pragma once

#include <cstring>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/kernels/elementwise.h"
#include "lanner/error.h"

namespace lanner::test {

inline const cpu::ElementwiseKernel& kernel(const cpu::KernelTable& table, const char* name) {
  for (const cpu::ElementwiseList* list : table.elementwise->lists)
    for (int i = 0; i < list->count; ++i)
      if (std::strcmp(list->begin[i].name, name) == 0) return list->begin[i];
  throw Error(std::string("no kernel ") + name);
}

// The kernel of one input on neighbours.
template <class T>
std::vector<T> run(const cpu::KernelTable& table, const char* name, const std::vector<T>& x,
                   const double* params = nullptr) {
  std::vector<T> y(x.size());
  cpu::Block b;
  b.rows = 1;
  b.columns = static_cast<int64_t>(x.size());
  b.out = y.data();
  b.in[0] = x.data();
  b.in_step[0] = 1;
  b.params = params;
  kernel(table, name).fn[static_cast<int>(DTypeOf<T>::value)](b);
  return y;
}

// Of two inputs.
template <class T>
std::vector<T> run(const cpu::KernelTable& table, const char* name, const std::vector<T>& x, const std::vector<T>& y) {
  std::vector<T> z(x.size());
  cpu::Block b;
  b.rows = 1;
  b.columns = static_cast<int64_t>(x.size());
  b.out = z.data();
  b.in[0] = x.data();
  b.in[1] = y.data();
  b.in_step[0] = b.in_step[1] = 1;
  kernel(table, name).fn[static_cast<int>(DTypeOf<T>::value)](b);
  return z;
}

}  // namespace lanner::test
