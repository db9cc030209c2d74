"""What a loader draws its samples from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lanner import _core
from lanner._core import Tensor


class Dataset:
    """The base class of data sets of one's own: ``__getitem__`` gives one sample, ``__len__`` their number.

    >>> class Squares(ln.data.Dataset):
    ...     def __getitem__(self, index): return float(index), float(index**2)
    ...     def __len__(self): return 4
    >>> [y.tolist() for x, y in ln.data.DataLoader(Squares(), batch_size=2)]
    [[0.0, 1.0], [4.0, 9.0]]
    """

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must override __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must override __len__")


class TensorDataset(Dataset):
    """Tensors (or arrays) whose first axes count the same samples; sample i is a tuple of row i of each.

    >>> data = ln.data.TensorDataset(ln.ones((5, 2)), ln.arange(5))
    >>> len(data), data[3][1].item()
    (5, 3)
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset: expected at least one tensor")
        self.tensors: tuple[Tensor, ...] = tuple(
            as_tensor(t, f"TensorDataset: tensor {i}") for i, t in enumerate(tensors)
        )
        counts = [t.shape[0] for t in self.tensors]
        if len(set(counts)) > 1:
            raise _core.ShapeError(f"TensorDataset: the tensors have {counts} samples; expected equal numbers")

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])


class Subset(Dataset):
    """The samples of ``dataset`` at ``indices``.

    >>> data = ln.data.Subset(ln.data.TensorDataset(ln.arange(10)), [7, 2])
    >>> len(data), data[0][0].item()
    (2, 7)
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, [int(i) for i in indices]

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], seed: int | None = None) -> list[Subset]:
    """Cut ``dataset`` at random into parts of the given lengths, or fractions that add up to 1.

    What rounding down leaves over goes to the first parts, one sample each. The same ``seed`` gives the same parts;
    without one they come from the generator that ``ln.manual_seed`` sets.

    >>> parts = ln.data.random_split(ln.data.TensorDataset(ln.arange(10)), [0.8, 0.2], seed=0)
    >>> [len(part) for part in parts], sorted(parts[0].indices + parts[1].indices) == list(range(10))
    ([8, 2], True)
    """
    samples = len(dataset)
    if not lengths or any(length < 0 for length in lengths):
        raise ValueError(f"random_split: lengths must not be negative or none at all, got {list(lengths)}")
    if math.isclose(sum(lengths), 1) and sum(lengths) != samples:
        counts = [math.floor(samples * fraction) for fraction in lengths]
        for i in range(samples - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [int(length) for length in lengths]
        if sum(counts) != samples or any(count != length for count, length in zip(counts, lengths, strict=True)):
            raise ValueError(
                f"random_split: lengths must be whole numbers that add up to the {samples} samples, or fractions that "
                f"add up to 1; got {list(lengths)}"
            )
    order = _core._sample_order(samples, True, _core._draw_seed() if seed is None else seed, 0).tolist()
    parts, begin = [], 0
    for count in counts:
        parts.append(Subset(dataset, order[begin : begin + count]))
        begin += count
    return parts


def as_tensor(value: Any, what: str) -> Tensor:
    """``value`` as a Tensor that shares its memory where it can, with an axis of samples."""
    tensor = value if isinstance(value, Tensor) else _core.asarray(value)
    if tensor.ndim == 0:
        raise _core.ShapeError(f"{what} must have a first axis that counts samples, got a single number")
    return tensor
