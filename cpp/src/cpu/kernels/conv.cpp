#include "cpu/kernels/conv.h"

#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_pack.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// Positions of the channels tile that are computed before they are transposed into dst: whole tiles and whole vectors.
constexpr int kBlock = 8 * kMR;

// ---- the weight ---------------------------------------------------------------------------------------------

template <class T>
int64_t packed_elements(const ConvGeometry& g, ConvPass pass) {
  const Plan<T> p(g, pass);
  return p.m == 0 ? 0 : p.groups * p.packed_group();
}

template <class T>
int64_t pack_items(const ConvGeometry& g, ConvPass pass) {
  const Plan<T> p(g, pass);
  return p.groups * p.panels;
}

template <class T>
void pack(const ConvGeometry& g, ConvPass pass, const T* weight, int64_t begin, int64_t end, T* packed) {
  pack_weight(Plan<T>(g, pass), weight, begin, end, packed);
}

// ---- tables -------------------------------------------------------------------------------------------------

// Where a task finds things in its workspace, and its tables: for each phase the offset of each k, and of each position
// (or vector of positions) where it is read and where it goes. Tasks of one shape share them; with one phase those of a
// box hold for a lower one too. Where all tasks can, a plan keeps them from run to run.
template <class T>
struct Tables {
  T* patch;
  T* buffer;
  int32_t *offset, *from, *to, *lanes;
  int64_t samples = -1, box[2] = {-1, -1};
  bool kept = false;
  static int64_t own_bytes(const Plan<T>& p) {
    return align64(p.patch_elements() * static_cast<int64_t>(sizeof(T))) +
           (kBlock + 1) * kNR<T> * static_cast<int64_t>(sizeof(T));
  }
  static int64_t table_bytes(const Plan<T>& p) { return align64(p.c * p.taps * 4) + 3 * align64(p.positions() * 4); }
  static bool can_keep(
      const Plan<T>& p) {  // a lower box's are the first of a whole one's, if nothing lies outside of rows
    const bool one = p.samples == 1, even = p.count[0] % p.box[0] == 0;
    return p.phases() == 1 && p.n % p.samples == 0 && (one || even) &&
           (p.count[1] % p.box[1] == 0 || (one && p.box[0] == 1));
  }
  static int64_t bytes(const Plan<T>& p) { return own_bytes(p) + table_bytes(p); }
  Tables(const Plan<T>& p, void* workspace, void* keeps = nullptr) {
    char* at = static_cast<char*>(workspace);
    patch = reinterpret_cast<T*>(at);
    at += align64(p.patch_elements() * static_cast<int64_t>(sizeof(T)));
    buffer = reinterpret_cast<T*>(at);
    kept = keeps != nullptr;
    at = kept ? static_cast<char*>(keeps) : at + (kBlock + 1) * kNR<T> * static_cast<int64_t>(sizeof(T));
    offset = reinterpret_cast<int32_t*>(at);
    at += align64(p.c * p.taps * 4);
    from = reinterpret_cast<int32_t*>(at);
    at += align64(p.positions() * 4);
    to = reinterpret_cast<int32_t*>(at);
    at += align64(p.positions() * 4);
    lanes = reinterpret_cast<int32_t*>(at);
  }

