#include "plan/trace.h"

#include <algorithm>

#include "autodiff/node.h"
#include "core/allocator.h"
#include "lanner/ops/elementwise.h"

namespace lanner::plan {

Trace::Trace(const Tensors& inputs) {
  check(recording_notes == nullptr, "compile: a step is being recorded on this thread already");
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& given = inputs[i];
    check(!(grad_enabled() && given.requires_grad()), "compile: argument ", i, " (shape ", given.shape(),
          ") requires grad, and a gradient cannot leave a compiled step this way; compile the whole step, backward() "
          "included, or pass x.detach()");
    const Tensor x = ops::contiguous(given.detach());
    const Tensor alias = Tensor::from_memory(x.raw(), x.shape(), x.strides(), x.dtype(), [x] {});
    Tape::impl(alias)->device = x.device();
    Tape::impl(alias)->weak = x.is_weak();
    inputs_.push_back(alias);
    Buffer b;
    b.kind = Buffer::Kind::Input;
    b.bytes = static_cast<size_t>(x.size()) * itemsize(x.dtype());
    b.input = static_cast<int>(i);
    if (x.dtype() == DType::Int32 || x.dtype() == DType::Int64) b.example = Tape::impl(ops::copy(x))->storage;
    graph_.buffers.push_back(b);
    const auto& storage = Tape::impl(alias)->storage;
    seen_.push_back(storage);
    known_[storage.get()] = static_cast<int>(i);
    graph_.inputs.push_back(value_of(alias));
  }
  graph_.random_start = random_start_ = random_state();
  set_listener(this);
  recording_notes = &notes_;
}

Trace::~Trace() { stop(); }

void Trace::stop() {
  if (!listening_) return;
  listening_ = false;
  set_listener(nullptr);
  recording_notes = nullptr;
}

int Trace::buffer_of(const Tensor& t) {
  const auto& storage = Tape::impl(t)->storage;
  const auto found = known_.find(storage.get());
  if (found != known_.end()) return found->second;
  const int index = static_cast<int>(graph_.buffers.size());
  Buffer b;
  b.kind = Buffer::Kind::External;
  b.storage = storage;
  b.bytes = storage->bytes();
  graph_.buffers.push_back(std::move(b));
  seen_.push_back(storage);
  known_[storage.get()] = index;
  return index;
}

int Trace::value_of(const Tensor& t) {
  Value v;
  v.buffer = buffer_of(t);
  v.offset = static_cast<const char*>(t.raw()) - static_cast<const char*>(Tape::impl(t)->storage->data());
  v.shape = t.shape(), v.strides = t.strides(), v.dtype = t.dtype(), v.weak = t.is_weak();
  return graph_.add_value(v);
}

void Trace::ran(Op op, std::span<const Tensor> in, const Attrs& attrs, std::span<const Tensor> out) {
  Node node;
  node.op = op;
  node.attrs = attrs;
  node.recorded = count();
  node.scope = current_scope();
  node.recomputation = recomputation();
  for (const Tensor& x : in) {
    node.in.push_back(x.defined() ? value_of(x) : -1);
    if (!x.defined()) continue;
    const Storage* block = Tape::impl(x)->storage.get();
    const auto noted = std::find_if(notes_.writes.begin(), notes_.writes.end(),
                                    [&](const RecordingNotes::Write& w) { return w.block == block; });
    if (noted == notes_.writes.end()) continue;
    wrote(node, *noted);
    notes_.writes.erase(noted);
  }
  for (const Tensor& y : out) {
    const int v = value_of(y);
    Buffer& b = graph_.buffer_of(v);
    b.kind = Buffer::Kind::Internal;
    b.storage = nullptr;  // only a weak pointer stays: what the step lets go of is freed
    b.bytes = static_cast<size_t>(y.size()) * itemsize(y.dtype());
    node.out.push_back(v);
  }
  if (op_traits(op) & kRandom) {
    const auto& state = attrs.get<RandomState>();
    check<RecordingError>(state.seed == graph_.random_start.seed, op_name(op),
                          ": the generator was seeded inside a step that is recorded; seed it outside");
  }
  graph_.nodes.push_back(std::move(node));
}

// A tensor made from numbers inside the step has them again at the beginning of each replay.
void Trace::wrote(Node& node, const RecordingNotes::Write& write) {
  const int buffer = known_[write.block];
  node.writes.push_back(buffer);
  graph_.buffers[buffer].written = true;
  if (!write.before || graph_.buffers[buffer].kind != Buffer::Kind::External) return;
  const auto bytes = static_cast<int64_t>(write.before->bytes());
  Buffer numbers;
  numbers.kind = Buffer::Kind::External;
  numbers.storage = write.before;
  numbers.bytes = write.before->bytes();
  graph_.buffers.push_back(std::move(numbers));
  seen_.emplace_back(write.before);
  Buffer& b = graph_.buffers[buffer];
  b.kind = Buffer::Kind::Internal;
  b.storage = nullptr;
  b.bytes = write.before->bytes();
  Node copy;
  copy.op = Op::Copy;
  copy.in = {graph_.add_value({static_cast<int>(graph_.buffers.size()) - 1, 0, {bytes}, {1}, DType::UInt8})};
  copy.out = {graph_.add_value({buffer, 0, {bytes}, {1}, DType::UInt8})};
  initial_.push_back(std::move(copy));
}

Graph Trace::finish(const Tensors& outputs, bool* provisional) {
  stop();
  *provisional = false;
  check<RecordingError>(notes_.writes.empty(),
                        "compile: memory was written to by something that is no op, and would not be by a replay");
  for (const Tensor& y : outputs) {
    const int v = value_of(y.detach());
    if (graph_.buffer_of(v).kind == Buffer::Kind::Internal) graph_.buffer_of(v).kind = Buffer::Kind::Output;
    graph_.outputs.push_back(v);
  }
  // Gradients of leaves: a replay leaves them as the recording did.
  for (const RecordingNotes::Leaf& noted : notes_.leaves) {
    const auto leaf = noted.leaf.lock();
    if (!leaf) continue;
    LeafGrad g;
    g.leaf = noted.leaf;
    g.checked = noted.relied_on;
    g.before = noted.before;
    g.after = leaf->grad;
    if (g.after.defined()) {
      const auto found = known_.find(Tape::impl(g.after)->storage.get());
      if (found != known_.end()) {
        Buffer& b = graph_.buffers[found->second];
        if (b.kind == Buffer::Kind::Internal) b.kind = Buffer::Kind::Kept, b.storage = Tape::impl(g.after)->storage;
      }
    }
    graph_.grads.push_back(std::move(g));
  }
  for (size_t i = 0; i < graph_.buffers.size(); ++i) {
    Buffer& b = graph_.buffers[i];
    if (b.kind != Buffer::Kind::Internal) continue;
    if (auto alive = seen_[i].lock()) {
      b.kind = Buffer::Kind::Kept;
      b.storage = std::move(alive);
      *provisional = true;
    }
  }
  graph_.nodes.insert(graph_.nodes.begin(), initial_.begin(), initial_.end());
  graph_.random_calls = random_state().call - graph_.random_start.call;
  return std::move(graph_);
}

void Trace::undo() {
  notes_.undo_writes();
  for (const RecordingNotes::Leaf& noted : notes_.leaves)
    if (const auto leaf = noted.leaf.lock()) leaf->grad = noted.before;
  set_random_state(random_start_);
  release_cached_memory();  // of what ran op by op; the plan has an arena of its own
}

}  // namespace lanner::plan
