"""The parts of the Python Array API standard that need no kernel: constants, facts about dtypes, small compositions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from lanner import _core
from lanner._core import DType, Tensor

e = math.e
inf = math.inf
nan = math.nan
newaxis = None
pi = math.pi

_FLOAT_BITS = {"float16": (5, 10), "bfloat16": (8, 7), "float32": (8, 23), "float64": (11, 52)}  # exponent, fraction
_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": tuple(_FLOAT_BITS),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"]


class FloatInfo(NamedTuple):
    """What a floating dtype can hold; ``finfo`` makes one."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


class IntInfo(NamedTuple):
    """What an integer dtype can hold; ``iinfo`` makes one."""

    bits: int
    max: int
    min: int
    dtype: DType


def _dtype_named(name: str) -> DType:
    """How a pickled dtype comes back as the one object that it was."""
    return _core.empty((), dtype=name).dtype


def _dtype_of(type_or_tensor: Any) -> DType:
    return type_or_tensor.dtype if isinstance(type_or_tensor, Tensor) else _core.empty((), dtype=type_or_tensor).dtype


def finfo(type: Any) -> FloatInfo:
    """Bits, epsilon and range of a floating dtype, or of a tensor's.

    >>> ln.finfo(ln.bfloat16).eps
    0.0078125
    """
    dtype = _dtype_of(type)
    if dtype.name not in _FLOAT_BITS:
        raise _core.DTypeError(f"finfo: expected a floating dtype, got {dtype.name}")
    exponent, fraction = _FLOAT_BITS[dtype.name]
    top = 2 ** (exponent - 1) - 1
    largest = math.ldexp(2.0 - 2.0**-fraction, top)
    return FloatInfo(8 * dtype.itemsize, 2.0**-fraction, largest, -largest, math.ldexp(1.0, 1 - top), dtype)


def iinfo(type: Any) -> IntInfo:
    """Bits and range of an integer dtype, or of a tensor's.

    >>> ln.iinfo(ln.int8).max
    127
    """
    dtype = _dtype_of(type)
    bits = 8 * dtype.itemsize
    if dtype.name in _KINDS["signed integer"]:
        return IntInfo(bits, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), dtype)
    if dtype.name in _KINDS["unsigned integer"]:
        return IntInfo(bits, 2**bits - 1, 0, dtype)
    raise _core.DTypeError(f"iinfo: expected an integer dtype, got {dtype.name}")


def isdtype(dtype: DType, kind: Any) -> bool:
    """Whether ``dtype`` is of a kind: a dtype, the name of a category, or a tuple of these.

    >>> ln.isdtype(ln.int8, "integral"), ln.isdtype(ln.float32, (ln.float64, "bool"))
    (True, False)
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(f"isdtype: kind {kind!r} is none of {', '.join(map(repr, _KINDS))}")
        return dtype.name in _KINDS[kind]
    return bool(dtype == kind)


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """Coordinate matrices of 1-d coordinate vectors; ``indexing="ij"`` keeps the order of the vectors.

    >>> [g.tolist() for g in ln.meshgrid(ln.arange(2), ln.arange(3), indexing="ij")]
    [[[0, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 2]]]
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    for i, x in enumerate(arrays):
        if x.ndim != 1:
            raise _core.ShapeError(f"meshgrid: array {i} must have 1 dimension, got shape {list(x.shape)}")
    shape = tuple(x.size for x in arrays)
    rank = len(arrays)
    made = []
    for i, x in enumerate(arrays):
        column = _core.reshape(x, tuple(-1 if k == i else 1 for k in range(rank)))
        grid = _core.broadcast_to(column, shape)
        made.append(_core.swapaxes(grid, 0, 1) if indexing == "xy" and rank > 1 else grid)
    return made


def diff(
    x: Tensor, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours along an axis, taken ``n`` times.

    >>> ln.diff(ln.tensor([1, 4, 9])).tolist()
    [3, 5]
    """
    parts: Sequence[Tensor] = [t for t in (prepend, x, append) if t is not None]
    x = _core.concat(parts, axis=axis) if len(parts) > 1 else x
    for _ in range(n):
        x = _core.moveaxis(x, axis, 0)
        x = _core.moveaxis(x[1:] - x[:-1], 0, axis)
    return x
