// The forward pass and the input gradient, which is the forward pass of the gradient with the kernel turned around.
//
// A task is a block of tiles: their transforms V [point, tile, channel] and, for one panel of output channels at a
// time, the products [point, tile, column] stay in the second-level cache. Where tiles are few, as with one image, tasks
// are panels of weights, each read once, and V is made before for all of them.
//
// Weights that are used for few tiles and not kept (training) are transformed where they are used, kFreshChannels at a
// time: 36 instead of 9 elements of each would else be written to memory and read again.
#include "cpu/kernels/conv_winograd.h"

#include "cpu/gemm/pack.h"
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_stream.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

using T = float;
constexpr int L = kLanes<T>, kN = kNR<T>;

// What V and the products of a block may take: most of a second-level cache of 1 MiB. But a block has at least
// kLeastTiles where there are so many, for each to read the weights from the third level.
constexpr int64_t kBlockBytes = 768 * 1024, kLeastTiles = 2 * kMR, kWeightsKept = 1024 * 1024;
// Transforms of kFreshChannels of a panel of weights, V of the same channels and the products of up to kFreshTiles stay
// in the second-level cache.
constexpr int64_t kFreshChannels = 64, kFreshTiles = 40;

template <int M>
struct Pass {
  static constexpr int N = M + 2, P = N * N;
  int64_t groups, c, k;  // channels of src and dst in a group
  Plane src, dst;
  int64_t pad[2];  // dst (y, x) reads src from (y, x) - pad on
  int64_t weight_k, weight_c;
  ConvOperands operands;  // never pairs: what is multiplied are the transforms
  bool turned;
  Tiling tiling;
  int64_t channels;                               // c, up to whole vectors
  int64_t panels, panels_of_task, panel_blocks;   // of kN dst channels
  int64_t weight_step, input_step, product_step;  // from point to point

  Pass(const ConvGeometry& g, ConvPass pass, bool fresh = false) {
    turned = pass == ConvPass::InputGrad;
    operands = unpaired(g.operands);
    groups = g.groups, c = turned ? g.m : g.c, k = turned ? g.c : g.m;
    src = {turned ? g.out[1] : g.in[1], turned ? g.out[2] : g.in[2]};
    dst = {turned ? g.in[1] : g.out[1], turned ? g.in[2] : g.out[2]};
    for (int d = 0; d < 2; ++d) pad[d] = turned ? 2 - g.pad[d + 1] : g.pad[d + 1];
    weight_k = turned ? 9 : c * 9, weight_c = turned ? k * 9 : 9;
    channels = ceil_div(c, L) * L;
    panels = ceil_div(k, kN);
    // One vector more than a multiple of the cache's way: the points of a tile are written in turn.
    weight_step = c * kN + L;
    const int64_t fit = kBlockBytes / static_cast<int64_t>(sizeof(T)) / (P * (channels + kN));
    // Where the tiles are few, smaller blocks for more threads, unless each would read weights past the second-level
    // cache: then their panels are shared out.
    const int64_t tiles = g.n * ceil_div(dst.height, M) * ceil_div(dst.width, M);
    int64_t most = larger(fit, kLeastTiles);
    if (panels * panel_elements() * static_cast<int64_t>(sizeof(T)) <= kWeightsKept)
      most = smaller(most, larger(kMR, ceil_div(tiles, kTasks / 4)));
    if (fresh) most = kFreshTiles;
    tiling = tiling_of(g.n, dst.height, dst.width, M, most);
    panels_of_task = panels, panel_blocks = 1;
    if (fresh) {
      panels_of_task = 1, panel_blocks = panels;
    } else if (tiling.blocks() * groups < kTasks / 4) {
      panels_of_task = larger(1, panels * tiling.blocks() * groups / kTasks);
      panel_blocks = ceil_div(panels, panels_of_task);
    }
    input_step = tiling.most() * channels + L, product_step = tiling.most() * kN + L;
  }

  int64_t panel_elements() const { return P * weight_step; }
  int64_t part_rows() const { return smaller(tiling.strips, tiling.down); }
  int64_t patch_elements() const { return (part_rows() * M + 2) * (tiling.columns * M + 2) * L; }
  int64_t result_elements() const { return part_rows() * M * tiling.columns * M * L + L * L; }
  bool shares() const { return panel_blocks > 1; }  // V among tasks
  static constexpr int64_t kFreshStep = kFreshChannels * kN + L;
  int64_t input_elements() const { return P * input_step; }
  int64_t workspace_elements() const {
    return (shares() ? 0 : input_elements()) + P * product_step + patch_elements() + result_elements();
  }
};

