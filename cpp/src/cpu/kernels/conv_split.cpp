// The forward pass and the input gradient with stride 2.
//
// A task is a block of tiles, of whole images where those are small: the transforms of src [point, tile, channel] and,
// for some channels of dst at a time, the products [point, tile, column] stay in the second-level cache.
#include "cpu/kernels/conv_split.h"

#include "cpu/gemm/pack.h"
#include "cpu/kernels/conv_internal.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

using T = float;
constexpr int L = kLanes<T>, kN = kNR<T>, kPoints = kSplitPoints * kSplitPoints;

// As in conv_winograd.cpp.
constexpr int64_t kBlockBytes = 768 * 1024, kLeastTiles = 2 * kMR;

// Channels of src: of the forward pass [parity, c], whole vectors. Columns of a panel of weights: of the forward pass 2
// vectors of m; of the input gradient 2 parities of one vector of c, and `panels_of_part` of them are all of its four.
struct SplitPass : SplitShape {
  bool forward;
  int64_t depth, parts, panels_of_part;
  int64_t images, strips;  // of a block: whole images, or (images = 1) `strips` rows of tiles
  int64_t channels, weight_step, input_step, product_step, panel_elements;

  SplitPass(const ConvGeometry& g, ConvPass pass) : SplitShape(g), forward(pass == ConvPass::Forward) {
    depth = forward ? 4 * c_vectors * L : m;
    parts = forward ? ceil_div(m, kN) : c_vectors, panels_of_part = forward ? 1 : 2;
    channels = ceil_div(depth, L) * L + L;  // rows of tiles would else fall in few sets of the first-level cache
    const int64_t all = larger(1, n * tiles()), one = larger(1, tiles());
    int64_t most = kBlockBytes / static_cast<int64_t>(sizeof(T)) / (kPoints * (channels + panels_of_part * kN));
    most = larger(most, kLeastTiles);
    most = smaller(most, larger(kMR, ceil_div(all, kTasks / 4)));
    images = larger(1, most / one), strips = rows.all();
    if (one > most) strips = larger(1, most / columns.all());
    images = ceil_div(n, larger(1, ceil_div(n, images)));
    strips = ceil_div(rows.all(), larger(1, ceil_div(rows.all(), strips)));
    // One vector more than a multiple of the cache's way: the points of a tile are written in turn.
    weight_step = depth * kN + L, panel_elements = kPoints * weight_step;
    input_step = most_tiles() * channels + L, product_step = most_tiles() * panels_of_part * kN + L;
  }
  int64_t segments() const { return ceil_div(rows.all(), strips); }
  int64_t blocks() const { return ceil_div(n, images) * segments(); }
  // The input gradient of the block's first row needs the row of tiles before as well.
  int64_t most_strips() const { return smaller(rows.all(), strips + (forward ? 0 : 1)); }
  int64_t most_tiles() const { return images * most_strips() * columns.all(); }
  int64_t x_rows() const { return 2 * (smaller(4 * most_strips(), covered_rows()) + 1) + 2; }
  int64_t x_columns() const { return 2 * (covered_columns() + 1) + 2; }
  int64_t patch_elements() const { return x_rows() * x_columns() * L + L * L; }
  int64_t result_elements() const { return 4 * most_strips() * larger(covered_columns(), y.width) * L + L * L; }
  int64_t workspace_elements() const {
    return kPoints * (input_step + product_step) + patch_elements() + result_elements();
  }
};

int64_t packed_elements(const ConvGeometry& g, ConvPass pass) {
  const SplitPass p(g, pass);
  return p.groups * p.parts * p.panels_of_part * p.panel_elements;
}

int64_t pack_items(const ConvGeometry& g, ConvPass pass) {
  const SplitPass p(g, pass);
  return p.groups * p.parts * (p.forward ? p.c_vectors * L : p.m);
}

