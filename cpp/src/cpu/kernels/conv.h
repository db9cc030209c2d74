// Convolution (cross-correlation) over one to three spatial dimensions, its gradient by the input and by the weight,
// with stride, padding, dilation and groups; float32 and float64. NC(D)HW; fewer spatial dimensions have leading ones.
//
// There are several ways (ConvWays). The direct sum has no im2col buffer: a task copies the patch of the input that it
// needs, zero borders included, into its workspace (or reads x itself where nothing is padded), and the micro-kernels
// (conv_tile.h) reach each tap through a table of offsets.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cpu/kernels/epilogue.h"

namespace lanner::cpu {

// Rounded: float32 operands are rounded to bfloat16 where they are copied, and sums are float32. Pairs: likewise, and a
// way may have AVX-512 BF16 multiply two elements at a time (cpu/bf16.h).
// Tiles: and AMX. A way that has no use for these rounds.
enum class ConvOperands : int32_t { Full, Rounded, Pairs, Tiles };
constexpr bool paired(ConvOperands operands) { return operands >= ConvOperands::Pairs; }
constexpr ConvOperands unpaired(ConvOperands operands) { return paired(operands) ? ConvOperands::Rounded : operands; }

// The forward pass, whose input gradient and weight gradient the other two are; y may be g, x may be dx.
struct ConvGeometry {
  int64_t n = 1, groups = 1;
  int64_t c = 1, m = 1;                                                        // input and output channels of one group
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1}, kernel[3] = {1, 1, 1};        // depth, height, width
  int64_t stride[3] = {1, 1, 1}, pad[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};  // pad: before the first element
  ConvOperands operands = ConvOperands::Full;
};

enum class ConvPass : int32_t { Forward, InputGrad };

template <class T>
struct ConvArgs {
  ConvGeometry geometry;
  ConvPass pass = ConvPass::Forward;
  const T* src = nullptr;     // Forward: x [n, groups * c, in]; InputGrad: g [n, groups * m, out]
  const T* packed = nullptr;  // what `pack` made of the weight [groups * m, c, kernel]
  T* dst = nullptr;           // Forward: y; InputGrad: dx
  T* shared = nullptr;        // what `share` makes
  void* tables = nullptr;     // what `make_tables` made, or null
  Epilogue<T> epilogue;       // rows are the channels of dst
};

template <class T>
struct ConvFunctions {
  // How long it takes, in vector FMAs, or infinity where this way does not serve. `packed`: the weight is packed already.
  double (*cost)(const ConvGeometry& g, ConvPass pass, bool packed);

  // The weight in the order in which it is read. Items [begin, end) of pack_items are packed by one call. Where there
  // are no packed_elements, ConvArgs::packed is the weight itself.
  int64_t (*packed_elements)(const ConvGeometry& g, ConvPass pass);
  int64_t (*pack_items)(const ConvGeometry& g, ConvPass pass);
  void (*pack)(const ConvGeometry& g, ConvPass pass, const T* weight, int64_t begin, int64_t end, T* packed);

  // dst is computed in `tasks` parts that may run in any order, each with its own workspace.
  int64_t (*tasks)(const ConvGeometry& g, ConvPass pass);
  int64_t (*workspace_bytes)(const ConvGeometry& g, ConvPass pass);
  void (*run)(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace);

  // Where `share` is not null and shared_elements not 0: what tasks read of src, made for all of them before the first.
  // Items [begin, end) of shared_items by one call, with a workspace as for a task.
  int64_t (*shared_elements)(const ConvGeometry& g, ConvPass pass) = nullptr;
  int64_t (*shared_items)(const ConvGeometry& g, ConvPass pass) = nullptr;
  void (*share)(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) = nullptr;

  // Where they are not null and table_bytes not 0: what tasks work out from the sizes alone, for those who run often.
  int64_t (*table_bytes)(const ConvGeometry& g, ConvPass pass) = nullptr;
  void (*make_tables)(const ConvGeometry& g, ConvPass pass, void* tables) = nullptr;
};

// dw [groups * m, c, kernel] from x and dy. In each round, in order, the tasks write to `partial`, each with its own
// workspace, and when all are done the items of `finish` take what the round left there; the last writes dw. What is
// summed by one task follows from the sizes alone.
template <class T>
struct ConvWeightFunctions {
  double (*cost)(const ConvGeometry& g);
  int64_t (*partial_elements)(const ConvGeometry& g);
  int64_t (*rounds)(const ConvGeometry& g);
  int64_t (*tasks)(const ConvGeometry& g);
  int64_t (*workspace_bytes)(const ConvGeometry& g);
  void (*run)(const ConvGeometry& g, int64_t round, const T* x, const T* dy, T* partial, int64_t begin, int64_t end,
              void* workspace);
  int64_t (*finish_items)(const ConvGeometry& g);
  void (*finish)(const ConvGeometry& g, int64_t round, T* partial, T* dw, int64_t begin, int64_t end);
};

// The ways to compute a convolution, some of them null: the direct sum, which serves always, Winograd's by tiles of 2 x
// 2 and of 4 x 4 outputs, a product of matrices (1x1), vectors of samples, columns (a product of matrices for few
// positions), minimal filtering of stride 2, 1x1 over gathered positions, planes of one
// channel, Winograd's by 4 x 4 with weights that are not packed, AMX. The cheapest is to be taken.
constexpr int kConvWays = 11;
template <class T>
struct ConvWays {
  const ConvFunctions<T>* output[kConvWays];
  const ConvWeightFunctions<T>* weight[kConvWays];
};

struct ConvKernels {
  ConvWays<float> f32;
  ConvWays<double> f64;
  const ConvFunctions<float>* amx_plain;  // the last way on an imitation of the tiles, for tests
};

}  // namespace lanner::cpu
