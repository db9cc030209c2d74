"""Optimizers and schedules against PyTorch's, over 20 steps."""

from __future__ import annotations

import warnings

import lanner as ln
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

SHAPES = [(3, 5), (7,), (1,), (2, 3, 4)]
OPTIONS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01}),
    ("RMSprop", {"lr": 0.01, "centered": True, "alpha": 0.9, "maximize": True}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.9), "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "betas": (0.6, 0.8), "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "momentum_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
]


def label(value):
    if isinstance(value, dict):
        return (
            ",".join(f"{k}={'...' if callable(v) or isinstance(v, list) else v}" for k, v in value.items())
            or "defaults"
        )
    return str(value)


def pair(dtype):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    ours = [ln.tensor(a).requires_grad_() for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    return rng, ours, theirs


def set_gradients(rng, dtype, ours, theirs, skip=None):
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        g = rng.standard_normal(a.shape).astype(dtype)
        a.grad = None if i == skip else ln.tensor(g)
        b.grad = None if i == skip else torch.tensor(g)


def precision(name, dtype):
    """PyTorch keeps NAdam's product of momenta in float32, also for float64 parameters."""
    return "float32" if name == "NAdam" else dtype


def assert_equal(ours, theirs, dtype, steps):
    # Each step rounds some ten times; a quotient near 0 / eps makes more of a rounding.
    bound = 8 * steps * np.finfo(dtype).eps
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=bound, atol=bound)


@pytest.mark.parametrize("isa", ln.cpu.available_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=label)
def test_steps(name, options, dtype, isa):
    rng, ours, theirs = pair(dtype)
    a, b = getattr(ln.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    with ln.cpu.isa(isa):
        for step in range(20):
            set_gradients(rng, dtype, ours, theirs, skip=1 if step in (0, 7) else None)
            a.step()
            b.step()
    assert_equal(ours, theirs, precision(name, dtype), 20)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=label)
def test_state_moves_both_ways(name, options):
    rng, ours, theirs = pair("float64")
    a, b = getattr(ln.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for _ in range(3):
        set_gradients(rng, "float64", ours, theirs)
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        with ln.no_grad():
            p[...] = ln.tensor(q.detach().numpy())
    a.load_state_dict(convert(b.state_dict(), lambda t: t.numpy(), torch.Tensor))
    assert a.state_dict()["param_groups"][0].keys() >= b.state_dict()["param_groups"][0].keys()
    for _ in range(3):
        set_gradients(rng, "float64", ours, theirs)
        a.step()
        b.step()
    assert_equal(ours, theirs, precision(name, "float64"), 3)
    # And back: a new optimizer of PyTorch's takes over from ours.
    fresh = [torch.tensor(p.detach().numpy(), requires_grad=True) for p in ours]
    c = getattr(torch.optim, name)(fresh, **options)
    c.load_state_dict(convert(a.state_dict(), lambda t: torch.tensor(t.numpy()), ln.Tensor))
    set_gradients(rng, "float64", ours, fresh)
    a.step()
    c.step()
    assert_equal(ours, fresh, precision(name, "float64"), 3)


def convert(value, fn, kind):
    if isinstance(value, kind):
        return fn(value)
    if isinstance(value, dict):
        return {k: convert(v, fn, kind) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(convert(v, fn, kind) for v in value)
    return value


def test_signatures_and_defaults():
    import inspect

    for name in ("SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "Adamax", "NAdam"):
        ours = inspect.signature(getattr(ln.optim, name)).parameters
        theirs = inspect.signature(getattr(torch.optim, name)).parameters
        for key, parameter in theirs.items():
            if key in ("foreach", "fused", "capturable", "differentiable", "maximize"):
                continue
            assert ours[key].default == parameter.default, (name, key)
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                assert list(ours).index(key) == list(theirs).index(key), (name, key)


SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 11], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.95**epoch}),
    ("LambdaLR", {"lr_lambda": [lambda epoch: 0.95**epoch, lambda epoch: 1 / (1 + epoch)]}),
    ("CosineAnnealingLR", {"T_max": 7}),
    ("CosineAnnealingLR", {"T_max": 30, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("LinearLR", {"total_iters": 6}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.5, "total_iters": 10}),
    ("ConstantLR", {"factor": 0.2, "total_iters": 4}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 21}),
    ("OneCycleLR", {"max_lr": [1.0, 0.5], "epochs": 3, "steps_per_epoch": 7, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 30, "three_phase": True, "div_factor": 10, "pct_start": 0.4}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 30, "cycle_momentum": False}),
]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=label)
def test_schedules(name, options, optimizer):
    def groups(package):
        make = ln.ones if package is ln else torch.ones
        w, b = make(2, requires_grad=True), make(1, requires_grad=True)
        extra = {"momentum": 0.9} if optimizer == "SGD" else {}
        return getattr(package.optim, optimizer)([{"params": [w]}, {"params": [b], "lr": 0.05}], lr=0.1, **extra)

    a, b = groups(ln), groups(torch)
    ours = getattr(ln.optim.lr_scheduler, name)(a, **options)
    theirs = getattr(torch.optim.lr_scheduler, name)(b, **options)
    for _ in range(20):
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-12, atol=1e-15)
        for x, y in zip(a.param_groups, b.param_groups, strict=True):
            assert x["lr"] == pytest.approx(y["lr"], rel=1e-12, abs=1e-15)
            for key in ("momentum", "betas"):
                if key in y:
                    assert x[key] == pytest.approx(y[key], rel=1e-12)
        a.step()
        b.step()
        ours.step()
        theirs.step()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 1},
        {"patience": 0, "cooldown": 2, "factor": 0.5},
        {"mode": "max", "patience": 1, "threshold": 0.1, "threshold_mode": "abs", "min_lr": [0.02, 0.001]},
        {"patience": 1, "threshold": 0.2, "eps": 1e-3},
    ],
    ids=label,
)
def test_plateau(options):
    a = ln.optim.SGD([{"params": [ln.ones(2, requires_grad=True)]}, {"params": [ln.ones(1)], "lr": 0.05}], lr=0.1)
    b = torch.optim.SGD([{"params": [torch.ones(2)]}, {"params": [torch.ones(1)], "lr": 0.05}], lr=0.1)
    ours = ln.optim.lr_scheduler.ReduceLROnPlateau(a, **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(b, **options)
    rng = np.random.default_rng(0)
    for step in range(40):
        value = float(1 / (step + 1) if step < 10 else rng.random())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours.step(value)
            theirs.step(value)
        assert ours.get_last_lr() == theirs.get_last_lr()
