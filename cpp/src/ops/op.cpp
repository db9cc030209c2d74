#include "ops/op.h"

#include "core/allocator.h"
#include "lanner/autodiff.h"

namespace lanner {
namespace {

thread_local Listener* listener = nullptr;

struct OpInfo {
  const char* name;
  uint32_t traits;
  RunFn run;
  VjpFn vjp;
  PrepareFn prepare;
};

// A view has nothing to run and an op without gradient no vjp: the discarded branch names no function.
#define LANNER_INFO(Name, name, traits)             \
  OpInfo{#name, (traits),                           \
         []() -> RunFn {                            \
           if constexpr (((traits) & kView) != 0)   \
             return nullptr;                        \
           else                                     \
             return run_##Name;                     \
         }(),                                       \
         []() -> VjpFn {                            \
           if constexpr (((traits) & kNoGrad) != 0) \
             return nullptr;                        \
           else                                     \
             return vjp_##Name;                     \
         }(),                                       \
         []() -> PrepareFn {                        \
           if constexpr (((traits) & kPrepares))    \
             return prepare_##Name;                 \
           else                                     \
             return nullptr;                        \
         }()},
#define LANNER_UNARY(Name, name, traits) LANNER_INFO(Name, name, traits)
#define LANNER_BINARY(Name, name, traits) LANNER_INFO(Name, name, traits)
#define LANNER_OP(Name, name, traits) LANNER_INFO(Name, name, traits)
const OpInfo kInfo[] = {
#include "ops/ops.def"
};

const OpInfo& info(Op op) { return kInfo[static_cast<int>(op)]; }

bool wants_record(uint32_t traits, std::span<const Tensor> in) {
  if (!grad_enabled() || (traits & kNoGrad)) return false;
  for (const Tensor& x : in)
    if (x.defined() && x.requires_grad()) return true;
  return false;
}

}  // namespace

Listener* set_listener(Listener* l) {
  Listener* before = listener;
  listener = l;
  return before;
}

const char* op_name(Op op) { return info(op).name; }
uint32_t op_traits(Op op) { return info(op).traits; }
RunFn run_of(Op op) { return info(op).run; }
VjpFn vjp_of(Op op) { return info(op).vjp; }
PrepareFn prepare_of(Op op) { return info(op).prepare; }

namespace {

// Computes into `out`, which is there already.
void emit_into(const OpInfo& i, Op op, std::span<const Tensor> in, const Attrs& attrs, std::span<Tensor> out) {
  i.run(Run{op, in, out, attrs});
  if (Listener* l = listener) l->ran(op, in, attrs, out);
  if (anomaly_enabled()) check_output(op, out, in);
  if (wants_record(i.traits, in)) leave_on_tape(op, in, attrs, out);
}

}  // namespace

Tensors emit(Op op, std::span<const Tensor> in, const Attrs& attrs, std::span<const OutSpec> specs) {
  const OpInfo& i = info(op);
  check_device(i.name, in);
  Tensors out;
  out.reserve(specs.size());
  for (const OutSpec& spec : specs) out.push_back(Tensor::empty(spec.shape, spec.dtype));
  if (specs.empty() && listener && listener->replaces(op, attrs)) return out;
  emit_into(i, op, in, attrs, out);
  return out;
}

Tensor emit(Op op, std::initializer_list<Tensor> in, const Attrs& attrs, const OutSpec& spec) {
  const OpInfo& i = info(op);
  const std::span<const Tensor> inputs(in.begin(), in.size());
  check_device(i.name, inputs);
  Tensor out = Tensor::empty(spec.shape, spec.dtype);
  emit_into(i, op, inputs, attrs, std::span(&out, 1));
  return out;
}

Tensor emit_view(Op op, const Tensor& x, const Attrs& attrs, const Tensor& out) {
  if (!wants_record(info(op).traits, std::span(&x, 1))) return out;
  return emit_views(op, x, attrs, {out})[0];
}

Tensors emit_views(Op op, const Tensor& x, const Attrs& attrs, Tensors out) {
  if (wants_record(info(op).traits, std::span(&x, 1))) leave_on_tape(op, std::span(&x, 1), attrs, out);
  return out;
}

void check_floating(const char* op, const char* argument, const Tensor& x) {
  check<DTypeError>(is_floating(x.dtype()), op, ": ", argument, " must be floating, got ", dtype_name(x.dtype()));
}

void check_device(const char* op, std::span<const Tensor> tensors) {
  const Tensor* first = nullptr;
  for (const Tensor& t : tensors) {
    if (!t.defined()) continue;
    if (!first) first = &t;
    if (t.device() == first->device()) continue;
    throw DeviceError(std::string(op) + ": tensors lie on " + to_string(first->device()) + " and " +
                      to_string(t.device()));
  }
}

namespace {

// What a thread has for its workspaces: blocks, each twice the one before, taken from like a stack.
struct Scratch {
  static constexpr int kBlocks = 40;
  static constexpr size_t kFirst = 64 * 1024;
  char* data[kBlocks] = {};
  size_t size[kBlocks] = {}, used[kBlocks] = {};
  int top = 0;
  ~Scratch() {
    for (int i = 0; i < kBlocks; ++i)
      if (data[i]) deallocate(data[i], size[i]);
  }
};
thread_local Scratch scratch;

}  // namespace

Workspace::Workspace(size_t bytes) {
  Scratch& s = scratch;
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  while (s.data[s.top] && s.size[s.top] - s.used[s.top] < bytes) {
    if (s.used[s.top] == 0) {  // free, and too small
      deallocate(s.data[s.top], s.size[s.top]);
      s.data[s.top] = nullptr;
    } else {
      ++s.top;
    }
  }
  if (!s.data[s.top]) {
    size_t size = Scratch::kFirst << s.top;
    while (size < bytes) size *= 2;
    s.data[s.top] = static_cast<char*>(allocate(size));
    s.size[s.top] = size;
  }
  block_ = s.top;
  mark_ = s.used[s.top];
  data_ = s.data[s.top] + mark_;
  s.used[s.top] += bytes;
}

Workspace::~Workspace() {
  scratch.used[block_] = mark_;
  scratch.top = block_;
  while (scratch.top > 0 && scratch.used[scratch.top] == 0) --scratch.top;
}

}  // namespace lanner
