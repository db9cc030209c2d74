// The elementary functions against the C library in a wider type: 4 units in the last place over the whole range.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "elementwise_tables.h"
#include "lanner/error.h"

namespace lanner {
namespace {

using Wide = long double;

struct Function {
  const char* name;
  double (*in_double)(double);
  Wide (*in_wide)(Wide);
  double bound = 4;
};

template <class R>
R sigmoid(R x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}
template <class R>
R silu(R x) {
  return x < -20000 ? R(-0.0) : x * sigmoid(x);
}
template <class R>
R gelu(R x) {
  return x < -100 ? R(-0.0) : x * R(0.5) * std::erfc(-x / std::sqrt(R(2)));
}

#define LANNER_FUNCTION(name) {#name, [](double x) { return std::name(x); }, [](Wide x) { return std::name(x); }}
const Function kFunctions[] = {
    LANNER_FUNCTION(exp),   LANNER_FUNCTION(expm1), LANNER_FUNCTION(log),
    LANNER_FUNCTION(log1p), LANNER_FUNCTION(log2),  LANNER_FUNCTION(log10),
    LANNER_FUNCTION(sin),   LANNER_FUNCTION(cos),   LANNER_FUNCTION(tan),
    LANNER_FUNCTION(asin),  LANNER_FUNCTION(acos),  LANNER_FUNCTION(atan),
    LANNER_FUNCTION(sinh),  LANNER_FUNCTION(cosh),  LANNER_FUNCTION(tanh),
    LANNER_FUNCTION(asinh), LANNER_FUNCTION(acosh), LANNER_FUNCTION(atanh),
    LANNER_FUNCTION(erf),   LANNER_FUNCTION(sqrt),  {"sigmoid", sigmoid<double>, sigmoid<Wide>},
};

// |got - expected| in units of T's last place at `expected`.
template <class T, class R>
double ulps(T got, R expected) {
  if (std::isnan(expected)) return std::isnan(got) ? 0 : INFINITY;
  const T rounded = static_cast<T>(expected);
  if (got == rounded) return 0;
  if (std::isinf(rounded) || std::isinf(got)) {
    // On the brink of overflow the largest number and infinity are one unit apart.
    const R largest = std::numeric_limits<T>::max();
    return std::abs(expected) > largest * R(0.999999) && std::signbit(got) == std::signbit(rounded) &&
                   std::abs(R(got)) > largest * R(0.999999)
               ? 1
               : INFINITY;
  }
  int exponent;
  std::frexp(expected, &exponent);
  const int last = std::max(exponent, std::numeric_limits<T>::min_exponent) - std::numeric_limits<T>::digits;
  return static_cast<double>(std::abs(R(got) - expected) / std::ldexp(R(1), last));
}

template <class T, class R, class F>
void expect_within(const cpu::KernelTable& table, const char* name, const std::vector<T>& x, F reference,
                   double bound) {
  const std::vector<T> y = test::run(table, name, x);
  double worst = 0;
  T where = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = ulps<T, R>(y[i], reference(static_cast<R>(x[i])));
    if (error > worst) {
      worst = error;
      where = x[i];
    }
  }
  EXPECT_LE(worst, bound) << table.isa << " " << name << " at " << where << ": "
                          << test::run<T>(table, name, {where})[0] << ", expected " << reference(static_cast<R>(where));
  ::testing::Test::RecordProperty(std::string(table.isa) + "_" + name, std::to_string(worst));
}

template <class T>
std::vector<T> edges() {
  using L = std::numeric_limits<T>;
  std::vector<T> x;
  for (T v : {T(0), L::denorm_min(), L::min() / 2, L::min(), L::epsilon() / 2, L::epsilon(), T(0.5), T(1),
              T(1) - L::epsilon() / 2, T(1) + L::epsilon(), T(2), T(1e5), L::max(), L::infinity(), T(88.72284),
              T(103.97208), T(709.782712893384), T(745.1332191019412)})
    for (T s : {v, -v}) x.push_back(s);
  x.push_back(L::quiet_NaN());
  return x;
}

// Every 1009th bit pattern of float32, both signs: 4 million values from the subnormals to infinity and the NaNs.
std::vector<float> sweep() {
  std::vector<float> x = edges<float>();
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 1009) {
    const auto word = static_cast<uint32_t>(bits);
    float v;
    std::memcpy(&v, &word, sizeof v);
    x.push_back(v);
  }
  return x;
}

// Random bit patterns, and uniform ones where most functions happen.
std::vector<double> doubles() {
  std::vector<double> x = edges<double>();
  std::mt19937_64 random(1);
  for (int i = 0; i < 100000; ++i) {
    const uint64_t word = random();
    double v;
    std::memcpy(&v, &word, sizeof v);
    x.push_back(v);
  }
  for (double range : {1e-3, 1.0, 4.0, 30.0, 800.0, 1e6})
    for (int i = 0; i < 40000; ++i) x.push_back(std::uniform_real_distribution<double>(-range, range)(random));
  return x;
}

