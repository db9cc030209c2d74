// Kernels of one element with stride: products of matrices over positions that are gathered first, since the rows of an
// image hold what no position reads. The input gradient spreads its products with zeros between.
//
// Positions run over rows of an image and, where images are small, over images.
#include "cpu/gemm/pack.h"
#include "cpu/kernels/conv_epilogue.h"
#include "cpu/kernels/conv_internal.h"
#include "cpu/kernels/conv_plan.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// So many positions are gathered at once: with 512 channels 256 KiB, half of a second-level cache; blocks of weights are
// read once for all of them.
constexpr int64_t kPositions = 128;

template <class T>
struct Gather {
  static constexpr int L = kLanes<T>;
  int64_t n, groups, c, m;              // channels of x and of y in a group
  int64_t height, width, down, across;  // of y, and the strides
  int64_t x_height, x_width;
  int64_t images, rows;  // of a box: whole images, or (images = 1) some rows
  int64_t pitch;         // of a box's positions: whole panels, and not a multiple of the cache's way

  explicit Gather(const ConvGeometry& g)
      : n(g.n),
        groups(g.groups),
        c(g.c),
        m(g.m),
        height(g.out[1]),
        width(g.out[2]),
        down(g.stride[1]),
        across(g.stride[2]),
        x_height(g.in[1]),
        x_width(g.in[2]) {
    const int64_t plane = larger(1, height * width);
    images = larger(1, smaller(n, kPositions / plane)), rows = larger(1, height);
    if (plane > kPositions) rows = larger(1, kPositions / larger(1, width));
    pitch = ceil_div(images * rows * width, kNR<T>) * kNR<T> + L;
  }
  int64_t line_elements() const { return ceil_div(x_width, L) * L + 2 * L; }
  int64_t bands() const { return ceil_div(height, rows); }
  int64_t boxes() const { return ceil_div(n, images) * bands(); }
  int64_t plane() const { return height * width; }
  int64_t x_plane() const { return x_height * x_width; }
};

template <class T>
bool serves(const ConvGeometry& g) {
  for (int d = 0; d < 3; ++d)
    if (g.kernel[d] != 1 || g.pad[d] != 0 || (d == 0 && (g.in[0] != 1 || g.out[0] != 1))) return false;
  return g.n * g.out[1] * g.out[2] > 0;
}

// Rows [row, row + rows) of y of some images.
struct Box {
  int64_t image, images, row, rows;
};
template <class T>
Box box_of(const Gather<T>& p, int64_t i) {
  const int64_t image = i / p.bands() * p.images, row = i % p.bands() * p.rows;
  return {image, smaller(p.images, p.n - image), row, smaller(p.rows, p.height - row)};
}

