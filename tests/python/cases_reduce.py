"""Reductions, running sums and products, vector norms."""

import lanner as ln
import numpy as np
from case import ALL_FLOATS, INTS, Case

SHAPES = [[()], [(1,)], [(7,)], [(3, 65)], [(2, 3, 5)], [(0,)], [(4, 0)]]
FULL = [[()], [(1,)], [(7,)], [(3, 65)], [(2, 3, 5)]]
MATRICES = [[(1, 1)], [(3, 65)], [(130, 3)], [(5, 300)]]
CUBES = [[(2, 3, 5)], [(4, 33, 17)], [(3, 1, 40)]]


def axis_size(axis):
    """The number of elements that fall into one of the output."""
    return lambda x: int(np.prod([x.shape[a] for a in np.atleast_1d(axis)])) if axis is not None else x.size


def reduction(name, fn, ref, axis, shapes, **more):
    kwargs = {} if axis is None else {"axis": axis}
    label = f"{name}-{axis}".replace(" ", "")
    return Case(label, fn, shapes, ref, kwargs, reduces=axis_size(axis), **more)


def log_sum_exp(x, axis=None):
    top = np.max(x, axis=axis, keepdims=True)
    return np.squeeze(top, axis=axis) + np.log(np.sum(np.exp(x - top), axis=axis))


def vector_norm(x, ord, axis=None):
    return np.linalg.norm(x.reshape(-1) if axis is None else x, ord, axis=axis)


def with_zeros(shape, zeros):
    """Positive and negative numbers of float64, 0 at the flat positions `zeros`."""
    signs = np.where(np.arange(np.prod(shape)).reshape(shape) % 3, 1, -1)
    x = np.random.default_rng(3).uniform(0.5, 1.5, shape) * signs
    x.reshape(-1)[list(zeros)] = 0
    return x


def of_constant(fn, x, **kwargs):
    """`fn` of x plus an input that is all 0, so that the gradient is taken at x itself."""
    values = ln.tensor(x)
    return lambda d: fn(values.to(d.dtype) + d * 0.125, **kwargs)


