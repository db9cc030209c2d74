#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "cpu/dispatch.h"
#include "each_isa.h"
#include "lanner/parallel.h"
#include "ops/gemm.h"

namespace lanner {
namespace {

LANNER_ON_EACH_ISA(EachIsa);

template <class T>
std::vector<T> random_values(size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<T> distribution(-1, 1);
  std::vector<T> values(n);
  for (T& v : values) v = distribution(engine);
  return values;
}

// C as it should be, in float64, one element at a time; `g.c` holds the C from before.
template <class T>
std::vector<double> reference(const cpu::GemmArgs<T>& g) {
  std::vector<double> c(g.m * g.n);
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      double sum = 0;
      for (int64_t s = 0; s < g.k; ++s)
        sum +=
            static_cast<double>(g.a[i * g.a_row + s * g.a_col]) * static_cast<double>(g.b[s * g.b_row + j * g.b_col]);
      sum *= g.alpha;
      if (g.beta != 0) sum += g.beta * g.c[i * g.c_row + j * g.c_col];
      if (g.epilogue.bias_per_column) sum += g.epilogue.bias_per_column[j];
      const cpu::Epilogue<T>& e = g.epilogue;
      const int64_t at = i * g.c_row + j * g.c_col;
      if (e.bias_per_row) sum += e.bias_per_row[i];
      if (e.residual) sum += e.residual[at];
      if (e.activation == cpu::Activation::Relu && sum < 0) sum = 0;
      if (e.activation == cpu::Activation::LeakyRelu && sum < 0) sum *= e.slope;
      if (e.gate && !(e.gate[at] > 0)) sum *= e.gate_slope;
      c[i * g.n + j] = sum;
    }
  }
  return c;
}

enum class Layout { Rows, Columns, Strided };  // which of the strides is 1, or neither

template <class T>
struct Problem {
  std::vector<T> a, b, c, bias, residual, gate;
  cpu::GemmArgs<T> g;

  Problem(int64_t m, int64_t n, int64_t k, Layout la = Layout::Rows, Layout lb = Layout::Rows)
      : a(random_values<T>(extent(la, m, k), 1)),
        b(random_values<T>(extent(lb, k, n), 2)),
        c(random_values<T>(m * n, 3)),
        bias(random_values<T>(std::max(m, n), 4)),
        residual(random_values<T>(m * n, 8)),
        gate(random_values<T>(m * n, 9)) {
    g.m = m, g.n = n, g.k = k;
    g.a = a.data(), g.b = b.data(), g.c = c.data();
    lay(la, m, k, &g.a_row, &g.a_col);
    lay(lb, k, n, &g.b_row, &g.b_col);
    g.c_row = n;
  }
  // alpha, beta and all that an epilogue can do.
  void use_everything() {
    g.alpha = 0.5f, g.beta = 2;
    g.epilogue.activation = cpu::Activation::LeakyRelu, g.epilogue.slope = 0.25f;
    use_operands();
  }
  void use_operands() {
    g.epilogue.bias_per_column = bias.data();
    g.epilogue.residual = residual.data();
    g.epilogue.gate = gate.data();
  }
  // Not an element more than is used, so that an address sanitizer sees a read past the end.
  static size_t extent(Layout layout, int64_t rows, int64_t columns) {
    return rows * columns == 0 ? 0 : layout == Layout::Strided ? 2 * rows * columns - 1 : rows * columns;
  }
  static void lay(Layout layout, int64_t rows, int64_t columns, int64_t* row, int64_t* column) {
    *row = layout == Layout::Rows ? columns : layout == Layout::Columns ? 1 : 2 * columns;
    *column = layout == Layout::Rows ? 1 : layout == Layout::Columns ? rows : 2;
  }

  template <class Run>
  void check(Run run) {
    const std::vector<double> expected = reference(g);
    run(g);
    // k roundings of products below 1, the additions of a sum below k, alpha, beta and bias.
    const double tolerance = std::numeric_limits<T>::epsilon() * (static_cast<double>(g.k) + 8) * 2;
    for (int64_t i = 0; i < g.m; ++i)
      for (int64_t j = 0; j < g.n; ++j)
        ASSERT_NEAR(g.c[i * g.c_row + j * g.c_col], expected[i * g.n + j], tolerance)
            << "at " << i << ", " << j << " of " << g.m << " x " << g.n << ", k " << g.k;
  }
  void check() {
    check([](const cpu::GemmArgs<T>& args) { gemm(args); });
  }
};

