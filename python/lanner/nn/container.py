"""Modules that hold other modules."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from lanner.nn.module import Module

C = TypeVar("C", bound="_Children")


class _Children(Module):
    """What Sequential and ModuleList share: children named "0", "1", ..."""

    def config(self) -> dict[str, Any]:
        """Return no arguments: the children are the whole structure."""
        return {}

    def _position(self, index: int) -> int:
        n, i = len(self._modules), operator.index(index)
        if not -n <= i < n:
            raise IndexError(f"{type(self).__name__}: index {i} is out of range for {n} modules")
        return i % n

    def _renumber(self, modules: Iterable[Module]) -> None:
        modules = list(modules)
        for name in list(self._modules):
            delattr(self, name)
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, list(self._modules)[self._position(index)], module)

    def append(self: C, module: Module) -> C:
        """Add a module at the end; returns the container.

        >>> len(ln.nn.Sequential(ln.nn.Tanh()).append(ln.nn.ReLU()))
        2
        """
        self.add_module(str(len(self)), module)
        return self

    def insert(self: C, index: int, module: Module) -> C:
        """Add a module before the one at ``index``; returns the container.

        >>> ln.nn.Sequential(ln.nn.Tanh()).insert(0, ln.nn.ReLU())[0]
        ReLU()
        """
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def extend(self: C, modules: Iterable[Module]) -> C:
        """Add modules at the end; returns the container.

        >>> len(ln.nn.ModuleList().extend([ln.nn.ReLU(), ln.nn.Tanh()]))
        2
        """
        for module in list(modules):
            self.append(module)
        return self


class Sequential(_Children):
    """Modules called one after the other, each with what the one before returned.

    Takes the modules in order, or one dict of names and modules.

    >>> net = ln.nn.Sequential(ln.nn.Linear(4, 8), ln.nn.ReLU(), ln.nn.Linear(8, 2))
    >>> net(ln.zeros((3, 4))).shape
    (3, 2)
    >>> net[0]
    Linear(in_features=4, out_features=8, bias=True)
    """

    def __init__(self, *args: Any) -> None:
        self._arguments = ((), {})
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
            return
        for i, module in enumerate(args):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: argument {i} must be a Module, got {type(module).__name__}")
            self.add_module(str(i), module)

    def forward(self, x: Any) -> Any:
        """Pass ``x`` through all modules."""
        for module in self._modules.values():
            x = module(x)  # type: ignore[misc]
        return x

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return list(self)[self._position(index)]

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        chosen = names[index] if isinstance(index, slice) else [names[self._position(index)]]
        numbered = names == [str(i) for i in range(len(names))]
        for name in chosen:
            delattr(self, name)
        if numbered:
            self._renumber(self)


class ModuleList(_Children):
    """A list of modules, which the module that holds it calls as it likes.

    >>> layers = ln.nn.ModuleList([ln.nn.Linear(2, 2) for _ in range(3)])
    >>> len(list(layers.parameters()))
    6
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        self._arguments = ((), {})
        self.extend(modules or ())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return ModuleList(list(self)[index])
        return list(self)[self._position(index)]

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index if isinstance(index, slice) else self._position(index)]
        self._renumber(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        self.extend(modules)
        return self


class ModuleDict(Module):
    """A dict of modules, in the order in which they were added.

    >>> heads = ln.nn.ModuleDict({"digit": ln.nn.Linear(8, 10), "parity": ln.nn.Linear(8, 2)})
    >>> heads["parity"](ln.zeros((1, 8))).shape
    (1, 2)
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        self._arguments = ((), {})
        self.update(modules or {})

    def config(self) -> dict[str, Any]:
        """Return no arguments: the children are the whole structure."""
        return {}

    def __getitem__(self, key: str) -> Module:
        module = self._modules[key]
        assert module is not None
        return module

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]
        object.__delattr__(self, key)
        self._changed()

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        """Return the names.

        >>> list(ln.nn.ModuleDict({"a": ln.nn.ReLU()}).keys())
        ['a']
        """
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """Return the modules.

        >>> list(ln.nn.ModuleDict({"a": ln.nn.ReLU()}).values())
        [ReLU()]
        """
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return the names with the modules.

        >>> list(ln.nn.ModuleDict({"a": ln.nn.ReLU()}).items())
        [('a', ReLU())]
        """
        return self._modules.items()

    def pop(self, key: str) -> Module:
        """Take a module out and return it.

        >>> heads = ln.nn.ModuleDict({"a": ln.nn.ReLU()})
        >>> heads.pop("a"), len(heads)
        (ReLU(), 0)
        """
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Take all modules out."""
        for key in list(self._modules):
            del self[key]

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules, or put them in the place of those with the same names.

        >>> heads = ln.nn.ModuleDict()
        >>> heads.update({"a": ln.nn.ReLU()})
        >>> "a" in heads
        True
        """
        for key, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[key] = module
