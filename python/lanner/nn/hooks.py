"""Functions that users hang before and after a module's forward."""

from __future__ import annotations

from typing import Any

from lanner import recording


class Hooks(dict[int, Any]):
    """A module's hooks by number; ``version`` tells that they changed."""

    version = 0

    def __setitem__(self, key: int, hook: Any) -> None:
        super().__setitem__(key, hook)
        self.version = recording.changed()

    def pop(self, *args: Any) -> Any:
        """As dict's."""
        self.version = recording.changed()
        return super().pop(*args)


class RemovableHandle:
    """What registers a hook returns; ``remove()``, or leaving it as a context, takes the hook away again."""

    def __init__(self, hooks: dict[int, Any], hook: Any, prepend: bool) -> None:
        self._hooks = hooks
        self._key = max(hooks, default=-1) + 1
        hooks[self._key] = hook
        if prepend:
            for key in [k for k in hooks if k != self._key]:
                hooks[key] = hooks.pop(key)

    def remove(self) -> None:
        """Take the hook away.

        >>> layer = ln.nn.Identity()
        >>> layer.register_forward_hook(lambda module, args, output: output + 1).remove()
        >>> layer(ln.zeros(2)).tolist()
        [0.0, 0.0]
        """
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
