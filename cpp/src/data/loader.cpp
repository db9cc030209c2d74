#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#ifndef _WIN32
#include <unistd.h>
#endif

#include "lanner/data.h"
#include "lanner/ops.h"
#include "lanner/random.h"

namespace lanner {
namespace {

// The upper half of the counter that orders of samples are drawn under: far from the calls of random ops, so that a
// loader and a network seeded alike draw different numbers.
constexpr uint64_t kOrderCalls = uint64_t{0xda7a} << 48;

int64_t process_id() {
#ifdef _WIN32
  return 0;
#else
  return getpid();
#endif
}

// Whether a sample is one block of memory.
bool rows_are_contiguous(const Tensor& x) {
  int64_t stride = 1;
  for (int axis = x.ndim() - 1; axis > 0; --axis) {
    if (x.size(axis) != 1 && x.strides()[axis] != stride) return false;
    stride *= x.size(axis);
  }
  return true;
}

template <size_t kBytes>
void gather_fixed(const char* from, int64_t row_stride, const int64_t* rows, int64_t count, char* to) {
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(to + i * static_cast<int64_t>(kBytes), from + rows[i] * row_stride, kBytes);
}

// to[i] = from[rows[i]]
void gather(const Tensor& from, const int64_t* rows, int64_t count, const Tensor& to) {
  const int64_t item = static_cast<int64_t>(itemsize(from.dtype()));
  const int64_t bytes = count == 0 ? 0 : to.size() / count * item, stride = from.strides()[0] * item;
  const char* source = static_cast<const char*>(from.raw());
  char* target = static_cast<char*>(to.raw());
  switch (bytes) {
    case 0: return;
    case 1: return gather_fixed<1>(source, stride, rows, count, target);
    case 2: return gather_fixed<2>(source, stride, rows, count, target);
    case 4: return gather_fixed<4>(source, stride, rows, count, target);
    case 8: return gather_fixed<8>(source, stride, rows, count, target);
    default:
      for (int64_t i = 0; i < count; ++i)
        std::memcpy(target + i * bytes, source + rows[i] * stride, static_cast<size_t>(bytes));
  }
}

}  // namespace

Tensor sample_order(int64_t n, bool shuffle, uint64_t seed, int64_t epoch) {
  check<ShapeError>(n >= 0, "sample_order: n must not be negative, got ", n);
  Tensor order = Tensor::empty({n}, DType::Int64);
  int64_t* o = order.data<int64_t>();
  if (shuffle) {
    random_permutation({seed, kOrderCalls + static_cast<uint64_t>(epoch)}, n, o);
  } else {
    for (int64_t i = 0; i < n; ++i) o[i] = i;
  }
  return order;
}

struct BatchLoader::Source {
  Tensors arrays;
  BatchOptions options;
  Tensor indices;  // may be undefined
  int64_t samples, batches;
};

BatchLoader::BatchLoader(Tensors arrays, BatchOptions options, Tensor indices) {
  check(options.batch_size >= 1, "BatchLoader: batch_size must be at least 1, got ", options.batch_size);
  check(options.prefetch >= 0, "BatchLoader: prefetch must not be negative, got ", options.prefetch);
  check<ShapeError>(!arrays.empty(), "BatchLoader: expected at least one array");
  for (size_t i = 0; i < arrays.size(); ++i) {
    Tensor& x = arrays[i];
    check<ShapeError>(x.defined() && x.ndim() >= 1, "BatchLoader: array ", i,
                      " must have a first axis that counts samples, got ", x.defined() ? "a 0-d tensor" : "none");
    check<ShapeError>(x.size(0) == arrays[0].size(0), "BatchLoader: array ", i, " has ", x.size(0),
                      " samples, array 0 has ", arrays[0].size(0));
    x = x.detach();
    if (!rows_are_contiguous(x)) x = ops::contiguous(x);
  }
  int64_t samples = arrays[0].size(0);
  if (indices.defined()) {
    check<DTypeError>(indices.dtype() == DType::Int64, "BatchLoader: indices must be int64, got ",
                      dtype_name(indices.dtype()));
    check<ShapeError>(indices.ndim() == 1, "BatchLoader: indices must have one axis, got shape ", indices.shape());
    indices = ops::contiguous(indices.detach());
    for (int64_t i = 0; i < indices.size(); ++i) {
      const int64_t at = indices.data<int64_t>()[i];
      check<ShapeError>(at >= 0 && at < samples, "BatchLoader: indices[", i, "] is ", at, ", there are ", samples,
                        " samples");
    }
    samples = indices.size();
  }
  const int64_t size = options.batch_size;
  const int64_t batches = options.drop_last ? samples / size : samples / size + (samples % size != 0);
  source_ = std::make_shared<Source>(Source{std::move(arrays), options, std::move(indices), samples, batches});
}

int64_t BatchLoader::samples() const { return source_->samples; }
int64_t BatchLoader::batches() const { return source_->batches; }
const BatchOptions& BatchLoader::options() const { return source_->options; }

// Makes the batches of one epoch in order: on its own thread, into a queue of at most `prefetch`, or when asked.
class BatchLoader::Epoch::Worker {
 public:
  Worker(std::shared_ptr<const Source> source, int64_t number)
      : source_(std::move(source)),
        number_(number),
        capacity_(static_cast<size_t>(source_->options.prefetch)),
        process_(process_id()) {
    if (capacity_ > 0 && source_->batches > 0) thread_ = std::thread([this] { produce(); });
  }

