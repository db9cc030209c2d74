#include "cpu/kernels/sort.h"

namespace lanner::cpu::LANNER_ISA {
namespace {

// ---- keys: unsigned integers in the order that is sorted by ----

enum class Kind { Unsigned, Signed, Floating };

// U: an unsigned integer as wide as the dtype. kInfinity: its bits, where the dtype is floating.
template <class U, Kind kKind, U kInfinity = 0>
struct Codec {
  using Key = U;
  static constexpr U kTop = static_cast<U>(U{1} << (8 * sizeof(U) - 1));
  static constexpr U kNan = static_cast<U>(~U{0});  // above the key of any number, both ways

  // `flip` is all ones to sort descending, else 0.
  static U encode(U bits, U flip) {
    if constexpr (kKind == Kind::Unsigned) return bits ^ flip;
    if constexpr (kKind == Kind::Signed) return bits ^ kTop ^ flip;
    const U magnitude = bits & static_cast<U>(~kTop);
    const U number = bits == kTop ? U{0} : bits;
    const U key = static_cast<U>(number ^ (number & kTop ? kNan : kTop) ^ flip);
    return magnitude > kInfinity ? kNan : key;
  }
  // Of a key that is not `lossy`.
  static U decode(U key, U flip) {
    key ^= flip;
    if constexpr (kKind == Kind::Unsigned) return key;
    if constexpr (kKind == Kind::Signed) return key ^ kTop;
    return static_cast<U>(key ^ (key & kTop ? kTop : kNan));
  }
  // Whether several values have this key: zeros and NaNs.
  static bool lossy(U key, U flip) {
    return kKind == Kind::Floating && (key == kNan || key == static_cast<U>(kTop ^ flip));
  }
};

// Calls f(codec) for the dtype.
template <class F>
void with_codec(DType dtype, F f) {
  switch (dtype) {
    case DType::Bool:
    case DType::UInt8: return f(Codec<uint8_t, Kind::Unsigned>());
    case DType::UInt16: return f(Codec<uint16_t, Kind::Unsigned>());
    case DType::UInt32: return f(Codec<uint32_t, Kind::Unsigned>());
    case DType::UInt64: return f(Codec<uint64_t, Kind::Unsigned>());
    case DType::Int8: return f(Codec<uint8_t, Kind::Signed>());
    case DType::Int16: return f(Codec<uint16_t, Kind::Signed>());
    case DType::Int32: return f(Codec<uint32_t, Kind::Signed>());
    case DType::Int64: return f(Codec<uint64_t, Kind::Signed>());
    case DType::Float16: return f(Codec<uint16_t, Kind::Floating, 0x7c00>());
    case DType::BFloat16: return f(Codec<uint16_t, Kind::Floating, 0x7f80>());
    case DType::Float32: return f(Codec<uint32_t, Kind::Floating, 0x7f800000>());
    case DType::Float64: return f(Codec<uint64_t, Kind::Floating, 0x7ff0000000000000>());
  }
}

// ---- entries: a key with the index of its element, ordered by key, then by index, so that no two are equal ----

// Keys of up to 32 bits of lines shorter than 2^32: one integer.
struct Packed {
  uint64_t bits;
  Packed() = default;
  Packed(uint64_t key, uint64_t index) : bits(key << 32 | index) {}
  uint64_t key() const { return bits >> 32; }
  uint64_t index() const { return bits & 0xffffffff; }
  friend bool operator<(Packed a, Packed b) { return a.bits < b.bits; }
};

struct Wide {
  uint64_t key_, index_;
  Wide() = default;
  Wide(uint64_t key, uint64_t index) : key_(key), index_(index) {}
  uint64_t key() const { return key_; }
  uint64_t index() const { return index_; }
  friend bool operator<(const Wide& a, const Wide& b) {
    return a.key_ < b.key_ || (a.key_ == b.key_ && a.index_ < b.index_);
  }
};

// A key alone, where no index is asked for.
template <class U>
struct Bare {
  U key_;
  uint64_t key() const { return key_; }
  friend bool operator<(Bare a, Bare b) { return a.key_ < b.key_; }
};

bool packs(int64_t n, int64_t itemsize) { return itemsize <= 4 && n < int64_t{1} << 32; }

// Calls f(Packed()) or f(Wide()), whichever holds the entries of such a line.
template <class Codec, class F>
void with_entry(int64_t n, F f) {
  if constexpr (sizeof(typename Codec::Key) <= 4)
    if (packs(n, sizeof(typename Codec::Key))) return f(Packed());
  f(Wide());
}

// ---- sorting entries ----

// Runs that insertion sort makes for the merge.
constexpr int64_t kRun = 16;
// Below this, merging beats four or eight passes over 256 counters each. bench/indexing.cpp --benchmark_filter=sort
constexpr int64_t kRadixPacked = 48, kRadixWide = 160;

template <class E>
void insertion_sort(E* a, int64_t n) {
  for (int64_t i = 1; i < n; ++i) {
    const E e = a[i];
    int64_t j = i;
    for (; j > 0 && e < a[j - 1]; --j) a[j] = a[j - 1];
    a[j] = e;
  }
}

template <class E>
void merge(const E* a, const E* a_end, const E* b, const E* b_end, E* out) {
  while (a != a_end && b != b_end) {
    const bool second = *b < *a;
    *out++ = second ? *b : *a;
    b += second;
    a += !second;
  }
  while (a != a_end) *out++ = *a++;
  while (b != b_end) *out++ = *b++;
}

// Sorts a; returns a or b, whichever then holds the entries.
template <class E>
E* merge_sort(E* a, E* b, int64_t n) {
  for (int64_t i = 0; i < n; i += kRun) insertion_sort(a + i, n - i < kRun ? n - i : kRun);
  for (int64_t width = kRun; width < n; width *= 2) {
    for (int64_t i = 0; i < n; i += 2 * width) {
      const int64_t middle = n - i < width ? n : i + width, end = n - i < 2 * width ? n : i + 2 * width;
      merge(a + i, a + middle, a + middle, a + end, b + i);
    }
    E* swap = a;
    a = b;
    b = swap;
  }
  return a;
}

// From the lowest byte of the key up; each pass keeps the order of the one before. Bytes that all keys share are
// passed over. The entries come in the order of their indices.
template <int kKeyBytes, class E>
E* radix_sort(E* a, E* b, int64_t n) {
  int64_t counts[kKeyBytes][256] = {};
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t key = a[i].key();
    for (int d = 0; d < kKeyBytes; ++d) ++counts[d][(key >> (8 * d)) & 255];
  }
  for (int d = 0; d < kKeyBytes; ++d) {
    int64_t* at = counts[d];
    if (at[(a[0].key() >> (8 * d)) & 255] == n) continue;
    int64_t sum = 0;
    for (int i = 0; i < 256; ++i) {
      const int64_t count = at[i];
      at[i] = sum;
      sum += count;
    }
    for (int64_t i = 0; i < n; ++i) b[at[(a[i].key() >> (8 * d)) & 255]++] = a[i];
    E* swap = a;
    a = b;
    b = swap;
  }
  return a;
}

template <int kKeyBytes, class E>
E* sort_entries(E* a, E* b, int64_t n) {
  if (n < (kKeyBytes == 8 ? kRadixWide : kRadixPacked)) return merge_sort(a, b, n);
  return radix_sort<kKeyBytes>(a, b, n);
}

// ---- a line ----

template <class Codec>
struct Line {
  using U = typename Codec::Key;
  const U* x;
  U flip;
  U* values;
  const SortLine& line;

