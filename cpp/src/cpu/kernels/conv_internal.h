// The weight gradient's half of the conv family (conv_weight.cpp), for the table in conv.cpp.
#pragma once

#include "cpu/kernels/conv.h"

namespace lanner::cpu::LANNER_ISA {

template <class T>
int64_t conv_weight_partial_elements(const ConvGeometry& g);
template <class T>
int64_t conv_weight_tasks(const ConvGeometry& g);
template <class T>
int64_t conv_weight_workspace_bytes(const ConvGeometry& g);
template <class T>
void conv_weight_run(const ConvGeometry& g, const T* x, const T* dy, T* partial, int64_t begin, int64_t end,
                     void* workspace);
template <class T>
int64_t conv_weight_finish_items(const ConvGeometry& g);
template <class T>
void conv_weight_finish(const ConvGeometry& g, const T* partial, T* dw, int64_t begin, int64_t end);

#define LANNER_CONV_WEIGHT(T)                                                                             \
  template int64_t conv_weight_partial_elements<T>(const ConvGeometry&);                                  \
  template int64_t conv_weight_tasks<T>(const ConvGeometry&);                                             \
  template int64_t conv_weight_workspace_bytes<T>(const ConvGeometry&);                                   \
  template void conv_weight_run<T>(const ConvGeometry&, const T*, const T*, T*, int64_t, int64_t, void*); \
  template int64_t conv_weight_finish_items<T>(const ConvGeometry&);                                      \
  template void conv_weight_finish<T>(const ConvGeometry&, const T*, T*, int64_t, int64_t);

}  // namespace lanner::cpu::LANNER_ISA
