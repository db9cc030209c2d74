#include "ops/fused.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "each_isa.h"
#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/elementwise.h"

namespace lanner {
namespace {

class FusedOnIsa : public EachIsa {};
LANNER_ON_EACH_ISA(FusedOnIsa);

using Ids = std::vector<int>;

Tensor random_tensor(const Shape& shape, DType dtype, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> distribution(-3, 3);
  Tensor x = Tensor::empty(shape, DType::Float64);
  for (int64_t i = 0; i < x.size(); ++i) x.data<double>()[i] = distribution(engine);
  if (dtype == DType::Bool) return ops::greater(x, Tensor::weak(0));
  return ops::cast(x, dtype);
}

std::vector<double> values_of(const Tensor& x) {
  const Tensor y = ops::contiguous(ops::cast(x, DType::Float64));
  return {y.data<double>(), y.data<double>() + y.size()};
}

void expect_same_bits(const Tensor& a, const Tensor& b) {
  ASSERT_TRUE(a.shape() == b.shape() && a.dtype() == b.dtype()) << a.shape() << " " << b.shape();
  const Tensor x = ops::contiguous(a), y = ops::contiguous(b);
  if (std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.size()) * itemsize(x.dtype())) == 0) return;
  const std::vector<double> u = values_of(x), v = values_of(y);
  for (size_t i = 0; i < u.size(); ++i) {  // the bits of a NaN may differ
    if (std::isnan(u[i]) && std::isnan(v[i])) continue;
    ASSERT_TRUE(u[i] == v[i] && std::signbit(u[i]) == std::signbit(v[i])) << i << ": " << u[i] << " and " << v[i];
  }
}

// The program's outputs by the interpreter are those of its ops, one after the other, bit for bit.
void check_outputs(const ElementwiseProgram& p, const Tensors& in) {
  const Tensors fused = fused_elementwise(p, in), reference = decompose(p, in);
  ASSERT_EQ(fused.size(), reference.size());
  for (size_t i = 0; i < fused.size(); ++i) {
    SCOPED_TRACE(i);
    expect_same_bits(fused[i], reference[i]);
  }
}

// Seven ops on three inputs, two of the values in between are outputs as well.
ElementwiseProgram long_chain(DType t) {
  ProgramBuilder b;
  const int x = b.input(t), y = b.input(t), z = b.input(t);
  const int two = b.constant(2, DType::Int64, true);
  const int product = b.apply(Op::Multiply, {}, Ids{x, y}, t);
  const int sum = b.apply(Op::Add, {}, Ids{product, z}, t);
  const int tanh = b.apply(Op::Tanh, {}, Ids{sum}, t);
  const int twice = b.apply(Op::Multiply, {}, Ids{tanh, two}, t);
  const int leaky = b.apply(Op::LeakyRelu, ElementwiseParams{{0.1}}, Ids{twice}, t);
  const int square = b.apply(Op::Square, {}, Ids{leaky}, t);
  const int last = b.apply(Op::Subtract, {}, Ids{square, x}, t);
  EXPECT_TRUE(b.output(last) && b.output(tanh) && b.output(leaky));
  return b.program();
}

