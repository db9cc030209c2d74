// How a forward pass or an input gradient is cut into tasks, and where each tap and position lies.
//
// Both are one problem: dst[m, position] = sum over (c, tap) of w[m, c, tap] * src[c, position * step + offset(tap)].
// The forward pass has one phase. The input gradient of stride s has s phases along each dimension: dst i with i =
// phase (mod s) meets only the taps t with (i + pad - t * dilation) divisible by s, and those as a convolution of
// stride 1.
#pragma once

#include "cpu/bf16.h"
#include "cpu/kernels/conv.h"
#include "cpu/kernels/conv_tile.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t align64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// A task's patch of src should stay in the second-level cache, beside a panel of weights.
constexpr int64_t kPatchBytes = 512 * 1024;
// So many tasks are wanted where there is work for them: batch 1 uses several cores.
constexpr int64_t kTasks = 16;
constexpr int64_t kTaskFlops = 2'000'000;      // of the weight gradient
constexpr int64_t kOutputTaskFlops = 400'000;  // of dst: a plan's threads are awake
// A task below so many positions takes several samples, so that each panel of weights is used for longer.
constexpr int64_t kTaskPositions = 128;
// The weight gradient sums over so many positions before it adds to its partial sums.
constexpr int64_t kBoxPositions = 256;

struct Axis {
  int64_t src, dst, kernel, stride, pad, dilation;
  bool transposed;

  int64_t phases() const { return transposed ? stride : 1; }
  int64_t src_step() const { return transposed ? 1 : stride; }
  int64_t dst_step() const { return transposed ? stride : 1; }
  // Positions of a phase: dst = phase + j * dst_step for j < count.
  int64_t count(int64_t phase) const { return transposed ? (dst > phase ? ceil_div(dst - phase, stride) : 0) : dst; }
  // Does `tap` serve `phase`, and if so, where does position j = 0 read it?
  bool reads(int64_t phase, int64_t tap, int64_t* offset) const {
    if (!transposed) {
      *offset = tap * dilation - pad;
      return true;
    }
    const int64_t distance = phase + pad - tap * dilation;
    *offset = distance / stride;
    return distance % stride == 0;
  }
  int64_t taps(int64_t phase) const {
    int64_t n = 0, offset;
    for (int64_t t = 0; t < kernel; ++t) n += reads(phase, t, &offset);
    return n;
  }
};

// src[0, c) of `samples` samples, from [start, start + extent) of each dimension, zero outside of the image, to `to`.
// With phase_pitch, column x goes to (x % step) * phase_pitch + x / step. Pairs are of planes `pair_step` apart; the last
// channel or the last sample may be `alone`, its pair with zero.
template <class T>
struct Patch {
  const T* src;
  ConvOperands operands;
  int64_t samples, c, sample_step, channel_step, pair_step;
  bool channel_alone, sample_alone;
  int64_t size[3], start[3], extent[3];
  int64_t row_pitch, phase_pitch, step;
};

template <class T>
struct Plan {
  static constexpr int L = kLanes<T>;

  Axis axis[3];
  ConvOperands operands;
  int64_t n, groups, c, m, taps;                  // src channels c (or pairs of them) and dst channels m of a group
  int64_t channels;                               // of src in a group
  int64_t unit;                                   // of the weight gradient: so many samples are one of `n`
  int64_t weight_m, weight_c;                     // strides of the weight
  int64_t first[3], span[3];                      // least offset of all taps; how many src elements one position covers
  int64_t count[3];                               // positions of the longest phase
  bool by_width;                                  // which tile: vectors of positions rather than of channels
  bool direct;                                    // src is read where it lies
  int64_t panel, panels;                          // dst channels of a panel of weights
  int64_t box[3], boxes[3], samples;              // positions and samples of a task
  int64_t channel_blocks, panels_of_block;        // dst channels of a task, in panels
  int64_t pitch[3], channel_pitch, sample_pitch;  // of a task's src, in elements
  int64_t phase_pitch;  // by_width, with stride: columns are stored by their remainder, so that steps become 1

