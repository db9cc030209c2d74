// Checkpointed parts of a net from C++.
#include <gtest/gtest.h>

#include "core/allocator.h"
#include "lanner/autodiff.h"
#include "lanner/lanner.h"

namespace lanner {
namespace {

Tensors block(const Tensors& in) {
  Tensor x = in[0];
  for (int i = 0; i < 8; ++i) x = ops::tanh(ops::multiply(x, in[1]));
  return {x};
}

// The gradient of a row of blocks, and the bytes that it took at most.
std::pair<Tensor, size_t> gradient(bool checkpointed) {
  Tensor x = ops::full({1 << 14}, 0.5, DType::Float32).requires_grad_();
  const Tensor w = ops::full({1}, 1.5, DType::Float32).requires_grad_();
  const size_t before = allocator_stats().in_use_bytes;
  reset_peak_bytes();
  Tensor y = x;
  for (int i = 0; i < 8; ++i) y = checkpointed ? checkpoint(block, {y, w})[0] : block({y, w})[0];
  ops::sum(y).backward();
  return {x.grad(), allocator_stats().peak_bytes - before};
}

TEST(Checkpoint, SameGradientsInLessMemory) {
  const auto [plain, bytes] = gradient(false);
  const auto [again, fewer] = gradient(true);
  EXPECT_EQ(ops::max(ops::abs(ops::subtract(plain, again))).item(), 0);
  EXPECT_LT(2 * fewer, bytes);
}

TEST(Checkpoint, ValuesAreComputedOnceMore) {
  int runs = 0;
  const Tensor x = ops::full({3}, 2.0, DType::Float32).requires_grad_();
  const auto f = [&runs](const Tensors& in) {
    ++runs;
    return Tensors{ops::exp(in[0])};
  };
  const Tensor y = checkpoint(f, {x})[0];
  EXPECT_EQ(runs, 1);
  EXPECT_FALSE(recomputing());
  ops::sum(y).backward();
  EXPECT_EQ(runs, 2);
  NoGrad off;
  checkpoint(f, {x});
  EXPECT_EQ(runs, 3);
}

}  // namespace
}  // namespace lanner
