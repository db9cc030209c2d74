"""The next day of an electricity transformer, hour by hour, from the four days before: an LSTM beside two plain rules.

    python forecast.py            # ETTh1, 17,420 hours of six loads and the oil's temperature
    python forecast.py --short    # a few seconds, for a check

The errors are those on the last fifth of the hours, of which the net has seen nothing. Writes forecast.png.
H. Zhou et al., "Informer: beyond efficient transformer for long sequence time-series forecasting", AAAI 2021.
"""

import argparse

import lanner as ln
import numpy as np
from lanner import nn, optim

PAST, AHEAD = 96, 24


class Forecaster(nn.Module):
    """Reads [N, 96, columns], standardised, and gives the 24 hours that follow [N, 24, columns].

    What it learns is the difference from the last hour and from the day before, mixed as suits each hour: the net has
    to say less, and a level that it has never seen is no trouble.
    """

    def __init__(self, columns, hidden, dropout):
        super().__init__()
        self.lstm = nn.LSTM(columns, hidden, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, AHEAD * columns)
        self.mix = nn.Parameter(ln.zeros((AHEAD, columns)))

    def forward(self, x):
        last = x[:, -1:]
        states, _ = self.lstm(x - last)
        change = self.head(self.drop(states[:, -1])).reshape((-1, AHEAD, x.shape[2]))
        share = ln.sigmoid(self.mix)
        return share * last + (1 - share) * x[:, -AHEAD:] + change


def draw(path, hours, past, truth, forecast, starts, names):
    """The column OT and one load, three forecasts each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 6), layout="constrained", sharey="row")
    for row, column in zip(axes, (names.index("OT"), names.index("HUFL")), strict=True):
        for axis, i in zip(row, starts, strict=True):
            before, after = range(-48, 0), range(AHEAD)
            axis.plot(before, past[i, -48:, column], color="gray", label="past")
            axis.plot(after, truth[i, :, column], "k", label="what came")
            axis.plot(after, past[i, -AHEAD:, column], ":", color="tab:orange", label="the day before")
            axis.plot(after, forecast[i, :, column], color="tab:blue", linewidth=2, label="LSTM")
            axis.set(title=f"{names[column]}, {str(hours[i]).replace('T', ', ')} h", xlabel="hours ahead")
            axis.grid(alpha=0.3)
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="32 units, one epoch")
    args = parser.parse_args()
    if args.short:
        args.epochs, args.hidden = 1, 32

    ln.manual_seed(args.seed)
    values, names, hours = ln.datasets.etth1()
    train, held_out = len(values) * 6 // 10, len(values) * 8 // 10
    mean, std = values[:train].mean(0), values[:train].std(0)
    series = (values - mean) / std
    x, y = ln.data.windows(series[:train], PAST, AHEAD)
    x_valid, y_valid = ln.data.windows(series[train - PAST : held_out], PAST, AHEAD)
    x_test, y_test = ln.data.windows(series[held_out - PAST :], PAST, AHEAD)  # whose first target is the first hour

    net = Forecaster(len(names), args.hidden, args.dropout)
    model = ln.Model(net, loss="mse", optimizer=optim.AdamW(net.parameters(), args.rate, weight_decay=0.01))
    best = ln.callbacks.EarlyStopping("val_loss", patience=4, restore_best_weights=True)
    model.fit(
        x, y, batch_size=64, epochs=args.epochs, validation_data=(x_valid, y_valid), callbacks=[best], seed=args.seed
    )

    forecast = model.predict(x_test)
    rules = {
        "LSTM": forecast,
        "persistence (the last hour goes on)": x_test[:, -1:],
        "the same hour of the day before": x_test[:, -AHEAD:],
    }
    errors = {name: np.square(guess - y_test).mean(axis=(0, 1)) for name, guess in rules.items()}
    print(f"\nMean squared error of {len(y_test)} forecasts of {AHEAD} hours, standardised by the training part:")
    print(f"{'':38}{'all':>7}" + "".join(f"{name:>7}" for name in names))
    for name, error in errors.items():
        print(f"{name:38}{error.mean():7.3f}" + "".join(f"{e:7.3f}" for e in error))

    starts = [500, 1500, 2500]
    past, truth, guess = (a * std + mean for a in (x_test, y_test, forecast))
    draw("forecast.png", hours[held_out:], past, truth, guess, starts, names)
    print("forecast.png: three of the forecasts")


if __name__ == "__main__":
    main()
