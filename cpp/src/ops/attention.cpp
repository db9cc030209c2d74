#include "lanner/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/dispatch.h"
#include "cpu/kernels/attention.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/linalg.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "lanner/random.h"
#include "ops/decompose.h"
#include "ops/random.h"

namespace lanner {
namespace {

struct AttentionAttrs {
  RandomState state;   // of dropout
  uint64_t threshold;  // a weight is kept where a random word is below
  double keep_scale, scale;
  int32_t causal, dropout;
  // The output and the gradients of [N, H, L, E] lie in memory as [N, L, H, E]: where query does, as heads that were split
  // from one projection do.
  int32_t heads_inside;
  int32_t wanted[3];  // by the backward op: the gradients of query, key, value
};

// A task of 0.25 MFLOP takes some 2 us of one core; sixteen keep a handful of cores even.
constexpr double kTaskFlops = 250'000;
constexpr int64_t kTasks = 16;

// ---- heads in memory ------------------------------------------------------------------------------------------------

// [N, H, L, E] <-> [N, L, H, E]
const Dims kSwapHeads{0, 2, 1, 3};
Shape stored_shape(Shape shape, const AttentionAttrs& a) {
  if (a.heads_inside) std::swap(shape[1], shape[2]);
  return shape;
}
Tensor as_heads(const Tensor& x, const AttentionAttrs& a) {
  return a.heads_inside ? ops::permute_dims(x, kSwapHeads) : x;
}

// The matrices of the last two axes of x, whose axes before them are those of `batch`.
template <class T>
struct Heads {
  T* data = nullptr;
  Shape batch;
  Dims strides;
  int64_t row = 0, column = 0;

  Heads() = default;
  Heads(const Tensor& x, bool heads_inside = false) : data(static_cast<T*>(x.raw())) {
    Shape shape = x.shape();
    strides = x.strides();
    if (heads_inside) std::swap(shape[1], shape[2]), std::swap(strides[1], strides[2]);
    const int n = shape.size();
    row = strides[n - 2], column = strides[n - 1];
    for (int i = 0; i < n - 2; ++i) batch.push_back(shape[i]);
  }
  int64_t offset(int64_t head) const {
    int64_t at = 0;
    for (int i = batch.size() - 1; i >= 0; --i) {
      at += head % batch[i] * strides[i];
      head /= batch[i];
    }
    return at;
  }
  T* of(int64_t head) const { return data + offset(head); }
};

template <class T>
struct Operands {
  Heads<T> q, k, v;
  Heads<char> mask;
  size_t mask_bytes = 0;
  cpu::AttentionHead<T> head{};
  int64_t heads = 0;

