// dw[m, c, tap] = sum over samples and positions of dy[m, position] * x[c, position * stride + offset(tap)].
#include "cpu/gemm/pack.h"
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_plan.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// What the chunks' partial sums may take together, in elements.
constexpr int64_t kPartialElements = int64_t{8} << 20;
// A chunk sums over at least so many positions: adding its partial sums then costs next to nothing.
constexpr int64_t kChunkPositions = 512;

template <class T>
struct WeightPlan {
  static constexpr int L = kLanes<T>;
  Plan<T> p;
  int64_t k;                      // rows of a panel: (c, tap)
  int64_t chunk_samples, chunks;  // how the batch is cut
  int64_t panel_blocks, panels_of_block;
  int64_t group_elements;  // of one group's partial sums

  explicit WeightPlan(const ConvGeometry& g) : p(g) {
    k = p.c * p.taps;
    group_elements = p.packed_channels() * k;
    const int64_t positions = larger(1, p.dst_plane());
    chunk_samples = larger(ceil_div(p.n, kTasks), ceil_div(kChunkPositions, positions));
    // Groups are parallel already.
    if (p.groups >= kTasks) chunk_samples = p.n;
    const int64_t most = larger(1, kPartialElements / larger(1, p.groups * group_elements));
    chunk_samples = larger(1, larger(smaller(chunk_samples, p.n), ceil_div(p.n, most)));
    chunks = ceil_div(p.n, chunk_samples);
    panel_blocks = 1;
    int64_t flops = 2 * p.m * k * positions * chunk_samples;
    for (; chunks * p.groups * panel_blocks < kTasks && 2 * panel_blocks <= p.panels && flops > 2 * kTaskFlops;
         flops /= 2)
      panel_blocks *= 2;
    panels_of_block = ceil_div(p.panels, panel_blocks);
    panel_blocks = ceil_div(p.panels, panels_of_block);
  }

  int64_t panel_offset(int64_t panel) const { return panel * p.panel * k; }
  int64_t box_positions() const { return p.samples * p.box[0] * p.box[1] * p.box[2]; }
  int64_t box_vectors() const { return p.samples * p.box[0] * p.box[1] * ceil_div(p.box[2], L); }
  // dy of one panel: transposed [position, channel], or its rows cut into whole vectors.
  int64_t gradient_elements() const {
    return p.by_width ? p.panel * box_vectors() * L : box_positions() * kNR<T> + 2 * L;
  }
  int64_t workspace_bytes() const {
    return align64(p.patch_elements() * static_cast<int64_t>(sizeof(T))) +
           align64(gradient_elements() * static_cast<int64_t>(sizeof(T))) + align64(4 * k) +
           align64(4 * (p.by_width ? box_vectors() : box_positions()));
  }
};

// A box of samples and positions, and its tables.
template <class T>
struct Box {
  int64_t samples, start[2], size[2];
  bool alone;         // the last of the samples has no other to make a pair with
  const T* dy;        // of the box's first sample, of the group's first channel
  const T* x;         // the patch, or x itself
  T* gradient;        // workspace
  int32_t* tap;       // of each (c, tap), from x
  int32_t* position;  // of each position, or vector of positions, from x
};

template <class T>
void build(const WeightPlan<T>& w, Box<T>& box) {
  const Plan<T>& p = w.p;
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (int64_t c = 0; c < p.c; ++c)
    for (int64_t z = 0; z < p.axis[0].kernel; ++z)
      for (int64_t y = 0; y < p.axis[1].kernel; ++y)
        for (int64_t x = 0; x < p.axis[2].kernel; ++x) {
          const int64_t column = x * p.axis[2].dilation, step = p.axis[2].src_step();
          box.tap[i++] = static_cast<int32_t>(c * p.channel_pitch + z * p.axis[0].dilation * p.pitch[0] +
                                              y * p.axis[1].dilation * p.pitch[1] +
                                              (p.phase_pitch ? column % step * p.phase_pitch + column / step : column));
        }
  // Vectors: the whole ones first, then the ends of rows.
  const int64_t columns = p.count[2], whole = p.by_width ? columns / L * L : columns;
  int32_t* at = box.position;
  const auto walk = [&](int64_t from, int64_t to, int64_t step) {
    for (int64_t s = 0; s < box.samples; ++s)
      for (int64_t z = 0; z < box.size[0]; ++z)
        for (int64_t y = 0; y < box.size[1]; ++y)
          for (int64_t x = from; x < to; x += step)
            *at++ = static_cast<int32_t>(s * p.sample_pitch + z * p.axis[0].src_step() * p.pitch[0] +
                                         y * p.axis[1].src_step() * p.pitch[1] + x * p.pitch[2]);
  };
  walk(0, whole, p.by_width ? L : 1);
  if (p.by_width) walk(whole, columns, L);
}

