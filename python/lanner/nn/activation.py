"""Activations: functions of each element, and the softmaxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from lanner import _core
from lanner._core import Tensor
from lanner.nn import functional as F
from lanner.nn.module import Module
from lanner.nn.parameter import Parameter


class _Elementwise(Module):
    """A function of each element without parameters. ``inplace`` is taken for PyTorch's sake and has no effect."""

    _function: ClassVar[Callable[..., Tensor]]

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element."""
        return self._function(x)

    def extra_repr(self) -> str:
        """Return ``inplace`` if it was asked for."""
        return "inplace=True" if self.inplace else ""


class ReLU(_Elementwise):
    """``max(x, 0)``.

    >>> ln.nn.ReLU()(ln.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    _function = staticmethod(_core.relu)


class SELU(_Elementwise):
    """``scale * elu(x, alpha)`` with the constants that make deep nets normalize themselves.

    >>> ln.nn.SELU()(ln.tensor([0.0])).tolist()
    [0.0]
    """

    _function = staticmethod(_core.selu)


class SiLU(_Elementwise):
    """``x * sigmoid(x)``, also called swish.

    >>> ln.nn.SiLU()(ln.tensor([0.0])).tolist()
    [0.0]
    """

    _function = staticmethod(_core.silu)


class _Plain(_Elementwise):
    def __init__(self) -> None:
        super().__init__()


class Sigmoid(_Plain):
    """``1 / (1 + exp(-x))``.

    >>> ln.nn.Sigmoid()(ln.tensor([0.0])).tolist()
    [0.5]
    """

    _function = staticmethod(_core.sigmoid)


class Tanh(_Plain):
    """The hyperbolic tangent.

    >>> ln.nn.Tanh()(ln.tensor([0.0])).tolist()
    [0.0]
    """

    _function = staticmethod(_core.tanh)


class Step(_Plain):
    """Heaviside's function: 1 where ``x >= 0``, else 0. Its gradient is 0.

    >>> ln.nn.Step()(ln.tensor([-0.5, 0.5])).tolist()
    [0.0, 1.0]
    """

    _function = staticmethod(_core.step)


class LeakyReLU(Module):
    """``x`` where it is positive, else ``negative_slope * x``.

    >>> ln.nn.LeakyReLU(0.5)(ln.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element."""
        return _core.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """Return the slope."""
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """LeakyReLU with a learned slope: one, or one for each channel (axis 1).

    >>> ln.nn.PReLU()(ln.tensor([-1.0, 2.0])).tolist()
    [-0.25, 2.0]
    """

    weight: Parameter

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: str | None = None, dtype: Any = None
    ) -> None:
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(_core.empty(num_parameters, dtype=dtype or _core.float32, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every slope to ``init``."""
        from lanner.nn.init import constant_

        constant_(self.weight, self.init)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """Return the number of slopes."""
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``.

    >>> ln.nn.ELU()(ln.tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element."""
        return _core.elu(x, self.alpha)

    def extra_repr(self) -> str:
        """Return alpha."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class GELU(Module):
    """``x * P(X <= x)`` for a Gaussian X; ``approximate="tanh"`` takes the usual formula for it with a tanh.

    >>> ln.nn.GELU()(ln.tensor([0.0])).tolist()
    [0.0]
    """

    def __init__(self, approximate: str = "none") -> None:
        F.check_choice("GELU", "approximate", approximate, ("none", "tanh"))
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element."""
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        """Return which formula is used."""
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """``log(1 + exp(beta * x)) / beta``; ``x`` itself where ``beta * x > threshold``.

    >>> ln.nn.Softplus()(ln.tensor([30.0])).tolist()
    [30.0]
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element."""
        return _core.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return beta and the threshold."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """``x``, kept between ``min_val`` and ``max_val``.

    >>> ln.nn.Hardtanh()(ln.tensor([-3.0, 0.5])).tolist()
    [-1.0, 0.5]
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val must be below max_val, got {min_val} and {max_val}")
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element."""
        return _core.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """Return the bounds."""
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class Threshold(Module):
    """``x`` where it is above ``threshold``, else ``value``.

    >>> ln.nn.Threshold(0.1, -1.0)(ln.tensor([0.0, 0.5])).tolist()
    [-1.0, 0.5]
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element."""
        return _core.threshold(x, self.threshold, self.value)

    def extra_repr(self) -> str:
        """Return threshold and value."""
        return f"threshold={self.threshold}, value={self.value}" + (", inplace=True" if self.inplace else "")


class Softmax(Module):
    """``exp(x) / sum(exp(x))`` along the axis ``dim``: positive numbers that add up to 1.

    >>> ln.nn.Softmax(dim=-1)(ln.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return the shares along the axis."""
        return _core.softmax(x, self.dim)

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """The logarithm of `Softmax`, computed without overflow.

    >>> ln.nn.LogSoftmax(dim=-1)(ln.zeros((1, 1))).tolist()
    [[0.0]]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithms of the shares along the axis."""
        return _core.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"dim={self.dim}"
