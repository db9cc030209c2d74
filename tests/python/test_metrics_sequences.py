"""Perplexity, edit distance and error rates: known values, plain references, batch by batch."""

import math

import lanner as ln
import numpy as np
import pytest
from lanner import metrics


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("saturday", "sunday", 3),
        ("intention", "execution", 5),
        ("rosettacode", "raisethysword", 8),
        ("flaw", "lawn", 2),
        ("grün", "grau", 2),
        ([1, 2, 3], (1, 3), 1),
        (np.array([1, 2]), [2, 1], 2),
        (["the", "cat"], ["the", "hat"], 1),
    ],
)
def test_known_edit_distances(a, b, distance):
    assert metrics.edit_distance(a, b) == metrics.edit_distance(b, a) == distance


def plain_distance(a, b):
    table = [[i + j if i == 0 or j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
    return table[-1][-1]


def test_edit_distances_of_random_strings():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = ("".join(rng.choice(list("abc"), rng.integers(0, 15))) for _ in range(2))
        assert metrics.edit_distance(a, b) == plain_distance(a, b)


def test_error_rates():
    assert metrics.char_error_rate("kitten", "sitting") == 3 / 7
    assert metrics.char_error_rate(["kitten", ""], ["sitting", "abc"]) == 6 / 10
    assert metrics.char_error_rate([[1, 2], ln.tensor([3])], [np.array([1, 2]), [4, 5]]) == 2 / 4
    assert metrics.char_error_rate("aaaa", "b") == 4
    assert metrics.word_error_rate("a  b\nc", "a b d e") == 2 / 4
    assert metrics.word_error_rate(["a b", ["New York", "c"]], ["a b", ["New York", "d"]]) == 1 / 4
    assert math.isnan(metrics.char_error_rate("", ""))
    assert metrics.char_error_rate("a", "") == math.inf
    metric = metrics.WordErrorRate(name="wer")
    metric.update("a b c", "a b d")
    metric.update(["x", "y z"], ["x", "y"])
    assert metric.compute() == 2 / 5
    metric.reset()
    assert math.isnan(metric.compute())
    assert repr(metric) == "WordErrorRate(name='wer')"
    with pytest.raises(ln.ShapeError, match="wer: 2 predictions do not belong to 1 targets"):
        metric.update(["a", "b"], ["a"])
    with pytest.raises(TypeError, match="strings or lists of tokens, got int"):
        metrics.char_error_rate([1], [1])


@pytest.mark.parametrize("shape", [(40,), (8, 5)])
def test_perplexity(shape):
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, (shape[0], 11, *shape[1:])).astype(np.float32)
    target = rng.integers(0, 11, shape)
    target[1] = -100
    p = np.exp(scores.astype(np.float64))
    p = np.moveaxis(p / p.sum(axis=1, keepdims=True), 1, -1)
    chosen = np.take_along_axis(p, np.maximum(target, 0)[..., None], axis=-1)[..., 0]
    expected = np.exp(-np.log(chosen[target >= 0]).mean())
    assert metrics.perplexity(scores, target) == pytest.approx(expected, rel=1e-6)
    metric = metrics.get("perplexity")
    for part in (slice(0, 3), slice(3, None)):
        metric.update(ln.tensor(scores[part]), ln.tensor(target[part]))
    assert metric.compute() == pytest.approx(expected, rel=1e-6)
    other = np.where(target == -100, 3, target)
    counted = np.where(other == 3, -100, other)
    assert metrics.perplexity(scores, other, ignore_index=3) == pytest.approx(metrics.perplexity(scores, counted))


def test_perplexity_at_its_edges():
    assert metrics.perplexity(np.zeros((4, 65)), [0, 1, 2, 3]) == pytest.approx(65)
    assert metrics.perplexity([[0.0, 5000.0]], [0]) == math.inf
    assert math.isnan(metrics.perplexity(np.zeros((1, 3), np.float32), [-100]))
    assert math.isnan(metrics.Perplexity().compute())
    assert metrics.Perplexity().config() == {"ignore_index": -100, "name": "perplexity"}


def test_perplexity_in_a_model(tmp_path):
    ln.manual_seed(0)
    x, y = np.arange(12) % 4, np.arange(12) % 3
    net = ln.nn.Sequential(ln.nn.Embedding(4, 8), ln.nn.Linear(8, 3))
    model = ln.Model(net, loss="cross_entropy", optimizer="adam", metrics=["perplexity"])
    history = model.fit(x, y, epochs=2, batch_size=5, verbose=0, seed=0)
    figures = model.evaluate(x, y, batch_size=5, verbose=0)
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]), rel=1e-5)
    assert len(history.history["perplexity"]) == 2
    model.save(tmp_path / "m.safetensors")
    again = ln.Model.load(tmp_path / "m.safetensors")
    assert again.evaluate(x, y, verbose=0)["perplexity"] == pytest.approx(figures["perplexity"])
