#include "lanner/ops/join.h"

#include <variant>

#include "bindings.h"
#include "lanner/ops/shape.h"

namespace lanner::python {
namespace {

ops::PadMode pad_mode(const std::string& mode) {
  if (mode == "constant") return ops::PadMode::Constant;
  if (mode == "reflect") return ops::PadMode::Reflect;
  if (mode == "replicate") return ops::PadMode::Replicate;
  check(mode == "circular", "pad: mode must be \"constant\", \"reflect\", \"replicate\" or \"circular\", got \"", mode,
        "\"");
  return ops::PadMode::Circular;
}

}  // namespace

void bind_join(py::module_& m) {
  using namespace py::literals;
  m.def(
      "concat",
      [](const Tensors& arrays, std::optional<int64_t> axis) {
        if (axis) return ops::concat(arrays, *axis);
        Tensors flat;
        for (const Tensor& x : arrays) flat.push_back(ops::reshape(x, {-1}));
        return ops::concat(flat, 0);
      },
      "arrays"_a, "axis"_a = 0, NoGil(),
      R"(The arrays of a list, joined along ``axis``; with ``axis=None`` each is flattened first.

The other axes agree; the dtype is the one that all promote to.

>>> ln.concat([ln.tensor([[1, 2]]), ln.tensor([[3, 4], [5, 6]])]).tolist()
[[1, 2], [3, 4], [5, 6]]
)");
  m.def("stack", &ops::stack, "arrays"_a, "axis"_a = 0, NoGil(), R"(Arrays of one shape, joined along a new axis.

>>> ln.stack([ln.tensor([1, 2]), ln.tensor([3, 4])], axis=1).tolist()
[[1, 3], [2, 4]]
)");
  m.def(
      "split",
      [](const Tensor& x, const std::variant<int64_t, std::vector<int64_t>>& sizes, int64_t axis) {
        return std::visit([&](const auto& s) { return ops::split(x, s, axis); }, sizes);
      },
      "x"_a, "split_size_or_sections"_a, "axis"_a = 0, NoGil(),
      R"(Views of ``x``: pieces of one size (the last may be smaller), or of the sizes of a list.

>>> [p.tolist() for p in ln.split(ln.arange(5), 2)], [p.tolist() for p in ln.split(ln.arange(5), [1, 4])]
([[0, 1], [2, 3], [4]], [[0], [1, 2, 3, 4]])
)");
  m.def("chunk", &ops::chunk, "x"_a, "chunks"_a, "axis"_a = 0, NoGil(),
        R"(Views of ``x``: at most ``chunks`` pieces of equal size (the last may be smaller).

>>> [p.tolist() for p in ln.chunk(ln.arange(5), 2)]
[[0, 1, 2], [3, 4]]
)");
  m.def(
      "unstack",
      [](const Tensor& x, int64_t axis) {
        Tensors parts;
        {
          const GilRelease release;
          parts = ops::unstack(x, axis);
        }
        return py::tuple(py::cast(parts));
      },
      "x"_a, py::kw_only(), "axis"_a = 0, R"(Views of ``x``, one for each index of ``axis``, without that axis.

>>> [p.tolist() for p in ln.unstack(ln.tensor([[1, 2], [3, 4]]), axis=1)]
[[1, 3], [2, 4]]
)");
  m.def(
      "pad",
      [](const Tensor& x, const std::vector<int64_t>& pad, const std::string& mode, double value) {
        return ops::pad(x, pad, pad_mode(mode), value);
      },
      "x"_a, "pad"_a, "mode"_a = "constant", "value"_a = 0.0, NoGil(),
      R"(``x`` with elements added around it, as PyTorch counts: a pair for the last axis, one for the axis before, ...

``mode`` is "constant" (``value``), "reflect" (without the edge), "replicate" (the edge) or "circular". Negative numbers
crop.

>>> ln.pad(ln.tensor([[1, 2], [3, 4]]), (1, 0, 0, 1)).tolist()
[[0, 1, 2], [0, 3, 4], [0, 0, 0]]
>>> ln.pad(ln.tensor([1, 2, 3]), (2, 2), mode="reflect").tolist()
[3, 2, 1, 2, 3, 2, 1]
)");
  m.def(
      "flip",
      [](const Tensor& x, const std::optional<Dims>& axis) { return axis ? ops::flip(x, *axis) : ops::flip(x); }, "x"_a,
      "axis"_a = py::none(), NoGil(), R"(A view of ``x`` with the given axes (by default: all) in reverse order.

>>> ln.flip(ln.tensor([[1, 2], [3, 4]]), axis=1).tolist()
[[2, 1], [4, 3]]
)");
  m.def(
      "roll",
      [](const Tensor& x, const Dims& shift, const std::optional<Dims>& axis) {
        if (!axis) {
          check<ShapeError>(shift.size() == 1, "roll: ", shift.size(), " shifts, but no axes");
          return ops::roll(x, shift[0]);
        }
        // One shift serves every axis.
        return ops::roll(x, shift.size() == 1 ? Dims::filled(axis->size(), shift[0]) : shift, *axis);
      },
      "x"_a, "shift"_a, "axis"_a = py::none(), NoGil(),
      R"(``x`` moved on by ``shift`` along ``axis``; what leaves one end comes in at the other.

Without an axis, ``x`` is rolled as if read row by row.

>>> ln.roll(ln.tensor([1, 2, 3, 4]), 1).tolist()
[4, 1, 2, 3]
)");
  m.def(
      "repeat",
      [](const Tensor& x, const std::variant<int64_t, Tensor, std::vector<int64_t>>& repeats,
         std::optional<int64_t> axis) {
        const Tensor from = axis ? x : ops::reshape(x, {-1});
        const int64_t a = axis.value_or(0);
        if (const auto* n = std::get_if<int64_t>(&repeats)) return ops::repeat(from, *n, a);
        if (const auto* list = std::get_if<std::vector<int64_t>>(&repeats))
          return ops::repeat(from, Tensor::from_vector(*list, {static_cast<int64_t>(list->size())}), a);
        return ops::repeat(from, std::get<Tensor>(repeats), a);
      },
      "x"_a, "repeats"_a, py::kw_only(), "axis"_a = py::none(), NoGil(),
      R"(Each element along ``axis`` repeated, ``repeats`` times or as a list says for each of them.

Without an axis ``x`` is flattened first.

>>> ln.repeat(ln.tensor([1, 2]), 2).tolist(), ln.repeat(ln.tensor([1, 2]), [1, 3], axis=0).tolist()
([1, 1, 2, 2], [1, 2, 2, 2])
)");
  m.def("tile", &ops::tile, "x"_a, "repetitions"_a, NoGil(),
        R"(The whole of ``x``, ``repetitions[i]`` times along axis i, counted from the last.

>>> ln.tile(ln.tensor([1, 2]), (2, 2)).tolist()
[[1, 2, 1, 2], [1, 2, 1, 2]]
)");
  m.def("tril", &ops::tril, "x"_a, "k"_a = 0, NoGil(),
        R"(The matrices of the last two axes with zeros above the ``k``-th diagonal.

>>> ln.tril(ln.tensor([[1, 2], [3, 4]])).tolist()
[[1, 0], [3, 4]]
)");
  m.def("triu", &ops::triu, "x"_a, "k"_a = 0, NoGil(),
        R"(The matrices of the last two axes with zeros below the ``k``-th diagonal.

>>> ln.triu(ln.tensor([[1, 2], [3, 4]])).tolist()
[[1, 2], [0, 4]]
)");
  m.def("diagonal", &ops::diagonal, "x"_a, "offset"_a = 0, "axis1"_a = -2, "axis2"_a = -1, NoGil(),
        R"(The diagonal of two axes, as a new last axis: ``offset`` columns to the right of the main one.

>>> ln.diagonal(ln.tensor([[1, 2], [3, 4]])).tolist(), ln.diagonal(ln.tensor([[1, 2], [3, 4]]), 1).tolist()
([1, 4], [2])
)");
  m.def("trace", &ops::trace, "x"_a, "offset"_a = 0, NoGil(), R"(The sum of the diagonal of the last two axes.

>>> ln.trace(ln.tensor([[1, 2], [3, 4]])).item()
5
)");
}

}  // namespace lanner::python
