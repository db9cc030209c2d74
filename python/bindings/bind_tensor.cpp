// The Tensor class: attributes, conversions, operators, autodiff methods.
#include <pybind11/typing.h>

#include "bindings.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/linalg.h"
#include "lanner/ops/shape.h"

namespace lanner::python {

void bind_dtypes(py::module_& m);
void bind_interop(py::module_& m, py::class_<Tensor>& cls);

namespace {

using namespace py::literals;

// lanner.recording's number of the last change: its own numbers are positive.
py::handle changes;
void note_change() {
  static int64_t number = 0;
  PyList_SetItem(changes.ptr(), 0, PyLong_FromLongLong(--number));
}

Tensor matmul(const Tensor& a, const Tensor& b) { return ops::matmul(a, b); }

// x op= y: what x had on the tape must not change, and y's gradient would be lost.
template <Tensor (*kOp)(const Tensor&, const Tensor&)>
void in_place(const char* name, const Tensor& x, const Tensor& y) {
  check(!(grad_enabled() && y.requires_grad()), name,
        ": the value requires grad, and writing it into a tensor would lose its gradient; use x = x ",
        std::string(name).substr(0, std::string(name).size() - 1), " y");
  const Tensor value = kOp(x, y);
  check<ShapeError>(value.shape() == x.shape(), name, ": a value of shape ", y.shape(), " does not fit into ",
                    x.shape());
  check<DTypeError>(is_floating(x.dtype()) || !is_floating(value.dtype()), name, ": the result is ",
                    dtype_name(value.dtype()), " and cannot be written into ", dtype_name(x.dtype()));
  if (grad_enabled() && x.requires_grad()) x.will_write(name);  // throws
  NoGrad off;
  ops::copy_(x, value);
}

template <Tensor (*kOp)(const Tensor&, const Tensor&)>
void bind_operator(py::class_<Tensor>& cls, const char* name, const char* reflected = nullptr,
                   const char* in_place_name = nullptr, const char* symbol = nullptr) {
  cls.def(name, [](const Tensor& a, const Operand& b) { return kOp(a, b); }, "other"_a, py::is_operator(), NoGil());
  if (reflected)
    cls.def(
        reflected, [](const Tensor& a, const Operand& b) { return kOp(b, a); }, "other"_a, py::is_operator(), NoGil());
  if (in_place_name)
    cls.def(
        in_place_name,
        [symbol](const py::object& self, const Operand& b) {  // the object itself: a Parameter stays one
          in_place<kOp>(symbol, self.cast<Tensor>(), b);
          return self;
        },
        "other"_a, py::is_operator());
}

void bind_operators(py::class_<Tensor>& cls) {
  bind_operator<ops::add>(cls, "__add__", "__radd__", "__iadd__", "+=");
  bind_operator<ops::subtract>(cls, "__sub__", "__rsub__", "__isub__", "-=");
  bind_operator<ops::multiply>(cls, "__mul__", "__rmul__", "__imul__", "*=");
  bind_operator<ops::divide>(cls, "__truediv__", "__rtruediv__", "__itruediv__", "/=");
  bind_operator<ops::floor_divide>(cls, "__floordiv__", "__rfloordiv__", "__ifloordiv__", "//=");
  bind_operator<ops::remainder>(cls, "__mod__", "__rmod__", "__imod__", "%=");
  bind_operator<ops::pow>(cls, "__pow__", "__rpow__", "__ipow__", "**=");
  bind_operator<matmul>(cls, "__matmul__", "__rmatmul__", "__imatmul__", "@=");
  bind_operator<ops::bitwise_and>(cls, "__and__", "__rand__", "__iand__", "&=");
  bind_operator<ops::bitwise_or>(cls, "__or__", "__ror__", "__ior__", "|=");
  bind_operator<ops::bitwise_xor>(cls, "__xor__", "__rxor__", "__ixor__", "^=");
  bind_operator<ops::bitwise_left_shift>(cls, "__lshift__", "__rlshift__", "__ilshift__", "<<=");
  bind_operator<ops::bitwise_right_shift>(cls, "__rshift__", "__rrshift__", "__irshift__", ">>=");
  bind_operator<ops::equal>(cls, "__eq__");
  bind_operator<ops::not_equal>(cls, "__ne__");
  bind_operator<ops::less>(cls, "__lt__");
  bind_operator<ops::less_equal>(cls, "__le__");
  bind_operator<ops::greater>(cls, "__gt__");
  bind_operator<ops::greater_equal>(cls, "__ge__");
  cls.def("__neg__", &ops::neg, NoGil());
  cls.def("__pos__", [](const Tensor& x) { return x; });
  cls.def("__abs__", &ops::abs, NoGil());
  cls.def("__invert__", &ops::bitwise_invert, NoGil());
}

// One element as a Python number, exact for 64-bit integers.
py::object item(const Tensor& x) {
  check<ShapeError>(x.size() == 1, "item: expected one element, x has shape ", x.shape());
  if (x.dtype() == DType::Bool) return py::bool_(x.item_int() != 0);
  if (x.dtype() == DType::UInt64) return py::int_(static_cast<uint64_t>(x.item_int()));
  if (is_integer(x.dtype())) return py::int_(x.item_int());
  return py::float_(x.item());
}

py::object to_list(const Tensor& x) {
  if (x.ndim() == 0) return item(x);
  py::list out(x.shape()[0]);
  Shape shape = x.shape();
  Dims strides = x.strides();
  const int64_t n = shape[0], step = strides[0];
  shape.erase(0);
  strides.erase(0);
  for (int64_t i = 0; i < n; ++i) out[i] = to_list(x.view(shape, strides, x.size() ? i * step : 0));
  return out;
}

py::str repr(const Tensor& x) {
  const Tensor shown = x.dtype() == DType::BFloat16 ? ops::cast(x.detach(), DType::Float32) : x.detach();
  py::module_ numpy = py::module_::import("numpy");
  py::str body = numpy.attr("array2string")(tensor_to_numpy(shown), "separator"_a = ", ", "prefix"_a = "tensor(");
  std::string text = "tensor(" + body.cast<std::string>();
  if (x.size() == 0) text += ", shape=" + to_string(x.shape());
  if (x.dtype() != DType::Float32 && x.dtype() != DType::Int64 && x.dtype() != DType::Bool)
    text += std::string(", dtype=") + dtype_name(x.dtype());
  if (x.requires_grad()) text += ", requires_grad=True";
  return py::str(text + ")");
}

bool truth(const Tensor& x) {
  check<ShapeError>(x.size() == 1, "bool: the truth of a tensor of shape ", x.shape(),
                    " is ambiguous; use any() or all()");
  return x.item() != 0;
}

Tensor to(const Tensor& x, const py::args& args, const py::kwargs& kwargs) {
  std::optional<DType> dtype;
  const auto take = [&](py::handle v) {
    if (v.is_none()) return;
    if (py::isinstance<py::str>(v)) {
      const std::string text = v.cast<std::string>();
      if (text.rfind("cpu", 0) == 0 || text.rfind("cuda", 0) == 0) {
        Device::parse(text);  // the CPU, or an error
        return;
      }
    }
    dtype = dtype_from_object(v);
  };
  for (py::handle v : args) take(v);
  for (auto [key, v] : kwargs) {
    const std::string name = py::str(key);
    if (name != "dtype" && name != "device") throw py::type_error("to: unexpected argument '" + name + "'");
    take(v);
  }
  return dtype ? ops::cast(x, *dtype) : x;
}

void bind_attributes(py::class_<Tensor>& cls) {
  cls.def_property_readonly("shape", &Tensor::shape, "Sizes, a tuple of ints.");
  cls.def_property_readonly("dtype", &Tensor::dtype, "The dtype, such as ``ln.float32``.");
  cls.def_property_readonly("device", &Tensor::device, "Where the memory lies: ``'cpu'``.");
  cls.def_property_readonly("ndim", &Tensor::ndim, "Number of axes.");
  cls.def_property_readonly("size", [](const Tensor& x) { return x.size(); }, "Number of elements.");
  cls.def_property_readonly("strides", &Tensor::strides, "Steps between neighbours along each axis, in elements.");
  cls.def_property_readonly(
      "nbytes", [](const Tensor& x) { return x.size() * itemsize(x.dtype()); }, "Bytes of the elements.");
  cls.def_property_readonly(
      "T",
      [](const Tensor& x) {
        check<ShapeError>(x.ndim() == 2, "T: expected 2 dimensions, x has shape ", x.shape(),
                          "; use mT or permute_dims");
        return ops::matrix_transpose(x);
      },
      "The transpose of a matrix, a view.");
  cls.def_property_readonly("mT", &ops::matrix_transpose, "The last two axes swapped, a view.");
  cls.def_property(
      "requires_grad", &Tensor::requires_grad,
      [](Tensor& x, bool on) {
        x.requires_grad_(on);
        note_change();
      },
      "Whether gradients are computed for this tensor.");
  cls.def_property_readonly("is_leaf", &Tensor::is_leaf,
                            "Whether the tensor was made by the user, not computed on the tape.");
  cls.def_property(
      "grad", [](const Tensor& x) { return x.grad().defined() ? std::optional(x.grad()) : std::nullopt; },
      [](Tensor& x, const std::optional<Tensor>& g) { x.set_grad(g.value_or(Tensor())); },
      "The gradient that backward() added up, or None.");
  cls.def_property(
      "data", &Tensor::detach,
      [](Tensor& x, const Tensor& value) {
        check(x.is_leaf(), "data: only a leaf can take other memory");
        Tensor fresh = value.detach();
        if (x.requires_grad()) fresh.requires_grad_();
        note_change();
        x = fresh;  // the Python object stays the same, so that optimizers and modules that hold it see the new values
      },
      "The values without history. Assigned to, this object takes the other tensor's memory, shape and dtype.");
  cls.def_property_readonly("_version", &Tensor::version, "How often the memory was written to in place.");
  cls.def_property_readonly("is_contiguous", &Tensor::is_contiguous, "Whether the memory is row-major without gaps.");
}

void bind_methods(py::class_<Tensor>& cls) {
  cls.def("item", &item, R"(The only element, as a Python number.

>>> ln.tensor([[2.5]]).item()
2.5
)");
  cls.def("tolist", &to_list, R"(The elements as nested lists of Python numbers.

>>> ln.tensor([[1, 2]]).tolist()
[[1, 2]]
)");
  cls.def("to", &to, R"(The same values as another dtype or on another device; the tensor itself where nothing changes.

>>> ln.tensor([1.7]).to(ln.int64).tolist()
[1]
)");
  cls.def("cpu", [](const Tensor& x) { return x; }, "The same values in the CPU's memory.");
  cls.def(
      "cuda",
      [](const Tensor& x) {
        Device::parse("cuda");
        return x;
      },
      "The same values in the GPU's memory; raises DeviceError where there is none.");
  cls.def("detach", &Tensor::detach, R"(A tensor that shares the memory and has no history on the tape.

>>> ln.tensor([1.0], requires_grad=True).detach().requires_grad
False
)");
  cls.def("clone", &ops::copy, NoGil(), R"(A copy in memory of its own, recorded on the tape.

>>> x = ln.tensor([1.0]); y = x.clone(); y[0] = 2.0; x.item()
1.0
)");
  cls.def("contiguous", &ops::contiguous, NoGil(),
          "The tensor itself if its memory is row-major without gaps, else a copy that is.");
  cls.def(
      "requires_grad_",
      [](Tensor& x, bool on) {
        note_change();
        return x.requires_grad_(on);
      },
      "on"_a = true,
      R"(Says whether gradients are wanted for this leaf; returns the tensor.

>>> x = ln.ones(3).requires_grad_(); (x * x).sum().backward(); x.grad.tolist()
[2.0, 2.0, 2.0]
)");
  cls.def(
      "backward",
      [](const Tensor& x, const std::optional<Tensor>& g, bool retain_graph, bool create_graph) {
        x.backward(g.value_or(Tensor()), retain_graph, create_graph);
      },
      "gradient"_a = py::none(), "retain_graph"_a = false, "create_graph"_a = false, NoGil(),
      R"(Adds the gradient of this tensor into ``grad`` of every leaf that requires one.

``gradient`` has this tensor's shape and may be left out for one element. The tape is freed unless ``retain_graph``;
with ``create_graph`` the gradients can be differentiated again.

>>> w = ln.tensor(5.0, requires_grad=True)
>>> ((w * 2 - 6) ** 2 / 2).backward()
>>> w.grad.item()
8.0
)");
  cls.def("__len__", [](const Tensor& x) {
    if (x.ndim() == 0) throw py::type_error("len() of a 0-d tensor");
    return x.shape()[0];
  });
  cls.def("__getitem__", &getitem, "key"_a);
  cls.def("__setitem__", &setitem, "key"_a, "value"_a);
  cls.def("__iter__", [](const py::object& self) {
    const Tensor x = self.cast<Tensor>();
    if (x.ndim() == 0) throw py::type_error("iteration over a 0-d tensor");
    py::list rows;
    for (int64_t i = 0; i < x.shape()[0]; ++i) rows.append(getitem(x, py::int_(i)));
    return py::iter(rows);
  });
  cls.def("__bool__", &truth);
  cls.def("__float__", &Tensor::item);
  cls.def("__int__", [](const Tensor& x) { return py::int_(item(x)); });
  cls.def("__index__", [](const Tensor& x) {
    if (x.ndim() != 0 || is_floating(x.dtype()) || x.dtype() == DType::Bool)
      throw py::type_error("only a 0-d integer tensor can be an index");
    return item(x);
  });
  cls.def(
      "__array_namespace__", [](const Tensor&, const py::object&) { return py::module_::import("lanner"); },
      py::kw_only(), "api_version"_a = py::none());
  cls.def("__hash__", [](const Tensor& x) { return reinterpret_cast<size_t>(x.id()) >> 4; });
  cls.def("__repr__", &repr);
  cls.def("__format__", [](const Tensor& x, const std::string& spec) {
    return py::module_::import("builtins")
        .attr("format")(x.size() == 1 && !spec.empty() ? item(x) : py::object(repr(x)), spec);
  });
  cls.def(
      "__deepcopy__",
      [](const Tensor& x, const py::object&) {
        Tensor y = ops::copy(x.detach());
        if (x.requires_grad() && x.is_leaf()) y.requires_grad_();
        return y;
      },
      "memo"_a);
}

}  // namespace

void bind_tensor(py::module_& m) {
  py::list numbers(2);
  for (int i = 0; i < 2; ++i) numbers[i] = py::int_(0);
  changes = numbers.release();
  m.def(
      "_changes", [] { return py::typing::List<py::int_>(py::reinterpret_borrow<py::list>(changes)); },
      "The numbers of the last changes, see lanner.recording; always the same list.");
  bind_dtypes(m);
  py::class_<Tensor> cls(m, "Tensor",
                         R"(An n-dimensional array that knows its gradient. Made by ``ln.tensor`` and its kin.

>>> x = ln.tensor([[1.0, 2.0], [3.0, 4.0]])
>>> (x @ x.T).tolist()
[[5.0, 11.0], [11.0, 25.0]]
)");
  cls.def(py::init([](const Tensor& x) { return x; }), "x"_a);  // for subclasses: the same tensor
  bind_attributes(cls);
  bind_methods(cls);
  bind_operators(cls);
  bind_interop(m, cls);
}

// The array functions that are methods too. Called when all functions are bound.
void bind_function_methods(py::module_& m) {
  py::object cls = m.attr("Tensor");
  for (const char* name :
       {"sum",         "mean",        "var",     "std",       "prod",           "max",          "min",
        "any",         "all",         "argmax",  "argmin",    "reshape",        "permute_dims", "swapaxes",
        "squeeze",     "expand_dims", "flatten", "unflatten", "broadcast_to",   "exp",          "log",
        "sqrt",        "square",      "tanh",    "sigmoid",   "relu",           "clip",         "softmax",
        "log_softmax", "sort",        "argsort", "topk",      "cumulative_sum", "gather",       "scatter",
        "take",        "repeat",      "split",   "matmul"})
    cls.attr(name) = py::reinterpret_steal<py::object>(PyInstanceMethod_New(py::object(m.attr(name)).ptr()));
}

}  // namespace lanner::python
