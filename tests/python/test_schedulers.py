"""Learning-rate schedules: values, state dicts, errors."""

import math

import lanner as ln
import pytest

sched = ln.optim.lr_scheduler


def make(lr=1.0, groups=1, **options):
    params = [{"params": [ln.ones(1, requires_grad=True)], "lr": lr / (i + 1)} for i in range(groups)]
    return ln.optim.SGD(params, **options)


def rates(scheduler, steps):
    out = []
    for _ in range(steps):
        out.append(scheduler.get_last_lr()[0])
        assert scheduler.optimizer.param_groups[0]["lr"] == out[-1]
        scheduler.optimizer.step()
        scheduler.step()
    return out


EXPECTED = [
    (lambda o: sched.StepLR(o, 2, 0.5), lambda t: 0.5 ** (t // 2)),
    (lambda o: sched.MultiStepLR(o, [1, 4], 0.5), lambda t: 0.5 ** ((t >= 1) + (t >= 4))),
    (lambda o: sched.ExponentialLR(o, 0.9), lambda t: 0.9**t),
    (lambda o: sched.LambdaLR(o, lambda t: 1 / (t + 1)), lambda t: 1 / (t + 1)),
    (lambda o: sched.CosineAnnealingLR(o, 6, 0.1), lambda t: 0.1 + 0.9 * (1 + math.cos(math.pi * t / 6)) / 2),
    (lambda o: sched.CosineAnnealingWarmRestarts(o, 3), lambda t: (1 + math.cos(math.pi * (t % 3) / 3)) / 2),
    (lambda o: sched.LinearLR(o, 0.5, 1.0, 4), lambda t: min(1, 0.5 + 0.125 * t)),
    (lambda o: sched.ConstantLR(o, 0.5, 3), lambda t: 0.5 if t < 3 else 1),
    (
        lambda o: sched.OneCycleLR(o, 2.0, 11, pct_start=5 / 11, anneal_strategy="linear", cycle_momentum=False),
        lambda t: 0.08 + (2 - 0.08) * t / 4 if t <= 4 else 2 + (8e-6 - 2) * (t - 4) / 6,
    ),
]


@pytest.mark.parametrize(("scheduler", "expected"), EXPECTED, ids=range(len(EXPECTED)))
def test_values(scheduler, expected):
    assert rates(scheduler(make()), 10) == pytest.approx([expected(t) for t in range(10)], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("scheduler", "expected"), EXPECTED, ids=range(len(EXPECTED)))
def test_state_dict_goes_on(scheduler, expected):
    first = scheduler(make())
    rates(first, 4)
    optimizer = make()
    second = scheduler(optimizer)
    second.load_state_dict(first.state_dict())
    optimizer.load_state_dict(first.optimizer.state_dict())
    assert rates(second, 6) == pytest.approx([expected(t) for t in range(4, 10)], rel=1e-9, abs=1e-15)


def test_state_dicts_are_plain_values():
    for scheduler, _ in EXPECTED:
        for value in scheduler(make()).state_dict().values():
            assert isinstance(value, (int, float, str, bool, list, dict)), value


def test_groups():
    optimizer = make(groups=2)
    scheduler = sched.LambdaLR(optimizer, [lambda t: 0.5**t, lambda t: 0.1**t])
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.5, 0.05])
    assert [group["initial_lr"] for group in optimizer.param_groups] == [1.0, 0.5]


def test_one_cycle_turns_the_momentum():
    optimizer = make(momentum=0.9)
    scheduler = sched.OneCycleLR(optimizer, 1.0, 10, pct_start=0.5)
    seen = []
    for _ in range(10):
        seen.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if len(seen) < 10:
            scheduler.step()
    assert seen[0] == pytest.approx(0.95)
    assert min(seen) == pytest.approx(0.85)
    assert seen[-1] == pytest.approx(0.95)
    adam = ln.optim.Adam([ln.ones(1, requires_grad=True)])
    sched.OneCycleLR(adam, 1.0, 10)
    assert adam.param_groups[0]["betas"] == (0.95, 0.999)


def test_one_cycle_ends():
    scheduler = sched.OneCycleLR(make(), 1.0, 3, cycle_momentum=False)
    for _ in range(3):
        scheduler.step()
    with pytest.raises(ValueError, match="the cycle is over"):
        scheduler.step()


def test_plateau():
    optimizer = make()
    scheduler = sched.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1, min_lr=0.2)
    seen = []
    for loss in [1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.4]:
        scheduler.step(ln.tensor(float(loss)))
        seen.append(scheduler.get_last_lr()[0])
    assert seen == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2]
    again = sched.ReduceLROnPlateau(make())
    again.load_state_dict(scheduler.state_dict())
    assert again.best == pytest.approx(0.4)
    nan = sched.ReduceLROnPlateau(make(), patience=0)
    nan.step(float("nan"))
    assert nan.get_last_lr() == [0.1]


def test_going_on_from_an_epoch():
    optimizer = make()
    with pytest.raises(KeyError, match="initial_lr"):
        sched.ExponentialLR(optimizer, 0.5, last_epoch=3)
    optimizer.param_groups[0]["initial_lr"] = 8.0
    assert sched.LambdaLR(optimizer, lambda t: 0.5**t, last_epoch=2).get_last_lr() == [1.0]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: sched.StepLR(ln.ones(1), 2), TypeError, "expected an Optimizer, got Tensor"),
        (lambda: sched.StepLR(make(), 0), ValueError, "step_size"),
        (lambda: sched.LambdaLR(make(groups=2), [lambda t: 1.0]), ValueError, "each of 2 groups, got 1"),
        (lambda: sched.LinearLR(make(), 0.0), ValueError, "start_factor"),
        (lambda: sched.CosineAnnealingWarmRestarts(make(), 0), ValueError, "T_0"),
        (lambda: sched.OneCycleLR(make(), 1.0), ValueError, "total_steps"),
        (lambda: sched.OneCycleLR(make(), 1.0, 5, anneal_strategy="quadratic"), ValueError, "anneal_strategy"),
        (lambda: sched.OneCycleLR(ln.optim.Adagrad([ln.ones(1)]), 1.0, 5), ValueError, "no momentum"),
        (lambda: sched.ReduceLROnPlateau(make(), factor=1.0), ValueError, "factor"),
        (lambda: sched.ReduceLROnPlateau(make(), mode="best"), ValueError, "mode"),
        (lambda: sched.ReduceLROnPlateau(make()).step(), TypeError, "figure"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
