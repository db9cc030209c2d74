"""Layers whose outputs are sums over all inputs, and layers that only change a shape or a scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lanner import _core
from lanner._core import Tensor
from lanner.nn import init
from lanner.nn.module import Module
from lanner.nn.parameter import Parameter


class Identity(Module):
    """Returns what it is given; takes any arguments and ignores them.

    >>> ln.nn.Identity()(ln.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._arguments = ((), {})

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return x


class Linear(Module):
    """``y = x W^T + b`` over the last axis: x [..., in_features], weight [out_features, in_features].

    >>> ln.nn.Linear(4, 3)(ln.zeros((2, 4))).shape
    (2, 3)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(_core.empty((out_features, in_features), dtype=dtype or _core.float32, device=device))
        self.register_parameter("bias", Parameter(_core.empty(out_features, dtype=self.weight.dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases anew: evenly from ±1 / sqrt(in_features)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(self.in_features, 1))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x W^T + b``."""
        return _core.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """``y_o = x1^T W_o x2 + b_o``: weight [out_features, in1_features, in2_features].

    >>> ln.nn.Bilinear(4, 3, 2)(ln.zeros((5, 4)), ln.zeros((5, 3))).shape
    (5, 2)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        shape = (out_features, in1_features, in2_features)
        self.weight = Parameter(_core.empty(shape, dtype=dtype or _core.float32, device=device))
        self.register_parameter("bias", Parameter(_core.empty(out_features, dtype=self.weight.dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases anew: evenly from ±1 / sqrt(in1_features)."""
        bound = 1 / math.sqrt(max(self.in1_features, 1))
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Combine each row of ``x1`` with the same row of ``x2``."""
        return _core.bilinear(x1, x2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Flatten(Module):
    """Makes one axis of the axes ``start_dim`` to ``end_dim``; of all but the batch if not told otherwise.

    >>> ln.nn.Flatten()(ln.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, reshaped."""
        return _core.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Makes several axes, of sizes ``unflattened_size``, of the axis ``dim``; one of the sizes may be -1.

    >>> ln.nn.Unflatten(1, (3, 4))(ln.zeros((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, reshaped."""
        return _core.unflatten(x, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """Return the axis and the sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Rescaling(Module):
    """``y = x * scale + offset``; integers, as the bytes of an image, become float32.

    The first layer of a net that is fed raw pixels: ``Rescaling(1 / 255)``.

    >>> ln.nn.Rescaling(1 / 255)(ln.tensor([0, 51, 255], dtype=ln.uint8)).dtype
    lanner.float32
    """

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        self.scale = scale
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled values."""
        if not x.dtype.is_floating_point:
            x = x.to(_core.float32)
        y = x * self.scale
        return y + self.offset if self.offset else y

    def extra_repr(self) -> str:
        """Return scale and offset."""
        return f"scale={self.scale}, offset={self.offset}"
