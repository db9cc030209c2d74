"""Limits on the size of gradients, between ``backward`` and the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterable

from lanner import _core
from lanner._core import Tensor
from lanner.nn.parameter import overwrite


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in listed if p.grad is not None]


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Return the norm of all elements of all tensors, as if they were one vector.

    With ``error_if_nonfinite``, raises Error where it is infinite or NaN; in a compiled step too, when that is run.
    ``foreach`` is taken for PyTorch's sake.

    >>> ln.nn.utils.get_total_norm([ln.tensor([3.0]), ln.tensor([[4.0]])]).item()
    5.0
    """
    norm_type = float(norm_type)
    recording = _core.set_grad_enabled(False)
    try:
        listed = [t for t in ([tensors] if isinstance(tensors, Tensor) else tensors) if t.size]
        if not listed:
            return _core.zeros(())
        total = _core.norm(_core.stack([_core.norm(t, norm_type) for t in listed]), norm_type)
        if error_if_nonfinite:
            _core._clip_norm([], total, 0.0, True)
        return total
    finally:
        _core.set_grad_enabled(recording)


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients by ``max_norm / (total_norm + 1e-6)``, if that is less than 1.

    >>> w = ln.nn.Parameter(ln.tensor([3.0, 4.0]))
    >>> (w * w / 2).sum().backward()
    >>> ln.nn.utils.clip_grads_with_norm_([w], 1.0, ln.tensor(10.0))
    >>> [round(g, 3) for g in w.grad.tolist()]
    [0.3, 0.4]
    """
    gradients = _gradients(parameters)
    # Without reading the norm: the same steps whatever it is, so that they can be part of a plan.
    _core._clip_norm([g for g in gradients if g.dtype in (_core.float32, _core.float64)], total_norm, float(max_norm))
    recording = _core.set_grad_enabled(False)
    try:
        for gradient in gradients:
            if gradient.dtype.itemsize == 2:
                gradient *= _core.minimum(max_norm / (total_norm + 1e-6), 1.0)
    finally:
        _core.set_grad_enabled(recording)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients so that their norm, taken over all together, is at most ``max_norm``; returns what it was.

    (Pascanu, Mikolov and Bengio 2013.) ``norm_type`` is any number, infinity for the largest absolute value. With
    ``error_if_nonfinite``, raises Error where the norm is infinite or NaN, before anything is scaled; in a compiled
    step too, when that is run.

    >>> w = ln.nn.Parameter(ln.tensor([3.0, 4.0]))
    >>> (w * w / 2).sum().backward()
    >>> ln.nn.utils.clip_grad_norm_([w], max_norm=1.0).item()
    5.0
    >>> [round(g, 3) for g in w.grad.tolist()]
    [0.6, 0.8]
    """
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_gradients(listed), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(listed, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Limit every element of the gradients to ±``clip_value``.

    >>> w = ln.nn.Parameter(ln.tensor([3.0, 0.5]))
    >>> (w * w).sum().backward()
    >>> ln.nn.utils.clip_grad_value_([w], 2.0)
    >>> w.grad.tolist()
    [2.0, 1.0]
    """
    clip_value = float(clip_value)
    for gradient in _gradients(parameters):
        overwrite(gradient, _core.clip(gradient.detach(), -clip_value, clip_value))
