// The forward pass, and the input gradient where the stride is 1, as products on AMX (gemm/amx_product.h): dst [channel,
// position] = w [channel, (c, tap)] src [(c, tap), position]. A task copies its patch of src, as pairs of channels, and
// from it, for 32 positions at a time, what each (c, tap) has there: a panel of B. It meets all channels of dst.
#include "cpu/gemm/amx_product.h"
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_pack.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

using T = float;
constexpr int L = kLanes<T>;

// In vector FMAs, of which two pass in a cycle: a product of tiles takes 16 cycles, of which half are lost to loads.
constexpr double kTileProduct = 2 * 16 * 2;

struct AmxPlan {
  Plan<T> p;
  int64_t k, steps;  // (pair of channels, tap), and up to whole tiles

  AmxPlan(const ConvGeometry& g, ConvPass pass)
      : p(Plan<T>::by_positions(g, pass, kAmxRows)), k(p.c * p.taps), steps(amx_steps(2 * k)) {}

  int64_t panel_elements() const { return kAmxRows * steps; }
  int64_t group_elements() const { return p.panels * panel_elements(); }
};

double cost(const ConvGeometry& g, ConvPass pass, bool packed) {
  if (g.operands != ConvOperands::Tiles) return __builtin_inf();
  const AmxPlan w(g, pass);
  const Plan<T>& p = w.p;
  if (p.phases() != 1) return __builtin_inf();
  const double blocks = static_cast<double>(p.n * p.groups * ceil_div(p.dst_plane(), kTileColumns));
  const double steps = static_cast<double>(w.steps), rows = static_cast<double>(ceil_div(p.m, kTileRows));
  const double copies = blocks * steps * 3, patches = 3 * static_cast<double>(p.n * p.groups * p.c * p.src_plane()) / L;
  return blocks * rows * steps / kTilePairs * kTileProduct + copies + patches +
         read_cost(static_cast<double>(p.groups * p.c * p.m * p.taps * 4)) +
         (packed ? 0 : static_cast<double>(p.groups * p.m * w.k));
}

int64_t packed_elements(const ConvGeometry& g, ConvPass pass) {
  const AmxPlan w(g, pass);
  return w.p.groups * w.group_elements();
}

int64_t pack_items(const ConvGeometry& g, ConvPass pass) {
  const AmxPlan w(g, pass);
  return w.p.groups * w.p.panels;
}

// [group, panel of 32 channels, 2 rows of tiles, tile], k = (c, tap).
void pack(const ConvGeometry& g, ConvPass pass, const T* weight, int64_t begin, int64_t end, T* packed) {
  const AmxPlan w(g, pass);
  const Plan<T>& p = w.p;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t group = item / p.panels, panel = item % p.panels, m0 = panel * kAmxRows;
    PanelRows<T, kAmxRows> rows(p, weight + group * p.channels * p.m * p.taps + m0 * p.weight_m,
                                static_cast<int>(smaller(kAmxRows, p.m - m0)), kAmxRows);
    T* const to = packed + item * w.panel_elements();
    alignas(64) T across[kTilePairs * kAmxRows];
    int64_t k = 0;
    const auto flush = [&] {
      for (int half = 0; half < 2; ++half)
        turn_tile(across + half * kTileRows, kAmxRows, to + half * w.steps * kTileRows + (k - kTilePairs) * kTileRows);
    };
    for (int64_t c = 0; c < p.c; ++c) {
      rows.read(c);
      each_tap(p, 0, [&](int64_t, int64_t tap, int64_t, int64_t, int64_t) {
        rows.write(tap, across + k++ % kTilePairs * kAmxRows);
        if (k % kTilePairs == 0) flush();
      });
    }
    if (k == w.steps) continue;
    zero_elements(across + k % kTilePairs * kAmxRows, (w.steps - k) * kAmxRows);
    k = w.steps;
    flush();
  }
}

int64_t tasks(const ConvGeometry& g, ConvPass pass) {
  const AmxPlan w(g, pass);
  return w.p.dst_plane() * w.p.m == 0 ? 0 : w.p.tasks();
}

// Of a task: the patch, where each (c, tap) lies in it, and a panel of B, whose rows may spill over their end.
struct AmxSpace {
  T *patch, *panel;
  int32_t* offset;
  int64_t bytes;
  AmxSpace(const AmxPlan& w, void* workspace) {
    const int64_t size = static_cast<int64_t>(sizeof(T));
    char* at = static_cast<char*>(workspace);
    patch = reinterpret_cast<T*>(at);
    at += align64(w.p.patch_elements() * size);
    panel = reinterpret_cast<T*>(at);
    at += align64((w.steps * kAmxColumns + L) * size);
    offset = reinterpret_cast<int32_t*>(at);
    at += align64(w.k * 4);
    bytes = at - static_cast<char*>(workspace);
  }
};

