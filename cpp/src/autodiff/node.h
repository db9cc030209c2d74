// One op on the tape: what it was, what its vjp needs, and (through the inputs' metas) where the walk goes on.
#pragma once

#include <memory>
#include <string>

#include "autodiff/checkpoint.h"
#include "core/tensor_impl.h"
#include "lanner/autodiff.h"
#include "ops/op.h"

namespace lanner {

struct Node : std::enable_shared_from_this<Node> {
  Op op = Op::Count;
  Attrs attrs;
  Tensors in, out;  // memory only where the vjp uses it; the outputs without meta, or they would hold the node
  std::vector<uint32_t> in_versions, out_versions;
  size_t outputs = 0;
  CustomVjp custom;
  std::string name;       // of a custom function
  std::string scope;      // where in the model, when anomalies are looked for
  uint64_t sequence = 0;  // later on the tape is larger
  bool released = false;
  std::shared_ptr<Region> region;  // that computes once more what the vjp uses, and has it as its `place`-th node
  size_t place = 0;

  ~Node();
  const char* label() const { return custom || op == Op::Count ? name.c_str() : op_name(op); }
  // Frees what was kept for the vjp.
  void release();
};

// Puts `node` on the tape as the origin of `outputs` (of the floating ones).
void record(const std::shared_ptr<Node>& node, std::span<Tensor> outputs);

// How many nodes were put on the tape so far.
uint64_t tape_position();

// Inside, ops are not looked at for anomalies; whether they were.
class AnomalyPause {
 public:
  AnomalyPause() : before_(anomaly_enabled()) { set_anomaly_enabled(false); }
  ~AnomalyPause() { set_anomaly_enabled(before_); }
  AnomalyPause(const AnomalyPause&) = delete;
  AnomalyPause& operator=(const AnomalyPause&) = delete;
  bool was_on() const { return before_; }

 private:
  bool before_;
};

// Throws Error where one of `outputs` has a NaN or infinity and none of `inputs` has.
void check_anomaly(const char* what, const char* op, const std::string& scope, std::span<const Tensor> outputs,
                   std::span<const Tensor> inputs);
std::string current_scope();
// Inside, the ops that run are those of the layer `path`.
class ScopePath {
 public:
  explicit ScopePath(const std::string& path);
  ~ScopePath();
  ScopePath(const ScopePath&) = delete;
  ScopePath& operator=(const ScopePath&) = delete;

 private:
  std::vector<std::string> before_;
};

}  // namespace lanner
