"""Where in a model an error happened: the path that stands in front of its message."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lanner import _core

if TYPE_CHECKING:
    from lanner.nn.module import Module

# While anomalies are looked for: the modules whose forward is running, with their names, outermost first.
_running = threading.local()


def enter(module: Module) -> None:
    """Tell the engine that the ops of ``module`` run next."""
    stack = _running.__dict__.setdefault("stack", [])
    name = (name_within(stack[-1][0], module) or type(module).__name__) if stack else ""
    _core.push_scope(name)
    stack.append((module, name))


def leave() -> None:
    """Tell the engine that the module entered last is done."""
    _running.__dict__["stack"].pop()
    _core.pop_scope()


def name_within(parent: Module, module: Module) -> str | None:
    """Return the path of ``module`` below ``parent``, through containers that were not called themselves."""
    for path, candidate in parent.named_modules():
        if candidate is module and path:
            return path
    return None


def locate(error: Any, module: Module) -> None:
    """Put the path of the layer whose forward raised `error` in front of its message, one level on each call."""
    inner: Module | None = getattr(error, "_module", None)
    if inner is None:
        # What the engine says in anomaly mode begins with the path already.
        scope = ".".join(name for _, name in _running.__dict__.get("stack", ()) if name)
        error._message, error._path = str(error).removeprefix(f"{scope}: "), ""
    elif inner is not module:
        name = name_within(module, inner) or type(inner).__name__
        error._path = f"{name}.{error._path}" if error._path else name
        error.args = (f"{error._path}: {error._message}",)
    error._module = module
