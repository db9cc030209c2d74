#include "lanner/ops/linalg.h"

#include "lanner/ops/elementwise.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "ops/epilogue.h"
#include "ops/gemm.h"
#include "ops/op.h"
#include "ops/packed.h"

namespace lanner {
namespace {

// The last two axes of an operand of matmul.
struct Matrix {
  int64_t rows, columns, row_stride, column_stride;
};
Matrix matrix_of(const Tensor& x) {
  const int n = x.ndim();
  Matrix m{x.shape()[n - 2], x.shape()[n - 1], x.strides()[n - 2], x.strides()[n - 1]};
  // The stride of an axis of size 1 is never used: let it look contiguous.
  if (m.columns == 1) m.column_stride = 1;
  return m;
}

// Can axes [0, last] be walked as one? Then *stride is how; axes of size 1 have no say.
bool is_one_axis(const Tensor& x, int last, int64_t* stride) {
  bool found = false;
  int64_t next = 0;  // the stride that the axis before must have
  *stride = 0;
  for (int i = last; i >= 0; --i) {
    if (x.shape()[i] == 1) continue;
    if (found && x.strides()[i] != next) return false;
    if (!found) *stride = x.strides()[i];
    found = true;
    next = x.strides()[i] * x.shape()[i];
  }
  return true;
}

// Element offsets of the matrices of x, an operand whose axes before the last two broadcast to `batch`.
void matrix_offsets(const Tensor& x, const Shape& batch, std::span<int64_t> offsets) {
  const int missing = batch.size() - (x.ndim() - 2);
  Dims strides = Dims::filled(batch.size(), 0);
  for (int i = missing; i < batch.size(); ++i)
    if (x.shape()[i - missing] != 1) strides[i] = x.strides()[i - missing];
  Dims index = Dims::filled(batch.size(), 0);
  int64_t offset = 0;
  for (int64_t& o : offsets) {
    o = offset;
    for (int d = batch.size() - 1; d >= 0; --d) {
      offset += strides[d];
      if (++index[d] < batch[d]) break;
      offset -= strides[d] * batch[d];
      index[d] = 0;
    }
  }
}

Shape batch_shape(const Tensor& x) {
  Shape batch = x.shape();
  batch.erase(batch.size() - 1);
  batch.erase(batch.size() - 1);
  return batch;
}

template <class T>
cpu::GemmArgs<T> gemm_args(const Tensor& a, const Tensor& b, const Tensor& c) {
  const Matrix ma = matrix_of(a), mb = matrix_of(b);
  cpu::GemmArgs<T> g;
  g.m = ma.rows, g.n = mb.columns, g.k = ma.columns;
  g.a = a.data<T>(), g.a_row = ma.row_stride, g.a_col = ma.column_stride;
  g.b = b.data<T>(), g.b_row = mb.row_stride, g.b_col = mb.column_stride;
  g.c = c.data<T>(), g.c_row = g.n;
  return g;
}

// The product that a matmul is, or else one of its batch: false.
template <class T>
bool matmul_args(const Run& r, cpu::GemmArgs<T>* g) {
  const Tensor &a = r.in[0], &b = r.in[1], &c = r.out[0];
  *g = gemm_args<T>(a, b, c);
  g->epilogue = epilogue_of<T>(r);
  if (c.ndim() == 2) return true;
  const Shape batch = batch_shape(c);
  int64_t row_stride;
  if (element_count(batch_shape(b)) != 1 || batch_shape(a) != batch || !is_one_axis(a, a.ndim() - 2, &row_stride))
    return false;
  g->m *= element_count(batch);  // the batch is more rows
  g->a_row = row_stride;
  return true;
}

template <class T>
void run_float_matmul(const Run& r) {
  if (r.out[0].size() == 0) return;
  cpu::GemmArgs<T> g;
  if (matmul_args(r, &g)) return gemm(g, r.precision);
  const Shape batch = batch_shape(r.out[0]);
  const int64_t count = element_count(batch);
  Workspace workspace(3 * count * sizeof(int64_t));
  const std::span<int64_t> a(workspace.as<int64_t>(), count), b(a.data() + count, count), c(b.data() + count, count);
  matrix_offsets(r.in[0], batch, a);
  matrix_offsets(r.in[1], batch, b);
  for (int64_t i = 0; i < count; ++i) c[i] = i * g.m * g.n;
  gemm_batch(g, {a, b, c}, r.precision);
}

void run_integer_matmul(const Tensor& a, const Tensor& b, const Tensor& c) {
  const Matrix ma = matrix_of(a), mb = matrix_of(b);
  const Shape batch = batch_shape(c);
  if (c.size() == 0) return;
  const int64_t count = element_count(batch), bytes = static_cast<int64_t>(itemsize(c.dtype()));
  Workspace workspace(2 * count * sizeof(int64_t));
  const std::span<int64_t> oa(workspace.as<int64_t>(), count), ob(oa.data() + count, count);
  matrix_offsets(a, batch, oa);
  matrix_offsets(b, batch, ob);
  const char *pa = static_cast<const char*>(a.raw()), *pb = static_cast<const char*>(b.raw());
  char* pc = static_cast<char*>(c.raw());
  for (int64_t i = 0; i < count; ++i)
    integer_gemm(bytes, ma.rows, mb.columns, ma.columns, pa + oa[i] * bytes, ma.row_stride, ma.column_stride,
                 pb + ob[i] * bytes, mb.row_stride, mb.column_stride, pc + i * ma.rows * mb.columns * bytes);
}

template <class T>
cpu::GemmArgs<T> linear_args(const Run& r) {
  const Tensor &x = r.in[0], &w = r.in[1], &bias = r.in[2];
  cpu::GemmArgs<T> g;
  g.n = w.size(0), g.k = w.size(1);
  g.m = 1;
  for (int i = 0; i < x.ndim() - 1; ++i) g.m *= x.size(i);
  is_one_axis(x, x.ndim() - 2, &g.a_row);
  g.a = x.data<T>(), g.a_col = g.k == 1 ? 1 : x.strides().back();
  g.b = w.data<T>(), g.b_row = w.strides()[1], g.b_col = g.n == 1 ? 1 : w.strides()[0];
  g.c = r.out[0].data<T>(), g.c_row = g.n;
  g.epilogue = epilogue_of<T>(r);
  if (bias.defined()) g.epilogue.bias_per_column = bias.data<T>();
  return g;
}

// A product with in[1], which is packed once.
template <class T>
class PackedProduct : public Prepared {
 public:
  PackedProduct(const cpu::GemmArgs<T>& g, Precision precision)
      : g_(g),
        precision_(precision),
        packed_(packed_memory(packed_b_elements<T>(g.k, g.n, precision), DTypeOf<T>::value)) {
    g_.packed_b = packed_.template data<T>();
  }
  void refresh(const Run& r) override {
    pack_b(g_.k, g_.n, r.in[1].data<T>(), g_.b_row, g_.b_col, packed_.template data<T>(), precision_);
  }
  void run(const Run& r) override {
    cpu::GemmArgs<T> g = g_;
    g.a = r.in[0].data<T>(), g.c = r.out[0].data<T>();
    // Anew: inputs and outputs of a plan have no memory yet when it is prepared.
    g.epilogue = epilogue_of<T>(r);
    if (r.op == Op::Linear && r.in[2].defined()) g.epilogue.bias_per_column = r.in[2].data<T>();
    gemm(g, precision_);
  }
  size_t bytes() const override { return packed_.size() * sizeof(T); }

