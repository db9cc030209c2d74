// Elementwise kernels and the strided driver against naive loops, on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "core/half.h"
#include "elementwise_tables.h"
#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/shape.h"

namespace lanner {
namespace {

// Runs a test with each table in use.
template <class F>
void on_each_isa(F f) {
  const std::string before = cpu::kernels().isa;
  for (const cpu::KernelTable* table : cpu::available()) {
    SCOPED_TRACE(table->isa);
    cpu::set_isa(table->isa);
    f();
  }
  cpu::set_isa(before);
}

// The element at an index, by the definition of strides.
double at(const Tensor& x, const Dims& index) {
  int64_t offset = 0;
  for (int i = 0; i < index.size(); ++i) offset += index[i] * x.strides()[i];
  return x.view({}, {}, offset).item();
}

template <class F>
void for_each_index(const Shape& shape, F f) {
  Dims index = Dims::filled(shape.size(), 0);
  for (int64_t n = element_count(shape); n > 0; --n) {
    f(index);
    for (int i = shape.size() - 1; i >= 0 && ++index[i] == shape[i]; --i) index[i] = 0;
  }
}

Tensor counting(const Shape& shape, DType dtype = DType::Float32) {
  return ops::reshape(ops::cast(ops::arange(int64_t{0}, element_count(shape), int64_t{1}), dtype), shape);
}

// ---- the driver -----------------------------------------------------------------------------------------------------

// Views of all kinds with one shape: permuted, stepped, reversed, repeated, of another dtype.
std::vector<Tensor> views(const Shape& shape) {
  Shape reversed_shape;
  Dims reversed_axes;
  for (int i = shape.size() - 1; i >= 0; --i) {
    reversed_shape.push_back(shape[i]);
    reversed_axes.push_back(i);
  }
  Shape doubled = shape;
  Dims zeros = Dims::filled(shape.size(), 0), twos = Dims::filled(shape.size(), 2);
  Dims last = shape, minus = Dims::filled(shape.size(), -1);
  for (int i = 0; i < shape.size(); ++i) {
    doubled[i] *= 2;
    last[i] -= 1;
  }
  Shape row = shape;
  for (int i = 0; i + 1 < shape.size(); ++i) row[i] = 1;
  Shape column = shape;
  column[shape.size() - 1] = 1;
  return {counting(shape),
          ops::permute_dims(counting(reversed_shape), reversed_axes),
          ops::slice(counting(doubled), zeros, doubled, twos),
          ops::slice(counting(shape), last, minus, minus),
          ops::broadcast_to(counting(row), shape),
          ops::broadcast_to(counting(column), shape),
          ops::broadcast_to(counting({}), shape),
          counting(shape, DType::Int32),
          ops::permute_dims(counting(reversed_shape, DType::Int16), reversed_axes),
          ops::broadcast_to(counting(row, DType::UInt8), shape)};
}

TEST(Driver, EveryPairOfLayouts) {
  on_each_isa([] {
    for (const Shape& shape :
         {Shape{5}, Shape{3, 7}, Shape{70, 33}, Shape{2, 3, 5}, Shape{4, 1, 9}, Shape{2, 3, 2, 5}}) {
      const std::vector<Tensor> all = views(shape);
      for (size_t i = 0; i < all.size(); ++i)
        for (size_t j = 0; j < all.size(); ++j) {
          const Tensor y = ops::add(all[i], all[j]);
          for_each_index(shape, [&](const Dims& index) {
            const double a = at(all[i], index), b = at(all[j], index), sum = at(y, index);
            const bool small = y.dtype() == DType::UInt8;
            ASSERT_EQ(sum, small ? std::fmod(a + b, 256) : a + b)
                << shape << " views " << i << " and " << j << " at " << index;
          });
        }
    }
  });
}

TEST(Driver, CopiesIntoAndOutOfViews) {
  on_each_isa([] {
    for (const Shape& shape : {Shape{5}, Shape{70, 33}, Shape{2, 3, 5}}) {
      for (const Tensor& from : views(shape))
        for (const Tensor& to : views(shape)) {
          if (std::any_of(to.strides().begin(), to.strides().end(), [](int64_t s) { return s == 0; })) continue;
          const Tensor target = to;
          ops::fill_(target, 0);
          ops::copy_(target, from);
          for_each_index(shape, [&](const Dims& index) {
            const double expected = at(from, index);
            ASSERT_EQ(at(target, index), target.dtype() == DType::UInt8 ? std::fmod(expected, 256) : expected) << shape;
          });
        }
    }
  });
}

TEST(Driver, LargeTransposeAndThreads) {
  on_each_isa([] {
    const Tensor x = counting({517, 1031});
    const Tensor y = ops::copy(ops::matrix_transpose(x));
    for (int64_t i = 0; i < 1031; ++i)
      for (int64_t j = 0; j < 517; ++j) ASSERT_EQ(y.data<float>()[i * 517 + j], x.data<float>()[j * 1031 + i]);
    const Tensor z = ops::subtract(ops::matrix_transpose(x), y);
    for (int64_t i = 0; i < z.size(); ++i) ASSERT_EQ(z.data<float>()[i], 0.0f);
  });
}

// Blocks end inside a dimension, and rows of a slice cross from one index of the outer dimensions to the next.
TEST(Driver, PermutedOfManySlices) {
  on_each_isa([] {
    const Tensor x = counting({5, 40, 30, 70});
    for (const Dims& axes : {Dims{3, 2, 1, 0}, Dims{0, 3, 1, 2}, Dims{2, 0, 3, 1}, Dims{1, 3, 2, 0}}) {
      const Tensor view = ops::permute_dims(x, axes), y = ops::copy(view), z = ops::add(view, y);
      for_each_index(y.shape(), [&](const Dims& index) {
        int64_t from = 0, to = 0;
        for (int i = 0; i < 4; ++i) {
          from += index[i] * view.strides()[i];
          to += index[i] * y.strides()[i];
        }
        ASSERT_EQ(y.data<float>()[to], x.data<float>()[from]) << axes << " at " << index;
        ASSERT_EQ(z.data<float>()[to], 2 * x.data<float>()[from]) << axes << " at " << index;
      });
    }
  });
}

TEST(Driver, EmptyAndSingle) {
  on_each_isa([] {
    EXPECT_EQ(ops::add(Tensor::empty({0, 3}), Tensor::empty({3})).shape(), (Shape{0, 3}));
    EXPECT_EQ(ops::cast(Tensor::empty({2, 0}), DType::Float16).size(), 0);
    EXPECT_EQ(ops::add(Tensor::scalar(2), Tensor::scalar(3)).item(), 5);
  });
}

TEST(Driver, OverlappingCopy) {
  on_each_isa([] {
    const Tensor x = counting({1000});
    ops::copy_(ops::narrow(x, 0, 1, 999), ops::narrow(x, 0, 0, 999));
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(x.data<float>()[i], i == 0 ? 0 : i - 1);
    const Tensor m = counting({40, 40});
    ops::copy_(m, ops::matrix_transpose(m));
    for (int i = 0; i < 1600; ++i) ASSERT_EQ(m.data<float>()[i], (i % 40) * 40 + i / 40);
  });
}

// ---- casts ----------------------------------------------------------------------------------------------------------

TEST(Cast, EveryPairOfDTypes) {
  on_each_isa([] {
    for (int from = 0; from < kDTypeCount; ++from)
      for (int to = 0; to < kDTypeCount; ++to) {
        const auto a = static_cast<DType>(from), b = static_cast<DType>(to);
        const Tensor x = ops::cast(counting({100}), a), y = ops::cast(x, b);
        for (int64_t i = 0; i < 100; ++i) {
          const double expected = b == DType::Bool ? at(x, {i}) != 0 : at(x, {i});
          ASSERT_EQ(at(y, {i}), expected) << dtype_name(a) << " to " << dtype_name(b);
        }
      }
  });
}

TEST(Cast, IntegersWrapAndFractionsAreCut) {
  on_each_isa([] {
    const Tensor x = Tensor::from_vector(std::vector<int64_t>{-1, 256, 300, -129, int64_t{1} << 40}, {5});
    const Tensor narrow = ops::cast(x, DType::UInt8), with_sign = ops::cast(x, DType::Int8);
    for (int64_t i = 0; i < 5; ++i) {
      EXPECT_EQ(narrow.data<uint8_t>()[i], static_cast<uint8_t>(x.data<int64_t>()[i]));
      EXPECT_EQ(with_sign.data<int8_t>()[i], static_cast<int8_t>(x.data<int64_t>()[i]));
    }
    const Tensor f = Tensor::from_vector(std::vector<float>{1.9f, -1.9f, 0.5f, -0.5f, 1e9f}, {5});
    const Tensor whole = ops::cast(f, DType::Int32);
    const int32_t expected[] = {1, -1, 0, 0, 1000000000};
    for (int i = 0; i < 5; ++i) EXPECT_EQ(whole.data<int32_t>()[i], expected[i]);
    // Out of range: some value, no trap.
    ops::cast(Tensor::from_vector(std::vector<float>{1e30f, -1e30f, INFINITY, NAN}, {4}), DType::Int8);
    ops::cast(Tensor::from_vector(std::vector<double>{1e30, -1e30, INFINITY, NAN}, {4}), DType::UInt64);
    EXPECT_EQ(*ops::cast(Tensor::from_vector(std::vector<double>{0x1p63 + 4096}, {1}), DType::UInt64).data<uint64_t>(),
              (uint64_t{1} << 63) + 4096);
  });
}

TEST(Cast, HalfPrecisionRoundsToEven) {
  on_each_isa([] {
    std::vector<float> values;
    for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 4093)
      values.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
    const auto n = static_cast<int64_t>(values.size());
    const Tensor x = Tensor::from_vector(values, {n});
    const Tensor half = ops::cast(x, DType::Float16), brain = ops::cast(x, DType::BFloat16);
    for (int64_t i = 0; i < n; ++i) {
      const float v = values[static_cast<size_t>(i)];
      if (std::isnan(v)) {
        ASSERT_TRUE(std::isnan(to_float(half.data<float16>()[i])));
        ASSERT_TRUE(std::isnan(to_float(brain.data<bfloat16>()[i])));
        continue;
      }
      ASSERT_EQ(half.data<float16>()[i].bits, to_float16(v).bits) << v;
      ASSERT_EQ(brain.data<bfloat16>()[i].bits, to_bfloat16(v).bits) << v;
    }
    Tensor every = Tensor::empty({65536}, DType::Float16);
    for (int i = 0; i < 65536; ++i) every.data<float16>()[i].bits = static_cast<uint16_t>(i);
    const Tensor wide = ops::cast(every, DType::Float32);
    for (int i = 0; i < 65536; ++i) {
      const float expected = to_float(every.data<float16>()[i]);
      if (std::isnan(expected))
        ASSERT_TRUE(std::isnan(wide.data<float>()[i]));
      else
        ASSERT_EQ(wide.data<float>()[i], expected);
    }
    // Just above the middle of two float16: rounding to float32 on the way would make it the middle, and that even.
    const Tensor tie = Tensor::from_vector(std::vector<double>{1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-8 + 0x1p-40}, {2});
    EXPECT_EQ(ops::cast(ops::narrow(tie, 0, 0, 1), DType::Float16).item(), 1 + 0x1p-10);
    EXPECT_EQ(ops::cast(ops::narrow(tie, 0, 1, 1), DType::BFloat16).item(), 1 + 0x1p-7);
  });
}

// ---- integers -------------------------------------------------------------------------------------------------------

template <class T>
T one(const char* name, T a, T b) {
  T y{};
  cpu::Block block;
  block.rows = block.columns = 1;
  block.out = &y;
  block.in[0] = &a;
  block.in[1] = &b;
  block.in_step[0] = block.in_step[1] = 1;
  test::kernel(cpu::kernels(), name).fn[static_cast<int>(DTypeOf<T>::value)](block);
  return y;
}

template <class T>
void check_integer_edges() {
  constexpr T low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
  constexpr T bits = static_cast<T>(8 * sizeof(T));
  EXPECT_EQ(one<T>("floor_divide", 7, 0), 0);
  EXPECT_EQ(one<T>("remainder", 7, 0), 0);
  EXPECT_EQ(one<T>("add", high, 1), low);
  EXPECT_EQ(one<T>("subtract", low, 1), high);
  EXPECT_EQ(one<T>("multiply", high, high), 1);
  EXPECT_EQ(one<T>("bitwise_left_shift", 1, bits), 0);
  EXPECT_EQ(one<T>("bitwise_right_shift", high, bits), 0);
  EXPECT_EQ(one<T>("pow", 3, 4), 81);
  if constexpr (std::is_signed_v<T>) {
    EXPECT_EQ(one<T>("floor_divide", low, -1), low);
    EXPECT_EQ(one<T>("remainder", low, -1), 0);
    EXPECT_EQ(one<T>("floor_divide", -7, 2), -4);
    EXPECT_EQ(one<T>("floor_divide", 7, -2), -4);
    EXPECT_EQ(one<T>("remainder", -7, 2), 1);
    EXPECT_EQ(one<T>("remainder", 7, -2), -1);
    EXPECT_EQ(one<T>("bitwise_left_shift", 1, -1), 0);
    EXPECT_EQ(one<T>("bitwise_right_shift", -8, bits), -1);
    EXPECT_EQ(one<T>("bitwise_right_shift", -8, 1), -4);
    EXPECT_EQ(one<T>("pow", 2, -1), 0);
    EXPECT_EQ(one<T>("pow", -1, -3), -1);
  }
}

TEST(Integers, Edges) {
  on_each_isa([] {
    check_integer_edges<int8_t>();
    check_integer_edges<int16_t>();
    check_integer_edges<int32_t>();
    check_integer_edges<int64_t>();
    check_integer_edges<uint8_t>();
    check_integer_edges<uint16_t>();
    check_integer_edges<uint32_t>();
    check_integer_edges<uint64_t>();
  });
}

// ---- dtypes and operators -------------------------------------------------------------------------------------------

TEST(DTypes, Promotion) {
  EXPECT_EQ(promote(DType::Bool, DType::UInt8), DType::UInt8);
  EXPECT_EQ(promote(DType::UInt8, DType::Int8), DType::Int16);
  EXPECT_EQ(promote(DType::Int8, DType::UInt32), DType::Int64);
  EXPECT_EQ(promote(DType::Int64, DType::Float16), DType::Float16);
  EXPECT_EQ(promote(DType::Float16, DType::BFloat16), DType::Float32);
  EXPECT_EQ(promote(DType::BFloat16, DType::Float64), DType::Float64);
  EXPECT_THROW(promote(DType::UInt64, DType::Int8), DTypeError);
  EXPECT_EQ(dtype_from_name("bfloat16"), DType::BFloat16);
  EXPECT_THROW(dtype_from_name("float"), DTypeError);
}

TEST(DTypes, NumbersGiveWay) {
  const Tensor half = ops::ones({2}, DType::Float16), whole = ops::ones({2}, DType::Int8);
  EXPECT_EQ((half + 1.5).dtype(), DType::Float16);
  EXPECT_EQ((whole + 1).dtype(), DType::Int8);
  EXPECT_EQ((whole + 1.5).dtype(), DType::Float32);
  EXPECT_EQ((1 / whole).dtype(), DType::Float32);
  EXPECT_EQ(ops::exp(whole).dtype(), DType::Float32);
  EXPECT_EQ(ops::less(whole, half).dtype(), DType::Bool);
  EXPECT_EQ((ops::ones({2}, DType::Bool) + 1).dtype(), DType::Int64);
  EXPECT_THROW(ops::bitwise_and(half, half), DTypeError);
  EXPECT_THROW(ops::neg(ops::ones({2}, DType::Bool)), DTypeError);
  EXPECT_THROW(ops::add(ops::ones({2}), ops::ones({3})), ShapeError);
}

TEST(DTypes, LargeIntegersAreExact) {
  const int64_t large = (int64_t{1} << 62) + 1;
  const Tensor x = ops::full({3}, Tensor::weak(large), DType::Int64);
  EXPECT_EQ((x + 1).data<int64_t>()[2], large + 1);
  EXPECT_EQ(ops::arange(large, large + 3, int64_t{1}).data<int64_t>()[2], large + 2);
}

TEST(Makers, Values) {
  EXPECT_EQ(ops::arange(0.0, 1.0, 0.1, DType::Float64).size(), 10);
  EXPECT_EQ(ops::arange(int64_t{5}, int64_t{0}, int64_t{-2}).size(), 3);
  EXPECT_EQ(ops::arange(int64_t{5}, int64_t{0}, int64_t{2}).size(), 0);
  const Tensor line = ops::linspace(0, 1, 11, DType::Float64);
  EXPECT_EQ(line.data<double>()[10], 1.0);
  const Tensor diagonal = ops::eye(3, 5, 3);
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 5; ++j) EXPECT_EQ(at(diagonal, {i, j}), j == i + 3);
  EXPECT_EQ(ops::eye(2, 2, -5).size(), 4);
  EXPECT_THROW(ops::arange(0.0, INFINITY, 1.0, DType::Float32), Error);
}

TEST(InPlace, WritingIntoWhatTheTapeNeedsIsAnError) {
  Tensor x = ops::ones({3});
  x.requires_grad_();
  EXPECT_THROW(ops::fill_(x, 0), Error);
  NoGrad off;
  ops::fill_(x, 2);
  EXPECT_EQ(x.data<float>()[0], 2);
}

}  // namespace
}  // namespace lanner
