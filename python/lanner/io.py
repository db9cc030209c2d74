"""Tensors to and from files, in the safetensors format: no pickle, readable by any tool for that format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, overload

from lanner import _core
from lanner._core import Tensor

Path = str | os.PathLike[str]


def save(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors (or NumPy arrays), and texts if there are any, to a safetensors file.

    The file appears whole or not at all: until the new one is on the disk, ``path`` holds what it held before.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> ln.save(path, {"w": ln.ones((2, 3))}, {"epoch": "7"})
    >>> ln.load(path)["w"].shape
    (2, 3)
    """
    if not isinstance(tensors, Mapping):
        raise TypeError(f"save: tensors must be a dict of names and tensors, got {type(tensors).__name__}")
    _check_text("a name", tensors)
    metadata = dict(metadata or {})
    _check_text("a key of the metadata", metadata)
    _check_text("a value of the metadata", metadata.values())
    named = {name: t if isinstance(t, Tensor) else _core.asarray(t) for name, t in tensors.items()}
    _core.save_tensors(os.fsencode(path), named, metadata)


@overload
def load(path: Path, *, return_metadata: Literal[False] = False) -> dict[str, Tensor]: ...
@overload
def load(path: Path, *, return_metadata: Literal[True]) -> tuple[dict[str, Tensor], dict[str, str]]: ...


def load(path: Path, *, return_metadata: bool = False) -> Any:
    """Read a safetensors file: a dict of tensors, and with ``return_metadata`` the dict of its texts beside it.

    Every length, offset, name, dtype and shape is checked before use; a damaged file raises ``FormatError``, which
    says what is wrong with it.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> ln.save(path, {"w": ln.ones((2, 3))}, {"epoch": "7"})
    >>> tensors, metadata = ln.load(path, return_metadata=True)
    >>> metadata
    {'epoch': '7'}
    """
    tensors, metadata = _core.load_tensors(os.fsencode(path))
    return (tensors, metadata) if return_metadata else tensors


def _check_text(what: str, values: Any) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"save: {what} must be a str, got {type(value).__name__}")
