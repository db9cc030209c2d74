#include "cpu/kernels/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/philox.h"
#include "cpu/dispatch.h"
#include "lanner/autodiff.h"
#include "lanner/ops/random.h"
#include "lanner/parallel.h"
#include "lanner/random.h"

namespace lanner {
namespace {

using cpu::RandomSlice;
constexpr int64_t kSizes[] = {0, 1, 3, 63, 64, 65, 1000};

// The words in the order that kernels/random.h tells, one by one.
uint32_t reference_word(const RandomSlice& s, int64_t index) {
  const uint64_t chunk = static_cast<uint64_t>(index) / 64, within = static_cast<uint64_t>(index) % 64;
  return philox(s.seed, s.call, chunk * 16 + within % 16).word[within / 16];
}
uint64_t reference_word64(const RandomSlice& s, int64_t index) {
  const int64_t first = index / 64 * 128 + index % 64;
  return reference_word(s, first) | static_cast<uint64_t>(reference_word(s, first + 64)) << 32;
}

TEST(Philox, KnownAnswers) {  // from Random123's kat_vectors
  const auto words = [](uint64_t key, uint64_t high, uint64_t low) {
    const PhiloxBlock b = philox(key, high, low);
    return std::vector<uint32_t>(b.word, b.word + 4);
  };
  EXPECT_EQ(words(0, 0, 0), (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(words(~0ull, ~0ull, ~0ull), (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(words(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

class RandomKernelsTest : public testing::TestWithParam<const cpu::KernelTable*> {
 protected:
  const cpu::RandomKernels& k = *GetParam()->random;
};
INSTANTIATE_TEST_SUITE_P(Isa, RandomKernelsTest, testing::ValuesIn(cpu::available()),
                         [](const auto& info) { return std::string(info.param->isa); });

TEST_P(RandomKernelsTest, WordsArePhilox) {
  for (const int64_t n : kSizes) {
    const RandomSlice s{0x0123456789abcdef, 0xfedcba9876543210, 128, n};
    std::vector<uint32_t> out(static_cast<size_t>(n) + 1, 7);
    k.words(s, out.data());
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(out[i], reference_word(s, s.begin + i)) << i << " of " << n;
    EXPECT_EQ(out[n], 7u);
  }
  const RandomSlice far{1, 2, (int64_t{1} << 40) * 64, 64};  // the counter's second word
  std::vector<uint32_t> out(64);
  k.words(far, out.data());
  for (int64_t i = 0; i < 64; ++i) ASSERT_EQ(out[i], reference_word(far, far.begin + i));
}

TEST_P(RandomKernelsTest, UniformHasTheSameBitsEverywhere) {
  for (const int64_t n : kSizes) {
    const RandomSlice s{1, 2, 64, n};
    std::vector<float> f(static_cast<size_t>(n) + 1, 7);
    std::vector<double> d(static_cast<size_t>(n) + 1, 7);
    k.uniform_f32(s, -0.3f, 1.7f, 1.0f, f.data());
    k.uniform_f64(s, -0.3, 1.7, 1.0, d.data());
    for (int64_t i = 0; i < n; ++i) {
      const volatile float product = static_cast<float>(reference_word(s, 64 + i) >> 8) * 0x1p-24f * 1.7f;
      const volatile double product64 = static_cast<double>(reference_word64(s, 64 + i) >> 11) * 0x1p-53 * 1.7;
      ASSERT_EQ(f[i], std::min(-0.3f + product, 1.0f));
      ASSERT_EQ(d[i], std::min(-0.3 + product64, 1.0));
    }
    EXPECT_EQ(f[n], 7);
    EXPECT_EQ(d[n], 7);
  }
}

TEST_P(RandomKernelsTest, NormalIsBoxMuller) {
  const double pi = std::acos(-1.0);
  for (const int64_t n : kSizes) {
    const RandomSlice s{3, 4, 192, n};
    std::vector<float> f(static_cast<size_t>(n) + 1, 7);
    std::vector<double> d(static_cast<size_t>(n) + 1, 7);
    k.normal_f32(s, 1.5f, 2.0f, f.data());
    k.normal_f64(s, 1.5, 2.0, d.data());
    for (int64_t i = 0; i < n; ++i) {
      const int64_t within = (192 + i) % 64, chunk = 192 + i - within;
      const int64_t first = chunk + within / 32 * 32 + within % 16;
      const float u = (static_cast<float>(reference_word(s, first)) + 1.0f) * 0x1p-32f;
      const double t = (reference_word(s, first + 16) >> 8) * 0x1p-24;
      const double z = std::sqrt(-2 * std::log(static_cast<double>(u))) *
                       (within % 32 < 16 ? std::cos(2 * pi * t) : std::sin(2 * pi * t));
      ASSERT_NEAR(f[i], 1.5 + 2 * z, 4e-6) << i;
      const int64_t first64 = chunk + within % 32;
      const double u64 = static_cast<double>(reference_word64(s, first64) >> 11) * 0x1p-53 + 0x1p-53;
      const double t64 = static_cast<double>(reference_word64(s, first64 + 32) >> 11) * 0x1p-53;
      const double z64 =
          std::sqrt(-2 * std::log(u64)) * (within < 32 ? std::cos(2 * pi * t64) : std::sin(2 * pi * t64));
      ASSERT_NEAR(d[i], 1.5 + 2 * z64, 1e-14) << i;
    }
    EXPECT_EQ(f[n], 7);
    EXPECT_EQ(d[n], 7);
  }
}

TEST_P(RandomKernelsTest, BernoulliAndDropoutChooseTheSame) {
  for (const uint64_t threshold : {uint64_t{0}, uint64_t{1}, uint64_t{0x40000000}, uint64_t{1} << 32})
    for (const int64_t n : kSizes) {
      const RandomSlice s{5, 6, 0, n};
      const size_t size = static_cast<size_t>(n) + 1;
      std::vector<uint8_t> chosen(size, 7);
      std::vector<float> x(size), f(size, 7);
      std::vector<double> x64(size), d(size, 7);
      for (int64_t i = 0; i < n; ++i) x64[i] = x[i] = static_cast<float>(i + 1);
      k.bernoulli(s, threshold, chosen.data());
      k.dropout_f32(s, threshold, 3.0f, x.data(), f.data());
      k.dropout_f64(s, threshold, 3.0, x64.data(), d.data());
      for (int64_t i = 0; i < n; ++i) {
        const int expected = reference_word(s, i) < threshold;
        ASSERT_EQ(chosen[i], expected);
        ASSERT_EQ(f[i], expected ? 3 * x[i] : 0);
        ASSERT_EQ(d[i], expected ? 3 * x64[i] : 0);
      }
      EXPECT_EQ(chosen[n], 7);
      EXPECT_EQ(f[n], 7);
      EXPECT_EQ(d[n], 7);
    }
}

TEST_P(RandomKernelsTest, IntegersAreLemires) {
  for (const uint64_t range : {uint64_t{1}, uint64_t{10}, uint64_t{200}, (uint64_t{1} << 31) + 1, uint64_t{1} << 32,
                               (uint64_t{1} << 32) + 1, (uint64_t{1} << 63) + 1, uint64_t{0}}) {
    const int64_t n = 1000;
    const RandomSlice s{7, 8, 64, n};
    std::vector<uint64_t> out(n);
    k.integers_64(s, 5, range, out.data());
    int redrawn = 0;
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_LT(out[i] - 5, range ? range : ~uint64_t{0});
      uint64_t first;
      if (range - 1 <= 0xffffffff)
        first = reference_word(s, 64 + i) * range >> 32;
      else if (range == 0)
        first = reference_word64(s, 64 + i);
      else
        first = static_cast<uint64_t>(static_cast<unsigned __int128>(reference_word64(s, 64 + i)) * range >> 64);
      redrawn += first != out[i] - 5;
    }
    // Half of the words are refused just above a power of two, hardly any for small ranges.
    if (range == (uint64_t{1} << 31) + 1 || range == (uint64_t{1} << 63) + 1)
      EXPECT_NEAR(redrawn, 500, 80);
    else
      EXPECT_EQ(redrawn, 0);
    if (range > 200 || range == 0) continue;
    std::vector<uint8_t> narrow(n);
    k.integers_8(s, 5, range, narrow.data());
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(narrow[i], out[i]);
  }
}

TEST(RandomState, SeedAndCallDecide) {
  manual_seed(42);
  EXPECT_EQ(random_state(), (RandomState{42, 0}));
  const RandomState taken = next_random_state();
  EXPECT_EQ(taken, (RandomState{42, 0}));
  EXPECT_EQ(random_state(), (RandomState{42, 1}));
  set_random_state(taken);
  EXPECT_EQ(next_random_state(), taken);
}

TEST(RandomPermutation, HoldsEachOnceAndIsFair) {
  for (const int64_t n : {0, 1, 2, 5, 1000}) {
    std::vector<int64_t> order(static_cast<size_t>(n));
    random_permutation({1, 2}, n, order.data());
    std::vector<int64_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(sorted[i], i);
  }
  std::vector<int> seen(6);  // the orders of 0, 1, 2
  for (uint64_t call = 0; call < 6000; ++call) {
    int64_t o[3];
    random_permutation({9, call}, 3, o);
    ++seen[o[0] * 2 + (o[1] > o[2])];
  }
  double chi2 = 0;
  for (const int count : seen) chi2 += (count - 1000.0) * (count - 1000.0) / 1000;
  EXPECT_LT(chi2, 20.5);  // 99.9 % of chi-square with 5 degrees of freedom
}

TEST(RandomOps, SameBitsForAnyNumberOfThreads) {
  const auto draw = [] {
    manual_seed(3);
    std::vector<Tensor> all{ops::uniform({200001}), ops::normal({200001}), ops::randint(-5, 1000, {200001}),
                            ops::bernoulli(0.3, {200001}), ops::normal({70003}, 0, 1, DType::Float64)};
    return all;
  };
  const int threads = num_threads();
  set_num_threads(1);
  const auto one = draw();
  set_num_threads(3);
  const auto three = draw();
  set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i)
    EXPECT_EQ(0, std::memcmp(one[i].raw(), three[i].raw(), one[i].size() * itemsize(one[i].dtype()))) << i;
}

TEST(RandomOps, UniformStaysBelowHigh) {
  manual_seed(0);
  const Tensor x = ops::uniform({1 << 18}, 1, 1 + 3e-7);  // three representable values
  for (int64_t i = 0; i < x.size(); ++i) ASSERT_LT(x.data<float>()[i], static_cast<float>(1 + 3e-7));
  EXPECT_EQ(ops::uniform({1}, 2, 2).item(), 2);
}

TEST(RandomOps, CategoricalIsTheClassWhereTheSumPassesU) {
  const std::vector<double> p{0.25, 0, 0.5, 0.25, 0};
  std::vector<double> logits;
  for (double v : p) logits.push_back(std::log(v));
  for (const int64_t n : kSizes) {
    manual_seed(3);
    const Tensor u = ops::uniform({n}, 0, 1, DType::Float64);
    manual_seed(3);
    const Tensor drawn = ops::categorical(Tensor::from_vector(logits, {5}), -1, Shape{n});
    for (int64_t i = 0; i < n; ++i) {
      const double at = u.data<double>()[i];
      ASSERT_EQ(drawn.data<int64_t>()[i], at < 0.25 ? 0 : at < 0.75 ? 2 : 3);
    }
  }
}

TEST(RandomOps, DropoutGradientUsesTheSameMask) {
  manual_seed(1);
  Tensor x = Tensor::empty({1000});
  for (int i = 0; i < 1000; ++i) x.data<float>()[i] = 1;
  x.requires_grad_();
  const Tensor y = ops::dropout(x, 0.25);
  Tensor ones = Tensor::empty({1000});
  for (int i = 0; i < 1000; ++i) ones.data<float>()[i] = 1;
  y.backward(ones);
  int kept = 0;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(x.grad().data<float>()[i], y.data<float>()[i]);
    kept += y.data<float>()[i] != 0;
  }
  EXPECT_NEAR(kept, 750, 60);
  EXPECT_TRUE(ops::dropout(x, 0.25, false).is(x));
}

TEST(RandomOps, FillsViewsAndSaysWhatIsWrong) {
  const Tensor x = Tensor::empty({4, 6});
  for (int i = 0; i < 24; ++i) x.data<float>()[i] = -1;
  const Tensor every_second = x.view({4, 3}, {6, 2});
  ops::uniform_(every_second, 2, 3);
  for (int i = 0; i < 24; ++i) {
    if (i % 2)
      EXPECT_EQ(x.data<float>()[i], -1);
    else
      EXPECT_GE(x.data<float>()[i], 2);
  }
  EXPECT_THROW(ops::uniform({2}, 1, 0), Error);
  EXPECT_THROW(ops::uniform({2}, 0, 1, DType::Int32), DTypeError);
  EXPECT_THROW(ops::normal({2}, 0, -1), Error);
  EXPECT_THROW(ops::randint(3, 3, {2}), Error);
  EXPECT_THROW(ops::randint(0, 257, {2}, DType::UInt8), DTypeError);
  EXPECT_THROW(ops::bernoulli(1.5, {2}), Error);
  EXPECT_THROW(ops::dropout(x, -0.1), Error);
  EXPECT_THROW(ops::permutation(-1), ShapeError);
}

}  // namespace
}  // namespace lanner
