// Elementwise ops that read each other's results become one pass over memory, with the sums over its results, if any.
#include <algorithm>
#include <map>
#include <numeric>

#include "ops/fused.h"
#include "plan/fuse.h"

namespace lanner::plan {
namespace {

bool is_reduction(Op op) {
  return op == Op::Sum || op == Op::Mean || op == Op::SumSquares || op == Op::Max || op == Op::Min;
}

// What is run at the place of its last node.
using Group = std::vector<int>;  // nodes, in order

class Groups {
 public:
  explicit Groups(Fuser& f) : f_(f), g_(f.g), group_of_(f.g.nodes.size(), -1) {
    for (int i = 0; i < static_cast<int>(g_.nodes.size()); ++i) {
      const Node& n = g_.nodes[i];
      if (n.has_fused || n.out.size() != 1 || !n.writes.empty() || !(can_fuse(n.op) || is_reduction(n.op))) continue;
      group_of_[i] = static_cast<int>(groups_.size());
      groups_.push_back({i});
      for (int v : n.in) join_with_producer(i, v);
    }
  }

  void replace() {
    for (const Group& group : groups_) {
      if (group.size() < 2) continue;
      Node fused;
      build(group, &fused);
      for (int i : group) f_.removed[i] = true;
      g_.nodes[group.back()] = std::move(fused);
      f_.removed[group.back()] = false;
    }
    f_.sweep();
  }

 private:
  bool inside(const Group& group, int node) const { return std::binary_search(group.begin(), group.end(), node); }

  const Shape& walked(const Group& group) const {
    const Node& n = g_.nodes[group.front()];
    return g_.values[is_reduction(n.op) ? n.in[0] : n.out[0]].shape;
  }

  // Does `reader` read the result of a node of the group as it is, element by element?
  bool reads_as_it_is(int value, int producer) const {
    const int result = g_.nodes[producer].out[0];
    const Value &x = g_.values[value], &y = g_.values[result];
    return f_.whole(value) && f_.whole(result) && x.shape == y.shape && x.dtype == y.dtype;
  }

  void join_with_producer(int i, int value) {
    if (value < 0) return;
    const int buffer = g_.values[value].buffer;
    const int p = f_.uses.producer[buffer];
    if (p < 0 || p >= i || group_of_[p] < 0 || group_of_[p] == group_of_[i] || is_reduction(g_.nodes[p].op)) return;
    if (g_.buffers[buffer].written || !reads_as_it_is(value, p)) return;
    Group& a = groups_[group_of_[p]];
    Group& b = groups_[group_of_[i]];
    if (!(walked(a) == walked(b))) return;
    Group joined(a.size() + b.size());
    std::merge(a.begin(), a.end(), b.begin(), b.end(), joined.begin());
    if (!can_run_at_end(joined) || !build(joined, nullptr)) return;
    const int from = group_of_[p];
    for (int n : a) group_of_[n] = group_of_[i];
    b = std::move(joined);
    groups_[from].clear();
  }

  // What is computed later than it was recorded: is its input still there, and is it not needed before?
  bool can_run_at_end(const Group& group) const {
    const int end = group.back();
    for (int i : group) {
      for (int v : g_.nodes[i].in) {
        if (v < 0) continue;
        const int p = f_.uses.producer[g_.values[v].buffer];
        if (p >= 0 && inside(group, p)) {
          if (is_reduction(g_.nodes[p].op) || !reads_as_it_is(v, p)) return false;
        } else if (f_.written_between(v, i, end)) {
          return false;
        }
      }
      for (int reader : f_.uses.readers[g_.values[g_.nodes[i].out[0]].buffer])
        if (reader < end && !inside(group, reader)) return false;
    }
    return true;
  }

  // Makes the group's node; false where the program has no room for it. Without `fused`, only tries.
  bool build(const Group& group, Node* fused) const {
    ProgramBuilder builder;
    std::map<int, int> computed;              // buffer -> value of the program
    std::vector<std::pair<int, int>> inputs;  // value of the graph, of the program
    std::vector<int> outputs;
    const int rank = walked(group).size();
    const auto operand = [&](int v) {
      const Value& x = g_.values[v];
      const auto found = computed.find(x.buffer);
      if (found != computed.end()) return found->second;
      const Buffer& b = g_.buffers[x.buffer];
      if (x.weak && x.size() == 1 && b.kind == Buffer::Kind::External && !b.written) {
        const char* at = static_cast<const char*>(b.storage->data()) + x.offset;
        const double number = x.dtype == DType::Int64 ? static_cast<double>(*reinterpret_cast<const int64_t*>(at))
                                                      : *reinterpret_cast<const double*>(at);
        return builder.constant(number, x.dtype, true);
      }
      for (const auto& [known, id] : inputs)
        if (g_.values[known] == x) return id;
      const int id = builder.input(x.dtype, x.weak);
      if (id >= 0) inputs.emplace_back(v, id);
      return id;
    };
    for (int i : group) {
      const Node& n = g_.nodes[i];
      if (is_reduction(n.op)) {
        const int x = operand(n.in[0]);
        if (x < 0 || !builder.output(x, n.op, n.attrs.get<ReduceAttrs>(), rank)) return false;
        outputs.push_back(n.out[0]);
        continue;
      }
      int in[3];
      for (size_t k = 0; k < n.in.size(); ++k)
        if (n.in[k] < 0 || (in[k] = operand(n.in[k])) < 0) return false;
      const int y = builder.apply(n.op, n.attrs, std::span(in, n.in.size()), g_.values[n.out[0]].dtype);
      if (y < 0) return false;
      const int buffer = g_.values[n.out[0]].buffer;
      computed[buffer] = y;
      const auto& readers = f_.uses.readers[buffer];
      const bool needed = g_.buffers[buffer].kind != Buffer::Kind::Internal ||
                          std::any_of(readers.begin(), readers.end(), [&](int r) { return !inside(group, r); });
      if (needed) {
        if (!builder.output(y)) return false;
        outputs.push_back(n.out[0]);
      }
    }
    if (!fused) return true;
    fused->op = Op::FusedElementwise;
    fused->attrs = builder.program();
    for (const auto& [value, id] : inputs) fused->in.push_back(value);
    fused->out = outputs;
    fused->recorded = g_.nodes[group.back()].recorded;
    for (int i : group) fused->absorbed.push_back(g_.nodes[i].op);
    return true;
  }

  Fuser& f_;
  Graph& g_;
  std::vector<Group> groups_;
  std::vector<int> group_of_;
};

}  // namespace

void fuse_elementwise(Fuser& f) { Groups(f).replace(); }

}  // namespace lanner::plan
