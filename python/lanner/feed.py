"""What fit, evaluate and predict are given, made into batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lanner import _core
from lanner._core import Tensor

Inputs = tuple[Tensor, ...]
Batch = tuple[Inputs, Tensor | None]

# Batches made ready ahead of the step by the loader's thread, where one is so large that gathering it takes longer
# (some 50 us) than waking a thread on a machine that has other things to do.
_PREFETCH, _PREFETCH_BYTES = 2, 2**18
_WHOLE = (_core.int8, _core.int16, _core.int32, _core.uint16, _core.uint32, _core.uint64)


def as_inputs(x: Any, caller: str) -> Inputs:
    """The inputs of a net: of a tuple each, else one. float64 arrays become float32; uint8 (images) stays.

    Integers of other widths become int64; a Tensor stays as it is.
    """
    if not isinstance(x, tuple):
        return (_as_tensor(x, caller, "x", ()),)
    if not x:
        raise ValueError(f"{caller}: x is an empty tuple")
    return tuple(_as_tensor(part, caller, f"x[{i}]", ()) for i, part in enumerate(x))


def as_target(y: Any, caller: str) -> Tensor:
    """The targets: labels of any integer dtype, and truth values, become int64, float64 arrays float32.

    A Tensor stays as it is.
    """
    return _as_tensor(y, caller, "y", (_core.uint8, _core.bool))


def _as_tensor(value: Any, caller: str, name: str, to_int64: tuple[Any, ...]) -> Tensor:
    try:
        tensor = value if isinstance(value, Tensor) else _core.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{caller}: {name} must be an array, a Tensor or a DataLoader, got {type(value).__name__} ({error})"
        ) from error
    if tensor.ndim == 0:
        raise _core.ShapeError(f"{caller}: {name} must have an axis of samples, got a single number")
    dtype = tensor.dtype
    if dtype is _core.float32 or tensor is value:
        return tensor
    if dtype is _core.float64:
        return tensor.to(_core.float32)
    return tensor.to(_core.int64) if dtype in _WHOLE or dtype in to_int64 else tensor


def is_loader(x: Any) -> bool:
    """Whether ``x`` gives batches itself: a DataLoader, or anything like one."""
    if isinstance(x, (Tensor, tuple, list)) or hasattr(x, "__array__"):
        return False
    return hasattr(x, "__iter__")


class Feed:
    """Batches of one pass after another, from arrays or from a loader."""

    def __init__(
        self, x: Any, y: Any, batch_size: int, caller: str, *, shuffle: bool = False, seed: int | None = None
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"{caller}: batch_size must be a whole number of at least 1, got {batch_size!r}")
        self.batch_size, self.shuffle, self.caller = batch_size, shuffle, caller
        self.seed = (_core._draw_seed() if shuffle else 0) if seed is None else seed & (2**63 - 1)
        self.reproducible = seed is not None
        self.loader: Any = None
        self.inputs: Inputs = ()
        self.target: Tensor | None = None
        self.samples: int | None = None
        self.batches: int | None = None
        if is_loader(x):
            if y is not None:
                raise ValueError(f"{caller}: y must not be given beside a loader, whose batches hold the targets")
            self.loader = x
            self.batches = len(x) if hasattr(x, "__len__") else None
            return
        self.inputs = as_inputs(x, caller)
        self.target = None if y is None else as_target(y, caller)
        counts = {f"x[{i}]" if len(self.inputs) > 1 else "x": t.shape[0] for i, t in enumerate(self.inputs)}
        if self.target is not None:
            counts["y"] = self.target.shape[0]
        if len(set(counts.values())) > 1:
            raise _core.ShapeError(f"{caller}: " + ", ".join(f"{name} has {n} samples" for name, n in counts.items()))
        self._resize()

    def _resize(self) -> None:
        self.samples = int(self.inputs[0].shape[0])
        self.batches = -(-self.samples // self.batch_size)

    def split(self, fraction: float) -> Feed:
        """Take the last ``fraction`` of the samples away, and return them as a feed of their own."""
        if self.samples is None:
            raise ValueError(f"{self.caller}: validation_split needs arrays; give a loader validation_data instead")
        if not 0 < fraction < 1:
            raise ValueError(f"{self.caller}: validation_split must be between 0 and 1, got {fraction}")
        # As Keras cuts: training gets the whole samples of its share.
        kept = int(self.samples * (1 - fraction))
        if kept == 0 or kept == self.samples:
            raise ValueError(
                f"{self.caller}: validation_split={fraction} of {self.samples} samples leaves {kept} to train on and "
                f"{self.samples - kept} to validate with"
            )
        rest = Feed.__new__(Feed)
        rest.__dict__.update(self.__dict__, shuffle=False)
        rest.inputs = tuple(t[kept:] for t in self.inputs)
        rest.target = None if self.target is None else self.target[kept:]
        self.inputs = tuple(t[:kept] for t in self.inputs)
        self.target = None if self.target is None else self.target[:kept]
        rest._resize()
        self._resize()
        return rest

    def require_samples(self) -> None:
        """Raise where there is nothing to learn or to judge from."""
        if self.samples == 0:
            raise _core.ShapeError(f"{self.caller}: x has no samples (shape {list(self.inputs[0].shape)})")

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """The batches of one pass; where they are shuffled, seed and number of the pass decide their order."""
        if self.loader is not None:
            if self.reproducible and isinstance(getattr(self.loader, "epoch", None), int):
                self.loader.epoch = number  # a DataLoader's order is that of its own seed and this
            for batch in self.loader:
                yield self._split_batch(batch)
            return
        if self.shuffle:
            arrays = [*self.inputs] if self.target is None else [*self.inputs, self.target]
            batch_bytes = sum(t.nbytes for t in arrays) // max(int(arrays[0].shape[0]), 1) * self.batch_size
            prefetch = _PREFETCH if batch_bytes >= _PREFETCH_BYTES else 0
            loader = _core._BatchLoader(arrays, self.batch_size, True, False, self.seed, prefetch, None)
            for batch in loader.epoch(number):
                yield (batch, None) if self.target is None else (batch[:-1], batch[-1])
            return
        assert self.samples is not None
        for begin in range(0, self.samples, self.batch_size):  # in order: views, no copies
            part = slice(begin, begin + self.batch_size)
            yield tuple(t[part] for t in self.inputs), None if self.target is None else self.target[part]

    def _split_batch(self, batch: Any) -> Batch:
        """Of a loader's batch, the last part is the target; one that is a single array has none."""
        if not isinstance(batch, (tuple, list)):
            return as_inputs(batch, self.caller), None
        if len(batch) == 0:
            raise ValueError(f"{self.caller}: the loader gave an empty batch")
        if len(batch) == 1:
            return as_inputs(batch[0], self.caller), None
        first = tuple(batch[:-1]) if len(batch) > 2 else batch[0]
        return as_inputs(first, self.caller), as_target(batch[-1], self.caller)
