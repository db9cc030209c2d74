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

import re
from collections.abc import Callable
from typing import Any

from lanner._core import Tensor
from lanner.metrics.base import Mean, Metric
from lanner.metrics.classification import (
    F1,
    Accuracy,
    Precision,
    Recall,
    TopKAccuracy,
    accuracy,
    f1,
    precision,
    recall,
    top_k_accuracy,
)
from lanner.metrics.regression import MAE, MSE, R2, mae, mse, r2
from lanner.metrics.sequence import (
    CharErrorRate,
    Perplexity,
    WordErrorRate,
    char_error_rate,
    edit_distance,
    perplexity,
    word_error_rate,
)

__all__ = [
    "F1",
    "MAE",
    "MSE",
    "R2",
    "Accuracy",
    "CharErrorRate",
    "Mean",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "TopKAccuracy",
    "WordErrorRate",
    "accuracy",
    "char_error_rate",
    "edit_distance",
    "f1",
    "get",
    "mae",
    "mse",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "top_k_accuracy",
    "word_error_rate",
]

_CLASSES: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "mse": MSE,
    "mae": MAE,
    "r2": R2,
    "perplexity": Perplexity,
}
_THRESHOLDED = ("accuracy", "precision", "recall", "f1")


def get(metric: str | Metric | Callable[[Tensor, Tensor], Any], **options: Any) -> Metric:
    """A metric by its name, with ``options`` where it takes them; a metric itself; the mean of a function.

    Names: "accuracy", "top_5_accuracy" (any number), "precision", "recall", "f1", "mse", "mae", "r2", "perplexity".

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
