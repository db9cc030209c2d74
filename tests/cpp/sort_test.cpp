// Sorting kernels against std::stable_sort on float64 or exact integers, on every instruction set.
#include "cpu/kernels/sort.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "core/half.h"
#include "cpu/dispatch.h"

namespace lanner {
namespace {

class EveryIsa : public testing::TestWithParam<const cpu::KernelTable*> {
 protected:
  const cpu::SortKernels& kernels() const { return *GetParam()->sort; }
};
INSTANTIATE_TEST_SUITE_P(Sort, EveryIsa, testing::ValuesIn(cpu::available()),
                         [](const auto& info) { return std::string(info.param->isa); });

template <class T>
double value_of(T x) {
  return static_cast<double>(x);
}
double value_of(float16 x) { return to_float(x); }
double value_of(bfloat16 x) { return to_float(x); }

// NaN behind everything, both ways.
template <class T>
bool before(T a, T b, bool descending) {
  if constexpr (std::is_integral_v<T>) {
    return descending ? b < a : a < b;
  } else {
    const double x = value_of(a), y = value_of(b);
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
    return descending ? y < x : x < y;
  }
}

template <class T>
std::vector<int64_t> reference(const std::vector<T>& x, bool descending) {
  std::vector<int64_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return before(x[i], x[j], descending); });
  return order;
}

// Random bits: all magnitudes, signed zeros, infinities and NaNs; or few distinct values.
template <class T>
std::vector<T> values(size_t n, bool few, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::vector<T> x(n);
  for (T& v : x) {
    const uint64_t bits = few ? rng() % 4 << (8 * sizeof(T) - 2) : rng();
    if constexpr (std::is_same_v<T, bool>)
      v = bits & 1;
    else
      std::memcpy(&v, &bits, sizeof v);
  }
  return x;
}

template <class T>
void expect_bits(const T* got, int64_t stride, const std::vector<T>& x, const std::vector<int64_t>& order, size_t k) {
  for (size_t i = 0; i < k; ++i)
    ASSERT_EQ(std::memcmp(&got[static_cast<int64_t>(i) * stride], &x[static_cast<size_t>(order[i])], sizeof(T)), 0)
        << "element " << i << " of " << x.size();
}

template <class T>
void check_line(const cpu::SortKernels& kernels, size_t n, bool few, bool descending, int64_t stride) {
  const std::vector<T> x = values<T>(n, few, n * 4 + few * 2 + descending);
  std::vector<T> spread(n * static_cast<size_t>(stride) + 1), sorted(spread.size());
  for (size_t i = 0; i < n; ++i) spread[i * static_cast<size_t>(stride)] = x[i];
  std::vector<int64_t> indices(spread.size());
  const std::vector<int64_t> order = reference(x, descending);
  const DType dtype = DTypeOf<T>::value;
  const auto count = static_cast<int64_t>(n);
  cpu::SortLine line{spread.data(), count, stride, descending, sorted.data(), indices.data(), stride};
  const auto workspace = [](size_t bytes) { return std::vector<uint64_t>(bytes / 8 + 1); };

  kernels.sort(dtype, line, workspace(kernels.sort_workspace(count, sizeof(T), true)).data());
  for (size_t i = 0; i < n; ++i) ASSERT_EQ(indices[i * static_cast<size_t>(stride)], order[i]) << i << " of " << n;
  expect_bits(sorted.data(), stride, x, order, n);

  line.indices = nullptr;
  std::fill(sorted.begin(), sorted.end(), T{});
  kernels.sort(dtype, line, workspace(kernels.sort_workspace(count, sizeof(T), false)).data());
  expect_bits(sorted.data(), stride, x, order, n);

  line.indices = indices.data();
  for (int64_t k : {int64_t{1}, count / 3, count}) {
    if (k < 1 || k > count) continue;
    kernels.topk(dtype, line, k, workspace(kernels.topk_workspace(count, k, sizeof(T))).data());
    for (int64_t i = 0; i < k; ++i) ASSERT_EQ(indices[static_cast<size_t>(i * stride)], order[static_cast<size_t>(i)]);
    expect_bits(sorted.data(), stride, x, order, static_cast<size_t>(k));
  }
}

template <class T>
void check_dtype(const cpu::SortKernels& kernels) {
  for (size_t n : {0, 1, 2, 7, 16, 17, 100, 255, 256, 257, 1023, 1024, 3000})
    for (bool few : {false, true})
      for (bool descending : {false, true}) check_line<T>(kernels, n, few, descending, n % 3 == 0 ? 3 : 1);
}

TEST_P(EveryIsa, SortsIntegers) {
  check_dtype<uint8_t>(kernels());
  check_dtype<uint16_t>(kernels());
  check_dtype<uint32_t>(kernels());
  check_dtype<uint64_t>(kernels());
  check_dtype<int8_t>(kernels());
  check_dtype<int16_t>(kernels());
  check_dtype<int32_t>(kernels());
  check_dtype<int64_t>(kernels());
}

TEST_P(EveryIsa, SortsFloats) {
  check_dtype<float16>(kernels());
  check_dtype<bfloat16>(kernels());
  check_dtype<float>(kernels());
  check_dtype<double>(kernels());
}

// Every element goes through the candidates, or none but the first.
TEST_P(EveryIsa, TopKOfSortedLines) {
  for (bool ascending : {false, true}) {
    std::vector<float> x(5000);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(ascending ? i : x.size() - i);
    const std::vector<int64_t> order = reference(x, true);
    std::vector<float> top(10);
    std::vector<int64_t> indices(10);
    std::vector<uint64_t> workspace(kernels().topk_workspace(5000, 10, 4) / 8);
    kernels().topk(DType::Float32, {x.data(), 5000, 1, true, top.data(), indices.data(), 1}, 10, workspace.data());
    EXPECT_TRUE(std::equal(indices.begin(), indices.end(), order.begin()));
    expect_bits(top.data(), 1, x, order, 10);
  }
}

template <class T>
void check_search(const cpu::SortKernels& kernels) {
  for (size_t n : {0, 1, 2, 31, 100}) {
    std::vector<T> sorted = values<T>(n, true, n);
    std::stable_sort(sorted.begin(), sorted.end(), [](T a, T b) { return before(a, b, false); });
    const std::vector<T> asked = values<T>(50, n % 2 == 0, 7);
    std::vector<int64_t> places(asked.size());
    for (bool right : {false, true}) {
      kernels.search(DTypeOf<T>::value, sorted.data(), static_cast<int64_t>(n), asked.data(),
                     static_cast<int64_t>(asked.size()), right, places.data());
      for (size_t i = 0; i < asked.size(); ++i) {
        const auto expected = std::count_if(sorted.begin(), sorted.end(), [&](T v) {
          return right ? !before(asked[i], v, false) : before(v, asked[i], false);
        });
        ASSERT_EQ(places[i], expected);
      }
    }
  }
}

TEST_P(EveryIsa, Searches) {
  check_search<uint8_t>(kernels());
  check_search<int64_t>(kernels());
  check_search<bfloat16>(kernels());
  check_search<float>(kernels());
  check_search<double>(kernels());
}

}  // namespace
}  // namespace lanner