  void build(const Plan<T>& p, int64_t sample_count, const int64_t (&start)[2], const int64_t (&size)[2]) {
    if (kept) return;
    // A box at the lower edge may hold fewer positions of some phase.
    const bool edge = start[0] + size[0] >= p.count[0] || start[1] + size[1] >= p.count[1];
    if (samples == sample_count && box[0] == size[0] && box[1] == size[1] &&
        !(edge && p.phases() > 1 && (p.boxes[0] > 1 || p.boxes[1] > 1)))
      return;
    samples = sample_count, box[0] = size[0], box[1] = size[1];
    if (edge && (p.boxes[0] > 1 || p.boxes[1] > 1)) box[0] = -1;
    constexpr int L = kLanes<T>;
    int32_t *o = offset, *f = from, *t = to, *l = lanes;
    for (int64_t phase = 0; phase < p.phases(); ++phase) {
      const int64_t taps = p.taps_of(phase);
      each_tap(p, phase, [&](int64_t i, int64_t, int64_t z, int64_t y, int64_t x) {
        const int64_t column = p.phase_pitch ? x % p.axis[2].src_step() * p.phase_pitch + x / p.axis[2].src_step() : x;
        const int64_t at = z * p.pitch[0] + y * p.pitch[1] + column;
        for (int64_t c = 0; c < p.c; ++c) o[c * taps + i] = static_cast<int32_t>(c * p.channel_pitch + at);
      });
      o += p.c * taps;
      const int64_t columns = p.axis[2].count(p.phase_of(phase, 2)), step = p.by_width ? L : 1;
      const int64_t dz = smaller(size[0], p.axis[0].count(p.phase_of(phase, 0)) - start[0]);
      const int64_t dy = smaller(size[1], p.axis[1].count(p.phase_of(phase, 1)) - start[1]);
      for (int64_t s = 0; s < sample_count; ++s)
        for (int64_t z = 0; z < dz; ++z)
          for (int64_t y = 0; y < dy; ++y) {
            const int64_t at =
                s * p.sample_pitch + z * p.axis[0].src_step() * p.pitch[0] + y * p.axis[1].src_step() * p.pitch[1];
            const int64_t row = (p.phase_of(phase, 0) + z * p.axis[0].dst_step()) * p.axis[1].dst +
                                p.phase_of(phase, 1) + y * p.axis[1].dst_step();
            const int64_t dst = s * p.groups * p.m * p.dst_plane() + row * p.axis[2].dst + p.phase_of(phase, 2);
            for (int64_t x = 0; x < columns; x += step) {
              *f++ = static_cast<int32_t>(at + x * p.pitch[2]);
              *t++ = static_cast<int32_t>(dst + x * p.axis[2].dst_step());
              if (p.by_width) *l++ = static_cast<int32_t>(smaller(L, columns - x));
            }
          }
    }
  }
  static int64_t positions_of(const Plan<T>& p, int64_t phase, int64_t sample_count, const int64_t (&start)[2],
                              const int64_t (&size)[2]) {
    const int64_t columns = p.axis[2].count(p.phase_of(phase, 2));
    const int64_t dz = smaller(size[0], p.axis[0].count(p.phase_of(phase, 0)) - start[0]);
    const int64_t dy = smaller(size[1], p.axis[1].count(p.phase_of(phase, 1)) - start[1]);
    return dz <= 0 || dy <= 0 ? 0 : sample_count * dz * dy * (p.by_width ? ceil_div(columns, kLanes<T>) : columns);
  }
};

// ---- one task -----------------------------------------------------------------------------------------------

// The block's [positions, width] to dst, where channels lie `plane` apart.
template <class T>
void store_block(const T* buffer, int64_t positions, int64_t width, int64_t channels, const int32_t* to, int64_t plane,
                 const Finish<T>& finish, T* dst) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < positions; i += L) {
    const int n = static_cast<int>(smaller(L, positions - i));
    const bool adjacent = to[i + n - 1] - to[i] == n - 1;
    for (int64_t c0 = 0; c0 < channels; c0 += L) {
      V<T> rows[L];
#pragma GCC unroll 16
      for (int j = 0; j < L; ++j) rows[j] = load(buffer + (i + j) * width + c0);
      transpose<T>(rows);
      const int count = static_cast<int>(smaller(L, channels - c0));
      T* at = dst + c0 * plane;
      if (finish.any) {
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j)
          if (j < count)
            rows[j] = adjacent ? finish(rows[j], at + to[i] + j * plane, static_cast<size_t>(n))
                               : finish.scattered(rows[j], at + j * plane, to + i, n);
      }
      if (adjacent && n == L && count == L) {
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) store(at + to[i] + j * plane, rows[j]);
        continue;
      }
      T lane[L * L];
#pragma GCC unroll 16
      for (int j = 0; j < L; ++j) store(lane + j * L, rows[j]);
      if (adjacent) {
        for (int j = 0; j < count; ++j) copy_elements(at + to[i] + j * plane, lane + j * L, n);
      } else {
        for (int j = 0; j < count; ++j)
          for (int l = 0; l < n; ++l) at[to[i + l] + j * plane] = lane[j * L + l];
      }
    }
  }
}

