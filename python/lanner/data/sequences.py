"""Sequences of different lengths in batches, and windows over long ones.

>>> sentences = [[5, 6], [7], [5, 7, 6, 8, 5, 6], [6, 6, 7, 8, 5]]
>>> sampler = ln.data.BucketSampler([len(s) for s in sentences], batch_size=2, buckets=2, seed=0)
>>> loader = ln.data.DataLoader(sentences, batch_sampler=sampler, collate_fn=ln.data.PadCollate(sampler.boundaries))
>>> sorted((tokens.shape, lengths.tolist()) for tokens, lengths in loader)
[((2, 2), [1, 2]), ((2, 6), [5, 6])]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lanner import _core
from lanner.data.loader import default_collate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Side = Literal["right", "left"]

__all__ = ["BucketSampler", "PadCollate", "pad_sequences", "windows"]

# Lengths that are tried as ends of buckets: their best choice takes time that goes with the square of their number.
_CANDIDATES = 512
# Orders of batches are drawn under another key than those of samples.
_BATCH_KEY = 0x6275636B657473


def pad_sequences(
    sequences: Sequence[Any],
    *,
    value: float = 0,
    length: int | None = None,
    truncate: bool = False,
    side: Side = "right",
    dtype: Any = None,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Sequences [T_i, ...] as one array [N, T, ...], and their lengths, int64 [N].

    T is ``length``, else that of the longest. What is missing on the ``side`` is ``value``. Longer ones are an error,
    or lose what is too much on that side if ``truncate``. Whole numbers become int64, floating ones float32, unless
    ``dtype`` says otherwise.

    >>> padded, lengths = ln.data.pad_sequences([[1, 2, 3], [4]], value=9)
    >>> padded.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, 9, 9]], [3, 1])
    """
    import numpy as np

    if side not in ("right", "left"):
        raise ValueError(f'pad_sequences: side must be "right" or "left", got {side!r}')
    arrays = [np.asarray(sequence) for sequence in sequences]
    for i, array in enumerate(arrays):
        if array.ndim == 0:
            raise _core.ShapeError(f"pad_sequences: sequence {i} is a single number")
    rest = {array.shape[1:] for array in arrays if array.size or array.ndim > 1}
    if len(rest) > 1:
        raise _core.ShapeError(f"pad_sequences: elements have shapes {sorted(map(list, rest))}; expected equal ones")
    lengths = np.array([len(array) for array in arrays], np.int64)
    longest = int(lengths.max(initial=0))
    if length is None:
        length = longest
    elif length < longest:
        if not truncate:
            raise _core.ShapeError(
                f"pad_sequences: sequence {int(lengths.argmax())} has length {longest}, more than length={length}"
            )
        arrays = [array[:length] if side == "right" else array[max(len(array) - length, 0) :] for array in arrays]
        lengths = np.minimum(lengths, length)
    padded = np.full((len(arrays), length, *next(iter(rest), ())), value, _padded_dtype(arrays, sequences, dtype))
    for row, array in zip(padded, arrays, strict=True):
        if side == "right":
            row[: len(array)] = array
        else:
            row[length - len(array) :] = array
    return padded, lengths


def _padded_dtype(arrays: Sequence[Any], sequences: Sequence[Any], dtype: Any) -> Any:
    import numpy as np

    if dtype is not None:
        return np.dtype(dtype)
    # Of an empty list, NumPy makes float64; it tells nothing.
    told = [
        array.dtype for array, given in zip(arrays, sequences, strict=True) if array.size or hasattr(given, "dtype")
    ]
    kinds = {d.kind for d in told}
    if kinds - set("biuf"):
        raise _core.DTypeError(f"pad_sequences: expected numbers, got {', '.join(sorted(str(d) for d in set(told)))}")
    return np.dtype(np.float32 if "f" in kinds else np.int64)