  Plan(const ConvGeometry& g, ConvPass pass) : Plan(g, pass == ConvPass::InputGrad, false) {}
  // By vectors of samples (conv_samples.cpp): a row of src is as wide as it is read.
  static Plan by_samples(const ConvGeometry& g, ConvPass pass) {
    Plan p(g, pass);
    p.by_width = true, p.direct = false, p.phase_pitch = 0;
    p.panel = ceil_div(p.m, ceil_div(p.m, kMR)), p.panels = ceil_div(p.m, p.panel);
    for (int d = 0; d < 3; ++d) p.box[d] = larger(p.count[d], 1);
    p.pitch[2] = p.axis[2].src_step(), p.pitch[1] = p.extent(2, p.box[2]);
    p.pitch[0] = p.channel_pitch = p.extent(1, p.box[1]) * p.pitch[1];
    return p;
  }
  // By panels of `channels` of dst, and vectors of positions of src, which lie next to each other (conv_amx.cpp).
  static Plan by_positions(const ConvGeometry& g, ConvPass pass, int64_t channels) {
    Plan p(g, pass);
    p.by_width = true, p.direct = false;
    p.panel = channels, p.panels = ceil_div(p.m, channels);
    p.cut(false);
    p.set_pitch();
    return p;
  }
  // Of the weight gradient: x is src, dy lies as dst does, and tasks are cut elsewhere (conv_weight.cpp).
  explicit Plan(const ConvGeometry& g) : Plan(g, false, true) {}

  int64_t dst_plane() const { return axis[0].dst * axis[1].dst * axis[2].dst; }
  int64_t src_plane() const { return axis[0].src * axis[1].src * axis[2].src; }
  bool pairs() const { return paired(operands); }
  int64_t phases() const { return axis[0].phases() * axis[1].phases() * axis[2].phases(); }
  int64_t phase_of(int64_t phase, int d) const {
    if (d == 2) return phase % axis[2].phases();
    if (d == 1) return phase / axis[2].phases() % axis[1].phases();
    return phase / axis[2].phases() / axis[1].phases();
  }
  int64_t taps_of(int64_t phase) const {
    return axis[0].taps(phase_of(phase, 0)) * axis[1].taps(phase_of(phase, 1)) * axis[2].taps(phase_of(phase, 2));
  }
  // The channels that panel p holds, and how many its packed rows have.
  int64_t height(int64_t p) const { return smaller(panel, m - p * panel); }
  int64_t width(int64_t p) const { return by_width ? height(p) : height(p) <= L ? L : kNR<T>; }
  int64_t packed_channels() const { return (panels - 1) * panel + width(panels - 1); }
  int64_t packed_group() const { return packed_channels() * c * taps; }

  int64_t extent(int d, int64_t positions) const { return (positions - 1) * axis[d].src_step() + span[d]; }

  int64_t tasks() const { return ceil_div(n, samples) * groups * boxes[0] * boxes[1] * channel_blocks; }
  int64_t patch_elements() const { return direct ? 0 : samples * sample_pitch + 2 * L; }
  int64_t positions() const {  // of a task, all phases, an upper bound
    return samples * box[0] * box[1] * (by_width ? ceil_div(box[2], L) : box[2]) * phases();
  }

  // What the box of positions from `start` (depth, height) on reads of `src`, the group's first channel. `alone`: the
  // last of the samples is no pair.
  Patch<T> patch_of(const T* src, int64_t samples_here, const int64_t (&start)[2], bool alone = false) const {
    const int64_t plane = src_plane(), sample = groups * channels * plane;
    Patch<T> patch{src,
                   operands,
                   samples_here,
                   c,
                   unit * sample,
                   pairs() && unit == 1 ? 2 * plane : plane,
                   unit == 1 ? plane : sample,
                   pairs() && unit == 1 && channels % 2 == 1,
                   alone,
                   {},
                   {},
                   {},
                   pitch[1],
                   phase_pitch,
                   axis[2].src_step()};
    for (int d = 0; d < 3; ++d) {
      patch.size[d] = axis[d].src;
      patch.start[d] = (d < 2 ? start[d] * axis[d].src_step() : 0) + first[d];
      patch.extent[d] = extent(d, box[d]);
    }
    return patch;
  }

