"""The figures of a training, epoch by epoch."""

from __future__ import annotations

import os
from typing import Any


class History:
    """``history`` has a list for each figure, ``epoch`` the number of each epoch, counted from 0.

    >>> history = ln.History()
    >>> history.append(0, {"loss": 0.5, "val_loss": 0.6})
    >>> history.append(1, {"loss": 0.3, "val_loss": 0.4})
    >>> history.history["val_loss"], history.epoch
    ([0.6, 0.4], [0, 1])
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def append(self, epoch: int, figures: dict[str, float]) -> None:
        """Add the figures of an epoch. One that comes late, or stays away, is NaN where it is missing."""
        for name in figures:
            self.history.setdefault(name, [float("nan")] * len(self.epoch))
        for name, values in self.history.items():
            values.append(float(figures.get(name, float("nan"))))
        self.epoch.append(epoch)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the curves, training and validation together, and write them to ``path`` (.png, .svg, .pdf).

        Returns the Matplotlib figure; without ``path`` it is one of pyplot's, which ``plt.show()`` shows.

        >>> import os, tempfile
        >>> history = ln.History()
        >>> history.append(0, {"loss": 0.5})
        >>> figure = history.plot(os.path.join(tempfile.mkdtemp(), "curves.png"))
        """
        if not self.epoch:
            raise ValueError("History.plot: there is no epoch to draw")
        try:
            from matplotlib.figure import Figure
            from matplotlib.ticker import MaxNLocator
        except ImportError:
            raise ImportError("History.plot draws with Matplotlib: pip install matplotlib") from None

        panels = [name for name in self.history if not name.startswith("val_") or name[4:] not in self.history]
        columns = min(len(panels), 3)
        rows = -(-len(panels) // columns)
        size = (0.8 + 4.2 * columns, 0.4 + 3.1 * rows)
        if path is None:
            import matplotlib.pyplot as plt

            figure: Any = plt.figure(figsize=size, layout="constrained")
        else:
            figure = Figure(figsize=size, layout="constrained")
        epochs = [epoch + 1 for epoch in self.epoch]
        for axes, name in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
            self._panel(axes, epochs, name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in figure.axes[len(panels) :]:
            axes.remove()
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _panel(self, axes: Any, epochs: list[int], name: str) -> None:
        # Colours that people with any colour vision tell apart (Okabe and Ito).
        lines = [(name, "training", "#0072B2", "-"), ("val_" + name, "validation", "#D55E00", "-")]
        marker = "o" if len(epochs) <= 30 else ""
        for key, label, colour, style in lines:
            if key in self.history:
                values = self.history[key]
                axes.plot(epochs, values, style, color=colour, marker=marker, markersize=4, linewidth=1.8, label=label)
        axes.set_title(name.removeprefix("val_").replace("_", " "), fontsize=12, fontweight="bold", loc="left")
        axes.set_xlabel("epoch", color="#444444")
        axes.grid(True, color="#e4e4e4", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#999999")
        axes.tick_params(color="#999999", labelcolor="#444444")
        axes.margins(x=0.03)
        if "val_" + name in self.history:
            axes.legend(frameon=False)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        return f"History({len(self.epoch)} epochs{': ' + last if last else ''})"
