"""What all optimizers share: parameter groups, state, state dicts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from copy import deepcopy
from typing import Any

from lanner import _core, recording
from lanner._core import Tensor

StateDict = dict[str, Any]

# PyTorch's choices of implementation: accepted, and kept in the groups, so that code and state dicts move over.
# They change nothing: every update here is one fused call.
_TORCH_OPTIONS = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}


class ParamGroup(dict[str, Any]):
    """A group's parameters and options: a dict that tells when it changes, so that compiled steps follow."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.version = recording.changed(recording.OPTIONS)

    def _changed(self) -> None:
        self.version = recording.changed(recording.OPTIONS)

    def layout(self) -> tuple[Any, ...]:
        """What decides which state an update needs; while it stays, other values of the options are other attributes
        of the same op."""

        def kind(value: Any) -> Any:
            return bool(value) if value is None or isinstance(value, (bool, int, float)) else type(value)

        params = tuple(id(p) for p in self.get("params", ()))
        return params, tuple((name, kind(value)) for name, value in self.items() if name != "params")

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self._changed()

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._changed()

    def update(self, *args: Any, **options: Any) -> None:
        """As dict's."""
        super().update(*args, **options)
        self._changed()

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As dict's."""
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, *args: Any) -> Any:
        """As dict's."""
        value = super().pop(*args)
        self._changed()
        return value

    def popitem(self) -> tuple[str, Any]:
        """As dict's."""
        item = super().popitem()
        self._changed()
        return item

    def clear(self) -> None:
        """As dict's."""
        super().clear()
        self._changed()

    def __ior__(self, other: Any) -> ParamGroup:  # type: ignore[override, misc]
        self.update(other)
        return self


class State(MutableMapping[Tensor, dict[str, Any]]):
    """State by parameter: by the object itself, since tensors compare by element and may be given other memory."""

    def __init__(self) -> None:
        self.version = recording.changed()
        self._entries: dict[int, tuple[Tensor, dict[str, Any]]] = {}

    def __getitem__(self, parameter: Tensor) -> dict[str, Any]:
        return self._entries.setdefault(id(parameter), (parameter, {}))[1]

    def __setitem__(self, parameter: Tensor, values: dict[str, Any]) -> None:
        self._entries[id(parameter)] = (parameter, values)
        self.version = recording.changed()

    def __delitem__(self, parameter: Tensor) -> None:
        del self._entries[id(parameter)]
        self.version = recording.changed()

    def __contains__(self, parameter: object) -> bool:
        return id(parameter) in self._entries

    def __iter__(self) -> Iterator[Tensor]:
        return iter([parameter for parameter, _ in self._entries.values()])

    def __len__(self) -> int:
        return len(self._entries)


