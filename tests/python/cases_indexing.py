"""gather, scatter, take, embedding, indexing, joining, padding, sorting."""

from itertools import pairwise

import lanner as ln
import numpy as np
from case import ALL_FLOATS, FLOATS, INTS, Case

NUMBERS = (*ALL_FLOATS, *INTS)
ALL = (*NUMBERS, "bool")


def integers(seed, high, shape, low=0):
    return np.random.default_rng(seed).integers(low, high, shape)


def scatter(x, index, src, axis):
    out = x.copy()
    moved, at, from_ = (np.moveaxis(a, axis, 0) for a in (out, index, np.broadcast_to(src, index.shape)))
    for j in range(at.shape[0]):
        for rest in np.ndindex(*at.shape[1:]):
            moved[(at[(j, *rest)], *rest)] = from_[(j, *rest)]
    return out


def scatter_add(x, index, src, axis):
    out = x.copy()
    moved, at, from_ = (np.moveaxis(a, axis, 0) for a in (out, index, src))
    for j in range(at.shape[0]):
        for rest in np.ndindex(*at.shape[1:]):
            moved[(at[(j, *rest)], *rest)] += from_[(j, *rest)]
    return out


def gather(x, index, axis):
    cut = tuple(slice(None) if i == axis % x.ndim else slice(n) for i, n in enumerate(index.shape))
    return np.take_along_axis(x[cut], index, axis)


def index_put(x, value, indices, accumulate=False):
    out = x.copy()
    if accumulate:
        np.add.at(out, indices, value)
    else:
        out[indices] = value
    return out


def put_case(name, shape, indices, value_shape, accumulate=False, **kwargs):
    key = tuple(slice(None) if i is None else i for i in indices)
    given = tuple(i if i is None else ln.tensor(i) for i in indices)
    return Case(
        name,
        lambda x, value: ln.index_put(x, given, value, accumulate),
        [(shape, value_shape)],
        lambda x, value: index_put(x, value, key, accumulate),
        **kwargs,
    )


def key_of(*items):
    """A key for both libraries; arrays become tensors for lanner."""
    return tuple(ln.tensor(i) if isinstance(i, np.ndarray) else i for i in items), items


def getitem_case(name, shape, *items):
    ours, theirs = key_of(*items)
    return Case(name, lambda x: x[ours], [(shape,)], lambda x: x[theirs])


def bag(input, weight, mode, sizes):
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rows = [weight[input[a:b]] for a, b in pairwise(starts)]
    zero = np.zeros(weight.shape[1])
    return np.stack([getattr(r, mode)(0) if len(r) else zero for r in rows])


def bag_case(mode):
    sizes = [2, 0, 3, 1]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return Case(
        f"embedding_bag_{mode}",
        lambda w: ln.embedding_bag(ln.tensor(integers(5, 4, 6)), w, ln.tensor(offsets), mode=mode),
        [((4, 3),)],
        lambda w: bag(integers(5, 4, 6), w, mode, sizes),
        reduces=lambda w: 3,
    )


