// Kernels that move elements by index, against loops that say what they mean, on every instruction set.
#include "cpu/kernels/indexing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <random>
#include <vector>

#include "cpu/dispatch.h"

namespace lanner {
namespace {

class EveryIsa : public testing::TestWithParam<const cpu::KernelTable*> {
 protected:
  const cpu::IndexKernels& kernels() const { return *GetParam()->indexing; }
};
INSTANTIATE_TEST_SUITE_P(Indexing, EveryIsa, testing::ValuesIn(cpu::available()),
                         [](const auto& info) { return std::string(info.param->isa); });

std::vector<int64_t> indices(int64_t n, int64_t size, uint64_t seed = 0) {
  std::mt19937_64 rng(seed + static_cast<uint64_t>(n * 31 + size));
  std::vector<int64_t> out(static_cast<size_t>(n));
  for (int64_t& i : out) i = static_cast<int64_t>(rng() % static_cast<uint64_t>(2 * size)) - size;
  return out;
}

template <class T>
std::vector<T> numbers(int64_t n, uint64_t seed = 1) {
  std::mt19937_64 rng(seed);
  std::vector<T> out(static_cast<size_t>(n));
  for (T& x : out) x = static_cast<T>(rng() % 100);
  return out;
}

TEST_P(EveryIsa, Range) {
  for (int64_t n : {1, 2, 7, 64, 1001}) {
    const std::vector<int64_t> x = indices(n, 1 << 20);
    int64_t low, high;
    kernels().range(x.data(), n, &low, &high);
    EXPECT_EQ(low, *std::min_element(x.begin(), x.end()));
    EXPECT_EQ(high, *std::max_element(x.begin(), x.end()));
  }
}

TEST_P(EveryIsa, Ravel) {
  const std::vector<int64_t> a = indices(77, 5), b = indices(77, 9);
  std::vector<int64_t> out(77);
  kernels().ravel(a.data(), 77, 5, 9, false, out.data());
  kernels().ravel(b.data(), 77, 9, 1, true, out.data());
  for (size_t i = 0; i < 77; ++i) EXPECT_EQ(out[i], (a[i] + 5) % 5 * 9 + (b[i] + 9) % 9);
}

// x [outer, size, inner + 1], of which inner columns take part; index and src [outer, count, inner].
template <class T>
struct Lines {
  int64_t outer, size, count, inner;
  std::vector<T> x = numbers<T>(outer * size * (inner + 1)), src = numbers<T>(outer * count * inner, 2);
  std::vector<int64_t> index = indices(outer * count * inner, size);
  cpu::IndexLines lines{outer,     count,        inner, size,         size*(inner + 1),
                        inner + 1, count* inner, inner, count* inner, inner};

