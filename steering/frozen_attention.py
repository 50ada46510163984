"""Attention whose pattern is a constant for the backward pass, in every family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pilotage.steering.blocks import BlockParts, SiteError
from pilotage.steering.handles import HookHandles

_SOFTMAXES = {functional.softmax, torch.softmax, torch.Tensor.softmax}


class FrozenAttention:
    """A context manager: inside it no gradient flows through queries, keys or the pattern.

    While an attention module of the blocks runs, its softmax, or the queries and keys of its
    `scaled_dot_product_attention`, are detached; values are untouched. Attention by any other
    kernel raises RuntimeError in the forward, naming the module. Raises SiteError for a block
    without a known attention.
    """

    def __init__(self, blocks: Sequence[BlockParts]) -> None:
        self._modules = [_attention_of(parts, n) for n, parts in enumerate(blocks)]
        self._handles = HookHandles()
        self._mode = _Detach()

    def __enter__(self) -> FrozenAttention:
        for module in self._modules:
            self._handles.before(module, self._begin)
            self._handles.after(module, self._end, always=True)
        self._mode.active = False
        self._mode.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._mode.__exit__(kind, error, trace)
        self._handles.remove()

    def _begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._mode.active, self._mode.n_frozen = True, 0

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._mode.active = False
        if output is not None and not self._mode.n_frozen:  # None: it raised an error of its own
            raise RuntimeError(
                f"{type(module).__name__} computes its pattern by neither softmax nor "
                "scaled_dot_product_attention, so it cannot be frozen; choose the attention "
                "implementation 'sdpa' or 'eager'"
            )


class _Detach(TorchFunctionMode):
    """Detaches the attention pattern in what is called while `active`."""

    def __init__(self) -> None:
        super().__init__()
        self.active, self.n_frozen = False, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if not self.active:
            return func(*args, **named)
        if func is functional.scaled_dot_product_attention:
            self.n_frozen += 1
            for name in ("query", "key"):
                if name in named:
                    named[name] = named[name].detach()
            return func(*(x.detach() if i < 2 else x for i, x in enumerate(args)), **named)
        if func in _SOFTMAXES:
            self.n_frozen += 1
            return func(*args, **named).detach()
        return func(*args, **named)


def _attention_of(parts: BlockParts, layer: int) -> nn.Module:
    """The child of a block that holds its attention's last linear map."""
    for child in parts.block.children():
        if any(module is parts.attention_out for module in child.modules()):
            return child
    raise SiteError(
        f"layers.{layer}: {type(parts.block).__name__} has no known attention to freeze; leave the "
        "rule out with attention=False"
    )
