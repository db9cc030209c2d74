// The weight gradient with stride 2. A round takes as many images as fit the last-level cache: it transforms x to V and
// dy to Y, both as panels [point, panel, tile, channel], then adds their products over tiles to dU, [point, c, k] of
// each parity and pair of panels.
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_split.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

using T = float;
constexpr int L = kLanes<T>, kN = kNR<T>, kPoints = kSplitPoints * kSplitPoints;

// As in conv_winograd_weight.cpp.
constexpr int64_t kRoundBytes = 8 << 20, kTaskTiles = 32, kDepth = 256;
constexpr int64_t kSums = int64_t{kPoints} * L * kN;  // dU of a parity and a pair of panels

struct SplitWeightPass : SplitShape {
  int64_t k_panels;                     // of kN channels of dy; those of x are vectors of a parity
  int64_t images, rounds, round_tiles;  // of a round
  int64_t task_images, task_strips;     // of a task: whole images, or some of one image's rows of tiles
  int64_t input_step, grad_step;        // from point to point

  explicit SplitWeightPass(const ConvGeometry& g) : SplitShape(g) {
    k_panels = ceil_div(m, kN);
    const int64_t across = larger(1, columns.all()), one = larger(1, tiles());
    const int64_t bytes = groups * (4 * c_vectors * L + k_panels * kN) * kPoints * static_cast<int64_t>(sizeof(T));
    rounds = larger(1, smaller(ceil_div(n * one * bytes, kRoundBytes), n));
    images = ceil_div(n, rounds), rounds = ceil_div(n, larger(1, images));
    round_tiles = images * one;
    task_images = larger(1, smaller(kTaskTiles / one, images));
    task_strips = one > kTaskTiles ? larger(1, kTaskTiles / across) : larger(1, rows.all());
    input_step = groups * 4 * c_vectors * round_tiles * L + L, grad_step = groups * k_panels * round_tiles * kN + L;
  }
  int64_t segments() const { return ceil_div(rows.all(), task_strips); }
  int64_t image_blocks() const { return ceil_div(images, task_images); }
  int64_t patch_elements() const {
    return (2 * smaller(4 * task_strips, covered_rows()) + 2) * (2 * covered_columns() + 2) * L;
  }
  int64_t partial_elements() const {
    return kPoints * (input_step + grad_step) + (rounds > 1 ? groups * k_panels * c_vectors * 4 * kSums : 0);
  }
  TileBlock round_block(int64_t round) const {
    return {rows, columns, smaller(images, n - round * images), 0, rows.all()};
  }
};

int64_t rounds(const ConvGeometry& g) { return SplitWeightPass(g).rounds; }
int64_t partial_elements(const ConvGeometry& g) { return SplitWeightPass(g).partial_elements(); }
int64_t tasks(const ConvGeometry& g) {
  const SplitWeightPass p(g);
  return p.image_blocks() * p.segments();
}
int64_t workspace_bytes(const ConvGeometry& g) {
  return SplitWeightPass(g).patch_elements() * static_cast<int64_t>(sizeof(T));
}

