// Recorder and Plan: what lanner.compile and lanner.plan are made of.
#include "bindings.h"
#include "lanner/plan.h"

namespace lanner::python {
namespace {

using namespace py::literals;

PlanOptions options_of(const std::string& precision, bool fuse, std::shared_ptr<const Plan> beside) {
  check(precision == "float32" || precision == "bf16", "compile: precision must be \"float32\" or \"bf16\", got \"",
        precision, "\"");
  return {precision == "bf16", fuse, std::move(beside)};
}

// with PauseRecording(): ...
struct Pause {
  std::optional<RecordingPause> pause;
};

void bind_step(py::module_& m) {
  py::class_<PlanStep>(m, "PlanStep", "One kernel of a plan: what it is called, reads, writes and costs.")
      .def_readonly("name", &PlanStep::name)
      .def_readonly("scope", &PlanStep::scope)
      .def_readonly("inputs", &PlanStep::inputs)
      .def_readonly("outputs", &PlanStep::outputs)
      .def_readonly("input_ids", &PlanStep::input_ids)
      .def_readonly("output_ids", &PlanStep::output_ids)
      .def_readonly("flops", &PlanStep::flops)
      .def_readonly("bytes", &PlanStep::bytes)
      .def_readonly("seconds", &PlanStep::seconds);
  py::class_<CapturedAttributes>(m, "CapturedAttributes", "What an update is run with besides its tensors.");
  m.def(
      "capture_attributes", [](const py::function& f) { return capture_attributes([&] { f(); }); }, "f"_a,
      "The attributes of the updates that ``f`` would run; they are not run.");
}

}  // namespace

void bind_plan(py::module_& m) {
  bind_step(m);
  py::class_<Plan, std::shared_ptr<Plan>>(m, "Plan", "A recorded step, ready to be replayed.")
      .def("run", &Plan::run, "inputs"_a, NoGil(), "Replays the step on other inputs of the same shapes and dtypes.")
      .def("run_into", &Plan::run_into, "inputs"_a, "outputs"_a, NoGil(), "The same, into tensors that are there.")
      .def("valid", &Plan::valid, "Whether the leaves' gradients stand as they did when the step was recorded.")
      .def_property_readonly("provisional", &Plan::provisional,
                             "Whether the step made tensors that outlive it, and may run otherwise the next time.")
      .def_property_readonly("halted", &Plan::halted, "Whether the last run stopped early.")
      .def("set_attributes", &Plan::set_attributes, "begin"_a, "end"_a, "attributes"_a,
           "New attributes for the recorded updates of ops [begin, end).")
      .def_property_readonly("parts", &Plan::parts, "In how many parts the samples go through the plan.")
      .def("recorded", &Plan::recorded, "The ops that were recorded, before any pass.")
      .def("steps", &Plan::steps, "measure"_a = false, NoGil(),
           "The kernels that a replay runs; with ``measure`` each has its median time.")
      .def(
          "blocks",
          [](const Plan& plan) {
            std::vector<std::tuple<int64_t, int64_t, int, int>> rows;
            for (const PlanBlock& b : plan.blocks()) rows.emplace_back(b.offset, b.bytes, b.first, b.last);
            return rows;
          },
          "(offset, bytes, first step, last step) of what is computed and used up inside, in the arena.")
      .def(
          "memory",
          [](const Plan& plan) {
            const PlanMemory memory = plan.memory();
            return py::dict("arena"_a = memory.arena_bytes, "unshared"_a = memory.unshared_bytes,
                            "packed"_a = memory.packed_bytes, "constants"_a = memory.constant_bytes);
          },
          "Bytes of the arena, of what it would be without sharing, of packed weights and of constants.");
  py::class_<Recorder>(m, "Recorder", "Listens to what this thread computes, until ``finish`` or ``abandon``.")
      .def(py::init<const Tensors&>(), "inputs"_a)
      .def_property_readonly("inputs", &Recorder::inputs,
                             "What the step is to be called with in place of the inputs given.")
      .def("mark", &Recorder::mark, "How many ops were recorded so far.")
      .def(
          "finish",
          [](Recorder& r, const Tensors& outputs, const std::string& precision, bool fuse,
             const std::optional<std::shared_ptr<Plan>>& beside) {
            return r.finish(outputs, options_of(precision, fuse, beside.value_or(nullptr)));
          },
          "outputs"_a, "precision"_a = "float32", "fuse"_a = true, "beside"_a = py::none(),
          R"(Ends the recording and makes its plan.

``outputs`` are detached: what still hangs on the tape, or is held elsewhere, counts as made to outlive the step. A plan
that runs in turns with the plan ``beside`` shares its arena.)")
      .def("abandon", &Recorder::abandon, "Ends the recording.")
      .def("undo", &Recorder::undo,
           "After finish: puts back what the step changed, so that a replay of its plan can take its place.");
  m.def("recording", &recording, "Whether a step is being recorded on this thread.");
  py::class_<Pause>(m, "PauseRecording", "A context in which nothing is recorded.")
      .def(py::init<>())
      .def("__enter__", [](Pause& p) { p.pause.emplace(); })
      .def("__exit__", [](Pause& p, const py::args&) { p.pause.reset(); });
}

}  // namespace lanner::python
