#include "bindings.h"
#include "lanner/ops/halt.h"

namespace lanner::python {

void bind_halt(py::module_& m) {
  using namespace py::literals;
  m.def("halt_unless_finite", &ops::halt_unless_finite, "x"_a, NoGil(),
        "Ends the step where the number x is NaN or infinite: raises Halted, and a replayed plan stops there.");
}

}  // namespace lanner::python
