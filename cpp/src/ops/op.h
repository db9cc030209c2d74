// How an op family is written: the function that users call checks, finds the output's shape and calls emit(); run_Name
// computes; vjp_Name gives the gradient with other ops. See CONTRIBUTING.md, "Adding an op".
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "cpu/kernels/epilogue.h"
#include "lanner/tensor.h"

namespace lanner {

// What an op is, beyond its name. The kVjpUses flags say which values its vjp reads: the tape keeps those alive and
// guards them against being overwritten; of the others it keeps only shape and dtype.
enum OpTrait : uint32_t {
  kNone = 0,
  kElementwise = 1 << 0,
  kFusible = 1 << 1,
  kInplace = 1 << 2,  // the output may lie where an input did
  kReduction = 1 << 3,
  kView = 1 << 4,      // shares memory with its input, computes nothing
  kEpilogue = 1 << 5,  // its run honours Run::fused
  kNoGrad = 1 << 6,    // has no vjp: integer or boolean output, or piecewise constant
  kVjpUsesIn0 = 1 << 8,
  kVjpUsesIn1 = 1 << 9,
  kVjpUsesIn2 = 1 << 10,
  kVjpUsesIn3 = 1 << 11,
  kVjpUsesIn4 = 1 << 12,
  kVjpUsesIn = 0x1f << 8,
  kVjpUsesOut0 = 1 << 16,
  kVjpUsesOut1 = 1 << 17,
  kVjpUsesOut2 = 1 << 18,
  kVjpUsesOut = 0x7 << 16,
  kRandom = 1 << 20,     // its attributes begin with a RandomState
  kPrepares = 1 << 21,   // has a prepare_Name
  kSkipsOut1 = 1 << 22,  // its run takes an undefined second output for one that nobody reads
};

enum class Op : uint16_t {
#define LANNER_UNARY(Name, name, traits) Name,
#define LANNER_BINARY(Name, name, traits) Name,
#define LANNER_OP(Name, name, traits) Name,
#include "ops/ops.def"
  Count,
};

// The parameters of one call, any trivially copyable struct, held in place and compared by bytes.
class Attrs {
 public:
  Attrs() = default;
  template <class A>
    requires(std::is_trivially_copyable_v<A> && !std::is_same_v<std::remove_cvref_t<A>, Attrs>)
  Attrs(const A& a) {  // NOLINT: a natural conversion
    static_assert(sizeof(A) <= kBytes, "make Attrs::kBytes larger");
    std::memcpy(bytes_, &a, sizeof a);
    size_ = sizeof a;
  }
  friend bool operator==(const Attrs& a, const Attrs& b) {
    return a.size_ == b.size_ && std::memcmp(a.bytes_, b.bytes_, a.size_) == 0;
  }
  template <class A>
  const A& get() const {
    return *reinterpret_cast<const A*>(bytes_);
  }
  template <class A>
  A& get() {
    return *reinterpret_cast<A*>(bytes_);
  }

 private:
  static constexpr size_t kBytes = 384;
  alignas(16) unsigned char bytes_[kBytes];
  size_t size_ = 0;
};

struct OutSpec {
  Shape shape;
  DType dtype;
};

// What a plan has an op do to its first output before it is stored: cpu::Epilogue, with the tensors as indices of Run::in
// (past those of the op itself; row-major, of the output's shape and dtype), or -1.
struct Fused {
  int residual = -1, gate = -1;
  cpu::Activation activation = cpu::Activation::None;
  double slope = 0, gate_slope = 0;

