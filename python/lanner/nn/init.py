"""Initial values: each function overwrites a tensor, unseen by the tape, and returns it."""

from __future__ import annotations

import math
from typing import TypeVar

from lanner import _core
from lanner._core import Tensor
from lanner.nn.parameter import overwrite

T = TypeVar("T", bound=Tensor)

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,  # of the values that keep a deep net's variance, the one PyTorch chose
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the standard deviation that keeps a signal's size through ``nonlinearity``.

    ``param`` is the negative slope of ``"leaky_relu"``, 0.01 if not given.

    >>> ln.nn.init.calculate_gain("tanh") == 5 / 3
    True
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        known = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: nonlinearity must be one of {known}, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0) -> T:
    """Fill with numbers drawn evenly from [a, b).

    >>> w = ln.nn.init.uniform_(ln.zeros(100), -1, 1)
    >>> bool((w >= -1).all()), bool((w < 1).all())
    (True, True)
    """
    recording = _core.set_grad_enabled(False)
    try:
        _core._uniform_(tensor, a, b)
    finally:
        _core.set_grad_enabled(recording)
    return tensor


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    """Fill with Gaussian numbers.

    >>> ln.nn.init.normal_(ln.zeros(3), mean=4.0, std=0.0).tolist()
    [4.0, 4.0, 4.0]
    """
    recording = _core.set_grad_enabled(False)
    try:
        _core._normal_(tensor, mean, std)
    finally:
        _core.set_grad_enabled(recording)
    return tensor


def trunc_normal_(tensor: T, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> T:
    """Fill with Gaussian numbers, drawn again where they fall outside [a, b].

    >>> w = ln.nn.init.trunc_normal_(ln.zeros(100), std=1.0, a=-0.5, b=0.5)
    >>> float(ln.abs(w).max()) <= 0.5
    True
    """
    if not a < b:
        raise ValueError(f"trunc_normal_: a must be below b, got a={a}, b={b}")
    if std <= 0:
        raise ValueError(f"trunc_normal_: std must be positive, got {std}")
    low, high = (a - mean) / std, (b - mean) / std
    inside = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    shape = tensor.shape
    value = _core.full(shape, math.nan)
    wanted = _core.isnan(value)
    if inside > 0.2:
        while bool(_core.any(wanted)):
            value = _core.where(wanted, _core._normal(shape, 0.0, 1.0, _core.float32), value)
            wanted = _core.logical_or(value < low, value > high)
    else:
        # Far from the centre, or a narrow piece: even numbers, kept as often as the density there is to its largest,
        # which is at `peak`. Beyond where it has fallen to exp(-40) of that nothing would be kept.
        peak = min(max(0.0, low), high)
        reach = math.sqrt(peak * peak + 80)
        low, high = max(low, -reach), min(high, reach)
        while bool(_core.any(wanted)):
            drawn = _core._uniform(shape, low, high, _core.float32)
            kept = _core._uniform(shape, 0.0, 1.0, _core.float32) < _core.exp((peak * peak - drawn * drawn) / 2)
            value = _core.where(_core.logical_and(wanted, kept), drawn, value)
            wanted = _core.isnan(value)
    overwrite(tensor, _core.clip(value * std + mean, a, b).to(tensor.dtype))
    return tensor


def constant_(tensor: T, val: float) -> T:
    """Fill with one number.

    >>> ln.nn.init.constant_(ln.zeros(2), 0.5).tolist()
    [0.5, 0.5]
    """
    overwrite(tensor, _core.full((), val, dtype=tensor.dtype))
    return tensor


def ones_(tensor: T) -> T:
    """Fill with ones.

    >>> ln.nn.init.ones_(ln.zeros(2)).tolist()
    [1.0, 1.0]
    """
    return constant_(tensor, 1.0)


def zeros_(tensor: T) -> T:
    """Fill with zeros.

    >>> ln.nn.init.zeros_(ln.ones(2)).tolist()
    [0.0, 0.0]
    """
    return constant_(tensor, 0.0)


def eye_(tensor: T) -> T:
    """Make a matrix the identity: ones on its diagonal, else zeros.

    >>> ln.nn.init.eye_(ln.zeros((2, 3))).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    if tensor.ndim != 2:
        raise _core.ShapeError(f"eye_: expected 2 dimensions, tensor has shape {tensor.shape}")
    overwrite(tensor, _core.eye(tensor.shape[0], tensor.shape[1], dtype=tensor.dtype))
    return tensor


def dirac_(tensor: T, groups: int = 1) -> T:
    """Make a convolution's weight [O, C, ...] pass as many channels through unchanged as it can.

    >>> x = ln.tensor([[[1.0, 2.0, 3.0]]])
    >>> ln.nn.functional.conv1d(x, ln.nn.init.dirac_(ln.zeros((1, 1, 3))), padding=1).tolist()
    [[[1.0, 2.0, 3.0]]]
    """
    if tensor.ndim not in (3, 4, 5):
        raise _core.ShapeError(f"dirac_: expected 3 to 5 dimensions, tensor has shape {tensor.shape}")
    if tensor.shape[0] % groups != 0:
        raise _core.ShapeError(f"dirac_: {tensor.shape[0]} output channels do not divide into {groups} groups")
    zeros_(tensor)
    outputs = tensor.shape[0] // groups
    centre = tuple(n // 2 for n in tensor.shape[2:])
    recording = _core.set_grad_enabled(False)
    try:
        for group in range(groups):
            for channel in range(min(outputs, tensor.shape[1])):
                place = (group * outputs + channel, channel, *centre)
                tensor[place] = 1.0
    finally:
        _core.set_grad_enabled(recording)
    return tensor


def _fans(tensor: Tensor) -> tuple[int, int]:
    """How many numbers one output is summed from, and into how many one input goes."""
    if tensor.ndim < 2:
        raise _core.ShapeError(f"init: fan in and fan out need at least 2 dimensions, tensor has shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """Fill evenly from ±gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010).

    >>> bool((ln.abs(ln.nn.init.xavier_uniform_(ln.zeros((3, 3)))) <= 1).all())
    True
    """
    bound = gain * math.sqrt(6.0 / max(sum(_fans(tensor)), 1))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: T, gain: float = 1.0) -> T:
    """Fill with Gaussian numbers of standard deviation gain * sqrt(2 / (fan_in + fan_out)).

    >>> ln.nn.init.xavier_normal_(ln.zeros((3, 5))).shape
    (3, 5)
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(sum(_fans(tensor)), 1)))


