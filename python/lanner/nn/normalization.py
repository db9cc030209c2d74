"""Layers that shift and scale their input to mean 0 and variance 1, over the batch or within each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from lanner import _core
from lanner._core import Tensor
from lanner.nn import init
from lanner.nn.module import Module
from lanner.nn.parameter import Parameter, overwrite


class _BatchNorm(Module):
    _ranks: ClassVar[tuple[int, ...]]
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        dtype = dtype or _core.float32
        for name, value, wanted in (("weight", 1.0, affine), ("bias", 0.0, affine and bias)):
            made = _core.full((num_features,), value, dtype=dtype, device=device)
            self.register_parameter(name, Parameter(made) if wanted else None)
        for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
            made = _core.full((num_features,), value, dtype=dtype, device=device)
            self.register_buffer(name, made if track_running_stats else None)
        self.register_buffer("num_batches_tracked", _core.zeros((), dtype=_core.int64) if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Forget the statistics gathered in training."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Set weights to 1 and biases to 0, and forget the statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each channel: by this batch's statistics in training, else by those gathered."""
        if x.ndim not in self._ranks:
            expected = " or ".join(map(str, self._ranks))
            raise _core.ShapeError(f"{type(self).__name__}: expected {expected} dimensions, x has shape {x.shape}")
        if self.training and _core.recomputing():  # of a checkpoint: the batch was counted the first time
            return _core.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        momentum = 0.0 if self.momentum is None else self.momentum
        mean, var = self.running_mean, self.running_var
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            if self.momentum is None and mean is not None and var is not None:
                return self._with_plain_mean(x, mean, var, self.num_batches_tracked)
        own_statistics = self.training or mean is None
        if mean is None or var is None or mean.dtype.itemsize > 2:
            return _core.batch_norm(x, mean, var, self.weight, self.bias, own_statistics, momentum, self.eps)
        # Statistics are computed in float32 at least; where the module was made float16 or bfloat16, so are they kept.
        wide_mean, wide_var = mean.to(_core.float32), var.to(_core.float32)
        y = _core.batch_norm(x, wide_mean, wide_var, self.weight, self.bias, own_statistics, momentum, self.eps)
        if self.training:
            overwrite(mean, wide_mean.to(mean.dtype))
            overwrite(var, wide_var.to(var.dtype))
        return y

    def _with_plain_mean(self, x: Tensor, mean: Tensor, var: Tensor, batches: Tensor) -> Tensor:
        """As `forward` in training, where the statistics kept are the plain mean of those of all batches."""
        kind = mean.dtype if mean.dtype.itemsize > 2 else _core.float32
        batch_mean, batch_var = _core.zeros_like(mean, dtype=kind), _core.zeros_like(var, dtype=kind)
        y = _core.batch_norm(x, batch_mean, batch_var, self.weight, self.bias, True, 1.0, self.eps)
        share = 1.0 / batches.to(kind)
        for kept, new in ((mean, batch_mean), (var, batch_var)):
            overwrite(kept, kept.to(kind) * (1.0 - share) + new * share)
        return y

    def extra_repr(self) -> str:
        """Return the options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` for each of the C channels of x [N, C] or [N, C, L].

    In training mean and variance are the batch's, and running ones are kept:
    ``running = (1 - momentum) * running + momentum * batch`` (the plain mean of all if ``momentum=None``).

    >>> ln.nn.BatchNorm1d(3)(ln.random.normal((8, 3))).shape
    (8, 3)
    """

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """As `BatchNorm1d`, for images x [N, C, H, W].

    >>> ln.nn.BatchNorm2d(3)(ln.random.normal((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    _ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """As `BatchNorm1d`, for volumes x [N, C, D, H, W].

    >>> ln.nn.BatchNorm3d(3)(ln.random.normal((2, 3, 4, 4, 4))).shape
    (2, 3, 4, 4, 4)
    """

    _ranks = (5,)


class LayerNorm(Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias``, the statistics taken over the last axes of each sample.

    ``normalized_shape`` is the shape of those axes, and of weight and bias.

    >>> ln.nn.LayerNorm(4)(ln.tensor([[1.0, 1.0, 1.0, 1.0]])).tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        dtype = dtype or _core.float32
        ones = _core.ones(self.normalized_shape, dtype=dtype, device=device)
        zeros = _core.zeros(self.normalized_shape, dtype=dtype, device=device)
        self.register_parameter("weight", Parameter(ones) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(zeros) if elementwise_affine and bias else None)

    def reset_parameters(self) -> None:
        """Set weights to 1 and biases to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each sample."""
        return _core.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the options."""
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class RMSNorm(Module):
    """``x / sqrt(mean(x^2) + eps) * weight``, the mean taken over the last axes of each sample.

    ``eps=None`` is the smallest step of the dtype at 1.

    >>> ln.nn.RMSNorm(2, eps=0.0)(ln.tensor([[3.0, 3.0]])).tolist()
    [[1.0, 1.0]]
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        ones = _core.ones(self.normalized_shape, dtype=dtype or _core.float32, device=device)
        self.register_parameter("weight", Parameter(ones) if elementwise_affine else None)

    def reset_parameters(self) -> None:
        """Set weights to 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each sample."""
        return _core.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the options."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalizes each sample of x [N, C, ...] over groups of channels; weight and bias are one a channel.

    >>> ln.nn.GroupNorm(2, 4)(ln.random.normal((3, 4, 5))).shape
    (3, 4, 5)
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise _core.ShapeError(f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, value, wanted in (("weight", 1.0, affine), ("bias", 0.0, affine and bias)):
            made = _core.full((num_channels,), value, dtype=dtype or _core.float32, device=device)
            self.register_parameter(name, Parameter(made) if wanted else None)

    def reset_parameters(self) -> None:
        """Set weights to 1 and biases to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each group of channels of each sample."""
        return _core.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the options."""
        options = f"eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"
        return f"{self.num_groups}, {self.num_channels}, {options}"


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)