def pad_case(shape, pad, mode):
    widths = [(0, 0)] * (len(shape) - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    numpy_mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    extra = {"constant_values": 2} if mode == "constant" else {}
    return Case(
        f"pad_{mode}_{len(shape)}d",
        lambda x: ln.pad(x, pad, mode, 2) if mode == "constant" else ln.pad(x, pad, mode),
        [(shape,)],
        lambda x: np.pad(x, widths, numpy_mode, **extra),
        dtypes=NUMBERS,
    )


def top(x, k, axis, largest):
    order = np.argsort(-x if largest else x, axis, kind="stable")
    indices = np.take(order, np.arange(k), axis)
    return np.take_along_axis(x, indices, axis), indices


CASES = [
    Case(
        "gather",
        lambda x, i: ln.gather(x, i, 1),
        [
            ((3, 5, 4), integers(0, 5, (3, 7, 4), -5)),
            ((2, 5, 4), integers(1, 5, (1, 2, 3))),
            ((2, 5, 0), integers(1, 5, (2, 3, 0))),
        ],
        lambda x, i: gather(x, i, 1),
        dtypes=NUMBERS,
    ),
    Case(
        "gather_last",
        lambda x, i: ln.gather(x, i, -1),
        [((9,), integers(0, 9, (20,))), ((7, 5), integers(1, 5, (7, 1))), ((7, 3, 5), integers(1, 5, (5, 2, 9)))],
        lambda x, i: gather(x, i, -1),
    ),
    Case(
        "take_along_axis",
        lambda x, i: ln.take_along_axis(x, i, axis=0),
        [((4, 3), integers(0, 4, (6, 3))), ((4, 1), integers(0, 4, (2, 5))), ((4, 3), integers(0, 4, (2, 1)))],
        lambda x, i: np.take_along_axis(
            np.broadcast_to(x, (4, max(x.shape[1], i.shape[1]))),
            np.broadcast_to(i, (len(i), max(x.shape[1], i.shape[1]))),
            0,
        ),
    ),
    Case(
        "scatter",
        lambda x, i, s: ln.scatter(x, i, s, 1),
        [((3, 5, 4), integers(0, 5, (3, 7, 4), -5), (3, 7, 4)), ((3, 5), integers(0, 5, (2, 3)), (2, 3))],
        lambda x, i, s: scatter(x, i, s, 1),
        dtypes=FLOATS,
    ),
    Case(
        "scatter_add",
        lambda x, i, s: ln.scatter_add(x, i, s, 0),
        [
            ((3, 5), integers(0, 3, (7, 5)), (7, 5)),
            ((6,), integers(0, 6, 30), (30,)),
            ((3, 5, 2), integers(0, 3, (4, 2, 2)), (4, 2, 2)),
        ],
        lambda x, i, s: scatter_add(x, i, s, 0),
        dtypes=(*ALL_FLOATS, "int32"),
        reduces=lambda x, i, s: 30,
    ),
    Case(
        "take",
        lambda x, i: ln.take(x, i, axis=1),
        [
            ((3, 5, 4), integers(0, 5, (2, 6), -5)),
            ((2, 5), integers(0, 5, ())),
            ((2, 5, 3), integers(0, 5, (0,))),
            ((0, 5), integers(0, 5, 3)),
        ],
        lambda x, i: np.take(x, i, 1),
        dtypes=NUMBERS,
    ),
    Case("take_flat", lambda x, i: ln.take(x, i), [((3, 5), integers(0, 15, (2, 6)))], lambda x, i: np.take(x, i)),
    Case(
        "embedding",
        lambda i, w: ln.embedding(i, w),
        [(integers(0, 10, (3, 7)), (10, 33)), (integers(0, 2, ()), (2, 1)), (integers(0, 3, (50,)), (3, 5))],
        lambda i, w: w[i],
        dtypes=ALL_FLOATS,
    ),
    *[bag_case(mode) for mode in ("sum", "mean", "max")],
    Case(
        "embedding_bag_weighted",
        lambda i, w, s: ln.embedding_bag(i, w, mode="sum", per_sample_weights=s),
        [(integers(2, 6, (3, 4)), (6, 5), (3, 4))],
        lambda i, w, s: (w[i] * s[..., None]).sum(1),
        reduces=lambda i, w, s: 4,
    ),
    Case(
        "embedding_bag_weighted_padded",
        lambda w, s: ln.embedding_bag(
            ln.tensor([1, 2, 0, 2, 3, 1, 2]), w, ln.tensor([0, 3, 3, 5]), "sum", s, True, padding_idx=2
        ),
        [((4, 3), (7,))],
        lambda w, s: np.stack([s[0] * w[1] + s[2] * w[0], 0 * w[0], s[4] * w[3]]),
        reduces=lambda w, s: 2,
    ),
    Case(
        "embedding_bag_mean_padded",
        lambda w: ln.embedding_bag(ln.tensor([[1, 2, 0], [2, 2, 2], [3, 3, 2]]), w, padding_idx=2),
        [((4, 3),)],
        lambda w: np.stack([(w[1] + w[0]) / 2, 0 * w[0], w[3]]),
        reduces=lambda w: 2,
    ),
    put_case("index_put_rows", (5, 3), (np.array([3, 0]),), (2, 3), dtypes=FLOATS),
    put_case("index_put_points", (5, 3), (np.array([3, 0, 3]), np.array([1, 2, 1])), (3,), dtypes=FLOATS),
    put_case("index_put_apart", (5, 3, 4), (np.array([3, 0]), None, np.array([1, -2])), (2, 3)),
    put_case(
        "index_put_accumulate",
        (4, 3, 2),
        (None, np.array([[2, 0], [2, 2]])),
        (4, 2, 2, 2),
        accumulate=True,
        dtypes=(*ALL_FLOATS, "int16"),
        reduces=lambda x, v: 4,
    ),
    put_case("index_put_mask", (4, 3), (np.array([True, False, True, False]),), (3,)),
    getitem_case("getitem_view", (4, 5, 6), slice(None, None, -1), 2, None, slice(1, 5, 3)),
    getitem_case("getitem_rows", (4, 5), np.array([[1, 3], [-1, 0]])),
    getitem_case("getitem_points", (4, 5), np.array([[1], [3]]), np.array([0, 4])),
    getitem_case("getitem_apart", (4, 5, 6), np.array([1, 1]), slice(1, 4), np.array([0, 4])),
    getitem_case("getitem_mask", (2, 3), np.array([[True, False, True], [False, False, True]])),
    Case(
        "concat",
        lambda a, b: ln.concat([a, b, a], axis=1),
        [((2, 3), (2, 1)), ((2, 0, 3), (2, 4, 3)), ((0, 3), (0, 2))],
        lambda a, b: np.concatenate([a, b, a], 1),
        dtypes=ALL,
    ),
    Case(
        "stack",
        lambda a, b: ln.stack([a, b], axis=-1),
        [((2, 3), (2, 3)), ((), ()), ((0, 4), (0, 4))],
        lambda a, b: np.stack([a, b], -1),
        dtypes=ALL,
    ),
    Case(
        "split",
        lambda x: ln.split(x, 2, 1),
        [((3, 5),), ((2, 2, 3),)],
        lambda x: np.split(x, range(2, x.shape[1], 2), 1),
    ),
    Case("split_sizes", lambda x: ln.split(x, [1, 0, 4], 1), [((3, 5),)], lambda x: np.split(x, [1, 1], 1)),
    Case("unstack", lambda x: ln.unstack(x, axis=1), [((3, 4),)], lambda x: tuple(x.T)),
    *[pad_case((5,), (2, 3), mode) for mode in ("constant", "reflect", "replicate", "circular")],
    *[pad_case((2, 3, 4, 5), (1, 2, 3, 0), mode) for mode in ("constant", "reflect", "replicate", "circular")],
    Case(
        "pad_crop",
        lambda x: ln.pad(x, (-1, 2, 0, -2), "constant", 1),
        [((4, 5),)],
        lambda x: np.pad(x[:2, 1:], ((0, 0), (0, 2)), constant_values=1),
    ),
    Case(
        "flip",
        lambda x: ln.flip(x, axis=(0, -1)),
        [((3, 4, 5),), ((0, 2),), ((1, 1),)],
        lambda x: np.flip(x, (0, -1)),
        dtypes=ALL,
    ),
    Case(
        "roll",
        lambda x: ln.roll(x, (2, -1), (1, 0)),
        [((3, 4, 5),), ((0, 2),)],
        lambda x: np.roll(x, (2, -1), (1, 0)),
        dtypes=NUMBERS,
    ),
    Case("roll_flat", lambda x: ln.roll(x, -5), [((3, 4),), ((1,),)], lambda x: np.roll(x, -5)),
    Case(
        "repeat",
        lambda x: ln.repeat(x, 3, axis=1),
        [((3, 4, 5),), ((2, 0),)],
        lambda x: np.repeat(x, 3, 1),
        dtypes=NUMBERS,
    ),
    Case("repeat_each", lambda x: ln.repeat(x, [2, 0, 1], axis=0), [((3, 4),)], lambda x: np.repeat(x, [2, 0, 1], 0)),
    Case(
        "tile",
        lambda x: ln.tile(x, (2, 1, 3)),
        [((3, 4),), ((2, 3, 4, 5),), ((),)],
        lambda x: np.tile(x, (2, 1, 3)),
        dtypes=NUMBERS,
    ),
    *[
        Case(
            f"{name}_{k}",
            lambda x, name=name, k=k: getattr(ln, name)(x, k),
            [((4, 5),), ((2, 5, 3),), ((0, 3),)],
            lambda x, name=name, k=k: getattr(np, name)(x, k),
            dtypes=NUMBERS,
        )
        for name in ("tril", "triu")
        for k in (-2, 0, 1)
    ],
    *[
        Case(
            f"diagonal_{k}",
            lambda x, k=k: ln.diagonal(x, k),
            [((4, 5),), ((2, 5, 3),), ((0, 3),)],
            lambda x, k=k: np.diagonal(x, k, -2, -1),
        )
        for k in (-2, 0, 4, 9)
    ],
    Case("diagonal_axes", lambda x: ln.diagonal(x, 1, 2, 0), [((4, 3, 5),)], lambda x: np.diagonal(x, 1, 2, 0)),
    Case(
        "trace",
        lambda x: ln.trace(x, 1),
        [((4, 5),), ((2, 3, 3),)],
        lambda x: np.trace(x, 1, -2, -1),
        reduces=lambda x: 4,
    ),
    *[
        Case(
            f"sort_{axis}_{n}",
            lambda x, axis=axis: ln.sort(x, axis=axis),
            [((n, 3, 2) if axis == 0 else (3, n),)],
            lambda x, axis=axis: np.sort(x, axis),
            dtypes=ALL,
        )
        for axis in (0, -1)
        for n in (0, 1, 5, 40)
    ],
    Case("sort_long", ln.sort, [((2, 1500),)], np.sort, dtypes=ALL, gradient=False),
    Case(
        "sort_descending",
        lambda x: ln.sort(x, descending=True),
        [((3, 9),), ((700,),)],
        lambda x: -np.sort(-x),
        order=1,
    ),
    Case(
        "argsort",
        lambda x: ln.argsort(x, axis=0),
        [((9, 3),), ((800, 2),)],
        lambda x: np.argsort(x, 0, kind="stable"),
        dtypes=ALL,
        gradient=False,
    ),
    Case(
        "topk",
        lambda x: ln.topk(x, 3, 0),
        [((9, 3),), ((3,),), ((1000,),)],
        lambda x: top(x, 3, 0, True),
        dtypes=(*ALL_FLOATS, "int8", "int64"),
        gradient=False,
    ),
    Case(
        "topk_values",
        lambda x: ln.topk(x, 2, -1, False)[0],
        [((4, 3, 9),), ((300,),)],
        lambda x: top(x, 2, -1, False)[0],
    ),
    Case(
        "unique_values", ln.unique_values, [((40,),), ((3, 5),), ((0,),), ((),)], np.unique, dtypes=ALL, gradient=False
    ),
    Case(
        "searchsorted",
        lambda x, v: ln.searchsorted(ln.sort(x), v),
        [((40,), (3, 5)), ((0,), (2,)), ((5,), ())],
        lambda x, v: np.searchsorted(np.sort(x), v),
        dtypes=NUMBERS,
        gradient=False,
    ),
    Case(
        "nonzero",
        ln.nonzero,
        [((3, 4, 5),), ((20,),), ((2, 0),)],
        np.nonzero,
        dtypes=ALL,
        gradient=False,
        low=-1.0,
        high=1.0,
    ),
]
