#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lanner/tensor.h"

namespace lanner {

// Whether ops are recorded on the tape; one switch a thread, on at first.
bool grad_enabled();
void set_grad_enabled(bool on);
// The same for a scope.
class GradMode {
 public:
  explicit GradMode(bool on);
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};
class NoGrad : public GradMode {
 public:
  NoGrad() : GradMode(false) {}
};

// Gradients of sum(outputs * grad_outputs) by inputs. An input that does not take part gives an undefined tensor when
// allow_unused, else an Error. With create_graph the result can be differentiated again.
Tensors grad(const Tensors& outputs, const Tensors& inputs, const Tensors& grad_outputs = {}, bool create_graph = false,
             bool retain_graph = false, bool allow_unused = false);

// An op of the user's own: `outputs` were computed from `inputs` with recording off; `vjp` maps the cotangents of the
// outputs (undefined where there is none) to those of the inputs (undefined where there is none). Returns the outputs,
// recorded. `name` stands in error messages.
using CustomVjp = std::function<Tensors(const Tensors& cotangents)>;
Tensors custom_function(const char* name, const Tensors& inputs, const Tensors& outputs, CustomVjp vjp);

// f(inputs), of which the tape keeps nothing but what `f` and `inputs` hold: when the walk back comes to it, it is computed
// once more, with the same random numbers. Memory for time: T. Chen et al., "Training deep nets with sublinear memory
// cost", 2016. `f` may use other tensors too, and may hold checkpoints of its own.
Tensors checkpoint(const std::function<Tensors(const Tensors&)>& f, const Tensors& inputs);
// The same for what is computed while it lives; `again` computes it once more.
struct Region;
class Checkpoint {
 public:
  explicit Checkpoint(std::function<void()> again);
  ~Checkpoint();
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

 private:
  std::shared_ptr<Region> region_, before_;
};
// Does this thread compute a checkpointed part once more? What a layer gathers (running statistics) it has already.
bool recomputing();

// While on, in this thread: an op whose output has a NaN or infinity, though its inputs have none, throws Error that
// names the op; so does a vjp.
bool anomaly_enabled();
void set_anomaly_enabled(bool on);
// Where in a model the ops now run, for those messages: "net.3.conv".
void push_scope(const std::string& name);
void pop_scope();

}  // namespace lanner
