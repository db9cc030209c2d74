// The public face: Recorder and Plan.
#include "lanner/plan.h"

#include "plan/replay.h"
#include "plan/trace.h"

namespace lanner {

Recorder::Recorder(const Tensors& inputs) : trace_(std::make_unique<plan::Trace>(inputs)) {}
Recorder::~Recorder() = default;

const Tensors& Recorder::inputs() const { return trace_->inputs(); }
int Recorder::mark() const { return trace_->count(); }
void Recorder::abandon() { trace_->stop(); }
void Recorder::undo() { trace_->undo(); }

std::shared_ptr<Plan> Recorder::finish(const Tensors& outputs, const PlanOptions& options) {
  bool provisional = false;
  plan::Graph graph = trace_->finish(outputs, &provisional);
  const plan::Program* beside = options.beside ? options.beside->program_.get() : nullptr;
  return std::make_shared<Plan>(std::make_unique<plan::Program>(std::move(graph), provisional, options, beside));
}

bool recording() { return recording_notes != nullptr; }

RecordingPause::RecordingPause() : listener_(set_listener(nullptr)), notes_(recording_notes) {
  recording_notes = nullptr;
}
RecordingPause::~RecordingPause() {
  set_listener(static_cast<Listener*>(listener_));
  recording_notes = static_cast<RecordingNotes*>(notes_);
}

namespace {

class Capture final : public Listener {
 public:
  Capture() : before_(set_listener(this)) {}
  ~Capture() override { set_listener(before_); }
  void ran(Op, std::span<const Tensor>, const Attrs&, std::span<const Tensor>) override {}
  bool replaces(Op op, const Attrs& attrs) override {
    captured.push_back({static_cast<int>(op), std::make_shared<Attrs>(attrs)});
    return true;
  }
  std::vector<CapturedAttributes> captured;

 private:
  Listener* before_;
};

}  // namespace

std::vector<CapturedAttributes> capture_attributes(const std::function<void()>& f) {
  Capture capture;
  f();
  return std::move(capture.captured);
}

Plan::Plan(std::unique_ptr<plan::Program> program) : program_(std::move(program)) {}
Plan::~Plan() = default;
Tensors Plan::run(const Tensors& inputs) { return program_->run(inputs); }
void Plan::run_into(const Tensors& inputs, const Tensors& outputs) { program_->run_into(inputs, outputs); }
bool Plan::valid() const { return program_->valid(); }
bool Plan::provisional() const { return program_->provisional(); }
bool Plan::halted() const { return program_->halted(); }
void Plan::set_attributes(int begin, int end, const std::vector<CapturedAttributes>& attributes) {
  program_->set_attributes(begin, end, attributes);
}
std::vector<PlanStep> Plan::recorded() const { return program_->recorded(); }
std::vector<PlanStep> Plan::steps(bool measure) const { return program_->steps(measure); }
PlanMemory Plan::memory() const { return program_->memory(); }
int64_t Plan::parts() const { return program_->parts(); }
std::vector<PlanBlock> Plan::blocks() const { return program_->blocks(); }

}  // namespace lanner
