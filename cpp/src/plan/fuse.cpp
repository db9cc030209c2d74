// Several nodes become one, so that what one computes is used before it leaves the registers or the first-level cache.
// Each rule is a function here; fuse() says their order.
#include "plan/fuse.h"

#include <algorithm>

namespace lanner::plan {

bool Fuser::read_once(int buffer) const {
  return g.buffers[buffer].kind == Buffer::Kind::Internal && !g.buffers[buffer].written &&
         uses.readers[buffer].size() == 1;
}

bool Fuser::whole(int value) const { return g.values[value].covers(g.buffer_of(value)); }

bool Fuser::written_between(int value, int first, int last) const {
  const int buffer = g.values[value].buffer;
  if (!g.buffers[buffer].written) return false;
  for (int n = first + 1; n < last; ++n)
    if (std::find(g.nodes[n].writes.begin(), g.nodes[n].writes.end(), buffer) != g.nodes[n].writes.end()) return true;
  return false;
}

bool Fuser::can_move(int node, int to) const {
  const Node& moved = g.nodes[node];
  for (int v : moved.in)
    if (v >= 0 && written_between(v, node, to)) return false;
  const auto read_before = [&](int buffer) {
    const auto& readers = uses.readers[buffer];
    return std::any_of(readers.begin(), readers.end(), [&](int n) { return n > node && n < to; });
  };
  for (size_t i = 1; i < moved.out.size(); ++i)
    if (read_before(g.values[moved.out[i]].buffer)) return false;
  return std::none_of(moved.writes.begin(), moved.writes.end(), read_before);
}

void Fuser::absorb(int from, int to) {
  Node merged = std::move(g.nodes[from]);
  Node& target = g.nodes[to];
  merged.absorbed.push_back(target.op);
  merged.out[0] = target.out[0];
  merged.recorded = target.recorded;
  target = std::move(merged);
  removed[from] = true;
}

void Fuser::sweep() {
  std::vector<Node> left;
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (!removed[i]) left.push_back(std::move(g.nodes[i]));
  g.nodes = std::move(left);
  sync();
}

namespace {

// The first operand of an elementwise op that is one number.
double number_of(const Attrs& attrs) { return attrs.get<double>(); }

// Node `c` does to the result of `p`, its input `at`, what an epilogue can do: notes it in p.
bool take_into_epilogue(const Graph& g, Node& p, const Node& c, int at) {
  Fused f = p.has_fused ? p.fused : Fused{};
  const Value& y = g.values[c.out[0]];
  const auto laid_out_as_result = [&](int v) {
    return v >= 0 && g.values[v].shape == y.shape && g.values[v].dtype == y.dtype &&
           g.values[v].strides == contiguous_strides(y.shape);
  };
  const bool activated = f.activation != cpu::Activation::None || f.gate >= 0;
  switch (c.op) {
    case Op::Add: {
      const int other = c.in[1 - at];
      if (f.residual >= 0 || activated || !laid_out_as_result(other)) return false;
      f.residual = static_cast<int>(p.in.size());
      p.in.push_back(other);
      break;
    }
    case Op::Relu:
      if (activated) return false;
      f.activation = cpu::Activation::Relu;
      break;
    case Op::LeakyRelu:
      if (activated) return false;
      f.activation = cpu::Activation::LeakyRelu;
      f.slope = number_of(c.attrs);
      break;
    case Op::ReluBackward:
    case Op::LeakyReluBackward: {
      const double slope = c.op == Op::ReluBackward ? 0 : number_of(c.attrs);
      // Of a leaky relu the gate is its input, which has its output's sign.
      if (at != 0 || f.gate >= 0 || slope < 0 || !laid_out_as_result(c.in[1]) || c.in[1] == c.in[0]) return false;
      f.gate = static_cast<int>(p.in.size());
      f.gate_slope = slope;
      p.in.push_back(c.in[1]);
      break;
    }
    default: return false;
  }
  p.fused = f;
  p.has_fused = true;
  return true;
}

// Bias, residual, activation and gate into the kernel that makes the result.
void fuse_epilogues(Fuser& f) {
  Graph& g = f.g;
  for (int i = 0; i < static_cast<int>(g.nodes.size()); ++i) {
    if (f.removed[i] || !(op_traits(g.nodes[i].op) & kEpilogue)) continue;
    for (int p = i;;) {
      const int y = g.nodes[p].out[0];
      const Value& result = g.values[y];
      if (!is_floating(result.dtype) || is_half(result.dtype)) break;
      if (!f.read_once(result.buffer) || !f.whole(y)) break;
      const int c = f.uses.readers[result.buffer][0];
      Node& consumer = g.nodes[c];
      if (consumer.out.size() != 1 || !f.whole(consumer.out[0]) || !f.can_move(p, c)) break;
      const auto at = std::find_if(consumer.in.begin(), consumer.in.end(),
                                   [&](int v) { return v >= 0 && g.values[v].buffer == result.buffer; });
      const Value& read = g.values[*at];
      const Value& out = g.values[consumer.out[0]];
      if (!(read.shape == out.shape) || read.dtype != out.dtype || read.dtype != result.dtype || !f.whole(*at)) break;
      Node trial = g.nodes[p];
      if (!take_into_epilogue(g, trial, consumer, static_cast<int>(at - consumer.in.begin()))) break;
      // The result keeps the shape that the op itself gives: a reshape between the two is a matter of the value alone.
      Value renamed = result;
      renamed.buffer = out.buffer;
      g.nodes[p] = std::move(trial);
      f.absorb(p, c);
      g.nodes[c].out[0] = g.add_value(renamed);
      p = c;
      f.uses = Uses(g);
    }
  }
  f.sweep();
}

}  // namespace

void fuse(Graph& g) {
  Fuser f(g);
  fold_batch_norm(f);
  move_relu_behind_pooling(f);
  fuse_epilogues(f);
  gate_batch_norm(f);
  fuse_elementwise(f);
}

}  // namespace lanner::plan
