#include "ops/packed.h"

#include <algorithm>
#include <mutex>

#include "core/tensor_impl.h"

namespace lanner {
namespace {

constexpr size_t kHugePage = size_t{2} << 20, kLine = 64;

size_t up_to(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// The block that the next tensor goes to, as long as it has room and something on it lives.
struct Block {
  std::mutex mutex;
  std::weak_ptr<Storage> storage;
  size_t used = 0;
};

}  // namespace

Tensor packed_memory(int64_t elements, DType dtype) {
  static Block& block = *new Block;  // never destroyed: plans may be made as late as that
  const size_t bytes = up_to(static_cast<size_t>(elements) * static_cast<size_t>(itemsize(dtype)), kLine);
  auto impl = std::make_shared<TensorImpl>();
  {
    std::lock_guard lock(block.mutex);
    impl->storage = block.storage.lock();
    if (!impl->storage || block.used + bytes > impl->storage->bytes()) {
      impl->storage = std::make_shared<Storage>(up_to(std::max<size_t>(bytes, 1), kHugePage));
      block.storage = impl->storage, block.used = 0;
    }
    impl->first = static_cast<char*>(impl->storage->data()) + block.used;
    block.used += bytes;
  }
  impl->shape = {elements}, impl->strides = {1}, impl->size = elements, impl->dtype = dtype;
  return Tape::make(std::move(impl));
}

}  // namespace lanner
