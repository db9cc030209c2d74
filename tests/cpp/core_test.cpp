// Memory, shapes, half precision: what every tensor stands on.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "core/allocator.h"
#include "core/half.h"
#include "lanner/lanner.h"

namespace lanner {
namespace {

TEST(Allocator, AlignedAndReused) {
  release_cached_memory();
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{255}, size_t{256}, size_t{257},
                       size_t{1000}, size_t{4096}, size_t{100'000}, size_t{1} << 20, (size_t{1} << 20) + 1}) {
    void* p = allocate(bytes);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % kAlignment, 0u) << bytes;
    std::memset(p, 0xab, bytes);
    const size_t calls = allocator_stats().system_calls;
    deallocate(p, bytes);
    void* again = allocate(bytes);
    EXPECT_EQ(again, p) << bytes;
    EXPECT_EQ(allocator_stats().system_calls, calls) << bytes;
    deallocate(again, bytes);
  }
}

TEST(Allocator, WastesNoMoreThanAQuarter) {
  release_cached_memory();
  for (size_t bytes = 1000; bytes < 3'000'000; bytes = bytes * 21 / 20 + 1) {
    const size_t before = allocator_stats().in_use_bytes;
    void* p = allocate(bytes);
    const size_t taken = allocator_stats().in_use_bytes - before;
    EXPECT_GE(taken, bytes);
    EXPECT_LE(taken, bytes + bytes / 4 + kAlignment);
    deallocate(p, bytes);
  }
}

TEST(Allocator, GivesBackAndCountsInUse) {
  release_cached_memory();
  const AllocatorStats before = allocator_stats();
  { Tensor t = Tensor::empty({1000, 1000}); }
  EXPECT_EQ(allocator_stats().in_use_bytes, before.in_use_bytes);
  EXPECT_GE(allocator_stats().cached_bytes, 4'000'000u);
  release_cached_memory();
  EXPECT_EQ(allocator_stats().cached_bytes, 0u);
}

TEST(Allocator, ManyThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 2000; ++i) {
        const size_t bytes = static_cast<size_t>(i % 37 + 1) * 100;
        auto* p = static_cast<unsigned char*>(allocate(bytes));
        std::memset(p, t, bytes);
        ASSERT_EQ(p[bytes - 1], t);
        deallocate(p, bytes);
      }
    });
  for (std::thread& t : threads) t.join();
}

TEST(Allocator, TooMuchIsAnError) {
  EXPECT_THROW(allocate(size_t{1} << 61), MemoryError);
  EXPECT_THROW(allocate(size_t{1} << 52), MemoryError);
  EXPECT_THROW(Tensor::empty({int64_t{1} << 40, int64_t{1} << 40}), ShapeError);
  EXPECT_THROW(Tensor::empty({2, -1}), ShapeError);
}

TEST(Half, RoundTripsAllFloat16) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float16 h{static_cast<uint16_t>(bits)};
    const float f = to_float(h);
    if (std::isnan(f))
      EXPECT_TRUE(std::isnan(to_float(to_float16(f))));
    else
      ASSERT_EQ(to_float16(f).bits, bits);
  }
}

TEST(Half, RoundsToNearestEven) {
  const auto reference = [](float x) {  // by search among the neighbours
    double best = std::numeric_limits<double>::infinity();
    uint16_t found = 0;
    for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
      const double d = std::abs(to_float(float16{static_cast<uint16_t>(bits)}) - static_cast<double>(x));
      if (d < best || (d == best && bits % 2 == 0)) best = d, found = static_cast<uint16_t>(bits);
    }
    return found;
  };
  for (float x :
       {0.0f, 1e-8f, 2.98e-8f, 3e-8f, 5.96e-8f, 6.1e-5f, 1.0f, 1.00048828125f, 1.0009765f, 2049.0f, 2051.0f, 65503.0f})
    EXPECT_EQ(to_float16(x).bits, reference(x)) << x;
  EXPECT_EQ(to_float16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_bfloat16(1.00390625f).bits, 0x3f80);  // a tie goes to the even one
  EXPECT_EQ(to_bfloat16(1.01171875f).bits, 0x3f82);
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Shape, Broadcasting) {
  EXPECT_EQ(broadcast_shapes({3, 1}, {4}, "t"), (Shape{3, 4}));
  EXPECT_EQ(broadcast_shapes({}, {0, 2}, "t"), (Shape{0, 2}));
  EXPECT_THROW(broadcast_shapes({3}, {4}, "t"), ShapeError);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), ShapeError);
}

TEST(Tensor, ViewsShareMemoryAndCountWrites) {
  const Tensor x = ops::reshape(ops::arange(0, 24, 1), {2, 3, 4});
  const Tensor t = ops::permute_dims(x, {2, 0, 1});
  EXPECT_EQ(t.shape(), (Shape{4, 2, 3}));
  EXPECT_EQ(t.raw(), x.raw());
  EXPECT_FALSE(t.is_contiguous());
  const Tensor row = ops::narrow(x, 1, 2, 1);
  ops::fill_(row, -1);
  EXPECT_EQ(x.data<int64_t>()[8], -1);
  EXPECT_EQ(x.version(), row.version());
  EXPECT_GT(x.version(), 0u);
}

TEST(Tensor, ReshapeIsAViewWhereStridesAllow) {
  const Tensor x = ops::zeros({4, 6});
  const Tensor left = ops::narrow(x, 1, 0, 3);  // rows with gaps
  EXPECT_EQ(ops::reshape(left, {2, 2, 3}).raw(), x.raw());
  EXPECT_NE(ops::reshape(left, {12}).raw(), x.raw());
  EXPECT_EQ(ops::reshape(ops::matrix_transpose(x), {2, 3, 4}).raw(), x.raw());
  EXPECT_THROW(ops::reshape(x, {5, -1}), ShapeError);
  EXPECT_THROW(ops::reshape(x, {-1, -1}), ShapeError);
}

TEST(Tensor, MistakesThrow) {
  EXPECT_THROW(ops::zeros({2}).data<double>(), DTypeError);
  EXPECT_THROW(ops::zeros({2}).item(), ShapeError);
  EXPECT_THROW(ops::zeros({2}, DType::Int32).requires_grad_(), DTypeError);
  EXPECT_THROW(Device::parse("tpu"), DeviceError);
  EXPECT_THROW(Device::parse("cuda"), DeviceError);
}

TEST(Autodiff, SecondDerivativeInCpp) {
  Tensor x = Tensor::scalar(3, DType::Float64).requires_grad_();
  const Tensor slope = grad({x * x * x}, {x}, {}, true)[0];
  EXPECT_DOUBLE_EQ(slope.item(), 27);
  EXPECT_DOUBLE_EQ(grad({slope}, {x})[0].item(), 18);
}

}  // namespace
}  // namespace lanner
