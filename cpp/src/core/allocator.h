// Memory for tensors: 64-byte aligned, kept for reuse, so that a training step that repeats asks the system for
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lanner {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

// Never null; throws MemoryError, naming the size, when the machine has no more.
void* allocate(size_t bytes);
void deallocate(void* memory, size_t bytes) noexcept;

// How many bytes this thread may still ask for, before allocate() throws Error; -1, as at first: any number. A bound on
// what is built from a description in a file. Returns what it was.
int64_t set_allocation_budget(int64_t bytes);

struct AllocatorStats {
  size_t in_use_bytes, cached_bytes;
  size_t peak_bytes;    // the most that was in use at one time, since the last reset
  size_t system_calls;  // how often memory was asked of the system
};
AllocatorStats allocator_stats();
void reset_peak_bytes();
// Gives what is kept back to the system.
void release_cached_memory();

}  // namespace lanner
