// A step that treats each sample by itself, a prediction, runs on a few samples at a time from its beginning to its end:
// what it computes stays in the second-level cache, and threads have nothing to wait for between its kernels.
#include <algorithm>

#include "plan/graph.h"

namespace lanner::plan {
namespace {

// What a part may compute inside, half of a second-level cache; and the weights that each part reads once more.
constexpr size_t kPartBytes = 512 << 10, kWeightBytes = 1 << 20;
constexpr int64_t kLeastSamples = 8, kLeastParts = 4;

class Splitter {
 public:
  explicit Splitter(const Graph& g) : g_(g), by_sample_(g.buffers.size()) {}

  // Samples in all; 0 where some node looks at more than one at a time.
  int64_t samples() {
    if (g_.inputs.empty() || g_.random_calls > 0 || !g_.grads.empty()) return 0;
    const Shape& first = g_.values[g_.inputs[0]].shape;
    n_ = first.empty() ? 0 : first[0];
    for (int v : g_.inputs)
      if (!take(v)) return 0;
    for (const Node& n : g_.nodes)
      if (!separates(n)) return 0;
    for (int v : g_.outputs)
      if (g_.buffer_of(v).kind != Buffer::Kind::Output || !is_sample(v)) return 0;
    return n_;
  }

  size_t weight_bytes() const {
    size_t sum = 0;
    for (const Buffer& b : g_.buffers)
      if (b.kind == Buffer::Kind::External || b.kind == Buffer::Kind::Constant) sum += b.bytes;
    return sum;
  }

  Graph part(int64_t samples) const {
    Graph p = g_;
    for (Value& v : p.values) {
      if (v.buffer < 0 || !by_sample_[static_cast<size_t>(v.buffer)]) continue;
      v.shape[0] = samples;
      v.strides = contiguous_strides(v.shape);
    }
    for (size_t i = 0; i < p.buffers.size(); ++i)
      if (by_sample_[i])
        p.buffers[i].bytes = p.buffers[i].bytes / static_cast<size_t>(n_) * static_cast<size_t>(samples);
    return p;
  }

 private:
  // The value is all of its buffer, sample after sample.
  bool take(int value) {
    const Value& v = g_.values[value];
    const Buffer& b = g_.buffers[static_cast<size_t>(v.buffer)];
    if (n_ < 1 || v.shape.empty() || v.shape[0] != n_ || !v.covers(b) || b.written) return false;
    by_sample_[static_cast<size_t>(v.buffer)] = true;
    return true;
  }
  bool is_sample(int value) const {
    const Value& v = g_.values[value];
    return by_sample_[static_cast<size_t>(v.buffer)] && !v.shape.empty() && v.shape[0] == n_ &&
           v.covers(g_.buffers[static_cast<size_t>(v.buffer)]);
  }

  bool separates(const Node& n) {
    if (!n.writes.empty() || n.out.empty()) return false;
    const bool layer = n.op == Op::Conv || n.op == Op::Linear || n.op == Op::MaxPool || n.op == Op::AvgPool;
    const bool elementwise = (op_traits(n.op) & kElementwise) != 0;
    if (!layer && !elementwise) return false;
    const int rank = g_.values[n.out[0]].shape.size();
    for (size_t i = 0; i < n.in.size(); ++i) {
      if (n.in[i] < 0 || is_sample(n.in[i])) continue;
      if (!g_.buffer_of(n.in[i]).is_constant() || (layer && i == 0)) return false;
      // What is broadcast must not have an axis of samples.
      const Shape& s = g_.values[n.in[i]].shape;
      if (elementwise && s.size() == rank && s[0] != 1) return false;
    }
    return std::all_of(n.out.begin(), n.out.end(), [&](int v) { return take(v); });
  }

  const Graph& g_;
  int64_t n_ = 0;
  std::vector<bool> by_sample_;
};

}  // namespace

Parts split(const Graph& g, const Layout& layout) {
  Parts parts;
  Splitter splitter(g);
  const int64_t n = splitter.samples();
  if (n < kLeastSamples * kLeastParts || splitter.weight_bytes() > kWeightBytes) return parts;
  if (g.inputs.size() > Parts::kMost || g.outputs.size() > Parts::kMost) return parts;
  // All parts are of one size: the largest that divides the samples and fits.
  const auto per_sample = static_cast<int64_t>(layout.arena_bytes) / n + 1;
  int64_t samples = std::min(n / kLeastParts, static_cast<int64_t>(kPartBytes) / per_sample);
  while (samples >= kLeastSamples && n % samples != 0) --samples;
  if (samples < kLeastSamples) return parts;
  parts.count = n / samples;
  parts.graph = splitter.part(samples);
  return parts;
}

}  // namespace lanner::plan
