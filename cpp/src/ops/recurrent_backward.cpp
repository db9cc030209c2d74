// The recurrence backward: gradients of the gates before their activations (from which that of x follows), of the
// weights, the bias and the first states.
#include <cstring>

#include "lanner/autodiff.h"
#include "lanner/ops/linalg.h"
#include "ops/decompose.h"
#include "ops/norm.h"
#include "ops/recurrent_sweep.h"

namespace lanner {
namespace {

using Fwd = RecurrentIn;
using In = RecurrentBackIn;
using Out = RecurrentBackOut;

template <class T>
auto step_of(const Run& r) {
  const cpu::RecurrentOf<T>& k = recurrent_kernels_of<T>();
  if (r.op == Op::LstmBackward) return k.lstm_back;
  if (r.op == Op::GruBackward) return k.gru_back;
  return r.attrs.get<RecurrentAttrs>().relu ? k.rnn_relu_back : k.rnn_tanh_back;
}

template <class T>
void copy_or_clear(const Tensor& from, T* to, int64_t n) {
  if (from.defined())
    std::copy_n(from.data<T>(), n, to);
  else
    std::fill_n(to, n, T{0});
}

// The products with W_hh [G * H, K] that carry the gates' gradients [N, kept * H] back to h: one, or of GRU two, since
// what belongs to n has a place of its own.
template <class T>
struct Weights {
  struct Part {
    PackedGates<T> w;
    int64_t weight_row, gate_column;  // where it begins
  } parts[2];
  int count;
  PackedGates<T> projection;
  int64_t elements = 0;

  Weights(Op op, const RecurrentSizes& s, bool projected) : count(op == Op::GruBackward ? 2 : 1) {
    const int64_t H = s.hidden, first = op == Op::GruBackward ? 2 * H : cell_of(op).gates * H;
    const bool thin = s.rows <= thin_kernels_of<T>().rows;
    parts[0] = {{nullptr, first, s.state, thin}, 0, 0};
    parts[1] = {{nullptr, H, s.state, thin}, 2 * H, 3 * H};
    projection.thin = thin;
    for (int i = 0; i < count; ++i) elements += parts[i].w.gate_elements();
    if (projected) projection.k = s.state, projection.n = H, elements += projection.gate_elements();
  }
  void pack(const Run& r, T* to) {
    for (int i = 0; i < count; ++i) {
      PackedGates<T>& w = parts[i].w;
      pack_b(w.k, w.n, r.in[Fwd::kWeight].data<T>() + parts[i].weight_row * w.n, w.n, 1, to);
      w.data = to;
      to += w.gate_elements();
    }
    if (projection.k) {
      pack_b(projection.k, projection.n, r.in[Fwd::kProjection].data<T>(), projection.n, 1, to);
      projection.data = to;
    }
  }
};

// C[m, n] = sum over `rows` of a[row, i] b[row, j]; added to C with beta = 1.
template <class T>
void outer(int64_t m, int64_t n, int64_t rows, const T* a, int64_t a_row, const T* b, T* c, T beta,
           Precision precision) {
  cpu::GemmArgs<T> g;
  g.m = m, g.n = n, g.k = rows;
  g.a = a, g.a_row = 1, g.a_col = a_row;
  g.b = b, g.b_row = n, g.b_col = 1;
  g.c = c, g.c_row = n, g.beta = beta;
  gemm(g, precision);
}

// The gradients of W_hh and W_ih: sums over the rows of all steps of dgates with the state before, and with x.
template <class T>
struct WeightGradients {
  const T* dgates;  // [steps * N, width]
  int64_t width;
  int64_t rows, first, first_rows;  // of all steps; of the first step, which has no y before it
  const T *h_before, *x;            // of the rows but the first step's [.., state]; of all [rows, features], or null
  int64_t state, features;
  Precision precision;

