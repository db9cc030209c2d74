// Dead code, common subexpressions, constants.
#include <algorithm>
#include <cstring>
#include <map>

#include "plan/graph.h"

namespace lanner::plan {
namespace {

using Kind = Buffer::Kind;

// Nothing but its outputs tells that it ran.
bool is_pure(const Node& n) { return n.writes.empty() && !n.out.empty(); }

void remove_dead(Graph& g) {
  std::vector<bool> needed(g.buffers.size());
  for (size_t i = 0; i < g.buffers.size(); ++i)
    needed[i] = g.buffers[i].kind == Kind::Output || g.buffers[i].kind == Kind::Kept;
  std::vector<Node> kept;
  for (size_t i = g.nodes.size(); i-- > 0;) {
    Node& n = g.nodes[i];
    const bool used = std::any_of(n.out.begin(), n.out.end(), [&](int v) { return needed[g.values[v].buffer]; }) ||
                      std::any_of(n.writes.begin(), n.writes.end(), [&](int b) {
                        return needed[b] || g.buffers[b].kind == Kind::External || g.buffers[b].kind == Kind::Input;
                      });
    if (!used && !(n.out.empty() && n.writes.empty())) continue;  // a node without either is there for what it does
    for (int v : n.in)
      if (v >= 0) needed[g.values[v].buffer] = true;
    kept.push_back(std::move(n));
  }
  std::reverse(kept.begin(), kept.end());
  g.nodes = std::move(kept);
}

// Buffers that hold one thing from when they are computed to the end.
std::vector<bool> written_once(const Graph& g) {
  std::vector<int> writers(g.buffers.size());
  for (const Node& n : g.nodes) {
    for (int v : n.out) ++writers[g.values[v].buffer];
    for (int b : n.writes) writers[b] += 2;
  }
  std::vector<bool> once(g.buffers.size());
  for (size_t i = 0; i < once.size(); ++i) once[i] = writers[i] <= 1;
  return once;
}

// What follows from memory that the step does not write to, and can be computed before the first replay.
std::vector<bool> constants(const Graph& g, const std::vector<bool>& once) {
  std::vector<bool> constant(g.buffers.size());
  for (size_t i = 0; i < constant.size(); ++i) constant[i] = g.buffers[i].is_constant();
  for (const Node& n : g.nodes) {
    const bool follows =
        is_pure(n) && !(op_traits(n.op) & kRandom) &&
        std::all_of(n.in.begin(), n.in.end(), [&](int v) { return v < 0 || constant[g.values[v].buffer]; }) &&
        std::all_of(n.out.begin(), n.out.end(),
                    [&](int v) { return g.buffer_of(v).kind == Kind::Internal && once[g.values[v].buffer]; });
    if (!follows) continue;
    for (int v : n.out) constant[g.values[v].buffer] = true;
  }
  return constant;
}

bool same_work(const Graph& g, const Node& a, const Node& b) {
  if (a.op != b.op || a.in.size() != b.in.size() || a.out.size() != b.out.size() || !(a.attrs == b.attrs)) return false;
  for (size_t i = 0; i < a.in.size(); ++i) {
    if ((a.in[i] < 0) != (b.in[i] < 0)) return false;
    if (a.in[i] >= 0 && !(g.values[a.in[i]] == g.values[b.in[i]])) return false;
  }
  for (size_t i = 0; i < a.out.size(); ++i) {
    const Value &x = g.values[a.out[i]], &y = g.values[b.out[i]];
    if (!(x.shape == y.shape) || x.dtype != y.dtype) return false;
  }
  return true;
}

void merge_equal(Graph& g) {
  const std::vector<bool> once = written_once(g), constant = constants(g, once);
  // What is computed once more would else be kept from the first time, and no memory be saved.
  const auto may_join = [&](const Node& a, const Node& b) {
    return a.recomputation == b.recomputation || constant[g.values[a.out[0]].buffer];
  };
  std::map<Op, std::vector<size_t>> known;
  std::vector<int> stands_for(g.buffers.size(), -1);
  std::vector<Node> kept;
  for (Node& n : g.nodes) {
    for (int v : n.in)
      if (v >= 0 && stands_for[g.values[v].buffer] >= 0) g.values[v].buffer = stands_for[g.values[v].buffer];
    const bool candidate =
        is_pure(n) && std::all_of(n.in.begin(), n.in.end(), [&](int v) { return v < 0 || once[g.values[v].buffer]; }) &&
        std::all_of(n.out.begin(), n.out.end(),
                    [&](int v) { return once[g.values[v].buffer] && g.buffer_of(v).kind == Kind::Internal; });
    if (candidate) {
      auto& same_op = known[n.op];
      const auto found = std::find_if(same_op.begin(), same_op.end(),
                                      [&](size_t i) { return may_join(kept[i], n) && same_work(g, kept[i], n); });
      if (found != same_op.end()) {
        for (size_t i = 0; i < n.out.size(); ++i)
          stands_for[g.values[n.out[i]].buffer] = g.values[kept[*found].out[i]].buffer;
        continue;
      }
      same_op.push_back(kept.size());
    }
    kept.push_back(std::move(n));
  }
  for (int v : g.outputs)
    if (stands_for[g.values[v].buffer] >= 0) g.values[v].buffer = stands_for[g.values[v].buffer];
  g.nodes = std::move(kept);
}

// What follows from memory that the step does not write to is computed before the first replay, and again only when
// that memory was written to.
void set_constants_apart(Graph& g) {
  const std::vector<bool> constant = constants(g, written_once(g));
  std::vector<Node> left;
  for (Node& n : g.nodes) {
    const bool moves =
        is_pure(n) && std::all_of(n.out.begin(), n.out.end(), [&](int v) { return constant[g.values[v].buffer]; });
    if (!moves) {
      left.push_back(std::move(n));
      continue;
    }
    for (int v : n.out) g.buffer_of(v).kind = Kind::Constant;
    g.prologue.push_back(std::move(n));
  }
  g.nodes = std::move(left);
}

}  // namespace

void simplify(Graph& g) {
  remove_dead(g);
  merge_equal(g);
  remove_dead(g);
  set_constants_apart(g);
}

}  // namespace lanner::plan
