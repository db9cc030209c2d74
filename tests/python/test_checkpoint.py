"""Checkpointed functions: what is computed once more gives what a plain call gives, and takes less memory."""

import gc
import threading

import lanner as ln
import numpy as np
import pytest
from lanner import nn


def plain(function, *args, **kwargs):
    return function(*args, **kwargs)


def peak_of(step):
    """Bytes taken at most while `step` runs, beyond those taken before."""
    step()
    gc.collect()
    ln.cpu.reset_peak_memory_stats()
    before = ln.cpu.memory_allocated()
    step()
    return ln.cpu.max_memory_allocated() - before


class Net(nn.Module):
    """Two inputs, an option, two outputs, dropout, a recurrent layer and parameters."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 8)
        self.gru = nn.GRU(8, 5, batch_first=True)
        self.drop = nn.Dropout(0.4)

    def forward(self, x, shift, *, scale=1.0):
        y, last = self.gru(self.drop(ln.tanh(self.linear(x) + shift)))
        return {"all": self.drop(y) * scale, "last": (last, x.sum())}


def losses(call, compiled=False):
    """Three steps' losses, the gradients of the last one, and a number drawn at the end."""
    ln.manual_seed(0)
    net = Net()
    optimizer = ln.optim.SGD(net.parameters(), lr=0.1)
    x, shift = ln.random.normal((3, 4, 6)), ln.random.normal(8)

    def step(x, shift):
        x, shift = x * 1.0, shift * 1.0
        optimizer.zero_grad()
        out = call(net, x, shift, scale=2.0)
        loss = (out["all"] ** 2).sum() + out["last"][0].sum() + out["last"][1] ** 2
        loss.backward()
        optimizer.step()
        return loss

    if compiled:
        step = ln.compile(step)
    found = [step(x, shift).item() for _ in range(4)]
    return found, [p.grad.numpy() for p in net.parameters()], ln.random.uniform(1).item()


@pytest.mark.parametrize("compiled", [False, True])
def test_same_as_a_plain_call(compiled):
    (a, grads_a, drawn_a), (b, grads_b, drawn_b) = losses(plain, compiled), losses(ln.checkpoint, compiled)
    assert a == b and drawn_a == drawn_b
    for g, h in zip(grads_a, grads_b, strict=True):
        np.testing.assert_array_equal(g, h)


def test_gradients_of_arguments_and_of_tensors_from_outside():
    x, w = ln.tensor([1.0, 2.0], requires_grad=True), ln.tensor([3.0, 4.0], requires_grad=True)
    v = w * 2  # neither an argument nor a leaf
    ln.checkpoint(lambda x: ln.exp(x) * v, x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1, 2]) * [6, 8], rtol=1e-6)
    np.testing.assert_allclose(w.grad.numpy(), 2 * np.exp([1, 2]), rtol=1e-6)


def test_no_argument_needs_to_require_grad():
    embedding = nn.Embedding(5, 3)
    ln.checkpoint(lambda i: ln.tanh(embedding(i)), ln.tensor([1, 3])).sum().backward()
    assert (embedding.weight.grad.numpy().any(axis=1) == [False, True, False, True, False]).all()


def test_gradients_of_gradients():
    x = ln.tensor([0.3, -0.7, 1.1], dtype=ln.float64, requires_grad=True)
    w = ln.tensor([0.2, 0.5, -0.4], dtype=ln.float64, requires_grad=True)

    def inner(x, w):
        return ln.sigmoid(x * w) * x

    def outer(x, w):
        return ln.tanh(ln.checkpoint(inner, ln.sin(x), w) + ln.checkpoint(inner, x, w) ** 2)

    assert ln.gradcheck(lambda x, w: ln.checkpoint(outer, x, w), [x, w], order=2)


def test_nested_checkpoints_run_once_more_a_level():
    counts = [0, 0, 0]

    def level(i, x):
        counts[i] += 1
        if i == 2:
            return ln.exp(x)
        return ln.checkpoint(level, i + 1, ln.checkpoint(level, i + 1, ln.sin(x)))

    x = ln.tensor([0.1, 0.2], requires_grad=True)
    ln.checkpoint(level, 0, x).sum().backward()
    # Once, once more for the level above each time that is computed, and once more for its own gradient.
    assert counts == [2, 2 * 3, 4 * 4]
    found, x.grad = x.grad, None
    level_plain = lambda i, x: ln.exp(x) if i == 2 else level_plain(i + 1, level_plain(i + 1, ln.sin(x)))  # noqa: E731
    level_plain(0, x).sum().backward()
    np.testing.assert_array_equal(found.numpy(), x.grad.numpy())


