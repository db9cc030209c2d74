#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "lanner/ops/elementwise.h"
#include "lanner/ops/indexing.h"
#include "lanner/ops/reduce.h"
#include "lanner/ops/shape.h"
#include "ops/indexing.h"
#include "ops/op.h"

namespace lanner::ops {
namespace {

// Where flat indices are cut: bag b is [starts[b], ends[b]).
struct Bags {
  std::vector<int64_t> starts, ends;
  int64_t count() const { return static_cast<int64_t>(ends.size()); }
};

Bags cut(const Tensor& offsets, int64_t n, bool include_last) {
  check<ShapeError>(offsets.ndim() == 1, "embedding_bag: offsets must have 1 dimension, got shape ", offsets.shape());
  const Tensor index = as_index("embedding_bag", "offsets", offsets);
  offsets.will_read("embedding_bag: offsets");
  const int64_t* at = index.data<int64_t>();
  Bags bags{{at, at + index.size()}, {at + (index.size() > 0), at + index.size()}};
  check<ShapeError>(!include_last || index.size() > 0, "embedding_bag: include_last_offset expects at least 1 offset");
  check<ShapeError>(index.size() > 0 ? at[0] == 0 : n == 0, "embedding_bag: offsets must begin with 0, got ",
                    index.size() > 0 ? std::to_string(at[0]) : "none");
  if (include_last)
    bags.starts.pop_back();
  else if (index.size() > 0)
    bags.ends.push_back(n);
  for (size_t b = 0; b < bags.ends.size(); ++b)
    check<IndexError>(bags.starts[b] <= bags.ends[b] && bags.ends[b] <= n, "embedding_bag: bag ", b, " from ",
                      bags.starts[b], " to ", bags.ends[b], " does not lie within ", n, " indices");
  return bags;
}

// [N]: the bag of each index; behind the last offset, bags.count().
Tensor bag_ids(const Bags& bags, int64_t n) {
  std::vector<int64_t> ids(static_cast<size_t>(n), bags.count());
  for (size_t b = 0; b < bags.ends.size(); ++b)
    std::fill(ids.begin() + bags.starts[b], ids.begin() + bags.ends[b], static_cast<int64_t>(b));
  return Tensor::from_vector(ids, {n});
}

// [B, longest]: the places of each bag, and whether they are its own or only fill up.
std::pair<Tensor, Tensor> bag_matrix(const Bags& bags) {
  int64_t longest = 0;
  for (size_t b = 0; b < bags.ends.size(); ++b) longest = std::max(longest, bags.ends[b] - bags.starts[b]);
  const Tensor places = zeros({bags.count(), longest}, DType::Int64), own = zeros({bags.count(), longest}, DType::Bool);
  for (int64_t b = 0; b < bags.count(); ++b) {
    const int64_t start = bags.starts[static_cast<size_t>(b)], size = bags.ends[static_cast<size_t>(b)] - start;
    std::iota(places.data<int64_t>() + b * longest, places.data<int64_t>() + b * longest + size, start);
    std::fill_n(own.data<bool>() + b * longest, size, true);
  }
  return {places, own};
}

// The largest of each column of rows [B, N, D] where kept [B, N]; 0 where a bag keeps none. The gradient goes to the
// first of the largest.
Tensor bag_max(const Tensor& rows, const Tensor& kept) {
  if (rows.shape()[1] == 0) return zeros({rows.shape()[0], rows.shape()[2]}, rows.dtype());
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
    const auto [places, own] = bag_matrix(cut(offsets, index.size(), options.include_last_offset));
    if (index.size() == 0) return zeros({places.shape()[0], weight.shape()[1]}, weight.dtype());
    return bag_max(take(rows, places, 0), logical_and(own, take(kept, places, 0)));
  }

  if (per_sample_weights.defined()) rows = rows * expand_dims(per_sample_weights, -1);
  if (kept.defined()) rows = rows * expand_dims(ones_kept, -1);
  Tensor total, counts;
  if (offsets.defined()) {
    const Bags bags = cut(offsets, index.size(), options.include_last_offset);
    // One bag more takes what lies behind the last offset.
    const Tensor ids = bag_ids(bags, index.size());
    const auto by_bag = [&](const Tensor& x) {
      return narrow(take_grad(x, ids, 0, bags.count() + 1), 0, 0, bags.count());
    };
    total = by_bag(rows);
    if (mode == BagMode::Mean) counts = by_bag(ones_kept);
  } else {
    total = sum(rows, {1});
    if (mode == BagMode::Mean) counts = sum(ones_kept, {1});
  }
  if (mode == BagMode::Sum) return total;
  return total / expand_dims(maximum(counts, Tensor::weak(1.0)), -1);
}

}  // namespace lanner::ops
