"""What the layers and losses compute, as functions with PyTorch's names and argument orders.

Most are the engine's own functions; here are those whose arguments differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lanner import _core
from lanner._core import (
    Tensor,
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    avg_pool1d,
    batch_norm,
    bilinear,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    cosine_embedding_loss,
    cross_entropy,
    ctc_loss,
    dropout,
    dropout2d,
    elu,
    group_norm,
    hardtanh,
    hinge_loss,
    huber_loss,
    l1_loss,
    layer_norm,
    leaky_relu,
    linear,
    max_pool1d,
    max_pool2d,
    mse_loss,
    multi_margin_loss,
    nll_loss,
    one_hot,
    relu,
    rms_norm,
    scaled_dot_product_attention,
    selu,
    sigmoid,
    silu,
    smooth_l1_loss,
    softplus,
    step,
    tanh,
    threshold,
    triplet_margin_loss,
)

Size = int | Sequence[int]

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout2d",
    "elu",
    "embedding",
    "embedding_bag",
    "gelu",
    "group_norm",
    "hardtanh",
    "hinge_loss",
    "huber_loss",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "mse_loss",
    "multi_margin_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "prelu",
    "relu",
    "rms_norm",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "step",
    "tanh",
    "threshold",
    "triplet_margin_loss",
    "upsample",
]


def check_choice(where: str, what: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``.

    >>> from lanner.nn.functional import check_choice
    >>> check_choice("MSELoss", "reduction", "mean", ("mean", "sum"))
    """
    if value not in choices:
        raise ValueError(f"{where}: {what} must be one of {', '.join(map(repr, choices))}, got {value!r}")


# ---- activations ----


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``x * P(X <= x)`` for a Gaussian X; ``approximate="tanh"`` takes the usual formula for it with a tanh.

    >>> ln.nn.functional.gelu(ln.tensor([0.0])).tolist()
    [0.0]
    """
    return _core.gelu(input, approximate=approximate)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``x`` where it is positive, else ``weight * x``; weight [1] or [C], for the channels at axis 1.

    >>> ln.nn.functional.prelu(ln.tensor([[-1.0, -1.0]]), ln.tensor([0.5, 0.25])).tolist()
    [[-0.5, -0.25]]
    """
    if weight.size != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if weight.ndim != 1 or weight.size != channels:
            raise _core.ShapeError(f"prelu: weight has shape {weight.shape}, expected (1,) or ({channels},)")
        weight = _core.reshape(weight, (weight.size,) + (1,) * (input.ndim - 2))
    elif weight.ndim > input.ndim:
        weight = _core.reshape(weight, ())
    return _core.where(input > 0, input, weight * input)


def softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along the axis ``dim``; ``dtype`` is that of the computation and the result.

    >>> ln.nn.functional.softmax(ln.zeros((1, 2)), dim=1).tolist()
    [[0.5, 0.5]]
    """
    return _core.softmax(input if dtype is None else input.to(dtype), dim)


def log_softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """The logarithm of `softmax`, computed without overflow.

    >>> ln.nn.functional.log_softmax(ln.zeros((1, 1)), dim=1).tolist()
    [[0.0]]
    """
    return _core.log_softmax(input if dtype is None else input.to(dtype), dim)


# ---- padding, pooling, resizing ----


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Add elements around ``input``: ``pad`` has a pair, before and after, for the last axis, then for the one before.

    ``mode`` is ``"constant"`` (``value``, 0 if not given), ``"reflect"``, ``"replicate"`` or ``"circular"``. A negative
    number crops.

    >>> ln.nn.functional.pad(ln.tensor([1.0, 2.0, 3.0]), (1, 1), mode="constant").tolist()
    [0.0, 1.0, 2.0, 3.0, 0.0]
    """
    return _core.pad(input, list(pad), mode, 0.0 if value is None else value)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of ``input`` [N, C, H, W]; or its sum, divided by ``divisor_override``.

    >>> ln.nn.functional.avg_pool2d(ln.ones((1, 1, 2, 2)), 2, divisor_override=1).tolist()
    [[[[4.0]]]]
    """
    if divisor_override is None:
        return _core.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad)
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override must not be 0")
    # With the zeros in place, every window has the same number of elements.
    window, steps, zeros = _pair(kernel_size), _pair(kernel_size if stride is None else stride), _pair(padding)
    pads: list[int] = []
    for n, k, s, p in zip(input.shape[-2:], window, steps, zeros, strict=True):
        span = n + 2 * p - k
        count = -(-span // s) if ceil_mode else span // s
        if ceil_mode and count * s >= n + p:  # a window that would begin behind the input
            count -= 1
        pads = [p, p + max(0, count * s - span), *pads]
    padded = _core.pad(input, pads) if any(pads) else input
    return _core.avg_pool2d(padded, window, steps) * (window[0] * window[1] / divisor_override)


def adaptive_size(input: Tensor, output_size: int | Sequence[int | None]) -> Size:
    """Put the size of ``input`` where ``output_size`` has None.

    >>> from lanner.nn.functional import adaptive_size
    >>> adaptive_size(ln.zeros((1, 1, 4, 5)), (2, None))
    (2, 5)
    """
    if isinstance(output_size, int):
        return output_size
    sizes = tuple(output_size)
    return tuple(n if s is None else s for s, n in zip(sizes, input.shape[-len(sizes) :], strict=False))


def adaptive_max_pool2d(
    input: Tensor, output_size: int | Sequence[int | None], return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest elements of windows that cover ``input`` [N, C, H, W]; None keeps an axis as it is.

    >>> ln.nn.functional.adaptive_max_pool2d(ln.ones((1, 1, 4, 6)), 2).shape
    (1, 1, 2, 2)
    """
    return _core.adaptive_max_pool2d(input, adaptive_size(input, output_size), return_indices)


