// max(relu(x)) is relu(max(x)): relu moves behind the pooling, where a fraction of the elements is left, and the gate of
// its gradient in front of the pooling's, so that the backward pass does not read what was pooled.
//
// The largest of a window is found at the same place, or it is not above 0, and then no gradient goes there. That place
// must thus be nobody else's. NaN stays NaN either way.
#include "plan/fuse.h"

namespace lanner::plan {
namespace {

class Pooling {
 public:
  explicit Pooling(Fuser& f) : f_(f), g_(f.g) {}

  void run() {
    for (int i = 0; i < static_cast<int>(g_.nodes.size()); ++i)
      if (g_.nodes[i].op == Op::MaxPool) move_relu(i);
  }

 private:
  struct Backward {
    int scatter = -1, gate = -1;
  };

  bool row_major(int value) const {
    const Value& v = g_.values[value];
    return v.strides == contiguous_strides(v.shape);
  }

  // Is `gate` what relu's gradient does to what the pooling's gradient gave to it alone?
  bool is_backward(int gate, int relu_out, int index, Backward* found) const {
    const Node& n = g_.nodes[gate];
    if (found->gate >= 0 || n.op != Op::ReluBackward || g_.values[n.in[1]].buffer != relu_out || !f_.whole(n.in[1]))
      return false;
    const int buffer = g_.values[n.in[0]].buffer, scatter = f_.uses.producer[buffer];
    if (scatter < 0 || g_.nodes[scatter].op != Op::PoolScatter || !f_.read_once(buffer) || !f_.whole(n.in[0]))
      return false;
    if (g_.values[g_.nodes[scatter].in[1]].buffer != index) return false;
    if (!(g_.values[n.in[0]].shape == g_.values[n.out[0]].shape)) return false;
    *found = {scatter, gate};
    return true;
  }

  void move_relu(int pool) {
    const Node& n = g_.nodes[pool];
    const int y = n.in[0], p = n.out[0], relu_out = g_.values[y].buffer, index = g_.values[n.out[1]].buffer;
    const int relu = f_.uses.producer[relu_out];
    if (relu < 0 || g_.nodes[relu].op != Op::Relu || !f_.whole(y)) return;
    const Buffer& activated = g_.buffers[relu_out];
    if (activated.kind != Buffer::Kind::Internal || activated.written || 2 * g_.values[p].size() > g_.values[y].size())
      return;
    const int x = g_.nodes[relu].in[0];
    if (!(g_.values[x].shape == g_.values[y].shape) || !row_major(x) || f_.written_between(x, relu, pool)) return;

    Backward backward;
    for (int reader : f_.uses.readers[relu_out])
      if (reader != pool && !is_backward(reader, relu_out, index, &backward)) return;
    if (g_.buffers[index].kind != Buffer::Kind::Internal) return;
    for (int reader : f_.uses.readers[index])
      if (reader != backward.scatter) return;
    if (backward.gate >= 0 && g_.buffer_of(p).written) return;
    move(pool, relu, backward);
  }

  void move(int pool, int relu, const Backward& backward) {
    const int p = g_.nodes[pool].out[0];
    const Shape shape = g_.values[p].shape;
    const DType dtype = g_.values[p].dtype;
    g_.nodes[pool].in[0] = g_.nodes[relu].in[0];
    g_.nodes[pool].out[0] = g_.add_internal(shape, dtype);
    Node moved = std::move(g_.nodes[relu]);
    moved.in[0] = g_.nodes[pool].out[0];
    moved.out[0] = p;
    // One node leaves, another comes further down or up: what lies outside of the two keeps its number.
    g_.nodes.erase(g_.nodes.begin() + relu);
    g_.nodes.insert(g_.nodes.begin() + pool, std::move(moved));
    if (const auto [scatter, gate] = backward; gate >= 0) {
      Node gated = std::move(g_.nodes[gate]);
      g_.nodes[scatter].out[0] = gated.out[0];
      gated.in = {g_.nodes[scatter].in[0], p};
      gated.out[0] = g_.nodes[scatter].in[0] = g_.add_internal(shape, dtype);
      g_.nodes.erase(g_.nodes.begin() + gate);
      g_.nodes.insert(g_.nodes.begin() + scatter, std::move(gated));
    }
    f_.sync();
  }

  Fuser& f_;
  Graph& g_;
};

}  // namespace

void move_relu_behind_pooling(Fuser& f) { Pooling(f).run(); }

}  // namespace lanner::plan
