"""What a compiled step runs: its kernels as a table, as a trace, as a picture."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanner import _core

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plan", "PlanSummary"]

_PRODUCTS = ("matmul", "linear", "conv", "attention", "dropout_attention", "rnn", "lstm", "gru")
_COLORS = {
    "product": "#4c78a8",
    "normalization": "#72b7b2",
    "pooling": "#eeca3b",
    "loss": "#e45756",
    "update": "#b279a2",
    "elementwise": "#9d9da1",
}


class Plan:
    """The plan of a compiled step: the kernels that a replay runs, and the memory that they run in.

    ``compiled.plan`` gives it, after the first call.

    >>> step = ln.compile(lambda x: ln.relu(x * 2 + 1))
    >>> y = step(ln.ones(8))
    >>> plan = step.plan
    >>> len(plan.recorded) >= len(plan.kernels) >= 1
    True
    """

    def __init__(self, core: _core.Plan) -> None:
        self._core = core

    @property
    def recorded(self) -> list[str]:
        """The names of the ops that were recorded, in order."""
        return [step.name for step in self._core.recorded()]

    @property
    def kernels(self) -> list[str]:
        """The names of the kernels that a replay runs, in order; fused ones are joined by "+"."""
        return [step.name for step in self._core.steps()]

    def memory(self) -> dict[str, int]:
        """Bytes: "arena" (what is computed and used up inside; the plans of one function work in the same), "unshared"
        (if nothing in it shared memory), "packed" (weights in the order in which kernels read them) and "constants"
        (computed once from weights).

        >>> step = ln.compile(lambda x: ln.sum(ln.exp(x) * x)); y = step(ln.ones(1000))
        >>> sorted(step.plan.memory())
        ['arena', 'constants', 'packed', 'unshared']
        """
        return dict(self._core.memory())

    def summary(self, verbose: int = 1) -> PlanSummary:
        """Print each kernel's time, FLOPs, bytes and share of the machine's ceiling, and return the table.

        The step runs some times for it on random numbers (whole ones are those that it was recorded with) and on
        copies of all that it writes to: weights and statistics stay as they are. The share is of the FLOP/s that the
        cores can do for products and convolutions, of the bandwidth of the memory that its operands fit in for
        everything else.

        >>> step = ln.compile(lambda x: x @ x); y = step(ln.ones((16, 16)))
        >>> print(step.plan.summary(verbose=0))  # doctest: +ELLIPSIS
        kernel ...
        """
        result = PlanSummary([_row(step) for step in self._core.steps(measure=True)], self.memory(), self._core.parts)
        if verbose:
            print(result)
        return result

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write the times of one replay, measured as for ``summary``, as a trace that ui.perfetto.dev opens.

        >>> import json, pathlib, tempfile
        >>> step = ln.compile(lambda x: ln.exp(x).sum()); y = step(ln.ones(100))
        >>> path = pathlib.Path(tempfile.mkdtemp(), "step.json"); step.plan.trace(path)
        >>> sorted(json.loads(path.read_text()))
        ['displayTimeUnit', 'traceEvents']
        """
        events, now = [], 0.0
        for step in self._core.steps(measure=True):
            took = step.seconds * 1e6
            arguments = {"inputs": step.inputs, "outputs": step.outputs, "FLOPs": step.flops, "bytes": step.bytes}
            events.append({"name": step.name, "ph": "X", "ts": now, "dur": took, "pid": 1, "tid": 1, "args": arguments})
            now += took
        part = f"{os.fspath(path)}.part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": events, "displayTimeUnit": "ns"}, file)
        os.replace(part, path)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the graph before fusion (left) and after (right), with matplotlib; saved to ``path`` where it is given.

        >>> step = ln.compile(lambda x: ln.relu(x @ x + 1)); y = step(ln.ones((4, 4)))
        >>> len(step.plan.plot().axes)
        2
        """
        from matplotlib.figure import Figure

        graphs = [self._core.recorded(), self._core.steps()]
        layouts = [_Layout(steps) for steps in graphs]
        rows = max(layout.rows for layout in layouts)
        figure = Figure(
            figsize=(3 + 2.1 * sum(layout.columns for layout in layouts), 1.2 + 0.42 * rows), layout="constrained"
        )
        ratios = [max(1.2, layout.columns) for layout in layouts]
        titles = [f"recorded: {len(graphs[0])} ops", f"replayed: {len(graphs[1])} kernels"]
        axes = figure.subplots(1, 2, width_ratios=ratios)
        for axis, layout, title in zip(axes, layouts, titles, strict=True):
            layout.draw(axis, rows)
            axis.set_title(title, fontsize=11)
        if path is not None:
            figure.savefig(path, dpi=110)
        return figure


@dataclass
class PlanSummary:
    """The kernels of a plan as rows of (name, layer, output, seconds, FLOPs, bytes, share); ``str()`` draws them."""

    rows: list[tuple[str, str, str, float, float, float, float]]
    memory: dict[str, int]
    parts: int = 1

    @property
    def seconds(self) -> float:
        """The sum of the kernels' times."""
        return sum(row[3] for row in self.rows)

    def __str__(self) -> str:
        lines: list[Sequence[str]] = [
            ("kernel", "layer", "output", "us", "% of time", "GFLOP/s", "GB/s", "% of ceiling")
        ]
        total = self.seconds or 1.0
        for name, layer, output, seconds, flops, moved, share in self.rows:
            rate = 1e-9 / max(seconds, 1e-9)
            lines.append(
                (
                    name,
                    layer,
                    output,
                    f"{seconds * 1e6:.1f}",
                    f"{100 * seconds / total:.0f}",
                    f"{flops * rate:.3g}" if name.startswith(_PRODUCTS) else "",
                    f"{moved * rate:.3g}",
                    f"{100 * share:.0f}",
                )
            )
        widths = [max(len(line[i]) for line in lines) for i in range(8)]

        def draw(line: Sequence[str]) -> str:
            cells = [t.ljust(w) if i < 3 else t.rjust(w) for i, (t, w) in enumerate(zip(line, widths, strict=True))]
            return "  ".join(cells).rstrip()

        rule = "─" * (sum(widths) + 14)
        flops = sum(row[4] for row in self.rows if row[0].startswith(_PRODUCTS))
        m = self.memory
        foot = (
            f"{len(self.rows)} kernels, {total * 1e6:.0f} us, {flops / 1e6:.1f} MFLOPs in products = "
            f"{flops / total / 1e9:.0f} GFLOP/s, {100 * flops / total / _core.peak_flops():.0f} % of the ceiling\n"
            f"arena {_mib(m['arena'])} (unshared {_mib(m['unshared'])}), packed weights {_mib(m['packed'])}, "
            f"constants {_mib(m['constants'])}"
        )
        if self.parts > 1:
            foot += (
                f"\n{self.parts} parts of the samples go through it, each on one thread; the figures are of one part"
            )
        return "\n".join([draw(lines[0]), rule, *map(draw, lines[1:]), rule, foot])


