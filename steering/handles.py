"""Hooks put on a model together, and taken off together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class HookHandles:
    """The hooks that one owner has on a model now."""

    def __init__(self) -> None:
        self._removers: list[Callable[[], None]] = []

    def before(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Call `hook(module, args)` before the module's forward."""
        self._removers.append(module.register_forward_pre_hook(hook).remove)

    def after(self, module: nn.Module, hook: Callable[..., Any], *, prepend: bool = False) -> None:
        """Call `hook(module, args, output)` after it; with `prepend` before the hooks on it now."""
        self._removers.append(module.register_forward_hook(hook, prepend=prepend).remove)

    def remove(self) -> None:
        """Take them all off. Safe to call twice."""
        for remove in self._removers:
            remove()
        self._removers.clear()
