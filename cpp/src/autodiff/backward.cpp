// The walk back along the tape.
#include <algorithm>
#include <unordered_map>

#include "autodiff/node.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/shape.h"
#include "ops/elementwise.h"

namespace lanner {

namespace {

struct Edge {
  Node* node;
  int index;
};

Edge edge_of(const Tensor& t) {
  const AutogradMeta* meta = t.defined() ? Tape::impl(t)->meta.get() : nullptr;
  return meta && meta->node ? Edge{meta->node.get(), meta->index} : Edge{nullptr, 0};
}

// Where a gradient may have to be delivered: a leaf, or an output of a node.
bool same_place(const AutogradMeta* a, const AutogradMeta* b) {
  return a == b || (a->node && a->node == b->node && a->index == b->index);
}

Tensor fit_to(const Tensor& g, const Tensor& x) {
  Tensor out = g.shape() == x.shape() ? g : ops::sum_to(g, x.shape());
  return out.dtype() == x.dtype() ? out : ops::cast(out, x.dtype());
}

// While a step is recorded, what is computed for a node's gradient belongs to the node's layer.
class ScopeOf {
 public:
  explicit ScopeOf(const Node& node) : on_(recording_notes != nullptr) {
    if (on_) push_scope(node.scope);
  }
  ~ScopeOf() {
    if (on_) pop_scope();
  }
  ScopeOf(const ScopeOf&) = delete;
  ScopeOf& operator=(const ScopeOf&) = delete;

 private:
  bool on_;
};

class Walk {
 public:
  // `targets` empty: every leaf, whose gradient is added to its grad().
  Walk(const Tensors& outputs, const Tensors& targets, bool keep, bool create_graph)
      : targets_(targets), results_(targets.size()), keep_(keep || create_graph), create_graph_(create_graph) {
    for (const Tensor& y : outputs) find_needed(y);
  }

  void seed(const Tensor& y, const Tensor& g) { deliver(y, g); }

  Tensors run() {
    GradMode mode(create_graph_);
    std::sort(order_.begin(), order_.end(), [](const auto& a, const auto& b) { return a->sequence > b->sequence; });
    for (const auto& node : order_) {
      auto found = pending_.find(node.get());
      if (found == pending_.end()) continue;
      Tensors g = std::move(found->second);
      pending_.erase(found);
      recomputed_.pass(*node);
      visit(*node, g);
    }
    return std::move(results_);
  }

 private:
  // The nodes reachable from y that lead to a target, into order_.
  void find_needed(const Tensor& y) {
    struct Frame {
      Node* node;
      size_t next;
      bool needed;
    };
    Node* root = edge_of(y).node;
    if (!root || needed_.count(root)) return;
    std::vector<Frame> stack{{root, 0, false}};
    needed_[root] = false;
    while (!stack.empty()) {
      Frame& frame = stack.back();
      if (frame.next == 0) check_not_released(*frame.node);
      if (frame.next == frame.node->in.size()) {
        const bool needed = frame.needed;
        Node* node = frame.node;
        needed_[node] = needed;
        if (needed) order_.push_back(node->shared_from_this());
        stack.pop_back();
        if (!stack.empty()) stack.back().needed |= needed;
        continue;
      }
      const Tensor& x = frame.node->in[frame.next++];
      if (!x.defined() || !x.requires_grad()) continue;
      if (is_target(x)) frame.needed = true;
      Node* child = edge_of(x).node;
      if (!child) continue;
      auto seen = needed_.find(child);
      if (seen != needed_.end()) {
        frame.needed |= seen->second;
      } else {
        needed_[child] = false;
        stack.push_back({child, 0, false});  // `frame` is invalid from here on
      }
    }
  }

  static void check_not_released(const Node& node) {
    check(!node.released, "backward: the tape of ", node.label(),
          " was already walked and freed; say retain_graph=True at the first backward");
  }

