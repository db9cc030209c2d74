// Listens while a step runs and makes the graph of what it did.
#pragma once

#include <unordered_map>

#include "plan/graph.h"

namespace lanner::plan {

class Trace final : public Listener {
 public:
  explicit Trace(const Tensors& inputs);
  ~Trace() override;
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // What the step is to be called with in place of the tensors given: their memory, under an identity of its own.
  const Tensors& inputs() const { return inputs_; }
  int count() const { return static_cast<int>(graph_.nodes.size()); }
  void ran(Op op, std::span<const Tensor> in, const Attrs& attrs, std::span<const Tensor> out) override;

  // Ends the recording. *provisional: tensors that were made by the step outlive it, so that another run of the step
  // may take another way.
  Graph finish(const Tensors& outputs, bool* provisional);
  void stop();  // of any thread: listens no more
  void undo();  // after finish()

 private:
  int buffer_of(const Tensor& t);
  int value_of(const Tensor& t);

  void wrote(Node& node, const RecordingNotes::Write& write);

  Graph graph_;
  std::vector<Node> initial_;  // what a replay begins with
  Tensors inputs_;
  RecordingNotes notes_;
  // A block is known by its address, which the control block of a weak pointer keeps from being used again.
  std::vector<std::weak_ptr<Storage>> seen_;
  std::unordered_map<const Storage*, int> known_;
  bool listening_ = true;
  RandomState random_start_;
};

}  // namespace lanner::plan
