#include <algorithm>
#include <limits>

#include "cpu/dispatch.h"
#include "cpu/kernels/indexing.h"
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
struct BagSumAttrs {
  int64_t rows;     // of the result
  int64_t padding;  // the row of the table that is left out, or -1
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

// Rows of a table and of bags, joined by entries (row of the table, bag); a bag past the last one is none.
cpu::RowPairs pairs_of(const Tensor& from, const Tensor& from_index, int64_t from_none, const Tensor& to,
                       const Tensor& to_index, int64_t to_none) {
  const int64_t columns = from.shape()[1];
  return {from_index.data<int64_t>(),
          to_index.data<int64_t>(),
          from_index.size(),
          columns,
          columns,
          to.shape()[1],
          from_none,
          to_none};
}

const cpu::IndexKernels& kernels() { return *cpu::kernels().indexing; }
int float_entry(DType dtype) { return dtype == DType::Float64; }

// Cut between columns, in whole cache lines: writes to one place are in one piece, in the order of the entries.
void sum_columns(const Tensor& x, const Tensor& scale, const Tensor& y, const cpu::RowPairs& all) {
  const int64_t line = 64 / static_cast<int64_t>(itemsize(x.dtype())), lines = (all.columns + line - 1) / line;
  parallel_for(lines, 1 + kMoveGrain / (line * all.count), [&](int64_t begin, int64_t end) {
    cpu::RowPairs p = all;
    p.columns = std::min(end * line, all.columns) - begin * line;
    kernels().sum_rows[float_entry(x.dtype())](at(x, begin * line), scale.defined() ? scale.raw() : nullptr,
                                               at(y, begin * line), p);
  });
}

// Cut between entries: a bag, whose entries lie side by side, is in the piece in which it begins.
void sum_bags(const Tensor& x, const Tensor& scale, const Tensor& y, const cpu::RowPairs& all) {
  const auto begins_bag = [&](int64_t i) { return i == 0 || i == all.count || all.to[i] != all.to[i - 1]; };
  parallel_for(all.count, 1 + kMoveGrain / all.columns, [&](int64_t begin, int64_t end) {
    while (!begins_bag(begin)) ++begin;
    while (!begins_bag(end)) ++end;
    cpu::RowPairs p = all;
    p.from += begin, p.to += begin, p.count = end - begin;
    kernels().sum_rows[float_entry(x.dtype())](x.raw(), scale.defined() ? at(scale, begin) : nullptr, y.raw(), p);
  });
}

// bags [B, D] from a table [R, D].
void sum_into_bags(const Run& r, const Tensor& scale = {}) {
  constexpr int64_t kManyBags = 64;
  const Tensor &table = r.in[0], &index = r.in[1], &bag = r.in[2], &out = r.out[0];
  ops::check_index("embedding_bag", index, 0, 0, table.shape()[0]);
  zero_bytes(out.raw(), out.size() * static_cast<int64_t>(itemsize(out.dtype())));
  if (index.size() == 0 || out.size() == 0) return;
  const int64_t bags = out.shape()[0];
  const cpu::RowPairs pairs = pairs_of(table, index, r.attrs.get<BagSumAttrs>().padding, out, bag, bags);
  bags >= kManyBags ? sum_bags(table, scale, out, pairs) : sum_columns(table, scale, out, pairs);
}

// A table [R, D] from bags [B, D]: its transpose.
void spread_from_bags(const Run& r, const Tensor& scale = {}) {
  const Tensor &bags = r.in[0], &index = r.in[1], &bag = r.in[2], &out = r.out[0];
  ops::check_index("embedding_bag", index, 0, 0, out.shape()[0]);
  zero_bytes(out.raw(), out.size() * static_cast<int64_t>(itemsize(out.dtype())));
  if (index.size() == 0 || bags.size() == 0) return;
  const int64_t none = bags.shape()[0];
  sum_columns(bags, scale, out, pairs_of(bags, bag, none, out, index, r.attrs.get<BagSumAttrs>().padding));
}

}  // namespace

