// What a graph's nodes are called, read and cost, for people.
#include "plan/replay.h"

namespace lanner::plan {
namespace {

std::string text_of(const Value& v) { return dtype_name(v.dtype) + to_string(v.shape); }

// Two a multiply-add for what multiplies matrices, one an element and op of the rest.
double flops_of(const Graph& g, const Node& n) {
  const auto shape = [&](int value) -> const Shape& { return g.values[value].shape; };
  const auto count = [&](int value) { return static_cast<double>(g.values[value].size()); };
  // Of `products` matrices of L x S x E, in all batches; a causal mask is not looked at.
  const auto attention = [&](size_t query, double products) {
    return 2 * products * count(n.in[query]) *
           static_cast<double>(shape(n.in[query + 1])[shape(n.in[query]).size() - 2]);
  };
  // Of one product with a weight for each step and row of y [T, N, ...].
  const auto recurrent_flops = [&](int y, int weight) {
    return 2 * static_cast<double>(shape(y)[0] * shape(y)[1]) * count(weight);
  };
  double flops = 0;
  switch (n.op) {
    case Op::Linear: return 2 * count(n.out[0]) * static_cast<double>(shape(n.in[1]).back());
    case Op::Matmul: return 2 * count(n.out[0]) * static_cast<double>(shape(n.in[0]).back());
    case Op::Conv: return 2 * count(n.out[0]) * count(n.in[1]) / static_cast<double>(shape(n.in[1])[0]);
    case Op::ConvInputGrad: return 2 * count(n.in[0]) * count(n.in[1]) / static_cast<double>(shape(n.in[1])[0]);
    case Op::ConvWeightGrad: return 2 * count(n.in[1]) * count(n.out[0]) / static_cast<double>(shape(n.out[0])[0]);
    case Op::Attention:
    case Op::DropoutAttention: return attention(0, 2);
    case Op::AttentionBackward:
    case Op::DropoutAttentionBackward: return attention(1, 5);
    // The recurrent products: weights [gates * hidden, state] for each step and row, forward; backward also their gradient.
    case Op::Rnn:
    case Op::Lstm:
    case Op::Gru:
      for (size_t weight : {1, 6, 7})
        if (n.in[weight] >= 0) flops += recurrent_flops(n.out[0], n.in[weight]);
      return flops;
    case Op::RnnBackward:
    case Op::LstmBackward:
    case Op::GruBackward:
      return (n.out[1] >= 0 && count(n.out[1]) > 0 ? 2 : 1) * recurrent_flops(n.in[7], n.in[1]) +
             (n.in[6] < 0 ? 0 : 2 * recurrent_flops(n.in[7], n.in[6])) +
             (n.out.size() <= 6 || n.out[6] < 0 ? 0 : recurrent_flops(n.in[7], n.out[6]));
    default:
      for (int v : n.out.empty() ? n.in : n.out)
        if (v >= 0) flops += count(v) * static_cast<double>(1 + n.absorbed.size());
      return flops;
  }
}

}  // namespace

std::vector<PlanStep> describe(const Graph& g) {
  std::vector<PlanStep> steps;
  for (const Node& n : g.nodes) {
    PlanStep s;
    s.name = op_name(n.op);
    for (Op op : n.absorbed) s.name += std::string(" + ") + op_name(op);
    s.scope = n.scope;
    const auto note = [&](int value, std::vector<std::string>& texts, std::vector<int>& ids) {
      if (value < 0) return;
      const Value& v = g.values[value];
      texts.push_back(text_of(v));
      ids.push_back(v.buffer);
      s.bytes += static_cast<double>(v.size()) * static_cast<double>(itemsize(v.dtype));
    };
    for (int v : n.in) note(v, s.inputs, s.input_ids);
    for (int v : n.out) note(v, s.outputs, s.output_ids);
    s.flops = flops_of(g, n);
    steps.push_back(std::move(s));
  }
  return steps;
}

}  // namespace lanner::plan
