"""The structure of a module as plain data, and back: what a model file holds beside the weights. No pickle.

A node is ``{"class": name, "config": constructor arguments, "children": {name: node}}``. A module that stands at
several places is a node at the first and ``{"same": path}`` at the others; parameters that several modules share
are listed in the root's ``"shared"``. Tensors that differ from what the constructor makes in dtype or in whether
they are trained are listed in ``"dtypes"`` and ``"frozen"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from lanner import _core
from lanner._core import Tensor

if TYPE_CHECKING:
    from lanner.nn.module import Module

T = TypeVar("T", bound=type)

_classes: dict[str, type] = {}


def register(cls: T) -> T:
    """Let a file rebuild modules of a class of yours, from the arguments that its constructor was given.

    The arguments must be numbers, strings, bools, None, dtypes, tensors, modules, or lists and dicts of these.

    >>> @ln.nn.register
    ... class Doubling(ln.nn.Module):
    ...     def __init__(self, width):
    ...         self.linear = ln.nn.Linear(width, 2 * width)
    ...
    ...     def forward(self, x):
    ...         return self.linear(x)
    >>> ln.nn.from_config(ln.nn.to_config(Doubling(3)))
    Doubling(
      (linear): Linear(in_features=3, out_features=6, bias=True)
    )
    """
    known = _classes.get(cls.__name__)
    # The same class defined again, as in a notebook, takes the place of the former.
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise _core.Error(f"register: the name {cls.__name__} is taken by {known.__module__}.{known.__qualname__}")
    _classes[cls.__name__] = cls
    return cls


def to_config(module: Module) -> dict[str, Any]:
    """Return the structure of a module, all that `from_config` needs to build one like it, as JSON can hold it.

    Raises Error, with the place in the module, for a class that is not registered or an argument that cannot be kept.

    >>> ln.nn.to_config(ln.nn.Sequential(ln.nn.Tanh()))
    {'class': 'Sequential', 'config': {}, 'children': {'0': {'class': 'Tanh', 'config': {}}}}
    """
    node = _encode_tree(module, "", {})
    owners: dict[int, str] = {}
    shared = {}
    for path, part in module.named_modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                here = f"{path}.{name}" if path else name
                first = owners.setdefault(id(parameter), here)
                if first != here:
                    shared[here] = first
    if shared:
        node["shared"] = shared
    return node


def from_config(config: dict[str, Any]) -> Module:
    """Build the module that `to_config` described, with new initial weights.

    Raises FormatError where the description is damaged or names a class that is not registered.

    >>> net = ln.nn.Sequential(ln.nn.Linear(4, 3, bias=False), ln.nn.ReLU())
    >>> ln.nn.from_config(ln.nn.to_config(net))
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=False)
      (1): ReLU()
    )
    """
    built: dict[str, Module] = {}
    try:
        module = _decode_tree(config, "", None, built)
        for here, first in config.get("shared", {}).items():
            path, _, name = here.rpartition(".")
            setattr(module.get_submodule(path), name, module.get_parameter(first))
    except _core.Error:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _core.FormatError(f"from_config: the description of the model is damaged: {error!r}") from error
    return module


def _place(path: str) -> str:
    return f" at {path!r}" if path else ""


def _encode_tree(module: Module, path: str, seen: dict[int, str]) -> dict[str, Any]:
    if id(module) in seen:
        return {"same": seen[id(module)]}
    seen[id(module)] = path
    cls = type(module)
    if _classes.get(cls.__name__) is not cls:
        raise _core.Error(
            f"to_config: class {cls.__name__}{_place(path)} is not registered; decorate it with @lanner.nn.register, "
            "so that a file can rebuild it from its constructor's arguments"
        )
    try:
        node: dict[str, Any] = {"class": cls.__name__, "config": module.config()}
    except _core.Error as error:
        raise type(error)(f"to_config: {cls.__name__}{_place(path)}: {error}") from None
    tensors = [(n, t) for t_of in (module._parameters, module._buffers) for n, t in t_of.items() if t is not None]
    dtypes = {n: t.dtype.name for n, t in tensors if t.dtype.is_floating_point and t.dtype != _core.float32}
    frozen = [n for n, p in module._parameters.items() if p is not None and not p.requires_grad]
    children = {
        name: None if child is None else _encode_tree(child, f"{path}.{name}" if path else name, seen)
        for name, child in module._modules.items()
    }
    for key, value in (("dtypes", dtypes), ("frozen", frozen), ("children", children)):
        if value:
            node[key] = value
    return node


def _decode_tree(node: dict[str, Any], path: str, made: Module | None, built: dict[str, Module]) -> Module:
    """The module of `node`; `made`, if its parent's constructor has made the right one already."""
    from lanner.nn.module import Module

    if "same" in node:
        if node["same"] not in built:
            raise _core.FormatError(
                f"from_config: the module{_place(path)} repeats {node['same']!r}, which is not there"
            )
        return built[node["same"]]
    cls = _classes.get(node["class"])
    if cls is None or not issubclass(cls, Module):
        raise _core.FormatError(
            f"from_config: class {node['class']!r}{_place(path)} is not known here; define it, and decorate it with "
            "@lanner.nn.register, before loading"
        )
    module = made
    if made is None or type(made) is not cls or made.config() != node["config"]:
        module = _construct(cls, node["config"])
    assert module is not None
    built[path] = module
    for name, child in node.get("children", {}).items():
        below = f"{path}.{name}" if path else name
        part = None if child is None else _decode_tree(child, below, module._modules.get(name), built)
        if part is not module._modules.get(name, module):
            module.add_module(name, part)
    for name, dtype in node.get("dtypes", {}).items():
        tensor = module._parameters.get(name)
        if tensor is not None:
            tensor.data = tensor.detach().to(dtype)
        else:
            setattr(module, name, module.get_buffer(name).to(dtype))
    for name in node.get("frozen", ()):
        module.get_parameter(name).requires_grad_(False)
    return module