template <int M>
int64_t packed_elements(const ConvGeometry& g, ConvPass pass) {
  const Pass<M> p(g, pass);
  return p.groups * p.panels * p.panel_elements();
}

template <int M>
int64_t pack_items(const ConvGeometry& g, ConvPass pass) {
  const Pass<M> p(g, pass);
  return p.groups * p.panels * p.c;
}

// A src channel of a panel to `to`, points `step` apart.
template <int M>
void pack_channel(const Pass<M>& p, const T* weight, int64_t group, int64_t panel, int64_t c, T* to, int64_t step) {
  const T* from = weight + group * p.k * p.c * 9 + panel * kN * p.weight_k + c * p.weight_c;
  for (int j0 = 0; j0 < kN; j0 += L) {
    V<T> tap[9 + L];
#pragma GCC unroll 4
    for (int t = 0; t < 9; t += L) {
      V<T> rows[L];
#pragma GCC unroll 16
      for (int j = 0; j < L; ++j)
        rows[j] = panel * kN + j0 + j < p.k
                      ? load_n(from + (j0 + j) * p.weight_k + t, static_cast<size_t>(9 - t < L ? 9 - t : L))
                      : V<T>{};
      if (p.operands == ConvOperands::Rounded)
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) rows[j] = rounded_to_bf16(rows[j]);
      transpose<T>(rows);
#pragma GCC unroll 16
      for (int j = 0; j < L; ++j) tap[t + j] = rows[j];
    }
    const auto write = [&](int i, int j, V<T> v) __attribute__((always_inline)) {
      store(to + (i * p.N + j) * step + j0, v);
    };
    if (p.turned)
      weight_2d<M, V<T>>([&](int i, int j) __attribute__((always_inline)) { return tap[8 - 3 * i - j]; }, write);
    else
      weight_2d<M, V<T>>([&](int i, int j) __attribute__((always_inline)) { return tap[3 * i + j]; }, write);
  }
}

// An item is a src channel of a panel: [group, panel, point, c, column].
template <int M>
void pack(const ConvGeometry& g, ConvPass pass, const T* weight, int64_t begin, int64_t end, T* packed) {
  const Pass<M> p(g, pass);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t c = item % p.c, panel = item / p.c % p.panels, group = item / p.c / p.panels;
    pack_channel(p, weight, group, panel, c, packed + (group * p.panels + panel) * p.panel_elements() + c * kN,
                 p.weight_step);
  }
}

template <int M, bool kFresh = false>
int64_t tasks(const ConvGeometry& g, ConvPass pass) {
  const Pass<M> p(g, pass, kFresh);
  return p.groups * p.tiling.blocks() * p.panel_blocks;
}

template <int M, bool kFresh = false>
int64_t workspace_bytes(const ConvGeometry& g, ConvPass pass) {
  const Pass<M> p(g, pass, kFresh);
  return (p.workspace_elements() + (kFresh ? p.P * p.kFreshStep : 0)) * static_cast<int64_t>(sizeof(T));
}

// V of the tiles of strips [begin, end), channels [c_begin, c_end). `src`: of the first image, of the group's first
// channel.
template <int M>
void transform_input(const Pass<M>& p, const T* src, int64_t begin, int64_t end, int64_t c_begin, int64_t c_end,
                     T* patch_at, T* v) {
  constexpr int N = Pass<M>::N;
  const int64_t plane = p.src.height * p.src.width;
  Gathered<T> patch{patch_at, p.operands};
  for (int64_t strip = begin; strip < end;) {
    const Part part = p.tiling.part(strip, end);
    const T* image = src + part.image * p.groups * p.c * plane;
    for (int64_t c = c_begin; c < c_end; c += L) {
      patch.gather(image + c * plane, smaller(L, p.c - c), plane, p.src, part.top * M - p.pad[0],
                   (part.bottom - part.top) * M + 2, part.left * M - p.pad[1], (part.right - part.left) * M + 2);
      T* to = v + c;
      for (int64_t y = 0; y < part.bottom - part.top; ++y)
        for (int64_t x = 0; x < part.right - part.left; ++x, to += p.channels) {
          const T* from = patch_at + (y * M * patch.pitch + x * M) * L;
          input_2d<M, V<T>>(
              [&](int i, int j) __attribute__((always_inline)) { return load(from + (i * patch.pitch + j) * L); },
              [&](int i, int j, V<T> value)
                  __attribute__((always_inline)) { store(to + (i * N + j) * p.input_step, value); });
        }
    }
    v += part.tiles() * p.channels;
    strip += part.bottom - part.top;
  }
}

