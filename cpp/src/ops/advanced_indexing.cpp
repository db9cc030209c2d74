// NumPy's advanced indexing. Index tensors on several axes become one, into these axes joined; what is left is take or
// put along one axis.
#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/kernels/indexing.h"
#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/indexing.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/indexing.h"
#include "ops/op.h"

namespace lanner {
namespace {

const cpu::IndexKernels& kernels() { return *cpu::kernels().indexing; }

struct RavelAttrs {
  Dims axes, sizes, strides;
};

// Of the axes without an index.
struct PutIntoAttrs {
  Dims sizes, strides;
};

// Indices, one an axis of x; undefined where all of the axis is meant.
struct Plan {
  Tensors indices;  // int64, row-major, of one shape
  Shape shape;      // that shape
  Dims axes;        // which axes of x have one
  Dims order;       // x's axes with the indexed ones side by side
  int at = 0;       // where those stand in `order`, and their result in the result
};

// Boolean entries become the indices of what they select.
Tensors without_masks(const char* op, const Tensor& x, const Tensors& given) {
  Tensors indices;
  for (const Tensor& i : given) {
    if (!i.defined() || i.dtype() != DType::Bool) {
      indices.push_back(i.defined() ? ops::as_index(op, "indices", i) : i);
      continue;
    }
    const int first = static_cast<int>(indices.size());
    check<ShapeError>(i.ndim() > 0, op, ": a boolean index must have at least 1 dimension");
    bool fits = first + i.ndim() <= x.ndim();
    for (int k = 0; fits && k < i.ndim(); ++k) fits = i.shape()[k] == x.shape()[first + k];
    check<IndexError>(fits, op, ": a boolean index of shape ", i.shape(), " does not fit x of shape ", x.shape(),
                      " at axis ", first);
    for (Tensor& places : ops::nonzero(i)) indices.push_back(std::move(places));
  }
  return indices;
}

Plan plan(const char* op, const Tensor& x, const Tensors& given) {
  Plan p;
  const Tensors indices = without_masks(op, x, given);
  check<IndexError>(static_cast<int>(indices.size()) <= x.ndim(), op, ": ", indices.size(), " indices for ", x.ndim(),
                    " dimensions (x ", x.shape(), ")");
  for (int i = 0; i < static_cast<int>(indices.size()); ++i) {
    if (!indices[i].defined()) continue;
    p.axes.push_back(i);
    p.shape = broadcast_shapes(p.shape, indices[i].shape(), op);
  }
  check<ShapeError>(!p.axes.empty(), op, ": expected at least one index");
  for (int64_t axis : p.axes) p.indices.push_back(ops::contiguous(ops::broadcast_to(indices[axis], p.shape)));
  const int count = p.axes.size(), first = static_cast<int>(p.axes[0]);
  const bool adjacent = p.axes.back() - first == count - 1;
  p.at = adjacent ? first : 0;
  check<ShapeError>(x.ndim() - count + p.shape.size() <= kMaxRank, op, ": the result has more than ", kMaxRank,
                    " dimensions");
  for (int i = 0; i < x.ndim(); ++i) {
    const bool indexed = std::find(p.axes.begin(), p.axes.end(), i) != p.axes.end();
    if (!indexed) p.order.push_back(i);
  }
  for (int i = 0; i < count; ++i) p.order.insert(p.at + i, p.axes[i]);
  return p;
}

Dims inverse(const Dims& order) {
  Dims out = order;
  for (int i = 0; i < order.size(); ++i) out[static_cast<int>(order[i])] = i;
  return out;
}

// The indexed axes of x side by side, as one.
Tensor join_axes(const Tensor& x, const Plan& p) {
  const int count = p.axes.size();
  const Tensor ordered = ops::permute_dims(x, p.order);
  if (count == 1) return ordered;
  Shape shape;
  int64_t joined = 1;
  for (int i = 0; i < ordered.ndim(); ++i) {
    if (i < p.at || i >= p.at + count)
      shape.push_back(ordered.shape()[i]);
    else
      joined *= ordered.shape()[i];
  }
  shape.insert(p.at, joined);
  return ops::reshape(ordered, shape);
}

// One index into the joined axes, whose strides (of whatever memory) are given.
Tensor join_indices(const Tensor& x, const Plan& p, const Dims& strides) {
  RavelAttrs a{p.axes, {}, strides};
  for (int64_t axis : p.axes) a.sizes.push_back(x.shape()[static_cast<int>(axis)]);
  return emit(Op::RavelIndex, p.indices, a, std::vector<OutSpec>{{p.shape, DType::Int64}})[0];
}

Tensor flat_index(const Tensor& x, const Plan& p) {
  if (p.axes.size() == 1) return p.indices[0];
  Shape sizes;
  for (int64_t axis : p.axes) sizes.push_back(x.shape()[static_cast<int>(axis)]);
  return join_indices(x, p, contiguous_strides(sizes));
}

Shape result_shape(const Tensor& x, const Plan& p) {
  Shape shape;
  for (int i = 0; i < p.order.size(); ++i)
    if (i < p.at || i >= p.at + p.axes.size()) shape.push_back(x.shape()[static_cast<int>(p.order[i])]);
  for (int i = 0; i < p.shape.size(); ++i) shape.insert(p.at + i, p.shape[i]);
  return shape;
}

}  // namespace

namespace ops {

Tensor index(const Tensor& x, const Tensors& indices) {
  const Plan p = plan("index", x, indices);
  return take_rows(join_axes(x, p), flat_index(x, p), p.at, TakeAs::Index, static_cast<int>(p.axes[0]));
}

Tensor index_put(const Tensor& x, const Tensors& indices, const Tensor& value, bool accumulate) {
  const Plan p = plan("index_put", x, indices);
  check<DTypeError>(!accumulate || x.dtype() != DType::Bool, "index_put: x must be numeric to accumulate, got bool");
  const Tensor src = broadcast_to(as_source("index_put", "value", value, x), result_shape(x, p));
  const Tensor out = put_rows(join_axes(x, p), flat_index(x, p), src, p.at, accumulate);
  Shape ordered;
  for (int64_t axis : p.order) ordered.push_back(x.shape()[static_cast<int>(axis)]);
  return permute_dims(reshape(out, ordered), inverse(p.order));
}

void index_put_(const Tensor& x, const Tensors& indices, const Tensor& value) {
  const NoGrad off;
  const Plan p = plan("index_put_", x, indices);
  const Shape shape = result_shape(x, p);
  Dims strides;
  for (int64_t axis : p.axes) strides.push_back(x.strides()[static_cast<int>(axis)]);
  const Tensor offsets = join_indices(x, p, strides);
  Tensor src = broadcast_to(value.dtype() == x.dtype() ? value : cast(value, x.dtype()), shape);
  // [indices..., the axes that are left...]
  Dims from, to;
  for (int i = 0; i < p.shape.size(); ++i) {
    from.push_back(p.at + i);
    to.push_back(i);
  }
  src = contiguous(moveaxis(src, from, to));
  if (src.size() == 0) return;
  // What is left of x at each index.
  PutIntoAttrs a;
  for (int i = 0; i < p.order.size(); ++i) {
    const int axis = static_cast<int>(p.order[i]);
    if (i >= p.at && i < p.at + p.axes.size()) continue;
    a.sizes.push_back(x.shape()[axis]);
    a.strides.push_back(x.strides()[axis]);
  }
  const Tensor in[] = {x, offsets, src};
  x.will_write("index_put_");
  emit(Op::PutInto, in, a, {});
}

void assign_(const Tensor& x, const Tensors& indices, const Tensor& value) {
  const NoGrad off;
  // As in NumPy, leading axes of size 1 that x[indices] has not are no harm.
  const auto fit = [&](const Tensor& v, int rank) {
    Tensor out = v;
    while (out.ndim() > rank && out.shape()[0] == 1) out = squeeze(out, {0});
    return out;
  };
  if (indices.empty()) return copy_(x, broadcast_to(fit(value, x.ndim()), x.shape()));
  const Tensor& first = indices[0];
  const bool mask = first.defined() && first.dtype() == DType::Bool && first.shape() == x.shape();
  if (mask && value.size() == 1)  // without looking for the places
    return copy_(x, where(first, reshape(cast(value, x.dtype()), {}), x));
  const Plan p = plan("setitem", x, indices);
  Tensors plain(static_cast<size_t>(x.ndim()));
  for (int i = 0; i < p.axes.size(); ++i) plain[static_cast<size_t>(p.axes[i])] = p.indices[static_cast<size_t>(i)];
  index_put_(x, plain, fit(value, result_shape(x, p).size()));
}

Tensors nonzero(const Tensor& x) {
  check<ShapeError>(x.ndim() > 0, "nonzero: x must have at least 1 dimension");
  const Tensor mask = contiguous(x.dtype() == DType::Bool ? x : not_equal(x.detach(), Tensor::weak(0)));
  x.will_read("nonzero");
  const int64_t count = kernels().count_true(static_cast<const uint8_t*>(mask.raw()), mask.size());
  const Tensor all = emit(Op::Nonzero, {mask}, {}, {{x.ndim(), count}, DType::Int64});
  Tensors out;
  for (int i = 0; i < x.ndim(); ++i) out.push_back(squeeze(narrow(all, 0, i, 1), {0}));
  return out;
}

Tensor one_hot(const Tensor& x, int64_t num_classes) {
  const Tensor index = as_index("one_hot", "x", x);
  if (num_classes < 0) {
    check<ShapeError>(index.size() > 0, "one_hot: num_classes must be given for an empty x");
    x.will_read("one_hot without num_classes");
    int64_t smallest;
    kernels().range(index.data<int64_t>(), index.size(), &smallest, &num_classes);
    ++num_classes;
  }
  check<ShapeError>(x.ndim() < kMaxRank, "one_hot: x has ", kMaxRank, " dimensions, no room for one more");
  Shape shape = x.shape();
  shape.push_back(num_classes);
  return emit(Op::OneHot, {index}, {}, {shape, DType::Int64});
}

}  // namespace ops

LANNER_RUN(RavelIndex) {
  const auto& a = r.attrs.get<RavelAttrs>();
  for (int k = 0; k < a.axes.size(); ++k) ops::check_index("index", r.in[k], -a.sizes[k], a.axes[k], a.sizes[k]);
  int64_t* out = r.out[0].data<int64_t>();
  parallel_for(r.out[0].size(), kMoveGrain, [&](int64_t begin, int64_t end) {
    for (int k = 0; k < a.axes.size(); ++k)
      kernels().ravel(r.in[k].data<int64_t>() + begin, end - begin, a.sizes[k], a.strides[k], k > 0, out + begin);
  });
}

// in: x, the offsets into its memory, and for each of them a block: a row-major tensor of the sizes in the attributes.
LANNER_RUN(PutInto) {
  const Tensor &x = r.in[0], &offsets = r.in[1], &src = r.in[2];
  const auto& [left, strides] = r.attrs.get<PutIntoAttrs>();
  const int64_t block = element_count(left), item = static_cast<int64_t>(itemsize(x.dtype()));
  int64_t run = 1;  // elements that lie side by side in both
  int outer = left.size();
  while (outer > 0 && (strides[outer - 1] == run || left[outer - 1] == 1)) run *= left[--outer];
  const int64_t runs = block / run;
  parallel_for(runs, kMoveGrain / std::max<int64_t>(1, run * offsets.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t offset = 0, at = i;
      for (int axis = outer - 1; axis >= 0; --axis) {
        offset += at % left[axis] * strides[axis];
        at /= left[axis];
      }
      // The offsets are no longer indices: a size of 0 leaves negative ones as they are.
      kernels().put_rows(
          static_cast<char*>(x.raw()) + offset * item, offsets.data<int64_t>(),
          static_cast<char*>(src.raw()) + i * run * item,
          {.count = offsets.size(), .size = 0, .x_stride = item, .src_stride = block * item, .bytes = run * item});
    }
  });
}

