// The weight gradient by tiles. A round takes as many tiles as fit the last-level cache: it transforms x to V and dy to Y,
// both as panels [point, panel, tile, channel], then adds their products over tiles to dU [panels, point, c, k].
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_winograd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

using T = float;
constexpr int L = kLanes<T>, kN = kNR<T>;

// V and Y of a round; tiles transformed by a task; tiles summed by one call of the micro-kernel, such that their part
// of both panels (16 and 32 KiB with AVX-512) stays in the first-level cache.
constexpr int64_t kRoundBytes = 8 << 20, kTaskTiles = 32, kDepth = 256;

template <int M>
struct WeightPass {
  static constexpr int N = M + 2, P = N * N;
  int64_t groups, c, k, pad[2];
  Plane src, dst;
  Tiling tiling;
  int64_t round_strips, rounds, round_tiles;
  int64_t c_panels, k_panels;                            // of L and of kN channels
  int64_t input_step, grad_step;                         // from point to point
  static constexpr int64_t kSums = int64_t{P} * L * kN;  // dU of one pair of panels

  explicit WeightPass(const ConvGeometry& g) {
    groups = g.groups, c = g.c, k = g.m;
    src = {g.in[1], g.in[2]}, dst = {g.out[1], g.out[2]};
    for (int d = 0; d < 2; ++d) pad[d] = g.pad[d + 1];
    c_panels = ceil_div(c, L), k_panels = ceil_div(k, kN);
    const int64_t across = ceil_div(dst.width, M);
    tiling = tiling_of(g.n, dst.height, dst.width, M, larger(across, kTaskTiles));
    const int64_t bytes = groups * (c_panels * L + k_panels * kN) * P * static_cast<int64_t>(sizeof(T));
    const int64_t strips = tiling.all_strips();
    rounds = smaller(ceil_div(strips * across * bytes, kRoundBytes), tiling.blocks());
    round_strips = ceil_div(tiling.blocks(), larger(rounds, 1)) * tiling.strips;
    rounds = ceil_div(strips, round_strips);
    round_tiles = smaller(round_strips, strips) * across;
    input_step = groups * c_panels * round_tiles * L + L, grad_step = groups * k_panels * round_tiles * kN + L;
  }

  int64_t patch_elements(int64_t more) const {
    return (smaller(tiling.strips, tiling.down) * M + more) * (tiling.across * M + more) * L;
  }
  int64_t partial_elements() const {
    return P * (input_step + grad_step) + (rounds > 1 ? groups * k_panels * c_panels * kSums : 0);
  }
};

template <int M>
int64_t rounds(const ConvGeometry& g) {
  return WeightPass<M>(g).rounds;
}

template <int M>
int64_t partial_elements(const ConvGeometry& g) {
  return WeightPass<M>(g).partial_elements();
}

template <int M>
int64_t tasks(const ConvGeometry& g) {
  const WeightPass<M> p(g);
  return ceil_div(smaller(p.round_strips, p.tiling.all_strips()), p.tiling.strips);
}

template <int M>
int64_t workspace_bytes(const ConvGeometry& g) {
  return WeightPass<M>(g).patch_elements(2) * static_cast<int64_t>(sizeof(T));
}

template <int M>
void run(const ConvGeometry& g, int64_t round, const T* x, const T* dy, T* partial, int64_t begin, int64_t end,
         void* workspace) {
  const WeightPass<M> p(g);
  constexpr int N = WeightPass<M>::N;
  const int64_t src_plane = p.src.height * p.src.width, dst_plane = p.dst.height * p.dst.width;
  const int64_t strips_end = smaller(p.tiling.all_strips(), (round + 1) * p.round_strips);
  const ConvOperands operands = unpaired(g.operands);
  Gathered<T> x_patch{static_cast<T*>(workspace), operands}, dy_patch{static_cast<T*>(workspace), operands};
  for (int64_t task = begin; task < end; ++task) {
    const int64_t first = round * p.round_strips + task * p.tiling.strips;
    const int64_t last = smaller(first + p.tiling.strips, strips_end);
    for (int64_t strip = first; strip < last;) {
      const Part part = p.tiling.part(strip, last);
      const int64_t tile = (strip - round * p.round_strips) * p.tiling.across, rows = part.bottom - part.top;
      x_patch.clip[0] = dy_patch.clip[0] = -1;  // they share their memory
      for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t panel = 0; panel < p.c_panels; ++panel) {
          const int64_t c = group * p.c + panel * L;
          x_patch.gather(x + (part.image * p.groups * p.c + c) * src_plane, smaller(L, p.c - panel * L), src_plane,
                         p.src, part.top * M - p.pad[0], rows * M + 2, -p.pad[1], part.right * M + 2);
          T* to = partial + ((group * p.c_panels + panel) * p.round_tiles + tile) * L;
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < part.right; ++j, to += L) {
              const T* from = x_patch.to + (i * M * x_patch.pitch + j * M) * L;
              input_2d<M, V<T>>(
                  [&](int a, int b) __attribute__((always_inline)) { return load(from + (a * x_patch.pitch + b) * L); },
                  [&](int a, int b, V<T> v)
                      __attribute__((always_inline)) { store(to + (a * N + b) * p.input_step, v); });
            }
        }
      for (int64_t group = 0; group < p.groups; ++group)
        for (int64_t k = 0; k < p.k_panels * kN; k += L) {
          dy_patch.gather(dy + ((part.image * p.groups + group) * p.k + k) * dst_plane, larger(0, smaller(L, p.k - k)),
                          dst_plane, p.dst, part.top * M, rows * M, 0, part.right * M);
          T* to = partial + p.P * p.input_step + ((group * p.k_panels + k / kN) * p.round_tiles + tile) * kN + k % kN;
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < part.right; ++j, to += kN) {
              const T* from = dy_patch.to + (i * M * dy_patch.pitch + j * M) * L;
              output_grad_2d<M, V<T>>(
                  [&](int a, int b)
                      __attribute__((always_inline)) { return load(from + (a * dy_patch.pitch + b) * L); },
                  [&](int a, int b, V<T> v)
                      __attribute__((always_inline)) { store(to + (a * N + b) * p.grad_step, v); });
            }
        }
      strip += rows;
    }
  }
}

