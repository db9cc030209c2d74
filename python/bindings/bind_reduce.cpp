#include "bindings.h"
#include "lanner/ops/reduce.h"

namespace lanner::python {
namespace {

using OptionalAxes = std::optional<Dims>;

ops::Axes axes_of(const OptionalAxes& axis) { return axis ? ops::Axes(*axis) : ops::Axes(); }

using Reduction = Tensor (*)(const Tensor&, const ops::Axes&, bool);
void def_reduction(py::module_& m, const char* name, Reduction f, const char* doc) {
  using namespace py::literals;
  m.def(
      name, [f](const Tensor& x, const OptionalAxes& axis, bool keepdims) { return f(x, axes_of(axis), keepdims); },
      "x"_a, "axis"_a = py::none(), py::kw_only(), "keepdims"_a = false, NoGil(), doc);
}

using TypedReduction = Tensor (*)(const Tensor&, const ops::Axes&, bool, std::optional<DType>);
void def_typed_reduction(py::module_& m, const char* name, TypedReduction f, const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f](const Tensor& x, const OptionalAxes& axis, std::optional<DType> dtype, bool keepdims) {
        return f(x, axes_of(axis), keepdims, dtype);
      },
      "x"_a, "axis"_a = py::none(), py::kw_only(), "dtype"_a = py::none(), "keepdims"_a = false, NoGil(), doc);
}

using Moment = Tensor (*)(const Tensor&, const ops::Axes&, double, bool);
void def_moment(py::module_& m, const char* name, Moment f, const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f](const Tensor& x, const OptionalAxes& axis, double correction, bool keepdims) {
        return f(x, axes_of(axis), correction, keepdims);
      },
      "x"_a, "axis"_a = py::none(), py::kw_only(), "correction"_a = 0.0, "keepdims"_a = false, NoGil(), doc);
}

using Scan = Tensor (*)(const Tensor&, int64_t, std::optional<DType>, bool);
void def_scan(py::module_& m, const char* name, Scan f, const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f, name = std::string(name)](const Tensor& x, std::optional<int64_t> axis, std::optional<DType> dtype,
                                    bool include_initial) {
        check<ShapeError>(axis || x.ndim() == 1, name, ": axis must be given for x ", x.shape());
        return f(x, axis.value_or(0), dtype, include_initial);
      },
      "x"_a, "axis"_a = py::none(), py::kw_only(), "dtype"_a = py::none(), "include_initial"_a = false, NoGil(), doc);
}

}  // namespace

