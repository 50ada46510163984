"""Back ends that choose and write nothing: the oracle, and the nearest caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pilotage.episodes.types import Json

from .asking import RULED_OUT, STOP, Reply, Request, need_options, spent

COUNTED = "words and punctuation marks"


class Oracle:
    """Names the option that is what the world's expert does: privileged, a test of the agent.

    Its replies go the same way as any model's. Where the expert would stop and stopping is not
    offered, it names the first place, from which the expert leads back.
    """

    name = "oracle"
    needs_expert = True
    writes = False

    def manifest(self) -> dict[str, Json]:
        return {"backend": self.name, "tokens": COUNTED}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """ValueError for a request that does not say what the expert does."""
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        need_options(request, self.name)
        if request.expert is None:
            raise ValueError(
                "the oracle is not told what the expert does; make the world with "
                "expert_actions=True"
            )
        labels = {option.action: option.label for option in request.options}
        nearest = request.options[0].label
        return spent(request, request.worded(labels.get(request.expert, nearest)))


class Embedder(Protocol):
    """Texts as directions."""

    @property
    def name(self) -> str:
        """For manifests."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, d], each of length 1 (0 for a text without words)."""


class Nearest:
    """Names the option whose caption and way of going are nearest to the goal of the request.

    The score is cos(goal, caption) + turn_weight * cos(goal, "turn left") + the option's bonus,
    and for stopping, whose caption is all that is seen around, cos(goal, caption) + stop_bonus +
    the option's bonus. The first of the best wins.

    Options that the agent's rules rule out are not looked at, unless there are no others.
    """

    needs_expert = False
    writes = False

    def __init__(
        self, embedder: Embedder, *, turn_weight: float = 0.5, stop_bonus: float = 0.0
    ) -> None:
        self.name, self._embedder = embedder.name, embedder
        self._turn_weight, self._stop_bonus = turn_weight, stop_bonus

    def manifest(self) -> dict[str, Json]:
        weights = {"turn_weight": self._turn_weight, "stop_bonus": self._stop_bonus}
        return {"backend": self.name, **weights, "tokens": COUNTED}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        need_options(request, self.name)
        able = [option for option in request.options if option.bonus > RULED_OUT]
        able = able or list(request.options)
        goal, *rest = self._embedder.embed(
            [request.goal, *(o.caption for o in able), *(o.way for o in able)]
        )
        toward, turns = np.array(rest).reshape(2, len(able), -1) @ goal
        stops = np.array([option.action == STOP for option in able])
        own = np.where(stops, self._stop_bonus, self._turn_weight * turns)
        scores = toward + own + np.array([option.bonus for option in able])
        return spent(request, request.worded(able[int(np.argmax(scores))].label))
