// The kernel families: struct `Type` is declared in kernels/<name>.h and defined, for each instruction set, as
// `extern const Type <name>_kernels;` in namespace lanner::cpu::LANNER_ISA by kernels/<name>.cpp (or gemm/gemm.cpp).
#pragma once

#define LANNER_KERNEL_FAMILIES                    \
  LANNER_FAMILY(GemmKernels, gemm)                \
  LANNER_FAMILY(ElementwiseKernels, elementwise)  \
  LANNER_FAMILY(FusedKernels, fused)              \
  LANNER_FAMILY(ConvKernels, conv)                \
  LANNER_FAMILY(PoolKernels, pool)                \
  LANNER_FAMILY(ReduceKernels, reduce)            \
  LANNER_FAMILY(SoftmaxKernels, softmax)          \
  LANNER_FAMILY(AttentionKernels, attention)      \
  LANNER_FAMILY(NormKernels, norm)                \
  LANNER_FAMILY(ChannelNormKernels, channel_norm) \
  LANNER_FAMILY(LossKernels, loss)                \
  LANNER_FAMILY(RecurrentKernels, recurrent)      \
  LANNER_FAMILY(ThinKernels, recurrent_thin)      \
  LANNER_FAMILY(CtcKernels, ctc)                  \
  LANNER_FAMILY(IndexKernels, indexing)           \
  LANNER_FAMILY(SortKernels, sort)                \
  LANNER_FAMILY(RandomKernels, random)            \
  LANNER_FAMILY(OptimKernels, optim)