// dy of one panel and of `run` positions, transposed; `odd`: that of the other sample of a pair, or null.
template <class T>
void pack_gradient(const Plan<T>& p, int64_t run, int height, const T* from, const T* odd, int64_t plane, T* to,
                   int width) {
  if constexpr (sizeof(T) == 4) {
    if (p.pairs()) {
      constexpr int64_t kRun = 32;
      alignas(64) T one[(kRun + 1) * kNR<T>], other[(kRun + 1) * kNR<T>] = {};
      for (int64_t i = 0; i < run; i += kRun) {
        const int64_t here = smaller(kRun, run - i);
        pack_panel(here, height, from + i, 1, plane, one, width);
        if (odd) pack_panel(here, height, odd + i, 1, plane, other, width);
        round_elements<true>(to + i * width, one, other, here * width);
      }
      return;
    }
    if (p.operands == ConvOperands::Rounded) return pack_rounded<false>(run, height, from, 1, plane, to, width);
  }
  pack_panel(run, height, from, 1, plane, to, width);
}

template <class T>
void add_by_channels(const WeightPlan<T>& w, const Box<T>& box, int64_t panel, T* partial) {
  const Plan<T>& p = w.p;
  const int64_t width = p.width(panel), plane = p.dst_plane(), run = box.size[1] * p.axis[2].dst;
  T* to = box.gradient;
  for (int64_t s = 0; s < box.samples; ++s)
    for (int64_t z = 0; z < box.size[0]; ++z) {
      const T* from = box.dy + (s * p.unit * p.groups * p.m + panel * p.panel) * plane +
                      ((box.start[0] + z) * p.axis[1].dst + box.start[1]) * p.axis[2].dst;
      const T* odd = box.alone && s == box.samples - 1 ? nullptr : from + p.groups * p.m * plane;
      pack_gradient(p, run, static_cast<int>(p.height(panel)), from, odd, plane, to, static_cast<int>(width));
      to += run * width;
    }
  const int64_t positions = box.samples * box.size[0] * run, rows = ceil_div(w.k, ceil_div(w.k, kMR));
  for (int64_t i = 0; i < w.k; i += rows) {
    const int64_t here = smaller(rows, w.k - i);
    const T* row[kMR];
    for (int64_t r = 0; r < here; ++r) row[r] = box.x + box.tap[i + r];
    T* out = partial + i * width;
    channels_tiles<T>(p.pairs()).of[here][width / kLanes<T>](positions, row, box.position, box.gradient, out, width,
                                                             out, width);
  }
}

template <class T>
void copy_gradient(const Plan<T>& p, const T* from, const T* odd, int64_t n, T* to) {
  if constexpr (sizeof(T) == 4) {
    if (p.pairs()) return round_elements<true>(to, from, odd, n);
    if (p.operands == ConvOperands::Rounded) return round_elements<false>(to, from, nullptr, n);
  }
  copy_elements(to, from, n);
}

