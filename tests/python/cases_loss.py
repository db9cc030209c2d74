"""Losses."""

import lanner as ln
import numpy as np
from case import ALL_FLOATS, Case
from cases_norm import log_softmax

PAIRS = [[(7,), (7,)], [(3, 65), (3, 65)], [(), ()], [(2, 3, 5), (2, 3, 5)]]
REDUCE = {"none": lambda x: x, "mean": np.mean, "sum": np.sum}


def pairwise(name, fn, of_pair, shapes=PAIRS, kwargs=None, **more):
    """One case for each reduction of an elementwise loss."""
    return [
        Case(
            f"{name}-{reduction}",
            fn,
            shapes,
            lambda *a, reduction=reduction, **_: REDUCE[reduction](of_pair(*a)),
            {**(kwargs or {}), "reduction": reduction},
            reduces=lambda *a: a[0].size,
            ulp=16,
            **more,
        )
        for reduction in REDUCE
    ]


def smooth_l1(x, t, beta=1.0):
    d = np.abs(x - t)
    return np.where(d < beta, d * d / (2 * beta), d - beta / 2)


def huber(x, t, delta=1.0):
    d = np.abs(x - t)
    return np.where(d < delta, d * d / 2, delta * (d - delta / 2))


def bce(x, t):
    return -(t * np.log(x) + (1 - t) * np.log(1 - x))


def bce_with_logits(x, t, pos_weight=1.0):
    return -(pos_weight * t * -np.logaddexp(0, -x) + (1 - t) * -np.logaddexp(0, x))


def class_losses(logp, target, weight=None, ignore_index=-100, smoothing=0.0):
    """Loss and weight of each target, by a plain loop."""
    rows = np.moveaxis(logp, 0 if logp.ndim == 1 else 1, -1).reshape(-1, logp.shape[0 if logp.ndim == 1 else 1])
    weight = np.ones(rows.shape[1]) if weight is None else weight
    loss, used = np.zeros(target.size), np.zeros(target.size)
    for i, t in enumerate(target.reshape(-1)):
        if t == ignore_index:
            continue
        used[i] = weight[t]
        loss[i] = -(1 - smoothing) * weight[t] * rows[i, t] - smoothing / len(weight) * np.sum(weight * rows[i])
    return loss.reshape(target.shape), used.reshape(target.shape)


def class_loss(logp, target, weight=None, reduction="mean", **options):
    loss, used = class_losses(logp, target, weight, **options)
    return {"none": loss, "sum": loss.sum(), "mean": loss.sum() / used.sum()}[reduction]


def cross_entropy(x, target, *weight, reduction="mean", ignore_index=-100, label_smoothing=0.0):
    logp = log_softmax(x, 0 if x.ndim == 1 else 1)
    return class_loss(logp, target, *weight, reduction=reduction, ignore_index=ignore_index, smoothing=label_smoothing)


def weighted_cross_entropy(x, target, weight, **options):
    return ln.cross_entropy(x, target, weight.detach(), **options)


def probability_loss(x, p, reduction="mean", label_smoothing=0.0):
    axis = 0 if x.ndim == 1 else 1
    p = p * (1 - label_smoothing) + label_smoothing / x.shape[axis]
    return REDUCE[reduction](-np.sum(p * log_softmax(x, axis), axis))


def multi_margin(x, target, p=1, margin=1.0):
    loss = [
        sum(max(0, margin - row[t] + row[i]) ** p for i in range(len(row)) if i != t) / len(row)
        for row, t in zip(x, target, strict=True)
    ]
    return np.mean(loss)


def cosine_embedding(a, b, target, margin=0.0):
    cosine = np.sum(a * b, -1) / np.sqrt((np.sum(a * a, -1) + 1e-12) * (np.sum(b * b, -1) + 1e-12))
    return np.mean(np.where(target == 1, 1 - cosine, np.maximum(0, cosine - margin)))


def triplet_margin(a, p, n, swap=False):
    def distance(x, y):
        return np.linalg.norm(x - y + 1e-6, axis=-1)

    far = np.minimum(distance(a, n), distance(p, n)) if swap else distance(a, n)
    return np.mean(np.maximum(0, distance(a, p) - far + 1.0))


def triplet_margin_p1(a, p, n):
    return np.mean(np.maximum(0, np.sum(np.abs(a - p + 1e-6), -1) - np.sum(np.abs(a - n + 1e-6), -1) + 1.0))


LABELS = np.array([2, 0, 4, 1, 2])
GRID = np.array([[[0, 1, 2], [2, 1, 0]], [[1, 1, 2], [0, 0, 1]]])
CLASSES = [[(5, 5), LABELS], [(3, 1000), np.array([999, 0, 17])], [(7,), np.array(3)], [(2, 3, 2, 3), GRID]]
SMALL = [[(5, 5), LABELS], [(7,), np.array(3)], [(2, 3, 2, 3), GRID]]
SIGNS = np.array([1, -1, 1, -1])

