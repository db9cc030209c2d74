"""GPUs that lanner can use."""

from __future__ import annotations


def is_available() -> bool:
    """Whether this build has a CUDA backend and the machine a GPU for it.

    >>> ln.cuda.is_available()
    False
    """
    return False


def device_count() -> int:
    """How many GPUs lanner can use.

    >>> ln.cuda.device_count()
    0
    """
    return 0
