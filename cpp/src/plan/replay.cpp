#include "plan/replay.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <typeinfo>
#include <utility>

#include "lanner/autodiff.h"
#include "lanner/ops.h"
#include "lanner/parallel.h"
#include "ops/halt.h"

namespace lanner::plan {

using Kind = Buffer::Kind;
using Clock = std::chrono::steady_clock;

namespace {

// The value as a tensor on memory that begins at `base`; without, it is to be told where it lies.
std::shared_ptr<TensorImpl> tensor_on(const Value& v, std::shared_ptr<Storage> storage, void* base) {
  auto impl = std::make_shared<TensorImpl>();
  if (base) impl->first = static_cast<char*>(base) + v.offset;
  impl->storage = std::move(storage);
  impl->shape = v.shape, impl->strides = v.strides, impl->size = v.size(), impl->dtype = v.dtype;
  impl->contiguous = is_row_major(v.shape, v.strides);
  return impl;
}

// The error that is being handled, with the path of its layer in front.
[[noreturn]] void rethrow_from(const std::string& scope) {
  if (scope.empty()) throw;
  const auto located = [&](const Error& e) { return scope + ": " + e.what(); };
  try {
    throw;
  } catch (const IndexError& e) {
    throw IndexError(located(e));
  } catch (const ShapeError& e) {
    throw ShapeError(located(e));
  } catch (const Error& e) {
    if (typeid(e) != typeid(Error)) throw;
    throw Error(located(e));
  }
}

// May the two steps use one Prepared? They differ in nothing but where their variable tensors lie.
bool prepared_alike(const Graph& g, const Node& a, const Node& b, const Step& step_a, const Step& step_b) {
  if (a.op != b.op || !(a.attrs == b.attrs) || a.precision != b.precision || a.has_fused != b.has_fused ||
      !(a.fused == b.fused))
    return false;
  const auto same_layout = [&](int v, int w) {
    if (v < 0 || w < 0) return v == w;
    const Value &x = g.values[v], &y = g.values[w];
    return x.shape == y.shape && x.strides == y.strides && x.dtype == y.dtype && x.weak == y.weak;
  };
  const auto same_input = [&](int v, int w) {
    if (!same_layout(v, w)) return false;
    if (v < 0 || !(g.buffer_of(v).is_constant() || g.buffer_of(w).is_constant())) return true;
    return g.values[v] == g.values[w];
  };
  const auto equal = [](const auto& x, const auto& y, const auto& same) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), same);
  };
  return equal(a.in, b.in, same_input) && equal(a.out, b.out, same_layout) &&
         equal(step_a.out, step_b.out, [](const Tensor& x, const Tensor& y) { return x.defined() == y.defined(); });
}

}  // namespace

Arena* Arenas::take(Arena* last) {
  if (last && !last->busy.exchange(true)) return last;
  std::lock_guard lock(mutex_);
  for (const auto& a : arenas_)
    if (!a->busy.exchange(true)) return a.get();
  arenas_.push_back(std::make_unique<Arena>());
  arenas_.back()->busy = true;
  return arenas_.back().get();
}

// ---- an instance --------------------------------------------------------------------------------------------------

Instance::Instance(const Graph& g, void* arena, bool isolated)
    : graph_(g), arena_(arena), memory_(g.buffers.size()), tensors_(g.values.size()), bound_(g.buffers.size()) {
  for (size_t i = 0; i < g.buffers.size(); ++i) {
    const Buffer& b = g.buffers[i];
    switch (b.kind) {
      case Kind::External:
      case Kind::Kept:
        memory_[i] = b.storage;
        if (isolated && (b.written || b.kind == Kind::Kept)) {
          memory_[i] = std::make_shared<Storage>(b.bytes);
          std::memcpy(memory_[i]->data(), b.storage->data(), b.bytes);
        }
        break;
      case Kind::Constant:
        memory_[i] = std::make_shared<Storage>(b.bytes);
        constant_bytes_ += b.bytes;
        break;
      case Kind::Internal:
      case Kind::Input:
      case Kind::Output: break;
    }
  }
  prologue_ = steps_of(g.prologue);
  steps_ = steps_of(g.nodes);
  std::vector<bool> watched(g.buffers.size());
  const auto watch = [&](int v) {
    if (v < 0) return;
    const int b = g.values[v].buffer;
    if (watched[b] || g.buffers[b].kind != Kind::External || g.buffers[b].written) return;
    watched[b] = true;
    watched_.push_back({g.buffers[b].storage, 0});
  };
  for (const Node& n : g.prologue)
    for (int v : n.in) watch(v);
  for (size_t i = 0; i < steps_.size(); ++i)
    if (steps_[i].prepared)
      for (int v : g.nodes[i].in) watch(v);
}

