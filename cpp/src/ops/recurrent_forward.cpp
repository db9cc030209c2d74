// The recurrence forward.
#include <cstring>

#include "ops/norm.h"
#include "ops/recurrent_thin.h"

namespace lanner {
namespace {

using In = RecurrentIn;
using Out = RecurrentOut;

RecurrentSizes sizes_of(const Run& r) {
  const Shape& y = r.out[Out::kY].shape();
  return {y[0], y[1], r.in[In::kWeight].size(0) / cell_of(r.op).gates, y[2]};
}

// W_hh by gates, then W_hr and W_ih, where there are any.
template <class T>
struct Weights {
  PackedGates<T> gates, projection, input;
  ThinWeights<T> thin;  // in place of gates
  bool is_thin = false;
  int64_t elements = 0;

  Weights(const Run& r, const RecurrentSizes& s) {
    gates.k = s.state, gates.n = s.hidden;
    gates.thin = projection.thin = input.thin = s.rows <= thin_kernels_of<T>().rows;
    elements = cell_of(r.op).gates * gates.gate_elements();
    if (gates.thin && !r.in[In::kProjection].defined() && !r.in[In::kInputWeight].defined()) {
      is_thin = true;
      thin = {s.hidden, cell_of(r.op).gates};
      return;
    }
    if (r.in[In::kProjection].defined()) {
      projection.k = s.hidden, projection.n = s.state;
      elements += projection.gate_elements();
    }
    if (r.in[In::kInputWeight].defined()) {
      input.k = r.in[In::kInputWeight].size(1), input.n = s.hidden;
      elements += cell_of(r.op).gates * input.gate_elements();
    }
  }
  void pack(const Run& r, T* to, bool once) {
    if (is_thin) return thin.pack(r.in[In::kWeight].data<T>(), once, to);
    const int count = cell_of(r.op).gates;
    to = pack(gates, count, r.in[In::kWeight], to);
    if (projection.k) to = pack(projection, 1, r.in[In::kProjection], to);
    if (input.k) pack(input, count, r.in[In::kInputWeight], to);
  }

