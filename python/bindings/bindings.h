// What the bind_*.cpp share: conversions between Python and lanner, and the list of parts.
#pragma once

#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "lanner/autodiff.h"
#include "lanner/tensor.h"

namespace py = pybind11;

namespace lanner::python {

// Releases the GIL around an op.
using NoGil = py::call_guard<py::gil_scoped_release>;

// A Tensor, or a Python number, which takes the dtype of what it is combined with.
struct Operand {
  Tensor tensor;
  operator const Tensor&() const { return tensor; }  // NOLINT: stands for a Tensor in calls
};

// `ln.float32`: a value, so that identity and equality agree.
py::object dtype_object(DType dtype);
DType dtype_from_object(py::handle object);  // a dtype, its name, a NumPy dtype or scalar type, bool, int, float

// Data to a new tensor: a number, nested sequences, a NumPy array, anything with __array__ or __dlpack__.
// `copy` false shares memory where that is possible.
Tensor tensor_from_object(py::handle object, std::optional<DType> dtype, bool copy);
py::object tensor_to_numpy(const Tensor& x);

// Indexing, in getitem.cpp.
Tensor getitem(const Tensor& x, py::object key);
void setitem(const Tensor& x, py::object key, py::object value);

}  // namespace lanner::python

namespace pybind11::detail {

// Dims: an int, or a sequence of ints (as the Array API's axis and shape).
template <>
struct type_caster<lanner::Dims> {
  PYBIND11_TYPE_CASTER(lanner::Dims, io_name("int | collections.abc.Sequence[int]", "tuple[int, ...]"));

  bool load(handle src, bool) {
    value = {};
    if (PyBool_Check(src.ptr()) || isinstance<str>(src)) return false;
    if (PyIndex_Check(src.ptr()) && !hasattr(src, "__len__")) return append(src);
    if (!PySequence_Check(src.ptr())) return false;
    for (handle item : reinterpret_borrow<sequence>(src))
      if (!append(item)) return false;
    return true;
  }
  static handle cast(const lanner::Dims& src, return_value_policy, handle) {
    tuple out(src.size());
    for (int i = 0; i < src.size(); ++i) out[i] = int_(src[i]);
    return out.release();
  }

 private:
  bool append(handle item) {
    if (PyBool_Check(item.ptr()) || !PyIndex_Check(item.ptr())) return false;
    object index = reinterpret_steal<object>(PyNumber_Index(item.ptr()));
    if (!index) throw error_already_set();
    const int64_t n = PyLong_AsLongLong(index.ptr());
    if (n == -1 && PyErr_Occurred()) throw error_already_set();
    value.push_back(n);
    return true;
  }
};

template <>
struct type_caster<lanner::DType> {
  PYBIND11_TYPE_CASTER(lanner::DType, io_name("DTypeLike", "DType"));

  bool load(handle src, bool) {
    if (src.is_none()) return false;
    value = lanner::python::dtype_from_object(src);
    return true;
  }
  static handle cast(lanner::DType src, return_value_policy, handle) {
    return lanner::python::dtype_object(src).release();
  }
};

template <>
struct type_caster<lanner::Device> {
  PYBIND11_TYPE_CASTER(lanner::Device, const_name("str"));

  bool load(handle src, bool) {
    if (!isinstance<str>(src)) return false;
    value = lanner::Device::parse(src.cast<std::string>());
    return true;
  }
  static handle cast(lanner::Device src, return_value_policy, handle) { return str(lanner::to_string(src)).release(); }
};

template <>
struct type_caster<lanner::python::Operand> {
  PYBIND11_TYPE_CASTER(lanner::python::Operand, const_name("Tensor | float"));

  bool load(handle src, bool) {
    if (isinstance<lanner::Tensor>(src)) {
      value.tensor = src.cast<lanner::Tensor>();
      return true;
    }
    if (PyBool_Check(src.ptr())) {
      value.tensor = lanner::Tensor::scalar(src.ptr() == Py_True, lanner::DType::Bool);
      return true;
    }
    if (PyFloat_Check(src.ptr())) {
      value.tensor = lanner::Tensor::weak(PyFloat_AS_DOUBLE(src.ptr()));
      return true;
    }
    if (hasattr(src, "__len__") || hasattr(src, "shape")) {
      // NumPy's scalars are numbers too; arrays must be made tensors by the user, who then sees the copy.
      if (!hasattr(src, "shape") || !object(reinterpret_borrow<object>(src).attr("shape")).equal(tuple(0)))
        return false;
      value.tensor = lanner::python::tensor_from_object(src, std::nullopt, true);
      return true;
    }
    if (!PyIndex_Check(src.ptr())) return false;
    object index = reinterpret_steal<object>(PyNumber_Index(src.ptr()));
    if (!index) throw error_already_set();
    const int64_t n = PyLong_AsLongLong(index.ptr());
    if (n == -1 && PyErr_Occurred()) throw error_already_set();
    value.tensor = lanner::Tensor::weak(n);
    return true;
  }
  static handle cast(const lanner::python::Operand& src, return_value_policy policy, handle parent) {
    return make_caster<lanner::Tensor>::cast(src.tensor, policy, parent);
  }
};

}  // namespace pybind11::detail