void bind_reduce(py::module_& m) {
  using namespace py::literals;
  def_typed_reduction(m, "sum", &ops::sum,
                      R"(The sum of the elements along ``axis`` (an int, a tuple of ints, or by default all).

Integers and bools are added as int64; floats pairwise, always in the same order. ``x`` is first converted to ``dtype``.
``keepdims`` leaves the reduced axes in place, with size 1.

>>> ln.sum(ln.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).tolist()
[4.0, 6.0]
)");
  def_typed_reduction(m, "prod", &ops::prod,
                      R"(The product of the elements along ``axis``; of integers and bools an int64.

>>> ln.prod(ln.tensor([[1, 2], [3, 4]]), axis=1).tolist()
[2, 12]
)");
  def_reduction(m, "mean", &ops::mean, R"(The mean of the elements along ``axis``; of integers a float32.

>>> ln.mean(ln.tensor([1.0, 2.0, 6.0])).item()
3.0
)");
  def_moment(m, "var", &ops::var,
             R"(The variance along ``axis``: ``sum((x - mean)**2) / (n - correction)``, in two passes.

>>> ln.var(ln.tensor([1.0, 2.0, 3.0]), correction=1).item()
1.0
)");
  def_moment(m, "std", &ops::std,
             R"(The standard deviation along ``axis``, the square root of ``var``. Its gradient is 0 where it is 0.

>>> ln.std(ln.tensor([1.0, 3.0])).item()
1.0
)");
  def_reduction(m, "max", &ops::max,
                R"(The largest element along ``axis``; NaN if one is. The gradient is shared evenly by equal elements.

Raises ShapeError where there are no elements.

>>> ln.max(ln.tensor([[1, 5], [7, 2]]), axis=1).tolist()
[5, 7]
)");
  def_reduction(m, "min", &ops::min,
                R"(The smallest element along ``axis``; NaN if one is. The gradient is shared evenly by equal elements.

>>> ln.min(ln.tensor([[1, 5], [7, 2]]), axis=1).tolist()
[1, 2]
)");
  def_reduction(m, "amax", &ops::amax, R"(The same as ``max``.

>>> ln.amax(ln.tensor([1, 5, 3])).item()
5
)");
  def_reduction(m, "amin", &ops::amin, R"(The same as ``min``.

>>> ln.amin(ln.tensor([1, 5, 3])).item()
1
)");
  def_reduction(m, "any", &ops::any, R"(Whether one element along ``axis`` is true: not 0.

>>> ln.any(ln.tensor([[0, 0], [0, 2]]), axis=1).tolist()
[False, True]
)");
  def_reduction(m, "all", &ops::all, R"(Whether all elements along ``axis`` are true: not 0.

>>> ln.all(ln.tensor([[1, 0], [1, 2]]), axis=1).tolist()
[False, True]
)");
  def_reduction(m, "count_nonzero", &ops::count_nonzero, R"(How many elements along ``axis`` are not 0.

>>> ln.count_nonzero(ln.tensor([0, 3, 0, 4])).item()
2
)");
  def_reduction(m, "logsumexp", &ops::logsumexp, R"(``log(sum(exp(x)))`` along ``axis``, which does not overflow.

>>> ln.logsumexp(ln.tensor([1000.0, 1000.0])).item() > 1000.69
True
)");
  m.def("argmax", &ops::argmax, "x"_a, "axis"_a = py::none(), py::kw_only(), "keepdims"_a = false, NoGil(),
        R"(The index of the first largest element along ``axis``, or in the flattened ``x`` without one; int64.

A NaN counts as the largest.

>>> ln.argmax(ln.tensor([[1, 5], [7, 2]]), axis=1).tolist()
[1, 0]
)");
  m.def("argmin", &ops::argmin, "x"_a, "axis"_a = py::none(), py::kw_only(), "keepdims"_a = false, NoGil(),
        R"(The index of the first smallest element along ``axis``, or in the flattened ``x`` without one; int64.

>>> ln.argmin(ln.tensor([[1, 5], [7, 2]]), axis=1).tolist()
[0, 1]
)");
  def_scan(m, "cumulative_sum", &ops::cumulative_sum,
           R"(The running sum along ``axis``, which may be left out for one dimension.

``include_initial`` puts a 0 first, so that the axis grows by 1.

>>> ln.cumulative_sum(ln.tensor([1, 2, 3])).tolist()
[1, 3, 6]
>>> ln.cumulative_sum(ln.tensor([1, 2, 3]), include_initial=True).tolist()
[0, 1, 3, 6]
)");
  def_scan(m, "cumulative_prod", &ops::cumulative_prod,
           R"(The running product along ``axis``, which may be left out for one dimension.

``include_initial`` puts a 1 first, so that the axis grows by 1.

>>> ln.cumulative_prod(ln.tensor([1, 2, 3])).tolist()
[1, 2, 6]
)");
  m.def(
      "cumsum",
      [](const Tensor& x, int64_t axis, std::optional<DType> dtype) { return ops::cumulative_sum(x, axis, dtype); },
      "x"_a, "axis"_a, py::kw_only(), "dtype"_a = py::none(), NoGil(),
      R"(The running sum along ``axis``: ``cumulative_sum`` under PyTorch's name.

>>> ln.cumsum(ln.tensor([1, 2, 3]), 0).tolist()
[1, 3, 6]
)");
  m.def(
      "cumprod",
      [](const Tensor& x, int64_t axis, std::optional<DType> dtype) { return ops::cumulative_prod(x, axis, dtype); },
      "x"_a, "axis"_a, py::kw_only(), "dtype"_a = py::none(), NoGil(),
      R"(The running product along ``axis``: ``cumulative_prod`` under PyTorch's name.

>>> ln.cumprod(ln.tensor([1, 2, 3]), 0).tolist()
[1, 2, 6]
)");
  m.def(
      "norm",
      [](const Tensor& x, double ord, const OptionalAxes& axis, bool keepdims) {
        return ops::norm(x, ord, axes_of(axis), keepdims);
      },
      "x"_a, "ord"_a = 2.0, "axis"_a = py::none(), "keepdims"_a = false, NoGil(),
      R"(The vector norm along ``axis``: ``sum(|x|**ord)**(1 / ord)``.

``ord`` may also be 0 (how many elements are not 0), ``inf`` and ``-inf`` (the largest and the smallest magnitude).

>>> ln.norm(ln.tensor([3.0, 4.0])).item()
5.0
)");
  m.def(
      "vector_norm",
      [](const Tensor& x, const OptionalAxes& axis, bool keepdims, double ord) {
        return ops::norm(x, ord, axes_of(axis), keepdims);
      },
      "x"_a, "axis"_a = py::none(), py::kw_only(), "keepdims"_a = false, "ord"_a = 2.0, NoGil(),
      R"(``norm`` with the Array API's signature.

>>> ln.vector_norm(ln.tensor([[3.0, 4.0], [0.0, 1.0]]), axis=1, ord=1).tolist()
[7.0, 1.0]
)");
  m.def(
      "normalize",
      [](const Tensor& x, double p, const Dims& axis, double eps) { return ops::normalize(x, p, axis, eps); }, "x"_a,
      "p"_a = 2.0, "axis"_a = Dims{1}, "eps"_a = 1e-12, NoGil(),
      R"(``x / max(norm(x, p, axis), eps)``: vectors of length 1 along ``axis``.

>>> ln.normalize(ln.tensor([[0.0, 2.0]])).tolist()
[[0.0, 1.0]]
)");
}

}  // namespace lanner::python
