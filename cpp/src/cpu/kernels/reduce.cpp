#include "cpu/kernels/reduce.h"

#include "cpu/kernels/lines.h"
#include "cpu/kernels/reduce_ops.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// ---- walking --------------------------------------------------------------------------------------------------------

struct Cursor {
  const Walk& walk;
  int64_t index[8];
  int64_t offset = 0;

  Cursor(const Walk& w, int64_t linear) : walk(w) {
    for (int d = w.rank - 1; d >= 0; --d) {
      index[d] = linear % w.size[d];
      linear /= w.size[d];
      offset += index[d] * w.stride[d];
    }
  }
  void next() {
    for (int d = walk.rank - 1; d >= 0; --d) {
      offset += walk.stride[d];
      if (++index[d] < walk.size[d]) return;
      offset -= index[d] * walk.stride[d];
      index[d] = 0;
    }
  }
};

// Where a group of kGroup partial results goes so that all are added pairwise: a binary counter. Level l holds the
// combination of 2^l of them; `carry(l)` combines level l into what is carried, `keep(l)` stores that in level l.
template <class Carry, class Keep>
LANNER_INLINE void count_up(uint64_t& counter, Carry carry, Keep keep) {
  int level = 0;
  for (uint64_t c = counter++; c & 1; c >>= 1) carry(level++);
  keep(level);
}

constexpr int kLevels = 48;

template <class O>
struct Total {
  using Acc = typename O::Acc;
  Acc level[O::kOrdered ? kLevels : 1];
  uint64_t counter = 0;

  Total() {
    if constexpr (!O::kOrdered) level[0] = O::kIdentity;
  }
  LANNER_INLINE void add(Acc a) {
    if constexpr (O::kOrdered) {
      count_up(counter, [&](int l) { a = O::combine(level[l], a); }, [&](int l) { level[l] = a; });
    } else {
      level[0] = O::combine(level[0], a);
    }
  }
  Acc value() const {
    if constexpr (O::kOrdered) {
      bool any = false;
      Acc sum = O::kIdentity;
      int l = 0;
      for (uint64_t c = counter; c; c >>= 1, ++l) {
        if (!(c & 1)) continue;
        sum = any ? O::combine(level[l], sum) : level[l];
        any = true;
      }
      return sum;
    } else {
      return level[0];
    }
  }
};

// ---- a line that is reduced -----------------------------------------------------------------------------------------

// Eight accumulators hide the latency of an addition; sixteen rounds of them keep the chain of additions that round one
// after the other as short as NumPy's.
template <class T>
constexpr int64_t kBlock = 8 * 16 * (kFloat<T> ? kVectorBytes / static_cast<int>(sizeof(T)) : 32);

