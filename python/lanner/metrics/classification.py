"""Metrics of classes and of answers of yes and no."""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import Any, Literal

from lanner import _core
from lanner._core import Tensor
from lanner.labels import Task, are_indices, count, labels
from lanner.metrics.base import Metric, divide

Average = Literal["binary", "macro", "micro"]

__all__ = [
    "F1",
    "Accuracy",
    "Precision",
    "Recall",
    "TopKAccuracy",
    "accuracy",
    "f1",
    "precision",
    "recall",
    "top_k_accuracy",
]


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
        return divide(self._right, self._total)

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
        return divide(self._right, self._total)

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
        return divide(sum(figures), len(figures))

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