// An item is a channel of src: of the forward pass its four parities.
void pack(const ConvGeometry& g, ConvPass pass, const T* weight, int64_t begin, int64_t end, T* packed) {
  const SplitPass p(g, pass);
  const int64_t taps = p.taps(), items = p.forward ? p.c_vectors * L : p.m;
  const int64_t column_step = p.forward ? p.c * taps : taps, item_step = p.forward ? taps : p.c * taps;
  const int64_t all_columns = p.forward ? p.m : p.c;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t channel = item % items, part = item / items % p.parts, group = item / items / p.parts;
    const int64_t column0 = part * (p.forward ? kN : L);
    const T* from = weight + group * p.m * p.c * taps + column0 * column_step + channel * item_step;
    T* const panel = packed + (group * p.parts + part) * p.panels_of_part * p.panel_elements;
    const bool inside = !p.forward || channel < p.c;
    for (int64_t j0 = 0; j0 < (p.forward ? kN : L); j0 += L) {
      V<T> tap[16 + L];
      for (int64_t t = 0; t < taps; t += L) {
        V<T> rows[L];
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j)
          rows[j] = inside && column0 + j0 + j < all_columns
                        ? load_n(from + (j0 + j) * column_step + t, static_cast<size_t>(smaller(L, taps - t)))
                        : V<T>{};
        if (g.operands != ConvOperands::Full)
#pragma GCC unroll 16
          for (int j = 0; j < L; ++j) rows[j] = rounded_to_bf16(rows[j]);
        transpose<T>(rows);
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) tap[t + j] = rows[j];
      }
      for (int q = 0; q < 4; ++q) {
        T* const to = p.forward ? panel + (q * p.c_vectors * L + channel) * kN + j0
                                : panel + q / 2 * p.panel_elements + channel * kN + q % 2 * L;
        both_ways<V<T>, SplitWeight, SplitWeight>(
            [&](int i, int j) __attribute__((always_inline)) {
              const int64_t y = 2 * i + kParityRow[q], x = 2 * j + kParityColumn[q];
              return y < p.kernel[0] && x < p.kernel[1] ? tap[y * p.kernel[1] + x] : V<T>{};
            },
            [&](int i, int j, V<T> v)
                __attribute__((always_inline)) { store(to + (i * kSplitPoints + j) * p.weight_step, v); });
      }
    }
  }
}

int64_t tasks(const ConvGeometry& g, ConvPass pass) {
  const SplitPass p(g, pass);
  const Plane& dst = p.forward ? p.y : p.x;
  return dst.height * dst.width * (p.forward ? p.m : p.c) == 0 ? 0 : p.blocks() * p.groups;
}

int64_t workspace_bytes(const ConvGeometry& g, ConvPass pass) {
  return SplitPass(g, pass).workspace_elements() * static_cast<int64_t>(sizeof(T));
}

// f(row, column, tile) for the block's tiles of one image.
template <class F>
LANNER_INLINE void each_tile(const TileBlock& b, int64_t image, F f) {
  for (int64_t row = b.top; row < b.bottom; ++row)
    for (int64_t column = 0; column < b.columns.all(); ++column) f(row, column, b.index(image, row, column));
}

// x of a group, from the block's first image on, to V.
void transform_x(const SplitPass& p, const TileBlock& b, const T* x, Gathered<T>& patch, T* v) {
  const int64_t plane = p.x.height * p.x.width, top = b.rows.begin(b.top);
  const int64_t height = 2 * (b.rows.begin(b.bottom) - top) + 2, width = 2 * p.covered_columns() + 2;
  patch.clip[0] = -1;
  for (int64_t image = 0; image < b.images; ++image)
    for (int64_t c = 0; c < p.c_vectors; ++c) {
      patch.gather(x + (image * p.groups * p.c + c * L) * plane, smaller(L, p.c - c * L), plane, p.x,
                   2 * top - p.pad[0], height, -p.pad[1], width);
      const int64_t down = 2 * patch.pitch * L;
      each_tile(
          b, image, [&](int64_t row, int64_t column, int64_t tile) __attribute__((always_inline)) {
            const T* const at = patch.to + (b.rows.begin(row) - top) * down + b.columns.begin(column) * 2 * L;
            of_kind(
                row < b.rows.fours,
                column < b.columns.fours, [&](auto rows, auto columns) __attribute__((always_inline)) {
                  for (int q = 0; q < 4; ++q) {
                    const T* const from = at + (kParityRow[q] * patch.pitch + kParityColumn[q]) * L;
                    T* const to = v + tile * p.channels + (q * p.c_vectors + c) * L;
                    both_ways<V<T>, SplitInput<decltype(rows)::kSize>, SplitInput<decltype(columns)::kSize>>(
                        [&](int i, int j) __attribute__((always_inline)) { return load(from + i * down + j * 2 * L); },
                        [&](int i, int j, V<T> u)
                            __attribute__((always_inline)) { store(to + (i * kSplitPoints + j) * p.input_step, u); });
                  }
                });
          });
    }
}

