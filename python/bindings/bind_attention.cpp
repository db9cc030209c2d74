#include "bindings.h"
#include "lanner/ops/attention.h"

namespace lanner::python {

void bind_attention(py::module_& m) {
  using namespace py::literals;
  m.def(
      "scaled_dot_product_attention",
      [](const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& mask,
         double dropout_p, bool is_causal, std::optional<double> scale, bool enable_gqa) {
        return ops::scaled_dot_product_attention(query, key, value, mask.value_or(Tensor()), dropout_p, is_causal,
                                                 scale, enable_gqa);
      },
      "query"_a, "key"_a, "value"_a, "attn_mask"_a = py::none(), "dropout_p"_a = 0.0, "is_causal"_a = false,
      "scale"_a = py::none(), "enable_gqa"_a = false, NoGil(),
      R"(``softmax(scale * query key^T + attn_mask) value``, without the matrix of weights in memory.

Of Vaswani et al. 2017, block by block as Dao et al. 2022 do. ``query`` [..., L, E], ``key`` [..., S, E], ``value``
[..., S, Ev]; ``scale`` is ``1 / sqrt(E)`` if not given. ``attn_mask`` broadcasts to [..., L, S]: bool, True where a query
may look at a key, or floating, added to the products. With ``is_causal`` query i looks at keys 0 to i only. A query that may
look at no key gives zeros. ``dropout_p`` drops weights, whenever it is not 0. With ``enable_gqa`` query may have a multiple of
the heads (axis -3) of key and value.

>>> x = ln.ones((2, 3))
>>> ln.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).tolist()
[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
)");
}

}  // namespace lanner::python
