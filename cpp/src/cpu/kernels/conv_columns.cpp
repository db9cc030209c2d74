// Few positions for many weights, the prediction of one image: a product of matrices, dst [m, position] =
// w [m, (c, tap)] columns [(c, tap), position]. The columns, the positions of all samples side by side, are made once
// for all tasks; a task is a panel of weights, which it reads once, in order, for all positions.
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_pack.h"
#include "cpu/kernels/conv_stream.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

using T = float;
constexpr int L = kLanes<T>;

// Every panel of weights passes over the columns: they should stay in the second-level cache, or fit it about.
constexpr int64_t kColumnsBytes = 2 << 20;
// So many tasks, for threads to share them evenly.
constexpr int64_t kPanelTasks = 10;

struct Columns {
  int64_t n, groups, c, m, k;             // channels of src and dst in a group; k: products for one output
  int64_t plane, positions, vectors;      // of dst: of a sample, of all, and how many vectors those are
  int64_t height, panels;                 // dst channels of a panel of weights
  int64_t row;                            // of the columns, in elements: one more vector than a power of two
  int64_t vectors_of_task, blocks;        // positions of a task, and tasks of a panel
  int64_t pitch, phase_pitch, extent[2];  // of a padded plane of src, whose columns lie by their remainder

  explicit Columns(const ConvGeometry& g) {
    n = g.n, groups = g.groups, c = g.c, m = g.m, k = g.c * g.kernel[1] * g.kernel[2];
    plane = g.out[1] * g.out[2], positions = n * plane, vectors = ceil_div(positions, L);
    const int64_t most = stream_rows(vectors == 1 ? 1 : 2);
    panels = ceil_div(m, most);
    if (panels > 1 && m >= 64) panels += panels % 2;
    height = ceil_div(m, larger(panels, 1)), panels = ceil_div(m, larger(height, 1));
    row = (vectors + (vectors > 1 && vectors % 2 == 0)) * L;
    blocks = smaller(ceil_div(kPanelTasks, larger(panels * groups, 1)), ceil_div(vectors, 2));
    vectors_of_task = ceil_div(ceil_div(vectors, larger(blocks, 1)), 2) * 2;
    blocks = ceil_div(vectors, larger(vectors_of_task, 1));
    for (int d = 0; d < 2; ++d)
      extent[d] = (g.out[d + 1] - 1) * g.stride[d + 1] + (g.kernel[d + 1] - 1) * g.dilation[d + 1] + 1;
    phase_pitch = g.stride[2] > 1 ? ceil_div(extent[1], g.stride[2]) : 0;
    pitch = phase_pitch ? phase_pitch * g.stride[2] : extent[1];
  }
  int64_t columns_elements() const { return k * row; }  // of a group
};

double cost(const ConvGeometry& g, ConvPass pass, bool packed) {
  if (pass != ConvPass::Forward || g.kernel[0] != 1 || g.in[0] != 1 || g.out[0] != 1 || g.pad[0] != 0)
    return __builtin_inf();
  const Columns p(g);
  if (p.positions == 0 || g.groups * p.columns_elements() * static_cast<int64_t>(sizeof(T)) > kColumnsBytes)
    return __builtin_inf();
  constexpr double kReached = 0.85;
  const double weights = static_cast<double>(p.groups * p.m * p.k), k = static_cast<double>(p.k);
  const double products = weights * static_cast<double>(p.vectors) / kReached * (1 + 10 / k);
  // A vector of the columns is loaded and stored for each row of an image.
  const double copies = 3 * static_cast<double>(p.groups * p.k * g.n * g.out[1] * ceil_div(g.out[2], L));
  const double bytes = read_cost(weights * sizeof(T));  // which come while products are computed
  return (products > bytes ? products : bytes) + copies + (packed ? 0 : 14 * weights / L);
}

int64_t packed_elements(const ConvGeometry& g, ConvPass) {
  const Columns p(g);
  return p.groups * p.m * p.k;
}

int64_t pack_items(const ConvGeometry& g, ConvPass) {
  const Columns p(g);
  return p.groups * p.panels;
}

void pack(const ConvGeometry& g, ConvPass, const T* weight, int64_t begin, int64_t end, T* packed) {
  const Columns p(g);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t group = item / p.panels, m0 = item % p.panels * p.height, first = (group * p.m + m0) * p.k;
    const int rows = static_cast<int>(smaller(p.height, p.m - m0));
    pack_columns(p.k, rows, weight + first, p.k, packed + first, rows);
    if (g.operands != ConvOperands::Full) round_elements<false>(packed + first, packed + first, nullptr, rows * p.k);
  }
}

int64_t tasks(const ConvGeometry& g, ConvPass) {
  const Columns p(g);
  return p.groups * p.panels * p.blocks;
}