// The same of dy for the input gradient.
void transform_dy(const SplitPass& p, const TileBlock& b, const T* dy, Gathered<T>& patch, T* v) {
  const int64_t plane = p.y.height * p.y.width, top = b.rows.begin(b.top);
  patch.clip[0] = -1;
  for (int64_t image = 0; image < b.images; ++image)
    for (int64_t c = 0; c < p.m_vectors; ++c) {
      patch.gather(dy + (image * p.groups * p.m + c * L) * plane, smaller(L, p.m - c * L), plane, p.y, top,
                   b.rows.begin(b.bottom) - top, 0, p.covered_columns());
      const int64_t down = patch.pitch * L;
      each_tile(
          b, image, [&](int64_t row, int64_t column, int64_t tile) __attribute__((always_inline)) {
            const T* const from = patch.to + (b.rows.begin(row) - top) * down + b.columns.begin(column) * L;
            T* const to = v + tile * p.channels + c * L;
            of_kind(
                row < b.rows.fours,
                column < b.columns.fours, [&](auto rows, auto columns) __attribute__((always_inline)) {
                  both_ways<V<T>, SplitOutputGrad<decltype(rows)::kSize>, SplitOutputGrad<decltype(columns)::kSize>>(
                      [&](int i, int j) __attribute__((always_inline)) { return load(from + i * down + j * L); },
                      [&](int i, int j, V<T> u)
                          __attribute__((always_inline)) { store(to + (i * kSplitPoints + j) * p.input_step, u); });
                });
          });
    }
}

// The products of one panel of weights; those that are zero are left out.
void multiply(const SplitPass& p, const TileBlock& b, const T* v, const T* weight, int panel, int columns, T* product) {
  for (int point = 0; point < kPoints; ++point) {
    const int i = point / kSplitPoints, j = point % kSplitPoints;
    const Range tiles = b.with_point(i, j), parities = parities_at(i, j, p.kernel[0], p.kernel[1]);
    int64_t first = 0, depth = p.depth;
    int skip = 0, wide = columns;
    if (p.forward) {
      first = parities.begin * p.c_vectors * L, depth = (parities.end - parities.begin) * p.c_vectors * L;
    } else {
      const int from = static_cast<int>(larger(0, parities.begin - 2 * panel)) * L;
      wide = static_cast<int>(smaller(kN, (parities.end - 2 * panel) * L)) - from, skip = from;
    }
    if (wide <= 0 || tiles.begin == tiles.end) continue;
    const int64_t count = tiles.end - tiles.begin, height = ceil_div(count, ceil_div(count, kMR));
    const int64_t row = p.panels_of_part * kN;
    for (int64_t t = tiles.begin; t < tiles.end; t += height) {
      const TileOut<T> out{product + point * p.product_step + t * row + panel * kN + skip,
                           row,
                           1,
                           static_cast<int>(smaller(height, tiles.end - t)),
                           wide,
                           1,
                           0,
                           {}};
      tile<T>(depth, v + point * p.input_step + t * p.channels + first, p.channels, 1,
              weight + point * p.weight_step + first * kN + skip, kN, out);
    }
  }
}

// Products to y, of the channels of one panel. `y`: of the block's first image, of the panel's first channel.
void transform_y(const SplitPass& p, const TileBlock& b, const T* product, int64_t width, const T* bias,
                 const Finish<T>& finish, T* result, T* y) {
  const int64_t plane = p.y.height * p.y.width, top = b.rows.begin(b.top);
  const int64_t bottom = smaller(b.rows.begin(b.bottom), p.y.height);
  for (int64_t image = 0; image < b.images; ++image)
    for (int64_t k = 0; k < width; k += L) {
      each_tile(
          b, image, [&](int64_t row, int64_t column, int64_t tile) __attribute__((always_inline)) {
            const int64_t y0 = b.rows.begin(row), x0 = b.columns.begin(column);
            const int64_t high = p.y.height - y0, wide = p.y.width - x0;
            T* const to = result + ((y0 - top) * p.y.width + x0) * L;
            of_kind(
                row < b.rows.fours,
                column < b.columns.fours, [&](auto rows, auto columns) __attribute__((always_inline)) {
                  both_ways<V<T>, SplitOutput<decltype(rows)::kSize>, SplitOutput<decltype(columns)::kSize>>(
                      [&](int i, int j) __attribute__((always_inline)) {
                        return load(product + (i * kSplitPoints + j) * p.product_step + tile * kN + k);
                      },
                      [&](int i, int j, V<T> v) __attribute__((always_inline)) {
                        if (i < high && j < wide) store(to + (i * p.y.width + j) * L, v);
                      });
                });
          });
      const int64_t here = smaller(L, width - k);
      const V<T> start = bias ? load_n(bias + k, static_cast<size_t>(here)) : V<T>{};
      spread_lanes<T>(result, (bottom - top) * p.y.width, here, start, finish,
                      y + (image * p.groups * p.m + k) * plane + top * p.y.width, plane);
    }
}

