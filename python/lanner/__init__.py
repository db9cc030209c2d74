"""lanner: a deep-learning engine that fits in the hand.

>>> x = ln.tensor([[1.0, 2.0]], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad.tolist()
[[2.0, 4.0]]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lanner import _core, cpu, cuda
from lanner._core import *  # noqa: F403
from lanner._core import __version__
from lanner.autodiff import Function, detect_anomaly, enable_grad, grad, gradcheck, no_grad, value_and_grad

# Loaded when first used, so that `import lanner` takes milliseconds.
_LAZY = {
    "nn": "lanner.nn",
    "optim": "lanner.optim",
    "data": "lanner.data",
    "datasets": "lanner.datasets",
    "random": "lanner.random",
    "callbacks": "lanner.callbacks",
    "metrics": "lanner.metrics",
    "Model": "lanner.model:Model",
    "History": "lanner.history:History",
    "save": "lanner.io:save",
    "load": "lanner.io:load",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lanner' has no attribute {name!r}")
    module, _, member = _LAZY[name].partition(":")
    value = importlib.import_module(module)
    value = getattr(value, member) if member else value
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
