"""Sequences of different lengths: padded to one size, or packed one step after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lanner import _core
from lanner._core import Tensor

if TYPE_CHECKING:
    import numpy as np


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None


class PackedSequence(_Packed):
    """The steps of several sequences without padding: the first steps of all, then the second of those that have one.

    ``data`` [steps of all, ...] has ``batch_sizes[t]`` rows of step t, longest sequence first; sequence n of the batch
    is number ``unsorted_indices[n]`` of them, and ``sorted_indices`` goes the other way. What recurrent layers are
    given packed they return packed.

    >>> x = ln.nn.utils.rnn.pack_sequence([ln.tensor([1.0]), ln.tensor([2.0, 3.0])])
    >>> x.data.tolist(), x.batch_sizes.tolist()
    ([2.0, 1.0, 3.0], [2, 1])
    """

    _layout: Layout | None = None  # known without a look at the tensors, where it was packed here

    def layout(self) -> Layout:
        """Where each step of the batch, in its own order, lies in ``data``."""
        import numpy as np

        if self._layout is None:
            sizes = _values("PackedSequence", "batch_sizes", self.batch_sizes).astype(np.int64)
            order = self.unsorted_indices
            place = np.arange(sizes[0]) if order is None else _values("PackedSequence", "unsorted_indices", order)
            lengths = (sizes[None, :] > np.arange(sizes[0])[:, None]).sum(axis=1)
            self._layout = Layout(lengths[place], np.argsort(place, kind="stable"), sizes)
        return self._layout

    def _with(self, data: Tensor) -> PackedSequence:
        packed = PackedSequence(data, *self[1:])
        packed._layout = self._layout
        return packed

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Return it with ``data`` in another dtype or on another device.

        >>> ln.nn.utils.rnn.pack_sequence([ln.tensor([1.0])]).to(ln.float64).data.dtype.name
        'float64'
        """
        return self._with(self.data.to(*args, **kwargs))

    def cpu(self) -> PackedSequence:
        """Return it with ``data`` on the CPU."""
        return self._with(self.data.cpu())

    def cuda(self) -> PackedSequence:
        """Return it with ``data`` on the GPU."""
        return self._with(self.data.cuda())