template <class T>
void add_by_width(const WeightPlan<T>& w, const Box<T>& box, int64_t panel, T* partial) {
  const Plan<T>& p = w.p;
  constexpr int L = kLanes<T>;
  const int64_t columns = p.count[2], whole = columns / L, tail = columns % L;
  const int64_t lines = box.samples * box.size[0] * box.size[1], full = lines * whole;
  const int64_t vectors = full + (tail ? lines : 0);
  const int rows = static_cast<int>(p.height(panel));
  for (int i = 0; i < rows; ++i) {
    T* to = box.gradient + i * vectors * L;
    T* end = to + full * L;
    for (int64_t s = 0; s < box.samples; ++s)
      for (int64_t z = 0; z < box.size[0]; ++z) {
        const T* from = box.dy + (s * p.unit * p.groups * p.m + panel * p.panel + i) * p.dst_plane() +
                        ((box.start[0] + z) * p.axis[1].dst + box.start[1]) * columns;
        const bool alone = box.alone && s == box.samples - 1;
        for (int64_t y = 0; y < box.size[1]; ++y, from += columns) {
          const T* odd = alone ? nullptr : from + p.groups * p.m * p.dst_plane();
          copy_gradient(p, from, odd, whole * L, to);
          to += whole * L;
          if (tail) {
            store(end, V<T>{});
            copy_gradient(p, from + whole * L, odd ? odd + whole * L : odd, tail, end);
            end += L;
          }
        }
      }
  }
  const int step = dot_columns(rows);
  for (int64_t i = 0; i < w.k; i += step) {
    const int here = static_cast<int>(smaller(step, w.k - i));
    const T* column[kDotColumns];
    for (int j = 0; j < kDotColumns; ++j) column[j] = box.x + box.tap[i + (j < here ? j : here - 1)];
    dot_tile_of<T>(rows, p.pairs())(full, vectors, static_cast<int>(tail), box.gradient, vectors * L, column,
                                    box.position, here, partial + i, w.k);
  }
}

template <class T>
int64_t partial_elements(const ConvGeometry& g) {
  const WeightPlan<T> w(g);
  return w.chunks * w.p.groups * w.group_elements;
}

template <class T>
int64_t tasks(const ConvGeometry& g) {
  const WeightPlan<T> w(g);
  return w.chunks * w.p.groups * w.panel_blocks;
}

template <class T>
int64_t workspace_bytes(const ConvGeometry& g) {
  return WeightPlan<T>(g).workspace_bytes();
}

template <class T>
void run(const ConvGeometry& g, int64_t, const T* x, const T* dy, T* partial, int64_t begin, int64_t end,
         void* workspace) {
  const WeightPlan<T> w(g);
  const Plan<T>& p = w.p;
  Box<T> box{};
  char* at = static_cast<char*>(workspace);
  T* const patch_at = reinterpret_cast<T*>(at);
  at += align64(p.patch_elements() * static_cast<int64_t>(sizeof(T)));
  box.gradient = reinterpret_cast<T*>(at);
  at += align64(w.gradient_elements() * static_cast<int64_t>(sizeof(T)));
  box.tap = reinterpret_cast<int32_t*>(at);
  at += align64(4 * w.k);
  box.position = reinterpret_cast<int32_t*>(at);
  int64_t built[3] = {-1, -1, -1};
  bool borders_are_zero = false;

  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task % w.panel_blocks, group = task / w.panel_blocks % p.groups;
    const int64_t chunk = task / w.panel_blocks / p.groups;
    const int64_t panel_begin = block * w.panels_of_block;
    const int64_t panel_end = smaller(p.panels, panel_begin + w.panels_of_block);
    T* const sums = partial + (chunk * p.groups + group) * w.group_elements;
    const int64_t last = panel_end == p.panels ? w.group_elements : w.panel_offset(panel_end);
    zero_elements(sums + w.panel_offset(panel_begin), last - w.panel_offset(panel_begin));

    const int64_t sample_end = smaller(p.n, (chunk + 1) * w.chunk_samples);
    for (int64_t sample = chunk * w.chunk_samples; sample < sample_end; sample += p.samples) {
      box.samples = smaller(p.samples, sample_end - sample);
      box.alone = (sample + box.samples) * p.unit > g.n;
      const T* from = x + (sample * p.unit * p.groups + group) * p.c * p.src_plane();
      box.dy = dy + (sample * p.unit * p.groups + group) * p.m * p.dst_plane();
      for (box.start[0] = 0; box.start[0] < p.count[0]; box.start[0] += p.box[0])
        for (box.start[1] = 0; box.start[1] < p.count[1]; box.start[1] += p.box[1]) {
          for (int d = 0; d < 2; ++d) box.size[d] = smaller(p.box[d], p.count[d] - box.start[d]);
          if (built[0] != box.samples || built[1] != box.size[0] || built[2] != box.size[1]) {
            build(w, box);
            built[0] = box.samples, built[1] = box.size[0], built[2] = box.size[1];
          }
          if (p.direct) {
            box.x = from + (box.start[0] * p.axis[0].src_step() + p.first[0]) * p.pitch[0] +
                    (box.start[1] * p.axis[1].src_step() + p.first[1]) * p.pitch[1] + p.first[2];
          } else {
            copy_patch(p.patch_of(from, box.samples, box.start, box.alone), borders_are_zero, patch_at);
            borders_are_zero = p.boxes[0] * p.boxes[1] == 1 && box.samples == p.samples;
            box.x = patch_at;
          }
          for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
            T* const to = sums + w.panel_offset(panel);
            if (p.by_width)
              add_by_width(w, box, panel, to);
            else
              add_by_channels(w, box, panel, to);
          }
        }
    }
  }
}

