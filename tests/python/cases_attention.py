"""Scaled dot-product attention: sizes on both sides of its blocks, masks of every kind."""

import numpy as np
from case import ALL_FLOATS, Case
from lanner.nn import functional as F


def attention(query, key, value, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = np.repeat(key, times, -3), np.repeat(value, times, -3)
    scores = query @ np.swapaxes(key, -1, -2) * (max(query.shape[-1], 1) ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total == 0, 1, total) @ value


def terms(query, key, value, *masks):
    return query.shape[-1] + key.shape[-2] + 8


def allowed(*shape):
    """A bool mask with a row that leaves out every key."""
    mask = np.random.default_rng(3).random(shape) < 0.6
    mask[..., 0, :] = False
    return mask


def case(name, shapes, gradient=True, **kwargs):
    return Case(
        f"attention-{name}",
        F.scaled_dot_product_attention,
        shapes,
        attention,
        kwargs,
        dtypes=ALL_FLOATS if gradient else ("float32", "float64"),
        reduces=terms,
        gradient=gradient,
    )


CASES = [
    case("plain", [[(2, 3), (4, 3), (4, 5)], [(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 2)], [(1, 1), (1, 1), (1, 1)]]),
    case("scale", [[(2, 3, 4), (2, 5, 4), (2, 5, 4)]], scale=0.3),
    case("empty", [[(2, 0, 3), (2, 4, 3), (2, 4, 5)], [(2, 3), (0, 3), (0, 5)], [(0, 2, 3), (0, 4, 3), (0, 4, 5)]]),
    case("no-features", [[(2, 0), (3, 0), (3, 2)], [(2, 3), (4, 3), (4, 0)]]),
    case(
        "causal",
        [[(2, 5, 3), (2, 5, 3), (2, 5, 2)], [(3, 2), (6, 2), (6, 2)], [(6, 2), (3, 2), (3, 2)]],
        is_causal=True,
    ),
    case(
        "bool", [[(2, 3, 4), (2, 5, 4), (2, 5, 2), allowed(3, 5)], [(2, 3, 4), (2, 5, 4), (2, 5, 2), allowed(2, 3, 1)]]
    ),
    case("additive", [[(2, 3, 4), (2, 5, 4), (2, 5, 2), (3, 5)], [(2, 3, 4), (2, 5, 4), (2, 5, 2), (2, 1, 5)]]),
    case("both", [[(4, 3), (5, 3), (5, 2), allowed(4, 5)], [(4, 3), (5, 3), (5, 2), (1,)]], is_causal=True),
    case("broadcast", [[(3, 1, 2, 4), (2, 5, 4), (1, 5, 2)], [(2, 4), (3, 5, 4), (3, 5, 2), (3, 1, 1)]]),
    case(
        "grouped",
        [[(2, 6, 3, 4), (2, 2, 5, 4), (2, 2, 5, 2)], [(4, 3, 4), (2, 5, 4), (2, 5, 2), allowed(4, 3, 5)]],
        enable_gqa=True,
    ),
    case(
        "blocks",
        [[(2, 300, 40), (2, 517, 40), (2, 517, 24)], [(129, 64), (257, 64), (257, 64), allowed(129, 257)]],
        False,
    ),
    case(
        "causal-blocks",
        [[(2, 300, 40), (2, 517, 40), (2, 517, 24)], [(700, 16), (260, 16), (260, 33)]],
        False,
        is_causal=True,
    ),
    case("additive-blocks", [[(20, 130, 8), (20, 300, 8), (20, 300, 8), (130, 300)]], False),
]
