"""What the tape can do, inside a compiled step."""

import lanner as ln
import numpy as np
import pytest
from lanner import nn


def agree(step, make_input, times=3):
    compiled = ln.compile(step)
    for i in range(times):
        for a, b in zip(step(make_input(i)), compiled(make_input(i)), strict=True):
            np.testing.assert_allclose(b.numpy(), a.detach().numpy(), rtol=1e-6, atol=1e-6)
    assert len(compiled.plans) == 1


def points(i):
    return ln.tensor([1.0 + i, 2.0])


def taken(w):
    gradient = w.grad.clone()
    w.grad = None
    return gradient


def test_a_function_of_the_users():
    class Square(ln.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 2 * x

    w = nn.Parameter(ln.tensor([1.0, 2.0]))

    def step(x):
        y = Square.apply(w * x).sum()
        y.backward()
        return y, taken(w)

    agree(step, points)


def test_a_gradient_of_a_gradient():
    w = nn.Parameter(ln.tensor([1.0, 2.0]))

    def step(x):
        x = x.detach().requires_grad_(True)
        (g,) = ln.grad((w * x * x).sum(), x, create_graph=True)
        penalty = (ln.sqrt((g * g).sum()) - 1) ** 2
        penalty.backward()
        return penalty, taken(w)

    agree(step, points)


def test_value_and_grad():
    f = ln.value_and_grad(lambda w, x: ((w * x) ** 2).sum())
    agree(lambda x: f(ln.tensor([1.0, 2.0]), x), points)


def test_an_update_written_by_hand():
    eager, compiled = (ln.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))

    def descent(w):
        def step(x):
            ((w * x) ** 2).sum().backward()
            with ln.no_grad():
                w.__isub__(0.01 * w.grad)
            w.grad = None

        return step

    step = ln.compile(descent(compiled))
    for i in range(4):
        descent(eager)(points(i))
        step(points(i))
    assert compiled.tolist() == pytest.approx(eager.tolist(), rel=1e-6)
    assert len(step.plans) == 1


def test_noise_drawn_inside():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(0.5), nn.Flatten())

    def noisy(x):
        return net(x + ln.random.normal(x.shape) * 0.1)

    compiled, x, runs = ln.compile(noisy), ln.ones((2, 1, 5, 5)), []
    for f in (noisy, compiled):
        ln.manual_seed(0)
        with ln.no_grad():
            runs.append([f(x).numpy() for _ in range(3)])
    np.testing.assert_allclose(runs[1], runs[0], atol=1e-6)
