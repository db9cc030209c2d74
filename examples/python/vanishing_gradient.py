"""Where the gradient goes in 20 layers: sigmoid loses it; ReLU, initialisation and normalization keep it.

    python vanishing_gradient.py [--short]

S. Hochreiter, 1991; X. Glorot, Y. Bengio, AISTATS 2010; K. He et al., ICCV 2015; S. Ioffe, C. Szegedy, ICML 2015.
"""

import argparse

import lanner as ln
from lanner import nn

DEPTH, WIDTH = 20, 128


def deep(activation, initialise, normalize):
    layers = []
    for _ in range(DEPTH):
        linear = nn.Linear(WIDTH, WIDTH)
        initialise(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, *([nn.BatchNorm1d(WIDTH)] if normalize else []), activation()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def gradient_norms(net, x, y):
    """The norm of the loss's gradient by the weights of each deep layer, first layer first."""
    net.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    linears = [layer for layer in net if isinstance(layer, nn.Linear)][:DEPTH]
    return [ln.sqrt(ln.sum(layer.weight.grad**2)).item() for layer in linears]


def small(weight):
    nn.init.normal_(weight, 0.0, 0.05)


def he(weight):
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


SETTINGS = {
    "sigmoid, Glorot": (nn.Sigmoid, nn.init.xavier_uniform_, False),
    "ReLU, weights too small": (nn.ReLU, small, False),
    "ReLU, He": (nn.ReLU, he, False),
    "tanh, Glorot": (nn.Tanh, nn.init.xavier_uniform_, False),
    "sigmoid, batch normalization": (nn.Sigmoid, nn.init.xavier_uniform_, True),
    "ReLU, He, batch normalization": (nn.ReLU, he, True),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the same: it takes a second")
    parser.parse_args()

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ln.manual_seed(0)
    x, y = ln.random.normal((256, WIDTH)), ln.random.randint(0, 10, (256,))
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    print(f"{'':>30}  first layer   last layer   ratio")
    for name, setting in SETTINGS.items():
        norms = gradient_norms(deep(*setting), x, y)
        print(f"{name:>30}  {norms[0]:11.2e}  {norms[-1]:11.2e}  {norms[0] / norms[-1]:.1e}")
        axis.semilogy(range(1, DEPTH + 1), norms, "o-", markersize=3, label=name)
    axis.set(title="Gradient of the weights, by layer", xlabel="layer", ylabel="norm", xticks=range(1, DEPTH + 1))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig("vanishing_gradient.png", dpi=110)


if __name__ == "__main__":
    main()
