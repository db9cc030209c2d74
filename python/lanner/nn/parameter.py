"""Tensors that a module owns and an optimizer changes."""

from __future__ import annotations

from typing import Any

from lanner import _core
from lanner._core import Tensor


class Parameter(Tensor):
    """A tensor that becomes part of ``parameters()`` when it is assigned to an attribute of a module.

    It shares the memory of ``data``, and wants gradients unless told otherwise.

    >>> layer = ln.nn.Module()
    >>> layer.gain = ln.nn.Parameter(ln.ones(3))
    >>> [name for name, _ in layer.named_parameters()]
    ['gain']
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        data = _core.zeros((0,)) if data is None else data if isinstance(data, Tensor) else _core.tensor(data)
        super().__init__(data.detach())
        if requires_grad:
            super().requires_grad_(True)

    def requires_grad_(self, on: bool = True) -> Parameter:
        """Say whether gradients are wanted; returns the parameter.

        >>> ln.nn.Parameter(ln.ones(3)).requires_grad_(False).requires_grad
        False
        """
        super().requires_grad_(on)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        copy = Parameter(self.detach().clone(), self.requires_grad)
        memo[id(self)] = copy
        return copy

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def overwrite(tensor: Tensor, value: Tensor | float) -> None:
    """Write ``value`` into the memory of ``tensor``, unseen by the tape, which must not need what stood there."""
    recording = _core.set_grad_enabled(False)
    try:
        tensor[...] = value
    finally:
        _core.set_grad_enabled(recording)
