// Mini-batches of arrays, made ready ahead of the training step.
#pragma once

#include <cstdint>
#include <memory>

#include "lanner/tensor.h"

namespace lanner {

struct BatchOptions {
  int64_t batch_size = 1;
  bool shuffle = false;
  bool drop_last = false;  // leave out the last batch where it would be smaller
  uint64_t seed = 0;
  int prefetch = 2;  // batches that a thread of the loader's own makes ready ahead; 0: each is made when asked for
};

// The order in which a loader visits `n` samples: 0, 1, ... unless shuffled, else what `seed` and `epoch` say.
Tensor sample_order(int64_t n, bool shuffle, uint64_t seed, int64_t epoch);

// Serves batches of `arrays`, whose first axes count the same samples. Batches are copies: they may be kept and written
// to, and their memory comes back to the allocator, to be used for a later batch, when they are dropped. The arrays
// must not be written to while an epoch runs.
class BatchLoader {
 public:
  // With `indices`, one-dimensional int64, only those samples are served.
  explicit BatchLoader(Tensors arrays, BatchOptions options = {}, Tensor indices = {});

  int64_t samples() const;
  int64_t batches() const;
  const BatchOptions& options() const;

  // One pass over the samples. May be dropped at any time; several may be under way at once.
  class Epoch {
   public:
    // Sets `batch`, one tensor an array, and returns true; returns false after the last. An error on the loader's
    // thread is thrown here. Throws Error in a process forked since the epoch was begun, for the thread is not there.
    bool next(Tensors& batch);

   private:
    friend class BatchLoader;
    class Worker;
    struct Drop {
      void operator()(Worker* worker) const;
    };
    explicit Epoch(Worker* worker) : worker_(worker) {}
    std::unique_ptr<Worker, Drop> worker_;
  };
  // Shuffled, epoch `number` of a seed is always the same order, and another number another one.
  Epoch epoch(int64_t number = 0) const;

 private:
  struct Source;
  std::shared_ptr<const Source> source_;
};

}  // namespace lanner
