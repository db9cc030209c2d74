"""Reading a state dict into the tensors of a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lanner import _core
from lanner._core import Tensor
from lanner.nn.parameter import overwrite


class IncompatibleKeys(NamedTuple):
    """What a state dict had no value for, and what it held that has no place."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<all keys matched>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def load_state(name: str, own: Mapping[str, Tensor], state_dict: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """Copy the values of ``state_dict`` into the tensors ``own`` of a module of class ``name``; all or none of them."""
    missing = [key for key in own if key not in state_dict]
    unexpected = [key for key in state_dict if key not in own]
    values = {key: _as_tensor(state_dict[key], key) for key in own if key in state_dict}
    sizes = [
        f"{key}: {value.shape} in the state dict, {own[key].shape} in the module"
        for key, value in values.items()
        if value.shape != own[key].shape
    ]
    problems = ["\n    ".join(["sizes that differ:", *sizes])] if sizes else []
    if strict and missing:
        problems.insert(0, "missing: " + ", ".join(missing))
    if strict and unexpected:
        problems.insert(0, "unexpected: " + ", ".join(unexpected))
    if problems:
        kind = _core.ShapeError if len(problems) == 1 and sizes else _core.Error
        raise kind("\n  ".join([f"load_state_dict: the state dict does not fit {name}", *problems]))
    for key, value in values.items():
        overwrite(own[key], value.to(own[key].dtype))
    return IncompatibleKeys(missing, unexpected)


def _as_tensor(value: Any, key: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if type(value).__module__.partition(".")[0] == "torch":  # bfloat16 does not pass through NumPy
        return _core.from_dlpack(value.detach().cpu().contiguous())
    try:
        return _core.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"load_state_dict: {key} must be a tensor or an array, got {type(value).__name__}") from error
