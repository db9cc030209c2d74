"""Elementwise functions against NumPy, with broadcasting; the special functions against the C library's."""

import math

import lanner as ln
import numpy as np
from case import ALL_FLOATS, INTS, Case

UNARY = [[(1,)], [(7,)], [(3, 65)], [(2, 3, 37)], [(0, 4)], [()]]
BINARY = [
    [(3, 65), (3, 65)],
    [(3, 65), (65,)],
    [(3, 1), (1, 17)],
    [(2, 4, 5), (4, 1)],
    [(7,), ()],
    [(), (7,)],
    [(0, 4), (4,)],
    [(2, 1, 3, 1, 2), (5, 1, 3, 1)],
]
NO_GRADIENT = {"gradient": False}

erf = np.vectorize(math.erf, otypes=[float])
erfc = np.vectorize(math.erfc, otypes=[float])


def unary(name, ref, low=-2.0, high=2.0, dtypes=ALL_FLOATS, **options):
    return Case(name, getattr(ln, name), UNARY, ref, dtypes=dtypes, low=low, high=high, **options)


def binary(name, ref, low=-2.0, high=2.0, dtypes=ALL_FLOATS, **options):
    return Case(name, getattr(ln, name), BINARY, ref, dtypes=dtypes, low=low, high=high, **options)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def on_integers(name, ref, table=UNARY, low=-100, high=100, dtypes=INTS, label=""):
    """Reference in the integers themselves, which wrap as lanner's do."""
    return Case(f"{name}{label}-int", getattr(ln, name), table, ref, dtypes=dtypes, low=low, high=high, gradient=False)


def on_bools(name, ref, table=BINARY):
    return Case(f"{name}-bool", getattr(ln, name), table, ref, dtypes=("bool",), gradient=False)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e30, -1e30], np.float32)
PAIRS = [[SPECIAL[:, None].copy(), SPECIAL.copy()]]