  Operands(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& m, const AttentionAttrs& a)
      : q(query), k(key), v(value), heads(element_count(q.batch)) {
    head.l = query.size(-2), head.s = key.size(-2), head.e = query.size(-1), head.ev = value.size(-1);
    head.q_row = q.row, head.k_row = k.row, head.v_row = v.row;
    if (m.defined()) {
      mask = Heads<char>(m);
      mask_bytes = itemsize(m.dtype());
      head.mask_row = mask.row, head.mask_column = mask.column;
      head.mask_is_bool = m.dtype() == DType::Bool;
    }
    head.causal = a.causal != 0;
    head.scale = static_cast<T>(a.scale);
    head.dropout = a.dropout != 0;
    head.seed = a.state.seed, head.call = a.state.call, head.threshold = a.threshold;
    head.keep_scale = static_cast<T>(a.keep_scale);
  }
  cpu::AttentionHead<T> of(int64_t i) const {
    cpu::AttentionHead<T> h = head;
    h.q = q.of(i), h.k = k.of(i), h.v = v.of(i);
    if (mask.data) h.mask = mask.data + mask.offset(i) * static_cast<int64_t>(mask_bytes);
    h.first_row = i * h.l;
    return h;
  }
};

// Each head is cut into pieces of `piece` of its n rows (keys), where there are too few heads to be tasks of their own.
struct Pieces {
  int64_t piece, count, grain;
};
template <class T>
Pieces cut(const cpu::AttentionHead<T>& h, int64_t heads, int64_t n, int64_t block) {
  const int64_t most = (n + block - 1) / block, wanted = (kTasks + heads - 1) / heads;
  const int64_t count = std::clamp<int64_t>(std::min(most, wanted), 1, std::max<int64_t>(most, 1));
  const int64_t piece = ((n + count - 1) / count + block - 1) / block * block;
  const double flops = 2.0 * static_cast<double>(h.l) * static_cast<double>(h.s) * static_cast<double>(h.e + h.ev);
  const double tasks = std::max(flops / static_cast<double>(count) / kTaskFlops, 1e-3);
  return {piece, piece > 0 ? (n + piece - 1) / piece : 1, static_cast<int64_t>(std::max(1.0, 1 / tasks))};
}

template <class T>
void forward(const Run& r) {
  const auto& a = r.attrs.get<AttentionAttrs>();
  const Operands<T> x(r.in[0], r.in[1], r.in[2], r.in[3], a);
  const Heads<T> out(r.out[0], a.heads_inside);
  T* lse = r.out[1].data<T>();
  const int64_t l = x.head.l;
  if (x.heads == 0 || l == 0) return;
  const auto& kernels = cpu::kernels_of<T>(cpu::kernels().attention);
  const Pieces p = cut(x.head, x.heads, l, kernels.rows);
  const size_t bytes = static_cast<size_t>(kernels.forward_workspace(x.head, std::min(p.piece, l))) * sizeof(T);
  parallel_for(x.heads * p.count, p.grain, [&](int64_t begin, int64_t end) {
    Workspace workspace(bytes);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / p.count, row = i % p.count * p.piece;
      kernels.forward(x.of(head), row, std::min(row + p.piece, l), out.of(head), out.row, lse + head * l,
                      workspace.as<T>());
    }
  });
}

// in = g, query, key, value, mask, out, lse; out = dq, dk, dv. Where a head's keys are cut into pieces, each piece has its
// share of dq, and the shares are added at the end.
template <class T>
void backward(const Run& r) {
  const auto& a = r.attrs.get<AttentionAttrs>();
  const Operands<T> x(r.in[1], r.in[2], r.in[3], r.in[4], a);
  const Heads<T> g(r.in[0], a.heads_inside), out(r.in[5], a.heads_inside);
  Heads<T> gradients[3];
  for (int i = 0; i < 3; ++i)
    if (a.wanted[i]) gradients[i] = Heads<T>(r.out[static_cast<size_t>(i)], a.heads_inside);
  const auto& [dq, dk, dv] = gradients;
  const T* lse = r.in[6].data<T>();
  const int64_t l = x.head.l, s = x.head.s, e = x.head.e;
  if (x.heads == 0) return;
  const auto& kernels = cpu::kernels_of<T>(cpu::kernels().attention);
  const Pieces p = cut(x.head, x.heads, s, kernels.keys);
  const bool shared = a.wanted[0] && p.count > 1;
  Workspace shares(shared ? static_cast<size_t>(x.heads * p.count * l * e) * sizeof(T) : 0);
  const size_t bytes = static_cast<size_t>(kernels.backward_workspace(x.head, std::min(p.piece, s))) * sizeof(T);
  parallel_for(x.heads * p.count, p.grain, [&](int64_t begin, int64_t end) {
    Workspace workspace(bytes);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / p.count, key = i % p.count * p.piece;
      cpu::AttentionGradients<T> d{};
      d.g = g.of(head), d.g_row = g.row, d.out = out.of(head), d.out_row = out.row, d.lse = lse + head * l;
      if (shared)
        d.dq = shares.as<T>() + i * l * e, d.dq_row = e;
      else if (a.wanted[0])
        d.dq = dq.of(head), d.dq_row = dq.row;
      if (a.wanted[1]) d.dk = dk.of(head), d.dk_row = dk.row;
      if (a.wanted[2]) d.dv = dv.of(head), d.dv_row = dv.row;
      kernels.backward(x.of(head), d, key, std::min(key + p.piece, s), workspace.as<T>());
    }
  });
  if (!shared) return;
  parallel_for(x.heads * l, std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, e)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / l, row = i % l;
      T* to = dq.of(head) + row * dq.row;
      const T* from = shares.as<T>() + (head * p.count * l + row) * e;
      std::copy_n(from, e, to);
      for (int64_t piece = 1; piece < p.count; ++piece)
        for (int64_t c = 0; c < e; ++c) to[c] += from[piece * l * e + c];
    }
  });
}