 private:
  Plan(const ConvGeometry& g, bool t, bool for_weight) {
    operands = g.operands, groups = g.groups, taps = g.kernel[0] * g.kernel[1] * g.kernel[2];
    channels = t ? g.m : g.c, m = t ? g.c : g.m;
    unit = pairs() && for_weight ? 2 : 1;
    n = ceil_div(g.n, unit), c = pairs() && !for_weight ? ceil_div(channels, 2) : channels;
    weight_m = t ? taps : channels * taps, weight_c = t ? m * taps : taps;
    for (int d = 0; d < 3; ++d) {
      axis[d] = {t ? g.out[d] : g.in[d], t ? g.in[d] : g.out[d], g.kernel[d], g.stride[d], g.pad[d], g.dilation[d], t};
      int64_t low = INT64_MAX, high = INT64_MIN, offset;
      for (int64_t phase = 0; phase < axis[d].phases(); ++phase)
        for (int64_t tap = 0; tap < g.kernel[d]; ++tap)
          if (axis[d].reads(phase, tap, &offset)) low = smaller(low, offset), high = larger(high, offset);
      first[d] = low, span[d] = high - low + 1, count[d] = axis[d].count(0);
    }
    if (for_weight)
      choose_weight_tile();
    else
      choose_tile();
    choose_source();
    cut(for_weight);
    set_pitch();
  }
  void choose_tile() {
    // The share of lanes that do work, and of time not spent on storing a tile: the channels tile is transposed first.
    const double k = static_cast<double>(c * taps);
    const double channels = static_cast<double>(m) / static_cast<double>(ceil_div(m, L) * L) * k / (k + 16);
    const double columns = static_cast<double>(count[2]) / static_cast<double>(ceil_div(count[2], L) * L) * k /
                           (k + 4) * (axis[2].dst_step() == 1 ? 1.0 : 0.8);
    by_width = m > 0 && columns > channels * 0.95;
    panel = by_width ? ceil_div(m, ceil_div(m, kMR)) : kNR<T>;
    panels = ceil_div(m, panel);
  }
  void choose_weight_tile() {
    // The dot tile loads two vectors for each 2.4 FMAs, so that it has to win clearly. Found with bench/conv.cpp.
    const double channels = static_cast<double>(m) / static_cast<double>(ceil_div(m, L) * L);
    const double columns = static_cast<double>(count[2]) / static_cast<double>(ceil_div(count[2], L) * L);
    by_width = columns * 0.8 > channels;
    panel = by_width ? ceil_div(m, ceil_div(m, kDotRows)) : kNR<T>;
    panels = ceil_div(m, panel);
  }
  void choose_source() {
    direct = !by_width && operands == ConvOperands::Full && c * src_plane() < INT32_MAX / 4;
    for (int d = 0; d < 3; ++d)
      direct = direct && first[d] >= 0 && (count[d] - 1) * axis[d].src_step() + first[d] + span[d] <= axis[d].src;
  }
  int64_t patch() const { return c * extent(0, box[0]) * extent(1, box[1]) * extent(2, box[2]); }
  void cut(bool for_weight) {
    for (int d = 0; d < 3; ++d) box[d] = larger(count[d], 1);
    samples = 1, channel_blocks = 1;
    const int64_t budget = kPatchBytes / static_cast<int64_t>(sizeof(T));
    while (patch() > budget && box[0] > 1) box[0] = ceil_div(box[0], 2);
    while (patch() > budget && box[1] > 1) box[1] = ceil_div(box[1], 2);
    const int64_t here = box[0] * box[1] * box[2];
    const int64_t wanted = for_weight ? kBoxPositions : kTaskPositions;
    if (box[0] == count[0] && box[1] == count[1] && here < wanted)
      samples = larger(1, smaller(smaller(n, ceil_div(wanted, here)), budget / larger(patch(), 1)));
    for (int d = 0; d < 3; ++d) boxes[d] = ceil_div(count[d], box[d]);
    if (for_weight) return;

    int64_t parts = ceil_div(larger(n, 1), samples) * groups * ceil_div(count[0], box[0]) * ceil_div(count[1], box[1]);
    int64_t flops = 2 * m * c * taps * here * samples;
    while (parts < kTasks && flops > 2 * kOutputTaskFlops) {
      if (2 * channel_blocks <= panels)
        channel_blocks *= 2;
      else if (box[1] >= 8)
        box[1] = ceil_div(box[1], 2);
      else if (box[0] > 1)
        box[0] = ceil_div(box[0], 2);
      else
        break;
      parts *= 2, flops /= 2;
    }
    panels_of_block = ceil_div(larger(panels, 1), channel_blocks);
    channel_blocks = ceil_div(larger(panels, 1), panels_of_block);
    for (int d = 0; d < 3; ++d) boxes[d] = ceil_div(count[d], box[d]);
  }
  void set_pitch() {
    if (direct) {
      pitch[2] = axis[2].src_step(), pitch[1] = axis[2].src, pitch[0] = pitch[1] * axis[1].src;
      channel_pitch = pitch[0] * axis[0].src, sample_pitch = groups * c * channel_pitch;
      phase_pitch = 0;
      return;
    }
    const int64_t step = axis[2].src_step(), columns = extent(2, box[2]);
    phase_pitch = by_width && step > 1 ? ceil_div(columns, step) : 0;
    pitch[2] = phase_pitch ? 1 : step;
    pitch[1] = phase_pitch ? phase_pitch * step : columns;
    pitch[0] = pitch[1] * extent(1, box[1]);
    channel_pitch = pitch[0] * extent(0, box[0]);
    sample_pitch = channel_pitch * c;
  }
};

