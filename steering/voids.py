"""Voids: blocks that hardly change a token, found by L2 adaptive computation (arXiv:2505.14467).

With n_l = |h_l| after block l and d_l = n_l - n_{l-1}, a block is a void for a token if

    d_l < alpha (max_{j<l} d_j - min_{j<l} d_j)        (the first two blocks: if d_l < 0)

It judges lengths: a block that turns the stream without making it longer counts as a void, so read
`moves` beside it. The paper's own code skips nothing: every block still gets the whole stream, and
the output is read behind the last block that is no void (`last_active`). `Skipping` does what the
name says: what a void block would write is left out, for the blocks above as well. Keys and values
that the block makes from its input stay.
"""

from __future__ import annotations

from functools import partial
from types import TracebackType

import numpy as np
import torch
from torch import nn

from pilotage.steering.captures import hook_site
from pilotage.steering.handles import HookHandles
from pilotage.steering.sites import Site, find_layers, resolve

ALPHA = 0.8  # the paper's default


def void_layers(norms: np.ndarray, *, alpha: float = ALPHA) -> np.ndarray:
    """bool `[..., L]` from the lengths of the stream before the first and after every block,
    `[..., L + 1]`. ValueError for alpha outside [0, 1] and fewer than one block."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}; the paper takes {ALPHA}")
    if norms.ndim < 1 or norms.shape[-1] < 2:
        raise ValueError(f"norms {list(norms.shape)} must be [..., L + 1] with at least one block")
    gains = np.diff(norms.astype(np.float64), axis=-1)
    spread = np.maximum.accumulate(gains, axis=-1) - np.minimum.accumulate(gains, axis=-1)
    before = np.concatenate([np.zeros_like(spread[..., :1]), spread[..., :-1]], axis=-1)
    found: np.ndarray = gains < alpha * before
    return found


def last_active(voids: np.ndarray) -> np.ndarray:
    """int64 `[...]`: the blocks up to and with the last that is no void, from voids bool
    `[..., L]`; 0 where all are. Index into a trajectory `[L + 1]`: where the paper reads out."""
    n = voids.shape[-1]
    return np.where(voids.all(-1), 0, n - np.argmin(voids[..., ::-1], axis=-1))


def shuffled(voids: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """A control: as many voids a token, at blocks drawn at random."""
    return np.random.default_rng(seed).permuted(voids, axis=-1)


class Skipping:
    """A context manager: tokens go past blocks as if these were not there.

    mask: bool `[R, S, L]`, True where a token skips a block. Forwards inside must be of R rows and
    S tokens (ValueError). Entered inside a Steerer it also takes back what that edits at the
    skipped block.
    """

    def __init__(self, decoder: nn.Module, mask: torch.Tensor) -> None:
        n = len(find_layers(decoder))
        if mask.dtype != torch.bool or mask.dim() != 3 or mask.shape[2] != n:
            raise ValueError(
                f"the mask must be bool [R, S, {n}], got {mask.dtype} {list(mask.shape)}"
            )
        self._mask = mask
        self._before: dict[int, torch.Tensor] = {}
        self._handles = HookHandles()
        self._ends = [
            (resolve(decoder, Site(k, "resid:in")), resolve(decoder, Site(k, "resid:out")))
            for k in range(n)
        ]

    def __enter__(self) -> Skipping:
        for layer, (first, last) in enumerate(self._ends):
            # The stream before a block is the one behind the block below, after it skipped it.
            if layer == 0:
                hook_site(self._handles, first, partial(self._remember, layer))
            hook_site(self._handles, last, partial(self._undo, layer))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handles.remove()
        self._before.clear()

    def _remember(self, layer: int, value: torch.Tensor) -> None:
        if value.shape[:2] != self._mask.shape[:2]:
            raise ValueError(
                f"the forward has {list(value.shape[:2])} tokens, the mask "
                f"{list(self._mask.shape[:2])}"
            )
        self._before[layer] = value

    def _undo(self, layer: int, value: torch.Tensor) -> torch.Tensor:
        before = self._before.pop(layer)
        skipped = self._mask[..., layer, None].to(value.device)
        self._before[layer + 1] = torch.where(skipped, before, value)
        return torch.where(skipped, before - value, torch.zeros_like(value))
