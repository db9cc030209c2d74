#include "bindings.h"
#include "lanner/ops/norm.h"

namespace lanner::python {
namespace {

using Optional = std::optional<Tensor>;
Tensor or_none(const Optional& t) { return t.value_or(Tensor()); }

}  // namespace

void bind_norm(py::module_& m) {
  using namespace py::literals;
  m.def("softmax", &ops::softmax, "x"_a, "axis"_a = -1, NoGil(),
        R"(``exp(x) / sum(exp(x))`` along ``axis``, which does not overflow.

>>> ln.softmax(ln.tensor([1000.0, 1000.0])).tolist()
[0.5, 0.5]
)");
  m.def("log_softmax", &ops::log_softmax, "x"_a, "axis"_a = -1, NoGil(),
        R"(The logarithm of ``softmax``, exact where that is tiny.

>>> ln.log_softmax(ln.tensor([0.0, -1000.0])).tolist()
[0.0, -1000.0]
)");
  m.def(
      "layer_norm",
      [](const Tensor& x, const Dims& shape, const Optional& weight, const Optional& bias, double eps) {
        return ops::layer_norm(x, shape, or_none(weight), or_none(bias), eps);
      },
      "x"_a, "normalized_shape"_a, "weight"_a = py::none(), "bias"_a = py::none(), "eps"_a = 1e-5, NoGil(),
      R"(``(x - mean) / sqrt(var + eps) * weight + bias`` over the last axes, of sizes ``normalized_shape``.

That is also the shape of ``weight`` and ``bias``.

>>> ln.layer_norm(ln.tensor([[1.0, 3.0]]), 2, eps=0.0).tolist()
[[-1.0, 1.0]]
)");
  m.def(
      "rms_norm",
      [](const Tensor& x, const Dims& shape, const Optional& weight, std::optional<double> eps) {
        return ops::rms_norm(x, shape, or_none(weight), eps);
      },
      "x"_a, "normalized_shape"_a, "weight"_a = py::none(), "eps"_a = py::none(), NoGil(),
      R"(``x / sqrt(mean(x**2) + eps) * weight`` over the last axes, of sizes ``normalized_shape``.

``eps`` is by default the distance from 1 to the next number of the dtype.

>>> ln.rms_norm(ln.tensor([[3.0, -3.0]]), 2, eps=0.0).tolist()
[[1.0, -1.0]]
)");
  m.def(
      "group_norm",
      [](const Tensor& x, int64_t groups, const Optional& weight, const Optional& bias, double eps) {
        return ops::group_norm(x, groups, or_none(weight), or_none(bias), eps);
      },
      "x"_a, "num_groups"_a, "weight"_a = py::none(), "bias"_a = py::none(), "eps"_a = 1e-5, NoGil(),
      R"(Normalizes each of ``num_groups`` groups of neighbouring channels of ``x`` [N, C, ...], sample by sample.

``weight`` and ``bias`` are [C].

>>> ln.group_norm(ln.tensor([[[1.0, 3.0], [2.0, 6.0]]]), 2, eps=0.0).tolist()
[[[-1.0, 1.0], [-1.0, 1.0]]]
)");
  m.def(
      "batch_norm",
      [](const Tensor& x, const Optional& running_mean, const Optional& running_var, const Optional& weight,
         const Optional& bias, bool training, double momentum, double eps) {
        return ops::batch_norm(x, or_none(running_mean), or_none(running_var), or_none(weight), or_none(bias), training,
                               momentum, eps);
      },
      "x"_a, "running_mean"_a, "running_var"_a, "weight"_a = py::none(), "bias"_a = py::none(), "training"_a = false,
      "momentum"_a = 0.1, "eps"_a = 1e-5, NoGil(),
      R"(Normalizes each channel of ``x`` [N, C] or [N, C, ...] over all other axes.

In training by the mean and variance of the batch; the running ones then move by ``momentum`` towards them, in place (the
variance without bias). Otherwise by the running ones, which may be None only in training. The others are [C] or None.

>>> ln.batch_norm(ln.tensor([[1.0], [3.0]]), None, None, training=True, eps=0.0).tolist()
[[-1.0], [1.0]]
)");
}

}  // namespace lanner::python
