#include "lanner/ops/sort.h"

#include "bindings.h"
#include "lanner/ops/indexing.h"

namespace lanner::python {

void bind_sort(py::module_& m) {
  using namespace py::literals;
  // Always stable, and topk always sorted: what the flags ask for is given either way.
  m.def(
      "sort", [](const Tensor& x, int64_t axis, bool descending, bool) { return ops::sort(x, axis, descending); },
      "x"_a, py::kw_only(), "axis"_a = -1, "descending"_a = false, "stable"_a = true, NoGil(),
      R"(The elements of ``x`` in order along ``axis``. NaN comes last, ascending and descending.

>>> ln.sort(ln.tensor([3, 1, 2])).tolist(), ln.sort(ln.tensor([3, 1, 2]), descending=True).tolist()
([1, 2, 3], [3, 2, 1])
)");
  m.def(
      "argsort", [](const Tensor& x, int64_t axis, bool descending, bool) { return ops::argsort(x, axis, descending); },
      "x"_a, py::kw_only(), "axis"_a = -1, "descending"_a = false, "stable"_a = true, NoGil(),
      R"(The int64 indices that put ``x`` in order along ``axis``; equal elements keep their order, NaN comes last.

>>> ln.argsort(ln.tensor([3, 1, 2])).tolist()
[1, 2, 0]
)");
  m.def(
      "topk",
      [](const Tensor& x, int64_t k, int64_t axis, bool largest, bool) { return ops::topk(x, k, axis, largest); },
      "x"_a, "k"_a, "axis"_a = -1, "largest"_a = true, "sorted"_a = true, NoGil(),
      R"(The ``k`` largest (smallest) elements along ``axis`` in order, and their int64 indices.

NaN comes last; of equal elements the first is taken.

>>> values, indices = ln.topk(ln.tensor([1.0, 4.0, 2.0, 3.0]), 2)
>>> values.tolist(), indices.tolist()
([4.0, 3.0], [1, 3])
)");
  m.def("unique_values", &ops::unique_values, "x"_a, NoGil(),
        R"(The distinct values of ``x`` in ascending order; each NaN counts as one.

>>> ln.unique_values(ln.tensor([3, 1, 3, 2, 1])).tolist()
[1, 2, 3]
)");
  m.def(
      "searchsorted",
      [](const Tensor& x1, const Operand& x2, const std::string& side, const std::optional<Tensor>& sorter) {
        check(side == "left" || side == "right", "searchsorted: side must be \"left\" or \"right\", got \"", side,
              "\"");
        return ops::searchsorted(sorter ? ops::take(x1, *sorter, 0) : x1, x2, side == "right");
      },
      "x1"_a, "x2"_a, py::kw_only(), "side"_a = "left", "sorter"_a = py::none(), NoGil(),
      R"(Where each of ``x2`` would go into the ascending 1-d ``x1``: before (``side="right"``: behind) its equals.

``sorter`` are indices that put ``x1`` in order.

>>> ln.searchsorted(ln.tensor([1, 3, 5]), ln.tensor([0, 3, 9])).tolist()
[0, 1, 3]
)");
}

}  // namespace lanner::python
