#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "core/allocator.h"
#include "lanner/data.h"

namespace lanner {
namespace {

// Sample i is [i, i + 0.5], its label i.
Tensors samples(int64_t n) {
  Tensor x = Tensor::empty({n, 2}), y = Tensor::empty({n}, DType::Int64);
  for (int64_t i = 0; i < n; ++i) {
    x.data<float>()[2 * i] = static_cast<float>(i);
    x.data<float>()[2 * i + 1] = static_cast<float>(i) + 0.5f;
    y.data<int64_t>()[i] = i;
  }
  return {x, y};
}

// The labels in the order in which they came; checks that each sample has its own.
std::vector<int64_t> visit(BatchLoader::Epoch epoch) {
  std::vector<int64_t> order;
  Tensors batch;
  while (epoch.next(batch)) {
    EXPECT_EQ(batch.size(), 2u);
    for (int64_t i = 0; i < batch[1].size(); ++i) {
      const int64_t label = batch[1].data<int64_t>()[i];
      EXPECT_EQ(batch[0].data<float>()[2 * i], static_cast<float>(label));
      EXPECT_EQ(batch[0].data<float>()[2 * i + 1], static_cast<float>(label) + 0.5f);
      order.push_back(label);
    }
  }
  EXPECT_FALSE(epoch.next(batch));
  return order;
}

std::vector<int64_t> upto(int64_t n) {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < n; ++i) all.push_back(i);
  return all;
}

TEST(BatchLoader, InOrder) {
  for (const int prefetch : {0, 1, 3}) {
    const BatchLoader loader(samples(10), {.batch_size = 4, .prefetch = prefetch});
    EXPECT_EQ(loader.batches(), 3);
    EXPECT_EQ(visit(loader.epoch()), upto(10));
    const BatchLoader whole(samples(10), {.batch_size = 4, .drop_last = true, .prefetch = prefetch});
    EXPECT_EQ(whole.batches(), 2);
    EXPECT_EQ(visit(whole.epoch()), upto(8));
    const BatchLoader none(samples(0), {.batch_size = 4, .prefetch = prefetch});
    EXPECT_EQ(visit(none.epoch()), upto(0));
  }
}

TEST(BatchLoader, ShuffledBySeedAndEpoch) {
  const BatchLoader a(samples(100), {.batch_size = 7, .shuffle = true, .seed = 5}),
      b(samples(100), {.batch_size = 9, .shuffle = true, .seed = 5, .prefetch = 0}),
      c(samples(100), {.batch_size = 7, .shuffle = true, .seed = 6});
  const auto first = visit(a.epoch(0));
  EXPECT_EQ(first, visit(b.epoch(0)));
  EXPECT_NE(first, visit(a.epoch(1)));
  EXPECT_NE(first, visit(c.epoch(0)));
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, upto(100));
}

TEST(BatchLoader, IndicesChooseSamples) {
  const BatchLoader loader(samples(10), {.batch_size = 2}, Tensor::from_vector<int64_t>({7, 3, 3}, {3}));
  EXPECT_EQ(visit(loader.epoch()), (std::vector<int64_t>{7, 3, 3}));
}

TEST(BatchLoader, StridedArrays) {
  const Tensors all = samples(10);
  const BatchLoader even({all[0].view({5, 2}, {4, 1}), all[1].view({5}, {2})}, {.batch_size = 2});
  EXPECT_EQ(visit(even.epoch()), (std::vector<int64_t>{0, 2, 4, 6, 8}));
}

TEST(BatchLoader, MayBeLeftAtAnyTime) {
  const BatchLoader loader(samples(1000), {.batch_size = 3, .shuffle = true});
  for (int taken = 0; taken < 20; ++taken) {
    auto epoch = loader.epoch(taken);
    Tensors batch;
    for (int i = 0; i < taken; ++i) ASSERT_TRUE(epoch.next(batch));
  }
  BatchLoader::Epoch outlives = [] { return BatchLoader(samples(100), {.batch_size = 3}).epoch(); }();
  EXPECT_EQ(visit(std::move(outlives)), upto(100));
}

TEST(BatchLoader, SeveralAtOnce) {
  const BatchLoader loader(samples(500), {.batch_size = 3, .shuffle = true});
  const auto expected = visit(loader.epoch(2));
  std::vector<std::thread> threads;
  std::vector<std::vector<int64_t>> seen(4);
  for (auto& order : seen) threads.emplace_back([&] { order = visit(loader.epoch(2)); });
  for (auto& thread : threads) thread.join();
  for (const auto& order : seen) EXPECT_EQ(order, expected);
}

TEST(BatchLoader, BatchesAreCopiesInRecycledMemory) {
  const Tensors all = samples(4000);
  const BatchLoader loader(all, {.batch_size = 10});
  Tensors batch;
  const auto pass = [&] {
    auto epoch = loader.epoch();
    while (epoch.next(batch)) batch[0].data<float>()[0] = -1;
  };
  pass();
  const size_t calls = allocator_stats().system_calls;
  pass();
  EXPECT_EQ(all[0].data<float>()[0], 0);
  EXPECT_LE(allocator_stats().system_calls, calls + 4);  // at most another few batches in flight than before
}

TEST(BatchLoader, AfterForkAnOldEpochSaysSoAndANewOneWorks) {
  const BatchLoader loader(samples(50), {.batch_size = 4});
  auto old = loader.epoch();
  Tensors batch;
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(old.next(batch));
  usleep(20000);  // the queue is full and the thread waits: it holds no lock
  const pid_t child = fork();
  if (child == 0) {
    int result = 1;
    try {
      old.next(batch);
    } catch (const Error&) {
      result = visit(loader.epoch()) == upto(50) ? 0 : 2;
    }
    { auto dropped = std::move(old); }
    _exit(result);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  while (old.next(batch)) {
  }
}

TEST(BatchLoader, SaysWhatIsWrong) {
  EXPECT_THROW(BatchLoader({}, {}), ShapeError);
  EXPECT_THROW(BatchLoader({Tensor::empty({3}), Tensor::empty({4})}, {}), ShapeError);
  EXPECT_THROW(BatchLoader({Tensor::scalar(1)}, {}), ShapeError);
  EXPECT_THROW(BatchLoader(samples(3), {.batch_size = 0}), Error);
  EXPECT_THROW(BatchLoader(samples(3), {.prefetch = -1}), Error);
  EXPECT_THROW(BatchLoader(samples(3), {}, Tensor::from_vector<int64_t>({3}, {1})), ShapeError);
  EXPECT_THROW(BatchLoader(samples(3), {}, Tensor::from_vector<float>({1}, {1})), DTypeError);
}

}  // namespace
}  // namespace lanner