TEST(Math, Float32WithinFourUlps) {
  const std::vector<float> x = sweep();
  for (const cpu::KernelTable* table : cpu::available())
    for (const Function& f : kFunctions) expect_within<float, double>(*table, f.name, x, f.in_double, f.bound);
}

TEST(Math, Float64WithinFourUlps) {
  if (std::numeric_limits<Wide>::digits <= 53) GTEST_SKIP() << "long double is no wider than double here";
  const std::vector<double> x = doubles();
  for (const cpu::KernelTable* table : cpu::available())
    for (const Function& f : kFunctions) expect_within<double, Wide>(*table, f.name, x, f.in_wide, f.bound);
}

// silu and gelu multiply a rounded function with x: one unit more. gelu's tail also has the rounding of x * sqrt(1/2),
// which erfc multiplies by x^2.
TEST(Math, Activations) {
  std::vector<float> x;
  for (float v = -6; v < 12; v += 0x1p-12f) x.push_back(v);
  for (const cpu::KernelTable* table : cpu::available()) {
    expect_within<float, double>(*table, "silu", x, silu<double>, 5);
    const std::vector<float> y = test::run(*table, "gelu", x);
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = gelu<double>(x[i]);
      const double condition = 5 + 2.0 * x[i] * x[i] * (x[i] < 0);
      ASSERT_LE((ulps<float, double>(y[i], expected)), condition) << table->isa << " gelu at " << x[i];
    }
  }
}

// The slope of gelu is a sum of two terms that cancel near x = -0.75: units of the larger one, and as many again for the
// rounding of x * sqrt(1/2) as above.
TEST(Math, GeluBackward) {
  std::vector<float> x;
  for (float v = -14; v < 14; v += 0x1p-11f) x.push_back(v);
  std::vector<double> wide(x.begin(), x.end());
  for (double& v : wide) v *= 1 + 0x1p-30;
  const auto expect = [](const cpu::KernelTable& table, auto x, auto last) {
    using T = typename decltype(x)::value_type;
    using R = decltype(last);
    const std::vector<T> y = test::run(table, "gelu_backward", std::vector<T>(x.size(), T(1)), x);
    for (size_t i = 0; i < x.size(); ++i) {
      const R v = x[i], cdf = R(0.5) * std::erfc(-v / std::sqrt(R(2)));
      const R along = v * std::exp(-v * v / 2) / std::sqrt(2 * std::acos(R(-1)));
      const R unit = std::max(std::abs(cdf), std::abs(along)) * std::numeric_limits<T>::epsilon() +
                     R(std::numeric_limits<T>::denorm_min());
      ASSERT_LE(std::abs(y[i] - (cdf + along)), unit * (5 + 2 * v * v * (v < 0)))
          << table.isa << " " << sizeof(T) << " bytes, gelu_backward at " << v;
    }
  };
  for (const cpu::KernelTable* table : cpu::available()) {
    expect(*table, x, 0.0);
    expect(*table, wide, Wide(0));
    const float inf = std::numeric_limits<float>::infinity();
    const std::vector<float> ends = test::run<float>(*table, "gelu_backward", {1.0f, 1.0f, 1.0f}, {inf, -inf, 0.0f});
    EXPECT_EQ(ends, (std::vector<float>{1, 0, 0.5}));
    EXPECT_TRUE(std::isnan(test::run<float>(*table, "gelu_backward", {1.0f}, {std::nanf("")})[0]));
  }
}

TEST(Math, SoftplusWithinFourUlps) {
  const double params[2] = {1, 1e9};
  const auto softplus = [](auto x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); };
  const auto expect = [&](const cpu::KernelTable& table, auto x, auto last) {
    using T = typename decltype(x)::value_type;
    const std::vector<T> y = test::run(table, "softplus", x, params);
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_LE((ulps<T, decltype(last)>(y[i], softplus(static_cast<decltype(last)>(x[i])))), 4)
          << table.isa << " " << sizeof(T) << " bytes, softplus at " << x[i];
  };
  std::vector<float> x = edges<float>();
  for (float v = -110; v < 110; v += 0x1p-9f) x.push_back(v);
  std::vector<double> wide = edges<double>();
  for (double v = -750; v < 750; v += 0x1.01p-5) wide.push_back(v);
  std::erase_if(x, [](float v) { return v > 1e9f; });  // past the threshold
  std::erase_if(wide, [](double v) { return v > 1e9; });
  for (const cpu::KernelTable* table : cpu::available()) {
    expect(*table, x, 0.0);
    expect(*table, wide, Wide(0));
  }
}

