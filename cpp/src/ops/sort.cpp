#include "lanner/ops/sort.h"

#include <algorithm>
#include <limits>

#include "cpu/dispatch.h"
#include "cpu/kernels/sort.h"
#include "lanner/autodiff.h"
#include "lanner/ops/elementwise.h"
#include "lanner/ops/indexing.h"
#include "lanner/ops/join.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/indexing.h"
#include "ops/op.h"

namespace lanner {
namespace {

const cpu::SortKernels& kernels() { return *cpu::kernels().sort; }

struct SortAttrs {
  int axis;
  bool descending;
};
struct SearchAttrs {
  bool right;
};

// Elements of the lines of one slice: sorting one costs some 10 ns.
constexpr int64_t kSortGrain = 4096;

// Calls f(line, workspace) for each line of x along the axis, whose length in the outputs is k.
template <class F>
void for_lines(const Tensor& x, const Tensor& values, const Tensor& indices, int64_t k, const SortAttrs& a,
               size_t workspace_bytes, F f) {
  const AxisView v(x.shape(), a.axis);
  const int64_t item = static_cast<int64_t>(itemsize(x.dtype()));
  parallel_for(v.outer * v.inner, kSortGrain / std::max<int64_t>(1, v.size), [&](int64_t begin, int64_t end) {
    const Workspace workspace(workspace_bytes);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i / v.inner, k_offset = o * k * v.inner + i % v.inner;
      const cpu::SortLine line{
          .x = static_cast<const char*>(x.raw()) + (o * v.size * v.inner + i % v.inner) * item,
          .n = v.size,
          .x_stride = v.inner,
          .descending = a.descending,
          .values = values.defined() ? static_cast<char*>(values.raw()) + k_offset * item : nullptr,
          .indices = indices.defined() ? indices.data<int64_t>() + k_offset : nullptr,
          .out_stride = v.inner};
      f(line, workspace.data());
    }
  });
}

void run_sort(const Tensor& x, const Tensor& values, const Tensor& indices, const SortAttrs& a) {
  if (x.size() == 0) return;
  const int64_t n = x.shape()[a.axis];
  const size_t bytes = kernels().sort_workspace(n, static_cast<int64_t>(itemsize(x.dtype())), indices.defined());
  for_lines(x, values, indices, n, a, bytes,
            [&](const cpu::SortLine& line, void* workspace) { kernels().sort(x.dtype(), line, workspace); });
}

// Each cotangent back to where its value stood.
Tensors values_vjp(const Vjp& v) {
  if (!v.g[0].defined()) return {Tensor()};
  const int axis = v.attrs.get<SortAttrs>().axis;
  return {ops::scatter_into_zeros(v.in[0].shape(), v.out[1], v.g[0], axis, false)};
}

}  // namespace

namespace ops {

Tensor sort(const Tensor& x, int64_t axis, bool descending) {
  if (x.ndim() == 0) return reshape(sort(reshape(x, {1}), axis, descending), {});
  const int a = normalize_axis(axis, x.ndim(), "sort");
  // The indices are for the gradient.
  std::vector<OutSpec> out{{x.shape(), x.dtype()}};
  if (grad_enabled() && x.requires_grad()) out.push_back({x.shape(), DType::Int64});
  return emit(Op::Sort, Tensors{contiguous(x)}, SortAttrs{a, descending}, out)[0];
}

Tensor argsort(const Tensor& x, int64_t axis, bool descending) {
  if (x.ndim() == 0) return reshape(argsort(reshape(x, {1}), axis, descending), {});
  const int a = normalize_axis(axis, x.ndim(), "argsort");
  return emit(Op::Argsort, {contiguous(x)}, SortAttrs{a, descending}, {x.shape(), DType::Int64});
}

std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t axis, bool largest) {
  check<ShapeError>(x.ndim() > 0, "topk: x must have at least 1 dimension");
  const int a = normalize_axis(axis, x.ndim(), "topk");
  check<ShapeError>(k >= 0 && k <= x.shape()[a], "topk: k must lie within 0 and ", x.shape()[a], ", the size of axis ",
                    a, ", got ", k);
  Shape shape = x.shape();
  shape[a] = k;
  const std::vector<OutSpec> specs{{shape, x.dtype()}, {shape, DType::Int64}};
  Tensors out = emit(Op::TopK, Tensors{contiguous(x)}, SortAttrs{a, largest}, specs);
  return {out[0], out[1]};
}

Tensor unique_values(const Tensor& x) {
  const Tensor sorted = sort(reshape(x.detach(), {-1}), 0);
  const int64_t n = sorted.size();
  if (n < 2) return sorted;
  const Tensor differs = not_equal(narrow(sorted, 0, 1, n - 1), narrow(sorted, 0, 0, n - 1));
  return index(sorted, {concat({ones({1}, DType::Bool), differs}, 0)});
}

Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right) {
  check<ShapeError>(sorted.ndim() == 1, "searchsorted: the sorted array must have 1 dimension, got shape ",
                    sorted.shape());
  const Tensor v = values.is_weak() ? cast(values, sorted.dtype()) : values;
  const DType dtype = promote(sorted.dtype(), v.dtype());
  return emit(Op::SearchSorted, {contiguous(cast(sorted, dtype)), contiguous(cast(v, dtype))}, SearchAttrs{right},
              {v.shape(), DType::Int64});
}

}  // namespace ops

// Outputs: the values; the indices, where a gradient will be wanted.
LANNER_RUN(Sort) { run_sort(r.in[0], r.out[0], r.out.size() > 1 ? r.out[1] : Tensor(), r.attrs.get<SortAttrs>()); }
LANNER_VJP(Sort) { return values_vjp(v); }

LANNER_RUN(Argsort) { run_sort(r.in[0], Tensor(), r.out[0], r.attrs.get<SortAttrs>()); }

// Outputs: the values, the indices.
LANNER_RUN(TopK) {
  const auto& a = r.attrs.get<SortAttrs>();
  const Tensor &x = r.in[0], &values = r.out[0], &indices = r.out[1];
  const int64_t k = values.shape()[a.axis];
  if (values.size() == 0) return;
  const size_t bytes = kernels().topk_workspace(x.shape()[a.axis], k, static_cast<int64_t>(itemsize(x.dtype())));
  for_lines(x, values, indices, k, a, bytes,
            [&](const cpu::SortLine& line, void* workspace) { kernels().topk(x.dtype(), line, k, workspace); });
}
LANNER_VJP(TopK) { return values_vjp(v); }

LANNER_RUN(SearchSorted) {
  const Tensor &sorted = r.in[0], &values = r.in[1];
  const int64_t item = static_cast<int64_t>(itemsize(values.dtype()));
  parallel_for(values.size(), kMoveGrain / 16, [&](int64_t begin, int64_t end) {
    kernels().search(sorted.dtype(), sorted.raw(), sorted.size(), static_cast<const char*>(values.raw()) + begin * item,
                     end - begin, r.attrs.get<SearchAttrs>().right, r.out[0].data<int64_t>() + begin);
  });
}

}  // namespace lanner