  bool is_target(const Tensor& x) const {
    const AutogradMeta* meta = Tape::impl(x)->meta.get();
    if (targets_.empty()) return !meta->node;
    return std::any_of(targets_.begin(), targets_.end(),
                       [&](const Tensor& t) { return same_place(Tape::impl(t)->meta.get(), meta); });
  }

  bool wants(const Tensor& x) const {
    if (!x.defined() || !x.requires_grad()) return false;
    if (is_target(x)) return true;
    Node* child = edge_of(x).node;
    if (!child) return false;
    auto found = needed_.find(child);
    return found != needed_.end() && found->second;
  }

  void add(Tensor& sum, const Tensor& g) { sum = sum.defined() ? ops::add(sum, g) : g; }

  void deliver(const Tensor& x, const Tensor& g) {
    const AutogradMeta* meta = Tape::impl(x)->meta.get();
    for (size_t i = 0; i < targets_.size(); ++i)
      if (same_place(Tape::impl(targets_[i])->meta.get(), meta)) add(results_[i], g);
    if (meta->node) {
      auto found = needed_.find(meta->node.get());
      if (found == needed_.end() || !found->second) return;
      Tensors& slots = pending_[meta->node.get()];
      slots.resize(meta->node->outputs);
      add(slots[meta->index], g);
    } else if (targets_.empty()) {
      accumulate(Tape::impl(x)->meta, g);
    }
  }

  // A leaf's grad() is memory of its own, row-major: it is written to by clipping and read by fused optimizers.
  void accumulate(const std::shared_ptr<AutogradMeta>& meta, const Tensor& g) {
    if (recording_notes) recording_notes->note_grad(meta, true);
    AutogradMeta& leaf = *meta;
    const bool in_place = leaf.grad.defined() && !create_graph_ && !leaf.grad.requires_grad() &&
                          leaf.grad.is_contiguous() && Tape::impl(leaf.grad)->storage != Tape::impl(g)->storage;
    if (in_place) {
      const Tensor in[] = {leaf.grad, g};
      leaf.grad.will_write("backward");
      emit(Op::AddInto, in, ElementwiseParams{}, {});
    } else if (leaf.grad.defined()) {
      leaf.grad = ops::add(leaf.grad, g);
    } else if (create_graph_) {
      leaf.grad = g;
    } else {
      const bool shared = Tape::impl(g)->storage.use_count() > 1 || Tape::shared(g).use_count() > 2;
      leaf.grad = shared || !g.is_contiguous() ? ops::copy(g).detach() : g.detach();
    }
  }

  void visit(Node& node, Tensors& g) {
    for (Tensor& t : g)
      if (t.defined() && !create_graph_) t = t.detach();
    if (g.size() == 1 && !g[0].defined()) return;
    const AnomalyPause pause;  // what is wrong is said of the op whose gradient this is, not of an op inside its vjp
    const ScopeOf scope(node);
    Tensors gradients = node.op == Op::Count ? run_custom(node, g) : run_vjp(node, g);
    check(gradients.size() == node.in.size(), "backward: ", node.label(), " gave ", gradients.size(), " gradients for ",
          node.in.size(), " inputs");
    if (pause.was_on()) check_anomaly("gradient", node.label(), node.scope, gradients, g);
    g.clear();
    for (size_t i = 0; i < gradients.size(); ++i) {
      const Tensor& x = node.in[i];
      if (!gradients[i].defined() || !wants(x)) continue;
      Tensor fitted = fit_to(gradients[i], x);
      gradients[i] = Tensor();
      deliver(x, fitted);
    }
    if (!keep_) node.release();
  }

  Tensors run_custom(Node& node, const Tensors& g) {
    const std::shared_ptr<Node> values = recomputed_.values_of(node);
    const RecomputationScope scope(recomputed_.number_of(node));
    return values->custom(g);
  }

