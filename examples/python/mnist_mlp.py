"""A multilayer perceptron on MNIST: 784-256-128-10, dropout, a cosine schedule, early stopping.

python mnist_mlp.py [--short]
"""

import argparse
import time

import lanner as ln
from lanner import nn, optim


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="one epoch on 4000 digits")
    args = parser.parse_args()

    ln.manual_seed(args.seed)
    x, y = ln.datasets.mnist("train")
    x_test, y_test = ln.datasets.mnist("test")
    if args.short:
        args.epochs, x, y, x_test, y_test = 1, x[:4000], y[:4000], x_test[:1000], y_test[:1000]

    net = nn.Sequential(
        nn.Rescaling(1 / 255), nn.Flatten(),
        nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(128, 10),
    )  # fmt: skip
    model = ln.Model(net, loss="cross_entropy", optimizer=optim.AdamW(net.parameters(), 1e-3), metrics=["accuracy"])
    model.summary()
    schedule = optim.lr_scheduler.CosineAnnealingLR(model.optimizer, T_max=args.epochs)
    began = time.perf_counter()
    history = model.fit(
        x, y, batch_size=128, epochs=args.epochs, validation_split=0.1, seed=args.seed,
        callbacks=[
            ln.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: schedule.step()),
            ln.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
        ],
    )  # fmt: skip
    seconds = time.perf_counter() - began
    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    print(f"{len(history.epoch)} epochs in {seconds:.1f} s, test accuracy {accuracy:.2%}")
    history.plot("mnist_mlp.png")


if __name__ == "__main__":
    main()
