// Tensors from and to other libraries: NumPy, DLPack, Python's own sequences.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "dlpack.h"
#include "lanner/ops/elementwise.h"

namespace lanner::python {
namespace {

using namespace py::literals;

// Keeps a Python object for as long as memory is in use, and lets it go under the GIL.
std::function<void()> keep_alive(py::object object) {
  PyObject* p = object.release().ptr();
  return [p] {
    if (!Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;
    Py_DECREF(p);
  };
}

std::optional<DType> dtype_of(const py::dtype& d) {
  const auto bytes = static_cast<size_t>(d.itemsize());
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType t = static_cast<DType>(i);
    const char kind = t == DType::Bool ? 'b' : is_floating(t) ? 'f' : is_unsigned(t) ? 'u' : 'i';
    if (t != DType::BFloat16 && d.kind() == kind && itemsize(t) == bytes) return t;
  }
  return std::nullopt;
}

Tensor from_array(py::array array, std::optional<DType> dtype, bool copy) {
  const py::dtype d = array.dtype();
  const std::optional<DType> known = dtype_of(d);
  if (!known) throw DTypeError("tensor: NumPy dtype " + d.attr("name").cast<std::string>() + " has no counterpart");
  const DType from = *known;
  const char order = d.byteorder();
  if (order != '=' && order != '|' && !d.attr("isnative").cast<bool>())
    array = array.attr("astype")(d.attr("newbyteorder")("="));
  const auto item = static_cast<py::ssize_t>(itemsize(from));
  bool aligned = (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
  for (int i = 0; i < array.ndim(); ++i) aligned = aligned && array.strides(i) % item == 0;
  if (!aligned) array = array.attr("copy")();
  Shape shape;
  Dims strides;
  for (int i = 0; i < array.ndim(); ++i) {
    shape.push_back(array.shape(i));
    strides.push_back(array.strides(i) / item);
  }
  const bool writeable = array.writeable();
  Tensor shared = Tensor::from_memory(const_cast<void*>(array.data()), shape, strides, from, keep_alive(array));
  if (dtype && *dtype != from) return ops::cast(shared, *dtype);
  return copy || !writeable ? ops::copy(shared) : shared;
}

DLDataType dl_type(DType t) {
  const auto bits = static_cast<uint8_t>(8 * itemsize(t));
  if (t == DType::Bool) return {6, bits, 1};
  if (t == DType::BFloat16) return {4, bits, 1};
  return {static_cast<uint8_t>(is_floating(t) ? 2 : is_unsigned(t) ? 1 : 0), bits, 1};
}

DType from_dl_type(DLDataType t) {
  check<DTypeError>(t.lanes == 1, "from_dlpack: vector types are not supported");
  for (int i = 0; i < kDTypeCount; ++i) {
    const DLDataType candidate = dl_type(static_cast<DType>(i));
    if (candidate.code == t.code && candidate.bits == t.bits) return static_cast<DType>(i);
  }
  throw DTypeError("from_dlpack: type code " + std::to_string(t.code) + " of " + std::to_string(t.bits) +
                   " bits has no counterpart");
}

struct Exported {
  Tensor tensor;
  Shape shape;
  Dims strides;
  DLManagedTensor managed;
};

py::capsule to_dlpack(const Tensor& x, const py::kwargs& kwargs) {
  if (kwargs.contains("dl_device") && !kwargs["dl_device"].is_none())
    check<DeviceError>(kwargs["dl_device"].cast<std::pair<int, int>>().first == 1,
                       "__dlpack__: the tensor lies on the CPU");
  check(!x.requires_grad(), "__dlpack__: x requires grad; use x.detach()");
  x.will_share();
  const bool copy = kwargs.contains("copy") && !kwargs["copy"].is_none() && kwargs["copy"].cast<bool>();
  auto* e = new Exported{copy ? ops::copy(x) : x, x.shape(), {}, {}};
  e->strides = e->tensor.strides();
  e->managed.dl_tensor = {e->tensor.raw(),    {1, 0}, x.ndim(), dl_type(x.dtype()), e->shape.begin(),
                          e->strides.begin(), 0};
  e->managed.manager_ctx = e;
  e->managed.deleter = [](DLManagedTensor* m) { delete static_cast<Exported*>(m->manager_ctx); };
  return py::capsule(&e->managed, "dltensor", [](PyObject* capsule) {
    // A consumer renames the capsule and then owns what is in it.
    if (!PyCapsule_IsValid(capsule, "dltensor")) return;
    auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
    m->deleter(m);
  });
}

Tensor from_dlpack(const py::object& object) {
  py::object capsule = py::isinstance<py::capsule>(object) ? object : py::object(object.attr("__dlpack__")());
  auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!m) throw py::error_already_set();
  const DLTensor& t = m->dl_tensor;
  check<DeviceError>(t.device.device_type == 1, "from_dlpack: expected memory of the CPU, got device type ",
                     t.device.device_type);
  const DType dtype = from_dl_type(t.dtype);
  const Shape shape(std::vector<int64_t>(t.shape, t.shape + t.ndim));
  const Dims strides =
      t.strides ? Dims(std::vector<int64_t>(t.strides, t.strides + t.ndim)) : contiguous_strides(shape);
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  return Tensor::from_memory(static_cast<char*>(t.data) + t.byte_offset, shape, strides, dtype, [m] {
    if (!m->deleter || !Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;  // the exporter may be Python's
    m->deleter(m);
  });
}

py::object to_array(const Tensor& x, const py::object& dtype, const py::object& copy) {
  py::object array = tensor_to_numpy(x);
  if (!dtype.is_none() && !py::object(array.attr("dtype")).equal(dtype)) return array.attr("astype")(dtype);
  return !copy.is_none() && copy.cast<bool>() ? array.attr("copy")() : array;
}

Tensor make_tensor(py::handle data, std::optional<DType> dtype, std::optional<Device>, bool requires_grad) {
  Tensor t = tensor_from_object(data, dtype, true);
  if (requires_grad) t.requires_grad_();
  return t;
}

}  // namespace

// From a table, since NumPy would read the name at each call.
static py::dtype numpy_dtype(DType dtype) {
  static py::handle table[kDTypeCount];
  py::handle& entry = table[static_cast<size_t>(dtype)];
  if (!entry) entry = py::dtype(dtype_name(dtype)).release();
  return py::reinterpret_borrow<py::dtype>(entry);
}

py::object tensor_to_numpy(const Tensor& x) {
  check(!x.requires_grad(), "numpy: x requires grad; use x.detach().numpy()");
  x.will_share();
  check<DTypeError>(x.dtype() != DType::BFloat16, "numpy: NumPy has no bfloat16; use x.to(lanner.float32).numpy()");
  std::vector<py::ssize_t> shape(x.shape().begin(), x.shape().end()), strides(x.strides().begin(), x.strides().end());
  for (py::ssize_t& s : strides) s *= static_cast<py::ssize_t>(itemsize(x.dtype()));
  return py::array(numpy_dtype(x.dtype()), std::move(shape), std::move(strides), x.raw(), py::cast(x));
}

Tensor tensor_from_object(py::handle object, std::optional<DType> dtype, bool copy) {
  if (py::isinstance<Tensor>(object)) {
    const Tensor x = object.cast<Tensor>().detach();
    if (dtype && *dtype != x.dtype()) return ops::cast(x, *dtype);
    return copy ? ops::copy(x) : object.cast<Tensor>();
  }
  if (PyBool_Check(object.ptr())) return Tensor::scalar(object.ptr() == Py_True, dtype.value_or(DType::Bool));
  if (PyFloat_CheckExact(object.ptr())) {  // not numpy.float64, a subclass, which keeps its dtype
    const double value = PyFloat_AS_DOUBLE(object.ptr());
    return Tensor::scalar(value, dtype.value_or(DType::Float32));
  }
  if (py::isinstance<py::array>(object)) return from_array(py::reinterpret_borrow<py::array>(object), dtype, copy);
  if (py::hasattr(object, "__dlpack__") && !py::hasattr(object, "__array__")) {
    const Tensor x = from_dlpack(py::reinterpret_borrow<py::object>(object));
    if (dtype && *dtype != x.dtype()) return ops::cast(x, *dtype);
    return copy ? ops::copy(x) : x;
  }
  // NumPy knows how to read nested sequences; what it makes of Python floats becomes float32, as everywhere in lanner.
  py::array array;
  try {
    array = py::module_::import("numpy").attr("asarray")(object);
  } catch (py::error_already_set& e) {
    throw ShapeError(std::string("tensor: the nested sequences do not form an array: ") + e.what());
  }
  const bool python_floats = array.dtype().kind() == 'f' && !py::hasattr(object, "dtype");
  return from_array(array, dtype ? dtype : python_floats ? std::optional(DType::Float32) : std::nullopt, true);
}

void bind_interop(py::module_& m, py::class_<Tensor>& cls) {
  m.def("tensor", &make_tensor, "data"_a, "dtype"_a = py::none(), "device"_a = py::none(), "requires_grad"_a = false,
        R"(A new tensor with a copy of ``data``: a number, nested sequences, a NumPy array, a tensor.

Python floats become float32, integers int64, truth values bool; arrays keep their dtype.

>>> ln.tensor([[1, 2], [3, 4]], dtype=ln.float32)
tensor([[1., 2.],
        [3., 4.]])
)");
  m.def(
      "asarray",
      [](py::handle data, std::optional<DType> dtype, std::optional<Device>, const std::optional<bool>& copy) {
        return tensor_from_object(data, dtype, copy.value_or(false));
      },
      "data"_a, "dtype"_a = py::none(), "device"_a = py::none(), "copy"_a = py::none(),
      R"(``data`` as a tensor that shares the memory of a NumPy array or tensor where it can (``copy=True``: never).

>>> import numpy as np
>>> a = np.zeros(2); t = ln.asarray(a); a[0] = 1; t.tolist()
[1.0, 0.0]
)");
  m.def("from_dlpack", &from_dlpack, "x"_a, R"(A tensor that shares the memory of another library's array.

>>> import numpy as np
>>> ln.from_dlpack(np.arange(3)).tolist()
[0, 1, 2]
)");
  cls.def("numpy", &tensor_to_numpy,
          R"(A NumPy array that shares the memory. Raises Error if gradients are wanted: detach() first.

>>> ln.tensor([1.0, 2.0]).numpy()
array([1., 2.], dtype=float32)
)");
  cls.def("__array__", &to_array, "dtype"_a = py::none(), "copy"_a = py::none());
  cls.def("__dlpack__", &to_dlpack);
  cls.def("__dlpack_device__", [](const Tensor&) { return py::make_tuple(1, 0); });
  cls.attr("__array_priority__") = 1000;  // array + tensor asks the tensor first
}

}  // namespace lanner::python
