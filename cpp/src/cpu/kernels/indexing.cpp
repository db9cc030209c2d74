#include "cpu/kernels/indexing.h"

#include "cpu/kernels/lines.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// Rows of eight bytes may be pairs of floats: no alignment is promised.
template <class T>
void copy_element(char* to, const char* from) {
  __builtin_memcpy(to, from, sizeof(T));
}

int64_t wrap(int64_t i, int64_t size) { return i < 0 ? i + size : i; }

void range(const int64_t* index, int64_t n, int64_t* smallest, int64_t* largest) {
  int64_t low = index[0], high = index[0];
  for (int64_t i = 1; i < n; ++i) {
    low = index[i] < low ? index[i] : low;
    high = index[i] > high ? index[i] : high;
  }
  *smallest = low;
  *largest = high;
}

void ravel(const int64_t* index, int64_t n, int64_t size, int64_t stride, bool add, int64_t* out) {
  if (add)
    for (int64_t i = 0; i < n; ++i) out[i] += wrap(index[i], size) * stride;
  else
    for (int64_t i = 0; i < n; ++i) out[i] = wrap(index[i], size) * stride;
}

// Calls f(element of x, element of src) for each index, in order.
template <class X, class S, class F>
void for_lines(X* x, const int64_t* index, S* src, const IndexLines& l, F f) {
  for (int64_t o = 0; o < l.outer; ++o, x += l.x_outer, index += l.index_outer, src += l.src_outer) {
    if (l.inner == 1) {
      for (int64_t j = 0; j < l.count; ++j) f(x[wrap(index[j * l.index_axis], l.size) * l.x_axis], src[j * l.src_axis]);
      continue;
    }
    for (int64_t j = 0; j < l.count; ++j) {
      const int64_t* at = index + j * l.index_axis;
      S* row = src + j * l.src_axis;
      for (int64_t k = 0; k < l.inner; ++k) f(x[wrap(at[k], l.size) * l.x_axis + k], row[k]);
    }
  }
}

template <class T>
void gather(const void* x, const int64_t* index, void* out, const IndexLines& lines) {
  for_lines(static_cast<const T*>(x), index, static_cast<T*>(out), lines, [](T from, T& to) { to = from; });
}

template <class T>
void scatter(void* x, const int64_t* index, const void* src, const IndexLines& lines) {
  for_lines(static_cast<T*>(x), index, static_cast<const T*>(src), lines, [](T& to, T from) { to = from; });
}

template <class T>
void scatter_add(void* x, const int64_t* index, const void* src, const IndexLines& lines) {
  for_lines(static_cast<T*>(x), index, static_cast<const T*>(src), lines,
            [](T& to, T from) { to = static_cast<T>(to + from); });
}

// Up to here copying in place takes 0.85 of memcpy's time, call included; from 64 bytes on memcpy is the faster.
// bench/indexing.cpp --benchmark_filter=take_rows
constexpr int64_t kInlineBytes = 48;

void copy_row(char* out, const char* x, int64_t bytes) {
  if (bytes > kInlineBytes || bytes < 16) {
    __builtin_memcpy(out, x, static_cast<size_t>(bytes));
    return;
  }
  for (int64_t i = 0; i + 16 <= bytes; i += 16) __builtin_memcpy(out + i, x + i, 16);
  __builtin_memcpy(out + bytes - 16, x + bytes - 16, 16);  // the last piece overlaps the one before
}

// Rows of the table are asked for so many indices ahead.
constexpr int64_t kPrefetch = 8;

const char* row_of(const char* x, const int64_t* index, int64_t i, const IndexRows& r) {
  return x + wrap(index[i], r.size) * r.x_stride;
}

template <class T>
void take_elements(const char* x, const int64_t* index, char* out, const IndexRows& r) {
  for (int64_t i = 0; i < r.count; ++i) copy_element<T>(out + i * r.src_stride, row_of(x, index, i, r));
}

