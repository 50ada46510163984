"""Hooks on modules that do not speak `[R, S, width]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


class Tap(nn.Module):
    """A module seen through hooks as if its input and output were one tensor `[R, S, width]`.

    For modules that return a tuple (its first part is seen) and, with `around`, for those that are
    called with flat tokens `[R * S, width]` inside a module that is called with `[R, S, d]`. Only
    the two `register_` methods are meant to be used; hooks act on the module itself.
    """

    def __init__(self, module: nn.Module, around: nn.Module | None = None) -> None:
        super().__init__()
        self.seen, self.around = [module], [around]  # in lists: not submodules of the tap
        self._shape: torch.Size | None = None

    def register_forward_pre_hook(self, hook: Callable[..., Any], **options: Any) -> Any:
        """As of the module, the hook being given and giving `[R, S, width]`."""

        def seen(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            edited = hook(module, (self._unflatten(args[0]), *args[1:]))
            if edited is None:
                return None
            first, *rest = edited if isinstance(edited, tuple) else (edited,)
            return (first.reshape(args[0].shape), *rest)

        return self._handles(self.seen[0].register_forward_pre_hook(seen, **options))

    def register_forward_hook(self, hook: Callable[..., Any], **options: Any) -> Any:
        """As of the module, the hook being given and giving `[R, S, width]`."""

        def seen(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            first = output[0] if isinstance(output, tuple) else output
            edited = hook(module, args, self._unflatten(first))
            if edited is None:
                return None
            edited = edited.reshape(first.shape)
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return self._handles(self.seen[0].register_forward_hook(seen, **options))

    def _unflatten(self, value: torch.Tensor) -> torch.Tensor:
        if self._shape is None:
            return value
        return value.reshape(*self._shape, value.shape[-1])

    def _handles(self, handle: RemovableHandle) -> RemovableHandle:
        around = self.around[0]
        if around is None:
            return handle

        def remember(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._shape = args[0].shape[:2]

        outer = around.register_forward_pre_hook(remember)
        return cast(RemovableHandle, _Both(handle, outer))


class _Both:
    """Two hook handles that are removed together."""

    def __init__(self, *handles: RemovableHandle) -> None:
        self._both = handles

    def remove(self) -> None:
        for handle in self._both:
            handle.remove()