def _construct(cls: Any, config: dict[str, Any]) -> Any:
    import inspect

    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    if not set(config) <= {p.name for p in parameters}:
        unknown = ", ".join(sorted(set(config) - {p.name for p in parameters}))
        raise _core.FormatError(f"from_config: {cls.__name__} takes no argument {unknown}")
    decoded = {p.name: _decode(config[p.name]) for p in parameters if p.name in config}
    bound = inspect.BoundArguments(inspect.Signature(parameters), decoded)
    return cls(*bound.args, **bound.kwargs)


def encode_arguments(module: Module) -> dict[str, Any]:
    """Return the arguments of a module's constructor by name, defaults included, ready for JSON.

    >>> from lanner.nn.serialization import encode_arguments
    >>> encode_arguments(ln.nn.LeakyReLU(0.2))
    {'negative_slope': 0.2, 'inplace': False}
    """
    import inspect

    args, kwargs = module._arguments
    bound = inspect.signature(type(module).__init__).bind(module, *args, **kwargs)
    bound.apply_defaults()
    given = list(bound.arguments.items())[1:]
    # Where the module lives and in which dtype is not its structure: the tensors themselves tell.
    return {name: _encode(value, name) for name, value in given if name not in ("device", "dtype")}


def _encode(value: Any, name: str) -> Any:
    from lanner.nn import functional
    from lanner.nn.module import Module

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_encode(v, name) for v in value]
    if isinstance(value, dict):
        if not all(isinstance(k, str) and not k.startswith("$") for k in value):
            raise _core.Error(f"argument {name!r}: the keys of a dict must be strings that do not begin with $")
        return {k: _encode(v, name) for k, v in value.items()}
    if isinstance(value, Tensor):
        return {"$tensor": value.detach().tolist(), "dtype": value.dtype.name, "shape": list(value.shape)}
    if isinstance(value, _core.DType):
        return {"$dtype": value.name}
    if isinstance(value, Module):
        return {"$module": to_config(value)}
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a NumPy scalar
        return value.item()
    function = getattr(value, "__name__", "")
    if function in functional.__all__ and getattr(functional, function) is value:
        return {"$function": function}
    raise _core.Error(f"argument {name!r} of type {type(value).__name__} cannot be kept in a file")


def _decode(value: Any) -> Any:
    from lanner.nn import functional

    if isinstance(value, list):
        return [_decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return _core.reshape(_core.tensor(value["$tensor"], dtype=value["dtype"]), value["shape"])
    if "$dtype" in value:
        return getattr(_core, value["$dtype"])
    if "$module" in value:
        return from_config(value["$module"])
    if "$function" in value:
        if value["$function"] not in functional.__all__:
            raise _core.FormatError(f"from_config: lanner.nn.functional has no {value['$function']!r}")
        return getattr(functional, value["$function"])
    return {k: _decode(v) for k, v in value.items()}
