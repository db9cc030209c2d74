// Vectors of samples: for few channels and small planes, where neither channels nor columns fill a vector. A task takes
// kLanes samples of a group, puts them side by side, and then any kernel, stride and width is one loop over whole
// vectors.
//
// Sums run over (row of taps, channel, column of taps), so that near the upper and lower border the rows of taps outside
// of the image are left out: of a 5x5 kernel on 10x10 images the input gradient has 2/7 of them there.
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_lanes.h"
#include "cpu/kernels/conv_pack.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// What the samples of a task may take: half of a second-level cache.
constexpr int64_t kSamplesBytes = 512 * 1024;
// Moving a vector between planes and vectors of samples takes so many FMAs.
constexpr double kMove = 7;

template <class T>
bool serves(const ConvGeometry& g, const Plan<T>& p) {
  return g.n > kLanes<T> / 2 && g.in[0] == 1 && g.out[0] == 1 && g.kernel[0] == 1 && g.pad[0] == 0 &&
         p.c * p.channel_pitch * kVectorBytes <= kSamplesBytes &&
         p.panel * p.dst_plane() * kVectorBytes <= kSamplesBytes;
}

// The share of pairs of a row of positions and one of taps that are within the image.
template <class T>
double inside(const Plan<T>& p) {
  int64_t all = 0, in = 0, offset;
  for (int64_t phase = 0; phase < p.axis[1].phases(); ++phase)
    for (int64_t tap = 0; tap < p.axis[1].kernel; ++tap) {
      if (!p.axis[1].reads(phase, tap, &offset)) continue;
      const int64_t step = p.axis[1].src_step(), rows = p.axis[1].count(phase);
      const int64_t first = larger(0, ceil_div(larger(0, -offset), step));
      all += rows, in += larger(0, smaller(rows, ceil_div(larger(0, p.axis[1].src - offset), step)) - first);
    }
  return all == 0 ? 1 : static_cast<double>(in) / static_cast<double>(all);
}

// `reached`: the share of the peak in the loop over k; `end`: FMAs that the end of a tile takes.
template <class T>
double samples_cost(const ConvGeometry& g, const Plan<T>& p, double reached, double end, double part) {
  if (!serves(g, p)) return __builtin_inf();
  const double k = part * static_cast<double>(p.c * p.taps) / static_cast<double>(p.phases());
  const double products = static_cast<double>(p.m * p.dst_plane()) * k;
  const double moves = static_cast<double>(p.c * p.channel_pitch + p.m * p.dst_plane());
  return static_cast<double>(g.groups * ceil_div(g.n, kLanes<T>)) *
         (products / reached * ((p.pairs() ? kPairFma : 1) + end / k) + moves * kMove);
}

// ---- the forward pass and the input gradient --------------------------------------------------------------------

template <class T>
double cost(const ConvGeometry& g, ConvPass pass, bool) {
  const auto p = Plan<T>::by_samples(g, pass);
  return samples_cost(g, p, 0.9, 6, inside(p));
}

template <class T>
int64_t packed_elements(const ConvGeometry& g, ConvPass pass) {
  const auto p = Plan<T>::by_samples(g, pass);
  return p.groups * p.packed_group();
}

template <class T>
int64_t pack_items(const ConvGeometry& g, ConvPass pass) {
  const auto p = Plan<T>::by_samples(g, pass);
  return p.groups * p.panels;
}

// f(i, c, tap, y, x) for the sums of a phase, in their order.
template <class T, class F>
LANNER_INLINE void each_sum(const Plan<T>& p, int64_t phase, F f) {
  int64_t y, x, i = 0;
  for (int64_t a = 0; a < p.axis[1].kernel; ++a) {
    if (!p.axis[1].reads(p.phase_of(phase, 1), a, &y)) continue;
    for (int64_t c = 0; c < p.c; ++c)
      for (int64_t b = 0; b < p.axis[2].kernel; ++b)
        if (p.axis[2].reads(p.phase_of(phase, 2), b, &x))
          f(i++, c, a * p.axis[2].kernel + b, y - p.first[1], x - p.first[2]);
  }
}

// The rows of taps, of those that a phase has, that a row of positions finds within the image.
struct TapRows {
  int64_t begin, end;
};
template <class T>
TapRows tap_rows(const Plan<T>& p, int64_t phase, int64_t row) {
  TapRows r{INT64_MAX, 0};
  int64_t offset, i = 0;
  for (int64_t a = 0; a < p.axis[1].kernel; ++a) {
    if (!p.axis[1].reads(p.phase_of(phase, 1), a, &offset)) continue;
    const int64_t y = row * p.axis[1].src_step() + offset;
    if (y >= 0 && y < p.axis[1].src) r = {smaller(r.begin, i), i + 1};
    ++i;
  }
  return {smaller(r.begin, r.end), r.end};
}

