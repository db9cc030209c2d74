// What a recorded step is: ops on views of buffers. The stages of a plan read and rewrite it, in the order of plan.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tensor_impl.h"
#include "lanner/plan.h"
#include "lanner/random.h"
#include "ops/op.h"

namespace lanner::plan {

// A block of memory.
struct Buffer {
  enum class Kind {
    Input,     // an argument of the step: where it lies is known at each replay
    External,  // memory that was there before the recording: parameters, state, constants
    Internal,  // computed and used up inside; has its place in the arena
    Output,    // a result, new at each replay
    Kept,      // computed, and looked at by tensors that outlive the recording: they see each replay's values
    Constant,  // computed from externals that the step does not write to: kept until those change
  };
  Kind kind = Kind::Internal;
  size_t bytes = 0;
  std::shared_ptr<Storage> storage;  // External, Kept, Constant
  std::shared_ptr<Storage> example;  // Input of int32 or int64: a copy of what was recorded, to time the step with
  int input = -1;                    // Input: which
  int result = -1;                   // Output: which of the blocks that a replay is given
  bool written = false;              // by a node that has it among its inputs
  int64_t offset = -1;               // Internal: in the arena

  // Does it hold the same for the whole of a replay, and for the next one, unless somebody else writes to it?
  bool is_constant() const { return kind == Kind::Constant || (kind == Kind::External && !written); }
};

// A tensor that a node reads or writes: a view of a buffer.
struct Value {
  int buffer = -1;
  int64_t offset = 0;  // bytes
  Shape shape;
  Dims strides;
  DType dtype = DType::Float32;
  bool weak = false;

  int64_t size() const { return element_count(shape); }
  bool covers(const Buffer& b) const {  // the whole buffer, row-major
    return offset == 0 && strides == contiguous_strides(shape) &&
           static_cast<size_t>(size()) * itemsize(dtype) == b.bytes;
  }
  friend bool operator==(const Value& a, const Value& b) {
    return a.buffer == b.buffer && a.offset == b.offset && a.shape == b.shape && a.strides == b.strides &&
           a.dtype == b.dtype && a.weak == b.weak;
  }
};

struct Node {
  Op op = Op::Count;
  Attrs attrs;
  std::vector<int> in, out;  // values; -1: an input that was not given
  std::vector<int> writes;   // buffers among those of `in` that it writes to in place
  bool has_fused = false;
  Fused fused;
  Precision precision = Precision::Full;
  int recorded = -1;           // its place in the recording; of several that were fused, the last one's
  std::string scope;           // the layer, where it is known
  uint64_t recomputation = 0;  // of a checkpointed region, to which it belongs
  std::vector<Op> absorbed;    // what was fused into it
};

// The gradient of a leaf, before and after the step.
struct LeafGrad {
  std::weak_ptr<AutogradMeta> leaf;
  bool checked = false;  // the recording relies on what it was:
  Tensor before;         // this tensor (none: undefined)
  Tensor after;
};

struct Graph {
  std::vector<Buffer> buffers;
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<Node> prologue;  // computes the constants
  std::vector<int> inputs;     // values
  std::vector<int> outputs;    // values
  std::vector<LeafGrad> grads;
  uint64_t random_calls = 0;  // states that the step takes from the generator
  RandomState random_start;

  const Buffer& buffer_of(int value) const { return buffers[values[value].buffer]; }
  Buffer& buffer_of(int value) { return buffers[values[value].buffer]; }
  int add_value(const Value& v) {
    values.push_back(v);
    return static_cast<int>(values.size()) - 1;
  }
  // A new internal buffer and the value that covers it.
  int add_internal(const Shape& shape, DType dtype);
};

// How often and where each buffer is read and written.
struct Uses {
  std::vector<std::vector<int>> readers;  // nodes, in order, with repetitions
  std::vector<int> producer;              // the node that has it among its outputs, or -1
  explicit Uses(const Graph& g);
};

// ---- the stages, each in a file of its own ----
void simplify(Graph& g);  // what is not needed goes; equal nodes become one; constants are set apart
void fuse(Graph& g);      // several nodes become one
struct Layout {
  size_t arena_bytes = 0;
  size_t unshared_bytes = 0;      // what the internal buffers would take without sharing
  std::vector<PlanBlock> blocks;  // one an internal buffer
};
Layout place(Graph& g);  // buffers to offsets in one arena

// The step for some of the samples, to be run `count` times; 1: not split.
struct Parts {
  static constexpr size_t kMost = 8;  // inputs, and outputs
  int64_t count = 1;
  Graph graph;
};
Parts split(const Graph& g, const Layout& layout);

}  // namespace lanner::plan
