// Plans: what a replay computes, that it allocates nothing, and what writes to memory outside of it.
#include "lanner/plan.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "core/allocator.h"
#include "lanner/lanner.h"

// Every allocation of the process is counted: malloc and its kin are replaced by ones that count and pass on.
#if defined(__GLIBC__)
namespace {
std::atomic<int64_t> allocations{0};
}
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t n) {
  ++allocations;
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  ++allocations;
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  ++allocations;
  return __libc_realloc(p, n);
}
void* memalign(size_t alignment, size_t n) {
  ++allocations;
  return __libc_memalign(alignment, n);
}
void* aligned_alloc(size_t alignment, size_t n) { return memalign(alignment, n); }
int posix_memalign(void** p, size_t alignment, size_t n) {
  *p = memalign(alignment, n);
  return *p ? 0 : 12;
}
}
#endif

namespace lanner {
namespace {

using namespace ops;

struct Net {
  Tensor conv_w = normal({6, 1, 5, 5}, 0, 0.2), conv_b = zeros({6});
  Tensor gamma = ones({6}), beta = zeros({6}), mean = zeros({6}), var = ones({6});
  Tensor w1 = normal({32, 6 * 14 * 14}, 0, 0.03), b1 = zeros({32});
  Tensor w2 = normal({10, 32}, 0, 0.1), b2 = zeros({10});
  Tensors state;

  Net() {
    for (Tensor* p : parameters()) {
      p->requires_grad_();
      state.push_back(zeros(p->shape()));
    }
  }
  std::vector<Tensor*> parameters() { return {&conv_w, &conv_b, &gamma, &beta, &w1, &b1, &w2, &b2}; }

  Tensor forward(const Tensor& x, bool training) {
    Tensor y = conv2d(x, conv_w, conv_b, {1, 1}, Dims{2, 2});
    y = relu(batch_norm(y, mean, var, gamma, beta, training, 0.1, 1e-5));
    y = max_pool2d(y, {2, 2});
    y = relu(linear(reshape(y, {x.size(0), -1}), w1, b1));
    return linear(dropout(y, 0.2, training), w2, b2);
  }

  // Plain momentum, with ops that write in place.
  Tensor step(const Tensor& x, const Tensor& target) {
    for (Tensor* p : parameters()) p->set_grad({});
    const Tensor loss = cross_entropy(forward(x, true), target);
    loss.backward();
    const NoGrad off;
    for (size_t i = 0; i < state.size(); ++i) {
      Tensor& p = *parameters()[i];
      copy_(state[i], state[i] * 0.9 + p.grad());
      copy_(p.detach(), p.detach() - state[i] * 0.01);
    }
    for (Tensor* p : parameters()) p->set_grad({});
    return loss.detach();
  }
};

std::shared_ptr<Plan> record_step(Net& net, const Tensors& inputs, Tensor* loss, const PlanOptions& options = {}) {
  Recorder recorder(inputs);
  *loss = net.step(recorder.inputs()[0], recorder.inputs()[1]);
  return recorder.finish({*loss}, options);
}

class PlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    manual_seed(3);
    for (int i = 0; i < 3; ++i) batches.push_back({normal({8, 1, 28, 28}), randint(0, 10, {8})});
  }
  std::vector<Tensors> batches;
};

TEST_F(PlanTest, ATrainingStepReplayedIsTheStepRunAgain) {
  manual_seed(5);
  Net eager, planned;
  for (size_t i = 0; i < eager.parameters().size(); ++i) {
    const NoGrad off;
    copy_(planned.parameters()[i]->detach(), eager.parameters()[i]->detach());
  }
  manual_seed(7);
  std::vector<double> wanted, got;
  for (int i = 0; i < 9; ++i) wanted.push_back(eager.step(batches[i % 3][0], batches[i % 3][1]).item());
  manual_seed(7);
  Tensor loss;
  const auto plan = record_step(planned, batches[0], &loss);
  EXPECT_FALSE(plan->provisional());
  got.push_back(loss.item());
  for (int i = 1; i < 9; ++i) got.push_back(plan->run(batches[i % 3])[0].item());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 1e-4 * wanted[0]) << i;
}

TEST_F(PlanTest, ASecondReplayAllocatesNothing) {
#if !defined(__GLIBC__)
  GTEST_SKIP() << "no way to count allocations here";
#else
  Net net;
  Tensor loss;
  const auto plan = record_step(net, batches[0], &loss);
  const Tensors outputs{Tensor::empty({})};
  plan->run_into(batches[0], outputs);
  const size_t system_calls = allocator_stats().system_calls, in_use = allocator_stats().in_use_bytes;
  const int64_t before = allocations;
  plan->run_into(batches[1], outputs);
  EXPECT_EQ(allocations - before, 0);
  EXPECT_EQ(allocator_stats().system_calls, system_calls);
  EXPECT_EQ(allocator_stats().in_use_bytes, in_use);
#endif
}