// Products to dx, of one vector of channels: rows of tiles from `own` on are stored, the one before adds to the first of
// them. `patch` is zero where no tile writes.
void transform_dx(const SplitPass& p, const TileBlock& b, int64_t own, const T* product, int64_t channels,
                  const T* bias, const Finish<T>& finish, T* patch, T* dx) {
  const int64_t plane = p.x.height * p.x.width, top = b.rows.begin(b.top);
  const int64_t pitch = p.x_columns() * L, row_step = 4 * L;
  const int64_t begin = larger(0, 2 * b.rows.begin(own) - p.pad[0]);
  const int64_t end =
      b.bottom == b.rows.all() ? p.x.height : smaller(p.x.height, 2 * b.rows.begin(b.bottom) - p.pad[0]);
  const V<T> start = bias ? load_n(bias, static_cast<size_t>(channels)) : V<T>{};
  for (int64_t image = 0; image < b.images; ++image) {
    each_tile(
        b, image, [&](int64_t row, int64_t column, int64_t tile) __attribute__((always_inline)) {
          T* const at = patch + 2 * (b.rows.begin(row) - top) * pitch + 2 * b.columns.begin(column) * L;
          const T* const from = product + tile * row_step;
          of_kind(
              row < b.rows.fours,
              column < b.columns.fours, [&](auto rows, auto columns) __attribute__((always_inline)) {
                for (int q = 0; q < 4; ++q) {
                  T* const to = at + kParityRow[q] * pitch + kParityColumn[q] * L;
                  both_ways<V<T>, SplitInputGrad<decltype(rows)::kSize>, SplitInputGrad<decltype(columns)::kSize>>(
                      [&](int i, int j) __attribute__((always_inline)) {
                        return load(from + (i * kSplitPoints + j) * p.product_step + q * L);
                      },
                      [&](int i, int j, V<T> v) __attribute__((always_inline)) {
                        T* const here = to + 2 * i * pitch + 2 * j * L;
                        if ((i == 0 && row > b.top) || (j == 0 && column > 0)) v += load(here);
                        store(here, v);
                      });
                }
              });
        });
    for (int64_t y = begin; y < end; ++y)
      spread_lanes<T>(patch + (y + p.pad[0] - 2 * top) * pitch + p.pad[1] * L, p.x.width, channels, start, finish,
                      dx + image * p.groups * p.c * plane + y * p.x.width, plane);
  }
}

void run(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const SplitPass p(args.geometry, args.pass);
  T* const v = static_cast<T*>(workspace);
  T* const product = v + kPoints * p.input_step;
  T* const result = product + kPoints * p.product_step;
  Gathered<T> patch{result + p.result_elements(), unpaired(args.geometry.operands)};
  const Finish<T> finish(args.epilogue, args.dst);
  const int64_t src_plane = p.forward ? p.x.height * p.x.width : p.y.height * p.y.width;
  const int64_t dst_plane = p.forward ? p.y.height * p.y.width : p.x.height * p.x.width;
  const int64_t src_channels = p.forward ? p.c : p.m, dst_channels = p.forward ? p.m : p.c;
  if (!p.forward) zero_elements(product, kPoints * p.product_step);  // some products are never computed
  for (int64_t task = begin; task < end; ++task) {
    const int64_t group = task % p.groups, block = task / p.groups, segment = block % p.segments();
    const int64_t image = block / p.segments() * p.images, own = segment * p.strips;
    const TileBlock b(p.rows, p.columns, smaller(p.images, p.n - image), p.forward ? own : larger(0, own - 1),
                      smaller(p.rows.all(), own + p.strips));
    const T* const src = args.src + (image * p.groups + group) * src_channels * src_plane;
    p.forward ? transform_x(p, b, src, patch, v) : transform_dy(p, b, src, patch, v);
    if (!p.forward) zero_elements(patch.to, p.patch_elements());
    for (int64_t part = 0; part < p.parts; ++part) {
      const int64_t k = part * (p.forward ? kN : L);
      const int64_t width = smaller(p.forward ? kN : L, dst_channels - k);
      const T* const weight = args.packed + (group * p.parts + part) * p.panels_of_part * p.panel_elements;
      for (int panel = 0; panel < p.panels_of_part; ++panel)
        multiply(p, b, v, weight + panel * p.panel_elements, panel, p.forward && width <= L ? L : kN, product);
      const int64_t channel = group * dst_channels + k;
      const T* const bias = args.epilogue.bias_per_row ? args.epilogue.bias_per_row + channel : nullptr;
      T* const dst = args.dst + (image * p.groups * dst_channels + channel) * dst_plane;
      if (p.forward)
        transform_y(p, b, product, width, bias, finish, result, dst);
      else
        transform_dx(p, b, own, product, width, bias, finish, patch.to, dst);
    }
  }
}

double cost(const ConvGeometry& g, ConvPass pass, bool packed) {
  const int64_t c = ceil_div(g.c, L), m = ceil_div(g.m, L);
  return split_cost(g, static_cast<double>(pass == ConvPass::Forward ? c * L * m : g.m * c), true, packed);
}

}  // namespace

const ConvFunctions<float> conv_split = {cost, packed_elements, pack_items, pack, tasks, workspace_bytes, run};

}  // namespace lanner::cpu::LANNER_ISA
