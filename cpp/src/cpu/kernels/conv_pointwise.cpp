// Kernels of one element with stride 1, a product of matrices for each image: dst [k, position] = w [k, c] src [c, position].
//
// A task is a panel of kNR positions. Its rows are read where they lie, a plane apart; where that is a multiple of 4 KiB
// they share few sets of the caches, and are copied to lie next to each other (32 x 256 x 16 x 16 to 64 channels, read in
// place: 82 to 89 % of the peak). While the panels of weights pass, the next panel is asked for, since no prefetcher
// follows so many rows.
#include "cpu/gemm/pack.h"
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_plan.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

template <class T>
struct Pointwise {
  int64_t n, groups, c, k;  // channels of src and dst in a group
  int64_t plane, panels;    // panels of positions of an image
  int64_t height, weight_k, weight_c;
  int64_t steps;  // of k: c, or half of it with pairs
  bool copies;
  ConvOperands operands;

  Pointwise(const ConvGeometry& g, ConvPass pass) {
    const bool input_grad = pass == ConvPass::InputGrad;
    n = g.n, groups = g.groups, c = input_grad ? g.m : g.c, k = input_grad ? g.c : g.m;
    plane = g.out[0] * g.out[1] * g.out[2], panels = ceil_div(plane, kNR<T>);
    height = ceil_div(k, ceil_div(k, kMR));
    weight_k = input_grad ? 1 : c, weight_c = input_grad ? k : 1;
    operands = g.operands, steps = paired(operands) ? packed_steps<true>(c) : c;
    copies = operands != ConvOperands::Full || plane * static_cast<int64_t>(sizeof(T)) % 4096 == 0;
  }
  // pack_panel, rounded as it should be.
  void pack(int width, const T* from, int64_t c_stride, int64_t stride, T* to, int step) const {
    if constexpr (sizeof(T) == 4) {
      if (paired(operands)) return pack_rounded<true>(c, width, from, c_stride, stride, to, step);
      if (operands == ConvOperands::Rounded) return pack_rounded<false>(c, width, from, c_stride, stride, to, step);
    }
    pack_panel(c, width, from, c_stride, stride, to, step);
  }
  int64_t group_elements() const { return k * steps; }
};

template <class T>
double cost(const ConvGeometry& g, ConvPass pass, bool packed) {
  for (int d = 0; d < 3; ++d)
    if (g.kernel[d] != 1 || g.stride[d] != 1 || g.pad[d] != 0) return __builtin_inf();
  const Pointwise<T> p(g, pass);
  constexpr double kReached = 0.88;
  const double filled = static_cast<double>(p.panels * kNR<T>), weights = static_cast<double>(p.steps * p.k);
  const double fma = paired(p.operands) ? kPairFma : 1;
  // Copying a vector takes some 3 FMAs.
  const double image = filled * (weights * fma / kReached + (p.copies ? 3 : 0) * static_cast<double>(p.c)) / kLanes<T>;
  return static_cast<double>(p.groups) *
         (static_cast<double>(p.n) * image + read_cost(weights * sizeof(T)) + (packed ? 0 : weights));
}

template <class T>
int64_t packed_elements(const ConvGeometry& g, ConvPass pass) {
  const Pointwise<T> p(g, pass);
  return p.groups * p.group_elements();
}

template <class T>
int64_t pack_items(const ConvGeometry& g, ConvPass) {
  return g.groups;
}

template <class T>
void pack(const ConvGeometry& g, ConvPass pass, const T* weight, int64_t begin, int64_t end, T* packed) {
  const Pointwise<T> p(g, pass);
  for (int64_t group = begin; group < end; ++group)
    for (int64_t k = 0; k < p.k; k += p.height) {
      const int rows = static_cast<int>(smaller(p.height, p.k - k));
      p.pack(rows, weight + group * p.k * p.c + k * p.weight_k, p.weight_c, p.weight_k,
             packed + group * p.group_elements() + k * p.steps, rows);
    }
}

template <class T>
int64_t tasks(const ConvGeometry& g, ConvPass pass) {
  const Pointwise<T> p(g, pass);
  return p.n * p.groups * p.panels;
}

template <class T>
int64_t workspace_bytes(const ConvGeometry& g, ConvPass pass) {
  const Pointwise<T> p(g, pass);
  return p.steps * kNR<T> * static_cast<int64_t>(sizeof(T));
}

template <class T>
void run(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const Pointwise<T> p(args.geometry, args.pass);
  T* const panel = static_cast<T*>(workspace);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t image = task / p.panels, column = task % p.panels * kNR<T>;  // image: of a sample and a group
    const int columns = static_cast<int>(smaller(kNR<T>, p.plane - column));
    const T* b = args.src + image * p.c * p.plane + column;
    const bool copied = p.copies || columns < kNR<T>;
    if (copied) {
      p.pack(columns, b, p.plane, 1, panel, kNR<T>);
      b = panel;
    }
    const int64_t next = task + 1 < end ? task + 1 : task;
    const T* const ahead = args.src + next / p.panels * p.c * p.plane + next % p.panels * kNR<T>;

    const int64_t group = image % p.groups, dst = image * p.k * p.plane;
    Epilogue<T> epilogue = args.epilogue;
    if (epilogue.bias_per_row) epilogue.bias_per_row += group * p.k;
    if (epilogue.residual) epilogue.residual += dst;
    if (epilogue.gate) epilogue.gate += dst;
    for (int64_t k = 0; k < p.k; k += p.height) {
      for (int64_t s = k * p.c / p.k; s < smaller(p.k, k + p.height) * p.c / p.k; ++s)
        for (int64_t line = 0; line < kNR<T>; line += 64 / static_cast<int>(sizeof(T)))
          __builtin_prefetch(ahead + s * p.plane + line);
      const int rows = static_cast<int>(smaller(p.height, p.k - k));
      const TileOut<T> out{args.dst + dst + k * p.plane + column,       p.plane, 1, rows, columns, 1, 0,
                           epilogue_at(epilogue, k, column, p.plane, 1)};
      const T* const weight = args.packed + group * p.group_elements() + k * p.steps;
      if constexpr (kHasPairs<T>) {
        if (paired(p.operands)) {
          tile<T, true>(p.steps, weight, 1, rows, panel, kNR<T>, out);
          continue;
        }
      }
      tile<T>(p.steps, weight, 1, rows, b, copied ? kNR<T> : p.plane, out);
    }
  }
}

template <class T>
constexpr ConvFunctions<T> kFunctions = {cost<T>,  packed_elements<T>, pack_items<T>, pack<T>,
                                         tasks<T>, workspace_bytes<T>, run<T>};

}  // namespace

const ConvFunctions<float> conv_pointwise_f32 = kFunctions<float>;
const ConvFunctions<double> conv_pointwise_f64 = kFunctions<double>;

}  // namespace lanner::cpu::LANNER_ISA
