"""Metrics against scikit-learn where it is installed, against NumPy otherwise; in one piece and batch by batch."""

from __future__ import annotations

import math

import lanner as ln
import numpy as np
import pytest
from lanner import metrics

rng = np.random.default_rng(0)
N, C = 257, 5
SCORES = rng.standard_normal((N, C)).astype(np.float32)
LABELS = np.where(rng.random(N) < 0.5, SCORES.argmax(1), rng.integers(0, C, N)).astype(np.int64)
GUESS = SCORES.argmax(1)
LOGITS = rng.standard_normal(N).astype(np.float32)
YES = (LOGITS + rng.standard_normal(N) > 0).astype(np.int64)


def batched(metric, prediction, target, sizes=(100, 1, 99, 57)):
    """The figure over batches of different sizes."""
    metric.reset()
    begin = 0
    for size in sizes:
        metric.update(ln.tensor(prediction[begin : begin + size]), ln.tensor(target[begin : begin + size]))
        begin += size
    assert begin == len(prediction)
    return metric.compute()


def test_accuracy_of_classes():
    expected = (GUESS == LABELS).mean()
    assert metrics.accuracy(SCORES, LABELS) == expected
    assert batched(metrics.Accuracy(), SCORES, LABELS) == expected  # exact: not a mean of means
    assert metrics.accuracy(SCORES, np.eye(C, dtype=np.float32)[LABELS]) == expected
    assert metrics.accuracy(GUESS, LABELS) == expected


def test_accuracy_of_pixels():
    scores = rng.standard_normal((2, C, 3, 4)).astype(np.float32)
    labels = rng.integers(0, C, (2, 3, 4))
    assert metrics.accuracy(scores, labels) == (scores.argmax(1) == labels).mean()


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
@pytest.mark.parametrize("low", [0, -1])
def test_accuracy_of_yes_or_no(shape, low):
    target = np.where(YES == 1, 1, low).reshape(shape)
    expected = ((LOGITS > 0) == YES).mean()
    assert batched(metrics.Accuracy(threshold=0.0), LOGITS.reshape(shape), target) == expected
    assert metrics.accuracy(LOGITS.reshape(shape), YES, threshold=0.0) == expected
    probabilities = 1 / (1 + np.exp(-LOGITS))
    assert metrics.accuracy(probabilities, YES.astype(np.float32)) == ((probabilities > 0.5) == YES).mean()


def test_accuracy_of_several_questions():
    target = (SCORES + rng.standard_normal((N, C)) > 0).astype(np.float32)
    expected = ((SCORES > 0) == (target > 0.5)).mean()
    assert metrics.accuracy(SCORES, target, task="binary", threshold=0.0) == expected


def test_accuracy_ignores_an_index():
    labels = LABELS.copy()
    labels[::3] = -100
    kept = labels != -100
    assert metrics.accuracy(SCORES, labels, ignore_index=-100) == (GUESS == labels)[kept].mean()


@pytest.mark.parametrize("k", [1, 2, 4, 9])
def test_top_k(k):
    best = np.argsort(-SCORES, axis=1)[:, :k]
    expected = (best == LABELS[:, None]).any(1).mean()
    assert batched(metrics.TopKAccuracy(k), SCORES, LABELS) == expected
    assert metrics.top_k_accuracy(SCORES, np.eye(C)[LABELS], k=k) == expected


def by_hand(kind, guess, labels, average):
    rows = [
        (((guess == c) & (labels == c)).sum(), (guess == c).sum(), (labels == c).sum())
        for c in np.union1d(guess, labels)
    ]
    if average == "micro":
        rows = [tuple(np.sum(rows, axis=0))]
    if average == "binary":
        rows = rows[1:]
    figure = {
        "precision": lambda both, predicted, true: both / predicted if predicted else 0.0,
        "recall": lambda both, predicted, true: both / true if true else 0.0,
        "f1": lambda both, predicted, true: 2 * both / (predicted + true),
    }[kind]
    return np.mean([figure(*row) for row in rows])