void take_rows(const void* from, const int64_t* index, void* to, const IndexRows& r) {
  const char* x = static_cast<const char*>(from);
  char* out = static_cast<char*>(to);
  switch (r.bytes) {
    case 1: return take_elements<uint8_t>(x, index, out, r);
    case 2: return take_elements<uint16_t>(x, index, out, r);
    case 4: return take_elements<uint32_t>(x, index, out, r);
    case 8: return take_elements<uint64_t>(x, index, out, r);
  }
  for (int64_t i = 0; i < r.count; ++i) {
    if (i + kPrefetch < r.count) {
      const char* next = row_of(x, index, i + kPrefetch, r);
      __builtin_prefetch(next);
      if (r.bytes > 64) __builtin_prefetch(next + 64);
    }
    copy_row(out + i * r.src_stride, row_of(x, index, i, r), r.bytes);
  }
}

template <class T>
void put_elements(char* x, const int64_t* index, const char* src, const IndexRows& r) {
  for (int64_t i = 0; i < r.count; ++i)
    copy_element<T>(x + wrap(index[i], r.size) * r.x_stride, src + i * r.src_stride);
}

void put_rows(void* to, const int64_t* index, const void* from, const IndexRows& r) {
  char* x = static_cast<char*>(to);
  const char* src = static_cast<const char*>(from);
  switch (r.bytes) {
    case 1: return put_elements<uint8_t>(x, index, src, r);
    case 2: return put_elements<uint16_t>(x, index, src, r);
    case 4: return put_elements<uint32_t>(x, index, src, r);
    case 8: return put_elements<uint64_t>(x, index, src, r);
  }
  for (int64_t i = 0; i < r.count; ++i)
    copy_row(x + wrap(index[i], r.size) * r.x_stride, src + i * r.src_stride, r.bytes);
}

template <class T>
void add_rows(void* to, const int64_t* index, const void* from, const IndexRows& r, int64_t skip) {
  char* x = static_cast<char*>(to);
  const char* src = static_cast<const char*>(from);
  const int64_t columns = r.bytes / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < r.count; ++i) {
    if (i + kPrefetch < r.count) __builtin_prefetch(row_of(x, index, i + kPrefetch, r), 1);
    const int64_t at = wrap(index[i], r.size);
    if (at == skip) continue;
    T* __restrict__ row = reinterpret_cast<T*>(x + at * r.x_stride);
    const T* __restrict__ g = reinterpret_cast<const T*>(src + i * r.src_stride);
    for (int64_t k = 0; k < columns; ++k) row[k] = static_cast<T>(row[k] + g[k]);
  }
}

// Entries [i, end), which have one row of y: kVectors of its vectors stay in registers meanwhile.
template <int kVectors, class T, class Part>
LANNER_INLINE void sum_run(Part part, const T* x, const T* scale, T* y, const RowPairs& p, int64_t i, int64_t end) {
  V<T> sum[kVectors];
  for (int v = 0; v < kVectors; ++v) sum[v] = part.load(y + v * kLanes<T>);
  for (; i < end; ++i) {
    if (i + kPrefetch < p.count) {
      const char* next = reinterpret_cast<const char*>(x + p.from[i + kPrefetch] * p.from_stride);
      for (int b = 0; b < kVectors * LANNER_VECTOR_BYTES; b += 64) prefetch(next + b);
    }
    if (p.from[i] == p.from_none) continue;
    const T* row = x + p.from[i] * p.from_stride;
    const V<T> factor = splat(scale ? scale[i] : T{1});
    for (int v = 0; v < kVectors; ++v) {
      const V<T> term = part.load(row + v * kLanes<T>);
      sum[v] = scale ? fma(factor, term, sum[v]) : sum[v] + term;
    }
  }
  for (int v = 0; v < kVectors; ++v) part.store(y + v * kLanes<T>, sum[v]);
}

template <class T>
void sum_rows(const void* from, const void* factors, void* to, const RowPairs& p) {
  const T *x = static_cast<const T*>(from), *scale = static_cast<const T*>(factors);
  constexpr int kVectors = 4, kStep = kVectors * kLanes<T>;
  for (int64_t i = 0, end; i < p.count; i = end) {
    for (end = i + 1; end < p.count && p.to[end] == p.to[i];) ++end;
    if (i + kPrefetch < p.count) prefetch_to_write(static_cast<T*>(to) + p.to[i + kPrefetch] * p.to_stride);
    if (p.to[i] == p.to_none) continue;
    T* y = static_cast<T*>(to) + p.to[i] * p.to_stride;
    int64_t c = 0;
    for (; c + kStep <= p.columns; c += kStep) sum_run<kVectors>(Whole<T>{}, x + c, scale, y + c, p, i, end);
    each_vector<T>(p.columns - c,
                   [&](auto part, int64_t j) { sum_run<1>(part, x + c + j, scale, y + c + j, p, i, end); });
  }
}

