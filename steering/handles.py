"""Hooks put on a model together, and taken off together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class HookHandles:
    """The hooks that one owner has on a model now."""

    def __init__(self) -> None:
        self._removers: list[Callable[[], None]] = []

    @property
    def n(self) -> int:
        """How many hooks are on."""
        return len(self._removers)

    def before(
        self, module: nn.Module, hook: Callable[..., Any], *, with_kwargs: bool = False
    ) -> None:
        """Call `hook(module, args)` before the module's forward; `hook(module, args, kwargs)`
        `with_kwargs`."""
        handle = module.register_forward_pre_hook(hook, with_kwargs=with_kwargs)
        self._removers.append(handle.remove)

    def after(
        self,
        module: nn.Module,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        always: bool = False,
    ) -> None:
        """Call `hook(module, args, output)` after it; with `prepend` before the hooks on it now,
        with `always` also where it raises (`output` is None then)."""
        handle = module.register_forward_hook(hook, prepend=prepend, always_call=always)
        self._removers.append(handle.remove)

    def remove(self) -> None:
        """Take them all off. Safe to call twice."""
        for remove in self._removers:
            remove()
        self._removers.clear()
