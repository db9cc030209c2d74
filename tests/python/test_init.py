"""Initial values: bounds, moments, structure."""

from __future__ import annotations

import math

import lanner as ln
import numpy as np
import pytest
from lanner.nn import init

SHAPES = [(40, 60), (16, 8, 5), (16, 8, 3, 5), (8, 4, 3, 3, 3)]


def fans(shape):
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def made(fill, shape, *args, dtype="float32", **kwargs):
    ln.manual_seed(7)
    tensor = ln.zeros(shape, dtype=dtype)
    assert fill(tensor, *args, **kwargs) is tensor
    return tensor.numpy().astype(np.float64)


def check_uniform(x, bound):
    # The largest of n even draws falls short of the bound by bound * 2 / n on average, the deviation of the mean
    # square of n draws is sqrt(4/45) bound^2 / sqrt(n); five of each.
    assert np.abs(x).max() <= bound * (1 + 1e-6)
    assert np.abs(x).max() >= bound * (1 - 10 / x.size)
    assert abs(x.mean()) <= 5 * bound / math.sqrt(3 * x.size)
    assert abs((x**2).mean() - bound**2 / 3) <= 5 * bound**2 * math.sqrt(4 / 45 / x.size)


def check_normal(x, std, mean=0.0):
    assert abs(x.mean() - mean) <= 5 * std / math.sqrt(x.size)
    assert abs(x.std() / std - 1) <= 5 / math.sqrt(2 * x.size)


def test_plain():
    check_uniform(made(init.uniform_, (5000,), -2.0, 2.0), 2.0)
    check_normal(made(init.normal_, (5000,), 3.0, 0.5), 0.5, 3.0)
    assert (made(init.constant_, (3, 2), 0.25) == 0.25).all()
    assert (made(init.ones_, (3,)) == 1).all() and (made(init.zeros_, (3,)) == 0).all()
    assert (made(init.eye_, (3, 5)) == np.eye(3, 5)).all()
    for dtype in ("float16", "float64"):
        check_uniform(made(init.uniform_, (2000,), -1.0, 1.0, dtype=dtype), 1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_scaled_by_fans(shape):
    fan_in, fan_out = fans(shape)
    check_uniform(made(init.xavier_uniform_, shape, 1.5), 1.5 * math.sqrt(6 / (fan_in + fan_out)))
    check_normal(made(init.xavier_normal_, shape, 1.5), 1.5 * math.sqrt(2 / (fan_in + fan_out)))
    check_uniform(made(init.kaiming_uniform_, shape, a=math.sqrt(5)), 1 / math.sqrt(fan_in))
    check_normal(made(init.kaiming_normal_, shape, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / fan_out))


@pytest.mark.parametrize(("a", "b"), [(-2, 2), (-0.01, 0.02), (1.5, 9), (7, 100), (-50, -8)])
def test_truncated(a, b):
    x = made(init.trunc_normal_, (4000,), 0.0, 1.0, a, b)
    assert x.min() >= a and x.max() <= b
    grid = np.linspace(a, b, 200001)
    density = np.exp(-(grid**2) / 2 + min(g * g for g in (a, b, 0 if a < 0 < b else a)) / 2)
    mean = (grid * density).sum() / density.sum()
    std = math.sqrt(((grid - mean) ** 2 * density).sum() / density.sum())
    assert abs(x.mean() - mean) <= 5 * std / math.sqrt(x.size)
    assert abs(x.std() / std - 1) <= 10 / math.sqrt(x.size)


def test_truncated_scaled():
    x = made(init.trunc_normal_, (2000,), 1.0, 0.02, 0.98, 1.02)
    assert x.min() >= 0.98 - 1e-7 and x.max() <= 1.02 + 1e-7
    with pytest.raises(ValueError, match="a must be below b"):
        init.trunc_normal_(ln.zeros(2), a=1.0, b=1.0)
    with pytest.raises(ValueError, match="std must be positive"):
        init.trunc_normal_(ln.zeros(2), std=0.0)


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (1, 4), (64, 32), (6, 2, 3, 2), (4, 1)])
def test_orthogonal(shape):
    x = made(init.orthogonal_, shape, 2.0, dtype="float64").reshape(shape[0], -1)
    gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    assert np.abs(gram - 4 * np.eye(len(gram))).max() <= 4 * np.finfo(np.float64).eps * max(x.shape)
    single = made(init.orthogonal_, shape).reshape(shape[0], -1)
    gram = single @ single.T if x.shape[0] <= x.shape[1] else single.T @ single
    assert np.abs(gram - np.eye(len(gram))).max() <= 2 * np.finfo(np.float32).eps


def test_dirac():
    for groups, outputs, inputs in ((1, 4, 3), (2, 4, 2), (1, 2, 5)):
        weight = init.dirac_(ln.ones((outputs, inputs, 3, 5)), groups)
        x = ln.random.normal((2, inputs * groups, 6, 7))
        y = ln.nn.functional.conv2d(x, weight, padding="same", groups=groups)
        per = outputs // groups
        for group in range(groups):
            for channel in range(per):
                got = y[:, group * per + channel].numpy()
                source = x[:, group * inputs + channel].numpy() if channel < inputs else np.zeros_like(got)
                assert np.array_equal(got, source)


def test_gains():
    assert init.calculate_gain("linear") == init.calculate_gain("conv2d") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("tanh") == 5 / 3 and init.calculate_gain("selu") == 0.75
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 1.0) == 1
    with pytest.raises(ValueError, match="nonlinearity must be one of"):
        init.calculate_gain("what")


def test_errors_and_empty():
    with pytest.raises(ln.ShapeError, match="at least 2 dimensions"):
        init.xavier_uniform_(ln.zeros(3))
    with pytest.raises(ln.ShapeError, match="at least 2 dimensions"):
        init.orthogonal_(ln.zeros(3))
    with pytest.raises(ln.ShapeError, match="3 to 5 dimensions"):
        init.dirac_(ln.zeros((3, 3)))
    with pytest.raises(ln.ShapeError, match="expected 2 dimensions"):
        init.eye_(ln.zeros(3))
    with pytest.raises(ValueError, match="mode must be"):
        init.kaiming_normal_(ln.zeros((3, 3)), mode="fan")
    for fill in (init.orthogonal_, init.kaiming_uniform_, init.xavier_normal_, init.eye_, init.trunc_normal_):
        assert fill(ln.zeros((0, 3))).shape == (0, 3)


def test_parameters_stay_leaves_and_seeds_repeat():
    weight = ln.nn.Parameter(ln.zeros((4, 4)))
    init.kaiming_uniform_(weight)
    assert weight.is_leaf and weight.requires_grad
    ln.manual_seed(3)
    a = ln.nn.Linear(5, 5).weight.tolist()
    ln.manual_seed(3)
    assert ln.nn.Linear(5, 5).weight.tolist() == a
