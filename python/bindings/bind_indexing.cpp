#include "lanner/ops/indexing.h"

#include "bindings.h"
#include "lanner/ops/shape.h"

namespace lanner::python {
namespace {

py::tuple to_tuple(const Tensors& tensors) {
  py::tuple out(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) out[i] = py::cast(tensors[i]);
  return out;
}

ops::BagMode bag_mode(const std::string& mode) {
  if (mode == "sum") return ops::BagMode::Sum;
  if (mode == "mean") return ops::BagMode::Mean;
  check(mode == "max", "embedding_bag: mode must be \"sum\", \"mean\" or \"max\", got \"", mode, "\"");
  return ops::BagMode::Max;
}

// PyTorch lets a negative padding_idx count from the last row.
int64_t padding_row(const char* op, std::optional<int64_t> padding_idx, const Tensor& weight) {
  if (!padding_idx) return -1;
  const int64_t rows = weight.ndim() > 0 ? weight.shape()[0] : 0;
  check<IndexError>(*padding_idx >= -rows && *padding_idx < rows, op, ": padding_idx ", *padding_idx,
                    " lies outside the ", rows, " rows of weight");
  return *padding_idx < 0 ? *padding_idx + rows : *padding_idx;
}

}  // namespace

void bind_indexing(py::module_& m) {
  using namespace py::literals;
  m.def("gather", &ops::gather, "x"_a, "index"_a, "axis"_a, NoGil(),
        R"(Elements of ``x`` picked along ``axis`` by ``index``, which has as many dimensions as ``x``.

``out[i][j][k] = x[i][index[i][j][k]][k]`` for axis 1 of 3. Raises IndexError for an index outside the axis.

>>> ln.gather(ln.tensor([[1, 2], [3, 4]]), ln.tensor([[0, 0], [1, 0]]), 1).tolist()
[[1, 1], [4, 3]]
)");
  m.def("take_along_axis", &ops::take_along_axis, "x"_a, "indices"_a, py::kw_only(), "axis"_a = -1, NoGil(),
        R"(Elements of ``x`` picked along ``axis``; the other axes of ``x`` and ``indices`` are broadcast.

>>> x = ln.tensor([[3, 1, 2], [5, 6, 4]])
>>> ln.take_along_axis(x, ln.argsort(x)).tolist()
[[1, 2, 3], [4, 5, 6]]
)");
  m.def(
      "scatter",
      [](const Tensor& x, const Tensor& index, const Operand& src, int64_t axis) {
        return ops::scatter(x, index, src, axis);
      },
      "x"_a, "index"_a, "src"_a, "axis"_a, NoGil(),
      R"(A copy of ``x`` with ``src`` (a tensor or a number) written at ``index`` along ``axis``.

``out[i][index[i][j][k]][k] = src[i][j][k]`` for axis 1 of 3; of several writes to one place the last wins.

>>> ln.scatter(ln.zeros((2, 3)), ln.tensor([[2], [0]]), 1.0, 1).tolist()
[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
)");
  m.def(
      "scatter_add",
      [](const Tensor& x, const Tensor& index, const Operand& src, int64_t axis) {
        return ops::scatter_add(x, index, src, axis);
      },
      "x"_a, "index"_a, "src"_a, "axis"_a, NoGil(),
      R"(A copy of ``x`` with ``src`` (a tensor or a number) added at ``index`` along ``axis``.

``out[i][index[i][j][k]][k] += src[i][j][k]`` for axis 1 of 3, in the order of the indices.

>>> ln.scatter_add(ln.zeros(3), ln.tensor([2, 0, 2]), ln.tensor([1.0, 2.0, 3.0]), 0).tolist()
[2.0, 0.0, 4.0]
)");
  m.def(
      "take",
      [](const Tensor& x, const Tensor& indices, std::optional<int64_t> axis) {
        return axis ? ops::take(x, indices, *axis) : ops::take(ops::reshape(x, {-1}), indices, 0);
      },
      "x"_a, "indices"_a, py::kw_only(), "axis"_a = py::none(), NoGil(),
      R"(Slices of ``x`` along ``axis``: the result has the axes of ``indices`` in place of that axis.

Without an axis, elements of ``x`` read row by row. Negative indices count from the end.

>>> ln.take(ln.tensor([[1, 2, 3], [4, 5, 6]]), ln.tensor([2, 0]), axis=1).tolist()
[[3, 1], [6, 4]]
)");
  m.def(
      "embedding",
      [](const Tensor& input, const Tensor& weight, std::optional<int64_t> padding_idx) {
        return ops::embedding(weight, input, padding_row("embedding", padding_idx, weight));
      },
      "input"_a, "weight"_a, "padding_idx"_a = py::none(), NoGil(),
      R"(The rows of ``weight`` [V, D] that ``input`` names: [..., D]. Row ``padding_idx`` gets no gradient.

>>> ln.embedding(ln.tensor([2, 0]), ln.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).tolist()
[[5.0, 6.0], [1.0, 2.0]]
)");
  m.def(
      "embedding_bag",
      [](const Tensor& input, const Tensor& weight, const std::optional<Tensor>& offsets, const std::string& mode,
         const std::optional<Tensor>& per_sample_weights, bool include_last_offset,
         std::optional<int64_t> padding_idx) {
        const ops::BagOptions options{bag_mode(mode), include_last_offset,
                                      padding_row("embedding_bag", padding_idx, weight)};
        return ops::embedding_bag(weight, input, offsets.value_or(Tensor()), per_sample_weights.value_or(Tensor()),
                                  options);
      },
      "input"_a, "weight"_a, "offsets"_a = py::none(), "mode"_a = "mean", "per_sample_weights"_a = py::none(),
      "include_last_offset"_a = false, "padding_idx"_a = py::none(), NoGil(),
      R"(The sum, mean or maximum of rows of ``weight`` [V, D] over bags of indices: [B, D].

``input`` is [B, N], or [N] cut where ``offsets`` [B] says that each bag begins. ``per_sample_weights``, of the shape of
``input``, scale the rows (mode "sum" only). An empty bag gives zeros; indices ``padding_idx`` are left out.

>>> weight = ln.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
>>> ln.embedding_bag(ln.tensor([0, 1, 2]), weight, ln.tensor([0, 2]), mode="sum").tolist()
[[4.0, 6.0], [5.0, 6.0]]
)");
  m.def(
      "index_put",
      [](const Tensor& x, const std::vector<std::optional<Tensor>>& indices, const Operand& value, bool accumulate) {
        Tensors given;
        for (const auto& i : indices) given.push_back(i.value_or(Tensor()));
        return ops::index_put(x, given, value, accumulate);
      },
      "x"_a, "indices"_a, "value"_a, "accumulate"_a = false, NoGil(),
      R"(A copy of ``x`` in which ``x[indices]`` is ``value``, or, with ``accumulate``, has it added once for each index.

``indices`` holds one tensor for each axis (integers, or bool), None for all of an axis.

>>> ln.index_put(ln.zeros((2, 3)), (ln.tensor([0, 1]), ln.tensor([2, 0])), 1.0).tolist()
[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
)");
  m.def(
      "nonzero",
      [](const Tensor& x) {
        Tensors out;
        {
          const GilRelease release;
          out = ops::nonzero(x);
        }
        return to_tuple(out);
      },
      "x"_a, R"(For each axis of ``x``, the indices of the elements that are not 0.

>>> [i.tolist() for i in ln.nonzero(ln.tensor([[0, 5], [7, 0]]))]
[[0, 1], [1, 0]]
)");
  m.def("one_hot", &ops::one_hot, "x"_a, "num_classes"_a = -1, NoGil(),
        R"(int64 ``x.shape + (num_classes,)``: 1 where the last index is the value of ``x``, else 0.

-1 makes as many classes as the largest value needs.

>>> ln.one_hot(ln.tensor([1, 0]), 3).tolist()
[[0, 1, 0], [1, 0, 0]]
)");
}

}  // namespace lanner::python