// n elements, `step` apart, to `to`, past whose end a vector more may be written.
template <class T, int... I>
LANNER_INLINE void gather_row(const T* from, int64_t n, int64_t step, T* to, Indices<I...>) {
  constexpr int L = kLanes<T>;
  if (step == 1) return copy_elements(to, from, n);
  if (step == 2) {
    for (int64_t i = 0; i < n; i += L) {
      const int64_t left = 2 * (n - i) - 1;
      V<T> a, b;
      if (left >= 2 * L) {
        a = load(from + 2 * i), b = load(from + 2 * i + L);
      } else {
        a = load_n(from + 2 * i, static_cast<size_t>(smaller(L, left)));
        b = load_n(from + 2 * i + L, static_cast<size_t>(larger(0, left - L)));
      }
      store(to + i, V<T>(__builtin_shufflevector(a, b, (2 * I)...)));
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i) to[i] = from[i * step];
}

// `channels` planes, from the box's first image and the group's first channel on, to rows `pitch` apart.
template <class T>
void gather(const Gather<T>& p, const Box& box, const T* from, int64_t channels, int64_t all_channels, int64_t plane,
            int64_t row_width, int64_t down, int64_t across, T* to) {
  for (int64_t c = 0; c < channels; ++c) {
    T* at = to + c * p.pitch;
    for (int64_t image = 0; image < box.images; ++image) {
      const T* row = from + (image * p.groups * all_channels + c) * plane + box.row * down * row_width;
      if (down == 1 && across == 1) {
        gather_row(row, box.rows * p.width, 1, at, typename MakeIndices<kLanes<T>>::type{});
        at += box.rows * p.width;
        continue;
      }
      for (int64_t y = 0; y < box.rows; ++y, row += down * row_width, at += p.width)
        gather_row(row, p.width, across, at, typename MakeIndices<kLanes<T>>::type{});
    }
  }
}

// ---- the forward pass and the input gradient --------------------------------------------------------------------

template <class T>
double cost(const ConvGeometry& g, ConvPass pass, bool packed) {
  if (!serves<T>(g) || (g.stride[1] == 1 && g.stride[2] == 1)) return __builtin_inf();
  if (g.operands != ConvOperands::Full) return __builtin_inf();  // the direct sum of pairs is faster
  const Gather<T> p(g);
  const double filled = static_cast<double>(p.boxes() * (p.pitch - kLanes<T>)) / kLanes<T>;
  const double weights = static_cast<double>(p.c * p.m);
  const bool forward = pass == ConvPass::Forward;
  const double dx = forward ? 0 : static_cast<double>(p.n * p.c * p.x_plane()) / kLanes<T>;
  return static_cast<double>(p.groups) * (filled * (weights / kReached + 6 * static_cast<double>(p.c + p.m)) + 10 * dx +
                                          read_cost(weights * sizeof(T)) + (packed ? 0 : weights));
}

// pack_panel writes past the end of what it packs; groups are packed in any order.
template <class T>
constexpr int64_t kSpill = kLanes<T>;

template <class T>
int64_t packed_elements(const ConvGeometry& g, ConvPass) {
  return g.groups * (g.c * g.m + kSpill<T>);
}

template <class T>
int64_t pack_items(const ConvGeometry& g, ConvPass) {
  return g.groups;
}

template <class T>
void pack(const ConvGeometry& g, ConvPass pass, const T* weight, int64_t begin, int64_t end, T* packed) {
  const bool forward = pass == ConvPass::Forward;
  const int64_t k = forward ? g.m : g.c, c = forward ? g.c : g.m;
  for (int64_t group = begin; group < end; ++group)
    pack_rows(k, panel_height(k), c, weight + group * k * c, forward ? c : 1, forward ? 1 : k,
              packed + group * (k * c + kSpill<T>));
}

template <class T>
int64_t tasks(const ConvGeometry& g, ConvPass pass) {
  const int64_t all = g.groups * (pass == ConvPass::Forward ? g.m * g.out[1] * g.out[2] : g.c * g.in[1] * g.in[2]);
  return all == 0 ? 0 : g.groups * Gather<T>(g).boxes();
}

// Of a task: what is gathered, the products of a panel of weights, a row of dx and one of zeros.
template <class T>
int64_t workspace_bytes(const ConvGeometry& g, ConvPass pass) {
  const Gather<T> p(g);
  const int64_t c = pass == ConvPass::Forward ? g.c : g.m;
  return ((c + kMR) * p.pitch + 2 * p.line_elements()) * static_cast<int64_t>(sizeof(T));
}

// A row of dst; `from` may be read to the end of its last vector.
template <class T>
LANNER_INLINE void finish_row(const T* from, int64_t n, V<T> bias, const Finish<T>& finish, T* to) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < n; i += L) {
    const size_t here = static_cast<size_t>(smaller(L, n - i));
    V<T> v = load(from + i) + bias;
    if (finish.any) v = finish(v, to + i, here);
    here == L ? store(to + i, v) : store_n(to + i, v, here);
  }
}