 private:
  cpu::GemmArgs<T> g_;
  Precision precision_;
  Tensor packed_;
};

// Nothing to gain where the weight may change, nor where it is a vector.
template <class T>
std::unique_ptr<Prepared> packed_product(const cpu::GemmArgs<T>& g, const Run& r, uint64_t constant) {
  if (!(constant & 2) || g.m == 0 || g.n <= 1 || g.k == 0) return nullptr;
  return std::make_unique<PackedProduct<T>>(g, r.precision);
}

// The dtype of a product of matrices; float16 and bfloat16 are the caller's.
DType product_dtype(const char* op, const Tensor& x1, const Tensor& x2) {
  const DType dtype = promote(x1.dtype(), x2.dtype());
  check<DTypeError>(dtype != DType::Bool, op, ": expected numbers, got ", dtype_name(x1.dtype()), " and ",
                    dtype_name(x2.dtype()));
  return dtype;
}

// x [..., n] as [rows, n]; -1 cannot stand for the rows where n is 0.
Tensor as_rows(const Tensor& x) {
  if (x.ndim() == 2) return x;
  Shape lead = x.shape();
  lead.erase(lead.size() - 1);
  return ops::reshape(x, {element_count(lead), x.size(-1)});
}

void check_bias(const char* op, const Tensor& bias, const Tensor& weight) {
  check<ShapeError>(!bias.defined() || (bias.ndim() == 1 && bias.size(0) == weight.size(0)), op,
                    ": bias expects shape [", weight.size(0), "], got ", bias.defined() ? bias.shape() : Shape(),
                    " (weight ", weight.shape(), ")");
}

}  // namespace

namespace ops {

Tensor matmul(const Tensor& x1, const Tensor& x2) {
  check<ShapeError>(x1.ndim() >= 1 && x2.ndim() >= 1, "matmul: expected at least 1 dimension, got shapes ", x1.shape(),
                    " and ", x2.shape(), "; multiply takes scalars");
  const DType dtype = product_dtype("matmul", x1, x2);
  if (is_half(dtype)) return cast(matmul(cast(x1, DType::Float32), cast(x2, DType::Float32)), dtype);
  Tensor a = x1.dtype() == dtype ? x1 : cast(x1, dtype), b = x2.dtype() == dtype ? x2 : cast(x2, dtype);
  if (x1.ndim() == 1) a = expand_dims(a, 0);
  if (x2.ndim() == 1) b = expand_dims(b, 1);
  check<ShapeError>(a.size(-1) == b.size(-2), "matmul: x1 has ", a.size(-1), " columns, x2 has ", b.size(-2),
                    " rows (x1 ", x1.shape(), ", x2 ", x2.shape(), ")");
  Shape shape = broadcast_shapes(batch_shape(a), batch_shape(b), "matmul");
  check<ShapeError>(shape.size() + 2 <= kMaxRank, "matmul: more than ", kMaxRank, " dimensions");
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  Tensor y = emit(Op::Matmul, {a, b}, {}, {shape, dtype});
  if (x2.ndim() == 1) y = squeeze(y, {-1});
  if (x1.ndim() == 1) y = squeeze(y, {x2.ndim() == 1 ? -1 : -2});
  return y;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check<ShapeError>(weight.ndim() == 2, "linear: weight expects [out, in], got ", weight.shape());
  check<ShapeError>(x.ndim() >= 1 && x.size(-1) == weight.size(1), "linear: weight expects ", weight.size(1),
                    " features in x's last axis (x ", x.shape(), ", weight ", weight.shape(), ")");
  check_bias("linear", bias, weight);
  DType dtype = product_dtype("linear", x, weight);
  if (bias.defined()) dtype = promote(dtype, bias.dtype());
  const auto as = [&](const Tensor& t, DType d) { return !t.defined() || t.dtype() == d ? t : cast(t, d); };
  if (is_half(dtype))
    return cast(linear(as(x, DType::Float32), as(weight, DType::Float32), as(bias, DType::Float32)), dtype);
  const Tensor a = as(x, dtype), w = as(weight, dtype), b = as(bias, dtype);
  if (!is_floating(dtype)) return linear_decomposed(a, w, b);
  Shape shape = x.shape();
  shape[shape.size() - 1] = weight.size(0);
  int64_t row_stride;
  const bool rows = is_one_axis(a, a.ndim() - 2, &row_stride);
  return emit(Op::Linear, {rows ? a : contiguous(a), w, b.defined() ? contiguous(b) : b}, {}, {shape, dtype});
}

Tensor linear_decomposed(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Tensor y = matmul(x, matrix_transpose(weight));
  return bias.defined() ? add(y, bias) : y;
}

Tensor bilinear(const Tensor& x1, const Tensor& x2, const Tensor& weight, const Tensor& bias) {
  check<ShapeError>(weight.ndim() == 3, "bilinear: weight expects [out, in1, in2], got ", weight.shape());
  const auto lead = [](const Tensor& x) {
    Shape shape = x.shape();
    if (!shape.empty()) shape.erase(shape.size() - 1);
    return shape;
  };
  check<ShapeError>(x1.ndim() >= 1 && x2.ndim() >= 1 && x1.size(-1) == weight.size(1) &&
                        x2.size(-1) == weight.size(2) && lead(x1) == lead(x2),
                    "bilinear: weight expects x1 [..., ", weight.size(1), "] and x2 [..., ", weight.size(2),
                    "] with the same leading axes (x1 ", x1.shape(), ", x2 ", x2.shape(), ", weight ", weight.shape(),
                    ")");
  check_bias("bilinear", bias, weight);
  if (const DType dtype = promote(product_dtype("bilinear", x1, x2), weight.dtype()); is_half(dtype)) {
    const auto wide = [](const Tensor& t) { return t.defined() ? cast(t, DType::Float32) : t; };
    return cast(bilinear(wide(x1), wide(x2), wide(weight), wide(bias)), dtype);
  }
  const int64_t out = weight.size(0), in1 = weight.size(1), in2 = weight.size(2);
  const Tensor a = as_rows(x1), b = as_rows(x2);
  const Tensor left = matmul(a, reshape(permute_dims(weight, {1, 0, 2}), {in1, out * in2}));
  Tensor y = matmul(reshape(left, {a.size(0), out, in2}), expand_dims(b, 2));
  Shape shape = lead(x1);
  shape.push_back(out);
  y = reshape(y, shape);
  return bias.defined() ? add(y, bias) : y;
}

Tensor tensordot(const Tensor& x1, const Tensor& x2, int64_t axes) {
  check<ShapeError>(axes >= 0 && axes <= x1.ndim() && axes <= x2.ndim(), "tensordot: axes is ", axes, " (x1 ",
                    x1.shape(), ", x2 ", x2.shape(), ")");
  Dims axes1, axes2;
  for (int64_t i = 0; i < axes; ++i) {
    axes1.push_back(x1.ndim() - axes + i);
    axes2.push_back(i);
  }
  return tensordot(x1, x2, axes1, axes2);
}

Tensor tensordot(const Tensor& x1, const Tensor& x2, const Dims& axes1, const Dims& axes2) {
  check<ShapeError>(axes1.size() == axes2.size(), "tensordot: ", axes1.size(), " axes of x1 but ", axes2.size(),
                    " of x2");
  bool summed1[kMaxRank] = {}, summed2[kMaxRank] = {};
  Dims to_sum1, to_sum2;
  int64_t k = 1;
  for (int i = 0; i < axes1.size(); ++i) {
    const int p = normalize_axis(axes1[i], x1.ndim(), "tensordot"),
              q = normalize_axis(axes2[i], x2.ndim(), "tensordot");
    check<ShapeError>(!summed1[p] && !summed2[q], "tensordot: an axis is repeated in ", axes1, " or ", axes2);
    check<ShapeError>(x1.size(p) == x2.size(q), "tensordot: axis ", p, " of x1 has size ", x1.size(p), ", axis ", q,
                      " of x2 has size ", x2.size(q), " (x1 ", x1.shape(), ", x2 ", x2.shape(), ")");
    summed1[p] = summed2[q] = true;
    to_sum1.push_back(p);
    to_sum2.push_back(q);
    k *= x1.size(p);
  }
  Dims order1, order2 = to_sum2;
  Shape shape;
  int64_t m = 1, n = 1;
  for (int i = 0; i < x1.ndim(); ++i) {
    if (summed1[i]) continue;
    order1.push_back(i);
    shape.push_back(x1.size(i));
    m *= x1.size(i);
  }
  for (int64_t axis : to_sum1) order1.push_back(axis);
  for (int i = 0; i < x2.ndim(); ++i) {
    if (summed2[i]) continue;
    order2.push_back(i);
    shape.push_back(x2.size(i));
    n *= x2.size(i);
  }
  return reshape(matmul(reshape(permute_dims(x1, order1), {m, k}), reshape(permute_dims(x2, order2), {k, n})), shape);
}

Tensor outer(const Tensor& x1, const Tensor& x2) {
  check<ShapeError>(x1.ndim() == 1 && x2.ndim() == 1, "outer: expected two vectors, got shapes ", x1.shape(), " and ",
                    x2.shape());
  return multiply(expand_dims(x1, 1), x2);
}

Tensor vecdot(const Tensor& x1, const Tensor& x2, int64_t axis) {
  const int p = normalize_axis(axis, x1.ndim(), "vecdot"), q = normalize_axis(axis, x2.ndim(), "vecdot");
  check<ShapeError>(x1.size(p) == x2.size(q), "vecdot: axis ", axis, " has size ", x1.size(p), " in x1 and ",
                    x2.size(q), " in x2 (x1 ", x1.shape(), ", x2 ", x2.shape(), ")");
  const Tensor row = expand_dims(moveaxis(x1, {p}, {-1}), -2), column = expand_dims(moveaxis(x2, {q}, {-1}), -1);
  return squeeze(matmul(row, column), {-2, -1});
}

}  // namespace ops

LANNER_RUN(Matmul) {
  switch (r.out[0].dtype()) {
    case DType::Float32: return run_float_matmul<float>(r);
    case DType::Float64: return run_float_matmul<double>(r);
    default: return run_integer_matmul(r.in[0], r.in[1], r.out[0]);
  }
}

LANNER_PREPARE(Matmul) {
  const auto prepare = [&]<class T>(cpu::GemmArgs<T> g) -> std::unique_ptr<Prepared> {
    return matmul_args(r, &g) ? packed_product(g, r, constant) : nullptr;
  };
  switch (r.out[0].dtype()) {
    case DType::Float32: return prepare(cpu::GemmArgs<float>{});
    case DType::Float64: return prepare(cpu::GemmArgs<double>{});
    default: return nullptr;
  }
}

LANNER_VJP(Matmul) {  // y[M,N] = a[M,K] b[K,N]
  const Tensor &a = v.in[0], &b = v.in[1], &g = v.g[0];
  Tensor ga, gb;
  if (v.needs(0)) ga = ops::matmul(g, ops::matrix_transpose(b));
  if (v.needs(1)) {
    // One b for a whole batch: one product over all its rows, rather than a sum of many.
    const bool one_b = b.ndim() == 2 && batch_shape(a) == batch_shape(g);
    gb = one_b ? ops::matmul(ops::matrix_transpose(as_rows(a)), as_rows(g)) : ops::matmul(ops::matrix_transpose(a), g);
  }
  return {ga, gb};
}

LANNER_RUN(Linear) {
  r.out[0].dtype() == DType::Float32 ? gemm(linear_args<float>(r), r.precision) : gemm(linear_args<double>(r));
}

LANNER_PREPARE(Linear) {
  return r.out[0].dtype() == DType::Float32 ? packed_product(linear_args<float>(r), r, constant)
                                            : packed_product(linear_args<double>(r), r, constant);
}

LANNER_VJP(Linear) {
  const Tensor &x = v.in[0], &w = v.in[1], &g = v.g[0];
  Tensor gx, gw, gb;
  if (v.needs(0)) gx = ops::matmul(g, w);
  if (v.needs(1)) {
    const Tensor rows = g.ndim() == 1 ? ops::expand_dims(g, 0) : as_rows(g);
    gw = ops::matmul(ops::matrix_transpose(rows), x.ndim() == 1 ? ops::expand_dims(x, 0) : as_rows(x));
  }
  if (v.in[2].defined() && v.needs(2)) gb = g.ndim() == 1 ? g : ops::sum(as_rows(g), {0});
  return {gx, gw, gb};
}

}  // namespace lanner