namespace ops {
namespace {

// [bags, D]: for each bag the sum of its rows of the table [R, D], times `scale` [N] where that is given. `index` and
// `bag` [N] say which row goes to which bag; bags ascend, and one past the last is none. Row `padding` is left out.
Tensor bag_sum(const Tensor& table, const Tensor& index, const Tensor& bag, const Tensor& scale, int64_t bags,
               int64_t padding) {
  const OutSpec out{{bags, table.shape()[1]}, table.dtype()};
  const BagSumAttrs attrs{bags, padding};
  if (!scale.defined()) return emit(Op::BagSum, {contiguous(table), index, bag}, attrs, out);
  return emit(Op::WeightedBagSum, {contiguous(table), index, bag, contiguous(scale)}, attrs, out);
}

// The other way, [rows, D]: for each row of the table the sum of the bags [B, D] that it went to.
Tensor bag_spread(const Tensor& bags, const Tensor& index, const Tensor& bag, const Tensor& scale, int64_t rows,
                  int64_t padding) {
  const OutSpec out{{rows, bags.shape()[1]}, bags.dtype()};
  const BagSumAttrs attrs{rows, padding};
  if (!scale.defined()) return emit(Op::BagSpread, {contiguous(bags), index, bag}, attrs, out);
  return emit(Op::WeightedBagSpread, {contiguous(bags), index, bag, contiguous(scale)}, attrs, out);
}

// [N]: the product of each entry's row and bag, 0 for those left out.
Tensor bag_dot(const Tensor& table, const Tensor& index, const Tensor& bag, const Tensor& bags, int64_t padding) {
  return emit(Op::BagDot, {contiguous(table), index, bag, contiguous(bags)}, BagSumAttrs{0, padding},
              {index.shape(), table.dtype()});
}

// [N]: the bag of each flat index; behind the last offset, the number of bags. And [B]: how many each bag has.
Tensors bag_ids(const Tensor& offsets, int64_t n, bool include_last) {
  check<ShapeError>(offsets.ndim() == 1, "embedding_bag: offsets must have 1 dimension, got shape ", offsets.shape());
  const int64_t count = offsets.size();
  check<ShapeError>(!include_last || count > 0, "embedding_bag: include_last_offset expects at least 1 offset");
  check<ShapeError>(count > 0 || n == 0, "embedding_bag: offsets must begin with 0, got none");
  const Tensor in = as_index("embedding_bag", "offsets", offsets);
  const OutSpec out[] = {{{n}, DType::Int64}, {{count - include_last}, DType::Int64}};
  return emit(Op::BagIds, std::span(&in, 1), BagAttrs{include_last}, out);
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
  check<ShapeError>(weight.ndim() == 2, "embedding_bag: weight must have shape [rows, features], got ", weight.shape());
  const int64_t padding = options.padding_idx, rows = weight.shape()[0];
  check<ShapeError>(padding < rows, "embedding_bag: padding_idx ", padding, " lies outside the ", rows,
                    " rows of weight");
  const Tensor index = as_index("embedding_bag", "indices", indices);
  Tensor kept, ids, lengths;  // undefined: all are kept; each bag is a row of indices
  if (padding >= 0) kept = not_equal(index, Tensor::weak(padding));
  int64_t count = indices.shape()[0];
  if (offsets.defined()) {
    count = offsets.size() - options.include_last_offset;
    Tensors bags = bag_ids(offsets, index.size(), options.include_last_offset);
    ids = std::move(bags[0]), lengths = std::move(bags[1]);
  }

  if (mode == BagMode::Max) {
    const Tensor taken = embedding(weight, index, padding);
    if (!kept.defined()) kept = ones(index.shape(), DType::Bool);
    return ids.defined() ? flat_bag_max(taken, ids, kept, count) : bag_max(taken, kept);
  }

  if (!ids.defined()) {
    const Tensor numbers = expand_dims(arange(int64_t{0}, count, int64_t{1}, DType::Int64), -1);
    ids = reshape(contiguous(broadcast_to(numbers, index.shape())), {-1});
  }
  // One bag more takes what lies behind the last offset.
  const auto by_bag = [&](const Tensor& x) { return narrow(take_grad(x, ids, 0, count + 1), 0, 0, count); };
  const DType dtype = weight.dtype();
  const Tensor scale = per_sample_weights.defined() ? reshape(per_sample_weights, {-1}) : Tensor();
  Tensor total;
  if ((dtype == DType::Float32 || dtype == DType::Float64) && (!scale.defined() || scale.dtype() == dtype)) {
    total = bag_sum(weight, reshape(index, {-1}), ids, scale, count, padding);
  } else {
    Tensor taken = embedding(weight, reshape(index, {-1}), padding);
    if (scale.defined()) taken = taken * expand_dims(scale, -1);
    if (kept.defined()) taken = taken * cast(reshape(kept, {-1, 1}), dtype);
    total = by_bag(taken);
  }
  if (mode == BagMode::Sum) return total;
  if (!kept.defined() && !lengths.defined())
    return total / Tensor::weak(static_cast<double>(std::max<int64_t>(1, index.shape()[1])));
  const Tensor counts = kept.defined() ? by_bag(cast(reshape(kept, {-1}), dtype)) : cast(lengths, dtype);
  return total / expand_dims(maximum(counts, Tensor::weak(1.0)), -1);
}

}  // namespace ops

LANNER_RUN(BagIds) {
  const int64_t n = r.out[0].size(), offsets = r.in[0].size();
  const int64_t count = offsets - r.attrs.get<BagAttrs>().include_last;
  const int64_t* at = r.in[0].data<int64_t>();
  int64_t *ids = r.out[0].data<int64_t>(), *lengths = r.out[1].data<int64_t>();
  if (offsets > 0) check<ShapeError>(at[0] == 0, "embedding_bag: offsets must begin with 0, got ", at[0]);
  for (int64_t b = 0; b < count; ++b) {
    const int64_t start = at[b], end = b + 1 < offsets ? at[b + 1] : n;
    check<IndexError>(start <= end && end <= n, "embedding_bag: bag ", b, " from ", start, " to ", end,
                      " does not lie within ", n, " indices");
    std::fill(ids + start, ids + end, b);
    lengths[b] = end - start;
  }
  if (count < offsets) std::fill(ids + at[count], ids + n, count);
}

LANNER_RUN(BagSum) { sum_into_bags(r); }

LANNER_VJP(BagSum) {
  const int64_t rows = v.in[0].shape()[0], padding = v.attrs.get<BagSumAttrs>().padding;
  return {ops::bag_spread(v.g[0], v.in[1], v.in[2], {}, rows, padding), Tensor(), Tensor()};
}

LANNER_RUN(BagSpread) { spread_from_bags(r); }

LANNER_VJP(BagSpread) {
  const int64_t bags = v.in[0].shape()[0], padding = v.attrs.get<BagSumAttrs>().padding;
  return {ops::bag_sum(v.g[0], v.in[1], v.in[2], {}, bags, padding), Tensor(), Tensor()};
}

LANNER_RUN(WeightedBagSum) { sum_into_bags(r, r.in[3]); }

LANNER_VJP(WeightedBagSum) {
  const Tensor &table = v.in[0], &index = v.in[1], &bag = v.in[2], &scale = v.in[3];
  const int64_t padding = v.attrs.get<BagSumAttrs>().padding;
  return {v.needs(0) ? ops::bag_spread(v.g[0], index, bag, scale, table.shape()[0], padding) : Tensor(), Tensor(),
          Tensor(), v.needs(3) ? ops::bag_dot(table, index, bag, v.g[0], padding) : Tensor()};
}

LANNER_RUN(WeightedBagSpread) { spread_from_bags(r, r.in[3]); }

LANNER_VJP(WeightedBagSpread) {
  const Tensor &bags = v.in[0], &index = v.in[1], &bag = v.in[2], &scale = v.in[3];
  const int64_t padding = v.attrs.get<BagSumAttrs>().padding;
  return {v.needs(0) ? ops::bag_sum(v.g[0], index, bag, scale, bags.shape()[0], padding) : Tensor(), Tensor(), Tensor(),
          v.needs(3) ? ops::bag_dot(v.g[0], index, bag, bags, padding) : Tensor()};
}

LANNER_RUN(BagDot) {
  const Tensor &table = r.in[0], &index = r.in[1], &bag = r.in[2], &bags = r.in[3];
  ops::check_index("embedding_bag", index, 0, 0, table.shape()[0]);
  const int64_t none = bags.shape()[0];
  const cpu::RowPairs all = pairs_of(table, index, r.attrs.get<BagSumAttrs>().padding, bags, bag, none);
  parallel_for(all.count, 1 + kMoveGrain / std::max<int64_t>(1, all.columns), [&](int64_t begin, int64_t end) {
    cpu::RowPairs p = all;
    p.from += begin, p.to += begin, p.count = end - begin;
    kernels().dot_rows[float_entry(table.dtype())](table.raw(), bags.raw(), at(r.out[0], begin), p);
  });
}

LANNER_VJP(BagDot) {
  const Tensor &table = v.in[0], &index = v.in[1], &bag = v.in[2], &bags = v.in[3];
  const int64_t padding = v.attrs.get<BagSumAttrs>().padding;
  return {v.needs(0) ? ops::bag_spread(bags, index, bag, v.g[0], table.shape()[0], padding) : Tensor(), Tensor(),
          Tensor(), v.needs(3) ? ops::bag_sum(table, index, bag, v.g[0], bags.shape()[0], padding) : Tensor()};
}

LANNER_RUN(BagArgmax) {
  if (r.in[0].dtype() == DType::Float64)
    bag_argmax<double, int64_t>(r.in[0], r.in[1], r.in[2], r.out[0]);
  else
    bag_argmax<float, int32_t>(r.in[0], r.in[1], r.in[2], r.out[0]);
}

}  // namespace lanner