TEST_F(PlanTest, TheSameBitsForAnyNumberOfThreads) {
  const int threads = num_threads();
  std::vector<float> first;
  for (int n : {1, 2, 3}) {
    set_num_threads(n);
    manual_seed(9);
    Net net;
    Tensor loss;
    const auto plan = record_step(net, batches[0], &loss);
    for (int i = 0; i < 4; ++i) loss = plan->run(batches[i % 3])[0];
    std::vector<float> bits{*loss.data<float>()};
    for (Tensor* p : net.parameters())
      bits.insert(bits.end(), p->detach().data<float>(), p->detach().data<float>() + p->size());
    if (first.empty()) first = bits;
    EXPECT_EQ(std::memcmp(first.data(), bits.data(), bits.size() * sizeof(float)), 0) << n;
  }
  set_num_threads(threads);
}

TEST_F(PlanTest, ArenaIsSmallerThanWhatItHolds) {
  Net net;
  Tensor loss;
  const auto plan = record_step(net, batches[0], &loss);
  EXPECT_LT(plan->memory().arena_bytes, plan->memory().unshared_bytes);
}

TEST_F(PlanTest, GradientsOfLeavesAreAsAfterTheRecording) {
  Tensor w = normal({4, 4});
  w.requires_grad_();
  const Tensor x = normal({2, 4}), y = normal({2, 4});
  const auto f = [&](const Tensor& t) {
    w.set_grad({});
    const Tensor loss = sum(square(matmul(t, w)));
    loss.backward();
    return loss.detach();
  };
  Recorder recorder({x});
  const Tensor loss = f(recorder.inputs()[0]);
  const auto plan = recorder.finish({loss});
  EXPECT_FALSE(plan->provisional());
  f(y);
  const Tensor wanted = w.grad();
  w.set_grad({});
  EXPECT_TRUE(plan->valid());
  plan->run({y});
  ASSERT_TRUE(w.grad().defined());
  for (int i = 0; i < 16; ++i) EXPECT_FLOAT_EQ(w.grad().data<float>()[i], wanted.data<float>()[i]);
}

TEST_F(PlanTest, AddingToAGradientHangsOnWhatItWas) {
  Tensor w = ones({2});
  w.requires_grad_();
  const auto f = [&](const Tensor& t) {
    sum(t * w).backward();
    return w.grad().detach();
  };
  const Tensor x = ones({2});
  Recorder first({x});
  f(first.inputs()[0]);
  const auto made = first.finish({});
  EXPECT_FALSE(made->valid());  // there was no gradient, and now there is
  Recorder second({x});
  f(second.inputs()[0]);
  const auto adds = second.finish({});
  EXPECT_TRUE(adds->valid());
  adds->run({x});
  EXPECT_TRUE(adds->valid());
  EXPECT_FLOAT_EQ(w.grad().data<float>()[0], 3);
}

TEST_F(PlanTest, StateMadeLazilyMakesARecordingProvisional) {
  Tensor state;
  const auto f = [&](const Tensor& t) {
    if (!state.defined()) state = zeros({2});
    copy_(state, state + t);
    return state * 1;
  };
  const Tensor x = ones({2});
  Recorder first({x});
  const Tensor y = f(first.inputs()[0]);
  EXPECT_TRUE(first.finish({y})->provisional());
  Recorder second({x});
  const Tensor z = f(second.inputs()[0]);
  const auto plan = second.finish({z});
  EXPECT_FALSE(plan->provisional());
  plan->run({x});
  EXPECT_FLOAT_EQ(state.data<float>()[0], 3);
}

TEST_F(PlanTest, WhatIsNotNeededIsNotComputed) {
  const Tensor x = normal({4, 4});
  Recorder recorder({x});
  const auto f = [](const Tensor& t) {
    exp(t);
    return matmul(t, t) + matmul(t, t);
  };
  const Tensor y = f(recorder.inputs()[0]);
  const auto plan = recorder.finish({y}, {.bf16 = false, .fuse = false});
  EXPECT_EQ(plan->recorded().size(), 4u);
  EXPECT_EQ(plan->steps().size(), 2u);
}

TEST_F(PlanTest, AReadWhileRecordingIsAnError) {
  const Tensor x = ones({2});
  Recorder recorder({x});
  const Tensor y = sum(recorder.inputs()[0]);
  EXPECT_THROW(y.item(), RecordingError);
  recorder.abandon();
  EXPECT_FLOAT_EQ(static_cast<float>(y.item()), 2);
}

}  // namespace
}  // namespace lanner
