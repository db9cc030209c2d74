"""Metrics of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lanner import _core
from lanner._core import Tensor
from lanner.labels import difference_of
from lanner.metrics.base import Metric, divide

__all__ = ["MAE", "MSE", "R2", "mae", "mse", "r2"]


class _Error(Metric):
    """A mean over all elements, added up in float64."""

    def reset(self) -> None:
        self._sum, self._elements = 0.0, 0

    def measure(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        difference = difference_of(prediction, target, self.name)
        return _core.sum(self._measure(difference)), _core.full((), difference.size, dtype=_core.int64)

    def collect(self, measured: tuple[Tensor, ...]) -> None:
        self._sum += float(measured[0].item())
        self._elements += int(measured[1].item())

    def _measure(self, difference: Tensor) -> Tensor:
        raise NotImplementedError

    def compute(self) -> float:
        return divide(self._sum, self._elements)


class MSE(_Error):
    """The mean squared error, ``mean((prediction - target)**2)``.

    >>> ln.metrics.MSE()(ln.tensor([1.0, 3.0]), ln.tensor([1.0, 1.0]))
    2.0
    """

    def _measure(self, difference: Tensor) -> Tensor:
        return difference * difference


class MAE(_Error):
    """The mean absolute error, ``mean(|prediction - target|)``.

    >>> ln.metrics.MAE()(ln.tensor([1.0, 3.0]), ln.tensor([1.0, 1.0]))
    1.0
    """

    def _measure(self, difference: Tensor) -> Tensor:
        return _core.abs(difference)


class R2(Metric):
    """The coefficient of determination, ``1 - sum((y - prediction)**2) / sum((y - mean(y))**2)``.

    1 is perfect, 0 as good as always telling the mean. Of several outputs [N, K], the mean over them. A constant
    target gives 1 where it was met exactly and 0 otherwise; fewer than two samples give NaN.

    >>> ln.metrics.R2()(ln.tensor([1.0, 2.0, 3.0]), ln.tensor([1.0, 2.0, 3.0]))
    1.0
    """

    def reset(self) -> None:
        """Forget all that was seen."""
        self._samples = 0
        self._mean: list[float] = []
        self._spread: list[float] = []  # sum of (y - mean)**2
        self._residual: list[float] = []

    def measure(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """How many samples there are; of each output the mean, the squares around it, and those of the errors."""
        difference = difference_of(prediction, target, self.name)
        n = difference.shape[0] if difference.ndim else 1
        if difference.size == 0:
            return (_core.zeros((), dtype=_core.int64),)
        difference = _core.reshape(difference, (n, -1))
        y = _core.reshape(target.to(_core.float64), difference.shape)
        mean = _core.mean(y, axis=0, keepdims=True)
        spread = _core.sum(_core.square(y - mean), axis=0)
        residual = _core.sum(_core.square(difference), axis=0)
        return _core.full((), n, dtype=_core.int64), _core.reshape(mean, (-1,)), spread, residual

    def collect(self, measured: tuple[Tensor, ...]) -> None:
        """Join them with those seen before."""
        if len(measured) > 1:
            n, mean, spread, residual = (t.tolist() for t in measured)
            self._merge(n, mean, spread, residual)

    # The spread around a common mean (Chan, Golub and LeVeque 1979): sums of squares would cancel.
    def _merge(self, n: int, mean: Sequence[float], spread: Sequence[float], residual: Sequence[float]) -> None:
        if not self._mean:
            self._mean, self._spread, self._residual = [0.0] * len(mean), [0.0] * len(mean), [0.0] * len(mean)
        total = self._samples + n
        for i, (m, s, r) in enumerate(zip(mean, spread, residual, strict=True)):
            gap = m - self._mean[i]
            self._spread[i] += s + gap * gap * self._samples * n / total
            self._mean[i] += gap * n / total
            self._residual[i] += r
        self._samples = total

    def compute(self) -> float:
        """Return the figure of all that was seen."""
        if self._samples < 2:
            return math.nan
        figures = [
            1 - residual / spread if spread else float(residual == 0)
            for residual, spread in zip(self._residual, self._spread, strict=True)
        ]
        return sum(figures) / len(figures)


def mse(prediction: Any, target: Any) -> float:
    """The mean squared error.

    >>> ln.metrics.mse([1.0, 3.0], [1.0, 1.0])
    2.0
    """
    return MSE()(prediction, target)


def mae(prediction: Any, target: Any) -> float:
    """The mean absolute error.

    >>> ln.metrics.mae([1.0, 3.0], [1.0, 1.0])
    1.0
    """
    return MAE()(prediction, target)


def r2(prediction: Any, target: Any) -> float:
    """The coefficient of determination; see ``R2``.

    >>> ln.metrics.r2([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    0.0
    """
    return R2()(prediction, target)
