"""Gradient descent from one weight to a table of patients.

    python gradient_descent.py [--short]

First one weight w = 5, one example x = 2, y = 6 and the loss (w x - y)^2 / 2, whose slope at 5 is (10 - 6) * 2 = 8.
Then a linear model of the diabetes table (B. Efron et al., "Least angle regression", 2004) by full batch, mini-batch
and one sample at a time, beside the closed-form solution; and what a rate that is too large does.
"""

import argparse
import math
import time

import lanner as ln
import numpy as np
from lanner import nn, optim


def one_weight():
    w = ln.tensor(5.0, requires_grad=True)
    for step in range(30):
        loss = (w * 2 - 6) ** 2 / 2
        loss.backward()
        if step < 3:
            print(f"  w = {w.item():.4f}  loss = {loss.item():8.4f}  slope = {w.grad.item():8.4f}")
        with ln.no_grad():
            w -= 0.1 * w.grad
        w.grad = None
    print(f"  after 30 steps w = {w.item():.4f}, where the slope is zero")


def diabetes():
    """Standardized features and target; standardizing is what lets one rate serve all weights."""
    x, y = ln.datasets.diabetes()
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    return x.astype(np.float32), y.astype(np.float32)[:, None]


def descend(x, y, batch_size, rate, epochs):
    """(mean squared error after each epoch, seconds); stops when the loss is no longer a number."""
    ln.manual_seed(0)
    net = nn.Linear(x.shape[1], 1)
    optimizer = optim.SGD(net.parameters(), lr=rate)
    loader = ln.data.DataLoader(ln.data.TensorDataset(x, y), batch_size=batch_size, shuffle=True, seed=0)
    errors, began = [], time.perf_counter()
    everything, target = ln.tensor(x), ln.tensor(y)
    for _ in range(epochs):
        for xb, yb in loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(net(xb), yb).backward()
            optimizer.step()
        with ln.no_grad():
            errors.append(nn.functional.mse_loss(net(everything), target).item())
        if not errors[-1] < 1e12:
            break
    return errors, time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--short", action="store_true", help="20 epochs")
    args = parser.parse_args()
    epochs = 20 if args.short else args.epochs

    print("One weight, rate 0.1:")
    one_weight()

    x, y = diabetes()
    with_bias = np.hstack([x, np.ones((len(x), 1), np.float32)]).astype(np.float64)
    solution = np.linalg.lstsq(with_bias, y, rcond=None)[0]
    best = float(np.mean((with_bias @ solution - y) ** 2))
    print(f"\nDiabetes, {len(x)} patients: closed form, mean squared error {best:.5f}")
    curves = {}
    for name, batch_size, rate in (
        ("full batch", len(x), 0.1),
        ("mini-batch of 32", 32, 0.02),
        ("one sample", 1, 0.001),
    ):
        curves[name], seconds = descend(x, y, batch_size, rate, epochs)
        gap = curves[name][-1] - best
        print(f"  {name:>16}: {curves[name][-1]:.5f} after {epochs} epochs, {gap:.1e} above, {seconds:.2f} s")

    errors, _ = descend(x, y, len(x), 1.0, epochs)
    if math.isfinite(errors[-1]) and errors[-1] < 1e3:
        print("\nA rate of 1.0 still converges here.")
    else:
        print(f"\nA rate of 1.0 diverges: after {len(errors)} epochs the error is {errors[-1]:.3g}. The largest")
        print("curvature of this loss is above 2 / rate: each step lands farther up the other side than it came from.")
    curves["rate 1.0, full batch"] = errors

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, values in curves.items():
        axis.loglog(range(1, len(values) + 1), [v - best for v in values], label=name)
    axis.set(
        title="Linear model of the diabetes table", xlabel="epoch", ylabel="mean squared error above the closed form's"
    )
    axis.set_ylim(1e-4, 1e4)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig("gradient_descent.png", dpi=110)


if __name__ == "__main__":
    main()
