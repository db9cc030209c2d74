#include "lanner/config.h"

#include <sstream>

#include "cpu/dispatch.h"
#include "lanner/parallel.h"

namespace lanner {

std::string version() { return LANNER_VERSION; }

std::string isa() { return cpu::kernels().isa; }

std::string show_config() {
  std::ostringstream text;
  text << "lanner " << version() << "\ncompiler: "
#if defined(__clang__)
       << "Clang " << __clang_version__
#else
       << "GCC " << __VERSION__
#endif
       << "\ninstruction set: " << isa() << " (available:";
  for (const cpu::KernelTable* table : cpu::available()) text << ' ' << table->isa;
  text << ")\nbfloat16 products: "
       << (cpu::has_amx()          ? "AMX"
           : cpu::has_bf16_pairs() ? "AVX-512 BF16"
                                   : "rounded operands, multiplied as float32")
       << "\nthreads: " << num_threads() << "\nCUDA: not in this build\n";
  return text.str();
}

}  // namespace lanner
