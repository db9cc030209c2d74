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

// Releases the GIL around an op; py::gil_scoped_release looks things up that are of no use here.
class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() { PyEval_RestoreThread(state_); }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};
using NoGil = py::call_guard<GilRelease>;

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

// Tensor: as pybind11's own caster does, but without looking its type up in tables at each call.
template <>
class type_caster<lanner::Tensor> : public type_caster_generic {
  using Tensor = lanner::Tensor;

 public:
  static constexpr auto name = const_name<Tensor>();
  template <class T>
  using cast_op_type = detail::cast_op_type<T>;

  type_caster() : type_caster_generic(type()) {}

  bool load(handle src, bool convert) {
    if (Tensor* t = exact(src)) {
      value = t;
      return true;
    }
    return type_caster_generic::load(src, convert);
  }
  // What a Tensor, of no subclass, holds.
  static Tensor* exact(handle src) {
    if (!type() || Py_TYPE(src.ptr()) != type()->type) return nullptr;
    const auto* object = reinterpret_cast<instance*>(src.ptr());
    return object->simple_layout ? static_cast<Tensor*>(object->simple_value_holder[0]) : nullptr;
  }

  static handle cast(const Tensor& src, return_value_policy policy, handle parent) {
    const bool automatic =
        policy == return_value_policy::automatic || policy == return_value_policy::automatic_reference;
    return cast(&src, automatic ? return_value_policy::copy : policy, parent);
  }
  static handle cast(Tensor&& src, return_value_policy, handle parent) {
    return cast(&src, return_value_policy::move, parent);
  }
  static handle cast(const Tensor* src, return_value_policy policy, handle parent) {
    const auto copy = [](const void* p) -> void* { return new Tensor(*static_cast<const Tensor*>(p)); };
    const auto move = [](const void* p) -> void* {
      return new Tensor(std::move(*static_cast<Tensor*>(const_cast<void*>(p))));
    };
    return type_caster_generic::cast(cast_sources(src, type()), policy, parent, copy, move);
  }

  operator Tensor*() { return static_cast<Tensor*>(value); }  // NOLINT: what pybind11 asks for
  operator Tensor&() {                                        // NOLINT
    if (!value) throw reference_cast_error();
    return *static_cast<Tensor*>(value);
  }

 private:
  static const type_info* type() {
    static const type_info* found = nullptr;  // not there until the class is bound; the GIL is held
    if (!found) [[unlikely]]
      found = get_type_info(typeid(Tensor));
    return found;
  }
};

// Dims: an int, or a sequence of ints (as the Array API's axis and shape).
template <>
struct type_caster<lanner::Dims> {
  PYBIND11_TYPE_CASTER(lanner::Dims, io_name("int | collections.abc.Sequence[int]", "tuple[int, ...]"));

  bool load(handle src, bool) {
    value = {};
    if (PyLong_CheckExact(src.ptr())) return append(src);
    if (PyTuple_CheckExact(src.ptr())) {
      for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(src.ptr()); ++i)
        if (!append(PyTuple_GET_ITEM(src.ptr(), i))) return false;
      return true;
    }
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
    const int64_t n = PyLong_AsLongLong(item.ptr());  // asks __index__ too
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
    if (const lanner::Tensor* t = make_caster<lanner::Tensor>::exact(src)) {
      value.tensor = *t;
      return true;
    }
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
