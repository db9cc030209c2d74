// The loops that turn a functor into a kernel. A functor F has `static T run(T a, ...)` for the T that it is listed
// with; one that has it for the vectors V<float> and V<double> as well is named with LANNER_VECTOR_KERNEL.
#pragma once

#include "cpu/kernels/elementwise.h"
#include "cpu/kernels/math.h"
#include "cpu/simd.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// The unsigned type in which arithmetic on T wraps around: below int, the operators would promote to signed int.
template <class T>
struct Unsigned {
  using Type = uint32_t;
};
template <>
struct Unsigned<int64_t> {
  using Type = uint64_t;
};
template <>
struct Unsigned<uint64_t> {
  using Type = uint64_t;
};
template <class T>
constexpr bool kIsFloat = false;
template <>
constexpr bool kIsFloat<float> = true;
template <>
constexpr bool kIsFloat<double> = true;
template <class T>
constexpr bool kIsSigned = static_cast<T>(-1) < static_cast<T>(0);

// One operand of a row, read in vectors: neighbours, or one value for all.
template <class T, bool kMany>
struct VectorRow {
  const T* p;
  V<T> same;
  LANNER_INLINE explicit VectorRow(const T* from) : p(from), same(splat(*from)) {}
  LANNER_INLINE V<T> at(int64_t i) const {
    if constexpr (kMany)
      return load(p + i);
    else
      return same;
  }
  LANNER_INLINE V<T> rest(int64_t i, size_t n) const {
    if constexpr (kMany)
      return load_n(p + i, n);
    else
      return same;
  }
};

template <class T>
LANNER_INLINE const T* row_of(const Block& b, int k, int64_t r) {
  return static_cast<const T*>(b.in[k]) + r * b.in_row[k];
}

// out[i] = f(rows...[i]). The last, partial vector runs through the same code, so an element's bits do not depend on
// its place.
template <class T, class F, class... Rows>
LANNER_INLINE void vector_row(T* out, int64_t n, F f, const Rows&... rows) {
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
#pragma GCC unroll 4
  for (; i + L <= n; i += L) store(out + i, f(rows.at(i)...));
  if (i < n) {
    const size_t m = static_cast<size_t>(n - i);
    store_n(out + i, f(rows.rest(i, m)...), m);
  }
}

// The parameters, in registers: in memory, the stores of the loop might overwrite them.
struct Params {
  double value[2] = {};
  explicit Params(const Block& b) {
    if (b.params) __builtin_memcpy(value, b.params, sizeof value);
  }
};

template <class T, class F>
void vector_1(const Block& b) {
  const Params params(b);
  for (int64_t r = 0; r < b.rows; ++r) {
    T* out = static_cast<T*>(b.out) + r * b.out_row;
    const T* x = row_of<T>(b, 0, r);
    const auto f = [&](V<T> v) { return F::run(v, params.value); };
    if (b.in_step[0])
      vector_row(out, b.columns, f, VectorRow<T, true>(x));
    else
      vector_row(out, b.columns, f, VectorRow<T, false>(x));
  }
}

template <class T, class F, bool kMany0, bool kMany1>
void vector_2_rows(const Block& b) {
  const Params params(b);
  const auto f = [&](V<T> v, V<T> w) { return F::run(v, w, params.value); };
  for (int64_t r = 0; r < b.rows; ++r)
    vector_row(static_cast<T*>(b.out) + r * b.out_row, b.columns, f, VectorRow<T, kMany0>(row_of<T>(b, 0, r)),
               VectorRow<T, kMany1>(row_of<T>(b, 1, r)));
}
template <class T, class F>
void vector_2(const Block& b) {
  if (b.in_step[0])
    b.in_step[1] ? vector_2_rows<T, F, true, true>(b) : vector_2_rows<T, F, true, false>(b);
  else
    b.in_step[1] ? vector_2_rows<T, F, false, true>(b) : vector_2_rows<T, F, false, false>(b);
}