// One row of a panel: the weights of src channel c (or pair of channels), rounded as the plan says.
template <class T>
LANNER_INLINE void pack_sum(const Plan<T>& p, const T* from, int64_t c, int64_t height, T* row) {
  if constexpr (sizeof(T) == 4) {
    if (p.operands != ConvOperands::Full) {
      const int64_t channel = p.pairs() ? 2 * c : c;
      const bool alone = !p.pairs() || channel + 1 == p.channels;
      T even[kMR], odd[kMR] = {};
      for (int64_t j = 0; j < height; ++j) even[j] = from[channel * p.weight_c + j * p.weight_m];
      for (int64_t j = 0; !alone && j < height; ++j) odd[j] = from[(channel + 1) * p.weight_c + j * p.weight_m];
      return p.pairs() ? round_elements<true>(row, even, odd, height)
                       : round_elements<false>(row, even, nullptr, height);
    }
  }
  for (int64_t j = 0; j < height; ++j) row[j] = from[c * p.weight_c + j * p.weight_m];
}

template <class T>
void pack(const ConvGeometry& g, ConvPass pass, const T* weight, int64_t begin, int64_t end, T* packed) {
  const auto p = Plan<T>::by_samples(g, pass);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t group = item / p.panels, panel = item % p.panels, m0 = panel * p.panel, height = p.height(panel);
    const T* const from = weight + group * p.channels * p.m * p.taps + m0 * p.weight_m;
    T* to = packed + group * p.packed_group();
    for (int64_t phase = 0; phase < p.phases(); ++phase) {
      const int64_t k = p.c * p.taps_of(phase);
      each_sum(
          p, phase, [&](int64_t i, int64_t c, int64_t tap, int64_t, int64_t) __attribute__((always_inline)) {
            pack_sum(p, from + tap, c, height, to + m0 * k + i * height);
          });
      to += p.packed_channels() * k;
    }
  }
}

template <class T>
int64_t tasks(const ConvGeometry& g, ConvPass pass) {
  return g.out[1] * g.out[2] * (pass == ConvPass::Forward ? g.m : g.c) * g.groups * ceil_div(g.n, kLanes<T>) == 0
             ? 0
             : g.groups * ceil_div(g.n, kLanes<T>);
}

// Of a task: src as vectors, dst of one panel of channels, and where each (c, tap) and each position lies in them.
template <class T>
struct Space {
  T *src, *dst;
  int32_t *offset, *from, *to, *lanes;
  int64_t bytes;
  Space(const Plan<T>& p, void* workspace) {
    char* const begin = static_cast<char*>(workspace);
    char* at = begin;
    const auto take = [&](int64_t size) {
      char* const here = at;
      at += align64(size);
      return here;
    };
    src = reinterpret_cast<T*>(take(p.c * p.channel_pitch * kVectorBytes));
    dst = reinterpret_cast<T*>(take((p.panel * p.dst_plane() + kLanes<T>)*kVectorBytes));
    offset = reinterpret_cast<int32_t*>(take(p.c * p.taps * 4));
    from = reinterpret_cast<int32_t*>(take(p.dst_plane() * 4));
    to = reinterpret_cast<int32_t*>(take(p.dst_plane() * 4));
    lanes = reinterpret_cast<int32_t*>(take(p.dst_plane() * 4));
    bytes = at - begin;
  }
};

template <class T>
int64_t workspace_bytes(const ConvGeometry& g, ConvPass pass) {
  return Space<T>(Plan<T>::by_samples(g, pass), nullptr).bytes;
}

// Up to kLanes samples of all channels of a group, with their borders. `first`: what `to` holds is of another shape.
template <class T>
void gather_samples(const Plan<T>& p, const T* src, int64_t samples, bool first, T* to, Gathered<T>& patch) {
  const int64_t plane = p.src_plane();
  patch.operands = p.operands;
  for (int64_t c = 0; c < p.c; ++c) {
    const int64_t channel = p.pairs() ? 2 * c : c;
    patch.to = to + c * p.channel_pitch * kLanes<T>;
    patch.pair_step = channel + 1 < p.channels ? plane : 0;
    if (first) patch.clip[0] = -1;
    patch.gather(src + channel * plane, samples, p.groups * p.channels * plane, {p.axis[1].src, p.axis[2].src},
                 p.first[1], p.extent(1, p.box[1]), p.first[2], p.extent(2, p.box[2]));
  }
}

