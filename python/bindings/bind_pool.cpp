#include <variant>

#include "bindings.h"
#include "lanner/ops/pool.h"

namespace lanner::python {
namespace {

// A size, or sizes of which None means that of x.
using OutputSize = std::variant<int64_t, std::vector<std::optional<int64_t>>>;

Dims output_size_of(const OutputSize& size) {
  if (const int64_t* one = std::get_if<int64_t>(&size)) return {*one};
  Dims all;
  for (const auto& n : std::get<std::vector<std::optional<int64_t>>>(size)) all.push_back(n.value_or(-1));
  return all;
}

template <class Result>
using MaxPool = Result (*)(const Tensor&, const Dims&, const Dims&, const Dims&, const Dims&, bool);
void bind_max_pool(py::module_& m, const char* name, MaxPool<Tensor> f, MaxPool<ops::Pooled> with_indices,
                   const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f, with_indices](const Tensor& x, const Dims& kernel_size, const std::optional<Dims>& stride,
                        const Dims& padding, const Dims& dilation, bool ceil_mode,
                        bool return_indices) -> std::variant<Tensor, ops::Pooled> {
        const Dims step = stride.value_or(Dims());
        if (return_indices) return with_indices(x, kernel_size, step, padding, dilation, ceil_mode);
        return f(x, kernel_size, step, padding, dilation, ceil_mode);
      },
      "x"_a, "kernel_size"_a, "stride"_a = py::none(), "padding"_a = 0, "dilation"_a = 1, "ceil_mode"_a = false,
      "return_indices"_a = false, NoGil(), doc);
}

using AvgPool = Tensor (*)(const Tensor&, const Dims&, const Dims&, const Dims&, bool, bool);
void bind_avg_pool(py::module_& m, const char* name, AvgPool f, const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f](const Tensor& x, const Dims& kernel_size, const std::optional<Dims>& stride, const Dims& padding,
          bool ceil_mode, bool count_include_pad) {
        return f(x, kernel_size, stride.value_or(Dims()), padding, ceil_mode, count_include_pad);
      },
      "x"_a, "kernel_size"_a, "stride"_a = py::none(), "padding"_a = 0, "ceil_mode"_a = false,
      "count_include_pad"_a = true, NoGil(), doc);
}

using AdaptiveMaxPool = ops::Pooled (*)(const Tensor&, const Dims&);
void bind_adaptive_max_pool(py::module_& m, const char* name, AdaptiveMaxPool f, const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f](const Tensor& x, const OutputSize& output_size, bool return_indices) -> std::variant<Tensor, ops::Pooled> {
        const ops::Pooled pooled = f(x, output_size_of(output_size));
        if (return_indices) return pooled;
        return pooled.first;
      },
      "x"_a, "output_size"_a, "return_indices"_a = false, NoGil(), doc);
}

}  // namespace

