// The arguments of a compiled function: its tensors in one list, and a key of everything else that a plan depends on.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "lanner/plan.h"

namespace lanner::python {
namespace {

class Walk {
 public:
  Walk() { text_ += grad_enabled() ? 'g' : 'n'; }

  void visit(PyObject* o) {
    if (py::isinstance<Tensor>(o)) return tensor(o);
    if (PyTuple_Check(o)) {
      open('(', o, PyTuple_GET_SIZE(o));
      for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(o); ++i) visit(PyTuple_GET_ITEM(o, i));
    } else if (PyList_Check(o)) {
      open('[', o, PyList_GET_SIZE(o));
      for (Py_ssize_t i = 0; i < PyList_GET_SIZE(o); ++i) visit(PyList_GET_ITEM(o, i));
    } else if (PyDict_Check(o)) {
      open('{', o, PyDict_GET_SIZE(o));
      PyObject *name, *value;
      Py_ssize_t at = 0;
      while (PyDict_Next(o, &at, &name, &value)) {
        other(name);
        visit(value);
      }
    } else if (py::isinstance<py::array>(o)) {
      tensor(py::cast(tensor_from_object(o, std::nullopt, false)).ptr());
    } else {
      other(o);
    }
  }

  // Of tensors alone: where anything else counts, its values do.
  bool only_tensors() const { return others_.empty(); }
  const std::string& text() const { return text_; }
  const Tensors& tensors() const { return tensors_; }

  py::tuple take() {
    py::list inputs;
    for (const Tensor& t : tensors_) inputs.append(t);
    py::object key = py::bytes(text_);
    if (!others_.empty()) key = py::make_tuple(key, py::tuple(others_));
    return py::make_tuple(std::move(inputs), std::move(key));
  }

 private:
  template <class T>
  void append(const T& value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  // Which container, of how many.
  void open(char what, PyObject* o, Py_ssize_t count) {
    text_ += what;
    append(Py_TYPE(o));
    append(count);
  }
  void other(PyObject* o) {
    text_ += '.';
    append(Py_TYPE(o));  // 1, 1.0 and True are equal
    others_.append(py::handle(o));
  }
  void tensor(PyObject* o) {
    const Tensor& x = *py::handle(o).cast<const Tensor*>();
    tensors_.push_back(x);
    text_ += x.requires_grad() ? 'G' : 'T';
    text_ += static_cast<char>(x.dtype());
    text_ += static_cast<char>(x.ndim());
    for (int64_t n : x.shape()) append(n);
  }

  std::string text_;
  Tensors tensors_;
  py::list others_;
};

// The plan of a compiled function's last call, and the arguments for which it may be replayed: most calls are like the
// one before, and need no more of Python than this.
class LastCall {
 public:
  void keep(const py::tuple& args, const py::object& plan, py::typing::List<py::int_> numbers) {
    Walk walk;
    visit(walk, args);
    if (!walk.only_tensors()) return clear();
    key_ = walk.text(), plan_ = plan.cast<std::shared_ptr<Plan>>(), numbers_ = std::move(numbers);
  }
  void clear() { plan_ = nullptr; }

  // None where it may not be replayed.
  py::object replay(const py::tuple& args, const py::dict& kwargs, const py::typing::List<py::int_>& changes) const {
    if (!plan_ || !kwargs.empty() || recording() || anomaly_enabled()) return py::none();
    Walk walk;
    visit(walk, args);
    if (!walk.only_tensors() || walk.text() != key_ || !numbers_.equal(changes) || !plan_->valid()) return py::none();
    const std::shared_ptr<Plan> plan = plan_;  // another thread may keep another one meanwhile
    Tensors outputs;
    {
      const GilRelease release;
      outputs = plan->run(walk.tensors());
    }
    return py::cast(std::move(outputs[0]));
  }

 private:
  static void visit(Walk& walk, const py::tuple& args) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args.ptr()); ++i) walk.visit(PyTuple_GET_ITEM(args.ptr(), i));
  }

  std::string key_;
  std::shared_ptr<Plan> plan_;
  py::list numbers_;
};

}  // namespace

void bind_arguments(py::module_& m) {
  using namespace py::literals;
  py::class_<LastCall>(m, "_LastCall",
                       "The plan of a compiled function's last call, replayed where nothing has changed.")
      .def(py::init<>())
      .def("keep", &LastCall::keep, "args"_a, "plan"_a, "numbers"_a,
           "Arguments, a plan of one output for them, and the numbers of changes up to which it holds.")
      .def("clear", &LastCall::clear)
      .def("replay", &LastCall::replay, "args"_a, "kwargs"_a, "changes"_a,
           "The output, or None where other arguments, a change or a recording are in the way.");
  m.def(
      "_arguments",
      [](const py::tuple& args, const py::dict& kwargs) -> py::tuple {
        if (recording() || anomaly_enabled()) return py::make_tuple(py::none(), py::none());
        Walk walk;
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args.ptr()); ++i) walk.visit(PyTuple_GET_ITEM(args.ptr(), i));
        if (!kwargs.empty()) walk.visit(kwargs.ptr());
        return walk.take();
      },
      "args"_a, "kwargs"_a,
      "The tensors (of arrays: made) in nested arguments, and a key of shapes, dtypes and all else; None and None "
      "where "
      "nothing may be replayed, within a recording or while anomalies are looked for.");
}

}  // namespace lanner::python
