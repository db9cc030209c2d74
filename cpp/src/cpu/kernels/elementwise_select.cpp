// where and clip: three inputs.
#include "cpu/kernels/elementwise_loops.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// A row of where; with both flags constant the loop becomes vectors.
template <class T>
LANNER_INLINE void where_row(T* out, const uint8_t* condition, const T* a, const T* b, int64_t n, int64_t a_step,
                             int64_t b_step) {
  if (a_step && b_step) {
    for (int64_t i = 0; i < n; ++i) {
      const T x = a[i], y = b[i];
      out[i] = condition[i] ? x : y;
    }
  } else if (a_step) {
    const T y = b[0];
    for (int64_t i = 0; i < n; ++i) {
      const T x = a[i];
      out[i] = condition[i] ? x : y;
    }
  } else if (b_step) {
    const T x = a[0];
    for (int64_t i = 0; i < n; ++i) {
      const T y = b[i];
      out[i] = condition[i] ? x : y;
    }
  } else {
    const T x = a[0], y = b[0];
    for (int64_t i = 0; i < n; ++i) out[i] = condition[i] ? x : y;
  }
}

template <class T>
void where(const Block& b) {
  for (int64_t r = 0; r < b.rows; ++r) {
    T* out = static_cast<T*>(b.out) + r * b.out_row;
    const uint8_t* condition = row_of<uint8_t>(b, 0, r);
    const T* yes = row_of<T>(b, 1, r);
    const T* no = row_of<T>(b, 2, r);
    if (b.in_step[0]) {
      where_row(out, condition, yes, no, b.columns, b.in_step[1], b.in_step[2]);
    } else {
      const T* from = *condition ? yes : no;
      const int64_t step = *condition ? b.in_step[1] : b.in_step[2];
      if (step) {
        for (int64_t i = 0; i < b.columns; ++i) out[i] = from[i];
      } else {
        const T same = *from;
        for (int64_t i = 0; i < b.columns; ++i) out[i] = same;
      }
    }
  }
}

// max(min(x, hi), lo): NaN where any of the three is NaN.
template <class T>
LANNER_INLINE T clipped(T x, T lo, T hi) {
  const T below = (x < hi) | (x != x) ? x : hi;
  return (below > lo) | (below != below) ? below : lo;
}

template <class T>
void clip(const Block& b) {
  for (int64_t r = 0; r < b.rows; ++r) {
    T* out = static_cast<T*>(b.out) + r * b.out_row;
    const T* x = row_of<T>(b, 0, r);
    const T* lo = row_of<T>(b, 1, r);
    const T* hi = row_of<T>(b, 2, r);
    const int64_t sx = b.in_step[0], sl = b.in_step[1], sh = b.in_step[2];
    if (sx && !sl && !sh) {
      const T low = *lo, high = *hi;
      for (int64_t i = 0; i < b.columns; ++i) out[i] = clipped(x[i], low, high);
    } else {
      for (int64_t i = 0; i < b.columns; ++i) out[i] = clipped(x[i * sx], lo[i * sl], hi[i * sh]);
    }
  }
}

const ElementwiseKernel kernels[] = {
    {"where",
     3,
     false,
     kLight,
     {where<uint8_t>, where<uint8_t>, where<uint16_t>, where<uint32_t>, where<uint64_t>, where<uint8_t>,
      where<uint16_t>, where<uint32_t>, where<uint64_t>, where<uint16_t>, where<uint16_t>, where<uint32_t>,
      where<uint64_t>}},
    {"clip",
     3,
     false,
     kLight,
     {nullptr, clip<uint8_t>, clip<uint16_t>, clip<uint32_t>, clip<uint64_t>, clip<int8_t>, clip<int16_t>,
      clip<int32_t>, clip<int64_t>, nullptr, nullptr, clip<float>, clip<double>}},
};

}  // namespace

const ElementwiseList select_kernels = {kernels, sizeof kernels / sizeof *kernels};

}  // namespace lanner::cpu::LANNER_ISA