void bind_pool(py::module_& m) {
  using namespace py::literals;
  bind_max_pool(m, "max_pool1d", &ops::max_pool1d, &ops::max_pool1d_with_indices,
                R"(The largest element of each window of the last axis of ``x`` [N, C, L].

Options as those of ``max_pool2d``.

>>> ln.max_pool1d(ln.tensor([[[1.0, 3.0, 2.0, 5.0]]]), 2).tolist()
[[[3.0, 5.0]]]
)");
  bind_max_pool(m, "max_pool2d", &ops::max_pool2d, &ops::max_pool2d_with_indices,
                R"(The largest element of each window of the last two axes of ``x`` [N, C, H, W].

``stride`` is ``kernel_size`` unless given. Output height is
``(H + 2*padding - dilation*(kernel_size-1) - 1) / stride + 1``, rounded down, or up with ``ceil_mode``; padding never
wins. With ``return_indices``, also where each element lies in its H x W plane.

>>> x = ln.reshape(ln.arange(16, dtype=ln.float32), (1, 1, 4, 4))
>>> ln.max_pool2d(x, 2).tolist()
[[[[5.0, 7.0], [13.0, 15.0]]]]
>>> ln.max_pool2d(x, 2, return_indices=True)[1].tolist()
[[[[5, 7], [13, 15]]]]
)");
  bind_avg_pool(m, "avg_pool1d", &ops::avg_pool1d, R"(The mean of each window of the last axis of ``x`` [N, C, L].

Options as those of ``avg_pool2d``.

>>> ln.avg_pool1d(ln.tensor([[[1.0, 3.0, 2.0, 6.0]]]), 2).tolist()
[[[2.0, 4.0]]]
)");
  bind_avg_pool(m, "avg_pool2d", &ops::avg_pool2d,
                R"(The mean of each window of the last two axes of ``x`` [N, C, H, W].

Sizes as those of ``max_pool2d``. Padding counts as zeros, or with ``count_include_pad=False`` not at all.

>>> ln.avg_pool2d(ln.ones((1, 1, 4, 4)), 2, padding=1).tolist()
[[[[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]]]
)");
  m.def(
      "adaptive_avg_pool1d",
      [](const Tensor& x, const OutputSize& output_size) {
        return ops::adaptive_avg_pool1d(x, output_size_of(output_size));
      },
      "x"_a, "output_size"_a, NoGil(),
      R"(The mean of each of ``output_size`` windows over the last axis of ``x`` [N, C, L].

>>> ln.adaptive_avg_pool1d(ln.tensor([[[1.0, 2.0, 6.0]]]), 1).tolist()
[[[3.0]]]
)");
  m.def(
      "adaptive_avg_pool2d",
      [](const Tensor& x, const OutputSize& output_size) {
        return ops::adaptive_avg_pool2d(x, output_size_of(output_size));
      },
      "x"_a, "output_size"_a, NoGil(),
      R"(The mean of windows such that the last two axes of ``x`` become ``output_size``.

Output i of n covers ``floor(i * H / n)`` to ``ceil((i + 1) * H / n)``. None in ``output_size`` keeps that axis.

>>> ln.adaptive_avg_pool2d(ln.ones((2, 3, 7, 5)), (1, None)).shape
(2, 3, 1, 5)
)");
  bind_adaptive_max_pool(
      m, "adaptive_max_pool1d", &ops::adaptive_max_pool1d_with_indices,
      R"(The largest element of each of ``output_size`` windows over the last axis of ``x`` [N, C, L].

>>> ln.adaptive_max_pool1d(ln.tensor([[[1.0, 2.0, 6.0]]]), 2).tolist()
[[[2.0, 6.0]]]
)");
  bind_adaptive_max_pool(m, "adaptive_max_pool2d", &ops::adaptive_max_pool2d_with_indices,
                         R"(The largest element of windows such that the last two axes of ``x`` become ``output_size``.

Windows as those of ``adaptive_avg_pool2d``; indices as those of ``max_pool2d``.

>>> ln.adaptive_max_pool2d(ln.ones((2, 3, 7, 5)), 2).shape
(2, 3, 2, 2)
)");
  m.def(
      "upsample",
      [](const Tensor& x, const std::optional<Dims>& size,
         const std::optional<std::variant<double, std::vector<double>>>& scale_factor, const std::string& mode,
         bool align_corners) {
        std::vector<double> factors;
        if (scale_factor) {
          if (const double* one = std::get_if<double>(&*scale_factor))
            factors = {*one};
          else
            factors = std::get<std::vector<double>>(*scale_factor);
        }
        return ops::upsample(x, size.value_or(Dims()), factors, mode, align_corners);
      },
      "x"_a, "size"_a = py::none(), "scale_factor"_a = py::none(), "mode"_a = "nearest", "align_corners"_a = false,
      NoGil(), R"(Resizes the spatial axes of ``x`` [N, C, L] or [N, C, H, W] to ``size`` or by ``scale_factor``.

``mode`` is ``"nearest"``, ``"linear"`` (of [N, C, L]) or ``"bilinear"`` (of [N, C, H, W]). With ``align_corners`` the
outer elements keep their places; without, elements are areas and it is the outer edges that do.

>>> ln.upsample(ln.tensor([[[1.0, 2.0]]]), scale_factor=2).tolist()
[[[1.0, 1.0, 2.0, 2.0]]]
>>> ln.upsample(ln.tensor([[[0.0, 3.0]]]), size=4, mode="linear", align_corners=True).tolist()
[[[0.0, 1.0, 2.0, 3.0]]]
)");
}

}  // namespace lanner::python
