#include "core/allocator.h"

#include <pthread.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#include "lanner/error.h"

namespace lanner {
namespace {

// Four sizes to an octave: at most a fifth of a block is unused, and few enough sizes that blocks meet again.
constexpr int kSubdivisions = 4;
constexpr int kClasses = 64 * kSubdivisions;
constexpr size_t kMaxCachedBytes = size_t{4} << 30;

struct SizeClass {
  int index;
  size_t bytes;
};

SizeClass size_class(size_t bytes) {
  if (bytes < kAlignment * kSubdivisions) {
    const size_t lines = bytes == 0 ? 1 : (bytes + kAlignment - 1) / kAlignment;
    return {static_cast<int>(lines), lines * kAlignment};
  }
  const int octave = std::bit_width(bytes - 1) - 1;  // 2^octave < bytes <= 2^(octave + 1), or bytes == 2^octave
  const size_t step = (size_t{1} << octave) / kSubdivisions;
  const size_t steps = (bytes - (size_t{1} << octave) + step - 1) / step;
  return {octave * kSubdivisions + static_cast<int>(steps), (size_t{1} << octave) + steps * step};
}

struct Cache {
  std::mutex mutex;
  std::vector<void*> free[kClasses + kSubdivisions];
  AllocatorStats stats{};
};

// Never destroyed: tensors in static variables may outlive any destructor. A child must not be forked while another
// thread holds the mutex, which nobody would then give back there.
Cache& cache();
Cache* make_cache() {
  pthread_atfork([] { cache().mutex.lock(); }, [] { cache().mutex.unlock(); }, [] { cache().mutex.unlock(); });
  return new Cache;
}
Cache& cache() {
  static Cache* instance = make_cache();
  return *instance;
}

thread_local int64_t budget = -1;

void release_locked(Cache& c) {
  for (auto& blocks : c.free) {
    for (void* block : blocks) std::free(block);
    blocks.clear();
  }
  c.stats.cached_bytes = 0;
}

void count_use(Cache& c, size_t bytes) {
  c.stats.in_use_bytes += bytes;
  c.stats.peak_bytes = std::max(c.stats.peak_bytes, c.stats.in_use_bytes);
}

// From the system; null when it has no more. A large block, and one that fills a huge page, lies on huge pages where they
// can be asked for: streams through it wait for fewer translations of addresses.
void* allocate_from_system(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  if (bytes < 2 * kHugePage && bytes != kHugePage) return std::aligned_alloc(kAlignment, bytes);
  bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* block = std::aligned_alloc(kHugePage, bytes);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (block) madvise(block, bytes, MADV_HUGEPAGE);
#endif
  return block;
}

}  // namespace

void* allocate(size_t bytes) {
  check<MemoryError>(bytes < (size_t{1} << 60), "allocate: ", bytes, " bytes are more than any machine has");
  if (budget >= 0) [[unlikely]] {
    check(bytes <= static_cast<size_t>(budget), "allocate: ", bytes, " bytes, where no more than ", budget,
          " are left of what was allowed");
    budget -= static_cast<int64_t>(bytes);
  }
  const SizeClass size = size_class(bytes);
  Cache& c = cache();
  {
    std::lock_guard lock(c.mutex);
    auto& blocks = c.free[size.index];
    if (!blocks.empty()) {
      void* block = blocks.back();
      blocks.pop_back();
      c.stats.cached_bytes -= size.bytes;
      count_use(c, size.bytes);
      return block;
    }
  }
  void* block = allocate_from_system(size.bytes);
  std::lock_guard lock(c.mutex);
  if (!block) {
    release_locked(c);
    block = allocate_from_system(size.bytes);
  }
  check<MemoryError>(block != nullptr, "allocate: out of memory asking for ", bytes, " bytes (", c.stats.in_use_bytes,
                     " in use by tensors)");
  ++c.stats.system_calls;
  count_use(c, size.bytes);
  return block;
}

void deallocate(void* memory, size_t bytes) noexcept {
  const SizeClass size = size_class(bytes);
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  c.stats.in_use_bytes -= size.bytes;
  if (c.stats.cached_bytes + size.bytes > kMaxCachedBytes) {
    std::free(memory);
    return;
  }
  try {
    c.free[size.index].push_back(memory);
    c.stats.cached_bytes += size.bytes;
  } catch (...) {  // no memory for the list itself
    std::free(memory);
  }
}

int64_t set_allocation_budget(int64_t bytes) { return std::exchange(budget, bytes); }

AllocatorStats allocator_stats() {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  return c.stats;
}

void reset_peak_bytes() {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  c.stats.peak_bytes = c.stats.in_use_bytes;
}

void release_cached_memory() {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  release_locked(c);
}

}  // namespace lanner
