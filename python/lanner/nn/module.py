"""The base of all layers: a tree of modules that own parameters and buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from lanner import _core, recording
from lanner._core import Tensor
from lanner.nn import scope
from lanner.nn.hooks import Hooks, RemovableHandle
from lanner.nn.parameter import Parameter, overwrite
from lanner.nn.state import IncompatibleKeys, load_state

M = TypeVar("M", bound="Module")


class Module:
    """A layer, or a network of layers: computes in ``forward``, owns parameters, buffers and other modules.

    What is assigned to an attribute is registered by what it is: a `Parameter`, a `Module`, or anything else.

    >>> class Net(ln.nn.Module):
    ...     def __init__(self):
    ...         self.hidden = ln.nn.Linear(4, 8)
    ...         self.out = ln.nn.Linear(8, 2)
    ...
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x).relu())
    >>> Net()(ln.zeros((3, 4))).shape
    (3, 2)
    """

    training: bool
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]  # what the constructor was given; see config()
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]  # names of the buffers that a state dict leaves out
    _pre_hooks: Hooks
    _hooks: Hooks
    _version: int  # of all that a recorded forward depends on but for the mode; see lanner.recording

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make the tables, before any __init__: a subclass need not call super().__init__()."""
        # What is registered stands in __dict__ as well, so that reading an attribute is as fast as on any object.
        module = super().__new__(cls)
        module.__dict__.update(
            training=True,
            _arguments=(args, kwargs),
            _parameters={},
            _buffers={},
            _modules={},
            _transient=set(),
            _pre_hooks=Hooks(),
            _hooks=Hooks(),
            _version=0,
        )
        return module

    def __init__(self) -> None:
        pass

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("lanner.nn."):
            from lanner.nn.serialization import register

            register(cls)

    # ---- computing ----

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; each module defines its own. Call the module itself, not this, so that hooks run."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the hooks and ``forward``; an error raised inside gets the layer's path put in front."""
        notes = recording.current() if recording.recordings else None
        if notes is not None:
            notes.module(self)
        if notes is not None or self._pre_hooks or self._hooks or _core.anomaly_enabled():
            return self._call_watched(args, kwargs)
        try:
            return self.forward(*args, **kwargs)
        except _core.Error as error:
            scope.locate(error, self)
            raise

    def _call_watched(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`__call__` with hooks, and with the layer's name told to the engine: for anomaly messages, and for plans."""
        watched = _core.anomaly_enabled() or _core.recording()
        if watched:
            scope.enter(self)
        try:
            for hook in list(self._pre_hooks.values()):
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
            output = self.forward(*args, **kwargs)
            for hook in list(self._hooks.values()):
                changed = hook(self, args, output)
                output = output if changed is None else changed
            return output
        except _core.Error as error:
            scope.locate(error, self)
            raise
        finally:
            if watched:
                scope.leave()

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(module, args)`` called before ``forward``; what it returns, if anything, replaces ``args``.

        >>> layer = ln.nn.Identity()
        >>> handle = layer.register_forward_pre_hook(lambda module, args: args[0] * 2)
        >>> layer(ln.ones(2)).tolist()
        [2.0, 2.0]
        """
        return RemovableHandle(self._pre_hooks, hook, prepend)

    def register_forward_hook(self, hook: Callable[..., Any], *, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(module, args, output)`` called after ``forward``; what it returns replaces the output.

        >>> shapes = []
        >>> layer = ln.nn.Linear(3, 5)
        >>> handle = layer.register_forward_hook(lambda module, args, output: shapes.append(output.shape))
        >>> _ = layer(ln.zeros((2, 3)))
        >>> shapes
        [(2, 5)]
        """
        return RemovableHandle(self._hooks, hook, prepend)

    # ---- registering ----

    def _changed(self) -> None:
        self.__dict__["_version"] = recording.changed()

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if name == "training":
            if own["training"] != value:
                own["training"] = value
                recording.changed()
            return
        if isinstance(value, Parameter):
            self._claim(name, "_parameters")[name] = value
        elif isinstance(value, Module):
            self._claim(name, "_modules")[name] = value
        elif name in own["_parameters"]:
            held = own["_parameters"][name]
            if held is not None and isinstance(value, Tensor) and hash(held) == hash(value):
                return  # `self.weight *= 2` assigns the same tensor
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name} is a parameter; assign a Parameter or None, "
                    f"got {type(value).__name__}"
                )
            own["_parameters"][name] = None
        elif name in own["_buffers"]:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a buffer; assign a Tensor or None, got {type(value).__name__}"
                )
            held = own["_buffers"][name]
            if held is not None and value is not None and hash(held) == hash(value):
                return  # likewise
            recording.refuse(f"{type(self).__name__}.{name}", "buffer", f"self.{name}[...] = value")
            own["_buffers"][name] = value
        elif name in own["_modules"]:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name} is a module; assign a Module or None, got {type(value).__name__}"
                )
            own["_modules"][name] = None
        object.__setattr__(self, name, value)
        self._changed()

    def __delattr__(self, name: str) -> None:
        self._changed()
        for kind in ("_parameters", "_buffers", "_modules"):
            self.__dict__[kind].pop(name, None)
        self._transient.discard(name)
        object.__delattr__(self, name)

    def _claim(self, name: str, kind: str) -> dict[str, Any]:
        """The table for `name`, which no other table then holds."""
        own = self.__dict__
        for other in ("_parameters", "_buffers", "_modules"):
            if other != kind:
                own[other].pop(name, None)
        table: dict[str, Any] = own[kind]
        return table

    def _check_name(self, name: str, what: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a {what} must be a str, got {type(name).__name__}")
        if not name or "." in name:
            raise KeyError(f"the name of a {what} must not be empty or hold a dot, got {name!r}")
        registered = name in self._parameters or name in self._buffers or name in self._modules
        if hasattr(self, name) and not registered:
            raise KeyError(f"{type(self).__name__} already has an attribute {name!r}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; ``None`` keeps the place of one that is switched off.

        >>> layer = ln.nn.Module()
        >>> layer.register_parameter("scale", ln.nn.Parameter(ln.ones(2)))
        >>> layer.scale.shape
        (2,)
        """
        self._check_name(name, "parameter")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"parameter {name!r} must be a Parameter or None, got {type(param).__name__}")
        self._claim(name, "_parameters")[name] = param
        object.__setattr__(self, name, param)
        self._changed()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the state but not trained; ``persistent=False`` leaves it out of state dicts.

        >>> layer = ln.nn.Module()
        >>> layer.register_buffer("mean", ln.zeros(2))
        >>> list(layer.state_dict())
        ['mean']
        """
        self._check_name(name, "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"buffer {name!r} must be a Tensor or None, got {type(tensor).__name__}")
        self._claim(name, "_buffers")[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)
        object.__setattr__(self, name, tensor)
        self._changed()

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child, as ``setattr(self, name, module)`` does.

        >>> net = ln.nn.Module()
        >>> net.add_module("0", ln.nn.ReLU())
        >>> net
        Module(
          (0): ReLU()
        )
        """
        self._check_name(name, "module")
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"module {name!r} must be a Module or None, got {type(module).__name__}")
        self._claim(name, "_modules")[name] = module
        object.__setattr__(self, name, module)
        self._changed()

    register_module = add_module

    # ---- walking the tree ----

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it with their paths; a module that stands at two places once.

        >>> [path for path, _ in ln.nn.Sequential(ln.nn.ReLU(), ln.nn.Sequential(ln.nn.Tanh())).named_modules()]
        ['', '0', '1', '1.0']
        """
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once.

        >>> len(list(ln.nn.Sequential(ln.nn.ReLU(), ln.nn.Tanh()).modules()))
        3
        """
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly below this one with their names, each once.

        >>> list(ln.nn.Sequential(ln.nn.ReLU(), ln.nn.Tanh()).named_children())
        [('0', ReLU()), ('1', Tanh())]
        """
        seen: set[int] = set()
        for name, child in self._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """Yield the modules directly below this one, each once.

        >>> list(ln.nn.Sequential(ln.nn.ReLU(), ln.nn.Tanh()).children())
        [ReLU(), Tanh()]
        """
        for _, child in self.named_children():
            yield child

    def _named_tensors(self, kind: str, prefix: str, recurse: bool, unique: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        tree = self.named_modules(prefix=prefix, remove_duplicate=unique) if recurse else [(prefix, self)]
        for path, module in tree:
            for name, tensor in module.__dict__[kind].items():
                if tensor is None or id(tensor) in seen:
                    continue
                if unique:
                    seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters with their paths; a shared one once, under its first path.

        >>> [(name, p.shape) for name, p in ln.nn.Linear(3, 2).named_parameters()]
        [('weight', (2, 3)), ('bias', (2,))]
        """
        return self._named_tensors("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, a shared one once: what an optimizer is given.

        >>> sum(p.size for p in ln.nn.Linear(3, 2).parameters())
        8
        """
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the buffers with their paths.

        >>> [name for name, _ in ln.nn.BatchNorm1d(4).named_buffers()]
        ['running_mean', 'running_var', 'num_batches_tracked']
        """
        return self._named_tensors("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers.

        >>> [b.shape for b in ln.nn.BatchNorm1d(4).buffers()]
        [(4,), (4,), ()]
        """
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """Return the module at a dotted path; the empty path is this module. Raises AttributeError where none stands.

        >>> ln.nn.Sequential(ln.nn.Sequential(ln.nn.Tanh())).get_submodule("0.0")
        Tanh()
        """
        module = self
        for i, name in enumerate(target.split(".") if target else ()):
            child = module._modules.get(name)
            if child is None:
                path = ".".join(target.split(".")[: i + 1])
                raise AttributeError(f"{type(self).__name__} has no module at {path!r}")
            module = child
        return module

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter at a dotted path.

        >>> ln.nn.Sequential(ln.nn.Linear(3, 2)).get_parameter("0.weight").shape
        (2, 3)
        """
        path, _, name = target.rpartition(".")
        parameter = self.get_submodule(path)._parameters.get(name)
        if parameter is None:
            raise AttributeError(f"{type(self).__name__} has no parameter at {target!r}")
        return parameter

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer at a dotted path.

        >>> ln.nn.Sequential(ln.nn.BatchNorm1d(3)).get_buffer("0.running_var").tolist()
        [1.0, 1.0, 1.0]
        """
        path, _, name = target.rpartition(".")
        buffer = self.get_submodule(path)._buffers.get(name)
        if buffer is None:
            raise AttributeError(f"{type(self).__name__} has no buffer at {target!r}")
        return buffer

    # ---- state ----

    def _named_state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """What a state dict holds, in PyTorch's order; shared tensors under each of their paths."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                yield prefix + name, parameter
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._transient:
                yield prefix + name, buffer
        for name, child in self._modules.items():
            if child is not None:
                yield from child._named_state(f"{prefix}{name}.")

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Return the parameters and persistent buffers by path: tensors that share the memory of the module's.

        Names and shapes are PyTorch's, so that the values move to and from a PyTorch model as they are.

        >>> {name: t.shape for name, t in ln.nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {name: tensor.detach() for name, tensor in self._named_state(prefix)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values (tensors, NumPy arrays, PyTorch tensors) into the parameters and buffers of the same names.

        All is checked before anything is written. Raises Error (ShapeError where only sizes differ) that lists every
        missing name, every name too many and every size that differs; with ``strict=False`` only sizes count.

        >>> a, b = ln.nn.Linear(3, 2), ln.nn.Linear(3, 2)
        >>> b.load_state_dict(a.state_dict())
        <all keys matched>
        >>> bool((a.weight == b.weight).all())
        True
        """
        return load_state(type(self).__name__, dict(self._named_state()), state_dict, strict)

    def train(self: M, mode: bool = True) -> M:
        """Put this module and all below it into training mode (dropout drops, batch norm learns); returns it.

        >>> ln.nn.Dropout().train(False).training
        False
        """
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Put this module and all below it into evaluation mode; returns it.

        >>> ln.nn.Dropout().eval()(ln.ones(3)).tolist()
        [1.0, 1.0, 1.0]
        """
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or thaw all parameters; returns the module.

        >>> ln.nn.Linear(2, 2).requires_grad_(False).weight.requires_grad
        False
        """
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients (or, with ``set_to_none=False``, make them zeros).

        >>> layer = ln.nn.Linear(2, 1)
        >>> layer(ln.ones((1, 2))).sum().backward()
        >>> layer.zero_grad()
        >>> layer.weight.grad is None
        True
        """
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                overwrite(parameter.grad, 0.0)

    # ---- dtype and device ----

    def _convert(self: M, convert: Callable[[Tensor], Tensor]) -> M:
        seen: set[int] = set()
        for module in self.modules():
            for parameter in module._parameters.values():
                if parameter is None or id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                gradient = parameter.grad
                parameter.data = convert(parameter.detach())
                parameter.grad = None if gradient is None else convert(gradient.detach())
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    setattr(module, name, convert(buffer))
        return self

    def to(self: M, *args: Any, dtype: Any = None, device: str | None = None) -> M:
        """Change dtype (of what is floating) or device of all parameters and buffers; returns the module.

        >>> layer = ln.nn.Linear(2, 2).to(ln.float64)
        >>> layer.weight.dtype, layer.to("cpu").bias.dtype
        (lanner.float64, lanner.float64)
        """
        for arg in args:
            if isinstance(arg, str) and arg.split(":")[0] in ("cpu", "cuda"):
                device = arg
            elif arg is not None:
                dtype = arg
        if dtype is not None:
            dtype = _core.zeros((), dtype=dtype).dtype
            if not dtype.is_floating_point:
                raise _core.DTypeError(f"Module.to: dtype must be floating, got {dtype.name}")

        def convert(tensor: Tensor) -> Tensor:
            if device is not None:
                tensor = tensor.to(device)
            return tensor.to(dtype) if dtype is not None and tensor.dtype.is_floating_point else tensor

        return self._convert(convert)

    def float(self: M) -> M:
        """Make floating parameters and buffers float32.

        >>> ln.nn.Linear(2, 2).double().float().weight.dtype
        lanner.float32
        """
        return self.to(_core.float32)

    def double(self: M) -> M:
        """Make floating parameters and buffers float64.

        >>> ln.nn.Linear(2, 2).double().weight.dtype
        lanner.float64
        """
        return self.to(_core.float64)

    def half(self: M) -> M:
        """Make floating parameters and buffers float16.

        >>> ln.nn.Linear(2, 2).half().weight.dtype
        lanner.float16
        """
        return self.to(_core.float16)

    def bfloat16(self: M) -> M:
        """Make floating parameters and buffers bfloat16.

        >>> ln.nn.Linear(2, 2).bfloat16().weight.dtype
        lanner.bfloat16
        """
        return self.to(_core.bfloat16)

    def cpu(self: M) -> M:
        """Move parameters and buffers to the CPU.

        >>> ln.nn.Linear(2, 2).cpu().weight.device
        'cpu'
        """
        return self.to("cpu")

    def cuda(self: M, index: int = 0) -> M:
        """Move parameters and buffers to a GPU; raises DeviceError where there is none."""
        return self.to(f"cuda:{index}")

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn`` on every module, children first; returns the module. The way to initialise a net anew.

        >>> def ones(module):
        ...     if isinstance(module, ln.nn.Linear):
        ...         ln.nn.init.ones_(module.weight)
        >>> ln.nn.Sequential(ln.nn.Linear(2, 1)).apply(ones)[0].weight.tolist()
        [[1.0, 1.0]]
        """
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- telling ----

    def config(self) -> dict[str, Any]:
        """Return the arguments that rebuild this module without its children and weights, ready for JSON.

        >>> ln.nn.MaxPool2d(2).config()
        {'kernel_size': 2, 'stride': None, 'padding': 0, 'dilation': 1, 'return_indices': False, 'ceil_mode': False}
        """
        from lanner.nn.serialization import encode_arguments

        return encode_arguments(self)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows between the brackets.

        >>> ln.nn.Linear(3, 2).extra_repr()
        'in_features=3, out_features=2, bias=True'
        """
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra and self._modules else []
        for name, child in self._modules.items():
            lines.append(f"({name}): " + repr(child).replace("\n", "\n  "))
        body = "\n  " + "\n  ".join(lines) + "\n" if self._modules else extra
        return f"{type(self).__name__}({body})"