def kaiming_uniform_(tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Fill evenly from ±gain * sqrt(3 / fan) (He et al., 2015); ``a`` is the negative slope that follows.

    >>> bool((ln.abs(ln.nn.init.kaiming_uniform_(ln.zeros((4, 6)))) <= 1).all())
    True
    """
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: T, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Fill with Gaussian numbers of standard deviation gain / sqrt(fan) (He et al., 2015).

    >>> ln.nn.init.kaiming_normal_(ln.zeros((16, 3, 5, 5)), mode="fan_out", nonlinearity="relu").shape
    (16, 3, 5, 5)
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def orthogonal_(tensor: T, gain: float = 1.0) -> T:
    """Fill with a random matrix whose rows (or columns, of which there are fewer) are orthonormal, times ``gain``.

    What has more than two dimensions counts as a matrix of its first by all others (Saxe et al., 2013).

    >>> w = ln.nn.init.orthogonal_(ln.zeros((2, 5)))
    >>> [[round(abs(v), 5) for v in row] for row in (w @ w.T).tolist()]
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if tensor.ndim < 2:
        raise _core.ShapeError(f"orthogonal_: expected at least 2 dimensions, tensor has shape {tensor.shape}")
    if tensor.size == 0:
        return tensor
    rows, columns = tensor.shape[0], tensor.size // tensor.shape[0]
    count, length = min(rows, columns), max(rows, columns)
    drawn = _core._normal((count, length), 0.0, 1.0, _core.float64)
    basis = _core.zeros((count, length), dtype=_core.float64)
    # Gram-Schmidt, twice: the second pass takes away what rounding left of the first. From Gaussian vectors it gives
    # every orthonormal set with the same probability.
    for i in range(count):
        v = drawn[i]
        for _ in range(2 if i else 0):
            v = v - (basis[:i] @ v) @ basis[:i]
        basis[i] = v / _core.sqrt(_core.sum(v * v))
    value = basis if rows <= columns else basis.T
    overwrite(tensor, _core.reshape(value * gain, tensor.shape).to(tensor.dtype))
    return tensor
