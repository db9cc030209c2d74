// The functions of one and two tensors come from elementwise.def; those with parameters, and the makers of tensors,
// follow.
#include "bindings.h"
#include "lanner/ops/elementwise.h"

namespace lanner::python {
namespace {

using namespace py::literals;

std::string documented(const char* what, const char* example, const char* result) {
  return std::string(what) + ", element by element.\n\n>>> " + example + "\n" + result + "\n";
}

void bind_table(py::module_& m) {
#define LANNER_ELEMENTWISE_1(Name, name, python_name, traits, what, example, result) \
  m.def(#python_name, &ops::name, "x"_a, NoGil(), documented(what, example, result).c_str());
#define LANNER_ELEMENTWISE_2(Name, name, python_name, traits, what, example, result)                                 \
  m.def(                                                                                                             \
      #python_name, [](const Operand& x1, const Operand& x2) { return ops::name(x1, x2); }, "x1"_a, "x2"_a, NoGil(), \
      documented(what, example, result).c_str());
#include "lanner/ops/elementwise.def"
}

void bind_selection(py::module_& m) {
  m.def("positive", [](const Tensor& x) { return x; }, "x"_a, R"(``x`` itself.

>>> ln.positive(ln.tensor([1, -2]))
tensor([ 1, -2])
)");
  m.def(
      "pow", [](const Operand& x1, const Operand& x2) { return ops::pow(x1, x2); }, "x1"_a, "x2"_a, NoGil(),
      R"(x1 to the power x2, element by element; an integer to a negative power is 0, but for 1 and -1.

>>> ln.pow(ln.tensor([2, 3]), 3)
tensor([ 8, 27])
)");
  m.def(
      "where",
      [](const Operand& condition, const Operand& x1, const Operand& x2) { return ops::where(condition, x1, x2); },
      "condition"_a, "x1"_a, "x2"_a, NoGil(), R"(``x1`` where the condition is true (not 0), else ``x2``.

>>> ln.where(ln.tensor([True, False]), ln.tensor([1.0, 2.0]), 0)
tensor([1., 0.])
)");
  m.def(
      "clip",
      [](const Tensor& x, const std::optional<Operand>& low, const std::optional<Operand>& high) {
        return ops::clip(x, low ? low->tensor : Tensor(), high ? high->tensor : Tensor());
      },
      "x"_a, "min"_a = py::none(), "max"_a = py::none(), NoGil(),
      R"(``x`` held between ``min`` and ``max``, numbers or tensors; None is no bound.

The gradient passes where ``x`` lies between them.

>>> ln.clip(ln.tensor([-2.0, 0.5, 2.0]), -1, 1)
tensor([-1. ,  0.5,  1. ])
)");
  m.def(
      "astype",
      [](const Tensor& x, DType dtype, bool copy) {
        return x.dtype() == dtype && copy ? ops::copy(x) : ops::cast(x, dtype);
      },
      "x"_a, "dtype"_a, py::kw_only(), "copy"_a = true, NoGil(),
      R"(The values as another dtype; fractions are cut off on the way to integers, and all but 0 is True.

>>> ln.astype(ln.tensor([1.7, -1.7]), ln.int32)
tensor([ 1, -1], dtype=int32)
)");
  m.def(
      "result_type", [](const Operand& x1, const Operand& x2) { return ops::result_type(x1, x2); }, "x1"_a, "x2"_a,
      R"(The dtype that an operation on both computes in; a plain number gives way to a tensor.

>>> ln.result_type(ln.tensor([1]), 0.5)
lanner.float32
)");
}

void bind_activations(py::module_& m) {
  m.def("leaky_relu", &ops::leaky_relu, "x"_a, "negative_slope"_a = 0.01, NoGil(),
        R"(x above 0, ``negative_slope * x`` below.

>>> ln.leaky_relu(ln.tensor([-1.0, 1.0]), 0.25)
tensor([-0.25,  1.  ])
)");
  m.def("elu", &ops::elu, "x"_a, "alpha"_a = 1.0, NoGil(), R"(x above 0, ``alpha * (exp(x) - 1)`` below.

>>> ln.elu(ln.tensor([-1.0, 1.0], dtype=ln.float64))
tensor([-0.63212056,  1.        ], dtype=float64)
)");
  m.def(
      "gelu",
      [](const Tensor& x, const std::string& approximate) {
        check(approximate == "none" || approximate == "tanh", "gelu: approximate is 'none' or 'tanh', got '",
              approximate, "'");
        return ops::gelu(x, approximate == "tanh");
      },
      "x"_a, "approximate"_a = "none", NoGil(), R"(x times the probability that a standard normal variable is below x.

``approximate="tanh"``: ``x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x**3)))``.

>>> ln.gelu(ln.tensor([0.0, 1.0], dtype=ln.float64))
tensor([0.        , 0.84134475], dtype=float64)
)");
  m.def("softplus", &ops::softplus, "x"_a, "beta"_a = 1.0, "threshold"_a = 20.0, NoGil(),
        R"(``log(1 + exp(beta * x)) / beta``; x itself where ``beta * x`` is above the threshold.

>>> ln.softplus(ln.tensor([0.0, 100.0], dtype=ln.float64))
tensor([  0.69314718, 100.        ], dtype=float64)
)");
  m.def("hardtanh", &ops::hardtanh, "x"_a, "min_val"_a = -1.0, "max_val"_a = 1.0, NoGil(),
        R"(x between ``min_val`` and ``max_val``, else the nearer of them.

>>> ln.hardtanh(ln.tensor([-2.0, 0.5]))
tensor([-1. ,  0.5])
)");
  m.def("threshold", &ops::threshold, "x"_a, "threshold"_a, "value"_a, NoGil(),
        R"(x where it is above ``threshold``, else ``value``.

>>> ln.threshold(ln.tensor([-1.0, 1.0]), 0.5, 20.0)
tensor([20.,  1.])
)");
}

