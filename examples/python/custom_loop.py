"""A training loop of one's own: a module, a loader, an optimizer, a schedule, clipped gradients.

    python custom_loop.py [--short]

What `ln.Model.fit` does, spelled out, on the breast-cancer table (W. Wolberg et al.).
"""

import argparse

import lanner as ln
import numpy as np
from lanner import nn, optim


class Classifier(nn.Module):
    """A residual block between two linear layers."""

    def __init__(self, features, hidden, classes):
        super().__init__()
        self.enter = nn.Linear(features, hidden)
        self.block = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )
        self.leave = nn.Linear(hidden, classes)

    def forward(self, x):
        h = self.enter(x)
        return self.leave(h + self.block(h))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--short", action="store_true", help="5 epochs")
    args = parser.parse_args()
    epochs = 5 if args.short else args.epochs

    ln.manual_seed(0)
    x, y = ln.datasets.breast_cancer()
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    train, test = ln.data.random_split(ln.data.TensorDataset(x, y), [0.8, 0.2], seed=0)

    net = Classifier(x.shape[1], 32, 2)
    optimizer = optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    loader = ln.data.DataLoader(train, batch_size=32, shuffle=True, seed=0)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=epochs * len(loader))
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(xb), yb)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(xb)
        net.eval()
        right = 0
        with ln.no_grad():
            for xb, yb in ln.data.DataLoader(test, batch_size=256):
                right += ln.sum(ln.argmax(net(xb), axis=1) == yb).item()
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1:3d}  loss {total / len(train):.4f}  test accuracy {right / len(test):.1%}")


if __name__ == "__main__":
    main()