// The outputs of strips [begin, end), of the channels of one panel. `dst`: of the first image, of the panel's first
// channel.
template <int M>
void transform_output(const Pass<M>& p, const T* product, int64_t begin, int64_t end, int64_t width, const T* bias,
                      const Finish<T>& finish, T* result, T* dst) {
  constexpr int N = Pass<M>::N;
  const int64_t plane = p.dst.height * p.dst.width;
  for (int64_t strip = begin; strip < end;) {
    const Part part = p.tiling.part(strip, end);
    const int64_t x0 = part.left * M, y0 = part.top * M;
    const int64_t columns = smaller(part.right * M, p.dst.width) - x0,
                  rows = smaller(part.bottom * M, p.dst.height) - y0;
    T* image = dst + part.image * p.groups * p.k * plane + y0 * p.dst.width + x0;
    for (int64_t k = 0; k < width; k += L, image += L * plane) {
      const T* from = product + k;
      for (int64_t y = 0; y < part.bottom - part.top; ++y)
        for (int64_t x = 0; x < part.right - part.left; ++x, from += kN) {
          T* to = result + (y * M * columns + x * M) * L;
          const int64_t high = rows - y * M, wide = columns - x * M;
          const auto read = [&](int i, int j) __attribute__((always_inline)) {
            return load(from + (i * N + j) * p.product_step);
          };
          if (high >= M && wide >= M)
            output_2d<M, V<T>>(
                read, [&](int i, int j, V<T> v)
                          __attribute__((always_inline)) { store(to + (i * columns + j) * L, v); });
          else
            output_2d<M, V<T>>(
                read, [&](int i, int j, V<T> v) __attribute__((always_inline)) {
                  if (i < high && j < wide) store(to + (i * columns + j) * L, v);
                });
        }
      const int64_t here = smaller(L, width - k);
      const V<T> start = bias ? load_n(bias + k, static_cast<size_t>(here)) : V<T>{};
      if (columns == p.dst.width) {
        spread_lanes<T>(result, rows * columns, here, start, finish, image, plane);
      } else {
        for (int64_t y = 0; y < rows; ++y)
          spread_lanes<T>(result + y * columns * L, columns, here, start, finish, image + y * p.dst.width, plane);
      }
    }
    product += part.tiles() * kN;
    strip += part.bottom - part.top;
  }
}

template <int M, bool kFresh = false>
int64_t shared_elements(const ConvGeometry& g, ConvPass pass) {
  const Pass<M> p(g, pass, kFresh);
  return p.shares() ? p.groups * p.tiling.blocks() * p.input_elements() : 0;
}

template <int M, bool kFresh = false>
int64_t shared_items(const ConvGeometry& g, ConvPass pass) {
  const Pass<M> p(g, pass, kFresh);
  return p.groups * p.tiling.blocks() * (p.channels / L);
}

// An item is a vector of channels of a block.
template <int M, bool kFresh = false>
void share(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const Pass<M> p(args.geometry, args.pass, kFresh);
  const int64_t vectors = p.channels / L;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t block = item / vectors % p.tiling.blocks(), group = item / vectors / p.tiling.blocks();
    const int64_t c = item % vectors * L, strip = block * p.tiling.strips;
    transform_input(p, args.src + group * p.c * p.src.height * p.src.width, strip,
                    smaller(strip + p.tiling.strips, p.tiling.all_strips()), c, smaller(c + L, p.c),
                    static_cast<T*>(workspace), args.shared + item / vectors * p.input_elements());
  }
}

// The products of one panel, whose weights are transformed here, for the tiles of a block.
template <int M>
void multiply_fresh(const Pass<M>& p, const T* weight, int64_t group, int64_t panel, int64_t tiles, const T* v,
                    T* fresh, T* product) {
  const int64_t height = ceil_div(tiles, ceil_div(tiles, kMR));
  const int columns = p.k - panel * kN <= L ? L : kN;
  for (int64_t c0 = 0; c0 < p.c; c0 += kFreshChannels) {
    const int64_t here = smaller(kFreshChannels, p.c - c0);
    for (int64_t c = 0; c < here; ++c) pack_channel(p, weight, group, panel, c0 + c, fresh + c * kN, p.kFreshStep);
    for (int point = 0; point < p.P; ++point)
      for (int64_t i = 0; i < tiles; i += height)
        tile<T>(here, v + point * p.input_step + i * p.channels + c0, p.channels, 1, fresh + point * p.kFreshStep, kN,
                {product + point * p.product_step + i * kN,
                 kN,
                 1,
                 static_cast<int>(smaller(height, tiles - i)),
                 columns,
                 1,
                 c0 == 0 ? T{0} : T{1},
                 {}});
  }
}