// n elements to every `step`-th of `to`, where zeros lie between; past their end a vector of zeros may be written.
template <class T, int... I>
LANNER_INLINE void spread_row(const T* from, int64_t n, int64_t step, T* to, Indices<I...>) {
  constexpr int L = kLanes<T>;
  if (step == 1) return copy_elements(to, from, n);
  if (step != 2) {
    for (int64_t i = 0; i < n; ++i) to[i * step] = from[i];
    return;
  }
  for (int64_t i = 0; i < n; i += L) {
    const V<T> v = n - i >= L ? load(from + i) : load_n(from + i, static_cast<size_t>(n - i)), zero{};
    store(to + 2 * i, V<T>(__builtin_shufflevector(v, zero, (I % 2 ? L : I / 2)...)));
    store(to + 2 * i + L, V<T>(__builtin_shufflevector(v, zero, (I % 2 ? L : L / 2 + I / 2)...)));
  }
}

// The positions of one channel, from `row` on, to its images' planes in dst.
template <class T>
void store_channel(const Gather<T>& p, const Box& box, bool forward, const T* row, V<T> bias, const Finish<T>& finish,
                   T* line, const T* zeros, T* dst, int64_t image_step) {
  for (int64_t image = 0; image < box.images; ++image, dst += image_step) {
    if (forward) {
      finish_row(row, box.rows * p.width, bias, finish, dst + box.row * p.width);
      row += box.rows * p.width;
      continue;
    }
    const int64_t end = box.row + box.rows == p.height ? p.x_height : (box.row + box.rows) * p.down;
    for (int64_t y = box.row * p.down; y < end; ++y) {
      T* const to = dst + y * p.x_width;
      if (y % p.down != 0 || y / p.down >= p.height) {
        finish_row(zeros, p.x_width, bias, finish, to);
        continue;
      }
      spread_row(row, p.width, p.across, line, typename MakeIndices<kLanes<T>>::type{});
      finish_row(line, p.x_width, bias, finish, to);
      row += p.width;
    }
  }
}

template <class T>
void run(const ConvArgs<T>& args, int64_t begin, int64_t end, void* workspace) {
  const Gather<T> p(args.geometry);
  const bool forward = args.pass == ConvPass::Forward;
  const int64_t c = forward ? p.c : p.m, k = forward ? p.m : p.c, height = panel_height(k);
  const int64_t dst_plane = forward ? p.plane() : p.x_plane();
  T* const src = static_cast<T*>(workspace);
  T* const product = src + c * p.pitch;
  T* const line = product + kMR * p.pitch;
  const Finish<T> finish(args.epilogue, args.dst);
  zero_elements(line, 2 * p.line_elements());
  for (int64_t task = begin; task < end; ++task) {
    const int64_t group = task % p.groups;
    const Box box = box_of(p, task / p.groups);
    const int64_t positions = box.images * box.rows * p.width, first = box.image * p.groups + group;
    if (forward)
      gather(p, box, args.src + first * c * p.x_plane(), c, c, p.x_plane(), p.x_width, p.down, p.across, src);
    else
      gather(p, box, args.src + first * c * p.plane(), c, c, p.plane(), p.width, 1, 1, src);
    for (int64_t k0 = 0; k0 < k; k0 += height) {
      const int rows = static_cast<int>(smaller(height, k - k0));
      for (int64_t i = 0; i < positions; i += kNR<T>)
        tile<T>(c, args.packed + group * (k * c + kSpill<T>)+k0 * c, 1, rows, src + i, p.pitch,
                {product + i, p.pitch, 1, rows, kNR<T>, 1, 0, {}});
      for (int r = 0; r < rows; ++r) {
        const T* const bias = args.epilogue.bias_per_row;
        store_channel(p, box, forward, product + r * p.pitch, bias ? splat(bias[group * k + k0 + r]) : V<T>{}, finish,
                      line, line + p.line_elements(), args.dst + (first * k + k0 + r) * dst_plane,
                      p.groups * k * dst_plane);
      }
    }
  }
}

template <class T>
constexpr ConvFunctions<T> kFunctions = {cost<T>,  packed_elements<T>, pack_items<T>, pack<T>,
                                         tasks<T>, workspace_bytes<T>, run<T>};

}  // namespace

const ConvFunctions<float> conv_gather_f32 = kFunctions<float>;
const ConvFunctions<double> conv_gather_f64 = kFunctions<double>;

}  // namespace lanner::cpu::LANNER_ISA
