#include "bindings.h"
#include "lanner/ops/shape.h"

namespace lanner::python {

void bind_shape(py::module_& m) {
  using namespace py::literals;
  m.def("reshape", &ops::reshape, "x"_a, "shape"_a, NoGil(),
        R"(The elements of ``x`` in row-major order under ``shape``, of which one size may be -1.

A view where the strides of ``x`` allow one, else a copy. Raises ShapeError if the number of elements differs.

>>> ln.reshape(ln.arange(6), (2, -1)).tolist()
[[0, 1, 2], [3, 4, 5]]
)");
  m.def("permute_dims", &ops::permute_dims, "x"_a, "axes"_a, NoGil(),
        R"(A view of ``x`` whose axis ``i`` is axis ``axes[i]`` of ``x``.

>>> ln.permute_dims(ln.zeros((2, 3, 4)), (2, 0, 1)).shape
(4, 2, 3)
)");
  m.def("matrix_transpose", &ops::matrix_transpose, "x"_a, NoGil(), R"(A view of ``x`` with its last two axes swapped.

>>> ln.matrix_transpose(ln.zeros((5, 2, 3))).shape
(5, 3, 2)
)");
  m.def("swapaxes", &ops::swapaxes, "x"_a, "axis1"_a, "axis2"_a, NoGil(), R"(A view of ``x`` with two axes swapped.

>>> ln.swapaxes(ln.zeros((2, 3, 4)), 0, 2).shape
(4, 3, 2)
)");
  m.def("moveaxis", &ops::moveaxis, "x"_a, "source"_a, "destination"_a, NoGil(),
        R"(A view of ``x`` with the axes ``source`` moved to ``destination``; the others keep their order.

>>> ln.moveaxis(ln.zeros((2, 3, 4)), 0, -1).shape
(3, 4, 2)
)");
  m.def("expand_dims", &ops::expand_dims, "x"_a, py::kw_only(), "axis"_a = 0, NoGil(),
        R"(A view of ``x`` with a new axis of size 1 at ``axis``.

>>> ln.expand_dims(ln.zeros((2, 3)), axis=-1).shape
(2, 3, 1)
)");
  m.def(
      "squeeze",
      [](const Tensor& x, const std::optional<Dims>& axis) { return axis ? ops::squeeze(x, *axis) : ops::squeeze(x); },
      "x"_a, "axis"_a = py::none(), NoGil(),
      R"(A view of ``x`` without the given axes, which must have size 1 (by default: all that have).

>>> ln.squeeze(ln.zeros((1, 3, 1)), 0).shape
(3, 1)
)");
  m.def("flatten", &ops::flatten, "x"_a, "start_axis"_a = 0, "end_axis"_a = -1, NoGil(),
        R"(``x`` with the axes from ``start_axis`` to ``end_axis`` joined into one.

>>> ln.flatten(ln.zeros((2, 3, 4)), 1).shape
(2, 12)
)");
  m.def("unflatten", &ops::unflatten, "x"_a, "axis"_a, "sizes"_a, NoGil(),
        R"(``x`` with one axis split into several; one of ``sizes`` may be -1.

>>> ln.unflatten(ln.zeros((2, 12)), 1, (3, -1)).shape
(2, 3, 4)
)");
  m.def("broadcast_to", &ops::broadcast_to, "x"_a, "shape"_a, NoGil(),
        R"(A view of ``x`` repeated along axes of size 1, and new leading axes, up to ``shape``.

>>> ln.broadcast_to(ln.tensor([1, 2]), (2, 2)).tolist()
[[1, 2], [1, 2]]
)");
  m.def(
      "broadcast_arrays",
      [](const Tensors& xs) {
        Shape shape;
        for (const Tensor& x : xs) shape = broadcast_shapes(shape, x.shape(), "broadcast_arrays");
        Tensors out;
        for (const Tensor& x : xs) out.push_back(ops::broadcast_to(x, shape));
        return out;
      },
      "arrays"_a, NoGil(), R"(The arrays of a list, each broadcast to the shape of all.

>>> [x.shape for x in ln.broadcast_arrays([ln.zeros((2, 1)), ln.zeros(3)])]
[(2, 3), (2, 3)]
)");
}

}  // namespace lanner::python