Tensor Instance::tensor_of(int value) {
  if (value < 0) return {};
  Tensor& t = tensors_[value];
  if (t.defined()) return t;
  const Value& v = graph_.values[value];
  const Buffer& b = graph_.buffers[v.buffer];
  const std::shared_ptr<Storage>& memory = memory_[v.buffer];
  void* base = memory ? memory->data() : nullptr;
  if (b.kind == Kind::Internal) base = static_cast<char*>(arena_) + b.offset;
  auto impl = tensor_on(v, memory, base);
  impl->weak = v.weak;
  if (!memory) bound_[v.buffer].push_back({impl.get(), v.offset});
  t = Tape::make(std::move(impl));
  return t;
}

std::vector<Step> Instance::steps_of(const std::vector<Node>& nodes) {
  std::vector<Step> steps;
  const Uses uses(graph_);
  std::vector<size_t> owners;  // steps with packed weights, which others of the same kind use too
  for (const Node& n : nodes) {
    Step s{n.op,        run_of(n.op), nullptr, false, {}, {}, n.attrs, n.has_fused ? &n.fused : nullptr,
           n.precision, n.recorded,   0};
    uint64_t constant = 0;
    for (size_t i = 0; i < n.in.size(); ++i) {
      s.in.push_back(tensor_of(n.in[i]));
      if (n.in[i] < 0 || i >= 64) continue;
      if (graph_.buffer_of(n.in[i]).is_constant()) constant |= uint64_t{1} << i;
    }
    for (int v : n.out) s.out.push_back(tensor_of(v));
    if ((op_traits(n.op) & kSkipsOut1) && graph_.buffer_of(n.out[1]).kind == Kind::Internal &&
        uses.readers[graph_.values[n.out[1]].buffer].empty())
      s.out[1] = Tensor();
    if (op_traits(n.op) & kRandom) s.random_call = n.attrs.get<RandomState>().call - graph_.random_start.call;
    if (const PrepareFn prepare = prepare_of(n.op)) {
      const auto same = std::find_if(owners.begin(), owners.end(),
                                     [&](size_t i) { return prepared_alike(graph_, nodes[i], n, steps[i], s); });
      if (same != owners.end()) {
        s.prepared = steps[*same].prepared;
      } else if ((s.prepared = prepare(s.run(), constant))) {
        s.refreshes = true;
        if (s.prepared->bytes() > 0) owners.push_back(steps.size());
      }
    }
    steps.push_back(std::move(s));
  }
  return steps;
}

void Instance::move_to(void* arena) {
  if (arena == arena_) return;
  arena_ = arena;
  for (size_t i = 0; i < graph_.buffers.size(); ++i)
    if (const Buffer& b = graph_.buffers[i]; b.kind == Kind::Internal)
      bind(static_cast<int>(i), static_cast<char*>(arena) + b.offset);
}

void Instance::bind(int buffer, void* memory) {
  for (const Bound& b : bound_[buffer]) b.tensor->first = static_cast<char*>(memory) + b.offset;
}

bool Instance::constants_are_stale() const {
  return !constants_made_ || std::any_of(watched_.begin(), watched_.end(), [](const Watched& w) {
    return w.storage->version() != w.version || w.storage->shared();
  });
}

void Instance::make_constants() {
  for (Watched& w : watched_) w.version = w.storage->version();
  for (Step& s : prologue_) {
    if (s.prepared) {
      if (s.refreshes) s.prepared->refresh(s.run());
      s.prepared->run(s.run());
    } else {
      s.function(s.run());
    }
  }
  for (Step& s : steps_)
    if (s.refreshes) s.prepared->refresh(s.run());
  constants_made_ = true;
}

