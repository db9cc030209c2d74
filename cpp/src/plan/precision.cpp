// Products of bfloat16 operands. Matrix products round theirs while they pack them (Run::precision); convolutions, which
// have no kernel of their own for it, are given operands that were rounded.
#include <map>

#include "plan/graph.h"

namespace lanner::plan {
namespace {

bool is_convolution(Op op) { return op == Op::Conv || op == Op::ConvInputGrad || op == Op::ConvWeightGrad; }

}  // namespace

void use_bfloat16(Graph& g) {
  std::vector<Node> nodes;
  std::map<int, int> rounded;  // buffer -> the value that holds its rounding
  const auto cast = [&](int value, DType to, const Node& why) {
    Node n;
    n.op = Op::Cast;
    n.in = {value};
    n.out = {g.add_internal(g.values[value].shape, to)};
    n.recorded = why.recorded;
    n.scope = why.scope;
    nodes.push_back(std::move(n));
    return nodes.back().out[0];
  };
  for (Node& n : g.nodes) {
    n.precision = Precision::BFloat16;
    if (is_convolution(n.op)) {
      for (int operand : {0, 1}) {
        int& value = n.in[static_cast<size_t>(operand)];
        if (g.values[value].dtype != DType::Float32) continue;
        const bool whole = g.values[value].covers(g.buffer_of(value)) && !g.buffer_of(value).written;
        const auto known = whole ? rounded.find(g.values[value].buffer) : rounded.end();
        const int buffer = g.values[value].buffer;
        const int from = value;
        value = known != rounded.end() && g.values[known->second].shape == g.values[from].shape
                    ? known->second
                    : cast(cast(from, DType::BFloat16, n), DType::Float32, n);
        if (whole) rounded[buffer] = value;
      }
    }
    nodes.push_back(std::move(n));
  }
  g.nodes = std::move(nodes);
}

}  // namespace lanner::plan