// To the nearest bfloat16, ties to even.
void round_to_bfloat16(std::vector<float>* values) {
  for (float& x : *values) {
    uint32_t bits = std::bit_cast<uint32_t>(x);
    bits += 0x7fff + ((bits >> 16) & 1);
    x = std::bit_cast<float>(bits & 0xffff0000);
  }
}

using Sizes = std::tuple<int64_t, int64_t, int64_t>;
const std::vector<Sizes> kSizes = {
    {1, 1, 1},      {1, 7, 5},      {5, 1, 7},      {1, 33, 257},    {300, 1, 65},   {2, 3, 4},
    {13, 31, 17},   {14, 32, 256},  {15, 33, 257},  {64, 64, 64},    {32, 256, 78},  {129, 10, 84},
    {140, 97, 300}, {257, 130, 33}, {3, 500, 40},   {500, 3, 40},    {6, 16, 600},   {200, 200, 1},
    {65, 515, 129}, {1000, 34, 12}, {40, 64, 1024}, {1100, 300, 20}, {20, 1024, 70}, {70, 1024, 600},
};

template <class T>
void all_sizes_and_layouts() {
  for (auto [m, n, k] : kSizes)
    for (Layout a : {Layout::Rows, Layout::Columns, Layout::Strided})
      for (Layout b : {Layout::Rows, Layout::Columns, Layout::Strided}) Problem<T>(m, n, k, a, b).check();
}
TEST_P(EachIsa, Float32SizesAndTransposes) { all_sizes_and_layouts<float>(); }
TEST_P(EachIsa, Float64SizesAndTransposes) { all_sizes_and_layouts<double>(); }

TEST_P(EachIsa, EveryTileSize) {
  const int mr = cpu::kernels().gemm->f32.mr, nr = cpu::kernels().gemm->f32.nr;
  for (int m = 1; m <= mr + 1; ++m)
    for (int n = 1; n <= nr + 1; ++n) {
      Problem<float>(m, n, 9).check();
      Problem<double>(m, n, 9, Layout::Columns).check();
    }
}

// All of alpha, beta, the biases, residual, activation and gate, in C and in its transpose.
template <class T>
void alpha_beta_and_epilogue() {
  for (auto [m, n, k] : kSizes)
    for (int options = 0; options < 16; ++options)
      for (Layout b : {Layout::Rows, Layout::Columns})
        for (bool transposed : {false, true}) {
          Problem<T> p(m, n, k, Layout::Rows, b);
          if (transposed) p.g.c_row = 1, p.g.c_col = m;
          p.g.alpha = options & 1 ? T(0.5) : 1;
          p.g.beta = options & 1 ? T(-1.5) : 0;
          cpu::Epilogue<T>& e = p.g.epilogue;
          e.bias_per_column = options & 2 ? p.bias.data() : nullptr;
          e.bias_per_row = options & 4 ? p.bias.data() : nullptr;
          e.residual = options & 8 ? p.residual.data() : nullptr;
          e.gate = options & 2 ? p.gate.data() : nullptr;
          e.gate_slope = options & 4 ? T(0.25) : 0;
          e.activation = static_cast<cpu::Activation>(options / 2 % 3);
          e.slope = T(0.125);
          p.check();
        }
}
TEST_P(EachIsa, AlphaBetaAndEpilogueFloat32) { alpha_beta_and_epilogue<float>(); }
TEST_P(EachIsa, AlphaBetaAndEpilogueFloat64) { alpha_beta_and_epilogue<double>(); }

TEST_P(EachIsa, NoSumAndNoElements) {
  Problem<float> p(17, 35, 0);
  p.g.beta = 2;
  p.g.epilogue.bias_per_row = p.bias.data();
  p.check();
  Problem<double> q(5, 3, 0);
  q.check();
  for (double x : std::vector<double>(q.c.begin(), q.c.begin() + 15)) EXPECT_EQ(x, 0);
  Problem<float>(0, 5, 3).check();
  Problem<float>(5, 0, 3).check();
  Problem<float>(0, 0, 0).check();
}

TEST_P(EachIsa, BetaZeroDoesNotReadC) {
  for (auto [m, n, k] : kSizes) {
    Problem<float> p(m, n, k);
    std::fill(p.c.begin(), p.c.end(), std::numeric_limits<float>::quiet_NaN());
    gemm(p.g);
    for (int64_t i = 0; i < m * n; ++i) ASSERT_FALSE(std::isnan(p.c[i]));
  }
}

