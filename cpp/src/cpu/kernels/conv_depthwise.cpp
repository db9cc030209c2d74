// One channel a group, kernels of 3x3 and 5x5, strides 1 and 2: a plane at a time. Each row of the padded plane, which is
// kept in the first-level cache, is loaded once for all the rows of dst that it touches. The input gradient is the
// forward pass of the gradient, spread with zeros where there is a stride, with the kernel turned around.
#include "cpu/kernels/conv_epilogue.h"
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_plan.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// A band of rows of a plane should stay in the first-level cache.
constexpr int64_t kBandBytes = 24 * 1024;

template <class T>
struct Depthwise {
  static constexpr int L = kLanes<T>;
  int64_t planes, groups, kernel;
  int64_t step, spread, pad[2];  // the plane of src, `spread` apart, is summed in steps of `step`
  int64_t src_height, src_width, dst_height, dst_width;
  int64_t band, bands;  // rows of dst of a task
  ConvOperands operands;
  int64_t rows, columns, row_pitch, phase_pitch;  // of the band's src; steps of 2 have even columns before odd ones

  Depthwise(const ConvGeometry& g, ConvPass pass) {
    const bool forward = pass == ConvPass::Forward;
    operands = unpaired(g.operands), planes = g.n * g.groups, groups = g.groups, kernel = g.kernel[1];
    step = forward ? g.stride[1] : 1, spread = forward ? 1 : g.stride[1];
    for (int d = 0; d < 2; ++d) pad[d] = forward ? g.pad[d + 1] : kernel - 1 - g.pad[d + 1];
    src_height = forward ? g.in[1] : g.out[1], src_width = forward ? g.in[2] : g.out[2];
    dst_height = forward ? g.out[1] : g.in[1], dst_width = forward ? g.out[2] : g.in[2];
    columns = (dst_width - 1) * step + kernel;
    phase_pitch = step == 2 ? ceil_div(columns, 2) : 0;
    row_pitch = step == 2 ? 2 * phase_pitch : columns;
    const int64_t fit = kBandBytes / static_cast<int64_t>(sizeof(T)) / larger(1, row_pitch);
    band = larger(kRows, smaller(dst_height, (fit - kernel) / step + 1));
    band = smaller(larger(1, dst_height), ceil_div(band, kRows) * kRows);
    bands = ceil_div(dst_height, larger(1, band));
    rows = (band - 1) * step + kernel;
  }
  static constexpr int kRows = 8;  // of dst at once, each a sum of its own: they hide the latency of an FMA
  int64_t patch_elements() const { return rows * row_pitch + 4 * L; }
};

// kRows rows of dst from rows of src `pitch` apart; w [kKernel, kKernel].
template <class T, int kKernel, int kStep, int kRows>
LANNER_INLINE void sum_rows(const T* src, int64_t pitch, int64_t phase_pitch, const V<T> (&w)[kKernel][kKernel],
                            V<T> bias, int64_t width, const Finish<T>& finish, T* dst, int64_t dst_pitch) {
  constexpr int L = kLanes<T>;
  for (int64_t x = 0; x < width; x += L) {
    V<T> acc[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) acc[i] = bias;
    const T* row = src + x;
#pragma GCC unroll 20
    for (int r = 0; r < (kRows - 1) * kStep + kKernel; ++r, row += pitch) {
#pragma GCC unroll 5
      for (int t = 0; t < kKernel; ++t) {
        const V<T> v = load(row + (kStep == 1 ? t : t % 2 * phase_pitch + t / 2));
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i)
          if (r - i * kStep >= 0 && r - i * kStep < kKernel) acc[i] = fma(v, w[r - i * kStep][t], acc[i]);
      }
    }
    const size_t n = static_cast<size_t>(smaller(L, width - x));
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      T* const to = dst + i * dst_pitch + x;
      if (finish.any) acc[i] = finish(acc[i], to, n);
      n == L ? store(to, acc[i]) : store_n(to, acc[i], n);
    }
  }
}

template <int N>
struct Rows {
  static constexpr int kCount = N;
};

template <class T, int kKernel, int kStep>
void sum_band(const T* src, int64_t pitch, int64_t phase_pitch, const T* weight, T bias, int64_t height, int64_t width,
              const Finish<T>& finish, T* dst) {
  V<T> w[kKernel][kKernel];
#pragma GCC unroll 5
  for (int y = 0; y < kKernel; ++y)
#pragma GCC unroll 5
    for (int x = 0; x < kKernel; ++x) w[y][x] = splat(weight[y * kKernel + x]);
  int64_t y = 0;
  const auto rest = [&](auto rows) __attribute__((always_inline)) {
    for (; y + decltype(rows)::kCount <= height; y += decltype(rows)::kCount)
      sum_rows<T, kKernel, kStep, decltype(rows)::kCount>(src + y * kStep * pitch, pitch, phase_pitch, w, splat(bias),
                                                          width, finish, dst + y * width, width);
  };
  rest(Rows<8>{}), rest(Rows<4>{}), rest(Rows<1>{});
}

// Elements 2 apart, with zeros between; zeros after the last as well.
template <class T, int... I>
LANNER_INLINE void spread_row(const T* from, int64_t n, T* to, Indices<I...>) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < n; i += L) {
    const V<T> v = n - i >= L ? load(from + i) : load_n(from + i, static_cast<size_t>(n - i)), zero{};
    store(to + 2 * i, V<T>(__builtin_shufflevector(v, zero, (I % 2 ? L : I / 2)...)));
    if (n - i > L / 2) store(to + 2 * i + L, V<T>(__builtin_shufflevector(v, zero, (I % 2 ? L : L / 2 + I / 2)...)));
  }
}

