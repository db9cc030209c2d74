"""What fit and its kin show: a bar while an epoch runs, a line when it is done."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from typing import Any

_REFRESH_SECONDS = 0.1


class Progress:
    """A bar of the batches of one pass, on a terminal or in a notebook only; ``verbose`` 1 shows it.

    >>> from lanner.progress import Progress
    >>> with Progress("epoch 1/1", batches=10, verbose=0) as bar:
    ...     bar.advance({"loss": 0.5})
    """

    def __init__(self, label: str, batches: int | None, verbose: int) -> None:
        self._bar: Any = None
        self._due = 0.0
        if verbose == 1:
            # Untyped, and slow to import: only where a bar is shown.
            tqdm = importlib.import_module("tqdm.auto").tqdm
            self._bar = tqdm(total=batches, desc=label, unit="batch", leave=False, disable=None, dynamic_ncols=True)
            if self._bar.disable:
                self._bar = None

    @property
    def due(self) -> bool:
        """Whether figures would be shown now: computing them for each batch would cost time."""
        return self._bar is not None and time.perf_counter() >= self._due

    def advance(self, figures: Mapping[str, float] | None = None) -> None:
        """One batch more; with the figures so far, where there are any."""
        if self._bar is None:
            return
        if figures is not None:
            self._bar.set_postfix_str("  ".join(f"{k} {number(v)}" for k, v in figures.items()), refresh=False)
            self._due = time.perf_counter() + _REFRESH_SECONDS
        self._bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()


def epoch_line(epoch: int, epochs: int, seconds: float, figures: Mapping[str, float]) -> str:
    """What is printed after an epoch.

    >>> from lanner.progress import epoch_line
    >>> epoch_line(0, 3, 2.345, {"loss": 0.25, "val_loss": 0.5})
    'epoch 1/3     2.3 s   loss 0.2500   val_loss 0.5000'
    """
    label = f"epoch {epoch + 1:{len(str(epochs))}}/{epochs}"
    return "   ".join([label, f"{duration(seconds):>7}", *(f"{k} {number(v)}" for k, v in figures.items())])


def duration(seconds: float) -> str:
    """A time as people read it.

    >>> from lanner.progress import duration
    >>> duration(0.0123), duration(3.21), duration(75), duration(7384)
    ('12 ms', '3.2 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def number(value: float) -> str:
    """Four digits behind the point where they say enough.

    >>> from lanner.progress import number
    >>> number(0.25), number(3e-5), number(0.0)
    ('0.2500', '3.000e-05', '0.0000')
    """
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"