TEST_P(EachIsa, NanPassesThroughTheEpilogue) {
  for (int64_t n : {1, 5, 64})
    for (auto activation : {cpu::Activation::Relu, cpu::Activation::LeakyRelu}) {
      Problem<float> p(20, n, 30);
      p.a[0] = std::numeric_limits<float>::quiet_NaN();
      p.g.epilogue.activation = activation;
      p.g.epilogue.slope = 0.5f;
      p.g.epilogue.gate = p.gate.data();
      gemm(p.g);
      for (int64_t j = 0; j < n; ++j) EXPECT_TRUE(std::isnan(p.c[j]));
      for (int64_t i = n; i < 20 * n; ++i) EXPECT_FALSE(std::isnan(p.c[i]));
    }
}

TEST_P(EachIsa, PackedOnce) {
  for (auto [m, n, k] : kSizes)
    for (Layout b : {Layout::Rows, Layout::Columns, Layout::Strided}) {
      Problem<float> p(m, n, k, Layout::Rows, b);
      p.check([](cpu::GemmArgs<float> g) {
        std::vector<float> packed(packed_b_elements<float>(g.k, g.n));
        pack_b(g.k, g.n, g.b, g.b_row, g.b_col, packed.data());
        g.packed_b = packed.data();
        g.b = nullptr;
        gemm(g);
      });
    }
}

TEST_P(EachIsa, BatchWithBroadcastOperand) {
  for (int64_t n : {3, 90}) {
    Problem<float> p(n, n, n);
    const int64_t area = n * n, count = 7;
    p.a = random_values<float>(area * count, 5);
    p.c = random_values<float>(area * count, 6);
    p.g.a = p.a.data(), p.g.c = p.c.data();
    std::vector<int64_t> a, b(count, 0), c;
    for (int64_t i = 0; i < count; ++i) {
      a.push_back(i * area);
      c.push_back((count - 1 - i) * area);
    }
    const BatchOffsets offsets{a, b, c};
    gemm_batch(p.g, offsets);
    for (int64_t i = 0; i < count; ++i) {
      cpu::GemmArgs<float> one = p.g;
      one.a += offsets.a[i], one.c += offsets.c[i];
      const std::vector<double> expected = reference(one);
      for (int64_t j = 0; j < area; ++j) ASSERT_NEAR(one.c[j], expected[j], 1e-4);
    }
  }
}

TEST_P(EachIsa, SameBitsOnAnyNumberOfThreads) {
  const int threads = num_threads();
  for (auto [m, n, k] :
       {Sizes{300, 400, 500}, Sizes{300, 1024, 530}, Sizes{32, 256, 784}, Sizes{700, 1, 900}, Sizes{1, 900, 700}})
    for (Layout b : {Layout::Rows, Layout::Columns}) {
      Problem<float> p(m, n, k, Layout::Rows, b), q(m, n, k, Layout::Rows, b);
      set_num_threads(1);
      gemm(p.g);
      set_num_threads(3);
      gemm(q.g);
      EXPECT_EQ(p.c, q.c);
    }
  set_num_threads(threads);
}

// The reference sees operands that are rounded already; rounding them again changes nothing.
TEST_P(EachIsa, BFloat16) {
  for (auto [m, n, k] : kSizes)
    for (Layout a : {Layout::Rows, Layout::Columns, Layout::Strided})
      for (Layout b : {Layout::Rows, Layout::Columns})
        for (bool prepacked : {false, true}) {
          Problem<float> p(m, n, k, a, b);
          std::vector<float> whole_a = p.a, whole_b = p.b;
          round_to_bfloat16(&p.a);
          round_to_bfloat16(&p.b);
          p.use_everything();
          p.check([&](cpu::GemmArgs<float> g) {
            g.a = whole_a.data(), g.b = whole_b.data();
            std::vector<float> packed(packed_b_elements<float>(g.k, g.n, Precision::BFloat16));
            if (prepacked) {
              pack_b(g.k, g.n, g.b, g.b_row, g.b_col, packed.data(), Precision::BFloat16);
              g.packed_b = packed.data();
            }
            gemm(g, Precision::BFloat16);
          });
        }
}