void run(const ConvGeometry& g, int64_t round, const T* x, const T* dy, T* partial, int64_t begin, int64_t end,
         void* workspace) {
  const SplitWeightPass p(g);
  const int64_t x_plane = p.x.height * p.x.width, y_plane = p.y.height * p.y.width;
  const TileBlock all = p.round_block(round);
  const ConvOperands operands = unpaired(g.operands);
  Gathered<T> x_patch{static_cast<T*>(workspace), operands}, dy_patch{static_cast<T*>(workspace), operands};
  for (int64_t task = begin; task < end; ++task) {
    const int64_t first = task / p.segments() * p.task_images, last = smaller(first + p.task_images, all.images);
    const int64_t row0 = task % p.segments() * p.task_strips, row1 = smaller(row0 + p.task_strips, p.rows.all());
    const int64_t top = p.rows.begin(row0), height = p.rows.begin(row1) - top;
    const auto each_tile = [&](int64_t image, auto f) __attribute__((always_inline)) {
      for (int64_t row = row0; row < row1; ++row)
        for (int64_t column = 0; column < p.columns.all(); ++column) f(row, column, all.index(image, row, column));
    };
    x_patch.clip[0] = dy_patch.clip[0] = -1;  // they share their memory
    for (int64_t image = first; image < last; ++image)
      for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t c = 0; c < p.c_vectors; ++c) {
          const int64_t channel = ((round * p.images + image) * p.groups + group) * p.c + c * L;
          x_patch.gather(x + channel * x_plane, smaller(L, p.c - c * L), x_plane, p.x, 2 * top - p.pad[0],
                         2 * height + 2, -p.pad[1], 2 * p.covered_columns() + 2);
          const int64_t down = 2 * x_patch.pitch * L;
          T* const panels = partial + (group * p.c_vectors + c) * 4 * p.round_tiles * L;
          each_tile(
              image, [&](int64_t row, int64_t column, int64_t tile) __attribute__((always_inline)) {
                const T* const at = x_patch.to + (p.rows.begin(row) - top) * down + p.columns.begin(column) * 2 * L;
                of_kind(
                    row < p.rows.fours,
                    column < p.columns.fours, [&](auto rows, auto columns) __attribute__((always_inline)) {
                      for (int q = 0; q < 4; ++q) {
                        const T* const from = at + (kParityRow[q] * x_patch.pitch + kParityColumn[q]) * L;
                        T* const to = panels + (q * p.round_tiles + tile) * L;
                        both_ways<V<T>, SplitInput<decltype(rows)::kSize>, SplitInput<decltype(columns)::kSize>>(
                            [&](int i, int j)
                                __attribute__((always_inline)) { return load(from + i * down + j * 2 * L); },
                            [&](int i, int j, V<T> v) __attribute__((always_inline)) {
                              store(to + (i * kSplitPoints + j) * p.input_step, v);
                            });
                      }
                    });
              });
        }
    for (int64_t image = first; image < last; ++image)
      for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t k = 0; k < p.k_panels * kN; k += L) {
          const int64_t channel = ((round * p.images + image) * p.groups + group) * p.m + k;
          dy_patch.gather(dy + channel * y_plane, larger(0, smaller(L, p.m - k)), y_plane, p.y, top, height, 0,
                          p.covered_columns());
          const int64_t down = dy_patch.pitch * L;
          T* const panel =
              partial + kPoints * p.input_step + (group * p.k_panels + k / kN) * p.round_tiles * kN + k % kN;
          each_tile(
              image, [&](int64_t row, int64_t column, int64_t tile) __attribute__((always_inline)) {
                const T* const from = dy_patch.to + (p.rows.begin(row) - top) * down + p.columns.begin(column) * L;
                T* const to = panel + tile * kN;
                of_kind(
                    row < p.rows.fours,
                    column < p.columns.fours, [&](auto rows, auto columns) __attribute__((always_inline)) {
                      both_ways<V<T>, SplitOutputGrad<decltype(rows)::kSize>,
                                SplitOutputGrad<decltype(columns)::kSize>>(
                          [&](int i, int j) __attribute__((always_inline)) { return load(from + i * down + j * L); },
                          [&](int i, int j, V<T> v)
                              __attribute__((always_inline)) { store(to + (i * kSplitPoints + j) * p.grad_step, v); });
                    });
              });
        }
  }
}

int64_t finish_items(const ConvGeometry& g) {
  const SplitWeightPass p(g);
  return p.groups * p.k_panels * p.c_vectors;
}