template <class T>
void dot_rows(const void* from, const void* to, void* out, const RowPairs& p) {
  for (int64_t i = 0; i < p.count; ++i) {
    const T* x = static_cast<const T*>(from) + p.from[i] * p.from_stride;
    const T* y = static_cast<const T*>(to) + p.to[i] * p.to_stride;
    const bool none = p.from[i] == p.from_none || p.to[i] == p.to_none;
    static_cast<T*>(out)[i] =
        none ? T{} : sum_line<T>(p.columns, [&](auto part, int64_t c) { return part.load(x + c) * part.load(y + c); });
  }
}

template <class T>
void copy_elements(const char* x, int64_t x_stride, char* out, int64_t out_stride, int64_t rows) {
  for (int64_t i = 0; i < rows; ++i) copy_element<T>(out + i * out_stride, x + i * x_stride);
}

void copy_rows(const void* from, int64_t x_stride, void* to, int64_t out_stride, int64_t rows, int64_t bytes) {
  const char* x = static_cast<const char*>(from);
  char* out = static_cast<char*>(to);
  switch (bytes) {
    case 1: return copy_elements<uint8_t>(x, x_stride, out, out_stride, rows);
    case 2: return copy_elements<uint16_t>(x, x_stride, out, out_stride, rows);
    case 4: return copy_elements<uint32_t>(x, x_stride, out, out_stride, rows);
    case 8: return copy_elements<uint64_t>(x, x_stride, out, out_stride, rows);
  }
  for (int64_t i = 0; i < rows; ++i) copy_row(out + i * out_stride, x + i * x_stride, bytes);
}

void triangle(const void* from, void* to, int64_t begin, int64_t end, int64_t rows, int64_t columns, int64_t k,
              bool upper, int64_t itemsize) {
  const char* x = static_cast<const char*>(from);
  char* out = static_cast<char*>(to);
  for (int64_t i = begin; i < end; ++i) {
    int64_t edge = i % rows + k + !upper;  // the first column of the right-hand part
    edge = edge < 0 ? 0 : edge > columns ? columns : edge;
    char* left = out + i * columns * itemsize;
    char* right = left + edge * itemsize;
    const size_t left_bytes = static_cast<size_t>(edge * itemsize);
    const size_t right_bytes = static_cast<size_t>((columns - edge) * itemsize);
    const char* row = x + i * columns * itemsize;
    if (upper) {
      __builtin_memset(left, 0, left_bytes);
      __builtin_memcpy(right, row + left_bytes, right_bytes);
    } else {
      __builtin_memcpy(left, row, left_bytes);
      __builtin_memset(right, 0, right_bytes);
    }
  }
}

int64_t count_true(const uint8_t* x, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += x[i];
  return count;
}

void find_true(const uint8_t* x, int64_t n, int64_t first, int64_t* out) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    __builtin_memcpy(&eight, x + i, 8);
    if (eight == 0) continue;
    for (int j = 0; j < 8; ++j)
      if (x[i + j]) *out++ = first + i + j;
  }
  for (; i < n; ++i)
    if (x[i]) *out++ = first + i;
}

}  // namespace

#define LANNER_BY_SIZE(f) {f<uint8_t>, f<uint16_t>, f<uint32_t>, f<uint64_t>}
#define LANNER_BY_SUM(f) {f<uint8_t>, f<uint16_t>, f<uint32_t>, f<uint64_t>, f<float>, f<double>}

extern const IndexKernels indexing_kernels;
const IndexKernels indexing_kernels = {
    .range = range,
    .ravel = ravel,
    .gather = LANNER_BY_SIZE(gather),
    .scatter = LANNER_BY_SIZE(scatter),
    .scatter_add = LANNER_BY_SUM(scatter_add),
    .take_rows = take_rows,
    .put_rows = put_rows,
    .add_rows = LANNER_BY_SUM(add_rows),
    .sum_rows = {sum_rows<float>, sum_rows<double>},
    .dot_rows = {dot_rows<float>, dot_rows<double>},
    .copy_rows = copy_rows,
    .triangle = triangle,
    .count_true = count_true,
    .find_true = find_true,
};

}  // namespace lanner::cpu::LANNER_ISA
