#include <variant>

#include "bindings.h"
#include "lanner/ops/conv.h"

namespace lanner::python {
namespace {

using PaddingArgument = std::variant<std::string, Dims>;

ops::Padding padding_of(const PaddingArgument& padding) {
  if (const auto* mode = std::get_if<std::string>(&padding)) return ops::Padding(*mode);
  return ops::Padding(std::get<Dims>(padding));
}

template <class F>
void bind_forward(py::module_& m, const char* name, F f, const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f](const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Dims& stride,
          const PaddingArgument& padding, const Dims& dilation, int64_t groups) {
        return f(x, weight, bias.value_or(Tensor()), stride, padding_of(padding), dilation, groups);
      },
      "x"_a, "weight"_a, "bias"_a = py::none(), "stride"_a = 1, "padding"_a = 0, "dilation"_a = 1, "groups"_a = 1,
      NoGil(), doc);
}

template <class F>
void bind_transposed(py::module_& m, const char* name, F f, const char* doc) {
  using namespace py::literals;
  m.def(
      name,
      [f](const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Dims& stride,
          const Dims& padding, const Dims& output_padding, int64_t groups, const Dims& dilation) {
        return f(x, weight, bias.value_or(Tensor()), stride, padding, output_padding, groups, dilation);
      },
      "x"_a, "weight"_a, "bias"_a = py::none(), "stride"_a = 1, "padding"_a = 0, "output_padding"_a = 0, "groups"_a = 1,
      "dilation"_a = 1, NoGil(), doc);
}

}  // namespace

void bind_conv(py::module_& m) {
  bind_forward(m, "conv1d", &ops::conv1d,
               R"(1-D cross-correlation of ``x`` [N, C, L] with ``weight`` [O, C/groups, kL], plus ``bias`` [O].

Output length is ``(L + 2*padding - dilation*(kL-1) - 1) // stride + 1``. Without batch, ``x`` is [C, L]. ``padding`` is
a number, ``"valid"`` for none, or ``"same"`` to keep the length (with stride 1).

>>> ln.conv1d(ln.ones((1, 1, 5)), ln.ones((1, 1, 3)), padding="same").tolist()
[[[2.0, 3.0, 3.0, 3.0, 2.0]]]
)");
  bind_forward(m, "conv2d", &ops::conv2d,
               R"(2-D cross-correlation of ``x`` [N, C, H, W] with ``weight`` [O, C/groups, kH, kW], plus ``bias`` [O].

Output height is ``(H + 2*padding - dilation*(kH-1) - 1) // stride + 1``; width likewise. Without batch, ``x`` is
[C, H, W]. ``stride``, ``padding`` and ``dilation`` are one number or a pair; ``padding`` may also be ``"valid"`` (none)
or ``"same"`` (keeps the size; with stride 1). With ``groups``, output channels see only their group's input channels.

>>> ln.conv2d(ln.ones((1, 1, 4, 4)), ln.ones((1, 1, 3, 3))).shape
(1, 1, 2, 2)
)");
  bind_forward(m, "conv3d", &ops::conv3d,
               R"(3-D cross-correlation of ``x`` [N, C, D, H, W] with ``weight`` [O, C/groups, kD, kH, kW].

Sizes and options as those of ``conv2d``.

>>> ln.conv3d(ln.ones((1, 2, 4, 4, 4)), ln.ones((3, 2, 3, 3, 3)), ln.zeros((3,)), padding=1).shape
(1, 3, 4, 4, 4)
)");
  bind_transposed(m, "conv_transpose1d", &ops::conv_transpose1d,
                  R"(1-D transposed convolution of ``x`` [N, C, L] with ``weight`` [C, O/groups, kL].

Output length is ``(L - 1)*stride - 2*padding + dilation*(kL-1) + output_padding + 1``.

>>> ln.conv_transpose1d(ln.ones((1, 1, 3)), ln.ones((1, 1, 2)), stride=2).tolist()
[[[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]]
)");
  bind_transposed(m, "conv_transpose2d", &ops::conv_transpose2d,
                  R"(2-D transposed convolution of ``x`` [N, C, H, W] with ``weight`` [C, O/groups, kH, kW].

It is the gradient of ``conv2d`` by its input. Output height is
``(H - 1)*stride - 2*padding + dilation*(kH-1) + output_padding + 1``; width likewise.

>>> ln.conv_transpose2d(ln.ones((1, 8, 7, 7)), ln.ones((8, 4, 4, 4)), stride=2, padding=1).shape
(1, 4, 14, 14)
)");
  bind_transposed(m, "conv_transpose3d", &ops::conv_transpose3d,
                  R"(3-D transposed convolution of ``x`` [N, C, D, H, W] with ``weight`` [C, O/groups, kD, kH, kW].

Sizes and options as those of ``conv_transpose2d``.

>>> ln.conv_transpose3d(ln.ones((1, 1, 2, 2, 2)), ln.ones((1, 1, 2, 2, 2)), stride=2).shape
(1, 1, 4, 4, 4)
)");
}

}  // namespace lanner::python