  explicit Line(const SortLine& l)
      : x(static_cast<const U*>(l.x)),
        flip(l.descending ? static_cast<U>(~U{0}) : U{0}),
        values(static_cast<U*>(l.values)),
        line(l) {}
  U key(int64_t i) const { return Codec::encode(x[i * line.x_stride], flip); }

  template <class E>
  void put(const E* entries, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) {
      const U key = static_cast<U>(entries[i].key());
      const int64_t from = static_cast<int64_t>(entries[i].index());
      if (values)
        values[i * line.out_stride] = Codec::lossy(key, flip) ? x[from * line.x_stride] : Codec::decode(key, flip);
      if (line.indices) line.indices[i * line.out_stride] = from;
    }
  }

  void put(const Bare<U>* keys, int64_t n) const {
    int64_t zeros = -1, nans = -1;  // where those begin; they keep the order and the bits that they had
    for (int64_t i = 0; i < n; ++i) {
      const U key = keys[i].key_;
      if (Codec::lossy(key, flip)) {
        int64_t& first = key == Codec::kNan ? nans : zeros;
        if (first < 0) first = i;
      }
      values[i * line.out_stride] = Codec::decode(key, flip);
    }
    if (zeros < 0 && nans < 0) return;
    for (int64_t i = 0; i < n; ++i) {
      const U bits = x[i * line.x_stride], key = Codec::encode(bits, flip);
      if (Codec::lossy(key, flip)) values[(key == Codec::kNan ? nans : zeros)++ * line.out_stride] = bits;
    }
  }
};

