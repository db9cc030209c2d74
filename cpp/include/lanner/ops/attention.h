#pragma once

#include <optional>

#include "lanner/tensor.h"

namespace lanner::ops {

// softmax(scale * query key^T + mask) value, computed block by block: no matrix of L x S is kept.
//
// query [..., L, E], key [..., S, E], value [..., S, Ev]; the axes before broadcast. `mask` broadcasts to [..., L, S]: bool,
// true where a query may look at a key, or of the dtype of query, added before the softmax; or undefined. `causal`: query
// i looks at keys up to i only. A query that may look at no key gives zeros. `dropout_p`: each weight is dropped with that
// probability, the others divided by 1 - dropout_p. `scale` is 1 / sqrt(E) by default. `grouped`: axis -3 of query may be
// a multiple of that of key and value, whose heads are then shared by as many neighbours (grouped-query attention).
Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const Tensor& mask = {}, double dropout_p = 0.0, bool causal = false,
                                    std::optional<double> scale = {}, bool grouped = false);

}  // namespace lanner::ops