void Instance::replay(std::span<void* const> inputs, std::span<void* const> results,
                      const std::vector<int>& result_buffers) {
  for (size_t i = 0; i < inputs.size(); ++i) bind(graph_.values[graph_.inputs[i]].buffer, inputs[i]);
  for (size_t i = 0; i < results.size(); ++i) bind(result_buffers[i], results[i]);
  if (constants_are_stale()) make_constants();
  if (graph_.random_calls > 0) {
    const RandomState base = next_random_states(graph_.random_calls);
    for (Step& s : steps_)
      if (op_traits(s.op) & kRandom) s.attrs.get<RandomState>() = {base.seed, base.call + s.random_call};
  }
  halted_ = halt_requested() = false;
  const ParallelScope awake;
  const auto begin = Clock::now();
  size_t at = 0;
  try {
    for (; at < steps_.size(); ++at) {
      Step& s = steps_[at];
      if (s.prepared)
        s.prepared->run(s.run());
      else
        s.function(s.run());
      if (s.op == Op::HaltUnlessFinite) halted_ = std::exchange(halt_requested(), false);
      if (halted_) return;
      if (times) times->push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    }
  } catch (const Error&) {
    rethrow_from(graph_.nodes[at].scope);
  }
}

size_t Instance::packed_bytes() const {
  size_t sum = 0;
  for (const Step& s : steps_) sum += s.refreshes ? s.prepared->bytes() : 0;
  return sum;
}

// ---- a program ----------------------------------------------------------------------------------------------------

class Program::Lease {
 public:
  explicit Lease(Program& p) {
    std::lock_guard lock(p.mutex_);
    for (size_t i = 0; i < p.instances_.size() && !instance_; ++i)
      if (!p.instances_[i]->busy.exchange(true)) instance_ = p.instances_[i].get();
    if (instance_) instance_busy_.reset(&instance_->busy);
    Arena* const arena = p.arenas_->take(instance_ ? instance_->arena : nullptr);
    arena_busy_.reset(&arena->busy);
    void* const memory = arena->grown_to(p.layout_.arena_bytes);
    if (instance_) {
      instance_->move_to(memory);
    } else {
      p.instances_.push_back(std::make_unique<Instance>(p.run_graph(), memory, false));
      instance_ = p.instances_.back().get();
      instance_->busy = true;
      instance_busy_.reset(&instance_->busy);
    }
    instance_->arena = arena;
  }
  Instance* operator->() const { return instance_; }

 private:
  struct Release {
    void operator()(std::atomic<bool>* busy) const { *busy = false; }
  };
  Instance* instance_ = nullptr;
  std::unique_ptr<std::atomic<bool>, Release> instance_busy_, arena_busy_;
};

Program::Program(Graph recorded, bool provisional, const PlanOptions& options, const Program* beside)
    : recorded_(std::move(recorded)),
      graph_(recorded_),
      provisional_(provisional),
      arenas_(beside ? beside->arenas_ : std::make_shared<Arenas>()) {
  if (options.bf16)
    for (Node& n : graph_.nodes) n.precision = Precision::BFloat16;
  simplify(graph_);
  if (options.fuse) fuse(graph_);
  layout_ = place(graph_);
  parts_ = split(graph_, layout_);
  if (parts_.count > 1) layout_ = place(parts_.graph);
  for (int v : graph_.outputs) {
    const Value& whole = graph_.values[v];
    Buffer& b = graph_.buffers[whole.buffer];
    if (b.kind != Kind::Output || b.result >= 0) continue;
    b.result = static_cast<int>(result_buffers_.size());
    result_buffers_.push_back(whole.buffer);
    if (whole.covers(b))
      result_specs_.push_back({whole.shape, whole.dtype});
    else
      result_specs_.push_back({{static_cast<int64_t>(b.bytes)}, DType::UInt8});
  }
  for (const Buffer& b : graph_.buffers)
    if (b.storage && (b.written || b.kind == Kind::Kept)) written_.push_back(b.storage.get());
}

void Program::check_inputs(const Tensors& inputs) const {
  check<ShapeError>(inputs.size() == graph_.inputs.size(), "plan: expected ", graph_.inputs.size(), " inputs, got ",
                    inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& v = graph_.values[graph_.inputs[i]];
    check<ShapeError>(inputs[i].shape() == v.shape, "plan: input ", i, " expects shape ", v.shape, ", got ",
                      inputs[i].shape());
    check<DTypeError>(inputs[i].dtype() == v.dtype, "plan: input ", i, " expects ", dtype_name(v.dtype), ", got ",
                      dtype_name(inputs[i].dtype()));
    check<ShapeError>(inputs[i].is_contiguous(), "plan: input ", i, " must be row-major");
  }
}

