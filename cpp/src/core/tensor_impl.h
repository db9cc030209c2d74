// What a Tensor handle points to.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "lanner/tensor.h"

namespace lanner {

struct Node;

// A block of memory, and how often it was written to in place.
class Storage {
 public:
  explicit Storage(size_t bytes);
  Storage(void* data, std::function<void()> release) : data_(data), release_(std::move(release)), shared_(true) {}
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  void* data() const { return data_; }
  uint32_t version() const { return version_.load(std::memory_order_relaxed); }
  void count_write() { version_.fetch_add(1, std::memory_order_relaxed); }
  size_t bytes() const { return bytes_; }
  // The number of the recording in which it was made; 0: of none.
  uint64_t recording() const { return recording_; }
  // Can it be written to without count_write(), through an array of another library?
  bool shared() const { return shared_.load(std::memory_order_relaxed); }
  void share() { shared_.store(true, std::memory_order_relaxed); }

 private:
  void* data_;
  size_t bytes_ = 0;  // 0: somebody else's memory
  std::function<void()> release_;
  std::atomic<uint32_t> version_{0};
  std::atomic<bool> shared_{false};
  uint64_t recording_ = 0;
};

// A tensor's place on the tape. A leaf has no node.
struct AutogradMeta {
  bool requires_grad = false;
  std::shared_ptr<Node> node;
  int index = 0;  // which of the node's outputs
  Tensor grad;
};

bool is_row_major(const Shape& shape, const Dims& strides);

struct TensorImpl {
  std::shared_ptr<Storage> storage;  // none: shape and dtype only
  void* first = nullptr;
  Shape shape;
  Dims strides;
  int64_t size = 1;
  DType dtype = DType::Float32;
  Device device;
  bool contiguous = true;
  bool weak = false;
  std::shared_ptr<AutogradMeta> meta;  // none: no gradient wanted
};

// What a thread that records a plan notes besides its ops. While it is there, values must not be read back.
struct RecordingNotes {
  const uint64_t number = ++count;  // of this recording, among all
  static std::atomic<uint64_t> count;
  // The blocks of memory that will_write() was called for and that no op has claimed yet; of those that were made in
  // the recording, a copy of what was in them, with which each replay has to begin.
  struct Write {
    const Storage* block;
    std::shared_ptr<Storage> before;
  };
  std::vector<Write> writes;
  // The leaves whose grad() was set, each at its first time: what it was then, and whether the step's course hangs on
  // that (it was added to) or not (it was forgotten).
  struct Leaf {
    std::weak_ptr<AutogradMeta> leaf;
    bool relied_on;
    Tensor before;
  };
  std::vector<Leaf> leaves;
  // Memory from outside of the recording as it was before the step wrote to it.
  struct Saved {
    std::shared_ptr<Storage> block, before;
    void* first;
    size_t bytes;
  };
  std::vector<Saved> saved;
  void note_write(const TensorImpl& x);
  void undo_writes();
  void note_grad(const std::shared_ptr<AutogradMeta>& leaf, bool relied_on);
};
extern thread_local RecordingNotes* recording_notes;

// Access for the tape and the allocator of outputs; everybody else has Tensor's public functions.
struct Tape {
  static TensorImpl* impl(const Tensor& t) { return t.impl_.get(); }
  static const std::shared_ptr<TensorImpl>& shared(const Tensor& t) { return t.impl_; }
  static Tensor make(std::shared_ptr<TensorImpl> impl) { return Tensor(std::move(impl)); }
  // Same shape, dtype and place on the tape, without memory.
  static Tensor without_memory(const Tensor& t);
  // Same memory, another place on the tape (none: no history).
  static Tensor with_meta(const Tensor& t, std::shared_ptr<AutogradMeta> meta);
};

}  // namespace lanner