// The rows of src that the band from row `top` of dst on reads. `kept`: the patch holds those of the same band of another
// plane, so that borders are zero.
template <class T>
void fill(const Depthwise<T>& p, const T* src, int64_t top, bool kept, T* patch) {
  if (p.spread == 1) {
    copy_patch(Patch<T>{src,
                        p.operands,
                        1,
                        1,
                        0,
                        0,
                        0,
                        false,
                        false,
                        {1, p.src_height, p.src_width},
                        {0, top * p.step - p.pad[0], -p.pad[1]},
                        {1, p.rows, p.columns},
                        p.row_pitch,
                        p.phase_pitch,
                        p.step},
               kept, patch);
    return;
  }
  if (!kept) zero_elements(patch, p.patch_elements());
  const int64_t first = top - p.pad[0];  // in the plane that is spread
  for (int64_t y = larger(0, ceil_div(first, 2)); y < p.src_height && 2 * y < first + p.rows; ++y)
    spread_row(src + y * p.src_width, p.src_width, patch + (2 * y - first) * p.row_pitch + p.pad[1],
               typename MakeIndices<kLanes<T>>::type{});
  if constexpr (sizeof(T) == 4)
    if (p.operands != ConvOperands::Full) round_elements<false>(patch, patch, nullptr, p.patch_elements());
}

template <class T>
double cost(const ConvGeometry& g, ConvPass pass, bool) {
  for (int d = 0; d < 3; ++d) {
    const bool serves = d == 0 ? g.kernel[0] == 1 && g.in[0] == 1 && g.out[0] == 1 && g.pad[0] == 0
                               : (g.kernel[d] == 3 || g.kernel[d] == 5) && g.kernel[d] == g.kernel[1] &&
                                     g.stride[d] <= 2 && g.stride[d] == g.stride[1] && g.dilation[d] == 1 &&
                                     (pass == ConvPass::Forward || g.pad[d] < g.kernel[d]);
    if (!serves) return __builtin_inf();
  }
  if (g.c != 1 || g.m != 1 || g.n == 0) return __builtin_inf();
  const Depthwise<T> p(g, pass);
  const double vectors = static_cast<double>(p.dst_height * ceil_div(p.dst_width, kLanes<T>));
  const double copied = static_cast<double>(p.bands * p.rows) * (8 + 4 * static_cast<double>(p.row_pitch) / kLanes<T>);
  return static_cast<double>(p.planes) * (vectors * (static_cast<double>(p.kernel * p.kernel) + 4) + copied / 2 + 100);
}

template <class T>
int64_t packed_elements(const ConvGeometry& g, ConvPass) {
  return g.groups * g.kernel[1] * g.kernel[2];
}

template <class T>
int64_t pack_items(const ConvGeometry& g, ConvPass) {
  return g.groups;
}

template <class T>
void pack(const ConvGeometry& g, ConvPass pass, const T* weight, int64_t begin, int64_t end, T* packed) {
  const int64_t taps = g.kernel[1] * g.kernel[2];
  for (int64_t i = begin * taps; i < end * taps; i += taps)
    for (int64_t t = 0; t < taps; ++t) packed[i + t] = weight[i + (pass == ConvPass::Forward ? t : taps - 1 - t)];
  if constexpr (sizeof(T) == 4)
    if (g.operands != ConvOperands::Full)
      round_elements<false>(packed + begin * taps, packed + begin * taps, nullptr, (end - begin) * taps);
}

template <class T>
int64_t tasks(const ConvGeometry& g, ConvPass pass) {
  const Depthwise<T> p(g, pass);
  return p.dst_height * p.dst_width == 0 ? 0 : p.planes * p.bands;
}

template <class T>
int64_t workspace_bytes(const ConvGeometry& g, ConvPass pass) {
  return Depthwise<T>(g, pass).patch_elements() * static_cast<int64_t>(sizeof(T));
}

template <class T>
void run(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const Depthwise<T> p(args.geometry, args.pass);
  T* const patch = static_cast<T*>(workspace);
  const Finish<T> finish(args.epilogue, args.dst);
  const T* const bias = args.epilogue.bias_per_row;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t plane = task / p.bands, top = task % p.bands * p.band, group = plane % p.groups;
    fill(p, args.src + plane * p.src_height * p.src_width, top, task > begin && p.bands == 1, patch);
    const int64_t height = smaller(p.band, p.dst_height - top);
    const auto sum = p.kernel == 3 ? (p.step == 1 ? sum_band<T, 3, 1> : sum_band<T, 3, 2>)
                                   : (p.step == 1 ? sum_band<T, 5, 1> : sum_band<T, 5, 2>);
    sum(patch, p.row_pitch, p.phase_pitch, args.packed + group * p.kernel * p.kernel, bias ? bias[group] : T{0}, height,
        p.dst_width, finish, args.dst + (plane * p.dst_height + top) * p.dst_width);
  }
}

template <class T>
constexpr ConvFunctions<T> kFunctions = {cost<T>,  packed_elements<T>, pack_items<T>, pack<T>,
                                         tasks<T>, workspace_bytes<T>, run<T>};

}  // namespace

const ConvFunctions<float> conv_depthwise_f32 = kFunctions<float>;
const ConvFunctions<double> conv_depthwise_f64 = kFunctions<double>;

}  // namespace lanner::cpu::LANNER_ISA
