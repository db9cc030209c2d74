"""An op of one's own: a step that passes the gradient straight through, so that a network with binary units can learn.

    python custom_function.py [--short]

Y. Bengio et al., "Estimating or propagating gradients through stochastic neurons", arXiv:1308.3432, 2013.
"""

import argparse

import lanner as ln
from lanner import nn, optim


class BinaryStep(ln.Function):
    """1 where x > 0, else 0; its gradient is taken to be 1 near the step and 0 far from it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return ln.where(ln.abs(x) < 1, g, 0.0)


class Softsign(ln.Function):
    """x / (1 + |x|), with its gradient written by hand: gradcheck tells whether it is right."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x / (1 + ln.abs(x))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g / (1 + ln.abs(x)) ** 2


class BinaryNet(nn.Module):
    """Its hidden units are 0 or 1."""

    def __init__(self, features, hidden, classes):
        super().__init__()
        self.first, self.second = nn.Linear(features, hidden), nn.Linear(hidden, classes)

    def forward(self, x):
        return self.second(BinaryStep.apply(self.first(x)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--short", action="store_true", help="5 epochs")
    args = parser.parse_args()

    x = ln.linspace(-2, 2, 9, dtype=ln.float64).requires_grad_()
    print("softsign: gradient checked to second order:", ln.gradcheck(Softsign.apply, x, order=2))

    ln.manual_seed(0)
    x, y = ln.datasets.digits()
    x = (x / 16).astype("float32").reshape(len(x), -1)
    net = BinaryNet(64, 256, 10)
    model = ln.Model(net, loss="cross_entropy", optimizer=optim.Adam(net.parameters(), 2e-3), metrics=["accuracy"])
    epochs = 5 if args.short else args.epochs
    model.fit(x[:1400], y[:1400], batch_size=32, epochs=epochs, seed=0, verbose=0)
    print(f"binary hidden units, {epochs} epochs: test accuracy {model.evaluate(x[1400:], y[1400:])['accuracy']:.1%}")


if __name__ == "__main__":
    main()
