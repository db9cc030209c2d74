"""LeNet-5 learns MNIST: train, save, load in a new process, look at what it does.

    python mnist_lenet5.py            # three epochs
    python mnist_lenet5.py --short    # a few seconds, for a check

Writes lenet5.safetensors and lenet5.png. Y. LeCun et al., "Gradient-based learning applied to document recognition",
Proc. IEEE 86(11), 1998; here with max pooling and ReLU, as is usual today.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lanner as ln
import numpy as np
from lanner import nn, optim


def load_digits():
    """(name, training images, labels, test images, labels): MNIST, or scikit-learn's small digits if there is none."""
    try:
        return "MNIST", *ln.datasets.mnist("train"), *ln.datasets.mnist("test")
    except ln.datasets.DatasetNotFound as error:
        print(f"{error}\nTraining on scikit-learn's bundled 8x8 digits instead.")
    x, y = ln.datasets.digits()
    images = ln.tensor(x.reshape(-1, 1, 8, 8) * (255 / 16), dtype=ln.float32)
    images = nn.functional.upsample(images, size=(28, 28), mode="bilinear").to(ln.uint8).numpy()
    order = ln.random.permutation(len(y)).numpy()
    train, test = order[:1400], order[1400:]
    return "8x8 digits", images[train], y[train], images[test], y[test]


def lenet5():
    """Takes raw pixels, 0 to 255."""
    return nn.Sequential(
        nn.Rescaling(1 / 255),
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(),
        nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


def predictions_of_a_new_process(path, x):
    """What the saved model predicts when another Python process loads it."""
    code = """
import sys, numpy as np, lanner as ln
model, inputs, outputs = sys.argv[1:]
np.save(outputs, ln.Model.load(model).predict(np.load(inputs)))
"""
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "x.npy"), Path(folder, "y.npy")
        np.save(inputs, x)
        subprocess.run([sys.executable, "-c", code, path, inputs, outputs], check=True)
        return np.load(outputs)


def draw(path, name, history, net, x, y, predicted):
    """Curves, first-layer filters, confusion matrix, and some digits it got wrong."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(13, 8), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(1.1, 1, 1.1))
    epochs = [e + 1 for e in history.epoch]
    for row, (key, title) in enumerate((("loss", "Cross-entropy"), ("accuracy", "Accuracy"))):
        axis = figure.add_subplot(grid[row, 0])
        axis.plot(epochs, history.history[key], "o-", label="training")
        axis.plot(epochs, history.history[f"val_{key}"], "s--", label="test")
        axis.set(title=title, xlabel="epoch", xticks=epochs)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)

    filters = next(p for n, p in net.named_parameters() if n == "1.weight").detach().numpy()[:, 0]
    inner = grid[0, 1].subgridspec(2, 3)
    for i, weights in enumerate(filters):
        axis = figure.add_subplot(inner[i // 3, i % 3])
        limit = np.abs(filters).max()
        axis.imshow(weights, cmap="RdBu", vmin=-limit, vmax=limit)
        axis.set_axis_off()
        if i == 1:
            axis.set_title("First-layer filters")

    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (y, predicted), 1)
    axis = figure.add_subplot(grid[0, 2])
    axis.imshow(np.log1p(confusion), cmap="Blues")
    for i, j in zip(*np.nonzero(confusion), strict=True):
        axis.text(j, i, confusion[i, j], ha="center", va="center", fontsize=6, color="white" if i == j else "black")
    axis.set(title="Confusion matrix", xlabel="predicted", ylabel="true", xticks=range(10), yticks=range(10))

    wrong = np.flatnonzero(predicted != y)[:12]
    inner = grid[1, 1:].subgridspec(2, 6)
    for k, i in enumerate(wrong):
        axis = figure.add_subplot(inner[k // 6, k % 6])
        axis.imshow(x[i, 0], cmap="gray_r")
        axis.set_title(f"{y[i]}, not {predicted[i]}", fontsize=9)
        axis.set_axis_off()
    accuracy = (predicted == y).mean()
    figure.suptitle(
        f"LeNet-5 on {name}: {accuracy:.2%} of {len(y)} test digits, {(predicted != y).sum()} wrong (12 below)"
    )
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="one epoch on 4000 digits")
    args = parser.parse_args()

    ln.manual_seed(args.seed)
    name, x, y, x_test, y_test = load_digits()
    if args.short:
        args.epochs, x, y, x_test, y_test = 1, x[:4000], y[:4000], x_test[:1000], y_test[:1000]

    net = lenet5()
    model = ln.Model(
        net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(net.parameters(), 1e-3), metrics=["accuracy"]
    )
    began = time.perf_counter()
    history = model.fit(x, y, batch_size=64, epochs=args.epochs, validation_data=(x_test, y_test), seed=args.seed)
    seconds = time.perf_counter() - began
    result = model.evaluate(x_test, y_test)
    print(f"{name}: {args.epochs} epochs of {len(x)} digits in {seconds:.1f} s, test accuracy {result['accuracy']:.2%}")

    model.save("lenet5.safetensors")
    outputs = model.predict(x_test)
    if not np.array_equal(outputs, predictions_of_a_new_process("lenet5.safetensors", x_test)):
        sys.exit("the model loaded from lenet5.safetensors predicts something else")
    print("lenet5.safetensors: loaded in a new process, it gives the same predictions bit for bit")
    draw("lenet5.png", name, history, net, x_test, y_test, outputs.argmax(1))
    print("lenet5.png: curves, filters, confusion matrix, mistakes")


if __name__ == "__main__":
    main()