template <int M>
int64_t finish_items(const ConvGeometry& g) {
  const WeightPass<M> p(g);
  return p.groups * p.k_panels * p.c_panels;
}

// dU [point, L, kN] of one pair of panels to dw.
template <int M>
void transform_weight(const WeightPass<M>& p, const T* sums, int64_t group, int64_t c0, int64_t k0, T* dw) {
  for (int64_t c = 0; c < smaller(L, p.c - c0); ++c)
    for (int64_t j0 = 0; j0 < smaller(kN, p.k - k0); j0 += L) {
      V<T> tap[9 + L] = {};
      weight_grad_2d<M, V<T>>(
          [&](int i, int j) __attribute__((always_inline)) { return load(sums + ((i * p.N + j) * L + c) * kN + j0); },
          [&](int i, int j, V<T> v) __attribute__((always_inline)) { tap[3 * i + j] = v; });
      T* to = dw + ((group * p.k + k0 + j0) * p.c + c0 + c) * 9;
#pragma GCC unroll 4
      for (int t = 0; t < 9; t += L) {
        V<T> rows[L];
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) rows[j] = tap[t + j];
        transpose<T>(rows);
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j)
          if (k0 + j0 + j < p.k) store_n(to + j * p.c * 9 + t, rows[j], static_cast<size_t>(9 - t < L ? 9 - t : L));
      }
    }
}

template <int M>
void finish(const ConvGeometry& g, int64_t round, T* partial, T* dw, int64_t begin, int64_t end) {
  const WeightPass<M> p(g);
  constexpr int kHeight = L / ((L + kMR - 1) / kMR);
  const T* const x = partial;
  const T* const dy = x + p.P * p.input_step;
  T* const all_sums = partial + p.P * (p.input_step + p.grad_step);
  const int64_t strips = smaller(p.round_strips, p.tiling.all_strips() - round * p.round_strips);
  const int64_t tiles = strips * p.tiling.across;
  alignas(64) T own[WeightPass<M>::kSums];
  for (int64_t item = begin; item < end; ++item) {
    const int64_t c_panel = item % p.c_panels, k_panel = item / p.c_panels % p.k_panels;
    const int64_t group = item / p.c_panels / p.k_panels;
    T* const sums = p.rounds > 1 ? all_sums + item * p.kSums : own;
    const int columns = p.k - k_panel * kN <= L ? L : kN;
    for (int point = 0; point < p.P; ++point) {
      const T* a = x + point * p.input_step + (group * p.c_panels + c_panel) * p.round_tiles * L;
      const T* b = dy + point * p.grad_step + (group * p.k_panels + k_panel) * p.round_tiles * kN;
      T* to = sums + point * L * kN;
      for (int64_t t = 0; t < tiles; t += kDepth)
        for (int i = 0; i < L; i += kHeight) {
          const TileOut<T> out{to + i * kN, kN, 1, kHeight, columns, 1, round > 0 || t > 0 ? T{1} : T{0}, {}};
          tile<T>(smaller(kDepth, tiles - t), a + t * L + i, 1, L, b + t * kN, kN, out);
        }
    }
    if (round == p.rounds - 1) transform_weight(p, sums, group, c_panel * L, k_panel * kN, dw);
  }
}

template <int M>
double cost(const ConvGeometry& g) {
  return winograd_cost<M>(g, ConvPass::Forward, true);
}

template <int M>
constexpr ConvWeightFunctions<float> kFunctions = {
    cost<M>, partial_elements<M>, rounds<M>, tasks<M>, workspace_bytes<M>, run<M>, finish_items<M>, finish<M>};

}  // namespace

const ConvWeightFunctions<float> conv_winograd_weight_2 = kFunctions<2>, conv_winograd_weight_4 = kFunctions<4>;

}  // namespace lanner::cpu::LANNER_ISA
