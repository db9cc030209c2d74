#include "plan/graph.h"

namespace lanner::plan {

int Graph::add_internal(const Shape& shape, DType dtype) {
  Buffer b;
  b.bytes = static_cast<size_t>(element_count(shape)) * itemsize(dtype);
  buffers.push_back(b);
  return add_value({static_cast<int>(buffers.size()) - 1, 0, shape, contiguous_strides(shape), dtype});
}

Uses::Uses(const Graph& g) : readers(g.buffers.size()), producer(g.buffers.size(), -1) {
  for (size_t n = 0; n < g.nodes.size(); ++n) {
    for (int v : g.nodes[n].in)
      if (v >= 0) readers[g.values[v].buffer].push_back(static_cast<int>(n));
    for (int v : g.nodes[n].out) producer[g.values[v].buffer] = static_cast<int>(n);
  }
}

}  // namespace lanner::plan