Tensor wanting_grad(Tensor x, bool requires_grad) {
  if (requires_grad) x.requires_grad_();
  return x;
}

// A number's own dtype in Python's sense.
DType dtype_of_number(const Tensor& x) {
  if (!x.is_weak()) return x.dtype();
  return is_floating(x.dtype()) ? DType::Float32 : DType::Int64;
}

Tensor make_full(const Shape& shape, const Operand& value, std::optional<DType> dtype) {
  return ops::full(shape, value.tensor, dtype.value_or(dtype_of_number(value.tensor)));
}

using MaybeDType = std::optional<DType>;
using MaybeDevice = std::optional<Device>;

template <class F>
void bind_filled(py::module_& m, const char* name, F make, const char* doc) {
  m.def(
      name,
      [make](const Shape& shape, const MaybeDType& dtype, const MaybeDevice&, bool requires_grad) {
        return wanting_grad(make(shape, dtype.value_or(DType::Float32)), requires_grad);
      },
      "shape"_a, py::kw_only(), "dtype"_a = py::none(), "device"_a = py::none(), "requires_grad"_a = false, doc);
}

template <class F>
void bind_like(py::module_& m, const char* name, F make, const char* doc) {
  m.def(
      name,
      [make](const Tensor& x, const MaybeDType& dtype, const MaybeDevice&, bool requires_grad) {
        return wanting_grad(make(x.shape(), dtype.value_or(x.dtype())), requires_grad);
      },
      "x"_a, py::kw_only(), "dtype"_a = py::none(), "device"_a = py::none(), "requires_grad"_a = false, doc);
}

Tensor make_empty(const Shape& shape, DType dtype) { return Tensor::empty(shape, dtype); }

Tensor make_arange(const Operand& start, const std::optional<Operand>& stop, const Operand& step, MaybeDType dtype) {
  const Tensor first = stop ? start.tensor : Tensor::weak(0), last = stop ? stop->tensor : start.tensor;
  const bool floating = is_floating(first.dtype()) || is_floating(last.dtype()) || is_floating(step.tensor.dtype());
  if (floating) return ops::arange(first.item(), last.item(), step.tensor.item(), dtype.value_or(DType::Float32));
  return ops::arange(first.item_int(), last.item_int(), step.tensor.item_int(), dtype.value_or(DType::Int64));
}