// dU of the four parities of a pair of panels to dw.
void transform_weight(const SplitWeightPass& p, const T* sums, int64_t group, int64_t c0, int64_t k0, T* dw) {
  const int64_t taps = p.taps();
  for (int64_t c = 0; c < smaller(L, p.c - c0); ++c)
    for (int64_t j0 = 0; j0 < smaller(kN, p.m - k0); j0 += L) {
      V<T> tap[16 + L] = {};
      for (int q = 0; q < 4; ++q)
        both_ways<V<T>, SplitWeightGrad, SplitWeightGrad>(
            [&](int i, int j) __attribute__((always_inline)) {
              return load(sums + q * kSums + ((i * kSplitPoints + j) * L + c) * kN + j0);
            },
            [&](int i, int j, V<T> v) __attribute__((always_inline)) {
              const int64_t y = 2 * i + kParityRow[q], x = 2 * j + kParityColumn[q];
              if (y < p.kernel[0] && x < p.kernel[1]) tap[y * p.kernel[1] + x] = v;
            });
      T* const to = dw + ((group * p.m + k0 + j0) * p.c + c0 + c) * taps;
      for (int64_t t = 0; t < taps; t += L) {
        V<T> rows[L];
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) rows[j] = tap[t + j];
        transpose<T>(rows);
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j)
          if (k0 + j0 + j < p.m) store_n(to + j * p.c * taps + t, rows[j], static_cast<size_t>(smaller(L, taps - t)));
      }
    }
}

void finish(const ConvGeometry& g, int64_t round, T* partial, T* dw, int64_t begin, int64_t end) {
  const SplitWeightPass p(g);
  constexpr int kHeight = L / ((L + kMR - 1) / kMR);
  const T* const x = partial;
  const T* const dy = x + kPoints * p.input_step;
  T* const all_sums = partial + kPoints * (p.input_step + p.grad_step);
  const TileBlock all = p.round_block(round);
  alignas(64) T own[4 * kSums];
  for (int64_t item = begin; item < end; ++item) {
    const int64_t c_vector = item % p.c_vectors, k_panel = item / p.c_vectors % p.k_panels;
    const int64_t group = item / p.c_vectors / p.k_panels;
    T* const sums = p.rounds > 1 ? all_sums + item * 4 * kSums : own;
    const int columns = p.m - k_panel * kN <= L ? L : kN;
    for (int point = 0; point < kPoints; ++point) {
      const int row = point / kSplitPoints, column = point % kSplitPoints;
      const Range tiles = all.with_point(row, column), parities = parities_at(row, column, p.kernel[0], p.kernel[1]);
      const T* const b = dy + point * p.grad_step + (group * p.k_panels + k_panel) * p.round_tiles * kN;
      for (int64_t q = 0; q < 4; ++q) {
        T* const to = sums + q * kSums + point * L * kN;
        if (q < parities.begin || q >= parities.end || tiles.begin == tiles.end) {
          if (round == 0) zero_elements(to, L * kN);
          continue;
        }
        const T* const a = x + point * p.input_step + ((group * p.c_vectors + c_vector) * 4 + q) * p.round_tiles * L;
        for (int64_t t = tiles.begin; t < tiles.end; t += kDepth)
          for (int i = 0; i < L; i += kHeight) {
            const TileOut<T> out{to + i * kN, kN, 1, kHeight, columns, 1, round > 0 || t > tiles.begin ? T{1} : T{0},
                                 {}};
            tile<T>(smaller(kDepth, tiles.end - t), a + t * L + i, 1, L, b + t * kN, kN, out);
          }
      }
    }
    if (round == p.rounds - 1) transform_weight(p, sums, group, c_vector * L, k_panel * kN, dw);
  }
}

double cost(const ConvGeometry& g) {
  return split_cost(g, static_cast<double>(ceil_div(g.c, L) * L * ceil_div(g.m, L)), false, true);
}

}  // namespace

const ConvWeightFunctions<float> conv_split_weight = {cost, partial_elements, rounds, tasks, workspace_bytes,
                                                      run,  finish_items,     finish};

}  // namespace lanner::cpu::LANNER_ISA