CASES = [
    reduction("sum", ln.sum, np.sum, None, SHAPES, dtypes=ALL_FLOATS, ulp=8),
    reduction("mean", ln.mean, np.mean, None, FULL, dtypes=ALL_FLOATS, ulp=8),
    reduction("prod", ln.prod, np.prod, None, [[()], [(1,)], [(7,)], [(2, 3)], [(0,)]], ulp=16),
    *[reduction("sum", ln.sum, np.sum, axis, MATRICES, ulp=8) for axis in (0, 1, (0, 1))],
    *[reduction("sum", ln.sum, np.sum, axis, CUBES, ulp=8) for axis in (1, -1, (0, 1), (1, 2), (0, 2))],
    *[reduction("mean", ln.mean, np.mean, axis, CUBES, ulp=8) for axis in (0, (0, 2))],
    *[reduction("prod", ln.prod, np.prod, axis, [[(2, 3, 5)], [(1, 4, 1)]], ulp=16) for axis in (0, (0, 2))],
    *[reduction("max", ln.max, np.max, axis, FULL, dtypes=ALL_FLOATS) for axis in (None,)],
    *[reduction("max", ln.max, np.max, axis, CUBES) for axis in (0, 1, (0, 2))],
    *[reduction("min", ln.min, np.min, axis, CUBES) for axis in (None, -1, (0, 1))],
    reduction("amax", ln.amax, np.max, 1, CUBES),
    reduction("amin", ln.amin, np.min, 1, CUBES),
    *[reduction("var", ln.var, np.var, axis, CUBES, ulp=16) for axis in (None, 0, (1, 2))],
    Case(
        "var-correction",
        lambda x: ln.var(x, axis=1, correction=1),
        [[(2, 3, 5)], [(4, 33, 17)]],
        lambda x: np.var(x, axis=1, ddof=1),
        reduces=axis_size(1),
        ulp=16,
    ),
    reduction("std", ln.std, np.std, 1, [[(2, 3, 5)], [(4, 33, 17)]], ulp=16),
    reduction("logsumexp", ln.logsumexp, log_sum_exp, None, FULL, ulp=8),
    reduction("logsumexp", ln.logsumexp, log_sum_exp, 1, CUBES, ulp=8),
    *[
        Case(
            f"{name}-{axis}",
            fn,
            FULL if axis is None else CUBES,
            ref,
            {} if axis is None else {"axis": axis},
            dtypes=[*ALL_FLOATS, *INTS, "bool"],
            low=-1,
            high=1,
            gradient=False,
        )
        for name, fn, ref in [("any", ln.any, np.any), ("all", ln.all, np.all)]
        for axis in (None, 1, 2)
    ],
    *[
        Case(
            f"{name}-int-{axis}",
            fn,
            [[(2, 3, 5)], [(4, 33, 17)]],
            ref,
            {} if axis is None else {"axis": axis},
            dtypes=[*INTS, "bool"],
            low=0,
            high=3,
            gradient=False,
        )
        for name, fn, ref in [
            ("sum", ln.sum, lambda x, **k: np.sum(x, dtype=np.int64, **k)),
            ("max", ln.max, np.max),
            ("min", ln.min, np.min),
            ("count_nonzero", ln.count_nonzero, np.count_nonzero),
        ]
        for axis in (None, 0, 1, 2)
        if not (name == "sum" and axis is None)
    ],
    Case(
        "prod-int",
        ln.prod,
        [[(3,)], [(2, 2)]],
        lambda x: np.prod(x, dtype=np.int64),
        dtypes=[i for i in INTS if i != "uint64"],
        low=-3,
        high=3,
        gradient=False,
    ),
    *[
        Case(
            f"{name}-{axis}",
            fn,
            [[(1, 1, 1)], [(4, 33, 17)], [(3, 2, 3000)]],
            ref,
            {} if axis is None else {"axis": axis},
            dtypes=[*ALL_FLOATS, *INTS, "bool"],
            gradient=False,
        )
        for name, fn, ref in [("argmax", ln.argmax, np.argmax), ("argmin", ln.argmin, np.argmin)]
        for axis in (None, 0, 1, -1)
    ],
    *[
        Case(
            f"cumulative_sum-{axis}",
            ln.cumulative_sum,
            [[(4, 33, 17)], [(1, 2, 1)], [(2, 0, 3)]],
            np.cumsum,
            {"axis": axis},
            dtypes=ALL_FLOATS,
            reduces=axis_size(axis),
            gradient=False,
        )
        for axis in (0, 1, -1)
    ],
    Case("cumulative_sum", ln.cumulative_sum, [[(3, 4, 2)]], np.cumsum, {"axis": 1}, reduces=axis_size(1)),
    Case(
        "cumulative_sum-int",
        ln.cumulative_sum,
        [[(3, 4)]],
        lambda x, axis: np.cumsum(x, axis, dtype=np.int64),
        {"axis": 1},
        dtypes=[i for i in INTS if i != "uint64"],
        gradient=False,
    ),
    Case(
        "cumulative_sum-initial",
        lambda x: ln.cumulative_sum(x, axis=0, include_initial=True),
        [[(4, 3)]],
        lambda x: np.concatenate([np.zeros((1, 3)), np.cumsum(x, 0)]),
        reduces=axis_size(0),
    ),
    Case(
        "cumulative_prod",
        ln.cumulative_prod,
        [[(3, 7, 2)], [(1, 1, 1)]],
        np.cumprod,
        {"axis": 1},
        ulp=16,
        reduces=axis_size(1),
    ),
    # Gradients where elements are 0: one, two and none of them in a product.
    *[
        Case(
            f"{name}-zeros-{len(zeros)}",
            of_constant(fn, with_zeros((2, 5), zeros), axis=1),
            [[(2, 5)]],
            lambda d, fn=ref, zeros=zeros: fn(with_zeros((2, 5), zeros), axis=1),
            low=0.0,
            high=0.0,
            dtypes=["float64"],
            ulp=16,
        )
        for name, fn, ref in [("prod", ln.prod, np.prod), ("cumulative_prod", ln.cumulative_prod, np.cumprod)]
        for zeros in ([], [1], [1, 8], [0, 3, 6])
    ],
    *[
        Case(
            f"norm-{order}-{axis}",
            lambda x, order=order, axis=axis: ln.norm(x, order, axis),
            [[(7, 33)], [(2, 3)]],
            lambda x, order=order, axis=axis: vector_norm(x, order, axis),
            reduces=axis_size(axis),
            ulp=16,
            gradient=order != 0,
        )
        for order in (0, 1, 2, 3, float("inf"), float("-inf"))
        for axis in (None, 1)
    ],
    Case(
        "normalize",
        ln.normalize,
        [[(4, 9)]],
        lambda x: x / np.linalg.norm(x, axis=1, keepdims=True),
        reduces=axis_size(1),
    ),
]