template <class O>
LANNER_INLINE typename O::Acc across_lanes(V<typename O::In> v) {
  using T = typename O::In;
  T lane[kLanes<T>];
  store(lane, v);
  for (int half = kLanes<T> / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = O::combine(lane[i], lane[i + half]);
  return lane[0];
}

// At most kBlock elements.
template <class O>
typename O::Acc block(const typename O::In* x, int64_t n) {
  using T = typename O::In;
  if constexpr (O::kVector) {
    constexpr int64_t L = kLanes<T>;
    const V<T> identity = splat<T>(O::kIdentity);
    int64_t i = 0;
    if (n < 8 * L) {
      V<T> one = identity, other = identity;
      for (; i + L <= n; i += L) one = O::combine(one, O::map_vector(load(x + i)));
      if (i < n) {
        const V<T> rest = O::map_vector(load_n(x + i, static_cast<size_t>(n - i)));
        other = select(first_lanes<T>(n - i), rest, identity);
      }
      return across_lanes<O>(O::combine(one, other));
    }
    V<T> a[8];
    for (auto& v : a) v = identity;
    for (; i + 8 * L <= n; i += 8 * L) {
#pragma GCC unroll 8
      for (int u = 0; u < 8; ++u) {
        // The hardware's own prefetch loses the thread at the end of each block: 16M floats, 2.5 ms without, 1.8 with.
        __builtin_prefetch(x + i + u * L + 4096 / sizeof(T));
        a[u] = O::combine(a[u], O::map_vector(load(x + i + u * L)));
      }
    }
    for (; i + L <= n; i += L) a[0] = O::combine(a[0], O::map_vector(load(x + i)));
    if (i < n) {
      const V<T> rest = O::map_vector(load_n(x + i, static_cast<size_t>(n - i)));
      a[1] = O::combine(a[1], select(first_lanes<T>(n - i), rest, identity));
    }
    for (int half = 4; half > 0; half /= 2)
      for (int u = 0; u < half; ++u) a[u] = O::combine(a[u], a[u + half]);
    return across_lanes<O>(a[0]);
  } else {
    typename O::Acc a = O::kIdentity;
    for (int64_t i = 0; i < n; ++i) a = O::combine(a, O::map(x[i]));
    return a;
  }
}

template <class O>
void add_line(Total<O>& total, const typename O::In* x, int64_t n, int64_t stride) {
  using T = typename O::In;
  for (int64_t i = 0; i < n; i += kBlock<T>) {
    const int64_t m = n - i < kBlock<T> ? n - i : kBlock<T>;
    if (stride == 1) {
      total.add(block<O>(x + i, m));
    } else {
      T buffer[kBlock<T>];
      for (int64_t j = 0; j < m; ++j) buffer[j] = x[(i + j) * stride];
      total.add(block<O>(buffer, m));
    }
    if constexpr (O::kEarly) {
      if (total.value() != O::kIdentity) return;
    }
  }
}

// Short lines, such as a channel's planes, are added in vectors: so many of them, and kBlock elements, before the way
// across the lanes.
constexpr int64_t kBlockLines = 64;

// Of `lines` lines of n elements from the cursor on, which it moves past them.
template <class O>
typename O::Acc block_of_lines(const typename O::In* x, int64_t n, int64_t lines, Cursor& line) {
  using T = typename O::In;
  constexpr int64_t L = kLanes<T>;
  const V<T> identity = splat<T>(O::kIdentity);
  const int64_t tail = n % L;
  V<T> a[8];
  for (auto& v : a) v = identity;
  for (; lines > 0; --lines) {
    const T* from = x + line.offset;
    const T* const end = from + n - tail;
    line.next();
    // Lines lie apart, and the hardware does not foresee the next.
    for (int64_t i = 0; i < n; i += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(x + line.offset + i);
    for (; from + 8 * L <= end; from += 8 * L) {
#pragma GCC unroll 8
      for (int u = 0; u < 8; ++u) a[u] = O::combine(a[u], O::map_vector(load(from + u * L)));
    }
#pragma GCC unroll 8
    for (int u = 0; u < 7; ++u) {
      if (from == end) break;
      a[u] = O::combine(a[u], O::map_vector(load(from)));
      from += L;
    }
    if (tail)
      a[7] = O::combine(a[7],
                        select(first_lanes<T>(tail), O::map_vector(load_n(end, static_cast<size_t>(tail))), identity));
  }
  for (int half = 4; half > 0; half /= 2)
    for (int u = 0; u < half; ++u) a[u] = O::combine(a[u], a[u + half]);
  return across_lanes<O>(a[0]);
}

// Up to here one element after the other is faster than a vector and the way across its lanes: many lines are under way
// at once. bench/reduce.cpp --benchmark_filter=rows
constexpr int64_t kShortLine = 32;

template <class O>
void reduce_rows(const ReduceJob& job, const typename O::In* x, typename O::Acc* out, int64_t k0, int64_t k1,
                 int64_t r0, int64_t r1) {
  Cursor kept(job.kept, k0);
  if (job.reduced.rank == 0 && job.line <= kShortLine && r1 > r0) {
    for (int64_t k = k0; k < k1; ++k, kept.next()) {
      const typename O::In* from = x + kept.offset;
      typename O::Acc a = O::kIdentity;
      for (int64_t i = 0; i < job.line; ++i) a = O::combine(a, O::map(from[i * job.line_stride]));
      out[k] = a;
    }
    return;
  }
  for (int64_t k = k0; k < k1; ++k, kept.next()) {
    const typename O::In* from = x + kept.offset;
    if (job.reduced.rank == 0 && job.line_stride == 1 && job.line <= kBlock<typename O::In> && r1 > r0) {
      out[k] = block<O>(from, job.line);
      continue;
    }
    Total<O> total;
    Cursor reduced(job.reduced, r0);
    if constexpr (O::kVector) {
      if (job.line_stride == 1 && 2 * job.line <= kBlock<typename O::In> && r1 - r0 > 1) {
        const int64_t fit = kBlock<typename O::In> / job.line, step = fit < kBlockLines ? fit : kBlockLines;
        for (int64_t r = r0; r < r1; r += step)
          total.add(block_of_lines<O>(from, job.line, r1 - r < step ? r1 - r : step, reduced));
        out[k] = total.value();
        continue;
      }
    }
    for (int64_t r = r0; r < r1; ++r, reduced.next()) {
      add_line(total, from + reduced.offset, job.line, job.line_stride);
      if constexpr (O::kEarly) {
        if (total.value() != O::kIdentity) break;
      }
    }
    out[k] = total.value();
  }
}

// ---- a line that is kept --------------------------------------------------------------------------------------------

// Rows that are added one after the other, in registers, before the pairwise counter: 16 pages are few enough for the
// first-level TLB.
constexpr int kGroup = 16;

// acc[0..m) = the rows at x + row[0..rows), combined in order.
template <class O>
LANNER_INLINE void group_of_rows(const typename O::In* x, const int64_t* row, int rows, int64_t m,
                                 typename O::Acc* acc) {
  using T = typename O::In;
  if constexpr (O::kVector) {
    constexpr int64_t L = kLanes<T>;
    int64_t j = 0;
    for (; j + 2 * L <= m; j += 2 * L) {
      V<T> a = splat<T>(O::kIdentity), b = a;
      for (int r = 0; r < rows; ++r) {
        const T* p = x + row[r] + j;
        a = O::combine(a, O::map_vector(load(p)));
        b = O::combine(b, O::map_vector(load(p + L)));
      }
      store(acc + j, a);
      store(acc + j + L, b);
    }
    for (; j < m; j += L) {
      const size_t n = static_cast<size_t>(m - j < L ? m - j : L);
      V<T> a = splat<T>(O::kIdentity);
      for (int r = 0; r < rows; ++r) a = O::combine(a, O::map_vector(load_n(x + row[r] + j, n)));
      store_n(acc + j, a, n);
    }
  } else {
    for (int64_t j = 0; j < m; ++j) acc[j] = O::kIdentity;
    for (int r = 0; r < rows; ++r) {
      const T* p = x + row[r];
      for (int64_t j = 0; j < m; ++j) acc[j] = O::combine(acc[j], O::map(p[j]));
    }
  }
}

template <class O>
LANNER_INLINE void combine_into(typename O::Acc* a, const typename O::Acc* b, int64_t m) {
  for (int64_t j = 0; j < m; ++j) a[j] = O::combine(b[j], a[j]);
}

template <class O>
void reduce_columns(const ReduceJob& job, const typename O::In* x, typename O::Acc* out, int64_t k0, int64_t k1,
                    int64_t r0, int64_t r1) {
  using Acc = typename O::Acc;
  const int64_t tiles = (job.line + kReduceTile - 1) / kReduceTile;
  for (int64_t k = k0; k < k1; ++k) {
    const int64_t outer = k / tiles, first = k % tiles * kReduceTile;
    const int64_t m = job.line - first < kReduceTile ? job.line - first : kReduceTile;
    const auto* from = x + Cursor(job.kept, outer).offset + first;
    Acc* to = out + outer * job.line + first;

    alignas(64) Acc level[O::kOrdered ? 32 : 1][kReduceTile];
    alignas(64) Acc carried[kReduceTile];
    uint64_t counter = 0;
    if constexpr (!O::kOrdered)
      for (int64_t j = 0; j < m; ++j) level[0][j] = O::kIdentity;

    Cursor reduced(job.reduced, r0);
    for (int64_t r = r0; r < r1;) {
      int64_t row[kGroup];
      int rows = 0;
      if (job.reduced.rank == 1) {
        for (; rows < kGroup && r < r1; ++rows, ++r) row[rows] = r * job.reduced.stride[0];
      } else {
        for (; rows < kGroup && r < r1; ++rows, ++r, reduced.next()) row[rows] = reduced.offset;
      }
      group_of_rows<O>(from, row, rows, m, carried);
      if constexpr (O::kOrdered) {
        count_up(
            counter, [&](int l) { combine_into<O>(carried, level[l], m); },
            [&](int l) { __builtin_memcpy(level[l], carried, static_cast<size_t>(m) * sizeof(Acc)); });
      } else {
        combine_into<O>(level[0], carried, m);
      }
    }
    if constexpr (O::kOrdered) {
      int l = 0, lowest_level = -1;
      for (uint64_t c = counter; c; c >>= 1, ++l) {
        if (!(c & 1)) continue;
        if (lowest_level < 0) {
          lowest_level = l;
        } else {
          combine_into<O>(level[lowest_level], level[l], m);
        }
      }
      if (lowest_level < 0) {
        for (int64_t j = 0; j < m; ++j) to[j] = O::kIdentity;
      } else {
        __builtin_memcpy(to, level[lowest_level], static_cast<size_t>(m) * sizeof(Acc));
      }
    } else {
      __builtin_memcpy(to, level[0], static_cast<size_t>(m) * sizeof(Acc));
    }
  }
}

template <class O>
void reduce(const ReduceJob& job, const void* x, void* out, int64_t k0, int64_t k1, int64_t r0, int64_t r1) {
  const auto* from = static_cast<const typename O::In*>(x);
  auto* to = static_cast<typename O::Acc*>(out);
  if (job.columns) {
    reduce_columns<O>(job, from, to, k0, k1, r0, r1);
  } else {
    reduce_rows<O>(job, from, to, k0, k1, r0, r1);
  }
}

// ---- argmax, argmin -------------------------------------------------------------------------------------------------

// Whether x comes before `best`: it is more extreme, or the first NaN. Of vectors, lane by lane.
template <class O, class X>
LANNER_INLINE auto beats(X x, X best) {
  return (O::combine(best, x) != best) & (best == best);
}

// The extreme of each block, then a search of the block that holds it.
template <class O>
int64_t arg_line(const typename O::In* x, int64_t n) {
  using T = typename O::In;
  T best = x[0];
  int64_t where = 0;
  if (n <= kShortLine) {
    for (int64_t i = 1; i < n; ++i) {
      const bool take = beats<O>(x[i], best);
      best = take ? x[i] : best;
      where = take ? i : where;
    }
    return where;
  }
  for (int64_t i = 0; i < n; i += kBlock<T>) {
    const int64_t m = n - i < kBlock<T> ? n - i : kBlock<T>;
    const T extreme = block<O>(x + i, m);
    if (beats<O>(extreme, best)) {
      best = extreme;
      where = i;
    }
  }
  while (!(x[where] == best || (best != best && x[where] != x[where]))) ++where;
  return where;
}

// m <= kReduceTile columns, of floats with an index of the same width, so that both fill one vector.
template <class O>
void arg_columns(const typename O::In* x, int64_t* out, int64_t n, int64_t inner, int64_t m) {
  using T = typename O::In;
  if constexpr (O::kVector) {
    using Index = typename Vec<T>::Int;
    if (n < (int64_t{1} << 31)) {
      alignas(64) T best[kReduceTile];
      alignas(64) Index where[kReduceTile] = {};
      __builtin_memcpy(best, x, static_cast<size_t>(m) * sizeof(T));
      for (int64_t i = 1; i < n; ++i) {
        const T* row = x + i * inner;
        const M<T> here = M<T>{} + static_cast<Index>(i);
        each_vector<T>(m, [&](auto v, int64_t j) {
          const V<T> candidate = v.load(row + j), before = load(best + j);
          const M<T> take = beats<O>(candidate, before);
          M<T> at;
          __builtin_memcpy(&at, where + j, sizeof at);
          at = take ? here : at;
          __builtin_memcpy(where + j, &at, sizeof at);
          store(best + j, select(take, candidate, before));
        });
      }
      for (int64_t j = 0; j < m; ++j) out[j] = where[j];
      return;
    }
  }
  T best[kReduceTile];
  for (int64_t j = 0; j < m; ++j) {
    best[j] = x[j];
    out[j] = 0;
  }
  for (int64_t i = 1; i < n; ++i) {
    const T* row = x + i * inner;
    for (int64_t j = 0; j < m; ++j) {
      const bool take = beats<O>(row[j], best[j]);
      best[j] = take ? row[j] : best[j];
      out[j] = take ? i : out[j];
    }
  }
}

template <class O>
void arg(const void* from, int64_t* out, const ScanRange& r) {
  using T = typename O::In;
  const T* x = static_cast<const T*>(from);
  for (int64_t u = r.u0; u < r.u1; ++u) {
    if (r.inner == 1) {
      out[u] = arg_line<O>(x + u * r.n, r.n);
      continue;
    }
    const int64_t tiles = (r.inner + kReduceTile - 1) / kReduceTile;
    const int64_t outer = u / tiles, first = u % tiles * kReduceTile;
    const int64_t m = r.inner - first < kReduceTile ? r.inner - first : kReduceTile;
    arg_columns<O>(x + outer * r.n * r.inner + first, out + outer * r.inner + first, r.n, r.inner, m);
  }
}

// ---- cumulative -----------------------------------------------------------------------------------------------------

template <class T>
struct Exact {
  using Type = T;
};
template <>
struct Exact<float> {
  using Type = double;
};

template <class O>
void cumulative(const void* from, void* to, const ScanRange& r, bool reverse) {
  using T = typename O::In;
  using Out = typename O::Acc;
  using Acc = typename Exact<Out>::Type;
  const int64_t step = reverse ? -r.inner : r.inner, start = reverse ? (r.n - 1) * r.inner : 0;
  const int64_t tiles = (r.inner + kReduceTile - 1) / kReduceTile;
  for (int64_t u = r.u0; u < r.u1; ++u) {
    const int64_t first = u % tiles * kReduceTile, base = u / tiles * r.n * r.inner + start + first;
    const int64_t m = r.inner - first < kReduceTile ? r.inner - first : kReduceTile;
    const T* x = static_cast<const T*>(from) + base;
    Out* y = static_cast<Out*>(to) + base;
    if (m == 1) {
      Acc a = O::kIdentity;
      for (int64_t i = 0, at = 0; i < r.n; ++i, at += step) {
        a = O::combine(a, static_cast<Acc>(x[at]));
        y[at] = static_cast<Out>(a);
      }
      continue;
    }
    Acc a[kReduceTile];
    for (int64_t j = 0; j < m; ++j) a[j] = O::kIdentity;
    for (int64_t i = 0, at = 0; i < r.n; ++i, at += step) {
      for (int64_t j = 0; j < m; ++j) {
        a[j] = O::combine(a[j], static_cast<Acc>(x[at + j]));
        y[at + j] = static_cast<Out>(a[j]);
      }
    }
  }
}

}  // namespace

// In the order of DType; bool is a byte that is 0 or 1.
#define LANNER_EACH_DTYPE(f, O)                                                                               \
  {f<O<uint8_t>>, f<O<uint8_t>>, f<O<uint16_t>>, f<O<uint32_t>>, f<O<uint64_t>>, f<O<int8_t>>, f<O<int16_t>>, \
   f<O<int32_t>>, f<O<int64_t>>, nullptr,        nullptr,        f<O<float>>,    f<O<double>>}

extern const ReduceKernels reduce_kernels;
const ReduceKernels reduce_kernels = {
    {LANNER_EACH_DTYPE(reduce, SumOf), LANNER_EACH_DTYPE(reduce, SumSquaresOf), LANNER_EACH_DTYPE(reduce, ProdOf),
     LANNER_EACH_DTYPE(reduce, MaxOf), LANNER_EACH_DTYPE(reduce, MinOf), LANNER_EACH_DTYPE(reduce, AnyOf),
     LANNER_EACH_DTYPE(reduce, AllOf)},
    LANNER_EACH_DTYPE(arg, MaxOf),
    LANNER_EACH_DTYPE(arg, MinOf),
    LANNER_EACH_DTYPE(cumulative, SumOf),
    LANNER_EACH_DTYPE(cumulative, ProdOf),
};

}  // namespace lanner::cpu::LANNER_ISA
