"""The perceptron: a step activation and a rule that needs no gradient. One layer fails at XOR, two solve it.

    python perceptron.py [--short]

F. Rosenblatt, "The perceptron: a probabilistic model", Psychological Review 65(6), 1958; M. Minsky, S. Papert,
"Perceptrons", 1969.
"""

import argparse

import lanner as ln
from lanner import nn, optim


class Perceptron(nn.Module):
    """One layer and the Heaviside step. The step has no useful gradient: `learn` applies Rosenblatt's rule."""

    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.step = nn.Step()

    def forward(self, x):
        return self.step(self.linear(x))[:, 0]

    def learn(self, x, y, epochs):
        """Goes through the samples; a mistake moves the weights by the sample. Returns the mistakes of each epoch."""
        mistakes = []
        with ln.no_grad():
            for _ in range(epochs):
                wrong = 0
                for i in range(len(x)):
                    error = y[i] - self(x[i : i + 1])[0]
                    if error.item() != 0:
                        self.linear.weight += error * x[i]
                        self.linear.bias += error
                        wrong += 1
                mistakes.append(wrong)
                if wrong == 0:
                    break
        return mistakes


def accuracy(predicted, y):
    return ln.mean((predicted == y).to(ln.float32)).item()


def iris():
    x, labels = ln.datasets.iris()
    y = ln.tensor((labels == 0).astype("float32"))  # setosa, or one of the other two: linearly separable
    x = ln.tensor(x.astype("float32"))
    return (x - ln.mean(x, axis=0)) / ln.std(x, axis=0), y


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the same: it takes a second")
    parser.parse_args()

    x, y = iris()
    perceptron = Perceptron(4)
    mistakes = perceptron.learn(x, y, epochs=20)
    print(f"Iris, setosa or not: mistakes by epoch {mistakes}, accuracy {accuracy(perceptron(x), y):.0%}")

    x = ln.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = ln.tensor([0.0, 1.0, 1.0, 0.0])
    perceptron = Perceptron(2)
    mistakes = perceptron.learn(x, y, epochs=100)
    print(f"XOR, one layer: after {len(mistakes)} epochs still {mistakes[-1]} mistakes in each; accuracy "
          f"{accuracy(perceptron(x), y):.0%}. No line parts the two classes.")  # fmt: skip

    ln.manual_seed(1)
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    model = ln.Model(net, loss=nn.BCEWithLogitsLoss(), optimizer=optim.Adam(net.parameters(), 0.05))
    model.fit(x, y[:, None], batch_size=4, epochs=300, seed=0, verbose=0)
    with ln.no_grad():
        outputs = ln.sigmoid(net(x))[:, 0]
    right = accuracy((outputs > 0.5).to(ln.float32), y)
    print(f"XOR, two layers: {[round(v, 3) for v in outputs.tolist()]}, accuracy {right:.0%}")


if __name__ == "__main__":
    main()