  // Columns [column, column + count) of dgates: added to dhh, written to dih; either may be null.
  void run(int64_t column, int64_t count, T* dhh, T* dih) const {
    const T* const d = dgates + column;
    const int64_t after_first = first == 0 ? first_rows : 0, rest = rows - first_rows;
    if (!dhh || !dih || precision != Precision::Full || count <= state + features) {
      if (dhh && rest) outer(count, state, rest, d + after_first * width, width, h_before, dhh, T{1}, precision);
      if (dih) outer(count, features, rows, d, width, x, dih, T{0}, precision);
      return;
    }
    // As [h_before | x]^T dgates, with the gradients written as their transposes: so dgates, much the larger, is read
    // and packed once for both, some panels at a time (3200 rows, gradients of 1024 x 320: 5.8 to 5.3 ms on two cores).
    const cpu::GemmFunctions<T>& f = gemm_functions<T>();
    const int64_t panels = ceil_div(count, f.nr), strip = std::clamp<int64_t>(panels / kTasks, 1, kStripPanels);
    const int64_t blocks = ceil_div(rest, kRows), most = std::max(blocks ? ceil_div(rest, blocks) : 0, first_rows);
    parallel_for(panels, strip, [&](int64_t begin, int64_t end) {
      Workspace packed(static_cast<size_t>(f.packed_b_elements(most, (end - begin) * f.nr)) * sizeof(T));
      cpu::GemmArgs<T> g;
      const int64_t at = begin * f.nr;
      g.n = std::min(end * f.nr, count) - at;
      g.packed_b = packed.as<T>();
      const auto add = [&](int64_t row, int64_t here, const T* h, T beta) {
        g.k = here;
        f.pack_b(here, g.n, d + row * width + at, width, 1, 0, end - begin, packed.as<T>());
        const auto multiply = [&](const T* a, int64_t columns, T* c) {
          g.a = a, g.a_row = 1, g.a_col = columns, g.m = columns;
          g.c = c + at * columns, g.c_row = 1, g.c_col = columns;
          f.block(g, 0, columns, 0, g.n, false, nullptr);
        };
        g.beta = 1;
        if (h) multiply(h, state, dhh);
        g.beta = beta;
        multiply(x + row * features, features, dih);
      };
      add(first, first_rows, nullptr, T{0});
      for (int64_t i = 0; i < blocks; ++i) {
        const int64_t from = rest * i / blocks, to = rest * (i + 1) / blocks;
        add(after_first + from, to - from, h_before + from * state, T{1});
      }
    });
  }