class Optimizer:
    """The base class: ``params`` are Tensors, ``(name, Tensor)`` pairs, or dicts with ``"params"`` and options.

    ``defaults`` are the options of groups that do not give their own. A class of one's own overrides ``_update``, or
    ``step`` as a whole.

    >>> w, b = ln.ones(3, requires_grad=True), ln.ones(1, requires_grad=True)
    >>> optimizer = ln.optim.SGD([{"params": [w]}, {"params": [b], "lr": 0.5}], lr=0.1)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.5]
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Tensor, dict)):
            raise TypeError(
                f"{self._name}: params must be an iterable of Tensors or of dicts, got one {type(params).__name__}"
            )
        self.defaults = defaults
        self.state = State()
        self.param_groups: list[ParamGroup] = []
        groups = list(params)
        if not groups:
            raise ValueError(f"{self._name}: got no parameters to optimize")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls).get("step")
        if own is not None:
            cls.step = _noted(own)  # type: ignore[method-assign]

    def _changed(self) -> None:
        """Note that a recorded step would find other parameters or other state."""
        self._version = recording.changed()

    def _versions(self) -> tuple[int, int]:
        return self._version, self.state.version

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: ParamGroup) -> None:
        """Add a dict of ``"params"`` and of the options in which it differs from the defaults.

        >>> optimizer = ln.optim.SGD([ln.ones(3, requires_grad=True)], lr=0.1)
        >>> optimizer.add_param_group({"params": [ln.ones(2, requires_grad=True)], "lr": 0.01})
        >>> len(optimizer.param_groups)
        2
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"{self._name}: a parameter group must be a dict, got {type(param_group).__name__}")
        group = ParamGroup(param_group)
        if "params" not in group:
            raise ValueError(f'{self._name}: a parameter group needs "params", got {sorted(group)}')
        params = group["params"]
        if isinstance(params, set):
            raise TypeError(f"{self._name}: parameters must be in an order, and a set has none")
        members = [params] if isinstance(params, Tensor) else list(params)
        names = [member[0] for member in members if isinstance(member, tuple)]
        if names:
            if len(names) != len(members):
                raise ValueError(f"{self._name}: either all parameters of a group have names, or none")
            group["param_names"] = names
            members = [member[1] for member in members]
        taken = {id(p) for other in self.param_groups for p in other["params"]}
        for i, p in enumerate(members):
            if not isinstance(p, Tensor):
                raise TypeError(f"{self._name}: parameter {i} must be a Tensor, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(
                    f"{self._name}: parameter {i} {tuple(p.shape)} was computed; only leaves are optimized"
                )
            if p.dtype not in (_core.float32, _core.float64):
                raise _core.DTypeError(
                    f"{self._name}: parameter {i} is {p.dtype.name}; float32 and float64 can be optimized"
                )
            if id(p) in taken:
                raise ValueError(f"{self._name}: parameter {i} {tuple(p.shape)} is there twice")
            taken.add(id(p))
        group["params"] = members
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        self._check(group)
        self.param_groups.append(group)
        self._changed()

    def _check(self, group: ParamGroup) -> None:
        """Raise ValueError for an option out of its range."""

    def _at_least(self, group: ParamGroup, **least: float) -> None:
        for name, bound in least.items():
            if not group[name] >= bound:
                raise ValueError(f"{self._name}: {name} must be at least {bound:g}, got {group[name]!r}")

    def _check_betas(self, group: ParamGroup) -> None:
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"{self._name}: betas must be two numbers of [0, 1), got {group['betas']!r}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; with ``set_to_none=False`` fill them with zeros.

        >>> w = ln.ones(2, requires_grad=True); w.sum().backward()
        >>> ln.optim.SGD([w], lr=0.1).zero_grad(); w.grad is None
        True
        """
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    from lanner.nn.parameter import overwrite

                    overwrite(p.grad, 0.0)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, in one fused call.

        ``closure``, where given, computes the loss and its gradients first; what it returns is returned.

        >>> w = ln.ones(2, requires_grad=True); w.sum().backward()
        >>> ln.optim.SGD([w], lr=0.25).step(); w.tolist()
        [0.75, 0.75]
        """
        loss = None
        if closure is not None:
            from lanner.autodiff import enable_grad

            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            params, grads = [], []
            for p in group["params"]:
                grad = p.grad
                if grad is not None:
                    params.append(p)
                    grads.append(grad)
            if params and recording.recordings:
                self._recorded_update(group, params, grads)
            elif params:
                self._update(group, params, grads)
        return loss

    def _recorded_update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        notes = recording.current()
        if notes is None:
            return self._update(group, params, grads)
        begin = notes.recorder.mark()
        self._update(group, params, grads)
        # For the attributes of the ops alone: parameters have the shapes of their gradients, which are not kept.
        fused = type(self)._update.__module__.startswith("lanner.optim.")
        redo = (lambda: self._update(group, params, params)) if fused else None
        guard = notes.optimizer(self)
        guard.updates.append(recording.Update(group, begin, notes.recorder.mark(), redo))

    def _update(self, group: ParamGroup, params: list[Tensor], grads: list[Tensor]) -> None:
        raise NotImplementedError(f"{self._name} must override _update or step")

    def _states(self, params: list[Tensor], *names: str, steps: bool = True) -> list[Any]:
        """The state tensors ``names`` of each parameter, zeros at first; after them the steps, which the update counts
        up."""
        columns: list[list[Any]] = [[] for _ in names]
        counts = []
        for p in params:
            state = self.state[p]
            for column, name in zip(columns, names, strict=True):
                value = state.get(name)
                if value is None:
                    value = state[name] = _state_like(p)
                column.append(value)
            if steps:
                count = state.get("step")
                if count is None:
                    count = state["step"] = recording.made_once(lambda: _core.zeros(()))
                counts.append(count)
        return [*columns, counts] if steps else columns

    def state_dict(self) -> StateDict:
        """The state and the options, in PyTorch's form; parameters are numbered in their order.

        The tensors in it are those of the optimizer, not copies; the step counts are 0-d tensors.

        >>> w = ln.ones(2, requires_grad=True); w.sum().backward()
        >>> optimizer = ln.optim.Adam([w]); optimizer.step()
        >>> optimizer.state_dict()["state"][0]["exp_avg"].shape
        (2,)
        """
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            groups.append(
                {
                    **{k: v for k, v in group.items() if k != "params"},
                    "params": [numbers[id(p)] for p in group["params"]],
                }
            )
        state = {numbers[id(p)]: dict(values) for p, values in self.state.items() if id(p) in numbers}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over what ``state_dict`` gave, here or in PyTorch (with its tensors as arrays or Tensors).

        Tensors are copied. Parameters are matched by their order.

        >>> w = ln.ones(2, requires_grad=True)
        >>> a, b = ln.optim.SGD([w], lr=0.5), ln.optim.SGD([w], lr=0.1)
        >>> b.load_state_dict(a.state_dict()); b.param_groups[0]["lr"]
        0.5
        """
        saved = state_dict["param_groups"]
        if [len(group["params"]) for group in saved] != [len(group["params"]) for group in self.param_groups]:
            raise ValueError(
                f"{self._name}: the state dict has groups of {[len(group['params']) for group in saved]} parameters, "
                f"the optimizer of {[len(group['params']) for group in self.param_groups]}"
            )
        by_number: dict[Any, Tensor] = {}
        for theirs, ours in zip(saved, self.param_groups, strict=True):
            by_number.update(zip(theirs["params"], ours["params"], strict=True))
        loaded = State()
        for number, values in state_dict["state"].items():
            if number not in by_number:
                raise ValueError(f"{self._name}: the state dict has state of parameter {number}, which is in no group")
            p = by_number[number]
            loaded[p] = {name: self._unpacked(number, p, name, value) for name, value in values.items()}
        groups = []
        for theirs, ours in zip(saved, self.param_groups, strict=True):
            options = {k: deepcopy(v) for k, v in theirs.items() if k not in ("params", "param_names")}
            group = ParamGroup({**self.defaults, **options, "params": ours["params"]})
            if "param_names" in ours:
                group["param_names"] = ours["param_names"]
            self._check(group)
            groups.append(group)
        self.state, self.param_groups = loaded, groups
        self._changed()

    def _unpacked(self, number: Any, p: Tensor, name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in ("step", "mu_product"):
            number_value = float(value.item() if hasattr(value, "item") else value)
            return _core.tensor(number_value, dtype=_core.float32 if name == "step" else _core.float64)
        if not isinstance(value, Tensor):
            value = _core.tensor(value)
        if value.shape != p.shape:
            raise _core.ShapeError(
                f"{self._name}: {name} of parameter {number} has shape {list(value.shape)}, "
                f"the parameter {list(p.shape)}"
            )
        return value.detach().to(p.dtype).clone()

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key not in ("params", "param_names")]
        return "\n".join([*lines, ")"])


def _state_like(p: Tensor) -> Tensor:
    zeros: Tensor = recording.made_once(lambda: _core.zeros(p.shape, dtype=p.dtype))
    return zeros


def _noted(step: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` of one's own, of which a recording knows no more than that other options need another recording."""

    @functools.wraps(step)
    def noted(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        notes = recording.current() if recording.recordings else None
        if notes is not None:
            guard = notes.optimizer(self)
            guard.updates += [recording.Update(group, 0, 0, None) for group in self.param_groups]
        return step(self, *args, **kwargs)

    return noted


def torch_options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """PyTorch's ``foreach``, ``fused`` and so on, checked."""
    unknown = sorted(set(given) - set(_TORCH_OPTIONS))
    if unknown:
        raise TypeError(f"{name}: there is no option {unknown[0]!r}")
    if given.get("differentiable"):
        raise ValueError(f"{name}: differentiable=True is not supported; write the update with ops instead")
    return {**_TORCH_OPTIONS, **given}
