"""``compile``: a function recorded once, and replayed as a plan from then on."""

from __future__ import annotations

import functools
import gc
import itertools
import linecache
import os
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, overload

from lanner import _core, recording
from lanner._core import Tensor
from lanner.plan import Plan

__all__ = ["Compiled", "compile"]

Precision = Literal["float32", "bf16"]

_changes = recording.changes
_clock = itertools.count()
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class _Leaf:
    """Where in what a function returns its tensor number ``index`` stands."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class _Step:
    """A plan, when it may be replayed, and the form of what it returns."""

    def __init__(self, plan: _core.Plan, notes: recording.Notes, form: Any) -> None:
        self.plan, self.form = plan, form
        self.single = isinstance(form, _Leaf)
        self.modules = list(notes.modules.values())
        self.optimizers = list(notes.optimizers.values())
        self.updates = [update for guard in self.optimizers for update in guard.updates]
        self.numbers: list[int] = []  # of the changes up to which all was found unchanged
        self.structure: int | None = None  # the first of them
        self.used = next(_clock)

    def lasts(self) -> bool:
        """Whether it can ever be used again."""
        return all(guard.lasts() for guard in self.modules) and all(guard.lasts() for guard in self.optimizers)

    def holds(self) -> bool:
        """Whether the modules are in the modes in which they were recorded."""
        return all(guard.holds() for guard in self.modules)

    def follow(self) -> bool:
        """Take over the options that optimizers have now; False where other options need another recording."""
        for update in self.updates:
            version = update.group.version
            if version == update.version:
                continue
            if update.redo is None or update.group.layout() != update.layout:
                return False
            self.plan.set_attributes(update.begin, update.end, _core.capture_attributes(update.redo))
            update.version = version
        return True

    def returned(self, outputs: list[Tensor]) -> Any:
        return outputs[0] if self.single else _filled(self.form, iter(outputs))


class Compiled:
    """What `compile` returns: called as the function is; ``plan`` tells how it runs."""

    def __init__(
        self,
        function: Callable[..., Any],
        precision: Precision = "float32",
        cache_size: int = 32,
        *,
        _halts: bool = False,
        _sets_modes: bool = False,
    ) -> None:
        if not callable(function):
            raise TypeError(f"compile: expected a function or a module, got {type(function).__name__}")
        if precision not in ("float32", "bf16"):
            raise ValueError(f'compile: precision must be "float32" or "bf16", got {precision!r}')
        if cache_size < 1:
            raise ValueError(f"compile: cache_size must be at least 1, got {cache_size}")
        self.precision: Precision = precision
        self.cache_size = cache_size
        # Whether the function may end early; whether it puts modules into the modes that it wants by itself.
        self._function, self._halts, self._sets_modes = function, _halts, _sets_modes
        self._steps: dict[Any, list[_Step]] = {}  # by key; the one used last in front
        # By key: what was recorded first, made tensors that outlive it, and may go otherwise the next time.
        self._first: dict[Any, _Step] = {}
        self._last: _Step | None = None
        self._last_call = _core._LastCall()  # for calls like the one before
        self._lock = threading.RLock()
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Replay the plan for arguments like these, or record one."""
        result = self._last_call.replay(args, kwargs, _changes)
        if result is not None:
            return result
        inputs, key = _core._arguments(args, kwargs)
        if key is None:
            return self._function(*args, **kwargs)
        try:
            steps = self._steps.get(key)
        except TypeError as error:
            raise TypeError(
                f"{self._name}: what is no tensor among the arguments of a compiled function must be hashable ({error})"
            ) from None
        step = steps[0] if steps else None
        if step is not None and (step.numbers != _changes or not step.plan.valid()):
            step = None
        if step is None:
            with self._lock:
                step = self._chosen(key)  # another thread may have recorded it meanwhile
                if step is None:
                    return self._record(key, inputs, args, kwargs)
        outputs = step.plan.run(inputs)
        step.used = next(_clock)
        self._last = step
        if self._halts and step.plan.halted:
            raise _core.Halted("halt_unless_finite: the number is NaN or infinite")
        if step.single and not self._halts and not kwargs:
            self._last_call.keep(args, step.plan, step.numbers)
        else:
            self._last_call.clear()
        return step.returned(outputs)

    @property
    def _name(self) -> str:
        return getattr(self._function, "__name__", type(self._function).__name__)

    @property
    def plan(self) -> Plan | None:
        """The plan of the last call, or None before the first.

        >>> twice = ln.compile(lambda x: x * 2)
        >>> twice(ln.ones(3)).tolist()
        [2.0, 2.0, 2.0]
        >>> twice.plan.kernels
        ['multiply']
        """
        return Plan(self._last.plan) if self._last is not None else None

    @property
    def plans(self) -> list[Plan]:
        """All plans that are kept, the one used last in front.

        >>> twice = ln.compile(lambda x: x * 2)
        >>> _ = twice(ln.ones(3)), twice(ln.ones(4)), twice(ln.zeros(3))
        >>> len(twice.plans)
        2
        """
        with self._lock:
            steps = [step for kept in self._steps.values() for step in kept]
        return [Plan(step.plan) for step in sorted(steps, key=lambda step: -step.used)]

    def forget(self) -> None:
        """Let go of all plans: the next call records anew.

        >>> twice = ln.compile(lambda x: x * 2)
        >>> _ = twice(ln.ones(3)); twice.forget(); twice.plans
        []
        """
        with self._lock:
            self._steps = {}
            self._first.clear()
            self._last = None
            self._last_call.clear()

    # Both under the lock.

    def _chosen(self, key: Any) -> _Step | None:
        """The plan for `key` that may be used as things stand now."""
        if key not in self._steps:
            return None
        numbers = list(_changes)
        structure = numbers[recording.STRUCTURE]
        steps = [step for step in self._steps[key] if step.structure == structure or step.lasts()]
        for step in steps:
            if step.structure != structure and not (self._sets_modes or step.holds()):
                continue
            if not step.follow() or not step.plan.valid():
                continue
            step.structure, step.numbers = structure, numbers
            self._steps[key] = [step, *(other for other in steps if other is not step)]
            return step
        self._steps[key] = steps
        return None

    def _record(self, key: Any, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function, and keep the plan of what it did."""
        recorder = _core.Recorder(inputs)
        first = self._first.pop(key, None)
        again = first is not None and first.lasts()
        try:
            with recording.noted(recorder) as notes:
                given = iter(recorder.inputs)
                args, kwargs = _replaced(args, given), _replaced(kwargs, given)
                del given
                output = self._function(*args, **kwargs)
                tensors: list[Tensor] = []
                form = _form(output, tensors, self._name)
                del output, args, kwargs
                tensors = [t.detach() for t in tensors]
            if again:
                gc.collect()  # what only hangs in a cycle does not outlive the step
            plan = recorder.finish(tensors, self.precision, beside=self._last.plan if self._last else None)
        except _core.RecordingError as error:
            recorder.abandon()
            raise _located(error) from None
        except BaseException:
            recorder.abandon()
            raise
        step = _Step(plan, notes, form)
        self._last = step
        self._last_call.clear()
        moved = notes.moved_tensors or (notes.moved_modes and not self._sets_modes)
        if (plan.provisional or moved) and not again:
            self._first[key] = step  # momentum, say, made at the first step: the second one is what repeats
            if len(self._first) > self.cache_size:
                del self._first[next(iter(self._first))]
            return step.returned(tensors)
        # The first call too gives what a replay gives, to the last bit.
        recorder.undo()
        outputs = plan.run(inputs)
        self._keep(key, step)
        return step.returned(outputs)

    def _keep(self, key: Any, step: _Step) -> None:
        numbers = list(_changes)
        if step.lasts() and (self._sets_modes or step.holds()):
            step.structure, step.numbers = numbers[recording.STRUCTURE], numbers
        self._steps[key] = [step, *self._steps.get(key, ())][:4]
        if len(self._steps) > self.cache_size:
            oldest = min(
                (k for k in self._steps if k != key), key=lambda k: max(s.used for s in self._steps[k] or [step])
            )
            del self._steps[oldest]

    def __reduce__(self) -> Any:
        make = functools.partial(Compiled, _halts=self._halts, _sets_modes=self._sets_modes)
        return make, (self._function, self.precision, self.cache_size)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a function's: a method of ``instance``."""
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_function" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._function, name)

    def __repr__(self) -> str:
        return f"compile({self._function!r}, precision={self.precision!r})"


@overload
def compile(function: Callable[..., Any], *, precision: Precision = ..., cache_size: int = ...) -> Compiled: ...


@overload
def compile(
    function: None = None, *, precision: Precision = ..., cache_size: int = ...
) -> Callable[[Callable[..., Any]], Compiled]: ...


def compile(
    function: Callable[..., Any] | None = None, *, precision: Precision = "float32", cache_size: int = 32
) -> Compiled | Callable[[Callable[..., Any]], Compiled]:
    """Record ``function`` (or a module) at its first call, and replay the recorded plan at the following ones.

    A plan is one list of kernels with all memory placed beforehand: no Python, no allocation. It holds all that the
    engine did, also ``backward()``, an optimizer's step and what a layer keeps. Arguments are tensors and arrays, in
    nested tuples, lists and dicts; anything else among them must be hashable, and is a constant of the plan. Each
    combination of shapes, dtypes and constants has a plan of its own, of which ``cache_size`` are kept; a step is also
    recorded anew where a module's mode, its parameters or its attributes changed.

    >>> net = ln.nn.Linear(3, 2)
    >>> optimizer = ln.optim.SGD(net.parameters(), lr=0.1)
    >>> @ln.compile
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = ln.nn.functional.mse_loss(net(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> losses = [step(ln.ones((4, 3)), ln.zeros((4, 2))).item() for _ in range(5)]
    >>> losses[-1] < losses[0]
    True

    What a replay does not see: Python itself. Prints happen while recording alone, and other variables are as they were
    then. A step that reads a value (``item()``, ``if x > 0``) or whose shapes depend on data raises ``RecordingError``,
    which names the line. Results have no history on the tape: call ``backward()`` inside.

    >>> @ln.compile
    ... def halved(x):
    ...     return x / 2 if x.sum().item() > 1 else x
    >>> try:
    ...     halved(ln.ones(3))
    ... except ln.RecordingError as error:
    ...     print(str(error).splitlines()[-1].strip())
    return x / 2 if x.sum().item() > 1 else x

    ``precision="bf16"`` computes matrix products and convolutions of bfloat16 operands, added up in float32; tensors
    stay float32. Within ``detect_anomaly`` the function runs op by op.

    A convolution can be computed in several ways, which differ in the last bits. With ``LANNER_AUTOTUNE=1`` in the
    environment those that should take about as long are timed, once for a shape; what is found is kept in
    ``~/.cache/lanner``, so that the next run takes the same way. Without it an estimate decides, always alike.
    """
    if function is None:
        return lambda f: Compiled(f, precision, cache_size)
    return Compiled(function, precision, cache_size)


def _replaced(value: Any, inputs: Iterator[Tensor]) -> Any:
    """`value` with the tensors and arrays in it taken from `inputs`, in the order of `_core._arguments`."""
    if isinstance(value, Tensor):
        return next(inputs)
    if isinstance(value, tuple):
        items = [_replaced(item, inputs) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [_replaced(item, inputs) for item in value]
    if isinstance(value, dict):
        return {name: _replaced(item, inputs) for name, item in value.items()}
    return next(inputs) if _is_array(value) else value


def _is_array(value: Any) -> bool:
    module = type(value).__module__
    if not module.startswith("numpy") and not hasattr(value, "__array_interface__"):
        return False
    import numpy as np

    return isinstance(value, np.ndarray)


def _form(value: Any, tensors: list[Tensor], name: str) -> Any:
    """What `_filled` makes `value` of again; its tensors are appended to `tensors`."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return _Leaf(len(tensors) - 1)
    if isinstance(value, tuple):
        items = [_form(item, tensors, name) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [_form(item, tensors, name) for item in value]
    if isinstance(value, dict):
        return {key: _form(item, tensors, name) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return value
    raise TypeError(
        f"{name}: a compiled function returns tensors, numbers, strings or None in tuples, lists and dicts, got "
        f"{type(value).__name__}"
    )


def _filled(form: Any, outputs: Iterator[Tensor]) -> Any:
    if isinstance(form, _Leaf):
        return next(outputs)
    if isinstance(form, tuple):
        items = [_filled(item, outputs) for item in form]
        return type(form)(*items) if hasattr(form, "_fields") else tuple(items)
    if isinstance(form, list):
        return [_filled(item, outputs) for item in form]
    if isinstance(form, dict):
        return {key: _filled(item, outputs) for key, item in form.items()}
    return form


def _located(error: Any) -> Exception:
    """The same error with the user's line that was the reason: the last one outside lanner."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if not os.path.abspath(filename).startswith(_HERE):
            found = filename, trace.tb_lineno
        trace = trace.tb_next
    message = str(error)
    if found is not None:
        filename, number = found
        line = linecache.getline(filename, number).strip()
        message += f"\n  {filename}:{number}" + (f"\n    {line}" if line else "")
    located: Exception = _core.RecordingError(message)
    return located.with_traceback(error.__traceback__)
