"""One row of the tables in `cases_*.py`: what a function computes, on which shapes, and how exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FLOATS = ("float32", "float64")
ALL_FLOATS = ("float16", "bfloat16", "float32", "float64")
INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass
class Case:
    """`fn(*tensors, **kwargs)` of lanner against `ref(*arrays, **kwargs)` of NumPy, which works in float64.

    `shapes`: a list of argument lists; each argument is a shape, or, where it is not floating data, an array.
    `low`, `high`: the range of the random inputs (a pair for all, or a list of pairs, one an argument).
    `reduces`: from the input arrays to the number of terms summed for one output element; widens the tolerance.
    `ulp`: the error of one output element, in units in the last place of the largest magnitude involved.
    `gradient`: whether `gradcheck` (first and second order, float64) applies; `order`: 1 where only the first does.
    """

    name: str
    fn: Callable[..., Any]
    shapes: Sequence[Sequence[Any]]
    ref: Callable[..., Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    dtypes: Sequence[str] = FLOATS
    low: Any = -2.0
    high: Any = 2.0
    reduces: Callable[..., int] = lambda *arrays: 1
    ulp: float = 4.0
    gradient: bool = True
    order: int = 2

    def __str__(self) -> str:
        return self.name

    def arrays(self, index: int, dtype: str, seed: int = 0) -> list[np.ndarray]:
        """Random inputs of row `index`, in `dtype` (bfloat16 as float32 that bfloat16 holds exactly)."""
        rng = np.random.default_rng(seed)
        made = []
        for i, shape in enumerate(self.shapes[index]):
            if isinstance(shape, np.ndarray):
                made.append(shape)
                continue
            low = self.low[i] if isinstance(self.low, (list, tuple)) else self.low
            high = self.high[i] if isinstance(self.high, (list, tuple)) else self.high
            if dtype in INTS:
                low = max(low, np.iinfo(dtype).min) if not dtype.startswith("u") else max(low, 0)
                made.append(rng.integers(int(low), int(high) + 1, shape).astype(dtype))
            elif dtype == "bool":
                made.append(rng.random(shape) < 0.5)
            elif dtype == "bfloat16":
                x = rng.uniform(low, high, shape).astype(np.float32)
                made.append((x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) if x.size else x)
            else:
                made.append(np.asarray(rng.uniform(low, high, shape), dtype))
        return made
