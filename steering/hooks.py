"""The hooks of one site: they capture the residual stream where it is needed and run the site's
lanes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pilotage.steering.handles import HookHandles
from pilotage.steering.lanes import Lane
from pilotage.steering.sites import ResolvedSite


class SiteHooks:
    """Leaf-module hooks of a site. Idle (nothing is touched) unless a lane has a mask."""

    def __init__(self, site: ResolvedSite) -> None:
        self.site = site
        self.lanes: list[Lane] = []
        self.active: list[Lane] = []  # the lanes with something to do in this forward
        self.stream: torch.Tensor | None = None

    def attach(self, handles: HookHandles) -> None:
        """Register the hooks; a `down_proj:out` edit comes before one of `resid:out`."""
        if self.site.stream is not None:
            handles.before(self.site.stream, self._capture)
        if self.site.edge == "in":
            handles.before(self.site.module, self._edit_input)
        else:
            first = not self.site.adds_stream
            handles.after(self.site.module, self._edit_output, prepend=first)

    def arm(self) -> None:
        """Called when the lanes have been armed or disarmed."""
        self.active = [lane for lane in self.lanes if lane.armed]
        self.stream = None

    def _capture(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self.active:
            self.stream = args[0]

    def _edit_input(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self.active:
            return None
        return (self._edit(args[0]), *args[1:])

    def _edit_output(
        self, module: nn.Module, args: tuple[Any, ...], output: torch.Tensor
    ) -> torch.Tensor | None:
        if not self.active:
            return None
        return self._edit(output)

    def _edit(self, value: torch.Tensor) -> torch.Tensor:
        stream = self.stream
        expected = tuple(self.active[0].mask.shape[:2])
        if value.dim() != 3 or tuple(value.shape[:2]) != expected:
            raise RuntimeError(
                f"site {self.site.site}: the forward has shape {list(value.shape)} but `begin` "
                f"announced {expected[0]} rows of {expected[1]} tokens; call `begin` before every "
                "forward"
            )
        if self.site.stream is not None and stream is None:
            raise RuntimeError(
                f"site {self.site.site}: {type(self.site.stream).__name__} before this branch was "
                "not called in this forward, so the residual stream is unknown"
            )
        for lane in self.active:
            value = lane.edit(value, stream)
        self.stream = None
        return value
