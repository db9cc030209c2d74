"""Layers that leave out a random part of their input in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from lanner import _core
from lanner._core import Tensor
from lanner.nn.module import Module


class _Dropout(Module):
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must lie between 0 and 1, got {p}")
        self.p = p
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Drop in training; else return ``x``."""
        return self._function(x, self.p, self.training)

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, each element is 0 with probability ``p``, else ``x / (1 - p)``; in evaluation ``x`` itself.

    >>> ln.nn.Dropout(0.5).eval()(ln.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    _function = staticmethod(_core.dropout)


class Dropout2d(_Dropout):
    """`Dropout` of whole channels of x [N, C, H, W].

    >>> ln.nn.Dropout2d(1.0)(ln.ones((1, 2, 1, 1))).tolist()
    [[[[0.0]], [[0.0]]]]
    """

    _function = staticmethod(_core.dropout2d)