template <class T>
void build_tables(const Plan<T>& p, const Space<T>& space) {
  constexpr int L = kLanes<T>;
  int32_t *o = space.offset, *f = space.from, *t = space.to;
  for (int64_t i = 0; i < p.dst_plane(); ++i) space.lanes[i] = L;
  for (int64_t phase = 0; phase < p.phases(); ++phase) {
    const int64_t y0 = p.phase_of(phase, 1), x0 = p.phase_of(phase, 2);
    each_sum(p, phase, [&](int64_t i, int64_t c, int64_t, int64_t y, int64_t x) {
      o[i] = static_cast<int32_t>((c * p.channel_pitch + y * p.pitch[1] + x) * L);
    });
    o += p.c * p.taps_of(phase);
    for (int64_t y = 0; y < p.axis[1].count(y0); ++y)
      for (int64_t x = 0; x < p.axis[2].count(x0); ++x) {
        *f++ = static_cast<int32_t>((y * p.axis[1].src_step() * p.pitch[1] + x * p.pitch[2]) * L);
        *t++ =
            static_cast<int32_t>(((y0 + y * p.axis[1].dst_step()) * p.axis[2].dst + x0 + x * p.axis[2].dst_step()) * L);
      }
  }
}

template <class T>
void run(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  constexpr int L = kLanes<T>;
  const auto p = Plan<T>::by_samples(args.geometry, args.pass);
  const Space<T> space(p, workspace);
  const Finish<T> finish(args.epilogue, args.dst), later(Epilogue<T>{}, nullptr);
  build_tables(p, space);
  Gathered<T> patch{space.src};
  const int64_t plane = p.dst_plane();
  int64_t before = -1;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t group = task % p.groups, sample = task / p.groups * L, samples = smaller(L, p.n - sample);
    gather_samples(p, args.src + (sample * p.groups + group) * p.channels * p.src_plane(), samples, samples != before,
                   space.src, patch);
    before = samples;
    for (int64_t panel = 0; panel < p.panels; ++panel) {
      const int64_t m0 = panel * p.panel;
      const int rows = static_cast<int>(p.height(panel));
      const T* packed = args.packed + group * p.packed_group();
      const T* const bias = args.epilogue.bias_per_row ? args.epilogue.bias_per_row + group * p.m + m0 : nullptr;
      const int32_t *offset = space.offset, *from = space.from, *to = space.to;
      const int step = width_vectors(rows);
      for (int64_t phase = 0; phase < p.phases(); ++phase) {
        const int64_t taps_y = p.axis[1].taps(p.phase_of(phase, 1)), taps_x = p.axis[2].taps(p.phase_of(phase, 2));
        const int64_t k = p.c * taps_y * taps_x, k_row = p.c * taps_x;
        const int64_t height = p.axis[1].count(p.phase_of(phase, 1)), width = p.axis[2].count(p.phase_of(phase, 2));
        for (int64_t y = 0, next; y < height; y = next) {
          const TapRows taps = tap_rows(p, phase, y);
          for (next = y + 1; next < height; ++next)
            if (const TapRows other = tap_rows(p, phase, next); other.begin != taps.begin || other.end != taps.end)
              break;
          const T* const weight = packed + m0 * k + taps.begin * k_row * rows;
          for (int64_t i = y * width; i < next * width; i += step) {
            const int here = static_cast<int>(smaller(step, next * width - i));
            const T* at[8];
            for (int j = 0; j < 8; ++j) at[j] = space.src + from[i + (j < here ? j : here - 1)];
            width_tiles<T>(p.pairs()).of[rows]((taps.end - taps.begin) * k_row, at, offset + taps.begin * k_row, weight,
                                               {space.dst, plane * L, 1, to + i, space.lanes, here, bias, later});
          }
        }
        const int64_t positions = height * width;
        offset += k, from += positions, to += positions;
        packed += p.packed_channels() * k;
      }
      for (int64_t i = 0; i < rows; ++i)
        spread_lanes<T>(space.dst + i * plane * L, plane, samples, V<T>{}, finish,
                        args.dst + ((sample * p.groups + group) * p.m + m0 + i) * plane, p.groups * p.m * plane);
    }
  }
}

// ---- the weight gradient: dot products over positions and samples -------------------------------------------------

// Its sums run over vectors, of which pairs would take twice as many samples: operands are rounded, not paired.
template <class T>
Plan<T> weight_plan(ConvGeometry g) {
  g.operands = unpaired(g.operands);
  return Plan<T>::by_samples(g, ConvPass::Forward);
}

template <class T>
double weight_cost(const ConvGeometry& g) {
  return samples_cost(g, weight_plan<T>(g), 0.75, 0, 1);
}

