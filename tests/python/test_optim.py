"""Each optimizer against float64 NumPy, state dicts, parameter groups, errors."""

import lanner as ln
import numpy as np
import pytest


def sgd(p, g, s, t, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False):
    g = g + weight_decay * p
    if momentum:
        s["b"] = g if t == 1 else momentum * s["b"] + (1 - dampening) * g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adagrad(p, g, s, t, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10):
    g = g + weight_decay * p
    s["s"] = s.get("s", initial_accumulator_value) + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["s"]) + eps)


def rmsprop(p, g, s, t, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False):
    g = g + weight_decay * p
    s["s"] = alpha * s.get("s", 0) + (1 - alpha) * g * g
    s["a"] = alpha * s.get("a", 0) + (1 - alpha) * g
    step = g / (np.sqrt(s["s"] - s["a"] ** 2 * centered) + eps)
    s["b"] = momentum * s.get("b", 0) + step
    return p - lr * (s["b"] if momentum else step)


def adadelta(p, g, s, t, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0):
    g = g + weight_decay * p
    s["s"] = rho * s.get("s", 0) + (1 - rho) * g * g
    d = np.sqrt(s.get("u", 0) + eps) / np.sqrt(s["s"] + eps) * g
    s["u"] = rho * s.get("u", 0) + (1 - rho) * d * d
    return p - lr * d


def adam(p, g, s, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, decoupled=False):
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    s["x"] = np.maximum(s.get("x", 0), s["v"])
    v = (s["x"] if amsgrad else s["v"]) / (1 - betas[1] ** t)
    return p - lr * s["m"] / (1 - betas[0] ** t) / (np.sqrt(v) + eps)


def adamw(p, g, s, t, weight_decay=1e-2, **options):
    return adam(p, g, s, t, weight_decay=weight_decay, decoupled=True, **options)