template <class T>
LANNER_INLINE void copy_elements(T* to, const T* from, int64_t n) {
  constexpr int L = kLanes<T>;
  if (n >= L) {
    int64_t i = 0;
    for (; i + L <= n; i += L) store(to + i, load(from + i));
    if (i < n) store(to + n - L, load(from + n - L));
    return;
  }
#if defined(__AVX512F__)
  store_n(to, load_n(from, static_cast<size_t>(n)), static_cast<size_t>(n));
#else
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
#endif
}

template <class T>
LANNER_INLINE void zero_elements(T* to, int64_t n) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= n; i += L) store(to + i, V<T>{});
#if defined(__AVX512F__)
  if (i < n) store_n(to + i, V<T>{}, static_cast<size_t>(n - i));
#else
  for (; i < n; ++i) to[i] = 0;
#endif
}

// from[2 i] to even[i], from[2 i + 1] to odd[i].
template <class T, int... I>
LANNER_INLINE void split_vectors(const T* from, T* even, T* odd, Indices<I...>) {
  const V<T> a = load(from), b = load(from + kLanes<T>);
  store(even, V<T>(__builtin_shufflevector(a, b, (2 * I)...)));
  store(odd, V<T>(__builtin_shufflevector(a, b, (2 * I + 1)...)));
}

template <class T>
void place_row(const Patch<T>& p, const T* from, int64_t left, int64_t inside, T* to) {
  constexpr int L = kLanes<T>;
  if (!p.phase_pitch) {
    copy_elements(to + left, from, inside);
    return;
  }
  int64_t done = 0;
  if (p.step == 2) {
    T* even = to + left % 2 * p.phase_pitch + left / 2;
    T* odd = to + (left + 1) % 2 * p.phase_pitch + (left + 1) / 2;
    for (; done + 2 * L <= inside; done += 2 * L)
      split_vectors(from + done, even + done / 2, odd + done / 2, typename MakeIndices<L>::type{});
    for (; done + 2 <= inside; done += 2) {
      even[done / 2] = from[done];
      odd[done / 2] = from[done + 1];
    }
  }
  for (int64_t x = left + done; x < left + inside; ++x) to[x % p.step * p.phase_pitch + x / p.step] = from[x - left];
}

// `odd`: the row that makes the pairs, or null.
template <class T>
void copy_patch_row(const Patch<T>& p, const T* from, const T* odd, int64_t left, int64_t inside, T* to) {
  if constexpr (sizeof(T) == 4) {
    if (p.operands != ConvOperands::Full) {
      const auto round = [&](T* at, int64_t i, int64_t n) {
        if (paired(p.operands))
          round_elements<true>(at, from + i, odd ? odd + i : odd, n);
        else
          round_elements<false>(at, from + i, nullptr, n);
      };
      if (!p.phase_pitch) return round(to + left, 0, inside);
      alignas(64) T some[256];
      for (int64_t i = 0; i < inside; i += 256) {
        const int64_t here = smaller(256, inside - i);
        round(some, i, here);
        place_row(p, some, left + i, here, to);
      }
      return;
    }
  }
  place_row(p, from, left, inside, to);
}

