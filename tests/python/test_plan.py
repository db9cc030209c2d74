"""Plans against eager execution: random graphs, the arena, what a recording refuses."""

import json
import threading

import lanner as ln
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from lanner import _core, nn
from lanner.nn import functional as F

EPS = float(np.finfo(np.float32).eps)


def in_threads(count, work):
    """work(0) to work(count - 1), at the same time."""
    threads = [threading.Thread(target=work, args=(k,)) for k in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def record(f, *inputs, fuse=True):
    """f's outputs (a list) and its plan."""
    recorder = _core.Recorder(list(inputs))
    try:
        outputs = [y.detach() for y in f(*recorder.inputs)]
    except BaseException:
        recorder.abandon()
        raise
    return outputs, recorder.finish(outputs, fuse=fuse)


UNARY = [
    ln.exp,
    ln.tanh,
    ln.sigmoid,
    ln.relu,
    ln.abs,
    ln.square,
    ln.negative,
    F.gelu,
    F.silu,
    F.softplus,
    ln.erf,
    ln.sin,
]
BINARY = [ln.add, ln.subtract, ln.multiply, ln.maximum, ln.minimum, ln.hypot, ln.atan2]


def draw_graph(draw, depth):
    """A list of steps that `run_graph` follows: random ops on random earlier values."""
    steps = []
    for i in range(depth):
        kind = draw(st.sampled_from(["unary"] * 4 + ["binary"] * 5 + ["number", "view", "reduce", "matmul", "where"]))
        a, b = draw(st.integers(0, i + 2)), draw(st.integers(0, i + 2))
        steps.append((kind, a, b, draw(st.integers(0, 11))))
    return steps


def run_graph(steps, x, y, z):
    values = [x, y, z]
    for kind, i, j, which in steps:
        a, b = values[i], values[j]
        if kind == "unary":
            v = UNARY[which](a)
        elif kind == "number":
            v = a * (which - 5) + 0.5
        elif kind == "view":
            v = [lambda t: t.T, lambda t: t[::-1], lambda t: ln.broadcast_to(t[:1], t.shape)][which % 3](a)
        elif kind == "reduce":
            reduce = [ln.sum, ln.mean, ln.max][which % 3]
            v = reduce(a, axis=[None, 0, 1][which // 4], keepdims=True) + b
        elif kind == "matmul":
            v = a @ b * 0.1
        elif kind == "where":
            v = ln.where(a > b, a, b * 0.5)
        else:
            v = BINARY[which % len(BINARY)](a, b)
        values.append(ln.clip(v, -3.0, 3.0) if which % 2 else v / (1 + ln.abs(v)))
    return [values[-1], values[-2], ln.mean(values[-3])]  # a mean: one bound holds for all three


def square(seed, n):
    rng = np.random.default_rng(seed)
    return [ln.tensor(rng.normal(size=(n, n)).astype(np.float32)) for _ in range(3)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_graphs_replay_as_they_ran(data):
    n = data.draw(st.sampled_from([1, 3, 16, 40]))
    steps = draw_graph(data.draw, data.draw(st.integers(3, 25)))
    ran, plan = record(lambda *t: run_graph(steps, *t), *square(0, n))
    _, plain = record(lambda *t: run_graph(steps, *t), *square(0, n), fuse=False)
    for seed in (0, 1):
        inputs = square(seed, n)
        eager = run_graph(steps, *inputs)
        again = plan.run(inputs)
        for y, fused, repeated, unfused in zip(eager, plan.run(inputs), again, plain.run(inputs), strict=True):
            assert np.array_equal(fused.numpy(), repeated.numpy())
            assert np.array_equal(y.numpy(), unfused.numpy())
            np.testing.assert_allclose(fused.numpy(), y.numpy(), rtol=0, atol=len(steps) * n * 8 * EPS)
    assert [y.shape for y in ran] == [y.shape for y in plan.run(square(0, n))]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_alive_at_the_same_time_never_shares_memory(data):
    steps = draw_graph(data.draw, data.draw(st.integers(3, 40)))
    _, plan = record(lambda *t: run_graph(steps, *t), *square(0, 8), fuse=data.draw(st.booleans()))
    blocks = plan.blocks()
    for i, (offset, size, first, last) in enumerate(blocks):
        assert offset % 64 == 0 and offset + size <= plan.memory()["arena"]
        for other_offset, other_size, other_first, other_last in blocks[:i]:
            if offset < other_offset + other_size and other_offset < offset + size:
                before, after = (last, other_first) if first <= other_first else (other_last, first)
                # At one step only where it computes in place.
                assert before < after or (before == after and offset == other_offset)


def small_net():
    ln.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 8),
        nn.LeakyReLU(0.1),
        nn.Linear(8, 3),
    )


def test_batch_norm_goes_into_the_weights_of_a_prediction_and_follows_them():
    net = small_net()
    x = ln.random.normal((4, 2, 6, 6))
    for _ in range(3):
        net(x)  # running statistics
    net.eval()

    def predict(t):
        with ln.no_grad():
            return [net(t)]

    _, plan = record(predict, x)

    def double():
        net[0].weight[...] = net[0].weight * 2

    names = [step.name for step in plan.steps()]
    assert not any(name.startswith("batch_norm") for name in names)
    assert any(name.startswith("conv + batch_norm_inference") for name in names)
    for change in (lambda: None, double, lambda: nn.init.constant_(net[1].running_var, 3.0)):
        with ln.no_grad():
            change()
        np.testing.assert_allclose(plan.run([x])[0].numpy(), predict(x)[0].numpy(), atol=32 * EPS)


def test_weights_shared_with_numpy_are_read_anew():
    layer = nn.Linear(5, 3)
    array = layer.weight.detach().numpy()
    x = ln.random.normal((2, 5))

    def predict(t):
        with ln.no_grad():
            return [layer(t)]

    _, plan = record(predict, x)
    plan.run([x])
    array[:] = 0
    np.testing.assert_array_equal(plan.run([x])[0].numpy(), predict(x)[0].numpy())


def test_dropout_draws_what_it_would_have_drawn_eagerly():
    x = ln.ones((50, 20))
    ln.manual_seed(1)
    _, plan = record(lambda t: [F.dropout(t, 0.5), ln.random.normal((3,))], x)
    eager = [F.dropout(x, 0.5), ln.random.normal((3,))]
    ln.manual_seed(1)
    first, second = plan.run([x]), plan.run([x])
    assert not np.array_equal(first[0].numpy(), second[0].numpy())
    for a, b in zip(second, eager, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


def test_a_value_read_back_is_refused():
    x = ln.ones(3)
    for read in (lambda t: t.sum().item(), lambda t: t.numpy(), lambda t: bool(t.sum() > 0), lambda t: ln.nonzero(t)):
        with pytest.raises(ln.RecordingError):
            record(lambda t, read=read: [t * 2] if read(t) is not None else [], x)
        assert not _core.recording()
    x.numpy()


def test_an_input_of_another_shape_or_dtype_is_refused():
    _, plan = record(lambda t: [t + 1], ln.ones(3))
    with pytest.raises(ln.ShapeError, match="input 0 expects shape"):
        plan.run([ln.ones(4)])
    with pytest.raises(ln.DTypeError, match="input 0 expects float32"):
        plan.run([ln.ones(3, dtype=ln.float64)])
    with pytest.raises(ln.ShapeError, match="expected 1 inputs"):
        plan.run([])


def test_a_number_made_inside_is_made_anew():
    def f(x):
        total = ln.tensor(0.0)
        total += x.sum()
        return [total * 1]

    _, plan = record(f, ln.ones(3))
    assert [plan.run([ln.ones(3)])[0].item() for _ in range(3)] == [3.0, 3.0, 3.0]


def test_outputs_may_be_inputs_views_and_parameters():
    w = ln.ones(3)
    _, plan = record(lambda x: [x, x[1:], w, (x + w)[::2]], ln.zeros(3))
    x = ln.tensor([1.0, 2.0, 3.0])
    assert [y.tolist() for y in plan.run([x])] == [[1, 2, 3], [2, 3], [1, 1, 1], [2, 4]]


def test_threads_may_run_one_plan_at_the_same_time():
    w = ln.random.normal((64, 64))
    _, plan = record(lambda x: [ln.tanh(x @ w) @ w], ln.ones((8, 64)))
    inputs = [ln.random.normal((8, 64)) for _ in range(4)]
    expected = [plan.run([x])[0].numpy() for x in inputs]
    wrong = []

    def work(k):
        for _ in range(50):
            if not np.array_equal(plan.run([inputs[k]])[0].numpy(), expected[k]):
                wrong.append(k)

    in_threads(4, work)
    assert not wrong


def test_measuring_changes_nothing(tmp_path):
    from lanner.plan import Plan

    w = ln.ones(4)

    def step(x):
        w[...] = w * 2
        return [x + w]

    _, core = record(step, ln.zeros(4))
    plan = Plan(core)
    assert w.tolist() == [2.0] * 4
    text = str(plan.summary(verbose=0))
    plan.trace(tmp_path / "step.json")
    assert w.tolist() == [2.0] * 4
    assert "% of ceiling" in text and "arena" in text
    events = json.loads((tmp_path / "step.json").read_text())["traceEvents"]
    assert [e["name"] for e in events] == plan.kernels
    assert core.run([ln.zeros(4)])[0].tolist() == [4.0] * 4


@pytest.mark.parametrize("op", ["linear", "linear with bias", "matmul"])
def test_what_is_added_to_a_packed_product_may_be_an_input(op):
    rng = np.random.default_rng(0)
    draw = lambda *shape: ln.tensor(rng.normal(size=shape).astype(np.float32))  # noqa: E731
    w, x, y, b = draw(16, 8), draw(4, 8), draw(4, 16), draw(16)

    def f(x, y, b):
        if op == "matmul":
            return [ln.relu(x @ w.mT + y)]
        return [ln.relu(ln.linear(x, w, b if op == "linear with bias" else None) + y)]

    _, plan = record(f, x, y, b)
    assert [step.name for step in plan.steps()] == [f"{op.split()[0]} + add + relu"]
    for _ in range(2):
        x, y, b = draw(4, 8), draw(4, 16), draw(16)
        expected = x.numpy() @ w.numpy().T + y.numpy() + (b.numpy() if op == "linear with bias" else 0)
        np.testing.assert_allclose(plan.run([x, y, b])[0].numpy(), np.maximum(expected, 0), atol=1e-5)


def test_plans_of_one_function_share_an_arena():
    from lanner import _core

    rng = np.random.default_rng(0)
    step = ln.compile(lambda x: ln.softmax(x @ x.mT, axis=1) @ x)
    inputs = [ln.tensor(rng.normal(size=(n, 8)).astype(np.float32)) for n in (300, 200, 400, 100)]
    before = _core.allocator_stats()["in_use_bytes"]
    expected = [step(x).numpy().copy() for x in inputs]
    held = _core.allocator_stats()["in_use_bytes"] - before
    assert held < 1.2 * max(plan.memory()["arena"] for plan in step.plans)  # what is asked for is rounded up
    wrong = []

    def work(k):  # with others at the same time, each has memory of its own
        for i in range(40):
            n = (k + i) % 4
            if not np.array_equal(step(inputs[n]).numpy(), expected[n]):
                wrong.append((k, i))

    in_threads(4, work)
    assert not wrong
    for x, y in zip(inputs, expected, strict=True):
        assert np.array_equal(step(x).numpy(), y)


def test_measuring_takes_the_whole_numbers_of_the_recording():
    from lanner.plan import Plan

    net = ln.nn.GRU(2, 3, batch_first=True)
    _, core = record(lambda x, lengths: [net(x, lengths=lengths)[0]], ln.ones((2, 5, 2)), ln.tensor([5, 3]))
    assert "gru" in str(Plan(core).summary(verbose=0))  # a length of 0 would be an error


@pytest.mark.parametrize("kept", [False, True])
def test_the_gradient_of_a_batch_norm_is_gated_while_it_is_read(kept):
    ln.manual_seed(0)
    x, g = ln.random.normal((4, 3, 5, 5)), ln.random.normal((4, 3, 5, 5))
    weight, bias = ln.ones(3).requires_grad_(), ln.zeros(3).requires_grad_()

    def f(x, g):
        x, r = (x * 1).requires_grad_(), (g * 1).requires_grad_()
        y = ln.batch_norm(x, None, None, weight, bias, training=True)
        y = ln.leaky_relu(y + r if kept else y, 0.1)
        return ln.grad(y, [x, weight, bias, r] if kept else [x, weight, bias], ln.tanh(g))

    eager = [t.numpy() for t in f(x, g)]
    _, plan = record(f, x, g)
    assert "gated_batch_norm_backward + leaky_relu_backward" in [step.name for step in plan.steps()]
    for a, b in zip(plan.run([x, g]), eager, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=100 * EPS)


@pytest.mark.parametrize("dtype", [ln.float32, ln.float64])
@pytest.mark.parametrize("window", [dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1)])
def test_relu_goes_behind_max_pooling(window, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 3, (3, 2, 9, 9)).astype(dtype.name)  # windows with ties, and with nothing above 0
    x[0, 0, 4, 4] = np.nan
    x[1, 1] = -1
    x = ln.tensor(x)

    def f(x):
        x = (x * 1).requires_grad_()
        y = F.max_pool2d(ln.relu(x), **window)
        return [y, *ln.grad((y * y * 0.5 + y).sum(), [x])]

    eager = [t.detach().numpy() for t in f(x)]
    _, plan = record(f, x)
    names = [step.name for step in plan.steps()]
    assert "max_pool + relu" in names and "pool_scatter" in names
    for a, b in zip(plan.run([x]), eager, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


def test_relu_stays_before_max_pooling_where_that_shows():
    x = ln.tensor(np.random.default_rng(0).integers(-3, 3, (2, 2, 8, 8)).astype(np.float32))

    def indices(x):
        return [*F.max_pool2d(ln.relu(x), 2, return_indices=True)]  # those of zeros, not of the largest below

    def result(x):
        y = ln.relu(x)
        return [F.max_pool2d(y, 2), y * 2]

    def gradient(x):
        x = (x * 1).requires_grad_()
        y = ln.relu(x)
        return ln.grad(F.max_pool2d(y, 2).sum() + (y * y).sum(), [x])

    def all_places(x):  # as many windows as elements: nothing to gain
        return [F.max_pool2d(ln.relu(x), 3, stride=1, padding=1)]

    for f in (indices, result, gradient, all_places):
        _, plan = record(f, x)
        assert not any(step.name.startswith("max_pool + ") for step in plan.steps())
        for a, b in zip(plan.run([x]), f(x), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.detach().numpy())


def test_bf16_rounds_the_operands_of_products_and_nothing_else():
    rng = np.random.default_rng(0)
    x, w = (ln.tensor(rng.normal(size=s).astype(np.float32)) for s in ((2, 3, 8, 8), (4, 3, 3, 3)))
    v = ln.tensor(rng.normal(size=(256, 5)).astype(np.float32))
    x_rounded, w_rounded, v_rounded = (t.to(ln.bfloat16).to(ln.float32) for t in (x, w, v))

    def f(x, w):
        y = F.conv2d(x, w, padding=1)
        return [y, ln.reshape(x_rounded, (2, -1))[:, :128] @ v_rounded[:128], ln.sum(x)]

    recorder = _core.Recorder([x, w])
    outputs = [t.detach() for t in f(*recorder.inputs)]
    plan = recorder.finish(outputs, "bf16")
    for got, wanted in zip(plan.run([x, w]), [*f(x_rounded, w_rounded)[:2], ln.sum(x)], strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=128 * 8 * EPS)
    assert not np.allclose(plan.run([x, w])[0].numpy(), outputs[0].numpy(), atol=1e-4)


def test_a_prediction_of_many_samples_goes_through_in_parts():
    ln.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 14 * 14, 20),
        nn.Tanh(),
        nn.Linear(20, 3),
    )
    x = ln.random.normal((256, 2, 28, 28))
    net(x)
    net.eval()

    def predict(t):
        with ln.no_grad():
            return [net(t)]

    _, plan = record(predict, x)
    assert plan.parts > 1
    first = plan.run([x])[0].numpy()
    np.testing.assert_allclose(first, predict(x)[0].numpy(), atol=6 * 14 * 14 * EPS)
    threads = ln.get_num_threads()
    for n in (1, 3):
        ln.set_num_threads(n)
        assert np.array_equal(plan.run([x])[0].numpy(), first)
    ln.set_num_threads(threads)
    for f in (
        lambda t: [net(t) - ln.mean(t)],  # looks at all samples
        lambda t: [net(t), ln.sum(t, axis=0)],
        lambda t: [net(t)[::2]],
        lambda t: [net(t) + ln.ones((256, 1))],  # an axis of samples of its own
    ):
        _, whole = record(f, x)
        assert whole.parts == 1
        for a, b in zip(whole.run([x]), f(x), strict=True):
            np.testing.assert_allclose(a.numpy(), b.detach().numpy(), atol=6 * 14 * 14 * EPS, rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.GRUCell(20, 20),
        lambda: nn.Linear(20, 20),
        lambda: nn.Sequential(nn.Unflatten(1, (5, 2, 2)), nn.Conv2d(5, 5, 3, padding=1), nn.Flatten(), nn.ReLU()),
    ],
    ids=["gru_cell", "linear", "conv"],
)
def test_a_layer_used_many_times_is_packed_once(make):
    ln.manual_seed(0)
    layer, other = make(), make()

    def steps(count):
        def f(x):
            with ln.no_grad():
                for i in range(count):
                    x = layer(x)
                    if i == 1:
                        x = other(x)
            return [x]

        return f

    x = ln.random.normal((3, 20))
    (_, two), (_, nine) = record(steps(2), x), record(steps(9), x)
    two.run([x])
    for _ in range(2):
        np.testing.assert_allclose(nine.run([x])[0].numpy(), steps(9)(x)[0].numpy(), rtol=0, atol=200 * EPS)
        assert nine.memory()["packed"] == two.memory()["packed"]
        with ln.no_grad():
            for p in layer.parameters():
                p *= 0.9