 private:
  static T* pack(PackedGates<T>& to, int count, const Tensor& weight, T* at) {
    to.data = at;
    for (int g = 0; g < count; ++g, at += to.gate_elements())
      pack_b(to.k, to.n, weight.data<T>() + g * to.n * to.k, 1, to.k, at);
    return at;
  }
};

template <class T>
auto step_of(const Run& r) {
  const cpu::RecurrentOf<T>& k = recurrent_kernels_of<T>();
  if (r.op == Op::Lstm) return k.lstm;
  if (r.op == Op::Gru) return k.gru;
  return r.attrs.get<RecurrentAttrs>().relu ? k.rnn_relu : k.rnn_tanh;
}

template <class T>
void forward(const Run& r, const Weights<T>& weights) {
  const auto& a = r.attrs.get<RecurrentAttrs>();
  const RecurrentSizes s = sizes_of(r);
  if (s.rows == 0) return;
  const int gates = cell_of(r.op).gates, kept = cell_of(r.op).kept;
  const int64_t H = s.hidden, K = s.state, N = s.rows;
  const bool is_lstm = r.op == Op::Lstm, projected = weights.projection.k != 0, by_step = weights.input.k != 0;
  const int slots = r.op == Op::Gru && by_step ? 4 : gates;  // products of a unit
  const int64_t* lengths = data_or_null<int64_t>(r.in[In::kLengths]);
  const int64_t steps = lengths ? longest_of(op_name(r.op), r.in[In::kLengths], s.steps) : s.steps;
  const Tensor& x = r.in[In::kInput];
  const T *input = x.data<T>(), *h0 = r.in[In::kH0].data<T>(), *bias = data_or_null<T>(r.in[In::kBias]);
  T *y = r.out[Out::kY].data<T>(), *h_last = r.out[Out::kHLast].data<T>();
  T* keep = a.keep && kept > 1 ? r.out[Out::kGates].data<T>() : nullptr;
  const T* c0 = is_lstm ? r.in[In::kC0].data<T>() : nullptr;
  T *c = is_lstm && a.keep ? r.out[Out::kC].data<T>() : nullptr,
    *c_last = is_lstm ? r.out[Out::kCLast].data<T>() : nullptr;
  std::memset(y + steps * N * K, 0, static_cast<size_t>((s.steps - steps) * N * K) * sizeof(T));

  // With lengths the states are not y: a sequence that has not begun, or has ended, keeps its own. Two of them in
  // turns. Projected, what the cell gives is one more.
  Workspace buffers(static_cast<size_t>((lengths ? 2 * N * K : 0) + (projected ? N * H : 0)) * sizeof(T));
  T* const states = buffers.as<T>();
  T* const cells = states + (lengths ? 2 * N * K : 0);
  const auto time_of = [&](int64_t step) { return a.reverse ? steps - 1 - step : step; };
  const auto state_after = [&](int64_t step) {
    return lengths ? states + step % 2 * N * K : y + time_of(step) * N * K;
  };

  const RecurrentSweep sweep(N, weights.elements, weights.gates.panels(), sizeof(T));
  const int64_t nr = gemm_functions<T>().nr;
  const auto kernel = step_of<T>(r);
  const auto multiply = [&](int64_t t, int64_t panel, int64_t row, int64_t rows, const T* h, T* to) {
    const T* from = h + row * K;
    const int64_t c_row = slots * nr;
    if (!by_step) return weights.gates.multiply(0, gates, panel, rows, from, K, to, c_row, nr);
    const int64_t x_row = x.strides()[1];
    const T* x_from = input + t * x.strides()[0] + row * x_row;
    const int added = r.op == Op::Gru ? 2 : gates;  // n of a GRU has the two apart
    weights.input.multiply(0, added, panel, rows, x_from, x_row, to, c_row, nr);
    weights.gates.multiply(0, added, panel, rows, from, K, to, c_row, nr, true);
    if (r.op != Op::Gru) return;
    weights.gates.multiply(2, 1, panel, rows, from, K, to + 2 * nr, c_row, nr);
    weights.input.multiply(2, 1, panel, rows, x_from, x_row, to + 3 * nr, c_row, nr);
  };
  const auto place = [&](cpu::RecurrentStep<T>& job, int64_t step) {
    const int64_t t = time_of(step);
    job.input = by_step ? nullptr : input + t * N * gates * H, job.bias = bias;
    job.h_before = step == 0 ? h0 : state_after(step - 1), job.h = state_after(step), job.y = y + t * N * K;
    if (is_lstm) {
      job.c_before = step == 0 ? c0 : c ? c + time_of(step - 1) * N * H : c_last;
      job.c = c ? c + t * N * H : c_last;
    }
    if (keep) job.gates_row = r.out[Out::kGates].size(2), job.gates = keep + t * N * job.gates_row;
    job.lengths = lengths, job.time = t;
  };
  const auto cell = [&](int64_t step, const RecurrentTask& task) {
    Workspace products(static_cast<size_t>(sweep.block() * slots * nr) * sizeof(T));
    cpu::RecurrentStep<T> job{};
    job.hidden = H;
    place(job, step);
    const T* h_before = job.h_before;
    job.products = products.as<T>(), job.products_gate = nr, job.products_row = slots * nr;
    if (projected) job.h_before = job.h = job.y = cells;  // those that have ended are seen to by project()
    for (int64_t row = task.row_begin; row < task.row_end; row += sweep.block()) {
      job.row_begin = row, job.row_end = std::min(row + sweep.block(), task.row_end);
      for (int64_t p = task.first_of(weights.gates.panels()); p < task.last_of(weights.gates.panels()); ++p) {
        multiply(job.time, p, row, job.row_end - row, h_before, products.as<T>());
        job.unit_begin = p * nr, job.unit_end = std::min(H, (p + 1) * nr);
        kernel(job);
      }
    }
  };
  const auto project = [&](int64_t step, const RecurrentTask& task) {
    const int64_t t = time_of(step);
    const T* before = step == 0 ? h0 : state_after(step - 1);
    T *h = state_after(step), *out = y + t * N * K;
    for (int64_t p = task.first_of(weights.projection.panels()); p < task.last_of(weights.projection.panels()); ++p) {
      const int64_t u = p * nr, n = std::min(nr, K - u);
      weights.projection.multiply(0, 1, p, task.row_end - task.row_begin, cells + task.row_begin * H, H,
                                  h + task.row_begin * K + u, K, 0);
      if (!lengths) continue;
      for (int64_t row = task.row_begin; row < task.row_end; ++row) {
        if (t < lengths[row]) {
          std::copy_n(h + row * K + u, n, out + row * K + u);
        } else {
          std::copy_n(before + row * K + u, n, h + row * K + u);
          std::fill_n(out + row * K + u, n, T{0});
        }
      }
    }
  };
  if (weights.is_thin)
    weights.thin.run(
        steps, static_cast<int>(N), [&](int64_t step) { return step == 0 ? h0 : state_after(step - 1); },
        [&](cpu::RecurrentStep<T>& job, int64_t step) {
          place(job, step);
          kernel(job);
        });
  else if (projected)
    sweep.run(2 * steps, [&](int64_t phase, const RecurrentTask& task) {
      phase % 2 == 0 ? cell(phase / 2, task) : project(phase / 2, task);
    });
  else
    sweep.run(steps, cell);

  std::copy_n(state_after(steps - 1), N * K, h_last);
  if (c) std::copy_n(c + time_of(steps - 1) * N * H, N * H, c_last);
}

template <class T>
void run(const Run& r) {
  Weights<T> weights(r, sizes_of(r));
  Workspace packed(static_cast<size_t>(weights.elements) * sizeof(T));
  weights.pack(r, packed.as<T>(), false);
  forward(r, weights);
}

// The weights packed once.
template <class T>
class PackedRecurrent : public Prepared {
 public:
  explicit PackedRecurrent(const Run& r)
      : weights_(r, sizes_of(r)), packed_(Tensor::empty({weights_.elements}, DTypeOf<T>::value)) {}
  void refresh(const Run& r) override { weights_.pack(r, packed_.template data<T>(), true); }
  void run(const Run& r) override { forward(r, weights_); }
  size_t bytes() const override { return packed_.size() * sizeof(T); }

