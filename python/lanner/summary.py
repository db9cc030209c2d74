"""A net as a table: layers, output shapes, parameters, floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lanner import _core
from lanner._core import Tensor


@dataclass
class Row:
    """One layer."""

    path: str
    layer: str
    shape: tuple[int | None, ...] | None
    parameters: int
    flops: int | None


@dataclass
class Summary:
    """The rows of a net, and its sums; ``str()`` draws the table."""

    rows: list[Row]
    parameters: int
    trainable: int
    flops: int | None
    bytes: int

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "FLOPs")
        lines = [
            (
                row.path or "(net)",
                row.layer,
                "" if row.shape is None else str(list(row.shape)).replace("None", "N"),
                f"{row.parameters:,}" if row.parameters else "",
                f"{row.flops:,}" if row.flops else "",
            )
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in [head, *lines]) for i in range(5)]

        def draw(line: Sequence[str]) -> str:
            cells = [t.ljust(w) if i < 3 else t.rjust(w) for i, (t, w) in enumerate(zip(line, widths, strict=True))]
            return "  ".join(cells).rstrip()

        rule = "─" * (sum(widths) + 8)
        total = f"{self.parameters:,} parameters"
        if self.trainable != self.parameters:
            total += f" ({self.trainable:,} of them trained)"
        total += f", {_binary(self.bytes)}"
        if self.flops is not None:
            total += f"; {_decimal(self.flops)}FLOPs a sample"
        else:
            total += "; shapes and FLOPs: summary(input_shape=...), without the axis of samples"
        return "\n".join([draw(head), rule, *map(draw, lines), rule, total])

    def __repr__(self) -> str:
        flops = "" if self.flops is None else f", {_decimal(self.flops)}FLOPs"
        return f"Summary({self.parameters:,} parameters{flops})"


def summarize(net: Any, specs: Sequence[tuple[Sequence[int], str]] | None) -> Summary:
    """The table of ``net``, run once on zeros of ``specs`` (shape without samples, and dtype) where they are given."""
    leaves = [(path, module) for path, module in net.named_modules() if not list(module.children()) or _own(module)]
    shapes: dict[int, Any] = {}
    flops: dict[int, int] = {}
    if specs is not None:
        _run(net, [module for _, module in leaves], specs, shapes, flops)
    rows = [
        Row(
            path,
            type(module).__name__,
            shapes.get(id(module)),
            sum(p.size for p in _own(module)),
            flops.get(id(module), 0) if specs is not None else None,
        )
        for path, module in leaves
    ]
    parameters = list(net.parameters())
    return Summary(
        rows,
        parameters=sum(p.size for p in parameters),
        trainable=sum(p.size for p in parameters if p.requires_grad),
        flops=sum(flops.values()) if specs is not None else None,
        bytes=sum(p.nbytes for p in parameters),
    )


def _own(module: Any) -> list[Tensor]:
    return [p for p in module._parameters.values() if p is not None]


def _run(
    net: Any,
    modules: Iterable[Any],
    specs: Sequence[tuple[Sequence[int], str]],
    shapes: dict[int, Any],
    flops: dict[int, int],
) -> None:
    def record(module: Any, args: tuple[Any, ...], output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) else output
        if isinstance(first, Tensor):
            shapes[id(module)] = (None, *first.shape[1:])
            # A layer that is used twice computes twice.
            flops[id(module)] = flops.get(id(module), 0) + layer_flops(module, args, first)

    handles = [module.register_forward_hook(record) for module in modules]
    training = [(module, module.training) for module in net.modules()]
    recording = _core.set_grad_enabled(False)
    try:
        net.eval()
        net(*(_core.zeros((1, *shape), dtype=getattr(_core, dtype)) for shape, dtype in specs))
    finally:
        _core.set_grad_enabled(recording)
        for module, mode in training:
            module.training = mode
        for handle in handles:
            handle.remove()


def layer_flops(module: Any, args: tuple[Any, ...], output: Tensor) -> int:
    """Two for each multiply-add of a matrix product or a convolution, one for each output element of other layers
    that compute; none for those that only move data."""
    kind = type(module).__name__
    weight = module._parameters.get("weight")
    elements = int(output.size)
    bias = elements if module._parameters.get("bias") is not None else 0
    if weight is not None:
        shape = tuple(int(n) for n in weight.shape)
        if kind == "Linear":
            return 2 * elements * shape[1] + bias
        if kind == "Bilinear":
            return 2 * elements * shape[1] * (shape[2] + 1) + bias
        if kind.startswith("ConvTranspose"):
            return 2 * int(args[0].size) * math.prod(shape[1:]) + bias
        if kind.startswith("Conv"):
            return 2 * elements * math.prod(shape[1:]) + bias
    if kind in ("RNN", "LSTM", "GRU"):
        weights = sum(int(p.size) for p in module._parameters.values() if p is not None and p.ndim == 2)
        return 2 * weights * int(output.shape[0] * (1 if output.ndim == 2 else output.shape[1]))
    if kind in ("Flatten", "Unflatten", "Identity", "Embedding", "Dropout", "Dropout2d", "Sequential"):
        return 0
    if kind in ("MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d"):
        size, axes = module.kernel_size, int(kind[-2])
        return elements * (math.prod(size) if isinstance(size, (tuple, list)) else int(size) ** axes)
    return elements


def _decimal(n: int) -> str:
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} "


def _binary(n: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} bytes"