void bind_makers(py::module_& m) {
  bind_filled(
      m, "zeros", [](const Shape& s, DType t) { return ops::zeros(s, t); },
      R"(A tensor of zeros, float32 unless said otherwise.

>>> ln.zeros((2, 2))
tensor([[0., 0.],
        [0., 0.]])
)");
  bind_filled(
      m, "ones", [](const Shape& s, DType t) { return ops::ones(s, t); },
      R"(A tensor of ones, float32 unless said otherwise.

>>> ln.ones(3, dtype=ln.int64)
tensor([1, 1, 1])
)");
  bind_filled(m, "empty", &make_empty, R"(A tensor whose elements are not yet set.

>>> ln.empty((2, 3)).shape
(2, 3)
)");
  bind_like(
      m, "zeros_like", [](const Shape& s, DType t) { return ops::zeros(s, t); },
      R"(Zeros in the shape and dtype of ``x``.

>>> ln.zeros_like(ln.tensor([1, 2]))
tensor([0, 0])
)");
  bind_like(
      m, "ones_like", [](const Shape& s, DType t) { return ops::ones(s, t); }, R"(Ones in the shape and dtype of ``x``.

>>> ln.ones_like(ln.tensor([1, 2]))
tensor([1, 1])
)");
  bind_like(m, "empty_like", &make_empty, R"(A tensor in the shape and dtype of ``x`` whose elements are not yet set.

>>> ln.empty_like(ln.tensor([1, 2])).shape
(2,)
)");
  m.def(
      "full",
      [](const Shape& shape, const Operand& value, const MaybeDType& dtype, const MaybeDevice&, bool requires_grad) {
        return wanting_grad(make_full(shape, value, dtype), requires_grad);
      },
      "shape"_a, "fill_value"_a, py::kw_only(), "dtype"_a = py::none(), "device"_a = py::none(),
      "requires_grad"_a = false,
      R"(A tensor of one value, whose kind decides the dtype unless it is given.

>>> ln.full((3,), 0.5)
tensor([0.5, 0.5, 0.5])
)");
  m.def(
      "full_like",
      [](const Tensor& x, const Operand& value, const MaybeDType& dtype, const MaybeDevice&, bool requires_grad) {
        return wanting_grad(ops::full(x.shape(), value.tensor, dtype.value_or(x.dtype())), requires_grad);
      },
      "x"_a, "fill_value"_a, py::kw_only(), "dtype"_a = py::none(), "device"_a = py::none(), "requires_grad"_a = false,
      R"(One value in the shape and dtype of ``x``.

>>> ln.full_like(ln.tensor([1, 2]), 7)
tensor([7, 7])
)");
  m.def(
      "arange",
      [](const Operand& start, const std::optional<Operand>& stop, const Operand& step, const MaybeDType& dtype,
         const MaybeDevice&,
         bool requires_grad) { return wanting_grad(make_arange(start, stop, step, dtype), requires_grad); },
      "start"_a, "stop"_a = py::none(), "step"_a = 1, py::kw_only(), "dtype"_a = py::none(), "device"_a = py::none(),
      "requires_grad"_a = false,
      R"(``start``, ``start + step``, ... up to but without ``stop``; ``arange(n)`` counts from 0.

>>> ln.arange(1, 10, 3)
tensor([1, 4, 7])
)");
  m.def(
      "linspace",
      [](double start, double stop, int64_t num, const MaybeDType& dtype, const MaybeDevice&, bool endpoint,
         bool requires_grad) {
        return wanting_grad(ops::linspace(start, stop, num, dtype.value_or(DType::Float32), endpoint), requires_grad);
      },
      "start"_a, "stop"_a, "num"_a, py::kw_only(), "dtype"_a = py::none(), "device"_a = py::none(), "endpoint"_a = true,
      "requires_grad"_a = false,
      R"(``num`` values evenly spaced from ``start`` to ``stop``, which is left out with ``endpoint=False``.

>>> ln.linspace(0, 1, 5)
tensor([0.  , 0.25, 0.5 , 0.75, 1.  ])
)");
  m.def(
      "eye",
      [](int64_t rows, const std::optional<int64_t>& columns, int64_t k, const MaybeDType& dtype, const MaybeDevice&,
         bool requires_grad) {
        return wanting_grad(ops::eye(rows, columns.value_or(rows), k, dtype.value_or(DType::Float32)), requires_grad);
      },
      "n_rows"_a, "n_cols"_a = py::none(), py::kw_only(), "k"_a = 0, "dtype"_a = py::none(), "device"_a = py::none(),
      "requires_grad"_a = false, R"(Ones on the diagonal that begins ``k`` columns to the right, zeros elsewhere.

>>> ln.eye(2)
tensor([[1., 0.],
        [0., 1.]])
)");
}

}  // namespace

void bind_elementwise(py::module_& m) {
  bind_table(m);
  bind_selection(m);
  bind_activations(m);
  bind_makers(m);
}

}  // namespace lanner::python