template <class T>
int64_t rounds(const ConvGeometry&) {
  return 1;
}

template <class T>
int64_t weight_elements(const ConvGeometry& g) {
  return g.groups * g.m * g.c * g.kernel[1] * g.kernel[2];
}

template <class T>
int64_t partial_elements(const ConvGeometry& g) {
  return ceil_div(g.n, kLanes<T>) * weight_elements<T>(g);
}

template <class T>
int64_t weight_tasks(const ConvGeometry& g) {
  return g.groups * ceil_div(g.n, kLanes<T>);
}

template <class T>
int64_t weight_workspace_bytes(const ConvGeometry& g) {
  return Space<T>(weight_plan<T>(g), nullptr).bytes;
}

// The sums of a task, [m, c, tap], go to where dw has them.
template <class T>
void weight_run(const ConvGeometry& g, int64_t, const T* x, const T* dy, T* partial, int64_t begin, int64_t end,
                void* workspace) {
  constexpr int L = kLanes<T>;
  const Plan<T> p = weight_plan<T>(g);
  const Space<T> space(p, workspace);
  build_tables(p, space);
  Gathered<T> patch{space.src}, gradient{space.dst, p.operands};
  const int64_t plane = p.dst_plane(), k = p.c * p.taps, columns = p.axis[2].kernel;
  const auto offset_of = [&](int64_t i) {  // of the i-th element of a row of dw, [c, tap]
    return space.offset[(i % p.taps / columns * p.c + i / p.taps) * columns + i % columns];
  };
  int64_t before = -1;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t group = task % p.groups, block = task / p.groups;
    const int64_t sample = block * L, samples = smaller(L, p.n - sample);
    gather_samples(p, x + (sample * p.groups + group) * p.c * p.src_plane(), samples, samples != before, space.src,
                   patch);
    before = samples;
    T* const sums = partial + (block * p.groups + group) * p.m * k;
    zero_elements(sums, p.m * k);
    for (int64_t m = 0; m < p.m; m += kDotRows) {
      const int rows = static_cast<int>(smaller(kDotRows, p.m - m));
      for (int i = 0; i < rows; ++i) {
        gradient.to = space.dst + i * plane * L;
        gradient.gather(dy + ((sample * p.groups + group) * p.m + m + i) * plane, samples, p.groups * p.m * plane,
                        {p.axis[1].dst, p.axis[2].dst}, 0, p.axis[1].dst, 0, p.axis[2].dst);
      }
      const int step = dot_columns(rows);
      for (int64_t i = 0; i < k; i += step) {
        const int here = static_cast<int>(smaller(step, k - i));
        const T* column[kDotColumns];
        for (int j = 0; j < kDotColumns; ++j) column[j] = space.src + offset_of(i + (j < here ? j : here - 1));
        dot_tile_of<T>(rows)(plane, plane, 0, space.dst, plane * L, column, space.from, here, sums + m * k + i, k);
      }
    }
  }
}

template <class T>
int64_t finish_items(const ConvGeometry& g) {
  return ceil_div(weight_elements<T>(g), kLanes<T>);
}

template <class T>
void finish(const ConvGeometry& g, int64_t, T* partial, T* dw, int64_t begin, int64_t end) {
  constexpr int L = kLanes<T>;
  const int64_t elements = weight_elements<T>(g), blocks = ceil_div(g.n, L);
  for (int64_t i = begin * L; i < smaller(end * L, elements); i += L) {
    const size_t n = static_cast<size_t>(smaller(L, elements - i));
    V<T> sum{};
    for (int64_t block = 0; block < blocks; ++block) sum += load_n(partial + block * elements + i, n);
    store_n(dw + i, sum, n);
  }
}

template <class T>
constexpr ConvFunctions<T> kFunctions = {cost<T>,  packed_elements<T>, pack_items<T>, pack<T>,
                                         tasks<T>, workspace_bytes<T>, run<T>};
template <class T>
constexpr ConvWeightFunctions<T> kWeightFunctions = {
    weight_cost<T>, partial_elements<T>, rounds<T>, weight_tasks<T>, weight_workspace_bytes<T>,
    weight_run<T>,  finish_items<T>,     finish<T>};

}  // namespace

const ConvFunctions<float> conv_samples_f32 = kFunctions<float>;
const ConvFunctions<double> conv_samples_f64 = kFunctions<double>;
const ConvWeightFunctions<float> conv_samples_weight_f32 = kWeightFunctions<float>;
const ConvWeightFunctions<double> conv_samples_weight_f64 = kWeightFunctions<double>;

}  // namespace lanner::cpu::LANNER_ISA
