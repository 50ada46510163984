"""The residual stream through all layers, as a trajectory of each token through the blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import nn

from pilotage.steering.captures import hook_site
from pilotage.steering.handles import HookHandles
from pilotage.steering.sites import Site, final_norm, find_layers, resolve, unembedding


class Streams:
    """Keeps the stream at the last position of each row, in every forward it is around, or with
    `all_positions` at every one.

    A context manager. Entered inside a Steerer, behind its `prepare` or `set_row`, it sees what the
    steered model computes with, an edit at `resid:out` being part of what its layer does. The
    forward computes the same with and without it.
    """

    def __init__(self, decoder: nn.Module, *, all_positions: bool = False) -> None:
        self.all_positions = all_positions
        self.n_layers = len(find_layers(decoder))
        names = [Site(0, "resid:in"), *(Site(n, "resid:out") for n in range(self.n_layers))]
        self._sites = [resolve(decoder, name) for name in names]
        self._found: dict[int, torch.Tensor] = {}
        self._handles = HookHandles()

    def __enter__(self) -> Streams:
        for place, site in enumerate(self._sites):
            hook_site(self._handles, site, partial(self._keep, place))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handles.remove()

    def take(self) -> torch.Tensor:
        """`[R, L + 1, d]` of the last forward: before the first block, and after every block; of
        all positions `[R, S, L + 1, d]`.

        Raises ValueError if no forward ran through all blocks.
        """
        found, self._found = self._found, {}
        missing = [str(s.site) for n, s in enumerate(self._sites) if n not in found]
        if missing:
            raise ValueError(f"no forward ran through {', '.join(missing)}")
        return torch.stack([found[n] for n in range(len(self._sites))], dim=-2)

    def _keep(self, place: int, value: torch.Tensor) -> None:
        self._found[place] = (value if self.all_positions else value[:, -1]).detach().float()


def lens(decoder: nn.Module, ids: range) -> Callable[[torch.Tensor], torch.Tensor]:
    """The logit lens for some tokens: a function of streams `[..., d]` that gives float32 logits
    `[..., len(ids)]`, through the final norm and the rows `ids` of the unembedding."""
    norm: Any = final_norm(decoder)
    head = unembedding(decoder)[ids.start : ids.stop]
    if len(head) != len(ids) or ids.step != 1:
        raise ValueError(f"the model has tokens 0 to {len(unembedding(decoder)) - 1}, not {ids}")

    def read(streams: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            normed: torch.Tensor = norm(streams.to(head.dtype))
            return (normed @ head.T).float()

    return read