 private:
  Weights<T> weights_;
  Tensor packed_;
};

template <class T>
std::unique_ptr<Prepared> prepare(const Run& r) {
  return std::make_unique<PackedRecurrent<T>>(r);
}

std::unique_ptr<Prepared> prepare_constant(const Run& r, uint64_t constant) {
  for (const size_t i : {In::kWeight, In::kProjection, In::kInputWeight})
    if (r.in[i].defined() && !(constant >> i & 1)) return nullptr;
  return LANNER_BY_DTYPE(prepare, r);
}

}  // namespace

int64_t longest_of(const char* op, const Tensor& lengths, int64_t steps) {
  const int64_t* n = lengths.data<int64_t>();
  int64_t longest = 0;
  for (int64_t i = 0; i < lengths.size(); ++i) {
    check<ShapeError>(n[i] >= 1 && n[i] <= steps, op, ": lengths[", i, "] is ", n[i], ", expected 1 to ", steps,
                      ", the steps of x");
    longest = std::max(longest, n[i]);
  }
  return longest;
}

LANNER_RUN(Rnn) { LANNER_BY_DTYPE(run, r); }
LANNER_RUN(Lstm) { LANNER_BY_DTYPE(run, r); }
LANNER_RUN(Gru) { LANNER_BY_DTYPE(run, r); }
LANNER_PREPARE(Rnn) { return prepare_constant(r, constant); }
LANNER_PREPARE(Lstm) { return prepare_constant(r, constant); }
LANNER_PREPARE(Gru) { return prepare_constant(r, constant); }

}  // namespace lanner