  // Rows packed at a time: those of y, 1 KiB apart, still fit in the sets of the second-level cache that they share.
  static constexpr int64_t kTasks = 8, kStripPanels = 4, kRows = 800;
};

template <class T>
void backward(const Run& r) {
  const auto& a = r.attrs.get<RecurrentAttrs>();
  const Tensor& y = r.in[In::kY];
  const int G = cell_of(r.op).gates, kept = cell_of(r.op).kept;
  const RecurrentSizes s{y.size(0), y.size(1), r.in[Fwd::kWeight].size(0) / G, y.size(2)};
  const int64_t H = s.hidden, K = s.state, N = s.rows, width = r.out[Out::kDgates].size(2);
  if (N == 0) {  // no samples: weights have gradients all the same
    for (const Tensor& d : r.out) std::fill_n(d.data<T>(), d.size(), T{0});
    return;
  }
  const bool is_lstm = r.op == Op::LstmBackward, projected = r.in[Fwd::kProjection].defined();
  const int64_t* lengths = data_or_null<int64_t>(r.in[Fwd::kLengths]);
  const int64_t steps = lengths ? longest_of(op_name(r.op), r.in[Fwd::kLengths], s.steps) : s.steps;
  const Tensor& dy = r.in[In::kDy];
  const T *y_data = y.data<T>(), *h0 = r.in[Fwd::kH0].data<T>();
  const T* gates = kept > 1 ? r.in[In::kGates].data<T>() : nullptr;
  const T *c = is_lstm ? r.in[In::kC].data<T>() : nullptr, *c0 = is_lstm ? r.in[Fwd::kC0].data<T>() : nullptr;
  T* dgates = r.out[Out::kDgates].data<T>();
  std::memset(dgates + steps * N * width, 0, static_cast<size_t>((s.steps - steps) * N * width) * sizeof(T));

  Weights<T> weights(r.op, s, projected);
  const RecurrentSweep sweep(N, weights.elements, weights.parts[0].w.panels(), sizeof(T));
  const int64_t bias = kept * H, biases = a.want_bias ? sweep.groups() * bias : 0;
  // Projected: what is projected, its gradient, and that of the projection's result; of all steps, where W_hr wants its
  // own.
  const int64_t whole = !projected ? 0 : a.want_projection ? steps : 1;
  Workspace buffers(static_cast<size_t>(weights.elements + biases + (1 + whole) * N * K + 2 * N * H + whole * N * H) *
                    sizeof(T));
  T* const packed = buffers.as<T>();
  T* const dbias = packed + weights.elements;
  T* const dh = dbias + biases;            // [N, K]: what later steps say of h
  T* const dh_whole = dh + N * K;          // [whole, N, K]
  T* const dc = dh_whole + whole * N * K;  // [N, H]
  T* const dcell = dc + N * H;             // [N, H]
  T* const cells = dcell + N * H;          // [whole, N, H]
  weights.pack(r, packed);
  std::fill_n(dbias, biases, T{0});
  copy_or_clear(r.in[In::kDhLast], dh, N * K);
  if (is_lstm) copy_or_clear(r.in[In::kDcLast], dc, N * H);

  const auto time_of = [&](int64_t step) { return a.reverse ? step : steps - 1 - step; };  // backward
  const int64_t nr = gemm_functions<T>().nr;
  const auto kernel = step_of<T>(r);
  const auto set_time = [&](cpu::RecurrentStepBack<T>& job, int64_t step) {
    const int64_t t = time_of(step);
    const bool first = step == steps - 1;
    const int64_t before = first ? 0 : time_of(step + 1);
    job.hidden = H, job.lengths = lengths, job.time = t;
    if (dy.defined()) job.dy = dy.data<T>() + t * dy.strides()[0], job.dy_row = dy.strides()[1];
    job.dh = dh, job.dc = dc;
    if (lengths && a.reverse) job.h0 = h0;
    job.y = y_data + t * N * K, job.h_before = first ? h0 : y_data + before * N * K;
    if (is_lstm) job.c = c + t * N * H, job.c_before = first ? c0 : c + before * N * H;
    if (gates) job.gates = gates + t * N * width;
    job.dgates = dgates + t * N * width, job.gates_row = width;
    if (!first) {
      job.next_gates = gates ? gates + before * N * width : nullptr;
      job.next_dgates = dgates + before * N * width;
      job.next_c = is_lstm && step + 2 < steps ? c + time_of(step + 2) * N * H : nullptr;
      job.next_dy = dy.defined() ? dy.data<T>() + before * dy.strides()[0] : nullptr;
    }
  };
  const bool past_gates = lengths || r.op == Op::GruBackward;  // dh holds what does not come through the gates
  const auto from_gates = [&](int64_t step, int64_t panel, int64_t row, int64_t rows) {
    const T* from = dgates + (time_of(step) * N + row) * width;
    for (int i = 0; i < weights.count; ++i)
      weights.parts[i].w.multiply(0, 1, panel, rows, from + weights.parts[i].gate_column, width,
                                  dh + row * K + panel * nr, K, 0, i > 0 || past_gates);
  };
  const auto each_row_block = [&](const RecurrentTask& task, auto f) {
    for (int64_t row = task.row_begin; row < task.row_end; row += sweep.block())
      f(row, std::min(row + sweep.block(), task.row_end));
  };

  const auto step_back = [&](cpu::RecurrentStepBack<T>& job, int64_t begin, int64_t end, int64_t panel) {
    job.unit_begin = panel * nr, job.unit_end = std::min(H, (panel + 1) * nr);
    const int64_t rows = a.want_bias ? RecurrentSweep::kGroup : end - begin;
    for (job.row_begin = begin; job.row_begin < end; job.row_begin += rows) {
      job.row_end = std::min(job.row_begin + rows, end);
      if (a.want_bias) job.dbias = dbias + job.row_begin / RecurrentSweep::kGroup * bias;
      kernel(job);
    }
  };
  const int64_t panels = weights.parts[0].w.panels(), last = a.want_h0 ? 1 : 0;
  if (!projected) {
    sweep.run(steps + last, [&](int64_t phase, const RecurrentTask& task) {
      cpu::RecurrentStepBack<T> job{};
      if (phase < steps) set_time(job, phase);
      each_row_block(task, [&](int64_t begin, int64_t end) {
        for (int64_t p = task.first_of(panels); p < task.last_of(panels); ++p) {
          if (phase > 0) from_gates(phase - 1, p, begin, end - begin);
          if (phase < steps) step_back(job, begin, end, p);
        }
      });
    });
  } else {
    const auto state = [&](int64_t step, const RecurrentTask& task) {  // dh of the step, whole
      const int64_t t = time_of(std::min(step, steps - 1));
      T* const to = dh_whole + (whole > 1 ? t * N * K : 0);
      each_row_block(task, [&](int64_t begin, int64_t end) {
        for (int64_t p = task.first_of(panels); p < task.last_of(panels); ++p) {
          if (step > 0) from_gates(step - 1, p, begin, end - begin);
          for (int64_t row = begin; step < steps && row < end; ++row) {
            const bool ended = lengths && t >= lengths[row];
            for (int64_t u = p * nr; u < std::min(K, (p + 1) * nr); ++u) {
              const int64_t at = row * K + u;
              to[at] = ended ? T{0} : dh[at];
              if (!ended && dy.defined()) to[at] += dy.data<T>()[t * dy.strides()[0] + row * dy.strides()[1] + u];
              if (lengths && !ended) dh[at] = 0;
            }
          }
        }
      });
    };
    const auto cell = [&](int64_t step, const RecurrentTask& task) {
      const int64_t t = time_of(step), place = whole > 1 ? t : 0;
      cpu::RecurrentStepBack<T> job{};
      set_time(job, step);
      job.dy = job.next_dy = nullptr, job.dh = dcell;
      if (a.want_projection) job.cells = cells + place * N * H;
      each_row_block(task, [&](int64_t begin, int64_t end) {
        for (int64_t p = task.first_of(weights.projection.panels()); p < task.last_of(weights.projection.panels());
             ++p) {
          weights.projection.multiply(0, 1, p, end - begin, dh_whole + (place * N + begin) * K, K,
                                      dcell + begin * H + p * nr, H, 0);
          step_back(job, begin, end, p);
        }
      });
    };
    sweep.run(2 * steps + last, [&](int64_t phase, const RecurrentTask& task) {
      phase % 2 == 0 ? state(phase / 2, task) : cell(phase / 2, task);
    });
    if (a.want_projection)
      outer(K, H, steps * N, dh_whole, K, cells, r.out[Out::kDprojection].data<T>(), T{0}, r.precision);
  }

  if (a.want_bias) {
    std::copy_n(dbias, bias, r.out[Out::kDbias].data<T>());
    T* to = r.out[Out::kDbias].data<T>();
    for (int64_t b = 1; b < sweep.groups(); ++b)
      for (int64_t i = 0; i < bias; ++i) to[i] += dbias[b * bias + i];
  }
  if (a.want_h0) std::copy_n(dh, N * K, r.out[Out::kDh0].data<T>());
  if (is_lstm) std::copy_n(dc, N * H, r.out[Out::kDc0].data<T>());
  if (!a.want_weight && !a.want_input_weight) return;

  // The state before a step is y of the step before. (Where a sequence has ended, one of the two is 0.) Before the first
  // step it is h0; a reverse sequence's first step is its own last.
  const Tensor& x = r.in[In::kInput];
  const int64_t first_step = time_of(steps - 1);
  const bool gathered = lengths && a.reverse && a.want_weight;
  Workspace first_gates(static_cast<size_t>(gathered ? N * width : 0) * sizeof(T));
  const T* first = dgates + first_step * N * width;
  if (gathered) {
    for (int64_t n = 0; n < N; ++n)
      std::copy_n(dgates + ((lengths[n] - 1) * N + n) * width, width, first_gates.as<T>() + n * width);
    first = first_gates.as<T>();
  }
  WeightGradients<T> sums{dgates,  width, steps * N, first_step * N, N, y_data + (a.reverse ? N * K : 0),
                          nullptr, K,     0,         r.precision};
  if (a.want_input_weight) sums.x = x.data<T>(), sums.features = x.size(2);
  T* const dhh = a.want_weight ? r.out[Out::kDweight].data<T>() : nullptr;
  T* const dih = a.want_input_weight ? r.out[Out::kDinputWeight].data<T>() : nullptr;
  // Columns of dgates, and the rows of dW_hh and dW_ih that they give; -1: none.
  const auto columns = [&](int64_t column, int64_t count, int64_t hh, int64_t ih) {
    T *const to_hh = dhh && hh >= 0 ? dhh + hh * K : nullptr, *const to_ih =
                                                                  dih && ih >= 0 ? dih + ih * sums.features : nullptr;
    if (to_hh) outer(count, K, N, first + column, width, h0, to_hh, T{0}, r.precision);
    if (to_hh || to_ih) sums.run(column, count, to_hh, to_ih);
  };
  if (r.op == Op::GruBackward) {
    columns(0, 2 * H, 0, 0);
    columns(2 * H, H, -1, 2 * H);
    columns(3 * H, H, 2 * H, -1);
  } else {
    columns(0, G * H, 0, 0);
  }
}

Tensor in_rows(const Tensor& x) {  // features next to each other, rows anywhere
  return !x.defined() || x.strides().back() == 1 || x.size(-1) == 1 ? x : ops::contiguous(x);
}

Tensors vjp_recurrent(const Vjp& v, Op backward) {
  if (grad_enabled())  // the gradient is to be differentiated itself
    return vjp_by(v, [&](const Tensors& in) { return recurrent_decomposed(v.op, in, v.attrs.get<RecurrentAttrs>()); });
  RecurrentAttrs attrs = v.attrs.get<RecurrentAttrs>();
  const Tensor &w = v.in[Fwd::kWeight], &bias = v.in[Fwd::kBias], &projection = v.in[Fwd::kProjection],
               &y = v.out[RecurrentOut::kY];
  const Tensor& input_weight = v.in[Fwd::kInputWeight];
  attrs.want_weight = v.needs(Fwd::kWeight);
  attrs.want_input_weight = input_weight.defined() && v.needs(Fwd::kInputWeight);
  attrs.want_bias = bias.defined() && v.needs(Fwd::kBias);
  attrs.want_h0 = v.needs(Fwd::kH0);
  attrs.want_projection = projection.defined() && v.needs(Fwd::kProjection);
  const DType t = y.dtype();
  const Cell cell = cell_of(v.op);
  const int64_t H = w.size(0) / cell.gates;
  const bool is_lstm = v.op == Op::Lstm;
  const auto wanted = [](bool want, const Shape& shape) { return want ? shape : Shape{0}; };
  std::vector<OutSpec> specs{{{y.size(0), y.size(1), kept_row(cell.kept * H, t)}, t},
                             {wanted(attrs.want_weight, w.shape()), t},
                             {wanted(attrs.want_bias, {cell.kept * H}), t},
                             {wanted(attrs.want_h0, {y.size(1), y.size(2)}), t},
                             {wanted(is_lstm, {y.size(1), H}), t}};
  if (attrs.want_projection || attrs.want_input_weight)
    specs.push_back({wanted(attrs.want_projection, projection.defined() ? projection.shape() : Shape{}), t});
  if (attrs.want_input_weight) specs.push_back({input_weight.shape(), t});
  Tensors in(In::kCount);
  std::copy(v.in.begin() + 1, v.in.begin() + In::kY, in.begin() + 1);
  in[In::kDy] = in_rows(v.g[RecurrentOut::kY]);
  in[In::kY] = y;
  if (cell.kept > 1) in[In::kGates] = v.out[RecurrentOut::kGates];
  if (v.g[RecurrentOut::kHLast].defined()) in[In::kDhLast] = ops::contiguous(v.g[RecurrentOut::kHLast]);
  if (is_lstm) {
    in[In::kC] = v.out[RecurrentOut::kC];
    if (v.g[RecurrentOut::kCLast].defined()) in[In::kDcLast] = ops::contiguous(v.g[RecurrentOut::kCLast]);
  }
  if (attrs.want_input_weight) in[In::kInput] = ops::contiguous(v.in[Fwd::kInput]);
  const Tensors d = emit(backward, in, attrs, specs);
  Tensors gradients(v.in.size());
  if (v.needs(Fwd::kInput)) {
    const Tensor dinput = ops::narrow(d[Out::kDgates], 2, 0, cell.gates * H);
    gradients[Fwd::kInput] = input_weight.defined() ? ops::matmul(dinput, input_weight) : dinput;
  }
  if (attrs.want_input_weight) gradients[Fwd::kInputWeight] = d[Out::kDinputWeight];
  if (attrs.want_weight) gradients[Fwd::kWeight] = d[Out::kDweight];
  if (attrs.want_bias) gradients[Fwd::kBias] = d[Out::kDbias];
  if (attrs.want_h0) gradients[Fwd::kH0] = d[Out::kDh0];
  if (is_lstm && v.needs(Fwd::kC0)) gradients[Fwd::kC0] = d[Out::kDc0];
  if (attrs.want_projection) gradients[Fwd::kProjection] = d[Out::kDprojection];
  return gradients;
}

void run(const Run& r) { r.out[0].dtype() == DType::Float32 ? backward<float>(r) : backward<double>(r); }

}  // namespace

LANNER_RUN(RnnBackward) { run(r); }
LANNER_RUN(LstmBackward) { run(r); }
LANNER_RUN(GruBackward) { run(r); }
LANNER_VJP(Rnn) { return vjp_recurrent(v, Op::RnnBackward); }
LANNER_VJP(Lstm) { return vjp_recurrent(v, Op::LstmBackward); }
LANNER_VJP(Gru) { return vjp_recurrent(v, Op::GruBackward); }

}  // namespace lanner
