"""What a loaded policy is to the agent that runs it in slots."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from pilotage.episodes.types import Json


class Announce(Protocol):
    """Announces a forward of the steered stack."""

    def __call__(
        self,
        token_groups: torch.Tensor,
        phase: str,
        decode_token: int,
        *,
        denoise_step: int | None = None,
    ) -> None:
        """token_groups int8 `[R, S]`; the rest as in `Steerer.begin`."""


@dataclass(frozen=True)
class Scene:
    """What R rows see when they decide. Rows that are not `live` (bool `[R]`) hold zeros.

    texts: R instructions; pictures: uint8 `[R, H, W, 3]` by observation key; proprio float32
    `[R, P]`; noise: a generator of each row's own, used where actions are drawn.
    """

    texts: tuple[str, ...]
    pictures: dict[str, np.ndarray]
    proprio: np.ndarray
    live: np.ndarray
    noise: tuple[np.random.Generator, ...]


@dataclass(frozen=True)
class Decision:
    """Actions float64 `[R, H, 7]` in the data's units, of the next H steps; trace: arrays `[R,
    ...]`; odd: int `[R]`, how many choices had to be corrected (see the policy)."""

    actions: np.ndarray
    trace: dict[str, np.ndarray]
    odd: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


class LoadedPolicy(Protocol):
    """A published network with its pictures, prompts and action units.

    decoder: the stack that is steered and read. picture_keys: observations it looks at. horizon:
    steps that one decision lasts. trace: names of what a decision records, with the fill value and
    the shape of one row.
    """

    decoder: nn.Module
    picture_keys: tuple[str, ...]
    horizon: int
    trace: dict[str, tuple[Any, tuple[int, ...]]]

    def allocate(self, n_rows: int) -> None:
        """Make room for decisions of `n_rows` rows at once."""

    def check_text(self, text: str) -> None:
        """ValueError for an instruction that does not fit."""

    def decide(
        self, scene: Scene, announce: Announce, watch: AbstractContextManager[None]
    ) -> Decision:
        """Decide for all rows; `announce` before each forward of the stack, `watch` around the
        first."""

    def manifest(self) -> dict[str, Json]:
        """What identifies it, beside the digest of its weights."""

    def text_of(self, token_id: int) -> str:
        """A token as a word or as an action."""