// Row i of the output: the indices on axis i. They are found flat in its last row, then taken apart from there.
LANNER_RUN(Nonzero) {
  const Shape& shape = r.in[0].shape();
  const int64_t n = r.in[0].size(), count = r.out[0].shape()[1];
  if (count == 0) return;
  const auto* mask = static_cast<const uint8_t*>(r.in[0].raw());
  int64_t* out = r.out[0].data<int64_t>();
  int64_t* flat = out + (shape.size() - 1) * count;
  constexpr int64_t kSlice = 1 << 16;
  const int64_t slices = (n + kSlice - 1) / kSlice;
  const Workspace workspace(static_cast<size_t>(slices + 1) * sizeof(int64_t));
  int64_t* firsts = workspace.as<int64_t>();  // of each slice's, among all
  firsts[0] = 0;
  parallel_for(n, kSlice, [&](int64_t begin, int64_t end) {
    firsts[begin / kSlice + 1] = kernels().count_true(mask + begin, end - begin);
  });
  for (int64_t i = 1; i <= slices; ++i) firsts[i] += firsts[i - 1];
  parallel_for(n, kSlice, [&](int64_t begin, int64_t end) {
    kernels().find_true(mask + begin, end - begin, begin, flat + firsts[begin / kSlice]);
  });
  if (shape.size() == 1) return;
  parallel_for(count, kMoveGrain / 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t at = flat[i];
      for (int axis = shape.size() - 1; axis > 0; --axis) {
        out[axis * count + i] = at % shape[axis];
        at /= shape[axis];
      }
      out[i] = at;
    }
  });
}

LANNER_RUN(OneHot) {
  const int64_t classes = r.out[0].shape().back(), n = r.in[0].size();
  ops::check_index("one_hot", r.in[0], 0, r.out[0].ndim() - 1, classes);
  zero_bytes(r.out[0].raw(), r.out[0].size() * static_cast<int64_t>(sizeof(int64_t)));
  const int64_t* index = r.in[0].data<int64_t>();
  int64_t* out = r.out[0].data<int64_t>();
  for (int64_t i = 0; i < n; ++i) out[i * classes + index[i]] = 1;
}

}  // namespace lanner
