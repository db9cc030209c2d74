"""Predictions and targets brought into one form, for metrics."""

from __future__ import annotations

from typing import Literal

from lanner import _core
from lanner._core import Tensor

Task = Literal["binary", "multiclass"]

_FLOATS = (_core.float16, _core.bfloat16, _core.float32, _core.float64)


def count(indices: Tensor, classes: int) -> Tensor:
    """How often each of the classes stands in ``indices``."""
    none = _core.zeros((classes,), dtype=_core.int64)
    return _core.scatter_add(none, indices, _core.ones_like(indices), axis=0)


def are_indices(prediction: Tensor, target: Tensor, task: Task | None) -> bool:
    """Whether predictions are class indices themselves."""
    same = tuple(prediction.shape) == tuple(target.shape)
    return same and task is None and prediction.dtype not in _FLOATS and prediction.dtype != _core.bool


def labels(
    prediction: Tensor, target: Tensor, task: Task | None, threshold: float, name: str, known_classes: bool = False
) -> tuple[Tensor, Tensor, int | None]:
    """Class indices [n] of prediction and target and the number of classes (where those are not told by a shape, only
    with `known_classes`, which reads them); [N, questions] of 0 and 1, and None, where each score answers yes or no."""
    prediction = prediction.detach()
    shape, expected = tuple(prediction.shape), tuple(target.shape)
    if expected == (*shape, 1) or shape == (*expected, 1):
        prediction, target = _core.reshape(prediction, (-1, 1)), _core.reshape(target, (-1, 1))
        same, columns = True, 1
    else:
        same, columns = shape == expected, shape[1] if len(shape) > 1 else 1
    if are_indices(prediction, target, task):
        guess, truth = (_core.reshape(t.to(_core.int64), (-1,)) for t in (prediction, target))
        known = known_classes and guess.size > 0
        classes = int(_core.maximum(_core.max(guess), _core.max(truth)).item()) + 1 if known else 0
        return guess, truth, classes
    if task == "binary" or (task is None and same and columns == 1):
        if not same:
            raise _mismatch(name, shape, expected)
        rows = prediction.shape[0] if prediction.ndim else 1
        guess = (_core.reshape(prediction, (rows, -1)) > threshold).to(_core.int64)
        return guess, (_core.reshape(target, guess.shape) > 0.5).to(_core.int64), None
    if same and len(shape) > 1:
        target = _core.argmax(target, axis=1)
    elif shape[:1] + shape[2:] != expected or len(shape) < 2:
        raise _mismatch(name, shape, expected)
    guess = _core.reshape(_core.argmax(prediction, axis=1), (-1,))
    return guess, _core.reshape(target.to(_core.int64), (-1,)), columns


def _mismatch(name: str, prediction: tuple[int, ...], target: tuple[int, ...]) -> Exception:
    error: Exception = _core.ShapeError(
        f"{name}: targets {list(target)} do not belong to predictions {list(prediction)}; expected class indices "
        f"{list(prediction[:1] + prediction[2:])}, or targets of the shape of the predictions"
    )
    return error


def difference_of(prediction: Tensor, target: Tensor, name: str) -> Tensor:
    """prediction - target in float64; [N] and [N, 1] belong together."""
    prediction = prediction.detach()
    shape, expected = tuple(prediction.shape), tuple(target.shape)
    if shape != expected and shape != (*expected, 1) and expected != (*shape, 1):
        raise _core.ShapeError(f"{name}: targets {list(expected)} do not have the shape of predictions {list(shape)}")
    return prediction.to(_core.float64) - _core.reshape(target, shape).to(_core.float64)