// Of one vector of channels: whole rows of positions.
template <class T>
void run_rows(const Plan<T>& p, T* buffer, const T* init, const T* src, int64_t k, const int32_t* offset,
              int64_t positions, const int32_t* from, const int32_t* to, const T* packed, int64_t channels,
              const Finish<T>& finish, T* dst) {
  constexpr int L = kLanes<T>;
  const int64_t columns = p.count[2], tile = panel_height(columns), rows = kBlock / columns;
  for (int64_t block = 0; block < positions; block += rows * columns) {
    const int64_t count = smaller(rows * columns, positions - block);
    for (int64_t y = 0; y < count; y += 2 * columns) {
      const int high = y + columns < count ? 2 : 1;
      for (int64_t x = 0; x < columns; x += tile) {
        const T* const row[2] = {src + from[block + y + x], src + from[block + y + x + (high == 2 ? columns : 0)]};
        rows_tiles<T>(p.pairs()).of[smaller(tile, columns - x)][high](k, row, offset, packed, init,
                                                                      buffer + (y + x) * L, columns * L);
      }
    }
    store_block(buffer, count, L, channels, to + block, p.dst_plane(), finish, dst);
  }
}

template <class T>
void run_by_channels(const Plan<T>& p, const Tables<T>& tables, const T* src, int64_t k, const int32_t* offset,
                     int64_t positions, const int32_t* from, const int32_t* to, const T* packed, const T* bias,
                     int64_t panel_begin, int64_t panel_end, const Finish<T>& finish, T* dst) {
  T* const init = tables.buffer + kBlock * kNR<T>;
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const int64_t m0 = panel * p.panel, channels = p.height(panel), width = p.width(panel);
    for (int64_t j = 0; j < width; ++j) init[j] = bias && j < channels ? bias[m0 + j] : T{0};
    if (width == kLanes<T> && p.axis[2].src_step() == 1 && p.axis[2].dst_step() == 1 && p.count[2] <= kBlock) {
      run_rows(p, tables.buffer, init, src, k, offset, positions, from, to, packed + m0 * k, channels, finish,
               dst + m0 * p.dst_plane());
      continue;
    }
    for (int64_t block = 0; block < positions; block += kBlock) {
      const int64_t count = smaller(kBlock, positions - block), tiles = ceil_div(count, kMR);
      const int64_t rows = ceil_div(count, tiles);
      for (int64_t i = 0; i < count; i += rows) {
        const int64_t here = smaller(rows, count - i);
        const T* row[kMR];
        for (int64_t r = 0; r < here; ++r) row[r] = src + from[block + i + r];
        channels_tiles<T>(p.pairs()).of[here][width / kLanes<T>](k, row, offset, packed + m0 * k, init, 0,
                                                                 tables.buffer + i * width, width);
      }
      store_block(tables.buffer, count, width, channels, to + block, p.dst_plane(), finish, dst + m0 * p.dst_plane());
    }
  }
}

template <class T>
void run_by_width(const Plan<T>& p, const T* src, int64_t k, const int32_t* offset, int64_t vectors,
                  const int32_t* from, const int32_t* to, const int32_t* lanes, const T* packed, const T* bias,
                  int64_t panel_begin, int64_t panel_end, const Finish<T>& finish, T* dst) {
  // The vectors outside, so that what they read stays in the first-level cache while the channels pass.
  const int64_t step = width_vectors(static_cast<int>(p.panel));
  for (int64_t v = 0; v < vectors; v += step) {
    for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
      const int64_t m0 = panel * p.panel;
      const int rows = static_cast<int>(p.height(panel));
      const int64_t fit = width_vectors(rows);
      for (int64_t w = v; w < smaller(v + step, vectors); w += fit) {
        const int here = static_cast<int>(smaller(fit, smaller(v + step, vectors) - w));
        const T* at[8];
        for (int j = 0; j < 8; ++j) at[j] = src + from[w + (j < here ? j : here - 1)];
        const WidthOut<T> out{dst + m0 * p.dst_plane(),   p.dst_plane(), p.axis[2].dst_step(), to + w, lanes + w, here,
                              bias ? bias + m0 : nullptr, finish};
        width_tiles<T>(p.pairs()).of[rows](k, at, offset, packed + m0 * k, out);
      }
    }
  }
}

template <class T>
int64_t tasks(const ConvGeometry& g, ConvPass pass) {
  const Plan<T> p(g, pass);
  return p.dst_plane() * p.m == 0 ? 0 : p.tasks();
}

template <class T>
int64_t workspace_bytes(const ConvGeometry& g, ConvPass pass) {
  return Tables<T>::bytes(Plan<T>(g, pass));
}

