"""The CPU: its instruction sets, and the memory that tensors take."""

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


def memory_allocated() -> int:
    """Bytes that tensors, plans and workspaces of kernels take now.

    >>> before = ln.cpu.memory_allocated()
    >>> x = ln.zeros(2**18)
    >>> (ln.cpu.memory_allocated() - before) // 2**20
    1
    """
    return int(_core.allocator_stats()["in_use_bytes"])


def max_memory_allocated() -> int:
    """The most bytes that were taken at one time, since the start or the last ``reset_peak_memory_stats``.

    >>> ln.cpu.reset_peak_memory_stats()
    >>> before = ln.cpu.memory_allocated()
    >>> x = ln.zeros(2**18); x = None
    >>> (ln.cpu.max_memory_allocated() - before) // 2**20
    1
    """
    return int(_core.allocator_stats()["peak_bytes"])


def reset_peak_memory_stats() -> None:
    """Begin ``max_memory_allocated`` anew, from what is taken now.

    >>> ln.cpu.reset_peak_memory_stats()
    >>> ln.cpu.max_memory_allocated() >= ln.cpu.memory_allocated() > 0
    True
    """
    _core.reset_peak_bytes()