// ---- the decomposition ----------------------------------------------------------------------------------------------

// softmax(scale * q k^T + mask), zeros in rows that are masked as a whole; S is not 0.
Tensor weights_of(const Tensor& q, const Tensor& k, const Tensor& mask, const AttentionAttrs& a) {
  const Tensor none = Tensor::scalar(-std::numeric_limits<double>::infinity(), q.dtype());
  Tensor x = ops::matmul(q * a.scale, ops::matrix_transpose(k));
  if (mask.defined()) x = mask.dtype() == DType::Bool ? ops::where(mask, x, none) : x + mask;
  if (a.causal) {
    const Tensor row = ops::expand_dims(ops::arange(int64_t{0}, q.size(-2), int64_t{1}), 1);
    x = ops::where(ops::greater_equal(row, ops::arange(int64_t{0}, k.size(-2), int64_t{1})), x, none);
  }
  Tensor top = ops::max(x.detach(), -1, true);
  top = ops::where(ops::equal(top, none), ops::zeros_like(top), top);
  const Tensor e = ops::exp(x - top), total = ops::sum(e, -1, true);
  return e / ops::where(ops::equal(total, Tensor::weak(0)), ops::ones_like(total), total);
}

// What each weight is multiplied with: 0 or 1 / (1 - p). Undefined without dropout.
Tensor dropout_factors(const Tensor& weights, const AttentionAttrs& a) {
  if (!a.dropout) return {};
  Shape padded = weights.shape();
  const int last = padded.size() - 1;
  padded[last] = cpu::attention_padded(padded[last]);
  const Tensor drawn = dropout_by(a.state, a.threshold, a.keep_scale, ops::ones(padded, weights.dtype()));
  return ops::narrow(drawn, last, 0, weights.size(-1));
}

Tensor dropped(const Tensor& x, const Tensor& factors) { return factors.defined() ? x * factors : x; }

// in = query, key, value, mask
Tensor decomposed(const Tensors& in, const AttentionAttrs& a) {
  if (in[1].size(-2) == 0) return as_heads(ops::matmul(ops::matmul(in[0], ops::matrix_transpose(in[1])), in[2]), a);
  const Tensor p = weights_of(in[0], in[1], in[3], a);
  return as_heads(ops::matmul(dropped(p, dropout_factors(p, a)), in[2]), a);
}

// in = g, query, key, value, mask
Tensors backward_decomposed(const Tensors& in, const AttentionAttrs& a) {
  const Tensor g = as_heads(in[0], a), &q = in[1], &k = in[2], &value = in[3];
  Tensors out(3);
  if (k.size(-2) == 0) {
    out = {ops::matmul(ops::matmul(g, ops::matrix_transpose(value)), k), ops::zeros_like(k), ops::zeros_like(value)};
  } else {
    const Tensor p = weights_of(q, k, in[4], a), factors = dropout_factors(p, a);
    const Tensor dp = dropped(ops::matmul(g, ops::matrix_transpose(value)), factors);
    const Tensor ds = p * (dp - ops::sum(dp * p, -1, true)) * a.scale;
    out[0] = ops::matmul(ds, k);
    out[1] = ops::matmul(ops::matrix_transpose(ds), q);
    out[2] = ops::matmul(ops::matrix_transpose(dropped(p, factors)), g);
  }
  for (size_t i = 0; i < 3; ++i) out[i] = a.wanted[i] ? as_heads(out[i], a) : ops::zeros({0}, q.dtype());
  return out;
}