CASES = [
    unary("negative", np.negative),
    unary("abs", np.abs, 0.1, 2.0),
    unary("abs", np.abs, -2.0, -0.1),
    unary("sign", np.sign, **NO_GRADIENT),
    unary("square", np.square),
    unary("sqrt", np.sqrt, 0.1, 3.0),
    unary("rsqrt", lambda x: 1 / np.sqrt(x), 0.1, 3.0),
    unary("reciprocal", lambda x: 1 / x, 0.5, 3.0),
    unary("exp", np.exp),
    unary("expm1", np.expm1),
    unary("log", np.log, 0.1, 3.0),
    unary("log1p", np.log1p, -0.9, 3.0),
    unary("log2", np.log2, 0.1, 3.0),
    unary("log10", np.log10, 0.1, 3.0),
    unary("sin", np.sin, -9.0, 9.0),
    unary("cos", np.cos, -9.0, 9.0),
    unary("tan", np.tan, -1.2, 1.2, ulp=16),
    unary("asin", np.arcsin, -0.9, 0.9),
    unary("acos", np.arccos, -0.9, 0.9),
    unary("atan", np.arctan, -4.0, 4.0),
    unary("sinh", np.sinh),
    unary("cosh", np.cosh),
    unary("tanh", np.tanh),
    unary("asinh", np.arcsinh, -4.0, 4.0),
    unary("acosh", np.arccosh, 1.2, 4.0),
    unary("atanh", np.arctanh, -0.9, 0.9),
    unary("floor", np.floor, **NO_GRADIENT),
    unary("ceil", np.ceil, **NO_GRADIENT),
    unary("round", np.round, **NO_GRADIENT),
    unary("trunc", np.trunc, **NO_GRADIENT),
    unary("relu", lambda x: np.maximum(x, 0), 0.1, 2.0),
    unary("relu", lambda x: np.maximum(x, 0), -2.0, 2.0),
    unary("sigmoid", sigmoid, -6.0, 6.0),
    unary("silu", lambda x: x * sigmoid(x), -4.0, 4.0),
    unary("selu", lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    unary("step", lambda x: np.heaviside(x, 1.0), **NO_GRADIENT),
    unary("erf", erf),
    unary("isnan", np.isnan, **NO_GRADIENT),
    unary("isinf", np.isinf, **NO_GRADIENT),
    unary("isfinite", np.isfinite, **NO_GRADIENT),
    unary("signbit", np.signbit, **NO_GRADIENT),
    unary("logical_not", np.logical_not, **NO_GRADIENT),
    unary(
        "leaky_relu", lambda x, negative_slope: np.where(x > 0, x, negative_slope * x), kwargs={"negative_slope": 0.2}
    ),
    unary("elu", lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)), kwargs={"alpha": 1.5}),
    unary("gelu", lambda x: x * 0.5 * erfc(-x / math.sqrt(2)), -4.0, 4.0),
    unary(
        "gelu",
        lambda x, approximate: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        kwargs={"approximate": "tanh"},
    ),
    unary("softplus", lambda x: np.logaddexp(0, x), -19.0, 19.0),
    unary(
        "softplus",
        lambda x, beta, threshold: np.where(2 * x > 1, x, np.logaddexp(0, 2 * x) / 2),
        kwargs={"beta": 2.0, "threshold": 1.0},
    ),
    unary(
        "hardtanh", lambda x, min_val, max_val: np.clip(x, min_val, max_val), kwargs={"min_val": -0.5, "max_val": 1.5}
    ),
    unary(
        "threshold",
        lambda x, threshold, value: np.where(x > threshold, x, value),
        kwargs={"threshold": 0.5, "value": -3.0},
    ),
    unary("clip", lambda x, min, max: np.clip(x, min, max), kwargs={"min": -1, "max": 0.5}),
    unary("clip", lambda x, min: np.maximum(x, min), kwargs={"min": 0.25}),
    Case(
        "clip-tensors",
        ln.clip,
        [[(3, 17), (17,), (3, 1)]],
        lambda x, a, b: np.minimum(np.maximum(x, a), b),
        dtypes=ALL_FLOATS,
        low=[-2.0, -2.0, 0.1],
        high=[2.0, 0.0, 2.0],
    ),
    binary("add", np.add),
    binary("subtract", np.subtract),
    binary("multiply", np.multiply),
    binary("divide", np.divide, 0.5, 3.0),
    binary("floor_divide", np.floor_divide, 0.5, 9.0, ("float32", "float64"), **NO_GRADIENT),
    binary("remainder", np.remainder, [-9.0, 0.5], [9.0, 3.0], ("float64",), **NO_GRADIENT),
    Case(
        "remainder-gradient",
        ln.remainder,
        [[np.array([5.5, -5.5, 7.2]), np.array([2.0, 2.0, -3.0])]],
        np.remainder,
        dtypes=("float64",),
    ),
    binary("pow", np.power, 0.3, 2.0, ulp=8),
    binary("maximum", np.maximum),
    binary("minimum", np.minimum),
    binary("atan2", np.arctan2, 0.2, 2.0),
    binary("atan2", np.arctan2, -2.0, 2.0, **NO_GRADIENT),
    binary("logaddexp", np.logaddexp, -5.0, 5.0),
    binary("hypot", np.hypot, 0.2, 2.0),
    binary("copysign", np.copysign, [0.1, -2.0], [2.0, 2.0]),
    *[
        binary(name, getattr(np, name), **NO_GRADIENT)
        for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
    ],
    *[binary(name, getattr(np, name), **NO_GRADIENT) for name in ("logical_and", "logical_or", "logical_xor")],
    Case(
        "where",
        lambda c, a, b: ln.where(c, a, b),
        [
            [np.array([[True], [False], [True]]), (3, 65), (65,)],
            [np.array(True), (4,), ()],
            [np.arange(3) - 1, (3,), (3,)],
        ],
        np.where,
        dtypes=ALL_FLOATS,
    ),
    *[
        Case(f"{name}-special", getattr(ln, name), PAIRS, ref, dtypes=("float32",), gradient=False)
        for name, ref in [
            ("add", np.add),
            ("divide", np.divide),
            ("maximum", np.maximum),
            ("minimum", np.minimum),
            ("remainder", np.remainder),
            ("logaddexp", np.logaddexp),
            ("pow", np.power),
            ("hypot", np.hypot),
            ("atan2", np.arctan2),
            ("less", np.less),
            ("equal", np.equal),
            ("not_equal", np.not_equal),
        ]
    ],
    on_integers("negative", np.negative),
    on_integers("abs", np.abs),
    on_integers("sign", np.sign),
    on_integers("square", np.square),
    on_integers("relu", lambda x: np.maximum(x, 0)),
    on_integers("floor", lambda x: x),
    on_integers("bitwise_invert", np.invert),
    on_integers("add", np.add, BINARY),
    on_integers("subtract", np.subtract, BINARY),
    on_integers("multiply", np.multiply, BINARY),
    on_integers("maximum", np.maximum, BINARY),
    on_integers("minimum", np.minimum, BINARY),
    on_integers("pow", np.power, BINARY, 0, 5),
    on_integers("floor_divide", np.floor_divide, BINARY, [-100, 1], [100, 9]),
    on_integers("remainder", np.remainder, BINARY, [-100, 1], [100, 9]),
    on_integers("floor_divide", np.floor_divide, BINARY, [-100, -9], [100, -1], INTS[:4], "-negative"),
    on_integers("remainder", np.remainder, BINARY, [-100, -9], [100, -1], INTS[:4], "-negative"),
    on_integers("bitwise_and", np.bitwise_and, BINARY),
    on_integers("bitwise_or", np.bitwise_or, BINARY),
    on_integers("bitwise_xor", np.bitwise_xor, BINARY),
    on_integers("bitwise_left_shift", np.left_shift, BINARY, [-100, 0], [100, 6]),
    on_integers("bitwise_right_shift", np.right_shift, BINARY, [-100, 0], [100, 6]),
    on_integers("less", np.less, BINARY),
    on_integers("equal", np.equal, BINARY, 0, 3),
    on_integers("logical_and", np.logical_and, BINARY, 0, 2),
    on_bools("logical_and", np.logical_and),
    on_bools("logical_xor", np.logical_xor),
    on_bools("add", np.logical_or),
    on_bools("multiply", np.logical_and),
    on_bools("maximum", np.logical_or),
    on_bools("minimum", np.logical_and),
    on_bools("bitwise_or", np.logical_or),
    on_bools("equal", np.equal),
    on_bools("bitwise_invert", np.logical_not, UNARY),
]
