#include "bindings.h"
#include "core/allocator.h"
#include "cpu/dispatch.h"
#include "lanner/ceiling.h"
#include "lanner/config.h"
#include "lanner/parallel.h"

namespace lanner::python {

void bind_config(py::module_& m) {
  using namespace py::literals;
  m.attr("__version__") = version();
  m.def(
      "show_config", [] { py::print(show_config(), py::arg("end") = ""); },
      R"(Prints version, compiler, instruction set, threads and CUDA, as a bug report needs them.

>>> ln.show_config()  # doctest: +ELLIPSIS
lanner ...
)");
  m.def("set_num_threads", &set_num_threads, "n"_a,
        R"(How many threads parallel work may use; results do not depend on it.

Until it is called LANNER_NUM_THREADS, else OMP_NUM_THREADS, else the affinity mask decides.

>>> ln.set_num_threads(ln.get_num_threads())
)");
  m.def("get_num_threads", &num_threads, R"(How many threads parallel work may use.

>>> ln.get_num_threads() >= 1
True
)");
  m.def("isa", &isa, "The instruction set whose kernels are in use.");
  m.def("set_isa", &cpu::set_isa, "name"_a, "Switches the kernels to another instruction set; for tests.");
  m.def(
      "available_isas",
      [] {
        std::vector<std::string> names;
        for (const cpu::KernelTable* table : cpu::available()) names.emplace_back(table->isa);
        return names;
      },
      "The instruction sets that this machine and build can run, slowest first.");
  m.def(
      "allocator_stats",
      [] {
        const AllocatorStats s = allocator_stats();
        return py::dict("in_use_bytes"_a = s.in_use_bytes, "cached_bytes"_a = s.cached_bytes,
                        "peak_bytes"_a = s.peak_bytes, "system_calls"_a = s.system_calls);
      },
      "Bytes in use, kept for reuse, and most in use at a time; how often memory was asked of the system.");
  m.def("reset_peak_bytes", &reset_peak_bytes, "Counts the most bytes in use at a time from now on.");
  m.def(
      "peak_flops", [] { return peak_flops(); }, NoGil(),
      "FLOP/s of float32 multiply-adds that the threads in use can do; measured at first use.");
  m.def("peak_bandwidth", &peak_bandwidth, "bytes"_a, NoGil(),
        "Bytes a second from the cache, or the memory, that so many bytes fit in; measured at first use.");
  m.def("release_cached_memory", &release_cached_memory, "Gives memory that is kept for reuse back to the system.");
}

}  // namespace lanner::python
