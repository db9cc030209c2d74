"""The CPU: its instruction sets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lanner import _core


def available_isas() -> list[str]:
    """The instruction sets whose kernels this machine and build can run, slowest first.

    >>> "baseline" in ln.cpu.available_isas() or "neon" in ln.cpu.available_isas()
    True
    """
    return _core.available_isas()


@contextlib.contextmanager
def isa(name: str) -> Iterator[None]:
    """Inside, the kernels of another instruction set are in use, in all threads: for tests and measurements.

    >>> with ln.cpu.isa(ln.cpu.available_isas()[0]):
    ...     ln.add(ln.tensor([1]), 1).tolist()
    [2]
    """
    before = _core.isa()
    _core.set_isa(name)
    try:
        yield
    finally:
        _core.set_isa(before)