class Layout:
    """Which row of packed data is which step of which sequence."""

    def __init__(self, lengths: np.ndarray[Any, Any], order: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any]) -> None:
        self.lengths = lengths  # [N], of the batch in its own order
        self.order = order  # [N]: the sequences, longest first
        self.sizes = sizes  # [longest]: sequences that have step t

    @classmethod
    def of_lengths(cls, lengths: np.ndarray[Any, Any]) -> Layout:
        """Return that of sequences of these lengths."""
        import numpy as np

        order = np.argsort(-lengths, kind="stable")
        return cls(lengths, order, (lengths[None, :] > np.arange(lengths.max())[:, None]).sum(axis=1))

    def _steps(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Time and sequence of each packed row."""
        import numpy as np

        time = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return time, self.order[np.arange(len(time)) - np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)]

    def pack(self, padded: Tensor) -> PackedSequence:
        """Take the steps of ``padded`` [T, N, ...]."""
        import numpy as np

        time, sequence = self._steps()
        rows = padded.reshape((-1, *padded.shape[2:]))
        data = _core.take(rows, _core.tensor(time * len(self.order) + sequence), axis=0)
        indices = _core.tensor(self.order), _core.tensor(np.argsort(self.order, kind="stable"))
        packed = PackedSequence(data, _core.tensor(self.sizes), *indices)
        packed._layout = self
        return packed

    def pad(self, data: Tensor, value: float = 0.0, steps: int | None = None) -> Tensor:
        """Return [T, N, ...] with ``value`` past each sequence's end."""
        import numpy as np

        steps = len(self.sizes) if steps is None else steps
        time, sequence = self._steps()
        rows = np.zeros((steps, len(self.order)), np.int64)
        there = np.zeros((steps, len(self.order)), np.bool_)
        rows[time, sequence] = np.arange(len(time))
        there[time, sequence] = True
        padded = _core.take(data, _core.tensor(rows), axis=0)
        return _core.where(_core.tensor(there.reshape(rows.shape + (1,) * (data.ndim - 1))), padded, value)


def _values(where: str, argument: str, x: Tensor | Sequence[int]) -> np.ndarray[Any, Any]:
    import numpy as np

    try:
        return np.asarray(x.numpy() if isinstance(x, Tensor) else x)
    except _core.RecordingError:
        raise _core.RecordingError(
            f"{where}: the values of {argument} decide the shape of packed data, and are not known while a step is "
            "recorded as a plan; keep the sequences padded and give the recurrent layer lengths="
        ) from None


def _lengths_of(
    name: str, lengths: Tensor | Sequence[int], sequences: int, steps: int, least: int = 1
) -> np.ndarray[Any, Any]:
    import numpy as np

    array = _values(name, "lengths", lengths)
    if array.shape != (sequences,):
        raise _core.ShapeError(f"{name}: lengths expects {sequences} numbers, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise _core.DTypeError(f"{name}: lengths must be integers, got {array.dtype}")
    for n in np.flatnonzero((array < least) | (array > steps)):
        raise _core.ShapeError(f"{name}: lengths[{n}] is {array[n]}, expected {least} to {steps}")
    return array.astype(np.int64)


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = False
) -> PackedSequence:
    """Pack ``input`` [T, N, ...] ([N, T, ...] with ``batch_first``), of which sequence n has ``lengths[n]`` steps.

    The lengths may come in any order; with ``enforce_sorted`` they must not increase. They are looked at, so a step
    that is compiled gives recurrent layers ``lengths=`` instead. Raises ShapeError where a length is 0 or above T.

    >>> ln.nn.utils.rnn.pack_padded_sequence(ln.tensor([[1.0, 2.0], [0.0, 3.0]]), [1, 2]).data.tolist()
    [2.0, 1.0, 3.0]
    """
    import numpy as np

    if input.ndim < 2:
        raise _core.ShapeError(f"pack_padded_sequence: input must be [T, N, ...], got {input.shape}")
    padded = _core.swapaxes(input, 0, 1) if batch_first else input
    array = _lengths_of("pack_padded_sequence", lengths, int(padded.shape[1]), int(padded.shape[0]))
    if enforce_sorted and (np.diff(array) > 0).any():
        raise ValueError("pack_padded_sequence: lengths must not increase with enforce_sorted=True")
    return Layout.of_lengths(array).pack(padded)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the sequences padded, [T, N, ...] ([N, T, ...] with ``batch_first``), and their lengths [N].

    T is ``total_length``, by default the largest length.

    >>> x = ln.nn.utils.rnn.pack_sequence([ln.tensor([1.0]), ln.tensor([2.0, 3.0])])
    >>> padded, lengths = ln.nn.utils.rnn.pad_packed_sequence(x, batch_first=True)
    >>> padded.tolist(), lengths.tolist()
    ([[1.0, 0.0], [2.0, 3.0]], [1, 2])
    """
    layout = sequence.layout()
    if total_length is not None and total_length < len(layout.sizes):
        raise ValueError(
            f"pad_packed_sequence: total_length is {total_length}, the longest sequence has {len(layout.sizes)} steps"
        )
    padded = layout.pad(sequence.data, padding_value, total_length)
    return _core.swapaxes(padded, 0, 1) if batch_first else padded, _core.tensor(layout.lengths)


def padding_mask(
    lengths: Tensor | Sequence[int], total_length: int | None = None, padding_side: str = "right"
) -> Tensor:
    """Return a bool mask [N, T] of sequences of ``lengths`` [N] padded to ``total_length`` T: True is padding.

    It is what attention takes as ``key_padding_mask``, and the opposite of TensorFlow's ``sequence_mask``. T is by
    default the largest length; a step that is compiled gives it, since the values of ``lengths`` are not known then.

    >>> ln.nn.utils.rnn.padding_mask([1, 3]).tolist()
    [[False, True, True], [False, False, False]]
    """
    from lanner.array_api import isdtype

    _check_side("padding_mask", padding_side)
    counts = lengths if isinstance(lengths, Tensor) else _core.tensor(lengths)
    if counts.ndim != 1:
        raise _core.ShapeError(f"padding_mask: lengths must be [N], got shape {counts.shape}")
    if not isdtype(counts.dtype, "integral"):
        raise _core.DTypeError(f"padding_mask: lengths must be integers, got {counts.dtype.name}")
    if total_length is None:
        total_length = int(_values("padding_mask", "lengths", counts).max(initial=0))
    counts = counts.to(_core.int64)
    steps = _core.arange(total_length)
    return (steps if padding_side == "right" else total_length - 1 - steps) >= counts[:, None]


def _check_side(where: str, side: str) -> None:
    if side not in ("left", "right"):
        raise ValueError(f"{where}: padding_side must be left or right, got {side!r}")


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Stack sequences [T_n, ...] as [T, N, ...] ([N, T, ...] with ``batch_first``), padded to the longest.

    >>> ln.nn.utils.rnn.pad_sequence([ln.tensor([1.0]), ln.tensor([2.0, 3.0])], batch_first=True).tolist()
    [[1.0, 0.0], [2.0, 3.0]]
    """
    _check_side("pad_sequence", padding_side)
    if not len(sequences):
        raise ValueError("pad_sequence: expected at least one sequence")
    for n, s in enumerate(sequences):
        if s.ndim == 0 or s.shape[1:] != sequences[0].shape[1:]:
            raise _core.ShapeError(
                f"pad_sequence: sequences must have one shape but for their first axis, sequence {n} has shape "
                f"{s.shape}, sequence 0 {sequences[0].shape}"
            )
    longest = max(int(s.shape[0]) for s in sequences)
    padded = []
    for s in sequences:
        filling = _core.full((longest - int(s.shape[0]), *s.shape[1:]), padding_value, dtype=s.dtype)
        padded.append(_core.concat([s, filling] if padding_side == "right" else [filling, s], axis=0))
    return _core.stack(padded, axis=0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False
) -> list[Tensor]:
    """Return the sequences of ``padded_sequences`` [T, N, ...] ([N, T, ...] with ``batch_first``) without padding.

    >>> [s.tolist() for s in ln.nn.utils.rnn.unpad_sequence(ln.tensor([[1.0, 2.0], [0.0, 3.0]]), [1, 2])]
    [[1.0], [2.0, 3.0]]
    """
    padded = padded_sequences if batch_first else _core.swapaxes(padded_sequences, 0, 1)
    array = _lengths_of("unpad_sequence", lengths, int(padded.shape[0]), int(padded.shape[1]), least=0)
    return [padded[n, : int(length)] for n, length in enumerate(array)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = False) -> PackedSequence:
    """Pack sequences [T_n, ...], of any order of lengths.

    >>> ln.nn.utils.rnn.pack_sequence([ln.tensor([1.0]), ln.tensor([2.0, 3.0])]).data.tolist()
    [2.0, 1.0, 3.0]
    """
    lengths = [int(s.shape[0]) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Return the sequences that `pack_sequence` packed.

    >>> x = ln.nn.utils.rnn.pack_sequence([ln.tensor([1.0]), ln.tensor([2.0, 3.0])])
    >>> [s.tolist() for s in ln.nn.utils.rnn.unpack_sequence(x)]
    [[1.0], [2.0, 3.0]]
    """
    return unpad_sequence(*pad_packed_sequence(packed_sequences))