  // Calls f(place in x, place in src) in order.
  template <class F>
  void each(F f) const {
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t j = 0; j < count; ++j)
        for (int64_t k = 0; k < inner; ++k) {
          const int64_t at = (o * count + j) * inner + k, i = (index[at] + size) % size;
          f((o * size + i) * (inner + 1) + k, at);
        }
  }
};

template <class T>
void check_lines(const cpu::IndexKernels& kernels) {
  const int entry = std::countr_zero(sizeof(T));
  for (auto [outer, size, count, inner] : std::vector<std::array<int64_t, 4>>{
           {1, 1, 1, 1}, {3, 5, 1, 1}, {1, 4, 9, 1}, {4, 7, 3, 5}, {2, 3, 50, 17}, {1, 10, 0, 3}}) {
    Lines<T> l{outer, size, count, inner};
    std::vector<T> gathered(l.src.size()), expected(l.src.size());
    kernels.gather[entry](l.x.data(), l.index.data(), gathered.data(), l.lines);
    l.each([&](int64_t x, int64_t at) { expected[at] = l.x[x]; });
    EXPECT_EQ(gathered, expected);

    std::vector<T> scattered = l.x, into = l.x;
    kernels.scatter[entry](scattered.data(), l.index.data(), l.src.data(), l.lines);
    l.each([&](int64_t x, int64_t at) { into[x] = l.src[at]; });
    EXPECT_EQ(scattered, into);

    std::vector<T> sums = l.x;
    into = l.x;
    kernels.scatter_add[cpu::index_add_entry(DTypeOf<T>::value)](sums.data(), l.index.data(), l.src.data(), l.lines);
    l.each([&](int64_t x, int64_t at) { into[x] = static_cast<T>(into[x] + l.src[at]); });
    EXPECT_EQ(sums, into);
  }
}

TEST_P(EveryIsa, GathersAndScatters) {
  check_lines<uint8_t>(kernels());
  check_lines<int16_t>(kernels());
  check_lines<int32_t>(kernels());
  check_lines<int64_t>(kernels());
  check_lines<float>(kernels());
  check_lines<double>(kernels());
}

template <class T>
void check_rows(const cpu::IndexKernels& kernels) {
  constexpr int64_t kItem = sizeof(T);
  for (int64_t columns : {1, 2, 3, 4, 7, 8, 16, 33, 64, 100, 300}) {
    const int64_t size = 11, m = 29;
    const std::vector<T> x = numbers<T>(size * columns), src = numbers<T>(m * columns, 3);
    const std::vector<int64_t> index = indices(m, size);
    const cpu::IndexRows rows{m, size, columns * kItem, columns * kItem, columns * kItem};
    std::vector<T> taken(src.size()), expected(src.size()), put = x, put_expected = x, sums = x, sums_expected = x;
    for (int64_t i = 0; i < m; ++i) {
      const int64_t row = (index[i] + size) % size;
      for (int64_t c = 0; c < columns; ++c) {
        expected[i * columns + c] = x[row * columns + c];
        put_expected[row * columns + c] = src[i * columns + c];
        if (row != 4) sums_expected[row * columns + c] += src[i * columns + c];
      }
    }
    kernels.take_rows(x.data(), index.data(), taken.data(), rows);
    EXPECT_EQ(taken, expected);
    kernels.put_rows(put.data(), index.data(), src.data(), rows);
    EXPECT_EQ(put, put_expected);
    kernels.add_rows[cpu::index_add_entry(DTypeOf<T>::value)](sums.data(), index.data(), src.data(), rows, 4);
    EXPECT_EQ(sums, sums_expected);
  }
}

TEST_P(EveryIsa, Rows) {
  check_rows<uint8_t>(kernels());
  check_rows<int16_t>(kernels());
  check_rows<int32_t>(kernels());
  check_rows<int64_t>(kernels());
  check_rows<float>(kernels());
  check_rows<double>(kernels());
}

// A size of 0 leaves offsets as they are.
TEST_P(EveryIsa, PutsAtNegativeOffsets) {
  std::vector<float> x(5, 0.0f);
  const std::vector<int64_t> offsets{-2, 0, -1};
  const std::vector<float> src{1, 2, 3};
  kernels().put_rows(&x[4], offsets.data(), src.data(), {3, 0, 4, 4, 4});
  EXPECT_EQ(x, (std::vector<float>{0, 0, 1, 3, 2}));
}

TEST_P(EveryIsa, CopiesRows) {
  for (int64_t bytes : {1, 2, 4, 8, 12, 16, 31, 64, 255, 256, 257, 1000}) {
    const int64_t rows = 5, stride = bytes + 3;
    const std::vector<uint8_t> x = numbers<uint8_t>(rows * stride);
    std::vector<uint8_t> out(x.size(), 7), expected = out;
    for (int64_t i = 0; i < rows; ++i) std::memcpy(&expected[i * stride], &x[i * bytes], bytes);
    kernels().copy_rows(x.data(), bytes, out.data(), stride, rows, bytes);
    EXPECT_EQ(out, expected);
  }
}

TEST_P(EveryIsa, Triangles) {
  const int64_t matrices = 2, rows = 4, columns = 5;
  const std::vector<float> x = numbers<float>(matrices * rows * columns);
  for (int64_t k = -6; k <= 6; ++k)
    for (bool upper : {false, true}) {
      std::vector<float> out(x.size(), -1), expected(x.size());
      for (int64_t i = 0; i < matrices * rows; ++i)
        for (int64_t j = 0; j < columns; ++j) {
          const bool kept = upper ? j - i % rows >= k : j - i % rows <= k;
          expected[i * columns + j] = kept ? x[i * columns + j] : 0;
        }
      kernels().triangle(x.data(), out.data(), 0, 3, rows, columns, k, upper, 4);
      kernels().triangle(x.data(), out.data(), 3, matrices * rows, rows, columns, k, upper, 4);
      EXPECT_EQ(out, expected) << "k " << k;
    }
}

TEST_P(EveryIsa, FindsTrue) {
  for (int64_t n : {0, 1, 7, 8, 9, 100, 1000})
    for (uint8_t one_in : {1, 3, 50}) {
      std::vector<uint8_t> x = numbers<uint8_t>(n, one_in);
      std::vector<int64_t> expected;
      for (int64_t i = 0; i < n; ++i) {
        x[i] = x[i] % one_in == 0;
        if (x[i]) expected.push_back(1000 + i);
      }
      ASSERT_EQ(kernels().count_true(x.data(), n), static_cast<int64_t>(expected.size()));
      std::vector<int64_t> found(expected.size());
      kernels().find_true(x.data(), n, 1000, found.data());
      EXPECT_EQ(found, expected);
    }
}

// Entries in any order, some left out on either side; in order, a run of one row stays in registers.
template <class T>
void expect_pairs(const cpu::IndexKernels& kernels, int64_t columns, bool ascending, bool weighted) {
  constexpr int kEntry = sizeof(T) == 8;
  const int64_t n = 83, x_rows = 11, y_rows = 7, x_stride = columns + 3, y_stride = columns + 1;
  std::vector<int64_t> from = indices(n, x_rows), to = indices(n, y_rows + 1, 5);
  for (int64_t& i : from) i = (i + x_rows) % x_rows;
  for (int64_t& i : to) i = (i + y_rows + 1) % (y_rows + 1);  // the last row is none
  if (ascending) std::sort(to.begin(), to.end());
  const std::vector<T> x = numbers<T>(x_rows * x_stride), scale = numbers<T>(n, 2);
  std::vector<T> y = numbers<T>(y_rows * y_stride, 3), dots(static_cast<size_t>(n), T(-1));
  std::vector<T> expected = y, products(static_cast<size_t>(n));
  const cpu::RowPairs pairs{from.data(), to.data(), n, columns, x_stride, y_stride, 4, y_rows};
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    if (from[i] == 4 || to[i] == y_rows) continue;
    for (int64_t c = 0; c < columns; ++c) {
      const T term = x[static_cast<size_t>(from[i] * x_stride + c)];
      products[i] += term * y[static_cast<size_t>(to[i] * y_stride + c)];
      expected[static_cast<size_t>(to[i] * y_stride + c)] += weighted ? scale[i] * term : term;
    }
  }
  kernels.dot_rows[kEntry](x.data(), y.data(), dots.data(), pairs);
  EXPECT_EQ(dots, products) << columns;  // small integers: exact in any order
  kernels.sum_rows[kEntry](x.data(), weighted ? scale.data() : nullptr, y.data(), pairs);
  EXPECT_EQ(y, expected) << columns << ascending << weighted;
}

TEST_P(EveryIsa, SumsAndProductsOfRows) {
  for (int64_t columns : {1, 3, 16, 31, 64, 67, 200})
    for (bool ascending : {false, true})
      for (bool weighted : {false, true}) {
        expect_pairs<float>(kernels(), columns, ascending, weighted);
        expect_pairs<double>(kernels(), columns, ascending, weighted);
      }
}

}  // namespace
}  // namespace lanner