size_t sort_workspace(int64_t n, int64_t itemsize, bool indices) {
  const int64_t entry = !indices ? itemsize : packs(n, itemsize) ? 8 : 16;
  return static_cast<size_t>(2 * n * entry);
}

void sort(DType dtype, const SortLine& l, void* workspace) {
  with_codec(dtype, [&](auto codec) {
    using C = decltype(codec);
    using U = typename C::Key;
    const Line<C> line(l);
    if (!l.indices) {
      Bare<U>* keys = static_cast<Bare<U>*>(workspace);
      for (int64_t i = 0; i < l.n; ++i) keys[i].key_ = line.key(i);
      line.put(sort_entries<sizeof(U)>(keys, keys + l.n, l.n), l.n);
      return;
    }
    with_entry<C>(l.n, [&](auto entry) {
      using E = decltype(entry);
      E* entries = static_cast<E*>(workspace);
      for (int64_t i = 0; i < l.n; ++i) entries[i] = E(line.key(i), static_cast<uint64_t>(i));
      line.put(sort_entries<sizeof(U)>(entries, entries + l.n, l.n), l.n);
    });
  });
}

// ---- top k ----

// Up to this k each better element is put into its place at once.
constexpr int64_t kInsert = 16;
// Beyond it, candidates that are collected beyond 2 k before they are sorted and cut.
constexpr int64_t kSlack = 32;
// Keys that are compared with the k-th best before any branch.
constexpr int64_t kBlock = 64;

int64_t topk_capacity(int64_t k) { return 2 * k + kSlack; }
// Where candidates would be no fewer than the elements, the line is sorted.
bool topk_sorts(int64_t n, int64_t k) { return topk_capacity(k) >= n; }

size_t topk_workspace(int64_t n, int64_t k, int64_t itemsize) {
  return sort_workspace(topk_sorts(n, k) ? n : topk_capacity(k) + kBlock, n < int64_t{1} << 32 ? itemsize : 8, true);
}

