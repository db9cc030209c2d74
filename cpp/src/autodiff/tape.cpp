// Recording: which ops are left on the tape, with what.
#include <algorithm>
#include <cmath>

#include "autodiff/node.h"
#include "lanner/ops/elementwise.h"

namespace lanner {

void Node::release() {
  released = true;
  custom = nullptr;
  in.clear();
  out.clear();
  region = nullptr;
}

// A chain of a million nodes must not be a million nested destructors: the first one to run frees the others in a loop.
Node::~Node() {
  struct Pending {
    std::vector<Tensor> tensors;
    std::vector<CustomVjp> customs;
    std::vector<std::shared_ptr<Region>> regions;
    void take(Node& node) {
      for (Tensor& t : node.in) tensors.push_back(std::move(t));
      if (node.custom) customs.push_back(std::move(node.custom));
      if (node.region) regions.push_back(std::move(node.region));
    }
  };
  thread_local Pending* pending = nullptr;
  if (pending) {
    pending->take(*this);
    return;
  }
  Pending left;
  pending = &left;
  left.take(*this);
  const auto free_last = [](auto& of) {
    const auto last = std::move(of.back());
    of.pop_back();
  };
  while (true) {
    if (!left.tensors.empty())
      free_last(left.tensors);
    else if (!left.customs.empty())
      free_last(left.customs);
    else if (!left.regions.empty())
      free_last(left.regions);
    else
      break;
  }
  pending = nullptr;
}

namespace {
std::atomic<uint64_t> tape_length{0};
}
uint64_t tape_position() { return tape_length; }

void record(const std::shared_ptr<Node>& node, std::span<Tensor> outputs) {
  node->outputs = outputs.size();
  node->sequence = ++tape_length;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined() || !is_floating(outputs[i].dtype())) continue;
    auto meta = std::make_shared<AutogradMeta>();
    meta->requires_grad = true;
    meta->node = node;
    meta->index = static_cast<int>(i);
    Tape::impl(outputs[i])->meta = std::move(meta);
  }
}

void leave_on_tape(Op op, std::span<const Tensor> in, const Attrs& attrs, std::span<Tensor> out) {
  const uint32_t traits = op_traits(op);
  auto node = std::make_shared<Node>();
  node->op = op;
  node->attrs = attrs;
  node->in.reserve(in.size());
  node->in_versions.reserve(in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    const bool used = traits & (kVjpUsesIn0 << std::min<size_t>(i, 4));
    node->in.push_back(!in[i].defined() || used ? in[i] : Tape::without_memory(in[i]));
    node->in_versions.push_back(in[i].defined() ? in[i].version() : 0);
  }
  node->out.reserve(out.size());
  node->out_versions.reserve(out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const bool used = traits & (kVjpUsesOut0 << std::min<size_t>(i, 2));
    node->out.push_back(used ? out[i].detach() : Tape::without_memory(out[i]));
    node->out_versions.push_back(out[i].version());
  }
  if (anomaly_enabled() || recording_notes) node->scope = current_scope();
  if (open_region()) node = keep_in_region(std::move(node));
  record(node, out);
}

namespace {
thread_local bool grad_mode = true;
thread_local bool anomaly_mode = false;
thread_local std::vector<std::string> scopes;
}  // namespace

bool grad_enabled() { return grad_mode; }
void set_grad_enabled(bool on) { grad_mode = on; }
GradMode::GradMode(bool on) : before_(grad_mode) { grad_mode = on; }
GradMode::~GradMode() { grad_mode = before_; }

bool anomaly_enabled() { return anomaly_mode; }
void set_anomaly_enabled(bool on) { anomaly_mode = on; }
void push_scope(const std::string& name) { scopes.push_back(name); }
void pop_scope() {
  if (!scopes.empty()) scopes.pop_back();
}
std::string current_scope() {
  std::string path;
  for (const std::string& s : scopes) path += (path.empty() || s.empty() ? "" : ".") + s;
  return path;
}

ScopePath::ScopePath(const std::string& path) : before_(std::move(scopes)) {
  scopes.clear();
  if (!path.empty()) scopes.push_back(path);
}
ScopePath::~ScopePath() { scopes = std::move(before_); }

namespace {

bool all_finite(const Tensor& t) {
  if (!t.defined() || !is_floating(t.dtype()) || t.raw() == nullptr) return true;
  NoGrad off;
  const AnomalyPause pause;
  const Tensor x = ops::contiguous(is_half(t.dtype()) ? ops::cast(t, DType::Float32) : t);
  if (x.dtype() == DType::Float64) {
    const double* p = x.data<double>();
    return std::all_of(p, p + x.size(), [](double v) { return std::isfinite(v); });
  }
  const float* p = x.data<float>();
  return std::all_of(p, p + x.size(), [](float v) { return std::isfinite(v); });
}

}  // namespace

void check_anomaly(const char* what, const char* op, const std::string& scope, std::span<const Tensor> outputs,
                   std::span<const Tensor> inputs) {
  for (const Tensor& y : outputs) {
    if (all_finite(y)) continue;
    for (const Tensor& x : inputs)
      if (!all_finite(x)) return;  // not the first
    check(false, scope, scope.empty() ? "" : ": ", op, ": the ", what, " has a NaN or an infinity (shape ", y.shape(),
          "), though what it was computed from has none");
  }
}

void check_output(Op op, std::span<const Tensor> out, std::span<const Tensor> in) {
  check_anomaly("output", op_name(op), current_scope(), out, in);
}

Tensors custom_function(const char* name, const Tensors& inputs, const Tensors& outputs, CustomVjp vjp) {
  Tensors results;
  for (const Tensor& y : outputs) results.push_back(y.defined() ? y.detach() : y);
  const bool wanted =
      std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x.defined() && x.requires_grad(); });
  if (!grad_enabled() || !wanted) return results;
  auto node = std::make_shared<Node>();
  node->name = name;
  node->custom = std::move(vjp);
  for (const Tensor& x : inputs) node->in.push_back(x.defined() ? Tape::without_memory(x) : x);
  if (anomaly_mode) node->scope = current_scope();
  if (open_region()) node = keep_in_region(std::move(node));
  record(node, results);
  return results;
}

}  // namespace lanner
