#include <algorithm>
#include <limits>

#include "lanner/ops/elementwise.h"
#include "lanner/ops/indexing.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "lanner/parallel.h"
#include "ops/indexing.h"
#include "ops/op.h"

namespace lanner {
namespace {

struct BagAttrs {
  bool include_last;
};

// The larger of each column so far, and its place, with one row more; NaN is larger than all. T and Place have one
// width, so that compilers make vectors of it.
template <class T, class Place>
void take_larger(const T* row, Place i, int64_t width, T* largest, Place* places) {
  for (int64_t k = 0; k < width; ++k) {
    const bool larger = (row[k] > largest[k]) | ((row[k] != row[k]) & (largest[k] == largest[k]));
    largest[k] = larger ? row[k] : largest[k];
    places[k] = larger ? i : places[k];
  }
}

// places[b][d]: the row of bag b with the largest value of column d, the first of several, one of NaN before all
// others; -1 where the bag keeps no row. The rows of a bag lie side by side.
template <class T, class Place>
void bag_argmax(const Tensor& rows, const Tensor& ids, const Tensor& kept, const Tensor& places) {
  constexpr int64_t kColumns = 64;  // a known number of columns makes vectors without a remainder
  const int64_t n = rows.shape()[0], d = rows.shape()[1], bags = places.shape()[0];
  const int64_t* bag = ids.data<int64_t>();
  const bool* counted = kept.data<bool>();
  int64_t* out = places.data<int64_t>();
  std::fill(out, out + bags * d, int64_t{-1});
  const auto columns = [&](int64_t from, int64_t width) {
    T largest[kColumns];
    Place best[kColumns];
    const T* x = rows.data<T>() + from;
    for (int64_t i = 0; i < n;) {
      const int64_t b = bag[i];
      while (i < n && bag[i] == b && !counted[i]) ++i;
      if (b == bags) return;
      if (i == n || bag[i] != b) continue;
      std::copy(x + i * d, x + i * d + width, largest);
      std::fill(best, best + width, static_cast<Place>(i));
      for (++i; i < n && bag[i] == b; ++i) {
        if (!counted[i]) continue;
        if (width == kColumns)
          take_larger(x + i * d, static_cast<Place>(i), kColumns, largest, best);
        else
          take_larger(x + i * d, static_cast<Place>(i), width, largest, best);
      }
      std::copy(best, best + width, out + b * d + from);
    }
  };
  parallel_for((d + kColumns - 1) / kColumns, 1 + kMoveGrain / (kColumns * n), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) columns(c * kColumns, std::min(kColumns, d - c * kColumns));
  });
}

}  // namespace