template <int M, bool kFresh = false>
void run(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const Pass<M> p(args.geometry, args.pass, kFresh);
  T* const product = static_cast<T*>(workspace) + (p.shares() ? 0 : p.input_elements());
  T* const result = product + p.P * p.product_step;
  T* const patch = result + p.result_elements();
  T* const fresh = patch + p.patch_elements();
  const Finish<T> finish(args.epilogue, args.dst);
  int64_t transformed = -1;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t panel_block = task % p.panel_blocks, rest = task / p.panel_blocks;
    const int64_t group = rest % p.groups, block = rest / p.groups;
    const int64_t strip = block * p.tiling.strips, strips_end = smaller(strip + p.tiling.strips, p.tiling.all_strips());
    T* const v = p.shares() ? args.shared + (group * p.tiling.blocks() + block) * p.input_elements()
                            : static_cast<T*>(workspace);
    if (!p.shares() && transformed != rest)
      transform_input(p, args.src + group * p.c * p.src.height * p.src.width, strip, strips_end, 0, p.c, patch, v);
    transformed = rest;

    int64_t tiles = 0;
    for (int64_t s = strip; s < strips_end;) {
      const Part part = p.tiling.part(s, strips_end);
      tiles += part.tiles(), s += part.bottom - part.top;
    }
    const int64_t height = ceil_div(tiles, ceil_div(tiles, kMR));
    const int64_t panel_end = smaller(p.panels, (panel_block + 1) * p.panels_of_task);
    for (int64_t panel = panel_block * p.panels_of_task; panel < panel_end; ++panel) {
      [[maybe_unused]] const T* weight = args.packed + (group * p.panels + panel) * p.panel_elements();
      const int64_t width = smaller(kN, p.k - panel * kN);
      if constexpr (kFresh) {
        multiply_fresh(p, args.packed, group, panel, tiles, v, fresh, product);
      } else {
        for (int point = 0; point < p.P; ++point)
          for (int64_t i = 0; i < tiles; i += height)
            kStreamTiles<T, false>.of[smaller(height, tiles - i)][width <= L ? 1 : 2](
                p.c, v + point * p.input_step + i * p.channels, p.channels, weight + point * p.weight_step, kN,
                product + point * p.product_step + i * kN, kN);
      }
      const int64_t k = group * p.k + panel * kN;
      transform_output(p, product, strip, strips_end, width,
                       args.epilogue.bias_per_row ? args.epilogue.bias_per_row + k : nullptr, finish, result,
                       args.dst + k * p.dst.height * p.dst.width);
    }
  }
}

template <int M>
constexpr ConvFunctions<float> kFunctions = {
    winograd_cost<M>, packed_elements<M>, pack_items<M>,   pack<M>, tasks<M>, workspace_bytes<M>,
    run<M>,           shared_elements<M>, shared_items<M>, share<M>};

template <int M>
double fresh_cost(const ConvGeometry& g, ConvPass pass, bool packed) {
  double cost = winograd_cost<M>(g, pass, true);
  if (packed || cost == __builtin_inf() || Pass<M>(g, pass, true).tiling.blocks() > 1) return __builtin_inf();
  const int64_t c = pass == ConvPass::Forward ? g.c : g.m, k = pass == ConvPass::Forward ? g.m : g.c;
  // Measured: FMAs in which a vector of weights is transformed.
  return cost + static_cast<double>(g.groups * c * ceil_div(k, L) * Pass<M>::P * 16);
}
inline int64_t no_elements(const ConvGeometry&, ConvPass) { return 0; }

template <int M>
constexpr ConvFunctions<float> kFreshFunctions = {fresh_cost<M>,         no_elements,
                                                  no_elements,           pack<M>,
                                                  tasks<M, true>,        workspace_bytes<M, true>,
                                                  run<M, true>,          shared_elements<M, true>,
                                                  shared_items<M, true>, share<M, true>};

}  // namespace

const ConvFunctions<float> conv_winograd_2 = kFunctions<2>, conv_winograd_4 = kFunctions<4>;
const ConvFunctions<float> conv_winograd_fresh = kFreshFunctions<4>;

}  // namespace lanner::cpu::LANNER_ISA