def interpolate(
    input: Tensor,
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Resize ``input`` [N, C, ...] to ``size`` or by ``scale_factor``; ``mode`` is nearest, linear or bilinear.

    >>> ln.nn.functional.interpolate(ln.tensor([[[1.0, 3.0]]]), size=3, mode="linear", align_corners=True).tolist()
    [[[1.0, 2.0, 3.0]]]
    """
    check_choice("interpolate", "mode", mode, ("nearest", "linear", "bilinear"))
    if mode == "nearest" and align_corners is not None:
        raise ValueError("interpolate: align_corners goes with the modes linear and bilinear")
    return _core.upsample(input, size, scale_factor, mode, bool(align_corners))


upsample = interpolate


# ---- embedding ----


def _shorten(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> None:
    """Bring the rows of `weight` that are about to be used to a norm of at most `max_norm`, in place."""
    recording = _core.set_grad_enabled(False)
    try:
        rows = _core.embedding(_core.reshape(indices, (-1,)), weight)
        norms = _core.norm(rows, norm_type, -1, keepdims=True)
        scale = _core.where(norms > max_norm, max_norm / (norms + 1e-7), _core.ones_like(norms))
        weight[_core.reshape(indices, (-1,))] = rows * scale
    finally:
        _core.set_grad_enabled(recording)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Row ``i`` of ``weight`` [V, D] for each index ``i`` of ``input``; see `lanner.nn.Embedding`.

    >>> ln.nn.functional.embedding(ln.tensor([2, 0]), ln.tensor([[0.0], [1.0], [2.0]])).tolist()
    [[2.0], [0.0]]
    """
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    rows = _core.embedding(input, weight, padding_idx=padding_idx)
    if not scale_grad_by_freq:
        return rows
    ones = _core.ones(input.shape, dtype=weight.dtype)
    flat = _core.reshape(input, (-1,)).to(_core.int64)
    counts = _core.scatter_add(_core.zeros(weight.shape[0], dtype=weight.dtype), flat, _core.reshape(ones, (-1,)), 0)
    share = _core.expand_dims(ones / _core.take(counts, input, axis=0), axis=-1)
    scaled = rows * share
    return rows.detach() + (scaled - scaled.detach())  # the value of rows, the gradient of scaled


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sum, mean or maximum of the rows of each bag of indices; see `lanner.nn.EmbeddingBag`.

    >>> ln.nn.functional.embedding_bag(ln.tensor([[0, 2]]), ln.tensor([[0.0], [1.0], [2.0]]), mode="sum").tolist()
    [[2.0]]
    """
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    if scale_grad_by_freq:
        if mode == "max":
            raise ValueError('embedding_bag: scale_grad_by_freq goes with the modes "sum" and "mean"')
        input, weight, padding_idx = _rows_by_frequency(input, weight, padding_idx)
    return _core.embedding_bag(
        input,
        weight,
        offsets,
        mode=mode,
        per_sample_weights=per_sample_weights,
        include_last_offset=include_last_offset,
        padding_idx=padding_idx,
    )


def _rows_by_frequency(input: Tensor, weight: Tensor, padding_idx: int | None) -> tuple[Tensor, Tensor, int | None]:
    """Places in a table of the rows that ``input`` names, whose gradient is divided by how often each is used."""
    flat = _core.reshape(input, (-1,))
    count = flat.shape[0]
    rows = embedding(flat, weight, scale_grad_by_freq=True)
    places = _core.arange(count)
    if padding_idx is not None:  # what is left out names one row more
        rows = _core.concat([rows, _core.zeros((1, weight.shape[1]), dtype=weight.dtype)], axis=0)
        places = _core.where(flat == padding_idx % weight.shape[0], count, places)
        padding_idx = count
    return _core.reshape(places, input.shape), rows, padding_idx


# ---- losses, distances ----


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """``target * (log target - input)`` for log-probabilities ``input``; ``reduction`` may also be ``"batchmean"``.

    >>> ln.nn.functional.kl_div(ln.tensor([0.0]), ln.tensor([1.0])).item()
    0.0
    """
    if reduction == "batchmean":
        total = _core.kl_div(input, target, reduction="sum", log_target=log_target)
        return total / max(input.shape[0], 1) if input.ndim else total
    return _core.kl_div(input, target, reduction=reduction, log_target=log_target)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """``x / max(|x|_p, eps)``, the norm taken along the axis ``dim``.

    >>> ln.nn.functional.normalize(ln.tensor([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    return input / _core.maximum(_core.norm(input, p, dim, keepdims=True), eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``x1 . x2 / max(|x1| |x2|, eps)`` along the axis ``dim``.

    >>> ln.nn.functional.cosine_similarity(ln.tensor([[3.0, 0.0]]), ln.tensor([[0.0, 2.0]])).tolist()
    [0.0]
    """
    lengths = _core.sum(x1 * x1, axis=dim) * _core.sum(x2 * x2, axis=dim)
    return _core.sum(x1 * x2, axis=dim) / _core.sqrt(_core.maximum(lengths, eps * eps))


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """``|x1 - x2 + eps|_p`` along the last axis.

    >>> ln.nn.functional.pairwise_distance(ln.tensor([[3.0, 4.0]]), ln.zeros((1, 2)), eps=0.0).tolist()
    [5.0]
    """
    return _core.norm(x1 - x2 + eps, p, -1, keepdims=keepdim)


def _pair(size: Size) -> tuple[int, int]:
    first, *rest = (size, size) if isinstance(size, int) else tuple(size)
    return first, (rest[0] if rest else first)
