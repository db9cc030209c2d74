"""Pooling and resizing layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from lanner import _core
from lanner._core import Tensor
from lanner.nn import functional as F
from lanner.nn.module import Module

Size = int | Sequence[int]


def _plain(size: Any) -> Any:
    """Sizes as an int or a tuple, whatever sequence they came in."""
    return size if size is None or isinstance(size, (int, float)) else tuple(size)


def _single(size: Size) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)


class _MaxPool(Module):
    _function: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = _plain(kernel_size)
        self.stride = self.kernel_size if stride is None else _plain(stride)
        self.padding = _plain(padding)
        self.dilation = _plain(dilation)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Any:
        """Return the largest element of each window (and where it stands, if ``return_indices``)."""
        return self._function(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        """Return the window."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window of x [N, C, L]; the stride is the window's size if not given.

    >>> ln.nn.MaxPool1d(2)(ln.tensor([[[1.0, 3.0, 2.0, 0.0]]])).tolist()
    [[[3.0, 2.0]]]
    """

    _function = staticmethod(_core.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window of x [N, C, H, W]; the stride is the window's size if not given.

    >>> ln.nn.MaxPool2d(2)(ln.zeros((1, 6, 28, 28))).shape
    (1, 6, 14, 14)
    """

    _function = staticmethod(_core.max_pool2d)


class AvgPool1d(Module):
    """The mean of each window of x [N, C, L]; the stride is the window's size if not given.

    >>> ln.nn.AvgPool1d(2)(ln.tensor([[[1.0, 3.0, 2.0, 0.0]]])).tolist()
    [[[2.0, 1.0]]]
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        # Tuples, as PyTorch keeps them in this layer alone.
        self.kernel_size = _single(kernel_size)
        self.stride = self.kernel_size if stride is None else _single(stride)
        self.padding = _single(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of each window."""
        return _core.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        """Return the window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window of x [N, C, H, W]; the stride is the window's size if not given.

    ``divisor_override`` divides the sum by another number than the elements of the window.

    >>> ln.nn.AvgPool2d(2)(ln.ones((1, 1, 4, 4))).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size = _plain(kernel_size)
        self.stride = self.kernel_size if stride is None else _plain(stride)
        self.padding = _plain(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of each window."""
        return F.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """Return the window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AdaptivePool(Module):
    _function: ClassVar[Callable[..., Any]]

    def __init__(self, output_size: int | Sequence[int | None]) -> None:
        self.output_size = _plain(output_size)

    def forward(self, x: Tensor) -> Any:
        """Cut each axis into as many windows as the output has elements, and pool them."""
        return self._function(x, F.adaptive_size(x, self.output_size))

    def extra_repr(self) -> str:
        """Return the size of the output."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    """The means of ``output_size`` windows that cover x [N, C, L].

    >>> ln.nn.AdaptiveAvgPool1d(2)(ln.tensor([[[1.0, 3.0, 2.0, 0.0]]])).tolist()
    [[[2.0, 1.0]]]
    """

    _function = staticmethod(_core.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    """The means of windows that cover x [N, C, H, W], so that the output is [N, C, *output_size]; None keeps a size.

    >>> ln.nn.AdaptiveAvgPool2d(1)(ln.ones((2, 3, 7, 5))).shape
    (2, 3, 1, 1)
    """

    _function = staticmethod(_core.adaptive_avg_pool2d)


class _AdaptiveMaxPool(_AdaptivePool):
    def __init__(self, output_size: int | Sequence[int | None], return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Any:
        """Cut each axis into windows; return their largest elements (and where they stand, if ``return_indices``)."""
        return self._function(x, F.adaptive_size(x, self.output_size), self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest elements of ``output_size`` windows that cover x [N, C, L].

    >>> ln.nn.AdaptiveMaxPool1d(2)(ln.tensor([[[1.0, 3.0, 2.0, 0.0]]])).tolist()
    [[[3.0, 2.0]]]
    """

    _function = staticmethod(_core.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest elements of windows that cover x [N, C, H, W], so that the output is [N, C, *output_size].

    >>> ln.nn.AdaptiveMaxPool2d((2, None))(ln.ones((2, 3, 7, 5))).shape
    (2, 3, 2, 5)
    """

    _function = staticmethod(_core.adaptive_max_pool2d)


class Upsample(Module):
    """Makes x [N, C, ...] larger, to ``size`` or by ``scale_factor``; ``mode`` is nearest, linear or bilinear.

    >>> ln.nn.Upsample(scale_factor=2)(ln.tensor([[[1.0, 2.0]]])).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        F.check_choice("Upsample", "mode", mode, ("nearest", "linear", "bilinear"))
        if (size is None) == (scale_factor is None):
            raise ValueError("Upsample: give either size or scale_factor")
        self.size = _plain(size)
        self.scale_factor = _plain(scale_factor)
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, resized."""
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        """Return the size and the mode."""
        if self.scale_factor is not None:
            factor = self.scale_factor
            shown = float(factor) if isinstance(factor, (int, float)) else tuple(float(f) for f in factor)
            return f"scale_factor={shown}, mode={self.mode!r}"
        return f"size={self.size}, mode={self.mode!r}"
