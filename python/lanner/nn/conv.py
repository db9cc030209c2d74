"""Convolution layers. Images are NCHW; weights [out, in / groups, ...], transposed [in, out / groups, ...]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from lanner import _core
from lanner._core import Tensor
from lanner.nn import functional as F, init
from lanner.nn.module import Module
from lanner.nn.parameter import Parameter

Size = int | Sequence[int]


class _Convolution(Module):
    """What all convolutions share: checked arguments, the weight, its first values, the repr."""

    _dims: ClassVar[int]
    _transposed: ClassVar[bool] = False
    weight: Parameter
    bias: Parameter | None

    def _set_up(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size | str,
        dilation: Size,
        output_padding: Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: str | None,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise _core.ShapeError(
                f"{name}: {in_channels} input and {out_channels} output channels do not divide into {groups} groups"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = self._tuple("kernel_size", kernel_size, 1)
        self.stride = self._tuple("stride", stride, 1)
        self.dilation = self._tuple("dilation", dilation, 1)
        self.output_padding = self._tuple("output_padding", output_padding, 0)
        self.padding: tuple[int, ...] | str
        if isinstance(padding, str):
            F.check_choice(name, "padding", padding, ("same", "valid"))
            if padding == "same" and self.stride != (1,) * self._dims:
                raise _core.ShapeError(f"{name}: padding='same' needs a stride of 1, got {self.stride}")
            self.padding = padding
        else:
            self.padding = self._tuple("padding", padding, 0)
        self.groups = groups
        F.check_choice(name, "padding_mode", padding_mode, ("zeros", "reflect", "replicate", "circular"))
        self.padding_mode = padding_mode
        channels = (in_channels, out_channels // groups) if self._transposed else (out_channels, in_channels // groups)
        shape = (*channels, *self.kernel_size)
        self.weight = Parameter(_core.empty(shape, dtype=dtype or _core.float32, device=device))
        self.register_parameter("bias", Parameter(_core.empty(out_channels, dtype=self.weight.dtype)) if bias else None)
        self.reset_parameters()

    def _tuple(self, what: str, value: Size, least: int) -> tuple[int, ...]:
        sizes = (value,) * self._dims if isinstance(value, int) else tuple(value)
        if len(sizes) == 1:
            sizes = sizes * self._dims
        if len(sizes) != self._dims or any(s < least for s in sizes):
            raise _core.ShapeError(
                f"{type(self).__name__}: {what} must be {self._dims} ints of at least {least}, got {value}"
            )
        return sizes

    def reset_parameters(self) -> None:
        """Draw weights and biases anew: evenly from ±1 / sqrt(fan_in)."""
        if self.weight.size == 0:
            return
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight.size // self.weight.shape[0])
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Return the sizes, and what differs from the defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        none = (0,) * self._dims
        if self.padding != none:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self._dims:
            text += f", dilation={self.dilation}"
        if self.output_padding != none:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Conv(_Convolution):
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self._set_up(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Correlate ``x`` [N, in_channels, ...] with the weight."""
        padding: Size | str = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._pads(), self.padding_mode), 0
        return self._function(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _pads(self) -> list[int]:
        """How many elements `pad` has to add before and after each axis, the last axis first."""
        if isinstance(self.padding, str):
            reach = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
            spans = reach if self.padding == "same" else [0] * self._dims
            sides = [(n // 2, n - n // 2) for n in spans]  # the odd one goes behind, as in PyTorch
        else:
            sides = [(p, p) for p in self.padding]
        return [n for side in reversed(sides) for n in side]


class Conv1d(_Conv):
    """1-D cross-correlation: x [N, C, L], weight [out_channels, C / groups, k].

    ``padding`` may be ``"same"`` or ``"valid"``; ``padding_mode`` is zeros, reflect, replicate or circular.

    >>> ln.nn.Conv1d(3, 8, 5, padding="same")(ln.zeros((2, 3, 20))).shape
    (2, 8, 20)
    """

    _dims = 1
    _function = staticmethod(_core.conv1d)


class Conv2d(_Conv):
    """2-D cross-correlation: x [N, C, H, W], weight [out_channels, C / groups, kH, kW].

    Output height is ``(H + 2*padding - dilation*(kH-1) - 1) // stride + 1``; width likewise. ``padding`` may be
    ``"same"`` or ``"valid"``; ``padding_mode`` is zeros, reflect, replicate or circular.

    >>> ln.nn.Conv2d(1, 6, 5, padding=2)(ln.zeros((2, 1, 28, 28))).shape
    (2, 6, 28, 28)
    """

    _dims = 2
    _function = staticmethod(_core.conv2d)


class Conv3d(_Conv):
    """3-D cross-correlation: x [N, C, D, H, W], weight [out_channels, C / groups, kD, kH, kW].

    >>> ln.nn.Conv3d(1, 4, 3)(ln.zeros((2, 1, 8, 8, 8))).shape
    (2, 4, 6, 6, 6)
    """

    _dims = 3
    _function = staticmethod(_core.conv3d)


class _ConvTranspose(_Convolution):
    _transposed = True
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f"{type(self).__name__}: padding_mode must be 'zeros', got {padding_mode!r}")
        if isinstance(padding, str):
            raise TypeError(f"{type(self).__name__}: padding must be ints, got {padding!r}")
        self._set_up(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Spread ``x`` over the output; ``output_size`` chooses among the sizes that a stride leaves open."""
        output_padding = self.output_padding if output_size is None else self._fit(x, output_size)
        return self._function(
            x, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups, self.dilation
        )

    def _fit(self, x: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        name, dims = type(self).__name__, self._dims
        wanted = tuple(output_size)[-dims:]
        if len(output_size) not in (dims, dims + 2) or x.ndim < dims:
            raise _core.ShapeError(f"{name}: output_size must be {dims} ints, got {tuple(output_size)}")
        assert not isinstance(self.padding, str)
        extra = []
        for n, size, k, s, p, d in zip(
            x.shape[-dims:], wanted, self.kernel_size, self.stride, self.padding, self.dilation, strict=True
        ):
            least = (n - 1) * s - 2 * p + d * (k - 1) + 1
            if not least <= size < least + s:
                raise _core.ShapeError(
                    f"{name}: output_size {wanted} is out of reach; an axis of {n} becomes {least} to {least + s - 1}"
                )
            extra.append(size - least)
        return tuple(extra)


class ConvTranspose1d(_ConvTranspose):
    """1-D transposed convolution, the gradient of Conv1d by its input: weight [in_channels, out_channels / groups, k].

    >>> ln.nn.ConvTranspose1d(4, 2, 4, stride=2, padding=1)(ln.zeros((1, 4, 10))).shape
    (1, 2, 20)
    """

    _dims = 1
    _function = staticmethod(_core.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """2-D transposed convolution, the gradient of Conv2d by its input: weight [in_channels, out / groups, kH, kW].

    Output height is ``(H - 1)*stride - 2*padding + dilation*(kH-1) + output_padding + 1``; width likewise.

    >>> ln.nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1)(ln.zeros((1, 4, 8, 8))).shape
    (1, 2, 16, 16)
    """

    _dims = 2
    _function = staticmethod(_core.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """3-D transposed convolution, the gradient of Conv3d by its input.

    >>> ln.nn.ConvTranspose3d(2, 1, 2, stride=2)(ln.zeros((1, 2, 4, 4, 4))).shape
    (1, 1, 8, 8, 8)
    """

    _dims = 3
    _function = staticmethod(_core.conv_transpose3d)