// The best k of n > k elements, in order, into a.
template <class E, class C>
void insert_best(const Line<C>& line, int64_t k, E* a) {
  using U = typename C::Key;
  for (int64_t i = 0; i < k; ++i) a[i] = E(line.key(i), static_cast<uint64_t>(i));
  insertion_sort(a, k);
  U worst = static_cast<U>(a[k - 1].key());
  const int64_t n = line.line.n;
  for (int64_t i = k; i < n; i += kBlock) {
    const int64_t m = n - i < kBlock ? n - i : kBlock;
    U keys[kBlock], any = 0;
    for (int64_t j = 0; j < m; ++j) keys[j] = line.key(i + j);
    for (int64_t j = 0; j < m; ++j) any |= static_cast<U>(keys[j] < worst);
    if (!any) continue;
    for (int64_t j = 0; j < m; ++j) {
      if (keys[j] >= worst) continue;
      int64_t at = k - 1;
      for (; at > 0 && keys[j] < static_cast<U>(a[at - 1].key()); --at) a[at] = a[at - 1];
      a[at] = E(keys[j], static_cast<uint64_t>(i + j));
      worst = static_cast<U>(a[k - 1].key());
    }
  }
}

template <class E, class C>
void topk_line(const Line<C>& line, int64_t k, E* a) {
  using U = typename C::Key;
  constexpr int kKeyBytes = sizeof(U);
  const int64_t n = line.line.n;
  if (topk_sorts(n, k)) {
    for (int64_t i = 0; i < n; ++i) a[i] = E(line.key(i), static_cast<uint64_t>(i));
    return line.put(sort_entries<kKeyBytes>(a, a + n, n), k);
  }
  const int64_t capacity = topk_capacity(k);
  E* b = a + capacity + kBlock;
  if (k <= kInsert) {
    insert_best(line, k, a);
    return line.put(a, k);
  }
  int64_t count = 0;
  U worst = 0;        // of the best k so far
  bool full = false;  // `worst` is known
  const auto cut = [&] {
    // Radix keeps the order by index: the best so far stand in it, and the newcomers come later in the line.
    E* best = sort_entries<kKeyBytes>(a, b, count);
    if (best == b) {
      b = a;
      a = best;
    }
    count = count < k ? count : k;
    full = count == k;
    if (full) worst = static_cast<U>(a[k - 1].key());
  };
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t m = n - i < kBlock ? n - i : kBlock;
    U keys[kBlock];
    for (int64_t j = 0; j < m; ++j) keys[j] = line.key(i + j);
    if (full) {
      U any = 0;
      for (int64_t j = 0; j < m; ++j) any |= static_cast<U>(keys[j] < worst);
      if (!any) continue;
    }
    for (int64_t j = 0; j < m; ++j) {
      a[count] = E(keys[j], static_cast<uint64_t>(i + j));
      count += !full || keys[j] < worst;
    }
    if (count >= capacity) cut();
  }
  cut();
  line.put(a, k);
}

void topk(DType dtype, const SortLine& l, int64_t k, void* workspace) {
  if (k == 0) return;
  with_codec(dtype, [&](auto codec) {
    using C = decltype(codec);
    with_entry<C>(l.n, [&](auto entry) { topk_line(Line<C>(l), k, static_cast<decltype(entry)*>(workspace)); });
  });
}

// ---- search ----

void search(DType dtype, const void* sorted, int64_t n, const void* values, int64_t m, bool right, int64_t* out) {
  with_codec(dtype, [&](auto codec) {
    using C = decltype(codec);
    using U = typename C::Key;
    const U* x = static_cast<const U*>(sorted);
    for (int64_t i = 0; i < m; ++i) {
      const U key = C::encode(static_cast<const U*>(values)[i], 0);
      const U* first = x;
      for (int64_t length = n; length > 0;) {
        const int64_t half = length / 2;
        const U middle = C::encode(first[half], 0);
        const bool before = right ? middle <= key : middle < key;
        first = before ? first + half + 1 : first;
        length = before ? length - half - 1 : half;
      }
      out[i] = first - x;
    }
  });
}

}  // namespace

extern const SortKernels sort_kernels;
const SortKernels sort_kernels = {
    .sort_workspace = sort_workspace,
    .sort = sort,
    .topk_workspace = topk_workspace,
    .topk = topk,
    .search = search,
};

}  // namespace lanner::cpu::LANNER_ISA
