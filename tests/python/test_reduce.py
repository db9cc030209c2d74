"""Reductions, normalizations, losses: options, dtypes, extremes and errors."""

import lanner as ln
import numpy as np
import pytest

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "var", "std", "any", "all", "logsumexp"])
def test_axes_and_keepdims(name):
    x = ln.ones((2, 3, 4))
    f = getattr(ln, name)
    assert f(x).shape == ()
    assert f(x, axis=()).shape == (2, 3, 4)
    assert f(x, axis=-1).shape == (2, 3)
    assert f(x, axis=(0, 2)).shape == (3,)
    assert f(x, axis=(2, 0), keepdims=True).shape == (1, 3, 1)
    assert f(x, keepdims=True).shape == (1, 1, 1)
    with pytest.raises(ln.ShapeError, match=name):
        f(x, axis=3)
    with pytest.raises(ln.ShapeError, match="twice"):
        f(x, axis=(1, -2))


@pytest.mark.parametrize("name", ["int8", "uint8", "int32", "int64", "bool", "uint64"])
def test_integers_are_added_in_64_bits(name):
    dtype = getattr(ln, name)
    x = ln.ones((300, 3), dtype=dtype)
    assert ln.sum(x, axis=0).tolist() == [300] * 3
    assert ln.sum(x).dtype == (ln.uint64 if name == "uint64" else ln.int64)
    assert ln.prod(x).item() == 1
    assert ln.mean(x).dtype == ln.float32
    assert ln.sum(x, dtype=ln.float32).dtype == ln.float32
    assert ln.cumulative_sum(x, axis=0).tolist()[-1] == [300] * 3


def test_sum_is_pairwise():
    x = np.full(1 << 24, 0.1, np.float32)
    assert abs(ln.sum(ln.tensor(x)).item() - float(x[0]) * x.size) < 1e-6 * x.size * 0.1


@pytest.mark.parametrize("shape", [(3,), (70,), (5, 300)])
def test_nan_is_the_extreme(shape):
    x = np.ones(shape, np.float32)
    x.reshape(-1)[2] = NAN
    t = ln.tensor(x)
    assert np.isnan(ln.max(t).item())
    assert np.isnan(ln.min(t).item())
    assert ln.argmax(t).item() == ln.argmin(t).item() == 2
    assert ln.any(t).item()
    assert np.isnan(ln.softmax(ln.reshape(t, (-1,))).numpy()).all()


def test_empty():
    x = ln.zeros((0, 3))
    assert ln.sum(x).item() == 0
    assert ln.prod(x, axis=0).tolist() == [1, 1, 1]
    assert np.isnan(ln.mean(x).item())
    assert ln.all(x).item()
    assert not ln.any(x).item()
    assert ln.logsumexp(x).item() == -INF
    assert ln.max(x, axis=1).shape == (0,)
    assert ln.softmax(x).shape == (0, 3)
    assert ln.batch_norm(x, ln.zeros(3), ln.ones(3)).shape == (0, 3)
    for f in (ln.max, ln.min, ln.argmax, ln.argmin):
        with pytest.raises(ln.ShapeError, match="no elements"):
            f(x, axis=0)


def test_logsumexp_of_infinities():
    x = ln.tensor([[-INF, -INF], [INF, 0.0], [-INF, 1.0], [1e30, 1e30]])
    assert ln.logsumexp(x, axis=1).tolist() == [-INF, INF, 1.0, ln.tensor(1e30).item()]


def test_std_and_norm_of_constants_have_gradient_zero():
    for f in (ln.std, ln.norm, lambda x: ln.norm(x, 3)):
        x = ln.zeros(4).requires_grad_()
        f(x).backward()
        assert x.grad.tolist() == [0.0] * 4


def test_only_floats():
    x = ln.ones((2, 3), dtype=ln.int32)
    for f in (ln.var, ln.std, ln.softmax, ln.log_softmax, ln.logsumexp, ln.norm, ln.normalize):
        with pytest.raises(ln.DTypeError):
            f(x)


def test_third_order():
    x = ln.tensor([0.3, -0.2, 0.7], dtype=ln.float64).requires_grad_()
    for f in (ln.softmax, lambda t: ln.layer_norm(t, 3)):
        y = ln.sum(f(x) ** 2)
        for _ in range(2):
            (d,) = ln.grad(y, [x], create_graph=True)
            y = ln.sum(d**2)
        ln.gradcheck(lambda t, f=f: ln.sum(ln.grad(ln.sum(f(t) ** 3), [t], create_graph=True)[0] ** 2), [x], order=2)


def test_running_statistics_move_in_place():
    mean, var = ln.zeros(2), ln.ones(2)
    x = ln.tensor([[1.0, 2.0], [3.0, 6.0]])
    ln.batch_norm(x, mean, var, training=True, momentum=0.5)
    assert mean.tolist() == [1.0, 2.0]
    assert var.tolist() == [1.5, 4.5]
    ln.batch_norm(x, mean, var)
    assert mean.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ln.layer_norm(ln.ones((2, 4)), 3), r"normalized_shape \[3\], got x \[2, 4\]"),
        (lambda: ln.layer_norm(ln.ones((2, 4)), 4, ln.ones(3)), r"weight expects shape \[4\], got \[3\]"),
        (lambda: ln.group_norm(ln.ones((2, 4)), 3), "3 groups do not divide the 4 channels"),
        (lambda: ln.batch_norm(ln.ones(3), None, None, training=True), r"\[N, C\]"),
        (lambda: ln.batch_norm(ln.ones((1, 3)), None, None, training=True), "more than one value a channel"),
        (
            lambda: ln.batch_norm(ln.ones((2, 3)), ln.ones(2), ln.ones(2)),
            r"running_mean expects shape \[3\], got \[2\]",
        ),
        (lambda: ln.mse_loss(ln.ones(3), ln.ones((3, 1))), r"target expects the shape of input, \[3\], got \[3, 1\]"),
        (lambda: ln.cross_entropy(ln.ones((2, 3)), ln.tensor([0, 3])), "target 3 is not one of the 3 classes"),
        (lambda: ln.cross_entropy(ln.ones((2, 3)), ln.tensor([0, -1])), "target -1 is not one of the 3 classes"),
        (lambda: ln.cross_entropy(ln.ones((2, 3)), ln.tensor([0, 1, 2])), r"target expects shape \[2\]"),
        (lambda: ln.nll_loss(ln.ones((2, 3)), ln.tensor([7, 0])), "target 7 is not one of the 3 classes"),
        (lambda: ln.cumulative_sum(ln.ones((2, 3))), "axis must be given"),
    ],
)
def test_errors_name_what_came(call, message):
    with pytest.raises(ln.ShapeError, match=message):
        call()


def test_unknown_reduction():
    with pytest.raises(ln.Error, match="'none', 'mean' or 'sum', got 'max'"):
        ln.mse_loss(ln.ones(3), ln.ones(3), reduction="max")