  friend bool operator==(const Fused&, const Fused&) = default;
};

// In what products are computed. BFloat16: operands rounded to bfloat16, added up in float32; tensors stay float32.
enum class Precision : int32_t { Full, BFloat16 };

// What run_Name is given: inputs as the user's function passed them to emit, outputs freshly placed and row-major.
struct Run {
  Op op;
  std::span<const Tensor> in;
  std::span<Tensor> out;
  const Attrs& attrs;
  const Fused* fused = nullptr;  // only for ops with kEpilogue
  Precision precision = Precision::Full;
};

// A step of a plan made ready once and run many times: what follows from shapes is worked out, what is made of constant
// inputs (packed weights) is kept. run() allocates nothing but Workspaces.
class Prepared {
 public:
  virtual ~Prepared() = default;
  virtual void refresh(const Run&) {}         // a constant input was written to since (and once before the first run)
  virtual void run(const Run& r) = 0;         // same shapes and attributes as at first; the pointers may be others
  virtual size_t bytes() const { return 0; }  // of memory kept
};

// What vjp_Name is given. `in` and `out` hold values only where the traits say that they are used. g[i] is the
// cotangent of output i, and may be undefined when there are several outputs and i took no part.
struct Vjp {
  Op op;
  const Tensors& in;
  const Tensors& out;
  const Tensors& g;
  const Attrs& attrs;
  uint64_t wanted;  // bit i: input i wants a gradient; of inputs past the 64th it is not known, and taken to be so
  bool needs(size_t i) const { return i >= 64 || ((wanted >> i) & 1); }
};

using RunFn = void (*)(const Run&);
// Bit i of `constant`: input i will not be written to by the plan. Null: nothing to gain over run_Name.
using PrepareFn = std::unique_ptr<Prepared> (*)(const Run&, uint64_t constant);
using VjpFn = Tensors (*)(const Vjp&);

// Computes the op and leaves it on the tape where a gradient will be wanted.
Tensors emit(Op op, std::span<const Tensor> in, const Attrs& attrs, std::span<const OutSpec> out);
Tensor emit(Op op, std::initializer_list<Tensor> in, const Attrs& attrs, const OutSpec& out);
// A view: `out` is x.view(...), recorded as `op` with `attrs` for its vjp.
Tensor emit_view(Op op, const Tensor& x, const Attrs& attrs, const Tensor& out);
Tensors emit_views(Op op, const Tensor& x, const Attrs& attrs, Tensors out);

const char* op_name(Op op);
uint32_t op_traits(Op op);
RunFn run_of(Op op);          // nullptr with kView
VjpFn vjp_of(Op op);          // nullptr with kNoGrad
PrepareFn prepare_of(Op op);  // nullptr without kPrepares

// Hears of all that this thread computes, while a step is recorded for a plan (plan/trace.cpp).
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void ran(Op op, std::span<const Tensor> in, const Attrs& attrs, std::span<const Tensor> out) = 0;
  // True: it need not run. Asked of ops without outputs.
  virtual bool replaces(Op, const Attrs&) { return false; }
};
Listener* set_listener(Listener* listener);  // of this thread, or none; gives the one before

// What emit asks of the tape (autodiff/tape.cpp): to note the op as the origin of `out`, and, while anomalies are
// looked for, to throw where `out` has a NaN or infinity that `in` has not.
void leave_on_tape(Op op, std::span<const Tensor> in, const Attrs& attrs, std::span<Tensor> out);
void check_output(Op op, std::span<const Tensor> out, std::span<const Tensor> in);

// In a family's .cpp:   LANNER_RUN(Softmax) { ... r.in[0] ... }      LANNER_VJP(Softmax) { return {...}; }
// A vjp returns one tensor an input; an undefined one where none is needed. A gradient of the broadcast shape is
// reduced to the input's shape by the caller.
#define LANNER_RUN(Name) void run_##Name([[maybe_unused]] const Run& r)
#define LANNER_VJP(Name) Tensors vjp_##Name([[maybe_unused]] const Vjp& v)
#define LANNER_PREPARE(Name) \
  std::unique_ptr<Prepared> prepare_##Name([[maybe_unused]] const Run& r, [[maybe_unused]] uint64_t constant)

#define LANNER_UNARY(Name, name, traits) \
  LANNER_RUN(Name);                      \
  LANNER_VJP(Name);                      \
  LANNER_PREPARE(Name);
#define LANNER_BINARY(Name, name, traits) \
  LANNER_RUN(Name);                       \
  LANNER_VJP(Name);                       \
  LANNER_PREPARE(Name);
#define LANNER_OP(Name, name, traits) \
  LANNER_RUN(Name);                   \
  LANNER_VJP(Name);                   \
  LANNER_PREPARE(Name);
#include "ops/ops.def"

// Throws DTypeError when x is not floating.
void check_floating(const char* op, const char* argument, const Tensor& x);
// Throws when the tensors are not on one device.
void check_device(const char* op, std::span<const Tensor> tensors);
// Scratch for a run_Name, 64-byte aligned, given back at the end of the scope. It comes from memory that each thread
// keeps for itself, and must be given back on the thread that took it, last taken first.
class Workspace {
 public:
  explicit Workspace(size_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
  size_t mark_;
  int block_;
};

}  // namespace lanner