void Program::replay_parts(std::span<void* const> inputs, std::span<void* const> results) {
  const auto bytes = [&](int buffer) { return static_cast<int64_t>(parts_.graph.buffers[buffer].bytes); };
  const ParallelScope awake;
  parallel_for(parts_.count, 1, [&](int64_t begin, int64_t end) {
    const Lease instance(*this);
    void *in[Parts::kMost], *out[Parts::kMost];
    for (int64_t part = begin; part < end; ++part) {
      for (size_t i = 0; i < inputs.size(); ++i)
        in[i] = static_cast<char*>(inputs[i]) + part * bytes(graph_.values[graph_.inputs[i]].buffer);
      for (size_t i = 0; i < results.size(); ++i)
        out[i] = static_cast<char*>(results[i]) + part * bytes(result_buffers_[i]);
      instance->replay({in, inputs.size()}, {out, results.size()}, result_buffers_);
    }
  });
}

void Program::replay(const Tensors& given, std::span<void* const> results) {
  thread_local std::vector<void*> inputs;  // keeps its memory
  inputs.clear();
  for (const Tensor& x : given) inputs.push_back(x.raw());
  if (parts_.count > 1) {
    replay_parts(inputs, results);
  } else {
    const Lease instance(*this);
    instance->replay(inputs, results, result_buffers_);
    halted_ = instance->halted();
  }
  for (Storage* storage : written_) storage->count_write();
  for (const LeafGrad& g : recorded_.grads)
    if (const auto leaf = g.leaf.lock(); leaf && !leaf->grad.is(g.after)) leaf->grad = g.after;
}

Tensors Program::run(const Tensors& given) {
  Tensors dense;  // where an input is not row-major
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i].is_contiguous()) continue;
    if (dense.empty()) dense = given;
    dense[i] = ops::contiguous(given[i].detach());
  }
  const Tensors& inputs = dense.empty() ? given : dense;
  check_inputs(inputs);
  Tensors owners;
  std::vector<void*> results;
  owners.reserve(result_buffers_.size()), results.reserve(result_buffers_.size());
  for (const auto& [shape, dtype] : result_specs_) {
    owners.push_back(Tensor::empty(shape, dtype));
    results.push_back(owners.back().raw());
  }
  replay(inputs, results);
  Tensors outputs;
  outputs.reserve(graph_.outputs.size());
  for (int value : graph_.outputs) {
    const Value& v = graph_.values[value];
    const Buffer& b = graph_.buffers[v.buffer];
    if (b.kind == Kind::Output) {
      const Tensor& owner = owners[static_cast<size_t>(b.result)];
      if (v.covers(b) && owner.shape() == v.shape && owner.dtype() == v.dtype) {
        outputs.push_back(owner);
        continue;
      }
      outputs.push_back(Tape::make(tensor_on(v, Tape::impl(owner)->storage, owner.raw())));
    } else if (b.kind == Kind::Input) {
      const Tensor& input = inputs[static_cast<size_t>(b.input)];
      outputs.push_back(Tape::make(tensor_on(v, Tape::impl(input)->storage, input.raw())));
    } else {
      outputs.push_back(Tape::make(tensor_on(v, b.storage, b.storage->data())));
    }
  }
  return outputs;
}

void Program::run_into(const Tensors& inputs, const Tensors& outputs) {
  check_inputs(inputs);
  check<ShapeError>(outputs.size() == graph_.outputs.size(), "plan: expected ", graph_.outputs.size(), " outputs, got ",
                    outputs.size());
  thread_local std::vector<void*> results;  // keeps its memory
  results.assign(result_buffers_.size(), nullptr);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Value& v = graph_.values[graph_.outputs[i]];
    const Buffer& b = graph_.buffers[v.buffer];
    if (b.kind != Kind::Output) continue;
    void*& result = results[static_cast<size_t>(b.result)];
    check<ShapeError>(v.covers(b) && result == nullptr, "plan: output ", i,
                      " is a view of a larger result or of another output; use run()");
    check<ShapeError>(outputs[i].shape() == v.shape && outputs[i].is_contiguous(), "plan: output ", i,
                      " expects shape ", v.shape, ", row-major, got ", outputs[i].shape());
    check<DTypeError>(outputs[i].dtype() == v.dtype, "plan: output ", i, " expects ", dtype_name(v.dtype), ", got ",
                      dtype_name(outputs[i].dtype()));
    result = outputs[i].raw();
  }
  replay(inputs, results);
}