  Tensors run_vjp(Node& node, const Tensors& g) {
    const uint32_t traits = op_traits(node.op);
    const bool uses_values = traits & (kVjpUsesIn | kVjpUsesOut);
    const std::shared_ptr<Node> values = uses_values ? recomputed_.values_of(node) : node.shared_from_this();
    const RecomputationScope scope(recomputed_.number_of(node));
    Tensors in = values->in, out = values->out;
    uint64_t wanted = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      if (i < 64 && wants(node.in[i])) wanted |= uint64_t{1} << i;
      const bool used = in[i].defined() && (traits & (kVjpUsesIn0 << std::min<size_t>(i, 4)));
      check(!used || in[i].version() == values->in_versions[i], "backward: ", node.label(), " needs its input ", i,
            " (shape ", in[i].defined() ? in[i].shape() : Shape{},
            "), which was written to in place after it was used");
      // What was computed once more stands for what it repeats.
      if (node.region && in[i].defined()) in[i] = Tape::with_meta(in[i], Tape::impl(node.in[i])->meta);
    }
    for (size_t i = 0; i < out.size(); ++i) {
      const bool used = traits & (kVjpUsesOut0 << std::min<size_t>(i, 2));
      check(!used || out[i].version() == values->out_versions[i], "backward: ", node.label(),
            " needs its output (shape ", out[i].shape(), "), which was written to in place after it was computed");
      if (create_graph_ && is_floating(out[i].dtype())) {
        auto meta = std::make_shared<AutogradMeta>();
        meta->requires_grad = true;
        meta->node = node.shared_from_this();
        meta->index = static_cast<int>(i);
        out[i] = Tape::with_meta(out[i], std::move(meta));
      }
    }
    return vjp_of(node.op)(Vjp{node.op, in, out, g, node.attrs, wanted});
  }

  const Tensors& targets_;
  Tensors results_;
  bool keep_, create_graph_;
  std::unordered_map<Node*, bool> needed_;
  std::unordered_map<Node*, Tensors> pending_;
  Recomputed recomputed_;
  std::vector<std::shared_ptr<Node>> order_;  // held here, as a node that was walked lets go of those before it
};

Tensor seed_for(const Tensor& y, const Tensor& given, const char* op) {
  check(y.requires_grad(), op, ": the output does not require grad: nothing that requires grad took part in it");
  if (!given.defined()) {
    check<ShapeError>(y.size() == 1, op, ": a gradient must be given for an output of shape ", y.shape(),
                      "; only one element needs none");
    return ops::ones(y.shape(), y.dtype());
  }
  check<ShapeError>(given.shape() == y.shape(), op, ": the gradient has shape ", given.shape(), ", the output ",
                    y.shape());
  return given.dtype() == y.dtype() ? given : ops::cast(given, y.dtype());
}

}  // namespace

void Tensor::backward(const Tensor& gradient, bool retain_graph, bool create_graph) const {
  const Tensor g = seed_for(*this, gradient, "backward");
  const Tensors none;
  Walk walk({*this}, none, retain_graph, create_graph);
  walk.seed(*this, g);
  walk.run();
}

Tensors grad(const Tensors& outputs, const Tensors& inputs, const Tensors& grad_outputs, bool create_graph,
             bool retain_graph, bool allow_unused) {
  check(!inputs.empty(), "grad: expected at least one input");
  check(grad_outputs.empty() || grad_outputs.size() == outputs.size(), "grad: ", outputs.size(), " outputs but ",
        grad_outputs.size(), " grad_outputs");
  for (const Tensor& x : inputs)
    check(x.requires_grad(), "grad: an input (shape ", x.shape(), ") does not require grad");
  Walk walk(outputs, inputs, retain_graph, create_graph);
  for (size_t i = 0; i < outputs.size(); ++i)
    walk.seed(outputs[i], seed_for(outputs[i], grad_outputs.empty() ? Tensor() : grad_outputs[i], "grad"));
  Tensors results = walk.run();
  for (size_t i = 0; i < results.size(); ++i)
    check(allow_unused || results[i].defined(), "grad: input ", i, " (shape ", inputs[i].shape(),
          ") took no part in the outputs; say allow_unused=True if that is meant");
  return results;
}

}  // namespace lanner
