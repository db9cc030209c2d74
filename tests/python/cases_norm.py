"""Softmax and the normalizations."""

import lanner as ln
import numpy as np
from case import ALL_FLOATS, Case


def softmax(x, axis=-1):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x, axis=-1):
    d = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return d - np.log(np.sum(np.exp(d), axis=axis, keepdims=True))


def normalized(x, axes, eps=1e-5):
    if x.size == 0:
        return x
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def affine(y, weight, bias):
    shape = (1, -1) + (1,) * (y.ndim - 2)
    return y * weight.reshape(shape) + bias.reshape(shape)


def layer_norm(x, weight, bias):
    return normalized(x, tuple(range(x.ndim - weight.ndim, x.ndim))) * weight + bias


def group_norm(x, weight, bias, groups=2):
    return affine(normalized(x.reshape(x.shape[0], groups, -1), 2).reshape(x.shape), weight, bias)


def batch_norm(x, weight, bias):
    return affine(normalized(x, (0, *range(2, x.ndim))), weight, bias)


def rms_norm(x, weight, eps=1e-5):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps) * weight


def last(*arrays):
    return arrays[0].shape[-1]


def size(*arrays):
    return arrays[0].size


SOFTMAX = [[(1,)], [(7,)], [(3, 65)], [(2, 3, 5)], [(4, 0)], [(0, 4)], [(2, 1000)]]
COLUMNS = [[(4, 3, 5)], [(2, 17, 70)], [(1, 1, 1)], [(2, 3, 0)]]
SMALL = [[(2, 3, 4)]]

CASES = [
    *[
        case
        for name, fn, ref in [("softmax", ln.softmax, softmax), ("log_softmax", ln.log_softmax, log_softmax)]
        for case in [
            Case(name, fn, SOFTMAX, ref, dtypes=ALL_FLOATS, low=-8, high=8, ulp=8, gradient=False),
            *[
                Case(f"{name}-{axis}", fn, COLUMNS, ref, {"axis": axis}, low=-8, high=8, ulp=8, gradient=False)
                for axis in (0, 1)
            ],
            *[Case(f"{name}-gradient-{axis}", fn, SMALL, ref, {"axis": axis}, ulp=8) for axis in (0, 1, 2)],
        ]
    ],
    Case(
        "layer_norm",
        lambda x, w, b: ln.layer_norm(x, w.shape, w, b),
        [[(3, 65), (65,), (65,)], [(2, 3, 5), (3, 5), (3, 5)], [(4, 768), (768,), (768,)], [(0, 4), (4,), (4,)]],
        layer_norm,
        dtypes=ALL_FLOATS,
        reduces=last,
        ulp=16,
        gradient=False,
    ),
    Case(
        "layer_norm-gradient",
        lambda x, w, b: ln.layer_norm(x, w.shape, w, b),
        [[(3, 5), (5,), (5,)], [(2, 2, 3), (2, 3), (2, 3)]],
        layer_norm,
        reduces=last,
        ulp=16,
    ),
    Case(
        "layer_norm-plain",
        lambda x: ln.layer_norm(x, x.shape[-1]),
        [[(3, 5)]],
        lambda x: normalized(x, 1),
        reduces=last,
        ulp=16,
    ),
    Case(
        "layer_norm-weight",
        lambda x, w: ln.layer_norm(x, w.shape, w),
        [[(3, 5), (5,)]],
        lambda x, w: normalized(x, 1) * w,
        reduces=last,
        ulp=16,
    ),
    Case(
        "layer_norm-bias",
        lambda x, b: ln.layer_norm(x, b.shape, None, b),
        [[(3, 5), (5,)]],
        lambda x, b: normalized(x, 1) + b,
        reduces=last,
        ulp=16,
    ),
    Case(
        "layer_norm-far",
        lambda x: ln.layer_norm(x, x.shape[-1]),
        [[(3, 500)]],
        lambda x: normalized(x, 1),
        low=1000.0,
        high=1001.0,
        reduces=last,
        ulp=16,
        gradient=False,
    ),
    Case(
        "rms_norm",
        lambda x, w: ln.rms_norm(x, w.shape, w, 1e-5),
        [[(3, 65), (65,)], [(2, 3, 5), (5,)]],
        rms_norm,
        dtypes=ALL_FLOATS,
        reduces=last,
        ulp=16,
    ),
    Case(
        "group_norm",
        lambda x, w, b: ln.group_norm(x, 2, w, b),
        [[(2, 4, 3), (4,), (4,)], [(3, 6), (6,), (6,)], [(2, 4, 3, 3), (4,), (4,)]],
        group_norm,
        reduces=size,
        ulp=16,
    ),
    Case(
        "group_norm-large",
        lambda x, w, b: ln.group_norm(x, 2, w, b),
        [[(2, 6, 33, 5), (6,), (6,)]],
        group_norm,
        dtypes=ALL_FLOATS,
        reduces=size,
        ulp=16,
        gradient=False,
    ),
    Case(
        "group_norm-plain",
        lambda x: ln.group_norm(x, 1),
        [[(2, 4, 3)]],
        lambda x: normalized(x.reshape(2, -1), 1).reshape(x.shape),
        reduces=size,
        ulp=16,
    ),
    Case(
        "batch_norm",
        lambda x, w, b: ln.batch_norm(x, None, None, w, b, training=True),
        [[(5, 3), (3,), (3,)], [(3, 2, 4), (2,), (2,)], [(2, 3, 2, 3), (3,), (3,)]],
        batch_norm,
        reduces=size,
        ulp=16,
    ),
    Case(
        "batch_norm-large",
        lambda x, w, b: ln.batch_norm(x, None, None, w, b, training=True),
        [[(65, 37), (37,), (37,)], [(3, 17, 9, 7), (17,), (17,)], [(300, 1, 900), (1,), (1,)]],
        batch_norm,
        dtypes=ALL_FLOATS,
        reduces=size,
        ulp=16,
        gradient=False,
    ),
    Case(
        "batch_norm-plain",
        lambda x: ln.batch_norm(x, None, None, training=True),
        [[(4, 3)], [(2, 3, 4)]],
        lambda x: normalized(x, (0, *range(2, x.ndim))),
        reduces=size,
        ulp=16,
    ),
    Case(
        "batch_norm-inference",
        lambda x, m, v, w, b: ln.batch_norm(x, m, v, w, b),
        [[(5, 3), (3,), (3,), (3,), (3,)], [(2, 3, 2, 2), (3,), (3,), (3,), (3,)]],
        lambda x, m, v, w, b: affine(affine(x, np.ones_like(m), -m), w / np.sqrt(v + 1e-5), b),
        low=[-2, -2, 0.5, -2, -2],
        ulp=16,
    ),
]
