"""All parameters of a module as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from lanner import _core
from lanner._core import Tensor
from lanner.nn.parameter import overwrite


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return the elements of all parameters, one after the other.

    >>> ln.nn.utils.parameters_to_vector(ln.nn.Linear(3, 2).parameters()).shape
    (8,)
    """
    return _core.concat([_core.reshape(p, (-1,)) for p in parameters], axis=0)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the pieces of ``vec`` into the parameters. Raises ShapeError unless it has as many elements as they.

    >>> layer = ln.nn.Linear(1, 1)
    >>> ln.nn.utils.vector_to_parameters(ln.tensor([3.0, 4.0]), layer.parameters())
    >>> layer.weight.item(), layer.bias.item()
    (3.0, 4.0)
    """
    parameters = list(parameters)
    count = sum(p.size for p in parameters)
    if vec.ndim != 1 or vec.size != count:
        raise _core.ShapeError(f"vector_to_parameters: expected {count} elements, vec has shape {vec.shape}")
    vec, start = vec.detach(), 0
    for parameter in parameters:
        piece = vec[start : start + parameter.size]
        overwrite(parameter, _core.reshape(piece, parameter.shape).to(parameter.dtype))
        start += parameter.size
