"""Memory and its limits: a network learns random labels by heart, and early stopping notices on a validation set.

    python overfitting.py [--short]

C. Zhang et al., "Understanding deep learning requires rethinking generalization", ICLR 2017. Fashion-MNIST images,
first with random labels, then with their own labels of which a third are wrong.
"""

import argparse

import lanner as ln
import numpy as np
from lanner import nn, optim


def network(seed):
    ln.manual_seed(seed)
    return nn.Sequential(nn.Rescaling(1 / 255), nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))


def train(x, y, validation, epochs, callbacks=()):
    net = network(0)
    model = ln.Model(net, loss="cross_entropy", optimizer=optim.Adam(net.parameters(), 1e-3), metrics=["accuracy"])
    history = model.fit(
        x, y, batch_size=64, epochs=epochs, validation_data=validation, callbacks=callbacks, seed=0, verbose=0
    )
    return model, history.history


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--short", action="store_true", help="500 images, 10 epochs")
    args = parser.parse_args()
    count, epochs = (500, 10) if args.short else (2000, args.epochs)

    x, y = ln.datasets.fashion_mnist("train")
    x_test, y_test = ln.datasets.fashion_mnist("test")
    x_test, y_test = x_test[:1000], y_test[:1000]
    x, y = x[:count], y[:count]
    rng = np.random.default_rng(0)

    _, memory = train(x, rng.integers(0, 10, count), (x_test, y_test), epochs)
    known, new = memory["accuracy"][-1], memory["val_accuracy"][-1]
    print(f"Random labels: {known:.1%} of the training labels known by heart, {new:.1%} on new images: chance.")

    noisy = np.where(rng.random(count) < 1 / 3, rng.integers(0, 10, count), y)
    model, long = train(x, noisy, (x_test, y_test), epochs)
    stop = ln.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True)
    stopped_model, stopped = train(x, noisy, (x_test, y_test), epochs, [stop])
    print(f"A third of the labels wrong, {epochs} epochs: training accuracy {long['accuracy'][-1]:.1%}, "
          f"test accuracy {model.evaluate(x_test, y_test)['accuracy']:.1%}")  # fmt: skip
    print(f"Stopped early after {len(stopped['loss'])} epochs:     training accuracy {stopped['accuracy'][-1]:.1%}, "
          f"test accuracy {stopped_model.evaluate(x_test, y_test)['accuracy']:.1%}")  # fmt: skip

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
    for axis, title, run in zip(axes, ("Random labels", "A third of the labels wrong"), (memory, long), strict=True):
        steps = range(1, len(run["loss"]) + 1)
        axis.plot(steps, run["accuracy"], label="training")
        axis.plot(steps, run["val_accuracy"], label="new images")
        axis.set(title=title, xlabel="epoch", ylabel="accuracy")
        axis.grid(alpha=0.3)
    axes[1].axvline(
        1 + int(np.argmin(stopped["val_loss"])), color="gray", linestyle=":", label="early stopping keeps this"
    )
    for axis in axes:
        axis.legend(frameon=False)
    figure.savefig("overfitting.png", dpi=110)


if __name__ == "__main__":
    main()
