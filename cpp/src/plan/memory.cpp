// Lifetimes to offsets in one arena.
#include <algorithm>
#include <limits>

#include "core/allocator.h"
#include "ops/recurrent.h"
#include "plan/graph.h"

namespace lanner::plan {
namespace {

constexpr int kNever = std::numeric_limits<int>::max();

struct Block {
  int first = kNever, last = -1;  // nodes
  size_t bytes = 0;
  std::vector<int> buffers;  // more than one where a node computes in place
  int64_t offset = -1;
};

// The op may write its output where its first floating input of the same layout is: elementwise ops read an element
// before they write it.
int reusable_input(const Graph& g, const Node& n, const std::vector<int>& last_use, int at) {
  if (!(op_traits(n.op) & kInplace) || n.out.size() != 1) return -1;
  const Value& y = g.values[n.out[0]];
  if (!y.covers(g.buffer_of(n.out[0]))) return -1;
  for (int v : n.in) {
    if (v < 0) continue;
    const Value& x = g.values[v];
    const Buffer& b = g.buffers[x.buffer];
    if (b.kind != Buffer::Kind::Internal || last_use[x.buffer] != at || b.bytes != g.buffer_of(n.out[0]).bytes)
      continue;
    if (!x.covers(b) || !(x.shape == y.shape) || itemsize(x.dtype) != itemsize(y.dtype)) continue;
    // Another view of the same memory in the same op might be read out of step with it.
    const auto views =
        std::count_if(n.in.begin(), n.in.end(), [&](int w) { return w >= 0 && g.values[w].buffer == x.buffer; });
    if (views == 1) return x.buffer;
  }
  return -1;
}

// Of recurrent layers one output may lie where one input was, time step by time step: the gates kept where the input's
// products were, the gates' gradients where the gates were. Gives that input's buffer, or -1.
int replaced_input(const Graph& g, const Node& n, size_t out, const std::vector<int>& last_use, int at) {
  int in = -1;
  if (n.op == Op::Lstm && out == RecurrentOut::kGates && n.in[RecurrentIn::kInputWeight] < 0)
    in = n.in[RecurrentIn::kInput];
  if ((n.op == Op::LstmBackward || n.op == Op::GruBackward) && out == RecurrentBackOut::kDgates)
    in = n.in[RecurrentBackIn::kGates];
  if (in < 0) return -1;
  const Value &x = g.values[in], &y = g.values[n.out[out]];
  const Buffer& b = g.buffers[x.buffer];
  const bool free = b.kind == Buffer::Kind::Internal && last_use[x.buffer] == at && x.covers(b) &&
                    y.covers(g.buffer_of(n.out[out])) && x.shape == y.shape && x.dtype == y.dtype;
  const auto views =
      std::count_if(n.in.begin(), n.in.end(), [&](int w) { return w >= 0 && g.values[w].buffer == x.buffer; });
  return free && views == 1 ? x.buffer : -1;
}

}  // namespace

Layout place(Graph& g) {
  const size_t count = g.buffers.size();
  std::vector<int> first(count, kNever), last(count, -1);
  for (size_t n = 0; n < g.nodes.size(); ++n) {
    const auto touch = [&](int v) {
      if (v < 0) return;
      const int b = g.values[v].buffer;
      first[b] = std::min(first[b], static_cast<int>(n));
      last[b] = static_cast<int>(n);
    };
    for (int v : g.nodes[n].in) touch(v);
    for (int v : g.nodes[n].out) touch(v);
  }

  // Blocks: buffers, joined where a node computes in place.
  std::vector<int> block_of(count, -1);
  std::vector<Block> blocks;
  Layout layout;
  const auto round_up = [](size_t n) { return (std::max<size_t>(n, 1) + kAlignment - 1) / kAlignment * kAlignment; };
  for (size_t n = 0; n < g.nodes.size(); ++n) {
    for (size_t i = 0; i < g.nodes[n].out.size(); ++i) {
      const int b = g.values[g.nodes[n].out[i]].buffer;
      if (g.buffers[b].kind != Buffer::Kind::Internal || block_of[b] >= 0) continue;
      layout.unshared_bytes += round_up(g.buffers[b].bytes);
      int reused = reusable_input(g, g.nodes[n], last, static_cast<int>(n));
      if (reused < 0) reused = replaced_input(g, g.nodes[n], i, last, static_cast<int>(n));
      if (reused >= 0 && block_of[reused] >= 0) {
        block_of[b] = block_of[reused];
      } else {
        block_of[b] = static_cast<int>(blocks.size());
        blocks.emplace_back();
      }
      Block& block = blocks[block_of[b]];
      block.buffers.push_back(b);
      block.bytes = round_up(g.buffers[b].bytes);
      block.first = std::min(block.first, first[b]);
      block.last = std::max(block.last, last[b]);
    }
  }

  // The largest first, each into the lowest gap that is free for its life.
  std::vector<int> order(blocks.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<int> placed;  // by offset
  for (int i : order) {
    Block& block = blocks[i];
    int64_t at = 0;
    for (int j : placed) {
      const Block& other = blocks[j];
      if (other.last < block.first || block.last < other.first) continue;
      if (at + static_cast<int64_t>(block.bytes) <= other.offset) break;
      at = std::max(at, other.offset + static_cast<int64_t>(other.bytes));
    }
    block.offset = at;
    layout.arena_bytes = std::max(layout.arena_bytes, static_cast<size_t>(at) + block.bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](int a, int b) { return blocks[a].offset < blocks[b].offset; }),
                  i);
    for (int b : block.buffers) {
      g.buffers[b].offset = at;
      layout.blocks.push_back({at, static_cast<int64_t>(g.buffers[b].bytes), first[b], last[b]});
    }
  }
  return layout;
}

}  // namespace lanner::plan