TEST_P(FusedOnIsa, ChainOfSeven) {
  for (DType t : {DType::Float32, DType::Float64, DType::Float16, DType::BFloat16}) {
    SCOPED_TRACE(dtype_name(t));
    const ElementwiseProgram p = long_chain(t);
    for (const Shape& s : {Shape{}, Shape{1}, Shape{7}, Shape{1024}, Shape{1025}, Shape{3, 0, 2}, Shape{100'003},
                           Shape{3, 5, 7}, Shape{17, 1, 33, 129}}) {
      SCOPED_TRACE(to_string(s));
      check_outputs(p, {random_tensor(s, t, 1), random_tensor(s, t, 2), random_tensor(s, t, 3)});
    }
  }
}

TEST_P(FusedOnIsa, Broadcasting) {
  const ElementwiseProgram p = long_chain(DType::Float32);
  const auto of = [](const Shape& s, unsigned seed) { return random_tensor(s, DType::Float32, seed); };
  // Per channel of NCHW, per column, per row, outer products, scalars, and operands smaller than all the others.
  check_outputs(p, {of({4, 6, 9, 11}, 1), of({6, 1, 1}, 2), of({6, 1, 1}, 3)});
  check_outputs(p, {of({6, 1, 1}, 1), of({6, 1, 1}, 2), of({4, 6, 20, 11}, 3)});
  check_outputs(p, {of({37, 130}, 1), of({130}, 2), of({37, 1}, 3)});
  check_outputs(p, {of({2049}, 1), of({3, 1}, 2), of({}, 3)});
  check_outputs(p, {of({}, 1), of({1}, 2), of({5, 3}, 3)});
  check_outputs(p, {of({1, 5, 1, 3}, 1), of({7, 1, 2, 1}, 2), of({7, 5, 2, 3}, 3)});
  check_outputs(p, {of({2, 3, 4, 5, 6}, 1), of({3, 1, 5, 1}, 2), of({2, 1, 4, 1, 6}, 3)});
}

TEST_P(FusedOnIsa, Strides) {
  const ElementwiseProgram p = long_chain(DType::Float32);
  const Tensor x = random_tensor({70, 90}, DType::Float32, 1), y = random_tensor({90, 70}, DType::Float32, 2);
  check_outputs(p, {x, ops::permute_dims(y, {1, 0}), x});
  check_outputs(p, {ops::permute_dims(x, {1, 0}), y, ops::permute_dims(x, {1, 0})});
  const auto sliced = [&](int64_t first, int64_t step) { return x.view({35, 45}, {90 * 2, step}, first); };
  check_outputs(p, {sliced(0, 2), sliced(1, 2), sliced(89, -2)});
  check_outputs(p, {ops::broadcast_to(sliced(0, 2), {3, 35, 45}), sliced(89, -2), sliced(3, 1)});
  const Tensor nhwc = random_tensor({3, 8, 9, 5}, DType::Float32, 4);
  check_outputs(p, {ops::permute_dims(nhwc, {0, 3, 1, 2}), random_tensor({5, 1, 1}, DType::Float32, 5),
                    random_tensor({3, 5, 8, 9}, DType::Float32, 6)});
}

TEST_P(FusedOnIsa, DTypesMeet) {
  // where(x > 0 and n != 0, x * n, y) as float64, and the comparison itself.
  ProgramBuilder b;
  const int x = b.input(DType::Float32), n = b.input(DType::Int32), y = b.input(DType::Float64);
  const int zero = b.constant(0, DType::Int64, true);
  const int above = b.apply(Op::Greater, {}, Ids{x, zero}, DType::Bool);
  const int nonzero = b.apply(Op::NotEqual, {}, Ids{n, zero}, DType::Bool);
  const int both = b.apply(Op::LogicalAnd, {}, Ids{above, nonzero}, DType::Bool);
  const int product = b.apply(Op::Multiply, {}, Ids{x, n}, DType::Float64);
  const int taken = b.apply(Op::Where, {}, Ids{both, product, y}, DType::Float64);
  const int narrow = b.apply(Op::Cast, {}, Ids{taken}, DType::Float16);
  const int shifted = b.apply(Op::BitwiseLeftShift, {}, Ids{n, b.constant(2, DType::Int64, true)}, DType::Int32);
  ASSERT_TRUE(b.output(taken) && b.output(both) && b.output(narrow) && b.output(shifted));
  EXPECT_FALSE(b.output(taken));  // a fifth
  for (const Shape& s : {Shape{3000}, Shape{5, 70}, Shape{1}}) {
    check_outputs(b.program(), {random_tensor(s, DType::Float32, 1), random_tensor(s, DType::Int32, 2),
                                random_tensor(s, DType::Float64, 3)});
    check_outputs(b.program(), {random_tensor(s, DType::Float32, 1), random_tensor({1}, DType::Int32, 2),
                                random_tensor({}, DType::Float64, 3)});
  }
}

TEST_P(FusedOnIsa, EveryFloatOp) {
  const Tensor x = random_tensor({3, 1100}, DType::Float32, 1), y = random_tensor({1100}, DType::Float32, 2);
  x.data<float>()[5] = std::nanf("");
  for (int i = 0; i < static_cast<int>(Op::Count); ++i) {
    const Op op = static_cast<Op>(i);
    const cpu::ElementwiseKernel* k = elementwise_kernel(op);
    if (!can_fuse(op) || !k || !k->fn[static_cast<int>(DType::Float32)] || op == Op::Where) continue;
    SCOPED_TRACE(op_name(op));
    ProgramBuilder b;
    const int inputs[] = {b.input(DType::Float32), b.input(DType::Float32), b.input(DType::Float32)};
    const ElementwiseParams params{{0.5, 2}};
    const int value = b.apply(op, params, std::span(inputs, static_cast<size_t>(k->inputs)),
                              k->gives_bool ? DType::Bool : DType::Float32);
    ASSERT_GE(value, 0);
    const int after = b.apply(Op::Cast, {}, Ids{value}, DType::Float64);
    ASSERT_TRUE(b.output(after) && (after == value || b.output(value)));
    check_outputs(b.program(), {x, y, random_tensor({3, 1}, DType::Float32, 3)});
  }
}

// Both sum with at most length / 1024 + 32 roundings after one another.
void check_reductions(const ElementwiseProgram& p, const Tensors& in, int64_t length, double magnitude) {
  const Tensors fused = fused_elementwise(p, in), reference = decompose(p, in);
  for (size_t i = 0; i < fused.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_TRUE(fused[i].shape() == reference[i].shape()) << fused[i].shape() << " " << reference[i].shape();
    ASSERT_EQ(fused[i].dtype(), reference[i].dtype());
    const double eps = fused[i].dtype() == DType::Float32 ? 0x1p-23 : 0x1p-52;
    const std::vector<double> u = values_of(fused[i]), v = values_of(reference[i]);
    const double n = static_cast<double>(length);
    for (size_t k = 0; k < u.size(); ++k) {
      if (u[k] == v[k] || (std::isnan(u[k]) && std::isnan(v[k]))) continue;
      ASSERT_NEAR(u[k], v[k], eps * magnitude * n * (n / 1024 + 32)) << k;
    }
  }
}

void check_reduced(const Shape& shape, const Dims& axes, bool keepdims, DType t) {
  SCOPED_TRACE(to_string(shape) + " over " + to_string(axes));
  ProgramBuilder b;
  const int x = b.input(t), y = b.input(t);
  const int v = b.apply(Op::Multiply, {}, Ids{x, y}, t);
  const int narrow = b.apply(Op::Square, {}, Ids{y}, t);
  const ReduceAttrs attrs{axes, keepdims};
  ASSERT_TRUE(b.output(v, Op::Sum, attrs, shape.size()) && b.output(narrow, Op::Mean, attrs, shape.size()) &&
              b.output(v, Op::Max, attrs, shape.size()) && b.output(v));
  ProgramBuilder c;
  const int w = c.apply(Op::Abs, {}, Ids{c.input(t)}, t);
  ASSERT_TRUE(c.output(w, Op::SumSquares, attrs, shape.size()) && c.output(w, Op::Min, attrs, shape.size()));
  int64_t length = 1;
  for (int64_t axis : axes) length *= shape[static_cast<int>(axis)];
  const Tensor a = random_tensor(shape, t, 1);
  check_reductions(c.program(), {a}, length, 9);
  Shape column = shape;
  column[shape.size() - 1] = 1;
  for (const Tensor& s : {random_tensor(shape, t, 2), random_tensor({shape.back()}, t, 3), random_tensor(column, t, 4),
                          random_tensor({}, t, 5)})
    check_reductions(b.program(), {a, s}, length, 9);
}

TEST_P(FusedOnIsa, Reductions) {
  for (DType t : {DType::Float32, DType::Float64}) {
    check_reduced({5000}, {0}, false, t);
    check_reduced({1}, {0}, true, t);
    check_reduced({300, 70}, {0}, false, t);
    check_reduced({300, 700}, {0}, true, t);
    check_reduced({300, 70}, {1}, false, t);
    check_reduced({30, 3000}, {1}, true, t);
    check_reduced({70, 30}, {0, 1}, false, t);
    check_reduced({8, 6, 13, 11}, {0, 2, 3}, true, t);
    check_reduced({8, 6, 13, 11}, {1, 2, 3}, false, t);
    check_reduced({4, 50, 40, 30}, {0, 2, 3}, false, t);
    check_reduced({2, 3, 4, 5}, {0, 1}, false, t);
    check_reduced({100'000, 2}, {0}, false, t);
    check_reduced({3, 100'000}, {1}, false, t);
    check_reduced({20'000, 9}, {1}, false, t);
  }
  // Reductions that are kept apart, transposed operands, no elements, NaN.
  ProgramBuilder b;
  const int v = b.apply(Op::Exp, {}, Ids{b.input(DType::Float32)}, DType::Float32);
  EXPECT_FALSE(b.output(v, Op::Sum, {{1}, false}, 3));
  EXPECT_FALSE(b.output(v, Op::Prod, {{0}, false}, 2));
  ASSERT_TRUE(b.output(v, Op::Sum, {{0}, false}, 2) && b.output(v, Op::Max, {{0}, false}, 2));
  EXPECT_FALSE(b.output(v, Op::Sum, {{1}, false}, 2));
  const Tensor x = random_tensor({200, 300}, DType::Float32, 7);
  check_reductions(b.program(), {ops::permute_dims(x, {1, 0})}, 300, 20);
  x.data<float>()[301] = std::nanf("");
  check_reductions(b.program(), {x}, 200, 20);
  const Tensors none = fused_elementwise(b.program(), Tensors{random_tensor({4, 0}, DType::Float32, 1)});
  EXPECT_EQ(none[0].size(), 0);
}

TEST_P(FusedOnIsa, SumOfNothing) {
  ProgramBuilder b;
  const int v = b.apply(Op::Exp, {}, Ids{b.input(DType::Float32)}, DType::Float32);
  ASSERT_TRUE(b.output(v, Op::Sum, {{0}, false}, 2) && b.output(v, Op::Mean, {{0}, false}, 2));
  const Tensors out = fused_elementwise(b.program(), Tensors{random_tensor({0, 3}, DType::Float32, 1)});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(out[0].data<float>()[i], 0);
    EXPECT_TRUE(std::isnan(out[1].data<float>()[i]));
  }
}

TEST(Fused, SameBitsForAnyNumberOfThreads) {
  const int before = num_threads();
  ProgramBuilder b;
  const int x = b.input(DType::Float32), y = b.input(DType::Float32);
  const int v = b.apply(Op::Tanh, {}, Ids{b.apply(Op::Multiply, {}, Ids{x, y}, DType::Float32)}, DType::Float32);
  for (const Dims& axes : {Dims{0}, Dims{2}, Dims{0, 2}, Dims{0, 1, 2}}) {
    ProgramBuilder c = b;
    ASSERT_TRUE(c.output(v, Op::Sum, {axes, false}, 3) && c.output(v));
    const Tensors in{random_tensor({40, 30, 90}, DType::Float32, 1), random_tensor({30, 1}, DType::Float32, 2)};
    set_num_threads(1);
    const Tensors one = fused_elementwise(c.program(), in);
    for (int threads : {2, 3, 5}) {
      set_num_threads(threads);
      const Tensors many = fused_elementwise(c.program(), in);
      expect_same_bits(one[0], many[0]);
      expect_same_bits(one[1], many[1]);
    }
  }
  set_num_threads(before);
}

// An output that lies where an input did, of a program that reads the input after the first output is computed; ready
// made, and run again with other tensors.
TEST_P(FusedOnIsa, InPlaceAndPrepared) {
  const ElementwiseProgram p = long_chain(DType::Float32);
  const Attrs attrs(p);
  std::unique_ptr<Prepared> prepared;
  for (unsigned seed : {1u, 2u}) {
    for (size_t reused : {0u, 1u, 2u}) {
      const Shape shape{33, 1021};
      Tensors in{random_tensor(shape, DType::Float32, seed), random_tensor(shape, DType::Float32, seed + 10),
                 random_tensor(shape, DType::Float32, seed + 20)};
      const Tensors expected = decompose(p, in);
      for (size_t k = 0; k < 3; ++k) {
        Tensors copies;
        for (const Tensor& x : in) copies.push_back(ops::copy(x));
        Tensors out{Tensor::empty(shape), Tensor::empty(shape), Tensor::empty(shape)};
        out[k] = copies[reused];
        const lanner::Run run{Op::FusedElementwise, copies, out, attrs};
        if (!prepared) prepared = prepare_of(Op::FusedElementwise)(run, 0);
        prepared->run(run);
        for (size_t i = 0; i < 3; ++i) expect_same_bits(out[i], expected[i]);
      }
    }
  }
}

TEST(Fused, RefusesWhatHasNoRoom) {
  ProgramBuilder b;
  for (int i = 0; i < ElementwiseProgram::kMaxInputs; ++i) EXPECT_EQ(b.input(DType::Float32), i);
  EXPECT_EQ(b.input(DType::Float32), -1);
  int value = 0;
  for (int i = 0; i < ElementwiseProgram::kMaxSteps; ++i) value = b.apply(Op::Exp, {}, Ids{value}, DType::Float32);
  EXPECT_GE(value, 0);
  const ElementwiseProgram before = b.program();
  EXPECT_EQ(b.apply(Op::Exp, {}, Ids{value}, DType::Float32), -1);
  EXPECT_EQ(std::memcmp(&before, &b.program(), sizeof before), 0);
  EXPECT_FALSE(b.output(0));  // an input, not computed
  EXPECT_FALSE(can_fuse(Op::Matmul));
  EXPECT_FALSE(can_fuse(Op::Copy));
  EXPECT_TRUE(can_fuse(Op::LeakyReluBackward));
}

TEST(Fused, SharesSteps) {
  ProgramBuilder b;
  const int x = b.input(DType::Float32);
  const int a = b.apply(Op::Exp, {}, Ids{x}, DType::Float32);
  EXPECT_EQ(b.apply(Op::Exp, {}, Ids{x}, DType::Float32), a);
  EXPECT_EQ(b.apply(Op::Cast, {}, Ids{a}, DType::Float32), a);
  EXPECT_EQ(b.constant(3, DType::Float32), b.constant(3, DType::Float32));
}

}  // namespace
}  // namespace lanner