CASES = [
    *pairwise("mse", ln.mse_loss, lambda x, t: (x - t) ** 2),
    *pairwise("mse-half", ln.mse_loss, lambda x, t: (x - t) ** 2, dtypes=["float16", "bfloat16"], gradient=False),
    *pairwise("l1", ln.l1_loss, lambda x, t: np.abs(x - t), order=1),
    *pairwise("smooth_l1", ln.smooth_l1_loss, smooth_l1, order=1),
    *pairwise("smooth_l1-beta", ln.smooth_l1_loss, lambda x, t: smooth_l1(x, t, 0.3), kwargs={"beta": 0.3}, order=1),
    *pairwise("huber", ln.huber_loss, lambda x, t: huber(x, t, 0.7), kwargs={"delta": 0.7}, order=1),
    *pairwise("bce", ln.binary_cross_entropy, bce, low=0.05, high=0.95),
    *pairwise("bce_with_logits", ln.binary_cross_entropy_with_logits, bce_with_logits, low=[-9, 0], high=[9, 1]),
    Case(
        "bce_with_logits-pos_weight",
        lambda x, t, p: ln.binary_cross_entropy_with_logits(x, t, pos_weight=p),
        [[(4, 3), (4, 3), (3,)]],
        lambda x, t, p: np.mean(bce_with_logits(x, t, p)),
        low=[-3, 0, 0.5],
        high=[3, 1, 2],
        reduces=lambda *a: a[0].size,
        ulp=16,
    ),
    *pairwise("kl_div", ln.kl_div, lambda x, t: t * (np.log(t) - x), low=[-2, 0.1], high=[0, 1]),
    *pairwise("kl_div-log", ln.kl_div, lambda x, t: np.exp(t) * (t - x), kwargs={"log_target": True}),
    *pairwise("hinge", ln.hinge_loss, lambda x, t: np.maximum(0, 1 - x * t), order=1),
    *[
        Case(
            f"cross_entropy-{reduction}-{smoothing}",
            ln.cross_entropy,
            CLASSES,
            cross_entropy,
            {"reduction": reduction, "label_smoothing": smoothing},
            low=-6,
            high=6,
            ulp=16,
            dtypes=ALL_FLOATS,
            reduces=lambda x, t: x.size,
            gradient=False,
        )
        for reduction in REDUCE
        for smoothing in (0.0, 0.1)
    ],
    *[
        Case(
            f"cross_entropy-gradient-{smoothing}-{ignore}",
            ln.cross_entropy,
            SMALL,
            cross_entropy,
            {"label_smoothing": smoothing, "ignore_index": ignore},
            ulp=16,
            reduces=lambda x, t: x.size,
        )
        for smoothing in (0.0, 0.2)
        for ignore in (-100, 2)
    ],
    *[
        Case(
            f"cross_entropy-weight-{smoothing}-{reduction}",
            weighted_cross_entropy,
            [[(5, 5), LABELS, (5,)], [(2, 3, 2, 3), GRID, (3,)]],
            cross_entropy,
            {"label_smoothing": smoothing, "ignore_index": 1, "reduction": reduction},
            ulp=16,
            low=[-2, 0, 0.5],
            reduces=lambda x, *_: x.size,
            gradient=False,
        )
        for smoothing in (0.0, 0.2)
        for reduction in REDUCE
    ],
    Case(
        "cross_entropy-weight-gradient",
        lambda x, t: ln.cross_entropy(
            x, t, ln.tensor([0.5, 2.0, 1.0, 0.1, 0.7], dtype=x.dtype), label_smoothing=0.3, ignore_index=1
        ),
        [[(5, 5), LABELS]],
        lambda x, t: cross_entropy(x, t, np.array([0.5, 2.0, 1.0, 0.1, 0.7]), label_smoothing=0.3, ignore_index=1),
        ulp=16,
        reduces=lambda x, t: x.size,
    ),
    *[
        Case(
            f"cross_entropy-probabilities-{smoothing}-{reduction}",
            ln.cross_entropy,
            [[(4, 3), (4, 3)], [(5,), (5,)], [(2, 3, 4), (2, 3, 4)]],
            probability_loss,
            {"label_smoothing": smoothing, "reduction": reduction},
            low=[-2, 0.1],
            high=[2, 1],
            ulp=16,
            reduces=lambda x, t: x.size,
        )
        for smoothing in (0.0, 0.1)
        for reduction in REDUCE
    ],
    *[
        Case(
            f"nll-{reduction}",
            ln.nll_loss,
            SMALL,
            class_loss,
            {"reduction": reduction, "ignore_index": 1},
            ulp=16,
            reduces=lambda x, t: x.size,
        )
        for reduction in REDUCE
    ],
    Case(
        "multi_margin",
        ln.multi_margin_loss,
        [[(5, 5), LABELS]],
        multi_margin,
        ulp=16,
        order=1,
        reduces=lambda x, t: x.size,
    ),
    Case(
        "multi_margin-2",
        ln.multi_margin_loss,
        [[(5, 5), LABELS]],
        multi_margin,
        {"p": 2, "margin": 0.5},
        ulp=32,
        order=1,
        reduces=lambda x, t: x.size,
    ),
    Case(
        "cosine_embedding",
        lambda a, b, t: ln.cosine_embedding_loss(a, b, t, 0.1),
        [[(4, 5), (4, 5), SIGNS]],
        lambda a, b, t: cosine_embedding(a, b, t, 0.1),
        ulp=16,
        reduces=lambda a, *_: a.size,
    ),
    Case(
        "triplet_margin", ln.triplet_margin_loss, [[(4, 5)] * 3], triplet_margin, ulp=16, reduces=lambda a, *_: a.size
    ),
    Case(
        "triplet_margin-swap",
        ln.triplet_margin_loss,
        [[(4, 5)] * 3],
        triplet_margin,
        {"swap": True},
        ulp=16,
        reduces=lambda a, *_: a.size,
    ),
    Case(
        "triplet_margin-1",
        lambda a, p, n: ln.triplet_margin_loss(a, p, n, p=1.0),
        [[(4, 5)] * 3],
        triplet_margin_p1,
        ulp=16,
        order=1,
        reduces=lambda a, *_: a.size,
    ),
]
