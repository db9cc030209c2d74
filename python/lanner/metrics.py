"""Figures of merit, exact over an epoch: sums are kept from batch to batch, never means of means.

A metric is given predictions and targets with ``update``, and tells the figure of all it has seen with ``compute``;
``reset`` begins anew. Each has a function beside it for figures of one pair of arrays. What is computed of a batch,
``measure``, is apart from how it is added up, ``collect``: `Model` makes the former a part of its compiled step.

>>> metric = ln.metrics.Accuracy()
>>> metric.update(ln.tensor([[0.1, 0.9], [0.8, 0.2]]), ln.tensor([1, 1]))
>>> metric.update(ln.tensor([[0.3, 0.7]]), ln.tensor([1]))
>>> round(metric.compute(), 3)
0.667
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, Literal

from lanner import _core
from lanner._core import Tensor
from lanner.labels import Task, are_indices, count, difference_of, labels

Average = Literal["binary", "macro", "micro"]

__all__ = [
    "F1",
    "MAE",
    "MSE",
    "R2",
    "Accuracy",
    "Mean",
    "Metric",
    "Precision",
    "Recall",
    "TopKAccuracy",
    "accuracy",
    "f1",
    "get",
    "mae",
    "mse",
    "precision",
    "r2",
    "recall",
    "top_k_accuracy",
]


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
        return _divide(self._sum, self._samples)


class Accuracy(Metric):
    """The share of predictions that are right.

    Predictions and targets may be

    - scores [N, C] (or [N, C, ...]) and class indices [N] (or [N, ...]): right where the largest score is the target's;
    - scores and one-hot targets of one shape [N, C]: likewise;
    - one score a sample, [N] or [N, 1]: right where ``score > threshold`` agrees with the target, which is 0 or 1, or
      -1 or 1. The threshold of probabilities is 0.5, of logits 0;
    - class indices for both, of any one shape.

    ``task="binary"`` reads scores [N, C] with targets of the same shape as C yes-or-no questions instead of one-hot.
    Targets equal to ``ignore_index`` do not count.

    >>> ln.metrics.Accuracy()(ln.tensor([[2.0, 1.0], [0.5, 3.0]]), ln.tensor([0, 1]))
    1.0
    """

    def __init__(
        self,
        *,
        task: Task | None = None,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        name: str = "accuracy",
    ) -> None:
        self.task, self.threshold, self.ignore_index = task, threshold, ignore_index
        super().__init__(name)

    def reset(self) -> None:
        """Forget all that was seen."""
        self._right, self._total = 0, 0

    def measure(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """How many are right, and how many there are."""
        guess, truth, _ = labels(prediction, target, self.task, self.threshold, self.name)
        right = guess == truth
        if self.ignore_index is None:
            return _core.sum(right), _core.full((), truth.size, dtype=_core.int64)
        counted = truth != self.ignore_index
        return _core.sum(right & counted), _core.sum(counted)

    def collect(self, measured: tuple[Tensor, ...]) -> None:
        """Add them up."""
        self._right += int(measured[0].item())
        self._total += int(measured[1].item())

    def compute(self) -> float:
        """Return the figure of all that was seen."""
        return _divide(self._right, self._total)

    def config(self) -> dict[str, Any]:
        """Return the arguments that make the same metric again."""
        return {
            "task": self.task,
            "threshold": self.threshold,
            "ignore_index": self.ignore_index,
            "name": self.name,
        }


class TopKAccuracy(Metric):
    """The share of samples whose class (an index, or one-hot) is among the ``k`` largest of the scores [N, C].

    >>> ln.metrics.TopKAccuracy(k=2)(ln.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]), ln.tensor([1, 2]))
    0.5
    """

    def __init__(self, k: int = 5, *, name: str | None = None) -> None:
        if k < 1:
            raise ValueError(f"TopKAccuracy: k must be at least 1, got {k}")
        self.k = k
        super().__init__(name if name is not None else f"top_{k}_accuracy")

    def reset(self) -> None:
        """Forget all that was seen."""
        self._right, self._total = 0, 0

    def measure(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """How many are right, and how many there are."""
        prediction = prediction.detach()
        if prediction.ndim != 2:
            raise _core.ShapeError(f"{self.name}: expected scores [N, C], got {list(prediction.shape)}")
        if target.ndim == 2 and target.shape == prediction.shape:
            target = _core.argmax(target, axis=1)
        if target.shape != prediction.shape[:1]:
            raise _core.ShapeError(
                f"{self.name}: scores {list(prediction.shape)} expect {prediction.shape[0]} class indices, "
                f"got targets {list(target.shape)}"
            )
        # With k classes or fewer every sample is right.
        _, best = _core.topk(prediction, min(self.k, prediction.shape[1]), axis=1)
        right = _core.sum(best == _core.expand_dims(target, axis=1))
        return right, _core.full((), prediction.shape[0], dtype=_core.int64)

    def collect(self, measured: tuple[Tensor, ...]) -> None:
        """Add them up."""
        self._right += int(measured[0].item())
        self._total += int(measured[1].item())

    def compute(self) -> float:
        """Return the figure of all that was seen."""
        return _divide(self._right, self._total)

    def config(self) -> dict[str, Any]:
        """Return the arguments that make the same metric again."""
        return {"k": self.k, "name": self.name}


class _Confusion(Metric):
    """For each class: how often it was predicted, was true, and was both."""

    def __init__(
        self,
        *,
        average: Average | None = None,
        task: Task | None = None,
        threshold: float = 0.5,
        name: str | None = None,
    ) -> None:
        if average not in (None, "binary", "macro", "micro"):
            raise ValueError(f"{type(self).__name__}: average must be 'binary', 'macro' or 'micro', got {average!r}")
        self.average, self.task, self.threshold = average, task, threshold
        super().__init__(name)

    def reset(self) -> None:
        self._both: list[int] = []
        self._predicted: list[int] = []
        self._true: list[int] = []
        self._questions = False

    def can_measure(self, prediction: Any, target: Any) -> bool:
        # How many classes there are is told by the scores, but not by predictions that are class indices.
        return super().can_measure(prediction, target) and not are_indices(prediction, target, self.task)

    def measure(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        guess, truth, classes = labels(prediction, target, self.task, self.threshold, self.name, known_classes=True)
        questions = _core.full((), classes is None, dtype=_core.bool)
        if classes is None:  # yes or no, a column for each question
            return *(_core.sum(t, axis=0) for t in (guess * truth, guess, truth)), questions
        right = _core.where(guess == truth, truth, _core.full_like(truth, classes))
        # An index past the last class takes what is wrong.
        return count(right, classes + 1)[:classes], count(guess, classes), count(truth, classes), questions

    def collect(self, measured: tuple[Tensor, ...]) -> None:
        *counts, questions = (t.tolist() for t in measured)
        self._questions = questions
        self._both, self._predicted, self._true = (
            [a + b for a, b in zip_longest(old, new, fillvalue=0)]
            for old, new in zip((self._both, self._predicted, self._true), counts, strict=True)
        )

    def compute(self) -> float:
        average = self.average
        if average is None:
            average = "binary" if self._questions and len(self._both) == 1 else "macro"
        if average == "micro":
            return self._figure(sum(self._both), sum(self._predicted), sum(self._true))
        rows = list(zip(self._both, self._predicted, self._true, strict=True))
        if average == "binary":
            if len(rows) > (1 if self._questions else 2):
                raise ValueError(f"{self.name}: average='binary' expects two classes, got {len(rows)}; use 'macro'")
            if not self._questions:
                rows = rows[1:] or [(0, 0, 0)] * len(rows)
            return self._figure(*rows[0]) if rows else math.nan
        # A class that was neither there nor predicted says nothing.
        figures = [self._figure(*row) for row in rows if row[1] or row[2]]
        return _divide(sum(figures), len(figures))

    def _figure(self, both: int, predicted: int, true: int) -> float:
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        return {"average": self.average, "task": self.task, "threshold": self.threshold, "name": self.name}


class Precision(_Confusion):
    """Of what was predicted to be of a class, the share that is: ``tp / (tp + fp)``; 0 where nothing was predicted.

    Predictions and targets as for ``Accuracy``. ``average``: "binary" (the second of two classes), "macro" (the mean
    over classes that occur) or "micro" (all classes counted together); None takes "binary" for one score a sample
    and "macro" for classes.

    >>> ln.metrics.Precision()(ln.tensor([0.9, 0.8, 0.1, 0.7]), ln.tensor([1, 0, 0, 1])) == 2 / 3
    True
    """

    def _figure(self, both: int, predicted: int, true: int) -> float:
        return both / predicted if predicted else 0.0


class Recall(_Confusion):
    """Of what is of a class, the share that was predicted to be: ``tp / (tp + fn)``; 0 where there is none.

    Arguments as for ``Precision``.

    >>> ln.metrics.Recall()(ln.tensor([0.9, 0.8, 0.1, 0.7]), ln.tensor([1, 0, 1, 1])) == 2 / 3
    True
    """

    def _figure(self, both: int, predicted: int, true: int) -> float:
        return both / true if true else 0.0


class F1(_Confusion):
    """The harmonic mean of precision and recall: ``2 tp / (2 tp + fp + fn)``; 0 where the class does not occur.

    Arguments as for ``Precision``.

    >>> ln.metrics.F1()(ln.tensor([0.9, 0.8, 0.1, 0.7]), ln.tensor([1, 0, 1, 1])) == 2 / 3
    True
    """

    def _figure(self, both: int, predicted: int, true: int) -> float:
        return 2 * both / (predicted + true) if predicted + true else 0.0


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
        return _divide(self._sum, self._elements)


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


def accuracy(prediction: Any, target: Any, **options: Any) -> float:
    """The share of predictions that are right; see ``Accuracy``.

    >>> ln.metrics.accuracy([[0.9, 0.1], [0.4, 0.6]], [0, 0])
    0.5
    """
    return Accuracy(**options)(prediction, target)


def top_k_accuracy(prediction: Any, target: Any, k: int = 5) -> float:
    """The share of samples whose class is among the ``k`` largest scores; see ``TopKAccuracy``.

    >>> ln.metrics.top_k_accuracy([[0.5, 0.3, 0.2]], [1], k=2)
    1.0
    """
    return TopKAccuracy(k)(prediction, target)


def precision(prediction: Any, target: Any, **options: Any) -> float:
    """Of what was predicted to be of a class, the share that is; see ``Precision``.

    >>> ln.metrics.precision([0.9, 0.8], [1, 0])
    0.5
    """
    return Precision(**options)(prediction, target)


def recall(prediction: Any, target: Any, **options: Any) -> float:
    """Of what is of a class, the share that was predicted to be; see ``Recall``.

    >>> ln.metrics.recall([0.9, 0.2], [1, 1])
    0.5
    """
    return Recall(**options)(prediction, target)


def f1(prediction: Any, target: Any, **options: Any) -> float:
    """The harmonic mean of precision and recall; see ``F1``.

    >>> ln.metrics.f1([0.9, 0.8], [1, 1])
    1.0
    """
    return F1(**options)(prediction, target)


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


_CLASSES: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "mse": MSE,
    "mae": MAE,
    "r2": R2,
}
_THRESHOLDED = ("accuracy", "precision", "recall", "f1")


def get(metric: str | Metric | Callable[[Tensor, Tensor], Any], **options: Any) -> Metric:
    """A metric by its name, with ``options`` where it takes them; a metric itself; the mean of a function.

    Names: "accuracy", "top_5_accuracy" (any number), "precision", "recall", "f1", "mse", "mae", "r2".

    >>> ln.metrics.get("top_3_accuracy")
    TopKAccuracy(k=3, name='top_3_accuracy')
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        if match := re.fullmatch(r"top_(\d+)_accuracy", metric):
            return TopKAccuracy(int(match[1]))
        if metric in _CLASSES:
            return _CLASSES[metric](**(options if metric in _THRESHOLDED else {}))
        raise ValueError(f"there is no metric {metric!r}; there are {', '.join(_CLASSES)} and top_5_accuracy")
    if callable(metric) and not isinstance(metric, type):
        return Mean(metric)
    raise TypeError(f"a metric is a name, a Metric or a function of prediction and target, got {metric!r}")


def _divide(a: float, b: float) -> float:
    return a / b if b else math.nan
