// What the rules of fusion share.
#pragma once

#include "plan/graph.h"

namespace lanner::plan {

struct Fuser {
  explicit Fuser(Graph& graph) : g(graph), uses(graph), removed(graph.nodes.size()) {}

  // Is the buffer computed inside the step, and read by one node alone?
  bool read_once(int buffer) const;
  // Is the value all of its buffer, row-major?
  bool whole(int value) const;
  // Is the value's memory written to in place by a node between the two?
  bool written_between(int value, int first, int last) const;
  // Would the node compute the same at the place of node `to`, further down?
  bool can_move(int node, int to) const;
  // Node `from` takes the place, and the output, of node `to`.
  void absorb(int from, int to);
  // Takes out what was removed.
  void sweep();
  // Takes note that nodes were put in or taken out.
  void sync() {
    removed.assign(g.nodes.size(), false);
    uses = Uses(g);
  }

  Graph& g;
  Uses uses;
  std::vector<bool> removed;
};

// ---- the rules that have a file of their own ----
void fold_batch_norm(Fuser& f);
void move_relu_behind_pooling(Fuser& f);
void gate_batch_norm(Fuser& f);
void fuse_elementwise(Fuser& f);

}  // namespace lanner::plan
