"""What a step that is being recorded is told beside its ops: the modules that ran, the options that were read.

A plan is good for as long as what Python decided while it was recorded would be decided again. Whatever may change that
counts up one of two numbers, so that a call has two integers to compare where nothing happened.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lanner import _core
from lanner._core import Tensor

if TYPE_CHECKING:
    from lanner.nn.module import Module
    from lanner.optim.optimizer import Optimizer, ParamGroup

STRUCTURE, OPTIONS = 0, 1
# [number of the last change of modules, parameters or an optimizer's tensors, number of the last change of its options]
changes: list[int] = _core._changes()
_numbers = itertools.count(1)


def changed(what: int = STRUCTURE) -> int:
    """Note that something changed, under a number that no other change has."""
    number = next(_numbers)
    changes[what] = number
    return number


def _version_of(module: Module) -> tuple[int, int, int]:
    own = module.__dict__
    return own["_version"], own["_pre_hooks"].version, own["_hooks"].version


Places = list[tuple[Tensor, Tensor, bool]]


def _places(tensors: Iterable[Tensor]) -> Places:
    # Another handle, which stays where it is when `data` is assigned to, and keeps the place from being used again.
    return [(t, Tensor(t), t.requires_grad) for t in tensors]


def _unmoved(places: Places) -> bool:
    return all(hash(t) == hash(place) and t.requires_grad == wanted for t, place, wanted in places)


class ModuleGuard:
    """A module as it was when it ran, or (a list of modules, say) when another one that holds it had run."""

    def __init__(self, module: Module, ran: bool = True) -> None:
        own = module.__dict__
        self.module, self.ran = module, ran
        self.training = own["training"]
        tensors = [*own["_parameters"].values(), *own["_buffers"].values()]
        self.tensors = _places(t for t in tensors if t is not None)
        self.version = _version_of(module)

    def holds(self) -> bool:
        """Whether the plan may be used as it is."""
        return not self.ran or bool(self.module.__dict__["training"] == self.training)

    def lasts(self) -> bool:
        """Whether the plan can ever be used again."""
        if _version_of(self.module) != self.version:
            return False
        return _unmoved(self.tensors)


class Update:
    """One update of a group's parameters: which of the recorded ops it is, and how to find their attributes anew."""

    def __init__(self, group: ParamGroup, begin: int, end: int, redo: Callable[[], Any] | None) -> None:
        self.group, self.begin, self.end, self.redo = group, begin, end, redo
        self.version, self.layout = group.version, group.layout()


class OptimizerGuard:
    """An optimizer as it was when it made a step, and the updates that it made."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer, self.version = optimizer, optimizer._versions()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.tensors = _places(parameters)
        self.updates: list[Update] = []

    def lasts(self) -> bool:
        """Whether the plan can ever be used again."""
        if self.optimizer._versions() != self.version:
            return False
        return _unmoved(self.tensors)


class Notes:
    """What was noted in one recording."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder
        self.thread = threading.get_ident()
        self.modules: dict[int, ModuleGuard] = {}
        self.optimizers: dict[int, OptimizerGuard] = {}
        # Whether the step left a parameter frozen (or a module in a mode) otherwise than it was when it was used.
        self.moved_tensors = self.moved_modes = False

    def module(self, module: Module) -> None:
        """`module` runs."""
        if id(module) not in self.modules:
            self.modules[id(module)] = ModuleGuard(module)

    def optimizer(self, optimizer: Optimizer) -> OptimizerGuard:
        """`optimizer` makes a step."""
        return self.optimizers.setdefault(id(optimizer), OptimizerGuard(optimizer))

    def close(self) -> None:
        """The recording is over: how the step left its modules is how the next call finds them."""
        for guard in list(self.modules.values()):
            guard.version = _version_of(guard.module)
            self.moved_modes |= not guard.holds()
            guard.training = guard.module.__dict__["training"]
            for part in guard.module.modules():
                if id(part) not in self.modules:
                    self.modules[id(part)] = ModuleGuard(part, ran=False)
        for optimizer in self.optimizers.values():
            optimizer.version = optimizer.optimizer._versions()
        guards: list[ModuleGuard | OptimizerGuard] = [*self.modules.values(), *self.optimizers.values()]
        for guarded in guards:
            self.moved_tensors |= not _unmoved(guarded.tensors)
            guarded.tensors = _places(t for t, _, _ in guarded.tensors)


# Of all threads; mostly empty, so that a module that runs asks no more than that.
recordings: list[Notes] = []


def current() -> Notes | None:
    """The recording of this thread, if there is one."""
    thread = threading.get_ident()
    return next((notes for notes in recordings if notes.thread == thread), None)


@contextmanager
def noted(recorder: Any) -> Iterator[Notes]:
    """Inside, what runs on this thread is noted."""
    notes = Notes(recorder)
    recordings.append(notes)
    try:
        yield notes
    finally:
        recordings.remove(notes)
    notes.close()


def refuse(name: str, what: str, instead: str) -> None:
    """Raise where a step is recorded: `name` takes another tensor, which a plan could not repeat."""
    if recordings and current() is not None:
        raise _core.RecordingError(
            f"{name}: a {what} takes another tensor while the step is recorded, which a plan could not repeat; write "
            f"into it instead: {instead}"
        )


def made_once(make: Callable[[], Any]) -> Any:
    """Make a tensor of state that lasts: a recorded step begins with it and does not make it again."""
    if current() is None:
        return make()
    with _core.PauseRecording():
        return make()