class PadCollate:
    """Samples to a padded batch, as a ``DataLoader``'s ``collate_fn``.

    Of a sample that is a tuple, each part with an axis (those numbered in ``parts``, if given) becomes two tensors of
    the batch, the padded sequences [N, T, ...] and their lengths [N]; other parts are joined as ever. So ``(tokens,
    label)`` gives ``(tokens [N, T], lengths [N], labels [N])``, which ``Model.fit`` takes as two inputs and the target.
    ``lengths`` are the numbers of the parts whose lengths are given; without, all padded ones.

    T is the smallest of ``boundaries`` that holds the batch, so that a compiled step has no more plans than those;
    without, that of the longest. Where ``together``, all padded parts have the same T. ``boundaries`` and ``value`` may
    be dicts by the number of the part; ``side`` is where padding goes.

    >>> collate = ln.data.PadCollate([4, 8])
    >>> tokens, lengths, labels = collate([([1, 2, 3], 0), ([4], 1)])
    >>> tokens.tolist(), lengths.tolist(), labels.tolist()
    ([[1, 2, 3, 0], [4, 0, 0, 0]], [3, 1], [0, 1])
    """

    def __init__(
        self,
        boundaries: Sequence[int] | Mapping[int, Sequence[int]] | None = None,
        *,
        value: float | Mapping[int, float] = 0,
        parts: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
        together: bool = False,
        side: Side = "right",
    ) -> None:
        self.boundaries, self.value = boundaries, value
        self.parts = None if parts is None else frozenset(parts)
        self.lengths = None if lengths is None else frozenset(lengths)
        self.together, self.side = together, side

    def __call__(self, samples: list[Any]) -> tuple[Any, ...]:
        """The batch of some samples."""
        first = samples[0]
        columns = [list(part) for part in zip(*samples, strict=True)] if isinstance(first, tuple) else [samples]
        padded = [self._is_padded(i, column) for i, column in enumerate(columns)]
        longest = [max(map(len, column)) if wanted else 0 for column, wanted in zip(columns, padded, strict=True)]
        if self.together:
            longest = [max(longest)] * len(longest)
        batch: list[Any] = []
        for i, column in enumerate(columns):
            if not padded[i]:
                batch.append(default_collate(column))
                continue
            value = self.value.get(i, 0) if isinstance(self.value, Mapping) else self.value
            array, lengths = pad_sequences(column, value=value, length=self._length(i, longest[i]), side=self.side)
            batch.append(_core.asarray(array))
            if self.lengths is None or i in self.lengths:
                batch.append(_core.asarray(lengths))
        return tuple(batch)

    def _is_padded(self, part: int, column: list[Any]) -> bool:
        if self.parts is not None:
            return part in self.parts
        return getattr(column[0], "ndim", 0) > 0 or isinstance(column[0], list)

    def _length(self, part: int, longest: int) -> int:
        boundaries = self.boundaries.get(part) if isinstance(self.boundaries, Mapping) else self.boundaries
        if boundaries is None:
            return longest
        fitting = [b for b in boundaries if b >= longest]
        if not fitting:
            raise _core.ShapeError(
                f"PadCollate: a sequence of part {part} has length {longest}, more than the largest of boundaries "
                f"{list(boundaries)}"
            )
        return min(fitting)


class BucketSampler:
    """Batches of samples of like lengths, so that little is padded: lists of indices, for ``DataLoader``.

    ``boundaries`` are at most ``buckets`` lengths to pad to, chosen so that the least is padded (or ``buckets`` is a
    list of them); what does not fill a batch goes up to the next bucket, so that no batch but one is smaller than
    ``batch_size``. With ``shuffle``, samples and batches have another order in each epoch, the same ones for the same
    ``seed``; without, batches go from short to long. ``drop_last`` leaves the smaller batch out.

    >>> sampler = ln.data.BucketSampler([3, 9, 2, 10, 3, 8], batch_size=2, buckets=2, shuffle=False)
    >>> sampler.boundaries, list(sampler), round(sampler.waste, 3)
    ((3, 10), [[0, 2], [4, 1], [3, 5]], 0.239)
    """

    def __init__(
        self,
        lengths: Sequence[int] | NDArray[Any],
        batch_size: int,
        *,
        buckets: int | Sequence[int] = 8,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int | None = None,
    ) -> None:
        import numpy as np

        self.lengths = np.asarray(lengths, np.int64 if len(lengths) == 0 else None)
        if self.lengths.ndim != 1 or self.lengths.dtype.kind not in "iu" or self.lengths.min(initial=0) < 0:
            raise ValueError("BucketSampler: lengths must be a whole number for each sample, none of them negative")
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"BucketSampler: batch_size must be a whole number of at least 1, got {batch_size!r}")
        if isinstance(buckets, int):
            if buckets < 1:
                raise ValueError(f"BucketSampler: buckets must be at least 1, got {buckets}")
            self.boundaries = _best_boundaries(self.lengths, buckets)
        else:
            self.boundaries = tuple(sorted({int(b) for b in buckets}))
            if self.lengths.max(initial=0) > max(self.boundaries, default=0):
                raise _core.ShapeError(
                    f"BucketSampler: a sample has length {self.lengths.max()}, more than the largest of buckets "
                    f"{list(self.boundaries)}"
                )
        self.batch_size, self.shuffle, self.drop_last = int(batch_size), bool(shuffle), bool(drop_last)
        self.seed = (_core._draw_seed() if seed is None else int(seed)) & (2**64 - 1)
        self.epoch = 0

    def __len__(self) -> int:
        if self.drop_last:
            return len(self.lengths) // self.batch_size
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return iter(self._batches(epoch))

    @property
    def waste(self) -> float:
        """The share of padding in all that the batches of the epoch to come hold."""
        filled = padded = 0
        for batch in self._batches(self.epoch):
            lengths = self.lengths[batch]
            filled += int(lengths.sum())
            padded += len(batch) * min(b for b in self.boundaries if b >= lengths.max())
        return 1 - filled / padded if padded else 0.0

    def _batches(self, epoch: int) -> list[list[int]]:
        import numpy as np

        order = _core._sample_order(len(self.lengths), self.shuffle, self.seed, epoch).numpy()
        bucket = np.searchsorted(np.array(self.boundaries, np.int64), self.lengths[order])
        batches: list[list[int]] = []
        left: list[int] = []
        for i in range(len(self.boundaries)):
            left += order[bucket == i].tolist()
            full = len(left) - len(left) % self.batch_size
            batches += [left[begin : begin + self.batch_size] for begin in range(0, full, self.batch_size)]
            left = left[full:]
        if left and not self.drop_last:
            batches.append(left)
        if self.shuffle:
            order = _core._sample_order(len(batches), True, self.seed ^ _BATCH_KEY, epoch).tolist()
            batches = [batches[i] for i in order]
        return batches

    def __repr__(self) -> str:
        return (
            f"BucketSampler({len(self.lengths)} samples, {len(self)} batches of {self.batch_size}, padded to "
            f"{list(self.boundaries)}, {self.waste:.1%} of it padding)"
        )


