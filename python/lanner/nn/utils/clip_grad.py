"""Limits on the size of gradients, between ``backward`` and the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lanner import _core
from lanner._core import Tensor
from lanner.nn.parameter import overwrite


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in listed if p.grad is not None]


def get_total_norm(tensors: Iterable[Tensor], norm_type: float = 2.0) -> Tensor:
    """Return the norm of all elements of all tensors, as if they were one vector.

    >>> ln.nn.utils.get_total_norm([ln.tensor([3.0]), ln.tensor([[4.0]])]).item()
    5.0
    """
    recording = _core.set_grad_enabled(False)
    try:
        tensors = [t for t in tensors if t.size]
        if not tensors:
            return _core.zeros(())
        return _core.norm(_core.stack([_core.norm(t, norm_type) for t in tensors]), norm_type)
    finally:
        _core.set_grad_enabled(recording)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale the gradients so that their norm, taken over all together, is at most ``max_norm``; returns what it was.

    >>> w = ln.nn.Parameter(ln.tensor([3.0, 4.0]))
    >>> (w * w / 2).sum().backward()
    >>> ln.nn.utils.clip_grad_norm_([w], max_norm=1.0).item()
    5.0
    >>> [round(g, 3) for g in w.grad.tolist()]
    [0.6, 0.8]
    """
    gradients = _gradients(parameters)
    total = get_total_norm(gradients, norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise _core.Error(f"clip_grad_norm_: the norm of the gradients is {total.item()}")
    # Without reading the norm: the same steps whatever it is, so that they can be part of a plan.
    wide = [g for g in gradients if g.dtype in (_core.float32, _core.float64)]
    _core._clip_norm(wide, total, max_norm)
    recording = _core.set_grad_enabled(False)
    try:
        for gradient in gradients:
            if gradient.dtype.itemsize == 2:
                gradient *= _core.minimum(max_norm / (total + 1e-6), 1.0)
    finally:
        _core.set_grad_enabled(recording)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of the gradients to ±``clip_value``.

    >>> w = ln.nn.Parameter(ln.tensor([3.0, 0.5]))
    >>> (w * w).sum().backward()
    >>> ln.nn.utils.clip_grad_value_([w], 2.0)
    >>> w.grad.tolist()
    [2.0, 1.0]
    """
    for gradient in _gradients(parameters):
        overwrite(gradient, _core.clip(gradient.detach(), -clip_value, clip_value))