  ~Worker() {
    if (!thread_.joinable()) return;
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  bool forked() const { return thread_.joinable() && process_ != process_id(); }

  bool next(Tensors& batch) {
    std::lock_guard one_at_a_time(next_mutex_);
    if (taken_ == source_->batches) return false;
    if (capacity_ == 0) {
      batch = make(taken_++);
      return true;
    }
    check(!forked(), "BatchLoader: this epoch was begun before the process was forked; begin a new one");
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !ready_.empty() || failure_; });
    if (ready_.empty()) {
      taken_ = source_->batches;
      std::rethrow_exception(failure_);
    }
    batch = std::move(ready_.front());
    ready_.pop_front();
    ++taken_;
    lock.unlock();
    changed_.notify_all();
    return true;
  }

 private:
  void produce() {
    try {
      for (int64_t i = 0; i < source_->batches; ++i) {
        Tensors batch = make(i);
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ready_.size() < capacity_ || stopped_; });
        if (stopped_) return;
        ready_.push_back(std::move(batch));
        lock.unlock();
        changed_.notify_all();
      }
    } catch (...) {
      {
        std::lock_guard lock(mutex_);
        failure_ = std::current_exception();
      }
      changed_.notify_all();
    }
  }

  Tensors make(int64_t index) {
    if (!order_.defined()) order_ = draw_order();
    const int64_t size = source_->options.batch_size, first = index * size;
    const int64_t count = std::min(size, source_->samples - first);
    Tensors batch;
    batch.reserve(source_->arrays.size());
    for (const Tensor& x : source_->arrays) {
      Shape shape = x.shape();
      shape[0] = count;
      batch.push_back(Tensor::empty(shape, x.dtype()));
      gather(x, order_.data<int64_t>() + first, count, batch.back());
    }
    return batch;
  }

  Tensor draw_order() const {
    const Tensor order = sample_order(source_->samples, source_->options.shuffle, source_->options.seed, number_);
    if (!source_->indices.defined()) return order;
    const int64_t* indices = source_->indices.data<int64_t>();
    int64_t* o = order.data<int64_t>();
    for (int64_t i = 0; i < source_->samples; ++i) o[i] = indices[o[i]];
    return order;
  }

  const std::shared_ptr<const Source> source_;
  const int64_t number_;
  const size_t capacity_;
  const int64_t process_;
  std::mutex next_mutex_;
  int64_t taken_ = 0;
  Tensor order_;  // of the maker alone

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Tensors> ready_;
  bool stopped_ = false;
  std::exception_ptr failure_;
  std::thread thread_;  // the last member: what it uses is there before it
};

// In a forked process the thread is not there, though the lock and the condition may look held or waited on: nothing
// can be taken apart, so it is left as it is.
void BatchLoader::Epoch::Drop::operator()(Worker* worker) const {
  if (!worker->forked()) delete worker;
}
bool BatchLoader::Epoch::next(Tensors& batch) { return worker_->next(batch); }

BatchLoader::Epoch BatchLoader::epoch(int64_t number) const { return Epoch(new Epoch::Worker(source_, number)); }

}  // namespace lanner
