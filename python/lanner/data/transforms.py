"""Transforms of images [C, H, W] or batches of them [N, C, H, W], to be used in a ``Dataset`` or a loop.

>>> augment = ln.data.transforms.Compose([
...     ln.data.transforms.RandomCrop(32, padding=4),
...     ln.data.transforms.RandomHorizontalFlip(),
... ])
>>> augment(ln.zeros((8, 3, 32, 32))).shape
(8, 3, 32, 32)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lanner import _core
from lanner._core import Tensor

__all__ = ["Compose", "Normalize", "RandomCrop", "RandomHorizontalFlip"]


class Compose:
    """One transform after the other.

    >>> ln.data.transforms.Compose([lambda x: x + 1, lambda x: x * 2])(ln.tensor([1.0])).tolist()
    [4.0]
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, x: Any) -> Any:
        """All of them, in order."""
        for transform in self.transforms:
            x = transform(x)
        return x


class Normalize:
    """``(x - mean) / std``, with one mean and one std a channel (or one for all).

    >>> ln.data.transforms.Normalize([1.0], [2.0])(ln.ones((1, 2, 2)) * 5).tolist()
    [[[2.0, 2.0], [2.0, 2.0]]]
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean, self.std = ([v] if isinstance(v, (int, float)) else list(v) for v in (mean, std))
        if any(s == 0 for s in self.std):
            raise ValueError(f"Normalize: std must not be 0, got {self.std}")

    def __call__(self, x: Tensor) -> Tensor:
        """``x``, normalized."""
        _check_image("Normalize", x)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, x.shape[-3]):
                raise _core.ShapeError(f"Normalize: {len(values)} of {name} for {x.shape[-3]} channels")
        mean, std = (_core.tensor(v, dtype=_core.float32).reshape((len(v), 1, 1)) for v in (self.mean, self.std))
        return (x - mean) / std


class RandomHorizontalFlip:
    """Mirrors each image with probability ``p``.

    >>> ln.data.transforms.RandomHorizontalFlip(p=1)(ln.tensor([[[1.0, 2.0]]])).tolist()
    [[[2.0, 1.0]]]
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p is a probability, from 0 to 1; got {p}")
        self.p = p

    def __call__(self, x: Tensor) -> Tensor:
        """``x``, mirrored or not."""
        _check_image("RandomHorizontalFlip", x)
        chosen = _core._bernoulli(self.p, (*x.shape[:-3], 1, 1, 1), _core.bool)
        return _core.where(chosen, _core.flip(x, axis=-1), x)


class RandomCrop:
    """A window of ``size`` (one number, or height and width) at a random place, after zero ``padding`` on all sides.

    Each image of a batch has its own place.

    >>> ln.data.transforms.RandomCrop(2)(ln.zeros((5, 1, 4, 4))).shape
    (5, 1, 2, 2)
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding = padding

    def __call__(self, x: Tensor) -> Tensor:
        """A window of ``x``."""
        _check_image("RandomCrop", x)
        if self.padding:
            x = _core.pad(x, (self.padding,) * 4)
        spaces = [x.shape[axis] - size for axis, size in zip((-2, -1), self.size, strict=True)]
        if min(spaces) < 0:
            raise _core.ShapeError(f"RandomCrop: a window of {self.size} does not fit into {tuple(x.shape[-2:])}")
        if x.ndim == 3:
            return self._crop(x, *(self._places(space, 1)[0] for space in spaces))
        tops, lefts = (self._places(space, x.shape[0]) for space in spaces)
        return _core.stack([self._crop(x[i], tops[i], lefts[i]) for i in range(x.shape[0])], axis=0)

    @staticmethod
    def _places(space: int, count: int) -> list[int]:
        places: list[int] = _core._randint(0, space + 1, (count,), _core.int64).tolist()
        return places

    def _crop(self, x: Tensor, top: int, left: int) -> Tensor:
        return x[..., top : top + self.size[0], left : left + self.size[1]]


def _check_image(name: str, x: Tensor) -> None:
    if x.ndim not in (3, 4):
        raise _core.ShapeError(f"{name}: expected [C, H, W] or [N, C, H, W], got shape {list(x.shape)}")
