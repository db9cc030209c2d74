// Batch normalization joins its neighbours. With fixed statistics it goes into the weights of the convolution or linear
// layer before it, and costs nothing at a replay:
// y = (w x + b - mean) s + beta = (w s) x + ((b - mean) s + beta), s = gamma / sqrt(var + eps).
#include <algorithm>

#include "ops/elementwise.h"
#include "ops/norm.h"
#include "plan/fuse.h"

namespace lanner::plan {
namespace {

// Adds elementwise nodes to the prologue.
class Prologue {
 public:
  explicit Prologue(Graph& g) : g_(g) {}

  int apply(Op op, std::initializer_list<int> in) {
    const Value& a = g_.values[*in.begin()];
    const Shape shape = in.size() > 1 ? broadcast_shapes(a.shape, g_.values[*(in.begin() + 1)].shape, "plan") : a.shape;
    Node n;
    n.op = op;
    n.attrs = ElementwiseParams{};
    n.in = in;
    const DType dtype = a.dtype;
    const int y = g_.add_internal(shape, dtype);
    g_.buffer_of(y).kind = Buffer::Kind::Constant;
    n.out = {y};
    g_.prologue.push_back(std::move(n));
    return y;
  }
  int number(double value) {
    const Tensor t = Tensor::weak(value);
    Buffer b;
    b.kind = Buffer::Kind::External;
    b.storage = Tape::impl(t)->storage;
    b.bytes = itemsize(t.dtype());
    g_.buffers.push_back(std::move(b));
    return g_.add_value({static_cast<int>(g_.buffers.size()) - 1, 0, {}, {}, t.dtype(), true});
  }
  // [n] seen as [n, 1, ...].
  int as_column(int value, int rank) {
    Value v = g_.values[value];
    v.shape = Shape::filled(rank, 1);
    v.strides = Dims::filled(rank, 0);
    v.shape[0] = g_.values[value].shape[0];
    v.strides[0] = g_.values[value].strides[0];
    return g_.add_value(v);
  }

 private:
  Graph& g_;
};

bool is_constant(const Graph& g, int value) { return value < 0 || g.buffer_of(value).is_constant(); }

}  // namespace

void fold_batch_norm(Fuser& f) {
  Graph& g = f.g;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    if (g.nodes[i].op != Op::BatchNormInference) continue;
    const std::vector<int> in = g.nodes[i].in;  // x, gamma, beta, mean, var
    if (!f.whole(in[0]) || !f.read_once(g.values[in[0]].buffer)) continue;
    const int from = f.uses.producer[g.values[in[0]].buffer];
    if (from < 0) continue;
    const Node& before = g.nodes[static_cast<size_t>(from)];
    if ((before.op != Op::Conv && before.op != Op::Linear) || before.has_fused) continue;
    if (before.op == Op::Linear && g.values[in[0]].shape.size() != 2) continue;  // its channels are the last axis
    if (!is_constant(g, before.in[1]) || !is_constant(g, before.in[2])) continue;
    bool fixed = true;
    for (size_t k = 1; k < in.size(); ++k) fixed = fixed && is_constant(g, in[k]);
    if (!fixed) continue;

    Prologue p(g);
    const int weight = before.in[1], bias = before.in[2];
    int scale = p.apply(Op::Rsqrt, {p.apply(Op::Add, {in[4], p.number(norm_eps(g.nodes[i].attrs))})});
    if (in[1] >= 0) scale = p.apply(Op::Multiply, {scale, in[1]});
    const int scaled = p.apply(Op::Multiply, {weight, p.as_column(scale, g.values[weight].shape.size())});
    int shift = bias >= 0 ? p.apply(Op::Subtract, {bias, in[3]}) : p.apply(Op::Neg, {in[3]});
    shift = p.apply(Op::Multiply, {shift, scale});
    if (in[2] >= 0) shift = p.apply(Op::Add, {shift, in[2]});

    Node& folded = g.nodes[static_cast<size_t>(from)];
    folded.in[1] = scaled;
    folded.in[2] = shift;
    f.absorb(from, static_cast<int>(i));
  }
  f.sweep();
}

// An activation's backward whose result a batch norm's backward reads: the gradient is gated while it is read.
void gate_batch_norm(Fuser& f) {
  Graph& g = f.g;
  for (int i = 0; i < static_cast<int>(g.nodes.size()); ++i) {
    Node& norm = g.nodes[i];
    if (norm.op != Op::BatchNormBackward || norm.has_fused || !f.whole(norm.in[0])) continue;
    const int buffer = g.values[norm.in[0]].buffer;
    const int p = f.uses.producer[buffer];
    if (p < 0 || f.removed[p] || g.buffers[buffer].written) continue;
    const Node& gate = g.nodes[p];
    if (gate.op != Op::ReluBackward && gate.op != Op::LeakyReluBackward) continue;
    const Shape& shape = g.values[gate.out[0]].shape;
    const bool plain = std::all_of(gate.in.begin(), gate.in.end(), [&](int v) {
      return g.values[v].shape == shape && g.values[v].strides == contiguous_strides(shape) &&
             g.values[v].dtype == g.values[norm.in[0]].dtype;
    });
    const double slope = gate.op == Op::ReluBackward ? 0 : gate.attrs.get<ElementwiseParams>().value[0];
    const auto& readers = f.uses.readers[buffer];
    if (!plain || slope < 0 || !f.can_move(p, i) || readers.front() < i) continue;
    const bool kept = readers.size() > 1 || g.buffers[buffer].kind != Buffer::Kind::Internal;
    norm.attrs = gated_batch_norm(norm.attrs, slope, kept);
    norm.op = Op::GatedBatchNormBackward;
    norm.in[0] = gate.in[0];
    norm.in.push_back(gate.in[1]);
    if (kept) norm.out.push_back(gate.out[0]);
    norm.absorbed = {gate.op};
    f.removed[p] = true;
  }
  f.sweep();
}

}  // namespace lanner::plan
