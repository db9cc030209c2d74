"""A training step recorded once and replayed as a plan: what was fused, what each kernel costs, what it saves.

    python compiled_step.py            # LeNet-5 at batch 64, 400 steps each way
    python compiled_step.py --short    # 40

Writes compiled_step.png (the graph before and after fusion) and compiled_step.json (for ui.perfetto.dev).
"""

import argparse
import time

import lanner as ln
import numpy as np
from lanner import nn, optim

BATCH = 64


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(),
        nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


def make_step():
    """A step as one writes it, on a net of its own with the same first weights each time."""
    ln.manual_seed(0)
    net = lenet5()
    optimizer = optim.Adam(net.parameters(), 1e-3)

    def step(images, labels):
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def losses_of(step, batches, count):
    """The losses of `count` steps, and the milliseconds of one."""
    losses = [step(*batches[0])]
    began = time.perf_counter()
    losses += [step(*batches[i % len(batches)]) for i in range(1, count)]
    took = time.perf_counter() - began
    return np.array([loss.item() for loss in losses]), 1e3 * took / (count - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    count = 40 if parser.parse_args().short else 400

    ln.manual_seed(1)
    images = ln.random.normal((8, BATCH, 1, 28, 28))
    labels = ln.random.randint(0, 10, (8, BATCH))
    batches = [(images[i], labels[i]) for i in range(8)]

    eager, eager_ms = losses_of(make_step(), batches, count)
    compiled = ln.compile(make_step())
    replayed, replayed_ms = losses_of(compiled, batches, count)

    print(f"op by op {eager_ms:.2f} ms a step, as a plan {replayed_ms:.2f} ms; ", end="")
    print(f"first losses {eager[:3].round(4)} and {replayed[:3].round(4)}\n")
    compiled.plan.summary()
    compiled.plan.plot("compiled_step.png")
    compiled.plan.trace("compiled_step.json")

    # The same arithmetic in another order: the first steps agree to rounding.
    assert np.allclose(eager[:5], replayed[:5], rtol=1e-4), (eager[:5], replayed[:5])
    assert replayed[-8:].mean() < replayed[:8].mean()


if __name__ == "__main__":
    main()