template <class T>
int64_t finish_items(const ConvGeometry& g) {
  const WeightPlan<T> w(g);
  return w.p.groups * w.p.panels;
}

template <class T>
void finish(const ConvGeometry& g, int64_t, T* partial, T* dw, int64_t begin, int64_t end) {
  const WeightPlan<T> w(g);
  const Plan<T>& p = w.p;
  constexpr int L = kLanes<T>;
  const int64_t chunk_step = p.groups * w.group_elements;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t group = item / p.panels, panel = item % p.panels;
    const int64_t height = p.height(panel), width = p.width(panel);
    const T* from = partial + group * w.group_elements + w.panel_offset(panel);
    T* to = dw + (group * p.m + panel * p.panel) * w.k;
    if (p.by_width) {
      for (int64_t i = 0; i < height * w.k; i += L) {
        const size_t n = static_cast<size_t>(smaller(L, height * w.k - i));
        V<T> sum{};
        for (int64_t chunk = 0; chunk < w.chunks; ++chunk)
          sum += n == L ? load(from + chunk * chunk_step + i) : load_n(from + chunk * chunk_step + i, n);
        store_n(to + i, sum, n);
      }
      continue;
    }
    for (int64_t i = 0; i < w.k; i += L) {
      const int64_t n = smaller(L, w.k - i);
      for (int64_t m0 = 0; m0 < height; m0 += L) {
        V<T> rows[L];
        for (int64_t r = 0; r < L; ++r) {
          rows[r] = V<T>{};
          if (r < n)
            for (int64_t chunk = 0; chunk < w.chunks; ++chunk)
              rows[r] += load(from + chunk * chunk_step + (i + r) * width + m0);
        }
        transpose<T>(rows);
        for (int64_t r = 0; r < smaller(L, height - m0); ++r)
          store_n(to + (m0 + r) * w.k + i, rows[r], static_cast<size_t>(n));
      }
    }
  }
}

template <class T>
int64_t rounds(const ConvGeometry&) {
  return 1;
}

template <class T>
double cost(const ConvGeometry& g) {
  const WeightPlan<T> w(g);
  const Plan<T>& p = w.p;
  constexpr int L = kLanes<T>;
  const double outputs = static_cast<double>(p.n * p.groups * p.m * p.dst_plane());
  const int64_t across = p.by_width ? p.count[2] : p.m;
  const double lanes = static_cast<double>(across) / static_cast<double>(ceil_div(across, L) * L);
  // Measured: the share of the peak that is reached, what moving a vector of dy takes, and, where groups are small, what
  // a box takes besides its products.
  const double products = outputs * static_cast<double>(w.k) * (p.pairs() ? kPairFma : 1) /
                          (L * lanes *
                           (p.by_width ? 0.67
                            : p.m <= L ? 0.7
                                       : 0.9));
  const double boxes = static_cast<double>(p.groups * p.n * ceil_div(p.dst_plane(), kBoxPositions));
  return products + (p.pairs() ? 12 : 8) * outputs / L + (p.groups > 1 ? 2000 * boxes : 0);
}

template <class T>
constexpr ConvWeightFunctions<T> kFunctions = {cost<T>, partial_elements<T>, rounds<T>, tasks<T>, workspace_bytes<T>,
                                               run<T>,  finish_items<T>,     finish<T>};

}  // namespace

const ConvWeightFunctions<float> conv_weight_f32 = kFunctions<float>;
const ConvWeightFunctions<double> conv_weight_f64 = kFunctions<double>;

}  // namespace lanner::cpu::LANNER_ISA
