"""Gradients: switching the tape on and off, functions of gradients, ops of the user's own, checks."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from lanner import _core
from lanner._core import Tensor

R = TypeVar("R")


class _GradMode(contextlib.ContextDecorator):
    """Switches recording in this thread, as a context manager or a decorator."""

    _on: bool

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_core.set_grad_enabled(self._on))

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_enabled(self._before.pop())

    def _recreate_cm(self) -> _GradMode:
        return type(self)()


class no_grad(_GradMode):
    """Inside, ops are not recorded: faster, and parameters may be written to.

    >>> x = ln.ones(2, requires_grad=True)
    >>> with ln.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    _on = False


class enable_grad(_GradMode):
    """Inside, ops are recorded, also where an outer ``no_grad`` had switched that off.

    >>> x = ln.ones(2, requires_grad=True)
    >>> with ln.no_grad(), ln.enable_grad():
    ...     (x * 2).requires_grad
    True
    """

    _on = True


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Inside, the first op whose output, or gradient, has a NaN or an infinity raises an Error that names it.

    Every result is read once more: for debugging.

    >>> with ln.detect_anomaly():
    ...     ln.log(ln.tensor([0.0]))
    Traceback (most recent call last):
    lanner.Error: log: the output has a NaN or an infinity (shape [1]), though what it was computed from has none
    """
    before = _core.anomaly_enabled()
    _core.set_anomaly_enabled(True)
    try:
        yield
    finally:
        _core.set_anomaly_enabled(before)


def _as_list(tensors: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of ``sum(outputs * grad_outputs)`` by each of ``inputs``, as a tuple.

    With ``create_graph`` they are on the tape themselves, so gradients of any order can be taken. An input that took no
    part raises Error, or gives None with ``allow_unused``.

    >>> x = ln.tensor(3.0, requires_grad=True)
    >>> (g,) = ln.grad(x**3, x, create_graph=True)
    >>> (h,) = ln.grad(g, x)
    >>> g.item(), h.item()
    (27.0, 18.0)
    """
    seeds = None
    if grad_outputs is not None:
        seeds = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    keep = create_graph if retain_graph is None else retain_graph
    found = _core.grad(_as_list(outputs), _as_list(inputs), seeds, create_graph, keep, allow_unused)
    return tuple(found)


def value_and_grad(
    f: Callable[..., Tensor], argnums: int | Sequence[int] = 0
) -> Callable[..., tuple[Tensor, Tensor | tuple[Tensor, ...]]]:
    """A function that gives ``f``'s value and its gradient by the arguments ``argnums``. ``f`` returns one element.

    >>> f = ln.value_and_grad(lambda w: ((2 * w - 6) ** 2 / 2).sum())
    >>> value, slope = f(ln.tensor(5.0))
    >>> value.item(), slope.item()
    (8.0, 8.0)
    """
    single = isinstance(argnums, int)
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | tuple[Tensor, ...]]:
        with enable_grad():
            leaves = {i: args[i].detach().requires_grad_() for i in numbers}
            value = f(*[leaves.get(i, a) for i, a in enumerate(args)], **kwargs)
            found = grad(value, [leaves[i] for i in numbers], allow_unused=True)
        gradients = tuple(_core.zeros_like(leaves[i]) if g is None else g for i, g in zip(numbers, found, strict=True))
        return value.detach(), gradients[0] if single else gradients

    return wrapped


