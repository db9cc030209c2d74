"""Pooling and upsampling against loops over windows in NumPy."""

import itertools
import math

import lanner as ln
import numpy as np
from case import ALL_FLOATS, Case


def spatial(value, dims):
    return (value,) * dims if isinstance(value, (int, float)) or value is None else tuple(value)


def windows(size, kernel, stride, padding, dilation, ceil_mode):
    """For each output the elements of its window that lie inside, and how many there are with padding."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    out = (math.ceil if ceil_mode else math.floor)(room / stride) + 1
    if ceil_mode and (out - 1) * stride >= size + padding:
        out -= 1
    found = []
    for i in range(out):
        start = i * stride - padding
        inside = [p for p in range(start, start + dilation * kernel, dilation) if 0 <= p < size]
        found.append((inside, min(start + kernel, size + padding) - start))
    return found


def adaptive_windows(size, out):
    spans = [range(i * size // out, -(-(i + 1) * size // out)) for i in range(out or size)] if out else []
    return [(list(s), len(s)) for s in spans]


def over_windows(x, axes, f):
    """f(values of a window, their indices in the plane, elements with padding) for each output."""
    dims = len(axes)
    sizes, lead = x.shape[x.ndim - dims :], x.shape[: x.ndim - dims]
    flat = x.reshape(*lead, math.prod(sizes))
    y = np.zeros((*lead, *map(len, axes)))
    for at in itertools.product(*[range(len(a)) for a in axes]):
        chosen = [axes[d][at[d]] for d in range(dims)]
        index = np.array([np.ravel_multi_index(p, sizes) for p in itertools.product(*[c[0] for c in chosen])])
        y[(..., *at)] = f(flat[..., index], index, math.prod(c[1] for c in chosen))
    return y


def both(x, axes):
    values = over_windows(x, axes, lambda v, i, n: v.max(-1))
    return values, over_windows(x, axes, lambda v, i, n: i[v.argmax(-1)]).astype(np.int64)


def pool_axes(x, dims, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    kernel = spatial(kernel_size, dims)
    stride = kernel if stride is None else spatial(stride, dims)
    options = zip(x.shape[-dims:], kernel, stride, spatial(padding, dims), spatial(dilation, dims), strict=True)
    return [windows(*o, ceil_mode) for o in options]


def max_pool(dims):
    def ref(x, return_indices=False, **options):
        values, indices = both(x, pool_axes(x, dims, **options))
        return (values, indices) if return_indices else values

    return ref


def avg_pool(dims):
    def ref(x, count_include_pad=True, **options):
        axes = pool_axes(x, dims, **options)
        return over_windows(x, axes, lambda v, i, n: v.sum(-1) / (n if count_include_pad else v.shape[-1]))

    return ref


def adaptive(dims, f):
    def ref(x, output_size):
        sizes = [s if n is None else n for s, n in zip(x.shape[-dims:], spatial(output_size, dims), strict=True)]
        return over_windows(x, [adaptive_windows(s, n) for s, n in zip(x.shape[-dims:], sizes, strict=True)], f)

    return ref


def upsample(x, size=None, scale_factor=None, mode="nearest", align_corners=False):
    for axis in range(2, x.ndim):
        n = x.shape[axis]
        factor = None if scale_factor is None else spatial(scale_factor, x.ndim - 2)[axis - 2]
        out = spatial(size, x.ndim - 2)[axis - 2] if factor is None else math.floor(n * factor)
        scale = out / n if factor is None else factor
        matrix = np.zeros((out, n))
        for i in range(out):
            if mode == "nearest":
                matrix[i, min(n - 1, i * n // out if factor is None else math.floor(i / scale))] = 1
                continue
            if align_corners:
                place = i * (n - 1) / (out - 1) if out > 1 else 0.0
            else:
                place = max(0.0, (i + 0.5) / scale - 0.5)
            low = min(int(place), n - 1)
            matrix[i, low] += 1 - (place - low)
            matrix[i, min(low + 1, n - 1)] += place - low
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def row(name, fn, ref, shapes, reduces=1, **kwargs):
    return Case(name, fn, [(s,) for s in shapes], ref, kwargs, dtypes=ALL_FLOATS, reduces=lambda *_: reduces)


MAX2, AVG2 = max_pool(2), avg_pool(2)
CASES = [
    row("max_pool1d", ln.max_pool1d, max_pool(1), [(2, 3, 8), (3, 7), (0, 2, 5)], kernel_size=2),
    row(
        "max_pool1d_options",
        ln.max_pool1d,
        max_pool(1),
        [(2, 1, 11)],
        kernel_size=3,
        stride=2,
        padding=1,
        dilation=2,
        ceil_mode=True,
    ),
    row(
        "max_pool2d",
        ln.max_pool2d,
        MAX2,
        [(2, 3, 6, 6), (1, 2, 5, 7), (2, 4, 4), (0, 1, 4, 4), (1, 1, 2, 36)],
        kernel_size=2,
    ),
    row("max_pool2d_overlap", ln.max_pool2d, MAX2, [(2, 2, 7, 8), (1, 1, 2, 2)], kernel_size=3, stride=2, padding=1),
    row(
        "max_pool2d_pairs",
        ln.max_pool2d,
        MAX2,
        [(1, 2, 9, 10)],
        kernel_size=(2, 3),
        stride=(1, 2),
        dilation=(3, 2),
        padding=(1, 0),
    ),
    row("max_pool2d_ceil", ln.max_pool2d, MAX2, [(1, 2, 5, 7)], kernel_size=2, ceil_mode=True),
    row("avg_pool1d", ln.avg_pool1d, avg_pool(1), [(2, 3, 8), (3, 7), (0, 2, 5)], 2, kernel_size=2),
    row(
        "avg_pool1d_options",
        ln.avg_pool1d,
        avg_pool(1),
        [(2, 1, 11)],
        3,
        kernel_size=3,
        stride=2,
        padding=1,
        ceil_mode=True,
    ),
    row("avg_pool2d", ln.avg_pool2d, AVG2, [(2, 3, 6, 6), (1, 2, 5, 7), (2, 4, 4), (1, 1, 2, 36)], 4, kernel_size=2),
    row(
        "avg_pool2d_padding", ln.avg_pool2d, AVG2, [(1, 2, 7, 6)], 9, kernel_size=3, stride=2, padding=1, ceil_mode=True
    ),
    row(
        "avg_pool2d_inside",
        ln.avg_pool2d,
        AVG2,
        [(1, 2, 7, 6)],
        6,
        kernel_size=(2, 3),
        stride=(2, 1),
        padding=1,
        count_include_pad=False,
    ),
    row(
        "adaptive_avg_pool1d",
        ln.adaptive_avg_pool1d,
        adaptive(1, lambda v, i, n: v.mean(-1)),
        [(2, 3, 7), (2, 5)],
        3,
        output_size=3,
    ),
    row(
        "adaptive_avg_pool2d",
        ln.adaptive_avg_pool2d,
        adaptive(2, lambda v, i, n: v.mean(-1)),
        [(2, 2, 7, 5), (1, 3, 2, 2)],
        9,
        output_size=(3, None),
    ),
    row(
        "adaptive_avg_pool2d_one",
        ln.adaptive_avg_pool2d,
        adaptive(2, lambda v, i, n: v.mean(-1)),
        [(2, 3, 4, 5), (0, 3, 2, 2)],
        20,
        output_size=1,
    ),
    row(
        "adaptive_max_pool1d",
        ln.adaptive_max_pool1d,
        adaptive(1, lambda v, i, n: v.max(-1)),
        [(2, 3, 7)],
        output_size=3,
    ),
    row(
        "adaptive_max_pool2d",
        ln.adaptive_max_pool2d,
        adaptive(2, lambda v, i, n: v.max(-1)),
        [(2, 2, 7, 5)],
        output_size=(3, 2),
    ),
    row("upsample_nearest", ln.upsample, upsample, [(2, 3, 4, 5), (1, 1, 6), (0, 2, 3, 3)], 4, scale_factor=2),
    row("upsample_nearest_size", ln.upsample, upsample, [(1, 2, 5, 7)], 4, size=(7, 3)),
    row("upsample_linear", ln.upsample, upsample, [(2, 2, 5), (1, 1, 1)], 4, size=8, mode="linear"),
    row("upsample_linear_corners", ln.upsample, upsample, [(2, 2, 5)], 4, size=8, mode="linear", align_corners=True),
    row("upsample_bilinear", ln.upsample, upsample, [(2, 2, 3, 4)], 4, scale_factor=(2.5, 1.5), mode="bilinear"),
    row(
        "upsample_bilinear_corners",
        ln.upsample,
        upsample,
        [(1, 2, 4, 3)],
        4,
        size=(7, 2),
        mode="bilinear",
        align_corners=True,
    ),
]