bool Program::valid() const {
  for (const LeafGrad& g : recorded_.grads) {
    const auto leaf = g.leaf.lock();
    if (g.checked && leaf && !leaf->grad.is(g.before)) return false;
  }
  return true;
}

void Program::set_attributes(int begin, int end, const std::vector<CapturedAttributes>& attributes) {
  std::lock_guard lock(mutex_);
  size_t next = 0;
  for (Node& n : recorded_.nodes) {
    if (n.recorded < begin || n.recorded >= end || !n.out.empty() || n.writes.empty()) continue;
    check(next < attributes.size() && attributes[next].op == static_cast<int>(n.op), "plan: ", op_name(n.op),
          " was recorded, and other updates came now");
    const auto& attrs = *static_cast<const Attrs*>(attributes[next++].attributes.get());
    n.attrs = attrs;
    for (Node& m : graph_.nodes)
      if (m.recorded == n.recorded) m.attrs = attrs;
    for (const auto& i : instances_)
      for (Step& s : i->steps())
        if (s.recorded == n.recorded) s.attrs = attrs;
  }
  check(next == attributes.size(), "plan: ", next, " updates were recorded, ", attributes.size(), " came now");
}

PlanMemory Program::memory() const {
  std::lock_guard lock(mutex_);
  PlanMemory m{layout_.arena_bytes, layout_.unshared_bytes, 0, 0};
  for (const auto& i : instances_) {
    m.packed_bytes = std::max(m.packed_bytes, i->packed_bytes());
    m.constant_bytes = std::max(m.constant_bytes, i->constant_bytes());
  }
  return m;
}

std::vector<PlanStep> Program::recorded() const { return describe(recorded_); }

std::vector<PlanStep> Program::steps(bool measured) const {
  std::vector<PlanStep> steps = describe(run_graph());
  if (measured) measure(steps);
  return steps;
}

// On memory of its own, so that nothing that the step writes to is changed.
void Program::measure(std::vector<PlanStep>& steps) const {
  const NoGrad no_grad;
  const Graph& g = run_graph();
  Tensors owners;
  std::vector<void*> inputs, results;
  for (int value : g.inputs) {
    const Value& v = g.values[value];
    owners.push_back(is_floating(v.dtype) ? ops::cast(ops::normal(v.shape), v.dtype) : ops::zeros(v.shape, v.dtype));
    // Whole numbers are places and lengths, which ops check, and which decide how long they take.
    if (const Buffer& b = g.buffers[v.buffer]; b.example) std::memcpy(owners.back().raw(), b.example->data(), b.bytes);
    inputs.push_back(owners.back().raw());
  }
  for (int b : result_buffers_) {
    owners.push_back(Tensor::empty({static_cast<int64_t>(g.buffers[b].bytes)}, DType::UInt8));
    results.push_back(owners.back().raw());
  }
  const RandomState before = random_state();
  Arena arena;
  Instance instance(g, arena.grown_to(layout_.arena_bytes), true);
  constexpr int kWarm = 2, kRuns = 9;
  std::vector<std::vector<double>> taken(steps.size());
  for (int run = 0; run < kWarm + kRuns; ++run) {
    std::vector<double> ends;
    ends.reserve(steps.size());
    instance.times = &ends;
    instance.replay(inputs, results, result_buffers_);
    for (size_t i = 0; run >= kWarm && i < ends.size(); ++i) taken[i].push_back(ends[i] - (i ? ends[i - 1] : 0));
  }
  set_random_state(before);
  for (size_t i = 0; i < steps.size(); ++i) {
    if (taken[i].empty()) continue;
    std::nth_element(taken[i].begin(), taken[i].begin() + taken[i].size() / 2, taken[i].end());
    steps[i].seconds = taken[i][taken[i].size() / 2];
  }
}

}  // namespace lanner::plan
