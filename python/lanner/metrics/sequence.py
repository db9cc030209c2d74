"""Metrics of sequences: how well a language model foresees them, how far they are from what they should be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lanner import _core
from lanner._core import Tensor
from lanner.metrics.base import Metric, divide

__all__ = [
    "CharErrorRate",
    "Perplexity",
    "WordErrorRate",
    "char_error_rate",
    "edit_distance",
    "perplexity",
    "word_error_rate",
]


class Perplexity(Metric):
    """The perplexity of a language model, ``exp(mean(-log p(target)))``: of how many tokens it is in doubt.

    Predictions are scores (logits) [N, C] or [N, C, ...], targets class indices [N] or [N, ...], as for
    ``cross_entropy``; the mean is over all targets but those equal to ``ignore_index``.

    >>> round(ln.metrics.Perplexity()(ln.zeros((3, 8)), ln.tensor([0, 5, 7])), 3)
    8.0
    """

    def __init__(self, *, ignore_index: int = -100, name: str = "perplexity") -> None:
        self.ignore_index = ignore_index
        super().__init__(name)

    def reset(self) -> None:
        """Forget all that was seen."""
        self._sum, self._tokens = 0.0, 0

    def measure(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """The sum of ``-log p``, and of how many tokens."""
        losses = _core.cross_entropy(
            prediction.detach(), target.to(_core.int64), ignore_index=self.ignore_index, reduction="none"
        )
        return _core.sum(losses.to(_core.float64)), _core.sum(target != self.ignore_index)

    def collect(self, measured: tuple[Tensor, ...]) -> None:
        """Add them up."""
        self._sum += float(measured[0].item())
        self._tokens += int(measured[1].item())

    def compute(self) -> float:
        """Return the figure of all that was seen."""
        try:
            return math.exp(divide(self._sum, self._tokens))
        except OverflowError:
            return math.inf

    def config(self) -> dict[str, Any]:
        """Return the arguments that make the same metric again."""
        return {"ignore_index": self.ignore_index, "name": self.name}


class _ErrorRate(Metric):
    """Edits over the length of what should be there, both added up over all pairs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)

    def reset(self) -> None:
        self._edits, self._length = 0, 0

    def update(self, prediction: Any, target: Any) -> None:
        pairs = [[given] if isinstance(given, str) else list(given) for given in (prediction, target)]
        if len(pairs[0]) != len(pairs[1]):
            raise _core.ShapeError(f"{self.name}: {len(pairs[0])} predictions do not belong to {len(pairs[1])} targets")
        for guess, truth in zip(*pairs, strict=True):
            units = self._units(truth)
            self._edits += edit_distance(self._units(guess), units)
            self._length += len(units)

    def compute(self) -> float:
        return math.inf if self._edits and not self._length else divide(self._edits, self._length)

    def __call__(self, prediction: Any, target: Any) -> float:
        self.reset()
        self.update(prediction, target)
        return self.compute()

    def _units(self, text: Any) -> Sequence[Any]:
        raise NotImplementedError


class CharErrorRate(_ErrorRate):
    """The character error rate: edits that make the predictions the targets, over the characters of the targets.

    Predictions and targets are strings, or lists of them, or of lists of tokens (each counts as a character). Edits are
    added up over all pairs before they are divided; many insertions make it larger than 1.

    >>> ln.metrics.CharErrorRate()(["kitten", "ab"], ["sitting", "abc"])
    0.4
    """

    def __init__(self, *, name: str = "char_error_rate") -> None:
        super().__init__(name)

    def _units(self, text: Any) -> Sequence[Any]:
        return text if isinstance(text, str) else _as_tokens(text)


class WordErrorRate(_ErrorRate):
    """The word error rate: as ``CharErrorRate``, of words with white space between them.

    >>> ln.metrics.WordErrorRate()("the cat sat on mat", "the cat sat on the mat") == 1 / 6
    True
    """

    def __init__(self, *, name: str = "word_error_rate") -> None:
        super().__init__(name)

    def _units(self, text: Any) -> Sequence[Any]:
        return text.split() if isinstance(text, str) else _as_tokens(text)


def _as_tokens(tokens: Any) -> list[Any]:
    if hasattr(tokens, "tolist"):
        tokens = tokens.tolist()
    if not isinstance(tokens, Iterable):
        raise TypeError(f"an error rate is of strings or lists of tokens, got {type(tokens).__name__}")
    return list(tokens)


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """The least number of insertions, deletions and replacements that make ``a`` into ``b`` (Levenshtein 1966).

    Of strings, or of sequences of anything that can be compared and hashed.

    >>> ln.metrics.edit_distance("kitten", "sitting"), ln.metrics.edit_distance([1, 2, 3], [2, 3, 4])
    (3, 2)
    """
    import numpy as np

    numbers: dict[Any, int] = {}
    x, y = (np.array([numbers.setdefault(t, len(numbers)) for t in tokens], np.int64) for tokens in (a, b))
    places = np.arange(len(y) + 1)
    row = places
    for i, token in enumerate(x, 1):
        # Deletion from above, replacement from above left; insertion from the left is a running minimum of what is
        # left when each place has taken its own number of insertions.
        best = np.minimum(row[1:] + 1, row[:-1] + (y != token))
        row = np.minimum.accumulate(np.concatenate([[i], best]) - places) + places
    return int(row[-1])


def perplexity(prediction: Any, target: Any, ignore_index: int = -100) -> float:
    """The perplexity of scores; see ``Perplexity``.

    >>> round(ln.metrics.perplexity([[0.0, 0.0]], [1]), 3)
    2.0
    """
    return Perplexity(ignore_index=ignore_index)(prediction, target)


def char_error_rate(prediction: Any, target: Any) -> float:
    """The character error rate; see ``CharErrorRate``.

    >>> ln.metrics.char_error_rate("hallo", "hello")
    0.2
    """
    return CharErrorRate()(prediction, target)


def word_error_rate(prediction: Any, target: Any) -> float:
    """The word error rate; see ``WordErrorRate``.

    >>> ln.metrics.word_error_rate("a b c d", "a x c d")
    0.25
    """
    return WordErrorRate()(prediction, target)
