#include "cpu/dispatch.h"

#include <atomic>
#include <cstdlib>

#include "lanner/error.h"

#define LANNER_ISA_TABLE(name) extern "C" const lanner::cpu::KernelTable lanner_kernels_##name;
LANNER_ISA_TABLES
#undef LANNER_ISA_TABLE

namespace lanner::cpu {
namespace {

[[maybe_unused]] bool runs_baseline() { return true; }
[[maybe_unused]] bool runs_neon() { return true; }  // part of every aarch64
#if defined(__x86_64__)
[[maybe_unused]] bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
[[maybe_unused]] bool runs_avx512() {
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

const KernelTable* find(const std::string& name) {
  std::string names;
  for (const KernelTable* table : available()) {
    if (name == table->isa) return table;
    names += std::string(names.empty() ? "" : ", ") + table->isa;
  }
  throw Error("instruction set '" + name + "' is not available here; this machine and build have " + names);
}

const KernelTable* choose() {
  const char* forced = std::getenv("LANNER_ISA");
  return forced && *forced ? find(forced) : available().back();
}

std::atomic<const KernelTable*>& current() {
  static std::atomic<const KernelTable*> table{choose()};
  return table;
}

}  // namespace

const std::vector<const KernelTable*>& available() {
  static const std::vector<const KernelTable*> tables = [] {
    std::vector<const KernelTable*> found;
#define LANNER_ISA_TABLE(name) \
  if (runs_##name()) found.push_back(&lanner_kernels_##name);
    LANNER_ISA_TABLES
#undef LANNER_ISA_TABLE
    return found;
  }();
  return tables;
}

const KernelTable& kernels() { return *current().load(std::memory_order_relaxed); }

void set_isa(const std::string& name) { current().store(find(name)); }

}  // namespace lanner::cpu