// Where the positions of a tile go: runs of up to L that are next to each other in dst.
struct Runs {
  int64_t from[2 * L], to[2 * L];  // from: of the tile's positions
  int lanes[2 * L], count = 0;
  Runs(const Columns& p, int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end;) {
      const int64_t sample = at / p.plane, inside = at % p.plane;
      const int64_t here = smaller(L, smaller(p.plane - inside, end - at));
      from[count] = at - begin, to[count] = sample * p.groups * p.m * p.plane + inside;
      lanes[count++] = static_cast<int>(here);
      at += here;
    }
  }
};

struct Space {
  T *patch, *tile;
  int64_t elements;
  Space(const Columns& p, void* workspace) {
    patch = static_cast<T*>(workspace);
    const int64_t patch_elements = ceil_div(p.extent[0] * p.pitch, L) * L + 2 * L;
    tile = patch + patch_elements;
    elements = patch_elements + stream_rows(1) * 2 * L + L;
  }
};

int64_t workspace_bytes(const ConvGeometry& g, ConvPass) {
  return Space(Columns(g), nullptr).elements * static_cast<int64_t>(sizeof(T));
}

int64_t shared_elements(const ConvGeometry& g, ConvPass) {
  const Columns p(g);
  return p.groups * p.columns_elements();
}

int64_t shared_items(const ConvGeometry& g, ConvPass) { return g.groups * g.c; }

// The columns of one src channel, of all samples.
void share(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const ConvGeometry& g = args.geometry;
  const Columns p(g);
  T* const patch = Space(p, workspace).patch;
  const int64_t src_plane = g.in[1] * g.in[2], taps = g.kernel[1] * g.kernel[2];
  bool first = true;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t c = item % p.c;
    T* const channel = args.shared + item / p.c * p.columns_elements() + c * taps * p.row;
    for (int64_t sample = 0; sample < p.n; ++sample, first = false) {
      copy_patch(Patch<T>{args.src + (sample * p.groups * p.c + item) * src_plane,
                          unpaired(g.operands),
                          1,
                          1,
                          0,
                          0,
                          0,
                          false,
                          false,
                          {1, g.in[1], g.in[2]},
                          {0, -g.pad[1], -g.pad[2]},
                          {1, p.extent[0], p.extent[1]},
                          p.pitch,
                          p.phase_pitch,
                          g.stride[2]},
                 !first, patch);
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t x = tap % g.kernel[2] * g.dilation[2];
        const T* from = patch + tap / g.kernel[2] * g.dilation[1] * p.pitch +
                        (p.phase_pitch ? x % g.stride[2] * p.phase_pitch + x / g.stride[2] : x);
        T* to = channel + tap * p.row + sample * p.plane;
        int64_t left = p.row - sample * p.plane;  // of the row of columns: what is past the image is overwritten later
        for (int64_t y = 0; y < g.out[1]; ++y, from += g.stride[1] * p.pitch, to += g.out[2], left -= g.out[2])
          for (int64_t i = 0; i < g.out[2]; i += L) {
            if (left - i >= L)
              store(to + i, load(from + i));
            else
              store_n(to + i, load_n(from + i, static_cast<size_t>(left - i)), static_cast<size_t>(left - i));
          }
      }
    }
  }
}

void run(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const Columns p(args.geometry);
  T* const tile = Space(p, workspace).tile;
  const Finish<T> finish(args.epilogue, args.dst);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task % p.blocks, panel = task / p.blocks % p.panels, group = task / p.blocks / p.panels;
    const int64_t m0 = panel * p.height, rows = smaller(p.height, p.m - m0), channel = group * p.m + m0;
    const T* const columns = args.shared + group * p.columns_elements();
    const int64_t block_end = smaller(p.vectors, (block + 1) * p.vectors_of_task);
    for (int64_t v = block * p.vectors_of_task; v < block_end; v += 2) {
      const int vectors = v + 1 < block_end ? 2 : 1;
      kStreamTiles<T, true>.of[rows][vectors](p.k, args.packed + channel * p.k, 0, columns + v * L, p.row, tile, 2 * L);
      const Runs runs(p, v * L, smaller(p.positions, (v + vectors) * L));
      for (int64_t i = 0; i < rows; ++i) {
        const V<T> bias = args.epilogue.bias_per_row ? splat(args.epilogue.bias_per_row[channel + i]) : V<T>{};
        T* const dst = args.dst + (channel + i) * p.plane;
        for (int r = 0; r < runs.count; ++r) {
          const size_t lanes = static_cast<size_t>(runs.lanes[r]);
          V<T> x = load(tile + i * 2 * L + runs.from[r]) + bias;
          if (finish.any) x = finish(x, dst + runs.to[r], lanes);
          if (lanes == L)
            store(dst + runs.to[r], x);
          else
            store_n(dst + runs.to[r], x, lanes);
        }
      }
    }
  }
}

}  // namespace

const ConvFunctions<float> conv_columns = {cost, packed_elements, pack_items,   pack, tasks, workspace_bytes,
                                           run,  shared_elements, shared_items, share};

}  // namespace lanner::cpu::LANNER_ISA
