"""What every metric has; the mean of a function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lanner import _core
from lanner._core import Tensor

__all__ = ["Mean", "Metric", "divide"]


class Metric:
    """The base of all metrics: subclass it with ``reset``, ``update`` and ``compute`` for one of your own.

    With ``measure`` and ``collect`` in place of ``update``, what it computes becomes a part of a model's compiled step.

    >>> class Largest(ln.metrics.Metric):
    ...     def reset(self):
    ...         self.value = 0.0
    ...     def update(self, prediction, target):
    ...         self.value = max(self.value, float(prediction.max().item()))
    ...     def compute(self):
    ...         return self.value
    >>> Largest()(ln.tensor([1.0, 3.0]), ln.tensor([0.0, 0.0]))
    3.0
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name if name is not None else type(self).__name__.lower()
        self.reset()

    def reset(self) -> None:
        """Forget all that was seen."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Take one batch into account."""
        self.collect(self.measure(prediction, target))

    def measure(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """What ``collect`` needs of one batch: tensors of shapes that do not depend on values, of which none is read.

        >>> [t.item() for t in ln.metrics.Accuracy().measure(ln.tensor([0.9, 0.2]), ln.tensor([1, 1]))]
        [1, 2]
        """
        raise NotImplementedError(f"{type(self).__name__} has no update()")

    def collect(self, measured: tuple[Tensor, ...]) -> None:
        """Take one batch into account, of which ``measure`` gave this."""
        raise NotImplementedError(f"{type(self).__name__} has no collect()")

    def can_measure(self, prediction: Any, target: Any) -> bool:
        """Whether ``measure`` does for tensors like these all that ``update`` does."""
        whole = type(self).update is Metric.update and type(self).measure is not Metric.measure
        return whole and isinstance(prediction, Tensor) and isinstance(target, Tensor)

    def compute(self) -> float:
        """The figure of all that was seen since ``reset``; NaN where nothing was."""
        raise NotImplementedError(f"{type(self).__name__} has no compute()")

    def config(self) -> dict[str, Any]:
        """The arguments that make the same metric again."""
        return {"name": self.name}

    def __call__(self, prediction: Any, target: Any) -> float:
        """The figure of one pair of arrays alone."""
        self.reset()
        self.update(_core.asarray(prediction), _core.asarray(target))
        return self.compute()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"


class Mean(Metric):
    """The mean over samples of a function of the batch that gives the batch's mean.

    >>> mean = ln.metrics.Mean(lambda p, t: (p - t).mean(), name="bias")
    >>> mean(ln.tensor([1.0, 3.0]), ln.tensor([0.0, 0.0]))
    2.0
    """

    def __init__(self, fn: Callable[[Tensor, Tensor], Any], name: str | None = None) -> None:
        self.fn = fn
        super().__init__(name if name is not None else getattr(fn, "__name__", "mean"))

    def reset(self) -> None:
        """Forget all that was seen."""
        self._sum, self._samples = 0.0, 0

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Take one batch into account."""
        value = self.fn(prediction.detach(), target)
        samples = prediction.shape[0] if prediction.ndim else 1
        self._sum += float(value.item() if isinstance(value, Tensor) else value) * samples
        self._samples += samples

    def compute(self) -> float:
        """Return the figure of all that was seen."""
        return divide(self._sum, self._samples)


def divide(a: float, b: float) -> float:
    """``a / b``; NaN where there was nothing to divide by."""
    return a / b if b else math.nan