namespace ops {
namespace {

// [N]: the bag of each flat index; behind the last offset, the number of bags.
Tensor bag_ids(const Tensor& offsets, int64_t n, bool include_last) {
  check<ShapeError>(offsets.ndim() == 1, "embedding_bag: offsets must have 1 dimension, got shape ", offsets.shape());
  const int64_t count = offsets.size();
  check<ShapeError>(!include_last || count > 0, "embedding_bag: include_last_offset expects at least 1 offset");
  check<ShapeError>(count > 0 || n == 0, "embedding_bag: offsets must begin with 0, got none");
  return emit(Op::BagIds, {as_index("embedding_bag", "offsets", offsets)}, BagAttrs{include_last}, {{n}, DType::Int64});
}

// The largest of each column of rows [N, D] in each bag, where kept [N]; 0 where a bag keeps none. The gradient goes to
// the first of the largest.
Tensor flat_bag_max(const Tensor& rows, const Tensor& ids, const Tensor& kept, int64_t count) {
  check<DTypeError>(is_floating(rows.dtype()), "embedding_bag: mode \"max\" expects a floating weight, got ",
                    dtype_name(rows.dtype()));
  const Shape shape{count, rows.shape()[1]};
  if (rows.shape()[0] == 0) return take_grad(rows, ids, 0, count);  // zeros that belong to the graph
  check<ShapeError>(rows.shape()[0] <= std::numeric_limits<int32_t>::max(),
                    "embedding_bag: mode \"max\" takes at most ", std::numeric_limits<int32_t>::max(), " indices, got ",
                    rows.shape()[0]);
  const Tensor wide = contiguous(is_half(rows.dtype()) ? cast(rows.detach(), DType::Float32) : rows.detach());
  const Tensor places = emit(Op::BagArgmax, {wide, ids, contiguous(kept)}, {}, {shape, DType::Int64});
  const Tensor best = gather(rows, maximum(places, Tensor::weak(0)), 0);
  return where(greater_equal(places, Tensor::weak(0)), best, Tensor::weak(0.0));
}

// The largest of each column of rows [B, N, D] where kept [B, N]; 0 where a bag keeps none. The gradient goes to the
// first of the largest.
Tensor bag_max(const Tensor& rows, const Tensor& kept) {
  if (rows.shape()[1] == 0) return sum(rows, {1});  // zeros that belong to the graph
  const Tensor mask = expand_dims(kept, -1);
  const Tensor candidates = where(mask, rows, Tensor::weak(-std::numeric_limits<double>::infinity()));
  const Tensor best = gather(candidates, argmax(candidates.detach(), 1, true), 1);
  return where(any(kept, {1}, true), squeeze(best, {1}), Tensor::weak(0.0));
}

}  // namespace

Tensor embedding(const Tensor& weight, const Tensor& indices, int64_t padding_idx) {
  check<ShapeError>(weight.ndim() == 2, "embedding: weight must have shape [rows, features], got ", weight.shape());
  check<ShapeError>(padding_idx < weight.shape()[0], "embedding: padding_idx ", padding_idx, " lies outside the ",
                    weight.shape()[0], " rows of weight");
  return take_rows(weight, as_index("embedding", "indices", indices), 0, TakeAs::Embedding, 0, padding_idx);
}

Tensor embedding_bag(const Tensor& weight, const Tensor& indices, const Tensor& offsets,
                     const Tensor& per_sample_weights, const BagOptions& options) {
  const BagMode mode = options.mode;
  check<ShapeError>(indices.ndim() == 2 ? !offsets.defined() : indices.ndim() == 1 && offsets.defined(),
                    "embedding_bag: expected indices [B, N], or flat indices [N] with offsets, got indices ",
                    indices.shape(), offsets.defined() ? " with offsets" : " without offsets");
  check<ShapeError>(!per_sample_weights.defined() || per_sample_weights.shape() == indices.shape(),
                    "embedding_bag: per_sample_weights must have the indices' shape ", indices.shape(), ", got ",
                    per_sample_weights.defined() ? per_sample_weights.shape() : Shape{});
  check(!per_sample_weights.defined() || mode == BagMode::Sum,
        "embedding_bag: per_sample_weights are taken with mode \"sum\" alone");
  const Tensor index = as_index("embedding_bag", "indices", indices);
  Tensor rows = embedding(weight, index, options.padding_idx);
  Tensor kept;  // undefined: all
  if (options.padding_idx >= 0) kept = not_equal(index, Tensor::weak(options.padding_idx));
  const Tensor ones_kept = kept.defined() ? cast(kept, weight.dtype()) : ones(index.shape(), weight.dtype());

  if (mode == BagMode::Max) {
    if (!kept.defined()) kept = ones(index.shape(), DType::Bool);
    if (!offsets.defined()) return bag_max(rows, kept);
    const Tensor ids = bag_ids(offsets, index.size(), options.include_last_offset);
    return flat_bag_max(rows, ids, kept, offsets.size() - options.include_last_offset);
  }

  if (per_sample_weights.defined()) rows = rows * expand_dims(per_sample_weights, -1);
  if (kept.defined()) rows = rows * expand_dims(ones_kept, -1);
  Tensor total, counts;
  if (offsets.defined()) {
    const Tensor ids = bag_ids(offsets, index.size(), options.include_last_offset);
    const int64_t count = offsets.size() - options.include_last_offset;
    // One bag more takes what lies behind the last offset.
    const auto by_bag = [&](const Tensor& x) { return narrow(take_grad(x, ids, 0, count + 1), 0, 0, count); };
    total = by_bag(rows);
    if (mode == BagMode::Mean) counts = by_bag(ones_kept);
  } else {
    total = sum(rows, {1});
    if (mode == BagMode::Mean) counts = sum(ones_kept, {1});
  }
  if (mode == BagMode::Sum) return total;
  return total / expand_dims(maximum(counts, Tensor::weak(1.0)), -1);
}

}  // namespace ops

LANNER_RUN(BagIds) {
  const int64_t n = r.out[0].size(), offsets = r.in[0].size();
  const int64_t count = offsets - r.attrs.get<BagAttrs>().include_last;
  const int64_t* at = r.in[0].data<int64_t>();
  int64_t* ids = r.out[0].data<int64_t>();
  if (offsets > 0) check<ShapeError>(at[0] == 0, "embedding_bag: offsets must begin with 0, got ", at[0]);
  for (int64_t b = 0; b < count; ++b) {
    const int64_t start = at[b], end = b + 1 < offsets ? at[b + 1] : n;
    check<IndexError>(start <= end && end <= n, "embedding_bag: bag ", b, " from ", start, " to ", end,
                      " does not lie within ", n, " indices");
    std::fill(ids + start, ids + end, b);
  }
  if (count < offsets) std::fill(ids + at[count], ids + n, count);
}

LANNER_RUN(BagArgmax) {
  if (r.in[0].dtype() == DType::Float64)
    bag_argmax<double, int64_t>(r.in[0], r.in[1], r.in[2], r.out[0]);
  else
    bag_argmax<float, int32_t>(r.in[0], r.in[1], r.in[2], r.out[0]);
}

}  // namespace lanner