// The plain loops: the compiler makes vectors of them where it can. `Out` is uint8_t for bool.
template <class T, class F, class Out>
void plain_1(const Block& b) {
  for (int64_t r = 0; r < b.rows; ++r) {
    Out* out = static_cast<Out*>(b.out) + r * b.out_row;
    const T* x = row_of<T>(b, 0, r);
    if (b.in_step[0]) {
      for (int64_t i = 0; i < b.columns; ++i) out[i] = F::run(x[i], b.params);
    } else {
      const Out same = F::run(x[0], b.params);
      for (int64_t i = 0; i < b.columns; ++i) out[i] = same;
    }
  }
}
template <class T, class F, class Out>
void plain_2(const Block& b) {
  const int64_t n = b.columns;
  for (int64_t r = 0; r < b.rows; ++r) {
    Out* out = static_cast<Out*>(b.out) + r * b.out_row;
    const T* x = row_of<T>(b, 0, r);
    const T* y = row_of<T>(b, 1, r);
    if (b.in_step[0] && b.in_step[1]) {
      for (int64_t i = 0; i < n; ++i) out[i] = F::run(x[i], y[i], b.params);
    } else if (b.in_step[0]) {
      const T same = y[0];
      for (int64_t i = 0; i < n; ++i) out[i] = F::run(x[i], same, b.params);
    } else if (b.in_step[1]) {
      const T same = x[0];
      for (int64_t i = 0; i < n; ++i) out[i] = F::run(same, y[i], b.params);
    } else {
      const Out same = F::run(x[0], y[0], b.params);
      for (int64_t i = 0; i < n; ++i) out[i] = same;
    }
  }
}

// Floats through vectors, integers through the plain loop.
template <class T, class F>
void unary(const Block& b) {
  if constexpr (kIsFloat<T>)
    vector_1<T, F>(b);
  else
    plain_1<T, F, T>(b);
}
template <class T, class F>
void binary(const Block& b) {
  if constexpr (kIsFloat<T>)
    vector_2<T, F>(b);
  else
    plain_2<T, F, T>(b);
}
template <class T, class F>
void test_1(const Block& b) {
  plain_1<T, F, uint8_t>(b);
}
template <class T, class F>
void test_2(const Block& b) {
  plain_2<T, F, uint8_t>(b);
}

// What a slice of some 20 us holds, at about 0.3 ns (memory), 1 ns (polynomials), 6 ns (scalar functions) an element.
constexpr int64_t kLight = 65536, kMiddle = 16384, kHeavy = 4096;

// Which dtypes, in the order of DType: bool, uint8..64, int8..64, float16, bfloat16, float32, float64.
#define LANNER_FLOATS(loop, F)                                                  \
  {nullptr, nullptr, nullptr, nullptr, nullptr,        nullptr,        nullptr, \
   nullptr, nullptr, nullptr, nullptr, loop<float, F>, loop<double, F>}
#define LANNER_NUMBERS(loop, F)                                                                \
  {nullptr,         loop<uint8_t, F>, loop<uint16_t, F>, loop<uint32_t, F>, loop<uint64_t, F>, \
   loop<int8_t, F>, loop<int16_t, F>, loop<int32_t, F>,  loop<int64_t, F>,  nullptr,           \
   nullptr,         loop<float, F>,   loop<double, F>}
// A bool is a byte that is 0 or 1; BoolF is the functor for it.
#define LANNER_ALL(loop, F, BoolF)                                                                                   \
  {loop<uint8_t, BoolF>, loop<uint8_t, F>, loop<uint16_t, F>, loop<uint32_t, F>, loop<uint64_t, F>, loop<int8_t, F>, \
   loop<int16_t, F>,     loop<int32_t, F>, loop<int64_t, F>,  nullptr,           nullptr,           loop<float, F>,  \
   loop<double, F>}
#define LANNER_INTEGERS(loop, F, BoolF) \
  {loop<uint8_t, BoolF>,                \
   loop<uint8_t, F>,                    \
   loop<uint16_t, F>,                   \
   loop<uint32_t, F>,                   \
   loop<uint64_t, F>,                   \
   loop<int8_t, F>,                     \
   loop<int16_t, F>,                    \
   loop<int32_t, F>,                    \
   loop<int64_t, F>,                    \
   nullptr,                             \
   nullptr,                             \
   nullptr,                             \
   nullptr}

}  // namespace

// One list of kernels for each elementwise_*.cpp.
extern const ElementwiseList arithmetic_kernels, rounding_kernels, math_kernels, activation_kernels, logic_kernels,
    select_kernels;
extern const CopyKernels copy_kernels;

}  // namespace lanner::cpu::LANNER_ISA