def test_own_ops():
    class Cube(ln.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x * x * g

    x = ln.tensor([0.5, 2.0], dtype=ln.float64, requires_grad=True)
    assert ln.gradcheck(lambda x: ln.checkpoint(lambda x: Cube.apply(ln.sin(x)), x), x, order=2)


def test_gradients_inside_of_the_function():
    def slope(x):
        y = ln.exp(x * x)
        (g,) = ln.grad(y.sum(), x, create_graph=True)
        return y + g**2

    x = ln.tensor([0.3, 0.6], dtype=ln.float64, requires_grad=True)
    assert ln.gradcheck(lambda x: ln.checkpoint(slope, x * 1.0), x)


def test_backward_twice():
    x = ln.tensor([0.3, 0.6], requires_grad=True)
    y = ln.checkpoint(lambda x: ln.exp(ln.sin(x)), x).sum()
    y.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * once)
    with pytest.raises(ln.Error, match="retain_graph"):
        y.backward()


def test_values_put_away_by_the_function():
    kept = []

    def f(x):
        kept.append(ln.exp(x))
        return ln.sin(kept[-1])

    x = ln.tensor([0.3], requires_grad=True)
    y = ln.checkpoint(f, x)
    (by_kept,) = ln.grad(y, kept[0], retain_graph=True)
    assert by_kept.item() == pytest.approx(np.cos(np.exp(0.3)), rel=1e-6)
    y.backward()
    x.grad = None
    kept[-1].backward()  # of the second run
    assert x.grad.item() == pytest.approx(np.exp(0.3), rel=1e-6)


def test_without_gradients_it_is_a_call():
    calls = []
    f = lambda x: calls.append(1) or x * 2  # noqa: E731
    x = ln.ones(2, requires_grad=True)
    with ln.no_grad():
        assert not ln.checkpoint(f, x).requires_grad
    assert not ln.checkpoint(f, ln.ones(2)).requires_grad
    assert len(calls) == 2


def test_layers_gather_statistics_once():
    def statistics(call, **options):
        ln.manual_seed(1)
        norm = nn.BatchNorm1d(3, **options)
        x = ln.random.normal((8, 3)).to(options.get("dtype", ln.float32))
        call(norm, x).sum().backward()
        return [t.to(ln.float32).tolist() for t in norm.buffers()], norm.weight.grad.tolist()

    for options in ({}, {"momentum": None}, {"dtype": ln.float16}):
        assert statistics(ln.checkpoint, **options) == statistics(plain, **options)


@pytest.mark.parametrize("bias", [False, True])
def test_parameters_written_to_in_between(bias):
    linear = nn.Linear(3, 3)
    y = ln.checkpoint(lambda x: ln.tanh(linear(x)), ln.ones((2, 3)))
    with ln.no_grad():
        parameter = linear.bias if bias else linear.weight
        parameter += 1.0
    with pytest.raises(ln.Error, match="written to in place"):
        y.sum().backward()


def test_a_function_that_does_something_else():
    turns = iter([ln.sin, ln.exp, ln.sin, lambda x: ln.sin(ln.sin(x))])

    def f(x):
        return next(turns)(x)

    x = ln.ones(2, requires_grad=True)
    with pytest.raises(ln.Error, match="something else when it was run again: exp instead of sin"):
        ln.checkpoint(f, x).sum().backward()
    with pytest.raises(ln.Error, match="something else when it was run again: it left 2 ops"):
        ln.checkpoint(f, x).sum().backward()


def test_errors_of_the_function_pass():
    turn = iter([False, True, False])

    def f(x):
        y = ln.exp(x)
        if next(turn):
            raise KeyError("mine")
        return y

    x = ln.ones(2, requires_grad=True)
    y = ln.checkpoint(f, x).sum()
    with pytest.raises(KeyError, match="mine"):
        y.backward(retain_graph=True)
    y.backward()  # nothing was lost
    assert x.grad is not None
    with pytest.raises(StopIteration):
        ln.checkpoint(f, x)
    assert (x * x).sum().backward() is None  # plain ops again


