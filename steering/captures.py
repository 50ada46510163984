"""Capturing activations at sites while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import nn

from pilotage.steering.handles import HookHandles
from pilotage.steering.sites import ResolvedSite, resolve

REDUCTIONS = ("all", "mean", "last")


def hook_site(
    handles: HookHandles,
    site: ResolvedSite,
    see: Callable[[torch.Tensor], torch.Tensor | None],
    *,
    replaces: bool = False,
) -> None:
    """Call `see(value)` with the vectors `[R, S, d]` at a site in every forward; what it returns is
    added to them, or takes their place with `replaces`; None leaves them. Where the value is a sum,
    the branch takes the change."""
    stream: list[torch.Tensor] = []

    def remember(module: nn.Module, args: tuple[Any, ...]) -> None:
        stream[:] = [args[0]]

    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        seen = see(args[0])
        return None if seen is None else (seen if replaces else args[0] + seen, *args[1:])

    def after(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        is_sum = bool(stream)
        value = stream.pop() + output if is_sum else output
        seen = see(value)
        if seen is None or (replaces and not is_sum):
            return seen
        return output + (seen - value if replaces else seen)

    if site.adds_stream and site.stream is not None:
        handles.before(site.stream, remember)
    if site.edge == "in":
        handles.before(site.module, before)
    else:
        handles.after(site.module, after)


class Capture:
    """Collects activations at sites; a context manager, which can be entered again. Entered inside
    a Steerer it sees the edits.

    reduce: "all" keeps every selected token, "mean" one mean per row, "last" the last selected
    token of each row. Before a forward, `select(mask)` chooses its tokens; without it all are
    taken.
    """

    def __init__(self, decoder: nn.Module, sites: Iterable[str], *, reduce: str = "all") -> None:
        if reduce not in REDUCTIONS:
            raise ValueError(f"unknown reduce {reduce!r}; there are: {', '.join(REDUCTIONS)}")
        self.reduce = reduce
        found = [resolve(decoder, site) for site in sites]
        self._sites = {str(place.site): place for place in found}
        if not self._sites:
            raise ValueError("capture needs at least one site")
        self._kept: dict[str, list[torch.Tensor]] = {name: [] for name in self._sites}
        self._handles = HookHandles()
        self._mask: torch.Tensor | None = None

    def __enter__(self) -> Capture:
        for name, site in self._sites.items():
            hook_site(self._handles, site, partial(self._keep, name))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handles.remove()

    def select(self, mask: Any) -> None:
        """The tokens of the forwards from now on, bool `[R, S]`; None: all.

        Raises ValueError if a row has none and rows are reduced to one vector each.
        """
        if mask is None:
            self._mask = None
            return
        chosen = torch.as_tensor(mask)
        if chosen.dtype != torch.bool or chosen.dim() != 2:
            raise ValueError(f"the mask must be bool [R, S], got {chosen.dtype} {chosen.dim()}-d")
        if self.reduce != "all" and not chosen.any(1).all():
            row = int((~chosen.any(1)).nonzero()[0])
            raise ValueError(f"row {row} has no selected token, so it has no {self.reduce}")
        self._mask = chosen

    def activations(self, site: str) -> torch.Tensor:
        """What was collected, float32 `[n, d]` on the host, in the order of forwards and rows."""
        if site not in self._kept:
            raise KeyError(f"{site!r} is not captured; there are: {', '.join(self._kept)}")
        if not self._kept[site]:
            raise ValueError(f"nothing was captured at {site}: no forward ran through it")
        return torch.cat(self._kept[site])

    def clear(self) -> None:
        """Forget what was collected."""
        for kept in self._kept.values():
            kept.clear()

    def _keep(self, name: str, value: torch.Tensor) -> None:
        value = value.detach().float()
        mask = self._mask
        if mask is None:
            mask = torch.ones(value.shape[:2], dtype=torch.bool)
        if mask.shape != value.shape[:2]:
            raise ValueError(
                f"{name}: the forward has {list(value.shape[:2])} tokens, the selection "
                f"{list(mask.shape)}; call select before each forward"
            )
        mask = mask.to(value.device)
        if self.reduce == "mean":
            weights = mask.float()[..., None]
            value = (value * weights).sum(1) / weights.sum(1)
        elif self.reduce == "last":
            position = torch.arange(mask.shape[1], device=mask.device)
            last = torch.where(mask, position, -1).amax(1)
            value = value[torch.arange(len(value), device=value.device), last]
        else:
            value = value[mask]
        self._kept[name].append(value.cpu().clone())


def capture(decoder: nn.Module, sites: Iterable[str], *, reduce: str = "all") -> Capture:
    """`with capture(decoder, ["layers.3.resid:out"], reduce="mean") as seen:`; see `Capture`."""
    return Capture(decoder, sites, reduce=reduce)