// The kernels for AMX as they are called by gemm, one block after another: on plain arithmetic everywhere, and on the tiles
// themselves where the processor has them.
TEST_P(EachIsa, BFloat16OnTiles) {
  const cpu::GemmKernels& kernels = *cpu::kernels().gemm;
  if (kernels.bf16_pairs && !cpu::has_bf16_pairs()) GTEST_SKIP() << "packs with AVX-512 BF16, which is not here";
  for (const cpu::GemmFunctions<float>* f : {kernels.bf16_amx_plain, cpu::has_amx() ? kernels.bf16_amx : nullptr}) {
    if (!f) continue;
    for (auto [m, n, k] :
         {Sizes{1, 1, 1}, Sizes{1, 1, 0}, Sizes{16, 16, 32}, Sizes{32, 32, 64}, Sizes{33, 65, 31}, Sizes{15, 17, 33},
          Sizes{48, 48, 100}, Sizes{5, 40, 1024}, Sizes{70, 31, 1100}, Sizes{17, 16, 2051}})
      for (Layout a : {Layout::Rows, Layout::Columns, Layout::Strided})
        for (Layout b : {Layout::Rows, Layout::Columns})
          for (bool turned : {false, true}) {
            Problem<float> p(m, n, k, a, b);
            const std::vector<float> whole_a = p.a, whole_b = p.b;
            round_to_bfloat16(&p.a);
            round_to_bfloat16(&p.b);
            p.use_everything();
            if (turned) p.g.c_row = 1, p.g.c_col = m;
            p.check([&](cpu::GemmArgs<float> g) {
              g.a = whole_a.data(), g.b = whole_b.data();
              std::vector<float> packed(static_cast<size_t>(f->packed_b_elements(k, n)), NAN);
              const int64_t panels = (n + f->nr - 1) / f->nr;
              for (int64_t i = panels; i-- > 0;) f->pack_b(k, n, g.b, g.b_row, g.b_col, i, i + 1, packed.data());
              g.packed_b = packed.data();
              for (int64_t m0 = 0; m0 < m; m0 += 40)
                for (int64_t n0 = 0; n0 < n; n0 += f->nr) {
                  const int64_t m1 = std::min(m, m0 + 40), n1 = std::min(n, n0 + f->nr);
                  std::vector<float> workspace(static_cast<size_t>(f->block_workspace_elements(g, m1 - m0, false)),
                                               NAN);
                  f->block(g, m0, m1, n0, n1, false, workspace.data());
                }
            });
          }
  }
}

TEST_P(EachIsa, BFloat16KeepsInfinityAndNan) {
  Problem<float> p(3, 40, 5);
  const uint32_t nan_of_ones = 0x7fffffff;  // rounding up would carry into the sign
  p.a[0] = std::bit_cast<float>(nan_of_ones);
  p.a[5] = std::numeric_limits<float>::infinity();
  std::fill(p.b.begin(), p.b.end(), 1.0f);
  gemm(p.g, Precision::BFloat16);
  for (int64_t j = 0; j < 40; ++j) {
    EXPECT_TRUE(std::isnan(p.c[j]));
    EXPECT_EQ(p.c[40 + j], std::numeric_limits<float>::infinity());
    EXPECT_TRUE(std::isfinite(p.c[80 + j]));
  }
}

// More than one chunk of packed B along K and along N.
TEST(Gemm, VeryLongSums) {
  Problem<float> p(130, 5, 40'000);
  p.check();
  Problem<double> q(130, 40, 33'000, Layout::Columns, Layout::Columns);
  q.use_operands();
  q.g.beta = 1;
  q.check();
}
// Chunks of packed B along N: the epilogue goes with them.
TEST(Gemm, WideProducts) {
  Problem<float> p(20, 20'000, 300, Layout::Rows, Layout::Columns);
  p.use_operands();
  p.check();
}

template <class T>
void integers() {
  const int64_t m = 13, n = 37, k = 150;
  std::mt19937 engine(7);
  std::vector<T> a(m * k), b(k * n), c(m * n, 1);
  for (T& x : a) x = static_cast<T>(engine());
  for (T& x : b) x = static_cast<T>(engine());
  for (bool transposed : {false, true}) {
    integer_gemm(sizeof(T), m, n, k, a.data(), transposed ? 1 : k, transposed ? m : 1, b.data(), transposed ? 1 : n,
                 transposed ? k : 1, c.data());
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        uint64_t sum = 0;
        for (int64_t s = 0; s < k; ++s)
          sum += static_cast<uint64_t>(a[transposed ? s * m + i : i * k + s]) *
                 static_cast<uint64_t>(b[transposed ? j * k + s : s * n + j]);
        ASSERT_EQ(c[i * n + j], static_cast<T>(sum));
      }
  }
}
TEST_P(EachIsa, Integers) {
  integers<uint8_t>();
  integers<int8_t>();
  integers<int16_t>();
  integers<uint32_t>();
  integers<int64_t>();
}

}  // namespace
}  // namespace lanner
