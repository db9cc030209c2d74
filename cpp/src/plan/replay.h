// A plan made ready to run: buffers placed, kernels chosen, constants computed.
#pragma once

#include <atomic>
#include <mutex>

#include "lanner/plan.h"
#include "plan/graph.h"

namespace lanner::plan {

// One node on tensors that lie where they will lie at each replay.
struct Step {
  Op op;
  RunFn function;
  std::shared_ptr<Prepared> prepared;
  bool refreshes;  // what is prepared; of several steps that share it, the first
  Tensors in, out;
  Attrs attrs;
  const Fused* fused;
  Precision precision;
  int recorded;
  uint64_t random_call;  // its state's distance from the step's first

  Run run() { return Run{op, in, out, attrs, fused, precision}; }
};

// Memory for what one replay at a time computes and uses up inside.
struct Arena {
  void* grown_to(size_t bytes) {
    if (!memory || memory->bytes() < bytes) {
      memory.reset();  // before there is more
      memory = std::make_shared<Storage>(bytes);
    }
    return memory->data();
  }
  std::shared_ptr<Storage> memory;
  std::atomic<bool> busy{false};
};

// Those of plans that mostly run one after the other: one for each replay that runs at the same time, as large as the
// largest that it has served.
class Arenas {
 public:
  // Busy from now on; the one given, if it is not.
  Arena* take(Arena* last);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Arena>> arenas_;
};

// What one replay at a time works on: tensors into an arena, and what is prepared for them.
class Instance {
 public:
  // `arena`: memory of the layout's size; `isolated`: what the step writes to outside of it is a copy of its own.
  Instance(const Graph& g, void* arena, bool isolated);

  void move_to(void* arena);
  // `results`: memory for the outputs, one an output buffer, in the order of Program::result_buffers.
  void replay(std::span<void* const> inputs, std::span<void* const> results, const std::vector<int>& result_buffers);
  bool halted() const { return halted_; }
  std::vector<Step>& steps() { return steps_; }
  size_t packed_bytes() const;
  size_t constant_bytes() const { return constant_bytes_; }
  // Where each step ends, in seconds from the replay's beginning, is noted here if it is set.
  std::vector<double>* times = nullptr;
  std::atomic<bool> busy{false};
  Arena* arena = nullptr;  // that of the last replay

 private:
  struct Bound {
    TensorImpl* tensor;
    int64_t offset;
  };
  Tensor tensor_of(int value);
  std::vector<Step> steps_of(const std::vector<Node>& nodes);
  void bind(int buffer, void* memory);
  bool constants_are_stale() const;
  void make_constants();

  const Graph& graph_;
  void* arena_ = nullptr;
  std::vector<std::shared_ptr<Storage>> memory_;  // of each buffer; none where it is bound
  Tensors tensors_;                               // of each value
  std::vector<std::vector<Bound>> bound_;         // of each buffer: the tensors on it
  std::vector<Step> prologue_, steps_;
  struct Watched {
    std::shared_ptr<Storage> storage;
    uint32_t version;
  };
  std::vector<Watched> watched_;  // what constants are made of
  bool constants_made_ = false, halted_ = false;
  size_t constant_bytes_ = 0;
};

class Program {
 public:
  // `beside`: shares the arenas of that one.
  Program(Graph recorded, bool provisional, const PlanOptions& options, const Program* beside);

  Tensors run(const Tensors& inputs);
  void run_into(const Tensors& inputs, const Tensors& outputs);
  bool valid() const;
  bool provisional() const { return provisional_; }
  bool halted() const { return halted_; }
  void set_attributes(int begin, int end, const std::vector<CapturedAttributes>& attributes);
  std::vector<PlanStep> recorded() const;
  std::vector<PlanStep> steps(bool measure) const;
  PlanMemory memory() const;
  int64_t parts() const { return parts_.count; }
  const std::vector<PlanBlock>& blocks() const { return layout_.blocks; }

 private:
  // An instance that nobody else runs, made where all are busy.
  class Lease;
  void replay(const Tensors& inputs, std::span<void* const> results);
  void replay_parts(std::span<void* const> inputs, std::span<void* const> results);
  void check_inputs(const Tensors& inputs) const;
  const Graph& run_graph() const { return parts_.count > 1 ? parts_.graph : graph_; }
  void measure(std::vector<PlanStep>& steps) const;

  Graph recorded_, graph_;
  Layout layout_;
  Parts parts_;  // what is run, where it is split
  bool provisional_;
  std::vector<int> result_buffers_;
  std::vector<OutSpec> result_specs_;  // the tensors made for them
  std::vector<Storage*> written_;      // what a replay writes to outside of it: the graph keeps these alive
  mutable std::mutex mutex_;           // of the list, not of what is in it
  std::vector<std::unique_ptr<Instance>> instances_;
  std::shared_ptr<Arenas> arenas_;
  std::atomic<bool> halted_{false};
};

std::vector<PlanStep> describe(const Graph& g);  // plan/describe.cpp

}  // namespace lanner::plan
