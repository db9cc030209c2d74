// A step recorded once and replayed: no Python, no dispatcher, no allocation between its kernels.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lanner/tensor.h"

namespace lanner {

namespace plan {
class Trace;
class Program;
}  // namespace plan

// The attributes of an update, see capture_attributes().
struct CapturedAttributes {
  int op;
  std::shared_ptr<const void> attributes;
};

class Plan;

struct PlanOptions {
  bool bf16 = false;  // products of bfloat16 operands, added up in float32
  bool fuse = true;
  // Another plan, the same step on other shapes, say: the two have one arena, as long as they run one after the other.
  std::shared_ptr<const Plan> beside = nullptr;
};

// What a plan runs, in its order, for people: Plan::steps().
struct PlanStep {
  std::string name;                 // "linear + relu"
  std::string scope;                // the layer's path, where it is known
  std::vector<std::string> inputs;  // "float32[64, 784]"
  std::vector<std::string> outputs;
  std::vector<int> input_ids, output_ids;  // memory: equal numbers, equal memory
  double flops = 0, bytes = 0;             // of arithmetic; read and written at least
  double seconds = 0;                      // the median of several replays, where it was measured
};

// Where something that is computed and used up inside lies in the arena, and from which step to which it is in use.
struct PlanBlock {
  int64_t offset, bytes;
  int first, last;
};

struct PlanMemory {
  size_t arena_bytes;     // what is computed and used up inside, sharing memory
  size_t unshared_bytes;  // what that would take without sharing
  size_t packed_bytes;    // weights in the order in which kernels read them
  size_t constant_bytes;  // computed once from weights
};

// Made by Recorder::finish. Several threads may run one plan at the same time, each with memory of its own.
class Plan {
 public:
  Plan(std::unique_ptr<plan::Program> program);  // NOLINT
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  // Runs the step on other inputs, of the shapes and dtypes that it was recorded with.
  Tensors run(const Tensors& inputs);
  // The same into outputs that are there, row-major; allocates nothing from the second time on. Of outputs that are views of
  // inputs or of memory outside the plan, nothing is written.
  void run_into(const Tensors& inputs, const Tensors& outputs);
  // Do the gradients of leaves stand as they stood when the step was recorded?
  bool valid() const;
  // Were tensors made by the step that outlive it? It may take another way the next time.
  bool provisional() const;
  // Did the last run stop at halt_unless_finite()?
  bool halted() const;
  // New attributes for the recorded ops [begin, end), as capture_attributes() gave them.
  void set_attributes(int begin, int end, const std::vector<CapturedAttributes>& attributes);

  std::vector<PlanStep> recorded() const;  // before any pass
  // With `measure`, the step runs some times, on copies of all that it writes to.
  std::vector<PlanStep> steps(bool measure = false) const;
  PlanMemory memory() const;
  std::vector<PlanBlock> blocks() const;
  // In how many parts the samples go through the plan, each from beginning to end on one thread. Steps are a part's.
  int64_t parts() const;

 private:
  friend class Recorder;
  std::unique_ptr<plan::Program> program_;
};

// Listens to what this thread computes, from its construction to finish() or abandon().
class Recorder {
 public:
  explicit Recorder(const Tensors& inputs);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  // The step is to be called with these, which stand for the inputs given.
  const Tensors& inputs() const;
  int mark() const;  // how many ops were recorded so far
  std::shared_ptr<Plan> finish(const Tensors& outputs, const PlanOptions& options = {});
  void abandon();
  // After finish(): puts back what the step changed, memory, gradients and the random generator, so that a replay of its
  // plan can take its place.
  void undo();

 private:
  std::unique_ptr<plan::Trace> trace_;
};

// Is a step being recorded on this thread?
bool recording();

// Inside, what this thread computes is not recorded.
class RecordingPause {
 public:
  RecordingPause();
  ~RecordingPause();
  RecordingPause(const RecordingPause&) = delete;
  RecordingPause& operator=(const RecordingPause&) = delete;

 private:
  void* listener_;
  void* notes_;
};

// The attributes of ops without outputs (updates) that `f` would run; they are not run.
std::vector<CapturedAttributes> capture_attributes(const std::function<void()>& f);

}  // namespace lanner
