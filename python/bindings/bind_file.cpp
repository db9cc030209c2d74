// Tensors to and from safetensors files.
#include "bindings.h"
#include "core/allocator.h"
#include "lanner/file.h"

namespace lanner::python {
namespace {

using namespace py::literals;

// Runs `work` without the GIL. What the system refuses becomes OSError, which picks FileNotFoundError, PermissionError
// and their kin by itself.
template <class Work>
auto with_files(Work&& work) {
  try {
    GilRelease release;
    return work();
  } catch (const FileError& e) {
    const auto path = py::reinterpret_steal<py::object>(PyUnicode_DecodeFSDefault(e.path().c_str()));
    const std::string reason = std::string(e.what()).substr(e.path().size() + 2);
    const py::object error = py::reinterpret_borrow<py::object>(PyExc_OSError)(e.code(), reason, path);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
    throw py::error_already_set();
  }
}

void save(const py::bytes& path, const py::dict& tensors, const Metadata& metadata) {
  NamedTensors named;
  for (const auto& [name, tensor] : tensors) named.emplace_back(py::cast<std::string>(name), py::cast<Tensor>(tensor));
  with_files([&, file = std::string(path)] {
    save_tensors(file, named, metadata);
    return 0;
  });
}

py::tuple load(const py::bytes& path) {
  const TensorFile file = with_files([file = std::string(path)] { return load_tensors(file); });
  py::dict tensors, metadata;
  for (const auto& [name, tensor] : file.tensors) tensors[py::str(name)] = tensor;
  for (const auto& [key, text] : file.metadata) metadata[py::str(key)] = text;
  return py::make_tuple(tensors, metadata);
}

}  // namespace

void bind_file(py::module_& m) {
  m.def("save_tensors", &save, "path"_a, "tensors"_a, "metadata"_a = Metadata{},
        "Write tensors and texts to a safetensors file; `path` is bytes. Use `ln.save`.");
  m.def("_set_allocation_budget", &set_allocation_budget, "bytes"_a,
        "How many bytes this thread may still ask for; -1: any number. Returns what it was.");
  m.def("load_tensors", &load, "path"_a,
        "Read a safetensors file: its tensors and its metadata. `path` is bytes. Use `ln.load`.");
}

}  // namespace lanner::python