def _best_boundaries(lengths: NDArray[Any], buckets: int) -> tuple[int, ...]:
    """The lengths to pad to that make the least padding, by dynamic programming over the lengths that occur."""
    import numpy as np

    unique, counts = np.unique(lengths, return_counts=True)
    if len(unique) > _CANDIDATES:  # those at even shares of the samples, the longest among them
        share = np.searchsorted(counts.cumsum(), np.linspace(0, counts.sum(), _CANDIDATES + 1)[1:])
        ends = np.unique(np.minimum(share, len(unique) - 1))
        counts = np.diff(counts.cumsum()[ends], prepend=0)
        unique = unique[ends]
    if len(unique) <= buckets:
        return tuple(unique.tolist())
    # cost[j]: padded elements of the j shortest candidates in so many buckets; the last begins behind candidate
    # start[j].
    before = np.concatenate([[0], counts.cumsum()])
    cost = np.concatenate([[0], unique * before[1:]])
    starts = []
    for _ in range(1, buckets):
        totals = cost[None, :] + np.concatenate([[0], unique])[:, None] * (before[:, None] - before[None, :])
        totals[np.triu_indices(len(cost), 1)] = np.iinfo(np.int64).max  # a bucket does not begin behind its end
        starts.append(totals.argmin(axis=1))
        cost = totals.min(axis=1)
    boundaries, end = [], len(unique)
    for start in [*reversed(starts), np.zeros(len(cost), np.int64)]:
        if start[end] != end:
            boundaries.append(int(unique[end - 1]))
        end = int(start[end])
    return tuple(reversed(boundaries))


def windows(
    series: Any, length: int, horizon: int, stride: int = 1, target: int | Sequence[int] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What to forecast from, and what: pieces of a series [T] or [T, C] and the pieces that follow them.

    Inputs [N, length] or [N, length, C] begin ``stride`` apart; targets [N, horizon] or [N, horizon, C] begin where the
    inputs end. ``target`` is the column to forecast (targets are [N, horizon] then), or a list of columns. Both are
    views, of the series or of its target columns, of which a ``DataLoader`` gathers batches without copying the rest:
    what is written to one is written to all that overlap it.

    >>> x, y = ln.data.windows(np.arange(6), length=3, horizon=2)
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [1, 2, 3]], [[3, 4], [4, 5]])
    >>> x, y = ln.data.windows(np.zeros((100, 7)), length=24, horizon=6, stride=2, target=-1)
    >>> x.shape, y.shape
    ((36, 24, 7), (36, 6))
    """
    import numpy as np

    values = np.asarray(series)
    if min(length, horizon, stride) < 1:
        raise ValueError(f"windows: length, horizon and stride must be at least 1, got {length}, {horizon}, {stride}")
    if values.ndim not in (1, 2):
        raise _core.ShapeError(f"windows: expected a series [T] or [T, C], got shape {list(values.shape)}")
    if len(values) < length + horizon:
        raise _core.ShapeError(
            f"windows: a series of {len(values)} steps has no window of length={length} and horizon={horizon}"
        )
    wanted = values
    if target is not None:
        if values.ndim == 1:
            raise _core.ShapeError("windows: target is a column, but the series has one axis")
        columns = [target] if isinstance(target, int) else list(target)
        for column in columns:
            if not -values.shape[1] <= column < values.shape[1]:
                raise _core.IndexError(f"windows: target {column} is none of {values.shape[1]} columns")
        # A copy, small beside the series, whose windows are whole rows of memory.
        wanted = np.ascontiguousarray(values[:, target] if isinstance(target, int) else values[:, columns])
    return slide(values[: len(values) - horizon], length, stride), slide(wanted[length:], horizon, stride)


def slide(values: NDArray[Any], length: int, stride: int) -> NDArray[Any]:
    """The pieces [N, length, ...] of ``values`` that begin ``stride`` apart, as a view."""
    import numpy as np

    # Not writable, it would be copied whole where it becomes a Tensor.
    view = np.lib.stride_tricks.sliding_window_view(values, length, axis=0, writeable=values.flags.writeable)
    return np.moveaxis(view, -1, 1)[::stride]