def expected_of(kind, guess, labels, average):
    try:
        from sklearn import metrics as sk
    except ImportError:
        return by_hand(kind, guess, labels, average)
    function = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}[kind]
    value = function(labels, guess, average=average, zero_division=0)
    assert value == pytest.approx(by_hand(kind, guess, labels, average), rel=1e-14)
    return value


CLASSES = {"precision": metrics.Precision, "recall": metrics.Recall, "f1": metrics.F1}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("average", [None, "macro", "micro"])
def test_precision_recall_f1_of_classes(kind, average):
    expected = expected_of(kind, GUESS, LABELS, average or "macro")
    assert batched(CLASSES[kind](average=average), SCORES, LABELS) == pytest.approx(expected, rel=1e-14)
    assert CLASSES[kind](average=average)(GUESS, LABELS) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("kind", CLASSES)
def test_precision_recall_f1_of_yes_or_no(kind):
    expected = expected_of(kind, (LOGITS > 0).astype(int), YES, "binary")
    assert batched(CLASSES[kind](threshold=0.0), LOGITS, YES) == pytest.approx(expected, rel=1e-14)
    two = np.stack([-LOGITS, LOGITS], axis=1)
    assert CLASSES[kind](average="binary")(two, YES) == pytest.approx(expected, rel=1e-14)
    assert CLASSES[kind](average="binary")((LOGITS > 0).astype(np.int64), YES) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_that_nobody_has_or_predicts(kind):
    scores, labels = SCORES[:, [0, 1, 2, 3, 4]].copy(), np.minimum(LABELS, 2)
    scores[:, 3] = -100.0
    guess = scores.argmax(1)
    expected = expected_of(kind, guess, labels, "macro")
    assert batched(CLASSES[kind](), scores, labels) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 3)])
def test_errors_of_numbers(shape):
    y = (rng.standard_normal(shape) * 3 + 1000).astype(np.float32)
    p = (y + rng.standard_normal(shape)).astype(np.float32)
    p64, y64 = p.astype(np.float64), y.astype(np.float64)
    assert batched(metrics.MSE(), p, y) == pytest.approx(((p64 - y64) ** 2).mean(), rel=1e-12)
    assert batched(metrics.MAE(), p, y) == pytest.approx(np.abs(p64 - y64).mean(), rel=1e-12)
    residual, spread = ((p64 - y64) ** 2).sum(0), ((y64 - y64.mean(0)) ** 2).sum(0)
    assert batched(metrics.R2(), p, y) == pytest.approx(np.mean(1 - residual / spread), rel=1e-10)


def test_r2_where_it_is_not_defined():
    assert math.isnan(metrics.r2([1.0], [1.0]))
    assert metrics.r2([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert metrics.r2([1.0, 2.0], [1.0, 1.0]) == 0.0


def test_nothing_seen_is_nan():
    for metric in ("accuracy", "top_5_accuracy", "precision", "recall", "f1", "mse", "mae", "r2"):
        assert math.isnan(metrics.get(metric).compute()), metric


def test_names():
    assert [metrics.get(n).name for n in ("accuracy", "top_3_accuracy", "f1")] == ["accuracy", "top_3_accuracy", "f1"]
    bias = metrics.get(lambda p, t: (p - t).mean())
    assert batched(bias, LOGITS, np.zeros(N, np.float32)) == pytest.approx(LOGITS.mean(), abs=1e-6)
    with pytest.raises(ValueError, match="no metric 'precison'"):
        metrics.get("precison")
    with pytest.raises(TypeError):
        metrics.get(3)


@pytest.mark.parametrize("name", ["accuracy", "top_2_accuracy", "precision", "mse", "r2"])
def test_shapes_that_do_not_belong(name):
    with pytest.raises(ln.ShapeError, match=name):
        metrics.get(name)(SCORES, LABELS[:-1])


def test_no_gradients_are_recorded():
    p = ln.ones(4, requires_grad=True)
    assert metrics.mse(p * 2, ln.zeros(4)) == 4.0
    with pytest.raises(ln.ShapeError):
        metrics.mae(p, ln.zeros((4, 4)))
    with pytest.raises(ValueError, match="average"):
        metrics.F1(average="weighted")
