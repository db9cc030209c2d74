"""Random histories of a training step: compiled equals eager, whatever changes between its calls."""

import copy
import random

import lanner as ln
import numpy as np
import pytest
from lanner import nn, optim

OPTIMIZERS = [
    lambda p: optim.SGD(p, lr=0.05),
    lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1),
    lambda p: optim.Adam(p, lr=0.01),
    lambda p: optim.NAdam(p, lr=0.01),
    lambda p: optim.RMSprop(p, lr=0.01),
]


def add_in_place(net):
    with ln.no_grad():
        net[-1].bias += 0.1


CHANGES = {
    "rate": lambda net, optimizer: optimizer.param_groups[0].update(lr=optimizer.param_groups[0]["lr"] * 0.9),
    "mode": lambda net, optimizer: net.train(not net.training),
    "weights": lambda net, optimizer: net.load_state_dict({k: t * 0.9 for k, t in net.state_dict().items()}),
    "frozen": lambda net, optimizer: net[0].weight.requires_grad_(not net[0].weight.requires_grad),
    "memory": lambda net, optimizer: setattr(net[0].weight, "data", net[0].weight.detach() * 0.9),
    "gradients": lambda net, optimizer: net.zero_grad(),
    "state": lambda net, optimizer: optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict())),
    "in place": lambda net, optimizer: add_in_place(net),
}


def step_of(net, optimizer, forget_first, clip):
    def step(x, y):
        if forget_first:
            optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if not forget_first:
            optimizer.zero_grad()
        return loss

    return step


@pytest.mark.parametrize("seed", range(60))
def test_histories(seed):
    choose = random.Random(seed)
    ln.manual_seed(seed)
    middle = [choose.choice([nn.ReLU, nn.Tanh, nn.GELU])(), *([nn.BatchNorm1d(8)] if choose.random() < 0.5 else [])]
    choose.shuffle(middle)
    # A bias right before the norm has a gradient of roundings alone, which some optimizers scale up.
    nets = [nn.Sequential(nn.Linear(6, 8, bias=False), *middle, nn.Linear(8, 3))]
    nets.append(copy.deepcopy(nets[0]))
    make = choose.choice(OPTIMIZERS)
    optimizers = [make(net.parameters()) for net in nets]
    options = choose.random() < 0.5, choose.random() < 0.5
    steps = [step_of(net, optimizer, *options) for net, optimizer in zip(nets, optimizers, strict=True)]
    steps[1] = ln.compile(steps[1])
    rng = np.random.default_rng(seed)
    history = []
    for _ in range(25):
        history.append(choose.choice(["step"] * len(CHANGES) + list(CHANGES)))
        if history[-1] != "step":
            for net, optimizer in zip(nets, optimizers, strict=True):
                CHANGES[history[-1]](net, optimizer)
            continue
        n = choose.choice([4, 4, 4, 7])
        x, y = ln.tensor(rng.standard_normal((n, 6)).astype(np.float32)), ln.tensor(rng.integers(0, 3, n))
        eager, compiled = (step(x, y).item() for step in steps)
        # Roundings of 25 steps, which optimizers that divide by a small root enlarge.
        assert compiled == pytest.approx(eager, rel=2e-4, abs=2e-4), history
    for a, b in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=2e-3, err_msg=str(history))
