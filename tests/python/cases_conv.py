"""Convolution and transposed convolution against sums over taps in NumPy."""

import itertools

import lanner as ln
import numpy as np
from case import ALL_FLOATS, Case


def spatial(value, dims):
    return (value,) * dims if isinstance(value, int) else tuple(value)


def conv(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """y[n, o, p] = b[o] + sum over c and taps of w[o, c, tap] x[n, c, p * stride + tap * dilation - padding]."""
    dims = w.ndim - 2
    if x.ndim == dims + 1:
        return conv(x[None], w, b, stride, padding, dilation, groups)[0]
    stride, dilation, kernel = spatial(stride, dims), spatial(dilation, dims), w.shape[2:]
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if padding == "same":
        pads = [(r // 2, r - r // 2) for r in reach]
    else:
        pads = [(p, p) for p in spatial(0 if padding == "valid" else padding, dims)]
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    out = [(size - r - 1) // s + 1 for size, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    c, m = w.shape[1], w.shape[0] // groups
    for g, tap in itertools.product(range(groups), itertools.product(*map(range, kernel))):
        at = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in zip(tap, dilation, out, stride, strict=True)
        )
        patch = x[(slice(None), slice(g * c, (g + 1) * c), *at)]
        y[:, g * m : (g + 1) * m] += np.einsum(
            "nc...,oc->no...", patch, w[(slice(g * m, (g + 1) * m), slice(None), *tap)]
        )
    return y if b is None else y + b.reshape(-1, *[1] * dims)


def conv_transpose(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Each x[n, c, p] adds w[c, o, tap] x[n, c, p] to y[n, o, p * stride + tap * dilation - padding]."""
    dims = w.ndim - 2
    if x.ndim == dims + 1:
        return conv_transpose(x[None], w, b, stride, padding, output_padding, groups, dilation)[0]
    stride, dilation, padding = spatial(stride, dims), spatial(dilation, dims), spatial(padding, dims)
    extra, kernel, sizes = spatial(output_padding, dims), w.shape[2:], x.shape[2:]
    full = [
        (n - 1) * s + d * (k - 1) + 1 + e for n, s, d, k, e in zip(sizes, stride, dilation, kernel, extra, strict=True)
    ]
    c, m = w.shape[0] // groups, w.shape[1]
    y = np.zeros((x.shape[0], m * groups, *full))
    for g, tap in itertools.product(range(groups), itertools.product(*map(range, kernel))):
        at = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(tap, dilation, sizes, stride, strict=True)
        )
        to = (slice(None), slice(g * m, (g + 1) * m), *at)
        part = x[:, g * c : (g + 1) * c]
        y[to] += np.einsum("nc...,co->no...", part, w[(slice(g * c, (g + 1) * c), slice(None), *tap)])
    y = y[(..., *[slice(p, size - p) for p, size in zip(padding, full, strict=True)])]
    return y if b is None else y + b.reshape(-1, *[1] * dims)


def terms(*arrays):
    return int(np.prod(arrays[1].shape[1:]))


def terms_transposed(*arrays):
    return int(arrays[1].shape[0] * np.prod(arrays[1].shape[2:]))


def row(name, fn, shapes, **kwargs):
    ref, reduces = (conv_transpose, terms_transposed) if "transpose" in name else (conv, terms)
    return Case(name, fn, shapes, ref, kwargs, dtypes=ALL_FLOATS, reduces=reduces)


CASES = [
    row(
        "conv1d",
        ln.conv1d,
        [((2, 3, 9), (4, 3, 3), (4,)), ((1, 1, 1), (1, 1, 1)), ((0, 2, 5), (3, 2, 2)), ((2, 7), (5, 2, 3))],
    ),
    row("conv1d_options", ln.conv1d, [((2, 4, 17), (6, 2, 3), (6,))], stride=2, padding=3, dilation=2, groups=2),
    row(
        "conv2d",
        ln.conv2d,
        [((2, 3, 6, 7), (4, 3, 3, 2), (4,)), ((3, 6, 6), (2, 3, 3, 3)), ((0, 1, 4, 4), (2, 1, 3, 3))],
    ),
    row("conv2d_padding", ln.conv2d, [((2, 2, 5, 5), (17, 2, 5, 5), (17,)), ((1, 3, 1, 1), (2, 3, 3, 3))], padding=2),
    row("conv2d_same", ln.conv2d, [((2, 2, 5, 6), (3, 2, 4, 3), (3,))], padding="same", dilation=(1, 2)),
    row("conv2d_valid", ln.conv2d, [((1, 2, 5, 6), (3, 2, 2, 3))], padding="valid"),
    row("conv2d_stride", ln.conv2d, [((2, 2, 7, 8), (3, 2, 3, 3), (3,))], stride=2, padding=1),
    row("conv2d_skip", ln.conv2d, [((1, 2, 8, 8), (3, 2, 2, 2))], stride=3),
    row("conv2d_pairs", ln.conv2d, [((1, 2, 9, 10), (3, 2, 2, 3))], stride=(1, 2), padding=(0, 3), dilation=(3, 2)),
    row("conv2d_groups", ln.conv2d, [((2, 6, 5, 4), (4, 3, 3, 3), (4,))], padding=1, groups=2),
    row(
        "conv2d_depthwise",
        ln.conv2d,
        [((2, 4, 6, 6), (4, 1, 3, 3), (4,)), ((1, 4, 5, 5), (8, 1, 3, 3))],
        padding=1,
        groups=4,
    ),
    row("conv2d_pointwise", ln.conv2d, [((2, 18, 3, 3), (17, 18, 1, 1), (17,))]),
    row("conv3d", ln.conv3d, [((1, 2, 4, 5, 4), (3, 2, 3, 2, 3), (3,))], padding=(1, 0, 1)),
    row("conv3d_stride", ln.conv3d, [((1, 2, 5, 4, 5), (2, 1, 2, 2, 3))], stride=2, groups=2),
    row(
        "conv_transpose1d",
        ln.conv_transpose1d,
        [((2, 3, 5), (3, 2, 4), (2,)), ((3, 5), (3, 1, 1))],
        stride=2,
        padding=1,
        output_padding=1,
    ),
    row("conv_transpose2d", ln.conv_transpose2d, [((2, 3, 4, 3), (3, 4, 3, 3), (4,)), ((0, 3, 2, 2), (3, 1, 2, 2))]),
    row("conv_transpose2d_up", ln.conv_transpose2d, [((1, 3, 3, 4), (3, 2, 4, 4), (2,))], stride=2, padding=1),
    row(
        "conv_transpose2d_wide",
        ln.conv_transpose2d,
        [((1, 2, 3, 3), (2, 18, 3, 3), (18,))],
        stride=(2, 3),
        output_padding=(1, 2),
    ),
    row(
        "conv_transpose2d_groups",
        ln.conv_transpose2d,
        [((2, 4, 3, 3), (4, 2, 3, 2), (4,))],
        groups=2,
        dilation=2,
        output_padding=1,
    ),
    row("conv_transpose3d", ln.conv_transpose3d, [((1, 2, 2, 3, 2), (2, 2, 2, 3, 3))], stride=2, padding=1),
]
