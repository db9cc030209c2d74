#include "bindings.h"
#include "lanner/lanner.h"
#include "lanner/ops/halt.h"

// One bind_*.cpp for each public header.
#define LANNER_PARTS \
  PART(tensor)       \
  PART(file)         \
  PART(shape)        \
  PART(elementwise)  \
  PART(linalg)       \
  PART(attention)    \
  PART(conv)         \
  PART(pool)         \
  PART(indexing)     \
  PART(join)         \
  PART(sort)         \
  PART(reduce)       \
  PART(norm)         \
  PART(recurrent)    \
  PART(loss)         \
  PART(ctc)          \
  PART(random)       \
  PART(optim)        \
  PART(arguments)    \
  PART(halt)         \
  PART(data)         \
  PART(autodiff)     \
  PART(config)       \
  PART(plan)

namespace lanner::python {
#define PART(name) void bind_##name(py::module_& m);
LANNER_PARTS
#undef PART
void bind_function_methods(py::module_& m);

namespace {

// lanner's errors are ValueError, TypeError and RuntimeError too, so that code which knows nothing of lanner catches
// what it expects.
void bind_errors(py::module_& m) {
  static py::handle error, shape, index, dtype, device, memory, format, recording, halted;
  const auto make = [&m](const char* name, const py::tuple& bases, const char* doc) {
    const std::string full = std::string("lanner.") + name;
    py::object type =
        py::reinterpret_steal<py::object>(PyErr_NewExceptionWithDoc(full.c_str(), doc, bases.ptr(), nullptr));
    if (!type) throw py::error_already_set();
    m.attr(name) = type;
    return type.release();
  };
  const py::handle value_error = PyExc_ValueError, type_error = PyExc_TypeError, runtime_error = PyExc_RuntimeError;
  error = make("Error", py::make_tuple(runtime_error), "What every mistake in the use of lanner raises.");
  shape = make("ShapeError", py::make_tuple(error, value_error), "Shapes, axes or indices that do not fit.");
  index = make("IndexError", py::make_tuple(shape, py::handle(PyExc_IndexError)), "An index that leaves its axis.");
  dtype = make("DTypeError", py::make_tuple(error, type_error), "A dtype that the operation does not take.");
  device = make("DeviceError", py::make_tuple(error), "A device that is not there, or tensors on different ones.");
  memory = make("MemoryError", py::make_tuple(error, py::handle(PyExc_MemoryError)), "No memory for a tensor.");
  format = make("FormatError", py::make_tuple(error, value_error), "A file that is damaged, or none of lanner's.");
  recording = make("RecordingError", py::make_tuple(error), "A step that cannot be recorded as a plan.");
  halted = make("Halted", py::make_tuple(error), "A step ended early, by halt_unless_finite.");
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const IndexError& e) {
      PyErr_SetString(index.ptr(), e.what());
    } catch (const ShapeError& e) {
      PyErr_SetString(shape.ptr(), e.what());
    } catch (const DTypeError& e) {
      PyErr_SetString(dtype.ptr(), e.what());
    } catch (const DeviceError& e) {
      PyErr_SetString(device.ptr(), e.what());
    } catch (const MemoryError& e) {
      PyErr_SetString(memory.ptr(), e.what());
    } catch (const FormatError& e) {
      PyErr_SetString(format.ptr(), e.what());
    } catch (const RecordingError& e) {
      PyErr_SetString(recording.ptr(), e.what());
    } catch (const Halted& e) {
      PyErr_SetString(halted.ptr(), e.what());
    } catch (const Error& e) {
      PyErr_SetString(error.ptr(), e.what());
    }
  });
}

}  // namespace
}  // namespace lanner::python

PYBIND11_MODULE(_core, m) {
  using namespace lanner::python;
  m.doc() = "lanner's engine.";
  bind_errors(m);
#define PART(name) bind_##name(m);
  LANNER_PARTS
#undef PART
  bind_function_methods(m);
}