int64_t workspace_bytes(const ConvGeometry& g, ConvPass pass) { return AmxSpace(AmxPlan(g, pass), nullptr).bytes; }

// B of the `columns` positions from `first` on, of the rows of positions that begin at `src`.
void copy_panel(const AmxPlan& w, const AmxSpace& space, const T* src, int64_t first, int64_t columns) {
  const Plan<T>& p = w.p;
  const int64_t width = p.count[2], row_step = p.axis[1].src_step() * p.pitch[1];
  const T* from[kAmxColumns];  // the runs of positions that are next to each other
  int begin[kAmxColumns + 1], runs = 0;
  for (int64_t j = 0; j < columns;) {
    const int64_t row = (first + j) / width, x = (first + j) % width;
    from[runs] = src + row * row_step + x, begin[runs++] = static_cast<int>(j);
    j += width - x;
  }
  begin[runs] = static_cast<int>(columns);
  T* to = space.panel;
  // A run spills over its end, where the next one, or the next row, is written afterwards.
  for (int64_t k = 0; k < w.k; ++k, to += kAmxColumns)
    for (int r = 0; r < runs; ++r)
      for (int j = begin[r]; j < begin[r + 1]; j += L) store(to + j, load(from[r] + space.offset[k] + j - begin[r]));
  zero_elements(to, (w.steps - w.k) * kAmxColumns);
}

template <class Tiles>
void run(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const AmxPlan w(args.geometry, args.pass);
  const Plan<T>& p = w.p;
  const AmxSpace space(w, workspace);
  each_tap(p, 0, [&](int64_t i, int64_t, int64_t z, int64_t y, int64_t x) {
    const int64_t column = p.phase_pitch ? x % p.axis[2].src_step() * p.phase_pitch + x / p.axis[2].src_step() : x;
    for (int64_t c = 0; c < p.c; ++c)
      space.offset[c * p.taps + i] =
          static_cast<int32_t>(c * p.channel_pitch + z * p.pitch[0] + y * p.pitch[1] + column);
  });
  Tiles tiles;
  tiles.configure();
  int64_t copied = -1;
  for (int64_t task = begin; task < end; ++task) {
    const auto [patch, group, sample, samples, start, size, panel_begin, panel_end] = ConvTask(p, task);
    if (copied != patch) {
      const T* src = args.src + (sample * p.groups + group) * p.channels * p.src_plane();
      copy_patch(p.patch_of(src, samples, start), copied >= 0 && p.boxes[0] * p.boxes[1] == 1, space.patch);
    }
    copied = patch;

    const T* packed = args.packed + group * w.group_elements();
    const int64_t positions = size[1] * p.count[2];
    for (int64_t s = 0; s < samples; ++s)
      for (int64_t z = 0; z < size[0]; ++z) {
        const T* src = space.patch + s * p.sample_pitch + z * p.axis[0].src_step() * p.pitch[0];
        const int64_t first = ((start[0] + z) * p.count[1] + start[1]) * p.count[2];
        for (int64_t i = 0; i < positions; i += kAmxColumns) {
          const int64_t columns = smaller(kAmxColumns, positions - i);
          copy_panel(w, space, src, i, columns);
          for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
            const int64_t m0 = panel * kAmxRows, channel = group * p.m + m0;
            const int64_t at = ((sample + s) * p.groups * p.m + channel) * p.dst_plane() + first + i;
            Epilogue<T> epilogue = args.epilogue;
            if (epilogue.bias_per_row) epilogue.bias_per_row += channel;
            if (epilogue.residual) epilogue.residual += at;
            if (epilogue.gate) epilogue.gate += at;
            amx_product(tiles, w.steps, packed + panel * w.panel_elements(), space.panel,
                        {args.dst + at, p.dst_plane(), 1, static_cast<int>(smaller(kAmxRows, p.m - m0)),
                         static_cast<int>(columns), 1, 0, epilogue});
          }
        }
      }
  }
  tiles.release();
}

template <class Tiles>
constexpr ConvFunctions<T> kFunctions = {cost, packed_elements, pack_items, pack, tasks, workspace_bytes, run<Tiles>};

}  // namespace

const ConvFunctions<float> conv_amx_plain = kFunctions<PlainTiles>;
#if defined(__AVX512F__)
const ConvFunctions<float> conv_amx = kFunctions<HardwareTiles>;
#endif

}  // namespace lanner::cpu::LANNER_ISA