def test_memory_of_a_deep_net():
    layers = [nn.Linear(64, 64) for _ in range(32)]

    def block(x, part):
        for layer in part:
            x = ln.tanh(layer(x))
        return x

    def step(call):
        x = ln.ones((512, 64))
        for i in range(0, 32, 4):
            x = call(block, x, layers[i : i + 4])
        x.sum().backward()
        for layer in layers:
            layer.zero_grad()

    whole, checkpointed = peak_of(lambda: step(plain)), peak_of(lambda: step(ln.checkpoint))
    one = 512 * 64 * 4  # bytes of an activation: 64 of them, or 8 boundaries and a block's
    assert whole > 32 * one
    assert checkpointed < 22 * one


@pytest.mark.parametrize("compiled", [False, True])
def test_memory_of_a_row_of_parts_is_that_of_one(compiled):
    gru, head = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 1)

    def read(part):
        return ln.tanh(head(gru(part)[0])).mean(axis=1)

    def step(x, call):
        loss = ln.concat([call(read, x[i]) for i in range(x.shape[0])]).sum()
        loss.backward()
        gru.zero_grad(set_to_none=False)
        head.zero_grad(set_to_none=False)
        return loss

    def memory(parts, call):
        x = ln.ones((parts, 8, 64, 8))
        if not compiled:
            return peak_of(lambda: step(x, call))
        run = ln.compile(lambda x: step(x, call))
        for _ in range(3):
            run(x)
        memory = run.plan.memory()
        assert memory["constants"] < 2000  # one first state for all
        return memory["arena"]

    assert memory(16, plain) > 3 * memory(4, plain)
    assert memory(16, ln.checkpoint) < 1.1 * memory(4, ln.checkpoint)


def test_memory_of_parts_within_parts():
    def block(x):
        for _ in range(8):
            x = ln.tanh(x * 1.1)
        return x

    def outer(x):
        for _ in range(8):
            x = ln.checkpoint(block, x)
        return x

    def step(call):
        x = ln.ones(2**14, requires_grad=True)
        for _ in range(8):
            x = call(outer, x)
        x.sum().backward()

    one = 2**14 * 4
    assert peak_of(lambda: step(plain)) > 64 * one
    assert peak_of(lambda: step(ln.checkpoint)) < 48 * one  # 8 + 8 boundaries, and a block's 16


def test_fit():
    ln.manual_seed(0)

    class Deep(nn.Module):
        def __init__(self, call):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1), nn.Tanh()) for _ in range(4)])
            self.call = call

        def forward(self, x):
            for block in self.blocks:
                x = self.call(block, x)
            return x

    x = ln.random.normal((64, 8)).numpy()
    found = []
    for call in (plain, ln.checkpoint):
        ln.manual_seed(0)
        model = ln.Model(Deep(call), loss="mse", optimizer="adam")
        found.append(model.fit(x, np.sin(x), batch_size=16, epochs=3, verbose=0, seed=0).history["loss"])
    assert found[0] == found[1]


def test_a_long_row_can_be_let_go():
    x = ln.ones(1, requires_grad=True)
    for _ in range(50_000):
        x = ln.checkpoint(ln.sin, x)
    del x
    gc.collect()


def test_nothing_is_left_behind():
    def step():
        x = ln.ones(1000, requires_grad=True)
        y = ln.checkpoint(lambda x: ln.checkpoint(ln.exp, ln.sin(x)), x)
        if step.backward:
            y.sum().backward()

    for step.backward in (True, False):
        step()
        before = ln.cpu.memory_allocated()
        gc.disable()
        for _ in range(5):
            step()
        assert ln.cpu.memory_allocated() == before
        gc.enable()


def test_threads():
    ln.manual_seed(0)
    linear = nn.Linear(16, 16)
    errors = []

    def work():
        try:
            for _ in range(20):
                x = ln.ones((4, 16), requires_grad=True)
                y = ln.checkpoint(lambda x: ln.dropout(ln.tanh(linear(x)), 0.5, True), x)
                kept = (y.detach().numpy() != 0).astype(np.float32)
                (g,) = ln.grad(y.sum(), x)
                with ln.no_grad():
                    slope = 2 * (1 - np.tanh(linear(ln.ones((4, 16))).numpy()) ** 2)
                    weight = linear.weight.detach().numpy()
                np.testing.assert_allclose(g.numpy(), (kept * slope) @ weight, rtol=1e-4, atol=1e-5)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