template <class T>
int64_t table_bytes(const ConvGeometry& g, ConvPass pass) {
  const Plan<T> p(g, pass);
  return Tables<T>::can_keep(p) ? Tables<T>::table_bytes(p) : 0;
}

template <class T>
void make_tables(const ConvGeometry& g, ConvPass pass, void* tables) {
  const Plan<T> p(g, pass);
  Tables<T> t(p, nullptr, tables);
  t.kept = false;
  t.build(p, p.samples, {0, 0}, {p.box[0], p.box[1]});
}

template <class T>
void run(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const Plan<T> p(args.geometry, args.pass);
  Tables<T> tables(p, workspace, args.tables);
  const Finish<T> finish(args.epilogue, args.dst);
  int64_t copied = -1;
  for (int64_t task = begin; task < end; ++task) {
    const auto [patch, group, sample, samples, start, size, panel_begin, panel_end] = ConvTask(p, task);
    tables.build(p, samples, start, size);

    const T* src = args.src + (sample * p.groups + group) * p.channels * p.src_plane();
    if (p.direct) {
      src += (start[0] * p.axis[0].src_step() + p.first[0]) * p.pitch[0] +
             (start[1] * p.axis[1].src_step() + p.first[1]) * p.pitch[1] + p.first[2];
    } else {
      if (copied != patch) {
        copy_patch(p.patch_of(src, samples, start), copied >= 0 && p.boxes[0] * p.boxes[1] == 1, tables.patch);
        copied = patch;
      }
      src = tables.patch;
    }

    const T* packed = args.packed + group * p.packed_group();
    const T* bias = args.epilogue.bias_per_row ? args.epilogue.bias_per_row + group * p.m : nullptr;
    T* dst = args.dst + (sample * p.groups + group) * p.m * p.dst_plane() +
             (start[0] * p.axis[0].dst_step() * p.axis[1].dst + start[1] * p.axis[1].dst_step()) * p.axis[2].dst;
    const int32_t *offset = tables.offset, *from = tables.from, *to = tables.to, *lanes = tables.lanes;
    for (int64_t phase = 0; phase < p.phases(); ++phase) {
      const int64_t k = p.c * p.taps_of(phase), count = Tables<T>::positions_of(p, phase, samples, start, size);
      if (p.by_width)
        run_by_width(p, src, k, offset, count, from, to, lanes, packed, bias, panel_begin, panel_end, finish, dst);
      else
        run_by_channels(p, tables, src, k, offset, count, from, to, packed, bias, panel_begin, panel_end, finish, dst);
      offset += k, from += count, to += count, lanes += count;
      packed += p.packed_channels() * k;
    }
  }
}

template <class T>
double cost(const ConvGeometry& g, ConvPass pass, bool packed) {
  // A task has a patch to copy and tables to build: where it is one plane (depthwise) that counts.
  return direct_cost<T>(g, pass, packed) + 500 * static_cast<double>(tasks<T>(g, pass));
}

template <class T>
constexpr ConvFunctions<T> kDirect = {
    cost<T>, packed_elements<T>, pack_items<T>, pack<T>, tasks<T>, workspace_bytes<T>, run<T>, nullptr, nullptr,
    nullptr, table_bytes<T>,     make_tables<T>};

}  // namespace

#if defined(__AVX512F__)
constexpr const ConvFunctions<float>* kAmx = &conv_amx;
#else
constexpr const ConvFunctions<float>* kAmx = nullptr;
#endif
extern const ConvKernels conv_kernels;
const ConvKernels conv_kernels = {
    {{&kDirect<float>, &conv_winograd_2, &conv_winograd_4, &conv_pointwise_f32, &conv_samples_f32, &conv_columns,
      &conv_split, &conv_gather_f32, &conv_depthwise_f32, &conv_winograd_fresh, kAmx},
     {&conv_weight_f32, &conv_winograd_weight_2, &conv_winograd_weight_4, nullptr, &conv_samples_weight_f32, nullptr,
      &conv_split_weight}},
    {{&kDirect<double>, nullptr, nullptr, &conv_pointwise_f64, &conv_samples_f64, nullptr, nullptr, &conv_gather_f64,
      &conv_depthwise_f64},
     {&conv_weight_f64, nullptr, nullptr, nullptr, &conv_samples_weight_f64}},
    &conv_amx_plain};

}  // namespace lanner::cpu::LANNER_ISA