Tensors vjp_attention(const Vjp& v, Op backward) {
  AttentionAttrs a = v.attrs.get<AttentionAttrs>();
  // The gradient of a mask is as large as the weights are.
  if (v.needs(3) && v.in[3].defined() && v.in[3].dtype() != DType::Bool)
    return vjp_by(v, [&](const Tensors& in) { return Tensors{decomposed(in, a)}; });
  OutSpec specs[3];
  for (int i = 0; i < 3; ++i) {
    const Tensor& x = v.in[static_cast<size_t>(i)];
    a.wanted[i] = v.needs(static_cast<size_t>(i));
    specs[i] = {a.wanted[i] ? stored_shape(x.shape(), a) : Shape{0}, x.dtype()};
  }
  const Tensor in[] = {ops::contiguous(v.g[0]), v.in[0],          v.in[1], v.in[2], v.in[3],
                       v.out[0].detach(),       v.out[1].detach()};
  const Tensors d = emit(backward, in, a, specs);
  Tensors gradients(v.in.size());
  for (size_t i = 0; i < 3; ++i)
    if (a.wanted[i]) gradients[i] = as_heads(d[i], a);
  return gradients;
}

// `out` and `lse`, inputs 5 and 6, are functions of the others.
Tensors vjp_attention_backward(const Vjp& v) {
  return vjp_by(v, [&](const Tensors& in) { return backward_decomposed(in, v.attrs.get<AttentionAttrs>()); });
}

// ---- checks ---------------------------------------------------------------------------------------------------------

constexpr const char* kName = "scaled_dot_product_attention";

Shape batch_of(const Tensor& x) {
  Shape batch = x.shape();
  batch.erase(batch.size() - 1);
  batch.erase(batch.size() - 1);
  return batch;
}

Shape with_matrix(Shape batch, int64_t rows, int64_t columns) {
  check<ShapeError>(batch.size() + 2 <= kMaxRank, kName, ": more than ", kMaxRank, " dimensions");
  batch.push_back(rows);
  batch.push_back(columns);
  return batch;
}

// x over all the batch, its columns next to each other.
Tensor operand(const Tensor& x, const Shape& batch) {
  const Tensor whole = batch_of(x) == batch ? x : ops::broadcast_to(x, with_matrix(batch, x.size(-2), x.size(-1)));
  return whole.size(-1) <= 1 || whole.strides().back() == 1 ? whole : ops::contiguous(whole);
}

Tensor mask_operand(const Tensor& mask, const Tensor& q, const Shape& shape) {
  check<DTypeError>(mask.dtype() == DType::Bool || mask.dtype() == q.dtype(), kName,
                    ": attn_mask must be bool or of the dtype of query, ", dtype_name(q.dtype()), ", got ",
                    dtype_name(mask.dtype()));
  bool fits = mask.ndim() <= shape.size();
  for (int i = 1; fits && i <= mask.ndim(); ++i) fits = mask.size(-i) == 1 || mask.size(-i) == shape[shape.size() - i];
  check<ShapeError>(fits, kName, ": attn_mask must broadcast to [..., L, S] = ", shape, ", got ", mask.shape());
  const bool dense = mask.ndim() == 0 || mask.size(-1) == 1 || mask.strides().back() == 1;
  return ops::broadcast_to(dense ? mask : ops::contiguous(mask), shape);
}

// [..., H, n, m] as [..., groups, H / groups, n, m].
Tensor grouped_heads(const Tensor& x, int64_t groups) {
  return ops::unflatten(x, x.ndim() - 3, {groups, x.size(-3) / groups});
}

}  // namespace

