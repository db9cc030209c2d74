"""Random tensors.

Every call takes one number of the program's generator (Philox, counter-based), and each element depends on that and its
place alone: after ``ln.manual_seed`` the same calls give the same bits, for any number of threads.

>>> ln.manual_seed(0)
>>> ln.random.normal((2, 3)).shape
(2, 3)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lanner import _core
from lanner._core import Tensor, manual_seed

__all__ = [
    "bernoulli",
    "categorical",
    "get_state",
    "manual_seed",
    "normal",
    "permutation",
    "randint",
    "set_state",
    "uniform",
]

Shape = int | Sequence[int]


def normal(shape: Shape = (), mean: float = 0.0, std: float = 1.0, dtype: Any = None) -> Tensor:
    """Gaussian numbers of the given mean and standard deviation; float32 unless ``dtype`` says otherwise.

    >>> ln.manual_seed(0)
    >>> x = ln.random.normal(10000, mean=3, std=2)
    >>> abs(x.mean().item() - 3) < 0.1, abs(x.std().item() - 2) < 0.1
    (True, True)
    """
    return _core._normal(shape, mean, std, _core.float32 if dtype is None else dtype)


def uniform(shape: Shape = (), low: float = 0.0, high: float = 1.0, dtype: Any = None) -> Tensor:
    """Numbers spread evenly over ``[low, high)``; float32 unless ``dtype`` says otherwise.

    >>> ln.manual_seed(0)
    >>> x = ln.random.uniform((100, 100), -1, 1)
    >>> x.shape, bool(x.min().item() >= -1), bool(x.max().item() < 1)
    ((100, 100), True, True)
    """
    return _core._uniform(shape, low, high, _core.float32 if dtype is None else dtype)


def randint(low: int, high: int | None = None, shape: Shape = (), dtype: Any = None) -> Tensor:
    """Integers from ``low`` to ``high - 1``, all equally likely; from 0 to ``low - 1`` without ``high``; int64.

    >>> ln.manual_seed(0)
    >>> dice = ln.random.randint(1, 7, 1000)
    >>> dice.min().item(), dice.max().item()
    (1, 6)
    """
    if high is None:
        low, high = 0, low
    return _core._randint(low, high, shape, _core.int64 if dtype is None else dtype)


def permutation(x: int | Tensor) -> Tensor:
    """``0 ... x - 1`` in random order; of a Tensor, the tensor with its first axis in random order.

    >>> ln.manual_seed(0)
    >>> sorted(ln.random.permutation(5).tolist())
    [0, 1, 2, 3, 4]
    >>> ln.random.permutation(ln.ones((4, 2))).shape
    (4, 2)
    """
    return _core._permutation(x)


def bernoulli(p: float | Tensor, shape: Shape | None = None, dtype: Any = None) -> Tensor:
    """True with probability ``p``, in ``shape``; of a Tensor of probabilities, 1 or 0 in its shape and dtype.

    >>> ln.manual_seed(0)
    >>> abs(ln.random.bernoulli(0.25, 10000, dtype=ln.float32).mean().item() - 0.25) < 0.02
    True
    >>> ln.random.bernoulli(ln.tensor([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    if isinstance(p, Tensor):
        if shape is not None:
            raise TypeError("bernoulli: shape comes from the Tensor p; leave it out")
        drawn = _core._bernoulli(p)
        return drawn if dtype is None else drawn.to(dtype)
    return _core._bernoulli(p, () if shape is None else shape, _core.bool if dtype is None else dtype)


def categorical(logits: Tensor, axis: int = -1, shape: Shape | None = None) -> Tensor:
    """Classes, each drawn with probability ``softmax(logits)`` along ``axis``: int64 in the shape of the other axes.

    ``shape`` ends with that shape, and asks for as many draws of each. NumPy's ``choice(p=p)`` and PyTorch's
    ``multinomial(p, n, replacement=True)`` are ``categorical(ln.log(p), shape=n)``. Raises Error where a row of logits
    has a NaN or +inf, or nothing but -inf.

    >>> ln.manual_seed(0)
    >>> x = ln.random.categorical(ln.log(ln.tensor([0.5, 0.0, 0.5])), shape=1000)
    >>> sorted(set(x.tolist())), abs((x == 0).to(ln.float32).mean().item() - 0.5) < 0.05
    ([0, 2], True)
    >>> ln.random.categorical(ln.zeros((4, 10)) / 0.8).shape  # a temperature of 0.8
    (4,)
    """
    return _core._categorical(logits, axis, shape)


def get_state() -> Tensor:
    """What decides all that will be drawn, as a small Tensor to keep in a checkpoint.

    >>> state = ln.random.get_state()
    >>> a = ln.random.uniform(3); ln.random.set_state(state)
    >>> ln.all(a == ln.random.uniform(3)).item()
    True
    """
    return _core._random_state()


def set_state(state: Tensor) -> None:
    """Go on drawing from where ``get_state`` was called.

    >>> ln.random.set_state(ln.random.get_state())
    """
    _core._set_random_state(state)
