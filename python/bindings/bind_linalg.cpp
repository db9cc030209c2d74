#include <variant>

#include "bindings.h"
#include "lanner/ops/linalg.h"

namespace lanner::python {

void bind_linalg(py::module_& m) {
  using namespace py::literals;
  m.def("matmul", &ops::matmul, "x1"_a, "x2"_a, py::pos_only(), NoGil(),
        R"(The matrix product over the last two axes; the axes before them broadcast.

A 1-d ``x1`` is a row and a 1-d ``x2`` a column; that axis is not in the result. Transposed views are not copied.
float16 and bfloat16 are multiplied in float32; integers wrap around.

>>> ln.matmul(ln.tensor([[1.0, 2.0], [3.0, 4.0]]), ln.tensor([1.0, 10.0])).tolist()
[21.0, 43.0]
)");
  m.def(
      "linear",
      [](const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
        return ops::linear(x, weight, bias.value_or(Tensor()));
      },
      "x"_a, "weight"_a, "bias"_a = py::none(), NoGil(),
      R"(``x @ weight.T + bias``: ``x`` [..., in], ``weight`` [out, in], ``bias`` [out] or None.

>>> ln.linear(ln.ones((1, 3)), ln.ones((2, 3)), ln.tensor([0.0, 1.0])).tolist()
[[3.0, 4.0]]
)");
  m.def(
      "bilinear",
      [](const Tensor& x1, const Tensor& x2, const Tensor& weight, const std::optional<Tensor>& bias) {
        return ops::bilinear(x1, x2, weight, bias.value_or(Tensor()));
      },
      "x1"_a, "x2"_a, "weight"_a, "bias"_a = py::none(), NoGil(),
      R"(``y[..., o] = sum_ij x1[..., i] weight[o, i, j] x2[..., j] + bias[o]``.

``x1`` [..., in1], ``x2`` [..., in2], ``weight`` [out, in1, in2], ``bias`` [out] or None.

>>> ln.bilinear(ln.ones((4, 2)), ln.ones((4, 3)), ln.ones((5, 2, 3))).shape
(4, 5)
)");
  m.def(
      "tensordot",
      [](const Tensor& x1, const Tensor& x2, const std::variant<int64_t, std::pair<Dims, Dims>>& axes) {
        if (const int64_t* count = std::get_if<int64_t>(&axes)) return ops::tensordot(x1, x2, *count);
        const auto& [axes1, axes2] = std::get<std::pair<Dims, Dims>>(axes);
        return ops::tensordot(x1, x2, axes1, axes2);
      },
      "x1"_a, "x2"_a, py::pos_only(), py::kw_only(), "axes"_a = int64_t{2}, NoGil(),
      R"(Sums products over axes of ``x1`` and ``x2``.

``axes`` is a number, for that many last axes of ``x1`` and first axes of ``x2``, or a pair: the axes of ``x1``, and
those of ``x2`` that go with them.

>>> ln.tensordot(ln.ones((2, 3, 4)), ln.ones((4, 3, 5)), axes=((1, 2), (1, 0))).shape
(2, 5)
)");
  m.def(
      "einsum",
      [](const std::string& equation, const py::args& operands) {
        Tensors tensors;
        for (py::handle operand : operands) {
          if (!py::isinstance<Tensor>(operand))
            throw py::type_error("einsum: operands must be tensors, got " +
                                 py::str(py::type::of(operand).attr("__name__")).cast<std::string>());
          tensors.push_back(operand.cast<Tensor>());
        }
        GilRelease release;
        return ops::einsum(equation, tensors);
      },
      "equation"_a, R"(Einstein summation: letters name axes; those that are not in the result are summed over.

Without ``->`` the result has the letters that occur once, in alphabetical order. A letter repeated in an operand
takes its diagonal; ``...`` stands for axes that are broadcast.

>>> ln.einsum("bij,bjk->bik", ln.ones((2, 3, 4)), ln.ones((2, 4, 5))).shape
(2, 3, 5)
>>> ln.einsum("ii", ln.tensor([[1, 2], [3, 4]])).item()
5
)");
  m.def("outer", &ops::outer, "x1"_a, "x2"_a, py::pos_only(), NoGil(),
        R"(``x1`` [M] and ``x2`` [N] as their products [M, N].

>>> ln.outer(ln.tensor([1, 2]), ln.tensor([3, 4, 5])).tolist()
[[3, 4, 5], [6, 8, 10]]
)");
  m.def("vecdot", &ops::vecdot, "x1"_a, "x2"_a, py::pos_only(), py::kw_only(), "axis"_a = -1, NoGil(),
        R"(The sum of products along ``axis``; the other axes broadcast.

>>> ln.vecdot(ln.tensor([[1.0, 2.0], [3.0, 4.0]]), ln.tensor([1.0, 10.0])).tolist()
[21.0, 43.0]
)");
}

}  // namespace lanner::python