def adamax(p, g, s, t, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
    g = g + weight_decay * p
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["u"] = np.maximum(betas[1] * s.get("u", 0), np.abs(g) + eps)
    return p - lr / (1 - betas[0] ** t) * s["m"] / s["u"]


def nadam(p, g, s, t, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3):
    g = g + weight_decay * p
    mu, after = (betas[0] * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (t, t + 1))
    s["p"] = s.get("p", 1) * mu
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    d = np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps
    return p - lr * (1 - mu) / (1 - s["p"]) * g / d - lr * after / (1 - s["p"] * after) * s["m"] / d


def lion(p, g, s, t, lr=1e-4, betas=(0.9, 0.99), weight_decay=0):
    m = s.get("m", 0)
    s["m"] = betas[1] * m + (1 - betas[1]) * g
    return p * (1 - lr * weight_decay) - lr * np.sign(betas[0] * m + (1 - betas[0]) * g)


CASES = [
    (ln.optim.SGD, sgd, {"lr": 0.1}),
    (ln.optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    (ln.optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (ln.optim.Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    (ln.optim.RMSprop, rmsprop, {"weight_decay": 0.1}),
    (ln.optim.RMSprop, rmsprop, {"momentum": 0.9, "centered": True, "alpha": 0.9}),
    (ln.optim.Adadelta, adadelta, {"weight_decay": 0.1}),
    (ln.optim.Adam, adam, {"weight_decay": 0.1}),
    (ln.optim.Adam, adam, {"lr": 0.1, "amsgrad": True, "betas": (0.5, 0.8)}),
    (ln.optim.AdamW, adamw, {"lr": 0.1}),
    (ln.optim.Adamax, adamax, {"weight_decay": 0.1}),
    (ln.optim.NAdam, nadam, {"lr": 0.1, "weight_decay": 0.1}),
    (ln.optim.Lion, lion, {"lr": 0.1, "weight_decay": 0.1}),
]
OPTIMIZERS = [ln.optim.SGD, *{case[0]: None for case in CASES[3:]}]


def label(value):
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items())
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("optimizer", "reference", "options"), CASES, ids=label)
def test_formula(optimizer, reference, options, dtype, maximize):
    rng = np.random.default_rng(0)
    shapes = [(4, 5), (1,), (0, 3), (257,)]
    expected = [rng.uniform(-1, 1, shape) for shape in shapes]
    params = [ln.tensor(p.astype(dtype)).requires_grad_() for p in expected]
    expected = [p.detach().numpy().astype(np.float64) for p in params]
    state = [{} for _ in shapes]
    ours = optimizer(params, **options, maximize=maximize)
    for t in range(1, 6):
        for i, p in enumerate(params):
            g = rng.uniform(0.1, 1, p.shape) * rng.choice([-1, 1], p.shape)
            p.grad = ln.tensor(g.astype(dtype))
            sign = -1 if maximize else 1
            expected[i] = reference(expected[i], sign * p.grad.numpy().astype(np.float64), state[i], t, **options)
        ours.step()
    bound = 5 * 16 * np.finfo(dtype).eps
    for p, e in zip(params, expected, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), e, rtol=bound, atol=bound)


def train(optimizer, params, steps, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        target = ln.tensor(rng.standard_normal(3).astype(np.float32))
        ((params[0] * params[1] - target) ** 2).sum().backward()
        optimizer.step()


def make_params():
    return [ln.tensor([1.0, -2.0, 3.0], requires_grad=True), ln.tensor([0.5], requires_grad=True)]


@pytest.mark.parametrize(("optimizer", "reference", "options"), CASES, ids=label)
def test_state_dict_round_trip(optimizer, reference, options):
    a = make_params()
    first = optimizer(a, **options)
    train(first, a, 3)
    b = [ln.tensor(p.detach().numpy()).requires_grad_() for p in a]
    second = optimizer(b, lr=0.123)
    state = first.state_dict()
    second.load_state_dict(state)
    train(first, a, 3, seed=1)
    train(second, b, 3, seed=1)
    for p, q in zip(a, b, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"]


def test_state_dict_survives_safetensors(tmp_path):
    params = make_params()
    optimizer = ln.optim.Adam(params, lr=0.1)
    train(optimizer, params, 2)
    state = optimizer.state_dict()
    flat = {f"{i}.{name}": t for i, values in state["state"].items() for name, t in values.items()}
    ln.save(tmp_path / "state.safetensors", flat)
    loaded = ln.load(tmp_path / "state.safetensors")
    state["state"] = {i: {n: loaded[f"{i}.{n}"] for n in values} for i, values in state["state"].items()}
    again = ln.optim.Adam(params, lr=0.1)
    again.load_state_dict(state)
    assert again.state[params[0]]["step"] == 2


def test_the_loaded_state_is_a_copy():
    params = make_params()
    a, b = ln.optim.Adam(params), ln.optim.Adam(params)
    train(a, params, 1)
    b.load_state_dict(a.state_dict())
    before = a.state[params[0]]["exp_avg"].numpy().copy()
    train(b, params, 3)
    np.testing.assert_array_equal(a.state[params[0]]["exp_avg"].numpy(), before)


def test_groups_have_their_own_options():
    w, b = ln.ones(2, requires_grad=True), ln.ones(1, requires_grad=True)
    optimizer = ln.optim.SGD([{"params": [w], "lr": 0.5}, {"params": b}], lr=0.1, weight_decay=0)
    (w.sum() + b.sum()).backward()
    optimizer.step()
    assert w.tolist() == [0.5, 0.5]
    assert b.tolist() == pytest.approx([0.9])
    c = ln.ones(1, requires_grad=True)
    optimizer.add_param_group({"params": [c], "weight_decay": 0.1})
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0, 0, 0.1]
    assert "lr: 0.5" in repr(optimizer)


def test_named_parameters():
    w = ln.ones(2, requires_grad=True)
    optimizer = ln.optim.SGD([("w", w)], lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["w"]
    assert optimizer.param_groups[0]["params"][0] is w


def test_zero_grad():
    w = ln.ones(2, requires_grad=True)
    optimizer = ln.optim.SGD([w], lr=0.1)
    w.sum().backward()
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert w.grad is None
    optimizer.step()  # nothing to do
    assert w.tolist() == [1.0, 1.0]


def test_closure():
    w = ln.ones(2, requires_grad=True)
    optimizer = ln.optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with ln.no_grad():
        assert optimizer.step(closure).item() == 2.0
    assert w.tolist() == pytest.approx([0.8, 0.8])


def test_parameters_without_gradient_keep_their_count():
    a, b = ln.ones(1, requires_grad=True), ln.ones(1, requires_grad=True)
    optimizer = ln.optim.Adam([a, b], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (a * a).sum().backward()
        optimizer.step()
    (b * b).sum().backward()
    optimizer.step()
    assert optimizer.state[a]["step"] == 4
    assert optimizer.state[b]["step"] == 1
    assert b.item() == pytest.approx(0.9)


def test_views_and_transposed_parameters():
    block = ln.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    w = block.T.detach().requires_grad_()
    (w * ln.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).sum().backward()
    ln.optim.SGD([w], lr=1).step()
    assert block.tolist() == [[0.0, -1.0, -2.0], [2.0, 1.0, 0.0]]
    assert w.tolist() == [[0.0, 2.0], [-1.0, 1.0], [-2.0, 0.0]]


def test_a_step_between_forward_and_backward_is_noticed():
    w = ln.ones(2, requires_grad=True)
    optimizer = ln.optim.SGD([w], lr=0.1)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(ln.Error):
        loss.backward()


def test_infinite_and_nan_gradients_pass_through():
    w = ln.ones(3, requires_grad=True)
    w.grad = ln.tensor([float("inf"), float("nan"), 1.0])
    ln.optim.SGD([w], lr=0.1).step()
    assert w.tolist()[0] == -float("inf")
    assert np.isnan(w.tolist()[1])
    assert w.tolist()[2] == pytest.approx(0.9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=label)
def test_minimizes(optimizer):
    w = ln.tensor([2.0, -3.0], requires_grad=True)
    start = (w * w).sum().item()
    ours = optimizer([w], lr=1.0 if optimizer is ln.optim.Adadelta else 0.05)
    for _ in range(100):
        ours.zero_grad()
        (w * w).sum().backward()
        ours.step()
    # Adadelta begins slowly, Adagrad slows down, Lion swings over.
    assert (w * w).sum().item() < (0.9 if optimizer in (ln.optim.Adadelta, ln.optim.Adagrad) else 0.5) * start


W = ln.ones(2, requires_grad=True)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ln.optim.SGD([], lr=0.1), ValueError, "SGD: got no parameters"),
        (lambda: ln.optim.SGD(W, lr=0.1), TypeError, "iterable of Tensors"),
        (lambda: ln.optim.SGD([1.0], lr=0.1), TypeError, "parameter 0 must be a Tensor, got float"),
        (lambda: ln.optim.SGD([W * 2], lr=0.1), ValueError, "only leaves"),
        (lambda: ln.optim.SGD([W, W], lr=0.1), ValueError, "there twice"),
        (lambda: ln.optim.SGD([{"params": [W]}, {"params": [W]}], lr=0.1), ValueError, "there twice"),
        (lambda: ln.optim.SGD([{"lr": 1}]), ValueError, 'needs "params"'),
        (lambda: ln.optim.SGD([ln.ones(2, dtype=ln.bfloat16)], lr=0.1), ln.DTypeError, "is bfloat16"),
        (lambda: ln.optim.SGD([W], lr=-1), ValueError, "lr must be at least 0, got -1"),
        (lambda: ln.optim.SGD([W], lr=float("nan")), ValueError, "lr must be at least 0"),
        (lambda: ln.optim.SGD([W], nesterov=True), ValueError, "nesterov needs momentum"),
        (lambda: ln.optim.SGD([W], wrong=1), TypeError, "no option 'wrong'"),
        (lambda: ln.optim.Adam([W], betas=(1.0, 0.9)), ValueError, "betas"),
        (lambda: ln.optim.Adam([W], differentiable=True), ValueError, "differentiable"),
        (lambda: ln.optim.Adadelta([W], rho=2), ValueError, "rho"),
        (
            lambda: ln.optim.Optimizer([W], {}).load_state_dict({"state": {}, "param_groups": []}),
            ValueError,
            "groups of",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_state_dict_of_another_net_is_refused():
    a = make_params()
    first = ln.optim.Adam(a)
    train(first, a, 1)
    second = ln.optim.Adam([ln.ones(4, requires_grad=True), ln.ones(1, requires_grad=True)])
    with pytest.raises(ln.ShapeError, match=r"exp_avg of parameter 0 has shape \[3\], the parameter \[4\]"):
        second.load_state_dict(first.state_dict())
    assert len(second.state) == 0


def test_a_parameter_may_be_given_other_memory():
    w = ln.ones(2, requires_grad=True)
    w.sum().backward()
    optimizer = ln.optim.SGD([w], lr=0.1)
    w.data = ln.ones(2, dtype=ln.float64)
    w.grad = ln.ones(2, dtype=ln.float64)
    optimizer.step()
    assert w.dtype == ln.float64
    assert w.tolist() == pytest.approx([0.9, 0.9])


def test_torch_options_are_accepted():
    w = ln.ones(2, requires_grad=True)
    optimizer = ln.optim.AdamW([w], lr=0.1, fused=True, foreach=False)
    assert optimizer.param_groups[0]["fused"] is True
