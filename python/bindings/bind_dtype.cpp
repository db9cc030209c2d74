// The dtypes as Python objects, and what stands for one.
#include <array>

#include "bindings.h"

namespace lanner::python {
namespace {

struct DTypeObject {
  DType value;
};

std::array<py::handle, kDTypeCount>& objects() {
  static std::array<py::handle, kDTypeCount> all;  // live as long as the module
  return all;
}

}  // namespace

py::object dtype_object(DType dtype) { return py::reinterpret_borrow<py::object>(objects()[static_cast<int>(dtype)]); }

DType dtype_from_object(py::handle object) {
  if (py::isinstance<DTypeObject>(object)) return object.cast<const DTypeObject&>().value;
  if (py::isinstance<py::str>(object)) return dtype_from_name(object.cast<std::string>().c_str());
  if (object.ptr() == reinterpret_cast<PyObject*>(&PyBool_Type)) return DType::Bool;
  if (object.ptr() == reinterpret_cast<PyObject*>(&PyLong_Type)) return DType::Int64;
  if (object.ptr() == reinterpret_cast<PyObject*>(&PyFloat_Type)) return DType::Float32;
  // NumPy's dtypes and scalar types; numpy.dtype() rejects what is neither.
  py::object numpy_dtype;
  try {
    numpy_dtype = py::module_::import("numpy").attr("dtype")(object);
  } catch (py::error_already_set&) {
    throw DTypeError("expected a dtype such as lanner.float32 or 'float32', got " +
                     py::repr(object).cast<std::string>());
  }
  return dtype_from_name(numpy_dtype.attr("name").cast<std::string>().c_str());
}

void bind_dtypes(py::module_& m) {
  py::class_<DTypeObject> cls(m, "DType", "The type of a tensor's elements: ``ln.float32`` and its kin.");
  cls.def_property_readonly("name", [](const DTypeObject& d) { return dtype_name(d.value); }, "As NumPy spells it.");
  cls.def_property_readonly("itemsize", [](const DTypeObject& d) { return itemsize(d.value); }, "Bytes of an element.");
  cls.def_property_readonly(
      "is_floating_point", [](const DTypeObject& d) { return is_floating(d.value); },
      "Whether it is one of the four floating dtypes.");
  cls.def("__repr__", [](const DTypeObject& d) { return std::string("lanner.") + dtype_name(d.value); });
  cls.def("__reduce__", [](const DTypeObject& d) {
    return py::make_tuple(py::module_::import("lanner.array_api").attr("_dtype_named"),
                          py::make_tuple(dtype_name(d.value)));
  });
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    py::object object = py::cast(DTypeObject{dtype});
    m.attr(dtype_name(dtype)) = object;
    objects()[i] = object.release();
  }
}

}  // namespace lanner::python