def _mib(count: int) -> str:
    return f"{count / 2**20:.2f} MiB"


def _row(step: _core.PlanStep) -> tuple[str, str, str, float, float, float, float]:
    seconds = max(step.seconds, 1e-9)
    if step.name.startswith(_PRODUCTS):
        share = step.flops / seconds / _core.peak_flops()
    else:
        share = step.bytes / seconds / _core.peak_bandwidth(step.bytes)
    output = step.outputs[0] if step.outputs else ""
    return step.name, step.scope, output, step.seconds, step.flops, step.bytes, share


def _kind(name: str) -> str:
    for kind, beginnings in (
        ("product", _PRODUCTS),
        ("normalization", ("batch_norm", "layer_norm", "group_norm", "rms_norm", "softmax", "log_softmax")),
        ("pooling", ("max_pool", "avg_pool", "pool_", "upsample")),
        ("loss", ("cross_entropy", "nll_loss", "binary_cross")),
    ):
        if name.startswith(beginnings):
            return kind
    return "update" if name.endswith("_step") else "elementwise"


class _Layout:
    """Nodes in rows: each below all that it reads from, where there is room right below what it waited for last."""

    def __init__(self, steps: list[_core.PlanStep]) -> None:
        self.steps = steps
        origin: dict[int, int] = {}
        self.edges: list[tuple[int, int]] = []
        row: list[int] = []
        awaited: list[int | None] = []  # of those that a node reads from, the lowest
        for i, step in enumerate(steps):
            sources = sorted({origin[b] for b in step.input_ids if b in origin})
            self.edges += [(j, i) for j in sources]
            awaited.append(max(sources, key=lambda j: row[j], default=None))
            row.append(1 + max((row[j] for j in sources), default=-1))
            for b in step.output_ids:
                origin[b] = i
        below = [0] * len(steps)  # rows that still hang on a node: the longest way down keeps its column
        for j, i in reversed(self.edges):
            below[j] = max(below[j], below[i] + 1)
        columns = [0] * len(steps)
        taken: defaultdict[int, set[int]] = defaultdict(set)
        for i in sorted(range(len(steps)), key=lambda i: (row[i], -below[i])):
            parent = awaited[i]
            column = 0 if parent is None else columns[parent]
            nearest = sorted(range(column + len(taken[row[i]]) + 1), key=lambda c: (abs(c - column), c))
            columns[i] = next(c for c in nearest if c not in taken[row[i]])
            taken[row[i]].add(columns[i])
        self.places = [(float(x), float(y)) for x, y in zip(columns, row, strict=True)]
        self.rows = max(row, default=0) + 1
        self.columns = 1 + max(columns, default=0)

    def draw(self, axis: Any, rows: int) -> None:
        for a, b in self.edges:
            (x0, y0), (x1, y1) = self.places[a], self.places[b]
            axis.plot([x0, x1], [y0 + 0.28, y1 - 0.28], color="#bbbbbb", linewidth=0.7, zorder=1)
        for step, (x, y) in zip(self.steps, self.places, strict=True):
            shape = step.outputs[0].split("[")[-1].rstrip("]") if step.outputs else ""
            axis.text(
                x,
                y,
                f"{step.name}\n{shape}" if shape else step.name,
                ha="center",
                va="center",
                fontsize=6.5,
                color="white",
                zorder=2,
                bbox={"boxstyle": "round,pad=0.3", "facecolor": _COLORS[_kind(step.name)], "edgecolor": "none"},
            )
        axis.set_xlim(-0.7, self.columns - 0.3)
        axis.set_ylim(rows - 0.4, -0.6)
        axis.axis("off")