// Points at which C's pow says what comes, and others whose powers are spread over so many octaves on both sides.
template <class T>
std::pair<std::vector<T>, std::vector<T>> powers(std::vector<T> points, int octaves) {
  std::vector<T> x, y;
  for (T a : points)
    for (T b : points)
      for (int signs = 0; signs < 4; ++signs) {
        x.push_back(signs & 1 ? -a : a);
        y.push_back(signs & 2 ? -b : b);
      }
  std::mt19937 random(1);
  std::uniform_real_distribution<T> part(-1, 1);
  for (int i = 0; i < 60000; ++i) {
    const T exponent = part(random) * static_cast<T>(i % 3 == 0 ? 1 : i % 3 == 1 ? 20 : octaves);
    const T power = part(random) * static_cast<T>(octaves) / std::abs(exponent);
    x.push_back(i % 5 ? std::exp2(exponent) : -std::exp2(exponent));
    y.push_back(i % 2 ? power : std::round(power));
  }
  return {x, y};
}

template <class T, class R>
void expect_powers(const std::vector<T>& points, int octaves, double bound) {
  const auto [x, y] = powers(points, octaves);
  for (const cpu::KernelTable* table : cpu::available()) {
    const std::vector<T> p = test::run(*table, "pow", x, y);
    for (size_t i = 0; i < x.size(); ++i) {
      const R expected = std::pow(static_cast<R>(x[i]), static_cast<R>(y[i]));
      ASSERT_LE((ulps<T, R>(p[i], expected)), bound) << table->isa << " " << x[i] << " to " << y[i];
      if (p[i] == 0) {
        ASSERT_EQ(std::signbit(p[i]), std::signbit(expected)) << table->isa << " " << x[i] << " to " << y[i];
      }
    }
  }
}

TEST(Math, PowersAsInC) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  expect_powers<float, double>(
      {0, 1e-45f, 1e-38f, 0.3f, 0.5f, 1, 1.5f, 2, 3, 4, 1.0e10f, 3e38f, 127, 128, 8388607, 16777215, 1e-3f, inf, nan},
      150, 1);
}

TEST(Math, PowersOfFloat64AsInC) {
  if (std::numeric_limits<Wide>::digits <= 53) GTEST_SKIP() << "long double is no wider than double here";
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  expect_powers<double, Wide>({0,
                               5e-324,
                               1e-310,
                               0x1p-1022,
                               0.3,
                               0.5,
                               1,
                               1 - 0x1p-53,
                               1 + 0x1p-52,
                               1.5,
                               2,
                               3,
                               4,
                               10,
                               1e10,
                               1e308,
                               0x1.fffffffffffffp52,
                               0x1p53,
                               0x1.0000000000001p52,
                               1e-3,
                               inf,
                               nan},
                              1080, 1.5);
}

TEST(Math, IntegerPowersAreExact) {
  std::vector<double> x, y, expected;
  for (int base = 2; base <= 1000; ++base)
    for (double p = base, n = 1; p < 0x1p53; p *= base, ++n) {
      x.push_back(base), y.push_back(n), expected.push_back(p);
    }
  for (const cpu::KernelTable* table : cpu::available()) EXPECT_EQ(test::run(*table, "pow", x, y), expected);
}

TEST(Math, SignOfZeroIsKept) {
  for (const cpu::KernelTable* table : cpu::available())
    for (const char* name : {"expm1", "log1p", "sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf",
                             "sqrt", "floor", "ceil", "trunc", "round"}) {
      EXPECT_TRUE(std::signbit(test::run<float>(*table, name, {-0.0f})[0])) << table->isa << " " << name;
      EXPECT_FALSE(std::signbit(test::run<float>(*table, name, {0.0f})[0])) << table->isa << " " << name;
      EXPECT_TRUE(std::signbit(test::run<double>(*table, name, {-0.0})[0])) << table->isa << " " << name;
    }
}

// The same bits wherever an element stands: in a whole vector, in the rest, alone.
TEST(Math, PlaceDoesNotMatter) {
  std::vector<float> x(67);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 0.37f * static_cast<float>(i) - 9;
  for (const cpu::KernelTable* table : cpu::available())
    for (const Function& f : kFunctions) {
      const std::vector<float> whole = test::run(*table, f.name, x);
      for (size_t i = 0; i < x.size(); ++i) {
        const float alone = test::run<float>(*table, f.name, {x[i]})[0];
        EXPECT_EQ(std::memcmp(&alone, &whole[i], sizeof alone), 0) << table->isa << " " << f.name << " at " << x[i];
      }
    }
}

}  // namespace
}  // namespace lanner