class FunctionContext:
    """What a Function's ``forward`` leaves for its ``backward``."""

    def __init__(self) -> None:
        self._saved: tuple[tuple[Tensor | None, int], ...] = ()
        self.needs_input_grad: tuple[bool, ...] = ()
        self._non_differentiable: tuple[Tensor, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for ``backward``; writing into one before then raises Error there."""
        self._saved = tuple((t, 0 if t is None else t._version) for t in tensors)

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Says that these outputs have no gradient."""
        self._non_differentiable = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What ``save_for_backward`` kept."""
        for t, version in self._saved:
            if t is not None and t._version != version:
                raise _core.Error("backward: a tensor kept by save_for_backward was written to in place afterwards")
        return tuple(t for t, _ in self._saved)


class Function:
    """An op of one's own: static methods ``forward(ctx, *args)`` and ``backward(ctx, *grads)``, called by ``apply``.

    ``backward`` gets a gradient for each output (None where there is none) and returns one for each argument of
    ``forward``, None for those that have none. Written with lanner's functions, it can be differentiated again.

    >>> class Cube(ln.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return 3 * x * x * g
    >>> x = ln.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad.item()
    12.0
    """

    @staticmethod
    def forward(ctx: FunctionContext, *args: Any) -> Any:
        """Computes the output, or a tuple of outputs."""
        raise TypeError("a Function needs a static method forward(ctx, *args)")

    @staticmethod
    def backward(ctx: FunctionContext, *grads: Any) -> Any:
        """Computes the gradients of the arguments from those of the outputs."""
        raise TypeError("a Function needs a static method backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Runs ``forward`` and leaves the op on the tape."""
        ctx = FunctionContext()
        tensors = [a if isinstance(a, Tensor) else None for a in args]
        ctx.needs_input_grad = tuple(t is not None and t.requires_grad for t in tensors)
        with no_grad():
            result = cls.forward(ctx, *args)
        single = isinstance(result, Tensor)
        outputs = [result] if single else list(result)

        def vjp(*grads: Tensor | None) -> list[Tensor | None]:
            found = cls.backward(ctx, *grads)
            found = [found] if found is None or isinstance(found, Tensor) else list(found)
            if len(found) != len(args):
                raise _core.Error(f"{cls.__name__}: backward gave {len(found)} gradients for {len(args)} arguments")
            return found

        recorded = _core.custom_function(cls.__name__, tensors, outputs, vjp)
        recorded = [
            y.detach() if any(before is t for t in ctx._non_differentiable) else y
            for before, y in zip(outputs, recorded, strict=True)
        ]
        return recorded[0] if single else tuple(recorded)


def checkpoint(function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """``function(*args, **kwargs)``, of which the tape keeps the arguments alone: ``backward`` runs it once more.

    For nets whose activations do not fit: those of a part are there only while the walk back is in that part, at the
    price of computing it twice (T. Chen et al., "Training deep nets with sublinear memory cost", 2016). What is
    returned and the gradients are those of a plain call, gradients of gradients too; random numbers (dropout) are the
    same both times, and layers gather statistics once. The function may use parameters and other tensors from outside,
    take gradients of its own and hold checkpoints of its own; it must do the same both times, or ``backward`` raises
    Error. In a compiled step it lowers the memory of the plan.

    >>> layers = [ln.nn.Linear(8, 8) for _ in range(4)]
    >>> def block(x, slope=0.0):
    ...     for layer in layers:
    ...         x = ln.leaky_relu(layer(x), slope)
    ...     return x
    >>> ln.checkpoint(block, ln.ones((2, 8)), slope=0.1).sum().backward()
    >>> layers[0].weight.grad.shape
    (8, 8)
    """
    with _core.Checkpoint(functools.partial(function, *args, **kwargs)):
        return function(*args, **kwargs)


def gradcheck(
    f: Callable[..., Any],
    inputs: Tensor | Sequence[Tensor],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    order: int = 1,
    fast_mode: bool = False,
) -> bool:
    """Compares the gradients of ``f`` with central differences; True, or an Error that says where they differ.

    ``inputs`` are float64 tensors, of which those that require grad are checked, element by element, or, with
    ``fast_mode``, along one direction each; ``order=2`` checks gradients of gradients as well.

    >>> x = ln.tensor([0.1, 0.7], dtype=ln.float64, requires_grad=True)
    >>> ln.gradcheck(ln.tanh, x, order=2)
    True
    """
    args = _as_list(inputs)
    for i, x in enumerate(args):
        if x.requires_grad and x.dtype != _core.float64:
            raise _core.DTypeError(
                f"gradcheck: input {i} must be float64 for differences to mean anything, got {x.dtype}"
            )
    _check_first_order(f, args, eps, atol, rtol, fast_mode)
    if order > 1:
        wanted = [i for i, x in enumerate(args) if x.requires_grad]

        def gradients(*xs: Tensor) -> list[Tensor]:
            outputs = [y for y in _outputs(f, xs) if y.requires_grad]
            seeds = [_weights(y) for y in outputs]
            found = grad(outputs, [xs[i] for i in wanted], seeds, create_graph=True, allow_unused=True)
            return [g for g in found if g is not None]

        gradcheck(gradients, args, eps, atol, rtol, order - 1, fast_mode)
    return True


def _outputs(f: Callable[..., Any], xs: Sequence[Tensor]) -> list[Tensor]:
    result = f(*xs)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    return [y for y in outputs if isinstance(y, Tensor) and y.dtype.is_floating_point]


def _weights(y: Tensor) -> Tensor:
    """Fixed cotangents that are all different, so that one walk back checks all outputs."""
    count = _core.arange(y.size, dtype=_core.float64)
    return _core.reshape(0.5 + _core.remainder(count * 0.6180339887, 1.0), y.shape)


def _directions(x: Tensor, fast_mode: bool) -> Iterator[tuple[str, Tensor]]:
    """What to move ``x`` along, with a name for messages: each element, or all at once by different amounts."""
    if fast_mode:
        yield "a direction", _weights(x) - 1.0
        return
    for k in range(x.size):
        unit = _core.zeros(x.size, dtype=_core.float64)
        unit[k] = 1.0
        yield f"element {k}", _core.reshape(unit, x.shape)


def _check_first_order(
    f: Callable[..., Any], args: list[Tensor], eps: float, atol: float, rtol: float, fast_mode: bool
) -> None:
    leaves = [x.detach().clone().requires_grad_(x.requires_grad) for x in args]
    outputs = [y for y in _outputs(f, leaves) if y.requires_grad]
    if not outputs:
        return
    seeds = [_weights(y) for y in outputs]
    wanted = [i for i, x in enumerate(leaves) if x.requires_grad]
    found = grad(outputs, [leaves[i] for i in wanted], seeds, allow_unused=True)

    def value(i: int, moved: Tensor) -> float:
        # The tape stays on: f may take gradients of its own.
        xs = [x.detach().requires_grad_(x.requires_grad) for x in leaves]
        xs[i] = moved.requires_grad_()
        ys = [y for y in _outputs(f, xs) if y.requires_grad]
        return sum(float(_core.sum(y.detach() * w)) for y, w in zip(ys, seeds, strict=True))

    for i, analytic in zip(wanted, found, strict=True):
        x = leaves[i].detach()
        for name, u in _directions(x, fast_mode):
            slope = 0.0 if analytic is None else float(_core.sum(analytic.detach() * u))
            numeric = (value(i, x + eps * u) - value(i, x - eps * u)) / (2 * eps)
            if not abs(numeric - slope) <= atol + rtol * abs(numeric):
                raise _core.Error(
                    f"gradcheck: by {name} of input {i} (shape {x.shape}) the gradient is {slope:.9g}, "
                    f"differences give {numeric:.9g}"
                )