Tensor ops::scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                         const Tensor& mask, double dropout_p, bool causal, std::optional<double> scale,
                                         bool grouped) {
  check_floating(kName, "query", query);
  check<DTypeError>(key.dtype() == query.dtype() && value.dtype() == query.dtype(), kName,
                    ": query, key and value must have one dtype, got ", dtype_name(query.dtype()), ", ",
                    dtype_name(key.dtype()), " and ", dtype_name(value.dtype()));
  check(dropout_p >= 0 && dropout_p <= 1, kName, ": dropout_p is a probability, from 0 to 1; got ", dropout_p);
  check<ShapeError>(query.ndim() >= 2 && key.ndim() >= 2 && value.ndim() >= 2, kName,
                    ": expected query [..., L, E], key [..., S, E] and value [..., S, Ev], got ", query.shape(), ", ",
                    key.shape(), " and ", value.shape());
  check<ShapeError>(key.size(-1) == query.size(-1), kName, ": key has ", key.size(-1), " features, query ",
                    query.size(-1), " (query ", query.shape(), ", key ", key.shape(), ")");
  check<ShapeError>(key.size(-2) == value.size(-2), kName, ": value has ", value.size(-2), " rows, key ", key.size(-2),
                    " (key ", key.shape(), ", value ", value.shape(), ")");
  if (is_half(query.dtype())) {
    const auto wide = [](const Tensor& x) { return x.defined() && is_half(x.dtype()) ? cast(x, DType::Float32) : x; };
    return cast(scaled_dot_product_attention(wide(query), wide(key), wide(value), wide(mask), dropout_p, causal, scale,
                                             grouped),
                query.dtype());
  }
  const int64_t l = query.size(-2), s = key.size(-2), e = query.size(-1), ev = value.size(-1);
  if (grouped) {
    check<ShapeError>(query.ndim() >= 3 && key.ndim() >= 3 && value.ndim() >= 3 && key.size(-3) == value.size(-3) &&
                          key.size(-3) > 0 && query.size(-3) % key.size(-3) == 0,
                      kName, ": enable_gqa expects axis -3 of query to be a multiple of that of key and value (query ",
                      query.shape(), ", key ", key.shape(), ", value ", value.shape(), ")");
    const int64_t heads = query.size(-3), groups = key.size(-3);
    if (heads != groups) {
      Tensor m = mask;
      if (m.defined() && m.ndim() >= 3) m = m.size(-3) == 1 ? expand_dims(m, -3) : grouped_heads(m, groups);
      const Tensor out = scaled_dot_product_attention(grouped_heads(query, groups), expand_dims(key, -3),
                                                      expand_dims(value, -3), m, dropout_p, causal, scale);
      return flatten(out, -4, -3);
    }
  }
  const Shape batch = broadcast_shapes(broadcast_shapes(batch_of(query), batch_of(key), kName), batch_of(value), kName);
  const Tensor q = operand(query, batch), k = operand(key, batch), v = operand(value, batch);

  AttentionAttrs a{};
  a.scale = scale.value_or(e > 0 ? 1 / std::sqrt(static_cast<double>(e)) : 1.0);
  a.causal = causal;
  a.dropout = dropout_p > 0;
  if (a.dropout) {
    a.state = next_random_state();
    a.threshold = keep_threshold(dropout_p);
    a.keep_scale = dropout_p == 1 ? 0 : 1 / (1 - dropout_p);
  }
  a.heads_inside = q.ndim() == 4 && q.size(1) > 1 && q.strides()[2] > q.strides()[1];
  const OutSpec specs[] = {{stored_shape(with_matrix(batch, l, ev), a), q.dtype()},
                           {with_matrix(batch, l, 1), q.dtype()}};
  const Tensor in[] = {q, k, v, mask.defined() ? mask_operand(mask, q, with_matrix(batch, l, s)) : mask};
  return as_heads(emit(a.dropout ? Op::DropoutAttention : Op::Attention, in, a, specs)[0], a);
}

LANNER_RUN(Attention) {
  r.out[0].dtype() == DType::Float32 ? ::lanner::forward<float>(r) : ::lanner::forward<double>(r);
}
LANNER_VJP(Attention) { return vjp_attention(v, Op::AttentionBackward); }
LANNER_RUN(AttentionBackward) {
  r.in[0].dtype() == DType::Float32 ? ::lanner::backward<float>(r) : ::lanner::backward<double>(r);
}
LANNER_VJP(AttentionBackward) { return vjp_attention_backward(v); }

LANNER_RUN(DropoutAttention) { run_Attention(r); }
LANNER_VJP(DropoutAttention) { return vjp_attention(v, Op::DropoutAttentionBackward); }
LANNER_RUN(DropoutAttentionBackward) { run_AttentionBackward(r); }
LANNER_VJP(DropoutAttentionBackward) { return vjp_attention_backward(v); }

}  // namespace lanner
