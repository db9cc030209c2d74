#include "cpu/dispatch.h"

#include <atomic>
#include <cstdlib>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "cpu/kernels/gemm.h"
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

bool runs_amx() {
#if defined(__x86_64__) && defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1 << 22, kTile = 1 << 24, kSavesState = 1 << 27;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kSavesState)) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (kBf16 | kTile)) != (kBf16 | kTile)) return false;
  unsigned low = 0, high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned kTileState = 3 << 17;
  if ((low & kTileState) != kTileState) return false;
  // Linux gives the 8 KiB of tile data to processes that ask for them (ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA).
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return false;
#endif
}

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

bool has_bf16_pairs() {
#if defined(__x86_64__)
  static const bool runs = __builtin_cpu_supports("avx512bf16");
  return runs && kernels().gemm->bf16_pairs;
#else
  return false;
#endif
}

bool has_amx() {
  static const bool runs = runs_amx();
  return runs && kernels().gemm->bf16_amx;
}

void set_isa(const std::string& name) { current().store(find(name)); }

}  // namespace lanner::cpu