// What a task computes: some channels of the result, from one patch of a group.
struct ConvTask {
  int64_t patch, group, sample, samples, start[2], size[2], panel_begin, panel_end;
  template <class T>
  ConvTask(const Plan<T>& p, int64_t task) {
    panel_begin = task % p.channel_blocks * p.panels_of_block;
    panel_end = smaller(p.panels, panel_begin + p.panels_of_block);
    int64_t rest = patch = task / p.channel_blocks;
    for (int d = 1; d >= 0; rest /= p.boxes[d], --d) {
      start[d] = rest % p.boxes[d] * p.box[d];
      size[d] = smaller(p.box[d], p.count[d] - start[d]);
    }
    group = rest % p.groups, sample = rest / p.groups * p.samples;
    samples = smaller(p.samples, p.n - sample);
  }
};

// With `borders_are_zero`, `to` holds a patch of the same shape and place in its image, of which the inside is
// replaced.
template <class T>
void copy_patch(const Patch<T>& p, bool borders_are_zero, T* to) {
  int64_t begin[3], inside[3];  // the part of the patch that lies in the image
  bool all_inside = true;
  for (int d = 0; d < 3; ++d) {
    begin[d] = smaller(larger(0, -p.start[d]), p.extent[d]);
    inside[d] = larger(0, smaller(p.extent[d], p.size[d] - p.start[d]) - begin[d]);
    all_inside = all_inside && inside[d] == p.extent[d];
  }
  const int64_t depth_pitch = p.extent[1] * p.row_pitch;
  if (!all_inside && !borders_are_zero) zero_elements(to, p.samples * p.c * p.extent[0] * depth_pitch);
  for (int64_t s = 0; s < p.samples; ++s)
    for (int64_t c = 0; c < p.c; ++c, to += p.extent[0] * depth_pitch)
      for (int64_t d = begin[0]; d < begin[0] + inside[0]; ++d) {
        T* row = to + d * depth_pitch + begin[1] * p.row_pitch;
        const T* from = p.src + s * p.sample_step + c * p.channel_step +
                        ((p.start[0] + d) * p.size[1] + p.start[1] + begin[1]) * p.size[2] + p.start[2] + begin[2];
        const bool alone = (p.sample_alone && s == p.samples - 1) || (p.channel_alone && c == p.c - 1);
        for (int64_t h = 0; h < inside[1]; ++h, row += p.row_pitch, from += p.size[2])
          copy_patch_row(p, from, alone ? nullptr : from + p.pair_step, begin[2], inside[2], row);
      }
}

// ---- what it costs, in vector FMAs, of which the micro-kernels reach some 80 % of the peak ----------------------

constexpr double kReached = 0.8;
// Weights that do not fit the second-level cache are read from memory: so many bytes in the time of an FMA (2 cores of
// Zen 5: 42 GB/s, 15e9 FMA/s).
constexpr double kWeightBytes = 2.8;

// A product of vectors of pairs takes so many FMAs (Zen 5, direct sum of 256 channels: 390 GFLOP/s beside 207).
constexpr double kPairFma = 1.06;

inline double read_cost(double bytes) { return bytes > 1 << 20 ? bytes / kWeightBytes : 0; }

template <class T>
double direct_cost(const ConvGeometry& g, ConvPass pass, bool packed) {
  const Plan<T> p(g, pass);
  constexpr int L = kLanes<T>;
  const double weights = static_cast<double>(p.groups * p.c * p.m * p.taps), fma = p.pairs() ? kPairFma : 1;
  const double k = static_cast<double>(p.c * p.taps) / static_cast<double>(p.phases());
  const double products = static_cast<double>(p.n * p.groups * p.m * p.dst_plane()) * k;
  // The share of lanes that do work, and what the end of a tile takes: a transposition, or stores across.
  const int64_t across = p.by_width ? p.count[2] : p.m;
  const double lanes = static_cast<double>(across) / static_cast<double>(ceil_div(across, L) * L);
  const double end = !p.by_width ? 20 : p.axis[2].dst_step() == 1 ? 6 : 40;
  const double reached = !p.by_width && p.m <= L ? 0.7 : kReached;  // tiles one vector wide wait for their loads
  return products / (L * lanes * reached) * (fma + end / k) + read_cost(weights * sizeof(T)) +
         (packed ? 0 : 14 * weights / L);
}

}  // namespace
}  // namespace lanner::cpu::LANNER_ISA
