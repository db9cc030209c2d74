"""A compiled step does what the step does, replay after replay."""

import copy
import threading
from collections import namedtuple

import lanner as ln
import numpy as np
import pytest
from lanner import nn, optim
from lanner.nn import functional

EPS = np.finfo(np.float32).eps


def close(a, b, length=64):
    """Equal but for the order of sums of `length` terms."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    assert np.array_equal(np.isnan(a), np.isnan(b))
    bound = EPS * length * max(1.0, np.abs(np.nan_to_num(b)).max(initial=0.0))
    assert np.abs(np.nan_to_num(a - b)).max(initial=0.0) <= bound


def images(n=4, channels=3, size=8, seed=0):
    return ln.tensor(np.random.default_rng(seed).standard_normal((n, channels, size, size)).astype(np.float32))


def rows(n=6, features=8, seed=0):
    return ln.tensor(np.random.default_rng(seed).standard_normal((n, features)).astype(np.float32))


def sequences(seed=0):
    return ln.tensor(np.random.default_rng(seed).standard_normal((4, 3, 12)).astype(np.float32))


def tokens(seed=0):
    return ln.tensor(np.random.default_rng(seed).integers(0, 10, (4, 5)))


LAYERS = [
    (lambda: nn.Linear(8, 5), rows),
    (lambda: nn.Linear(8, 5, bias=False), rows),
    (lambda: nn.Bilinear(8, 8, 3), lambda seed=0: (rows(seed=seed), rows(seed=seed + 50))),
    (lambda: nn.Conv1d(3, 5, 3, padding=1), sequences),
    (lambda: nn.Conv2d(3, 5, 3), images),
    (lambda: nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3), images),
    (lambda: nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), images),
    (lambda: nn.MaxPool2d(2), images),
    (lambda: nn.AvgPool2d(3, stride=2, padding=1), images),
    (lambda: nn.AdaptiveAvgPool2d(3), images),
    (lambda: nn.AdaptiveMaxPool2d(2), images),
    (lambda: nn.Upsample(scale_factor=2), images),
    (lambda: nn.BatchNorm1d(8), rows),
    (lambda: nn.BatchNorm1d(8, momentum=None), rows),
    (lambda: nn.BatchNorm1d(8, affine=False, track_running_stats=False), rows),
    (lambda: nn.BatchNorm2d(3), images),
    (lambda: nn.LayerNorm(8), rows),
    (lambda: nn.RMSNorm(8), rows),
    (lambda: nn.GroupNorm(3, 3), images),
    (lambda: nn.Embedding(10, 4), tokens),
    (lambda: nn.Embedding(10, 4, padding_idx=0), tokens),
    (lambda: nn.EmbeddingBag(10, 4), tokens),
    (lambda: nn.Flatten(), images),
    (lambda: nn.Unflatten(1, (2, 4)), rows),
    (lambda: nn.ReLU(), rows),
    (lambda: nn.LeakyReLU(0.2), rows),
    (lambda: nn.PReLU(), rows),
    (lambda: nn.GELU(), rows),
    (lambda: nn.ELU(), rows),
    (lambda: nn.SiLU(), rows),
    (lambda: nn.Softplus(), rows),
    (lambda: nn.Tanh(), rows),
    (lambda: nn.Sigmoid(), rows),
    (lambda: nn.Softmax(1), rows),
    (lambda: nn.LogSoftmax(1), rows),
    (lambda: nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)), rows),
    (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), images),
]


def arguments(make, seed):
    made = make(seed=seed)
    return made if isinstance(made, tuple) else (made,)


def training_step(net, optimizer, compiled):
    def step(*inputs):
        optimizer.zero_grad()
        output = net(*inputs)
        loss = (output * output).mean() + output.sum() * 0.01
        loss.backward()
        optimizer.step()
        return loss, output

    return ln.compile(step) if compiled else step


@pytest.mark.parametrize("row", LAYERS, ids=lambda row: repr(row[0]()).split("\n")[0])
def test_layers(row):
    make, data = row
    net = make()
    runs = []
    for compiled in (False, True):
        twin = copy.deepcopy(net)
        twin.extra = nn.Parameter(ln.ones(1))
        step = training_step(twin, optim.SGD(twin.parameters(), lr=0.05), compiled) if list(net.parameters()) else None
        forward = ln.compile(twin) if compiled else twin
        results = []
        for i in range(4):
            x = arguments(data, i)
            if step:
                results += [np.asarray(t.detach().numpy()) for t in step(*x)]
            else:
                with ln.no_grad():
                    results.append(forward(*x).numpy())
        twin.eval()
        for i in range(3):
            with ln.no_grad():
                results.append(forward(*arguments(data, i)).numpy())
        results += [t.detach().numpy() for t in twin.state_dict().values()]
        runs.append(results)
        if step and compiled:
            assert len(step.plans) == 1
    for eager, compiled in zip(*runs, strict=True):
        close(compiled, eager, 256)


OPTIMIZERS = [
    lambda p: optim.SGD(p, lr=0.1),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.01),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1),
    lambda p: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    lambda p: optim.Adadelta(p),
    lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    lambda p: optim.AdamW(p, lr=0.01),
    lambda p: optim.Adamax(p, lr=0.01),
    lambda p: optim.NAdam(p, lr=0.01),
    lambda p: optim.Lion(p, lr=0.01),
]


@pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda make: type(make([ln.ones(1, requires_grad=True)])).__name__)
def test_optimizers_and_a_schedule(make):
    net = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 2))
    x = rows()
    runs = []
    for compiled in (False, True):
        twin = copy.deepcopy(net)
        optimizer = make(twin.parameters())
        schedule = optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        step = training_step(twin, optimizer, compiled)
        losses = []
        for _ in range(7):
            losses.append(step(x)[0].item())
            schedule.step()
        runs.append([losses, *(p.detach().numpy() for p in twin.parameters())])
        if compiled:
            assert len(step.plans) == 1  # another learning rate needs no other plan
        state = optimizer.state_dict()["state"]
        assert all(values["step"].item() == 7 for values in state.values() if "step" in values)
    for eager, compiled in zip(*runs, strict=True):
        close(compiled, eager, 512)


def test_options_that_change_what_an_update_reads():
    w = nn.Parameter(ln.tensor([1.0, 2.0]))
    twin = nn.Parameter(ln.tensor([1.0, 2.0]))
    optimizer, other = optim.SGD([w], lr=0.1), optim.SGD([twin], lr=0.1)

    def step(p, optimizer):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()

    compiled = ln.compile(lambda: step(w, optimizer))
    for momentum in (0, 0, 0.9, 0.9, 0.9, 0.5):
        optimizer.param_groups[0]["momentum"] = other.param_groups[0]["momentum"] = momentum
        compiled()
        step(twin, other)
        close(w.detach().numpy(), twin.detach().numpy())


def test_a_loaded_state_is_the_one_that_is_used():
    net = nn.Linear(8, 2)
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    step = training_step(net, optimizer, True)
    x = rows()
    weights, state = copy.deepcopy(net.state_dict()), copy.deepcopy(optimizer.state_dict())
    first = [step(x)[0].item() for _ in range(4)]
    net.load_state_dict(weights)
    optimizer.load_state_dict(state)
    assert [step(x)[0].item() for _ in range(4)] == first


def test_dropout_draws_the_same_numbers():
    net = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.2))
    x = rows()
    ln.manual_seed(3)
    with ln.no_grad():
        eager = [net(x).numpy() for _ in range(3)]
    compiled = ln.compile(net)
    ln.manual_seed(3)
    with ln.no_grad():
        for expected in eager:
            assert np.array_equal(compiled(x).numpy() == 0, expected == 0)
    assert len(compiled.plans) == 1


@pytest.mark.parametrize("clip", ["norm", "value", "inf"])
def test_clipping(clip):
    net = nn.Linear(8, 4)
    x = rows() * 10
    runs = []
    for compiled in (False, True):
        twin = copy.deepcopy(net)
        optimizer = optim.SGD(twin.parameters(), lr=0.1)

        def step(x, twin=twin, optimizer=optimizer):
            optimizer.zero_grad()
            twin(x).square().sum().backward()
            total = ln.zeros(())
            if clip == "value":
                nn.utils.clip_grad_value_(twin.parameters(), 0.5)
            else:
                total = nn.utils.clip_grad_norm_(twin.parameters(), 1.0, 2.0 if clip == "norm" else float("inf"))
            optimizer.step()
            return total

        step = ln.compile(step) if compiled else step
        totals = [step(x).item() for _ in range(4)]
        runs.append([totals, twin.weight.detach().numpy(), twin.bias.detach().numpy()])
    for eager, compiled in zip(*runs, strict=True):
        close(compiled, eager)


def test_gradients_that_add_up():
    w = nn.Parameter(ln.tensor([1.0, -2.0]))
    add = ln.compile(lambda x: (w * x).sum().backward())
    for i in range(1, 5):
        add(ln.tensor([1.0, 3.0]))
        assert w.grad.tolist() == [i, 3.0 * i]
    w.grad = None
    add(ln.tensor([1.0, 3.0]))
    assert w.grad.tolist() == [1.0, 3.0]
    add(ln.tensor([1.0, 3.0]))
    assert w.grad.tolist() == [2.0, 6.0]


def test_gradients_are_there_after_the_step():
    net = nn.Linear(8, 2)
    step = training_step(net, optim.SGD(net.parameters(), lr=0.0), True)
    for i in range(4):
        x = rows(seed=i)
        step(x)
        twin = copy.deepcopy(net)
        output = twin(x)
        ((output * output).mean() + output.sum() * 0.01).backward()
        close(net.weight.grad.numpy(), twin.weight.grad.numpy())


def test_two_optimizers_that_take_turns():
    critic, maker = nn.Linear(8, 1), nn.Linear(4, 8)
    real, latent = rows(), rows(features=4, seed=1)
    bce = functional.binary_cross_entropy_with_logits
    ones, zeros = ln.ones((6, 1)), ln.zeros((6, 1))
    runs = []
    for compiled in (False, True):
        d, g = copy.deepcopy(critic), copy.deepcopy(maker)
        update_d, update_g = optim.Adam(d.parameters(), lr=0.05), optim.Adam(g.parameters(), lr=0.05)

        def step(real, latent, d=d, g=g, update_d=update_d, update_g=update_g):
            fake = g(latent)
            update_d.zero_grad()
            loss = bce(d(real), ones) + bce(d(fake.detach()), zeros)
            loss.backward()
            update_d.step()
            update_g.zero_grad()
            d.requires_grad_(False)
            bce(d(fake), ones).backward()
            d.requires_grad_(True)
            update_g.step()
            return loss

        step = ln.compile(step) if compiled else step
        losses = [step(real, latent).item() for _ in range(6)]
        runs.append([losses, *(p.detach().numpy() for p in [*d.parameters(), *g.parameters()])])
        if compiled:
            assert len(step.plans) == 1
    for eager, compiled in zip(*runs, strict=True):
        close(compiled, eager, 512)


def test_arguments_of_every_form():
    calls = []

    @ln.compile
    def f(x, pair, *, scale, names=("a",)):
        calls.append(None)
        return {"sum": x + pair[0], "product": [pair[1]["y"] * scale], "n": len(names), "none": None}

    y = np.arange(4, dtype=np.float32)
    for _ in range(2):
        out = f(ln.ones(4), (ln.ones(4), {"y": y}), scale=3)
        assert out["sum"].tolist() == [2.0] * 4 and out["product"][0].tolist() == [0.0, 3.0, 6.0, 9.0]
        assert out["n"] == 1 and out["none"] is None
    assert len(calls) == 1
    assert f(ln.ones(4), (ln.ones(4), {"y": y}), scale=3.0)["product"][0].tolist() == [0.0, 3.0, 6.0, 9.0]
    assert f(ln.ones(4), (ln.ones(4), {"y": y}), scale=True)["product"][0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert len(calls) == 3  # 3, 3.0 and True are three constants
    with pytest.raises(TypeError, match="must be hashable"):
        f(ln.ones(4), (ln.ones(4), {"y": y}), scale={1})


def test_named_tuples_and_methods():
    Pair = namedtuple("Pair", "a b")

    class Shift:
        by = 2.0

        @ln.compile
        def both(self, p):
            return Pair(p.a + self.by, p.b - self.by)

    shift = Shift()
    for i in range(3):
        out = shift.both(Pair(ln.full(2, i), ln.ones(2)))
        assert isinstance(out, Pair) and out.a.tolist() == [i + 2.0] * 2 and out.b.tolist() == [-1.0] * 2


def test_shapes_strides_and_dtypes():
    f = ln.compile(lambda x: ln.softmax(x, axis=0) * 2)
    base = np.random.default_rng(0).standard_normal((5, 6))
    for dtype in (np.float32, np.float64):
        x = ln.tensor(base.astype(dtype))
        for view in (x, x.T, x[::2], x[:, 1:3], x[:0], x):
            close(f(view).numpy(), (ln.softmax(view, axis=0) * 2).numpy())


def test_the_cache_is_bounded():
    f = ln.compile(lambda x: x + 1, cache_size=3)
    for n in (1, 2, 3, 1, 4, 1):
        f(ln.zeros(n))
    assert len(f.plans) == 3
    f.forget()
    assert f.plans == [] and f.plan is None


def test_calls_in_turns():
    """Calls like the one before take a shorter way; any other call in between must not be mistaken for one."""
    weight = ln.tensor([2.0]).requires_grad_()
    f = ln.compile(lambda x, scale=1.0: (x * weight * scale, x) if scale > 5 else x * weight * scale)
    a, b = ln.tensor([1.0, 2.0]), ln.tensor([3.0])
    calls = [(a,), (a,), (b,), (a,), (a, 3.0), (a,), (a, 7.0), (a,), (a.numpy(),), (a,)]
    for args in [*calls, *reversed(calls)]:
        result = f(*args)
        scale = args[1] if len(args) > 1 else 1.0
        if scale > 5:
            result = result[0]
        assert result.tolist() == [2 * scale * v for v in args[0].tolist()]
        assert f.plan._core.steps()[-1].outputs[0] == f"float32[{len(args[0])}]"
    assert f(a, scale=2.0).tolist() == [4.0, 8.0]
    assert f(a).tolist() == [2.0, 4.0]
    with ln.no_grad():
        assert f(a).tolist() == [2.0, 4.0]
    outer = ln.compile(lambda x: f(x) + 1)
    assert f(a).tolist() == [2.0, 4.0] and outer(a).tolist() == [3.0, 5.0] and outer(a).tolist() == [3.0, 5.0]
    f.forget()
    assert f.plan is None and f(a).tolist() == [2.0, 4.0]


def test_modes_have_plans_of_their_own():
    net = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    f = ln.compile(net)
    x = rows()
    plans = set()
    for _ in range(3):
        for training in (True, False):
            net.train(training)
            with ln.no_grad():
                f(x)
            plans.add(id(f.plan._core))
    assert len(f.plans) == len(plans) == 2
    with ln.no_grad():
        close(f(x).numpy(), net(x).numpy())


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.load_state_dict({"weight": ln.ones((2, 8)), "bias": ln.ones(2)}),
        lambda net: nn.init.ones_(net.weight),
        lambda net: setattr(net.weight, "data", ln.ones((2, 8))),
        lambda net: setattr(net, "weight", nn.Parameter(ln.ones((2, 8)))),
        lambda net: setattr(net, "bias", None),
        lambda net: net.weight.detach().numpy().fill(2.0),
        lambda net: net.register_forward_hook(lambda module, args, output: output + 1),
        lambda net: net.double() and net.float(),
    ],
)
def test_changes_are_seen(change):
    net = nn.Linear(8, 2)
    f = ln.compile(net)
    x = rows()
    with ln.no_grad():
        for _ in range(2):
            close(f(x).numpy(), net(x).numpy())
        change(net)
        for _ in range(3):
            close(f(x).numpy(), net(x).numpy())


def test_weights_shared_with_numpy():
    memory = np.ones((2, 8), np.float32)
    net = nn.Linear(8, 2, bias=False)
    net.weight = nn.Parameter(ln.asarray(memory))
    f = ln.compile(net)
    x = ln.ones((1, 8))
    with ln.no_grad():
        for value in (1.0, 2.0, 3.0):
            memory[:] = value
            assert f(x).tolist() == [[8 * value] * 2]


def test_frozen_parameters():
    net = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 1))
    step = training_step(net, optim.SGD(net.parameters(), lr=0.1), True)
    step(rows())
    net[0].requires_grad_(False)
    before = net[0].weight.detach().numpy().copy()
    for _ in range(3):
        step(rows())
    assert np.array_equal(net[0].weight.detach().numpy(), before)


def test_writes_in_place():
    total = ln.zeros((3, 4))

    @ln.compile
    def add(x, i):
        total[...] = total * 0.5
        total[:, 1] += x
        total[ln.tensor([0, 2])] = 7.0
        total[i] = x[0]
        y = ln.zeros((3, 4))
        y[1:] = 2.0
        y[:, ln.tensor([0, 3])] = x[:, None]
        return y + total

    expected = np.zeros((3, 4), np.float32)
    for k in range(4):
        x = np.arange(3, dtype=np.float32) + k
        expected *= 0.5
        expected[:, 1] += x
        expected[[0, 2]] = 7
        expected[1] = x[0]
        y = np.zeros((3, 4), np.float32)
        y[1:] = 2
        y[:, [0, 3]] = x[:, None]
        assert np.array_equal(add(ln.tensor(x), ln.tensor([1])).numpy(), y + expected)
    assert np.array_equal(total.numpy(), expected)


def test_compiled_in_compiled_and_anomalies():
    inner = ln.compile(lambda x: x + 1)
    outer = ln.compile(lambda x: inner(x) * 2)
    assert outer(ln.ones(2)).tolist() == outer(ln.ones(2)).tolist() == [4.0, 4.0]
    assert inner.plans == []
    root = ln.compile(lambda x: ln.sqrt(x))
    assert np.isnan(root(-ln.ones(1)).item())
    with ln.detect_anomaly(), pytest.raises(ln.Error, match="sqrt"):
        root(-ln.ones(1))


def test_same_bits_from_replay_to_replay():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    net.eval()
    f = ln.compile(net)
    x = images()
    with ln.no_grad():
        f(x)
        first = f(x).numpy().copy()
        f(images(seed=4))
        assert np.array_equal(f(x).numpy(), first)


def test_several_threads():
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    f = ln.compile(net)
    data = [rows(n=1 + i % 3, seed=i) for i in range(30)]
    with ln.no_grad():
        expected = [net(x).numpy() for x in data]
    wrong = []

    def work():
        with ln.no_grad():
            for _ in range(20):
                for x, y in zip(data, expected, strict=True):
                    if not np.allclose(f(x).numpy(), y, atol=1e-5):
                        wrong.append(x.shape)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and len(f.plans) == 3


def test_results_stay_what_they_were():
    f = ln.compile(lambda x: (x * 2, x, x[0]))
    kept = [f(ln.full((2, 2), i)) for i in range(4)]
    for i, (a, b, c) in enumerate(kept):
        assert a.tolist() == [[2.0 * i] * 2] * 2 and b.tolist() == [[i] * 2] * 2 and c.tolist() == [i] * 2


def test_bfloat16_products():
    net = nn.Linear(64, 64)
    x = rows(features=64)
    with ln.no_grad():
        full, half = ln.compile(net)(x).numpy(), ln.compile(net, precision="bf16")(x).numpy()
    assert half.dtype == np.float32
    assert np.abs(half - full).max() < 2**-8 * np.abs(full).max() * 8  # operands of 8 bits
    with pytest.raises(ValueError, match="precision"):
        ln.compile(net, precision="fp8")


def test_the_first_call_gives_the_bits_of_a_replay():
    net = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Dropout(0.3), nn.Linear(32, 1))
    step = training_step(net, optim.SGD(net.parameters(), lr=0.1), True)
    step(rows(n=7))  # batches of another size: the gradients stay where they are from here on
    state, x, bits = copy.deepcopy(net.state_dict()), rows(n=50), []
    for _ in range(2):
        net.load_state_dict(state)
        ln.manual_seed(1)
        bits.append([step(x)[0].item() for _ in range(4)])
    assert bits[0] == bits[1]
    assert net[1].num_batches_tracked.item() == 5


def test_lists_of_modules_that_change():
    class Net(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList([nn.Linear(8, 8)])
            self.heads = nn.ModuleDict({"a": nn.Linear(8, 2), "b": nn.Tanh()})

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return [head(x) for head in self.heads.values()]

    net, x = Net(), rows()
    f = ln.compile(net)
    changes = [
        lambda: net.layers.append(nn.Linear(8, 8)),
        lambda: net.heads.pop("b"),
        lambda: net.layers.__delitem__(0),
    ]
    with ln.no_grad():
        for change in [lambda: None, *changes]:
            change()
            for _ in range(2):
                for a, b in zip(f(x), net(x), strict=True):
                    close(a.numpy(), b.numpy())


def test_modes_and_freezing_inside_a_step():
    net = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    calls = []

    @ln.compile
    def step(x):
        calls.append(None)
        net[0].requires_grad_(False)
        net.eval()
        net(x).sum().backward()
        net[0].requires_grad_(True)
        net.train()
        frozen = net[0].weight.grad is None
        net.zero_grad()
        return x * frozen

    for i in range(5):
        assert step(rows(seed=i)).tolist() == rows(seed=i).tolist()
    assert len(calls) == 2
