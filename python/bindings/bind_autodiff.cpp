#include "bindings.h"

namespace lanner::python {
namespace {

// Held by the tape, which may be freed while the GIL is released.
std::shared_ptr<py::function> hold(py::function f) {
  return {new py::function(std::move(f)), [](py::function* p) {
            if (!Py_IsInitialized()) return;
            py::gil_scoped_acquire gil;
            delete p;
          }};
}

Tensors custom(const std::string& name, const std::vector<std::optional<Tensor>>& inputs,
               const std::vector<std::optional<Tensor>>& outputs, py::function vjp) {
  const auto unwrap = [](const std::vector<std::optional<Tensor>>& from) {
    Tensors to;
    for (const auto& t : from) to.push_back(t.value_or(Tensor()));
    return to;
  };
  return custom_function(name.c_str(), unwrap(inputs), unwrap(outputs), [f = hold(std::move(vjp))](const Tensors& g) {
    py::gil_scoped_acquire gil;
    py::tuple cotangents(g.size());
    for (size_t i = 0; i < g.size(); ++i) cotangents[i] = g[i].defined() ? py::cast(g[i]) : py::none();
    Tensors out;
    for (py::handle item : (*f)(*cotangents)) out.push_back(item.is_none() ? Tensor() : item.cast<Tensor>());
    return out;
  });
}

struct Checkpointed {
  explicit Checkpointed(py::function f) : again(hold(std::move(f))) {}
  std::shared_ptr<py::function> again;
  std::optional<Checkpoint> region;
};

}  // namespace

void bind_autodiff(py::module_& m) {
  using namespace py::literals;
  m.def("is_grad_enabled", &grad_enabled, R"(Whether ops are recorded for gradients, in this thread.

>>> with ln.no_grad():
...     ln.is_grad_enabled()
False
)");
  m.def(
      "set_grad_enabled",
      [](bool on) {
        const bool before = grad_enabled();
        set_grad_enabled(on);
        return before;
      },
      "on"_a, "Switches recording on or off in this thread; returns what it was.");
  m.def(
      "grad",
      [](const Tensors& outputs, const Tensors& inputs,
         const std::optional<std::vector<std::optional<Tensor>>>& grad_outputs, bool create_graph, bool retain_graph,
         bool allow_unused) {
        Tensors seeds;
        if (grad_outputs)
          for (const auto& t : *grad_outputs) seeds.push_back(t.value_or(Tensor()));
        std::vector<std::optional<Tensor>> found;
        for (Tensor& g : grad(outputs, inputs, seeds, create_graph, retain_graph, allow_unused))
          found.push_back(g.defined() ? std::optional(std::move(g)) : std::nullopt);
        return found;
      },
      "outputs"_a, "inputs"_a, "grad_outputs"_a = py::none(), "create_graph"_a = false, "retain_graph"_a = false,
      "allow_unused"_a = false, NoGil(), "Gradients of sum(outputs * grad_outputs) by inputs; see lanner.grad.");
  m.def("custom_function", &custom, "name"_a, "inputs"_a, "outputs"_a, "vjp"_a, "See lanner.Function.");
  py::class_<Checkpointed>(m, "Checkpoint",
                           "A context whose values are computed once more by ``again()`` for backward.")
      .def(py::init<py::function>(), "again"_a)
      .def("__enter__",
           [](Checkpointed& c) {
             c.region.emplace([again = std::move(c.again)] {
               py::gil_scoped_acquire gil;
               (*again)();
             });
           })
      .def("__exit__", [](Checkpointed& c, const py::args&) { c.region.reset(); });
  m.def("recomputing", &recomputing, "Whether this thread runs a checkpointed function once more, for backward.");
  m.def("anomaly_enabled", &anomaly_enabled, "Whether every op is checked for the first NaN or infinity.");
  m.def("set_anomaly_enabled", &set_anomaly_enabled, "on"_a, "See lanner.detect_anomaly.");
  m.def("push_scope", &push_scope, "name"_a, "Names the layer whose ops run next, for anomaly messages.");
  m.def("pop_scope", &pop_scope, "Ends the last push_scope.");
}

}  // namespace lanner::python
