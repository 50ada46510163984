"""A scheme and a back end as an agent of the graph world's panoramic actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pilotage.agents.scripted import ScriptedAgent
from pilotage.episodes.types import Condition, Json, Observations, Seeds, SlotError, Task

from .asking import Backend
from .scheme import Mind, Scheme
from .sights import look


class PromptedAgent(ScriptedAgent):
    """Asks a back end what to do, for all slots in one call, and reads its replies.

    A slot whose prompt got no answer at all (the service is down) ends as an agent error, which is
    no failed attempt; a reply that cannot be read is dealt with by the scheme, and counted.

    Args:
        keep_prompts: whether receipts hold the prompts (several kB each).
    """

    def __init__(
        self,
        scheme: Scheme,
        backend: Backend,
        *,
        about: Mapping[str, Json] | None = None,
        keep_prompts: bool = True,
    ) -> None:
        self.agent_id = f"{scheme.name}:{backend.name}"
        self.observation_needs = frozenset({"expert_action"} if backend.needs_expert else ())
        self._scheme, self._backend = scheme, backend
        self._about, self._keep_prompts = dict(about or {}), keep_prompts
        self._minds: list[Mind] = []
        self._decided: dict[int, int] = {}

    def manifest(self) -> dict[str, Json]:
        about = {**self._scheme.about(), **self._about}
        return {"agent": self.agent_id, **about, "backend": self._backend.manifest()}

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._minds = [self._mind() for _ in range(n_slots)]
        self._decided = {}

    def _mind(self) -> Mind:
        return Mind(self._scheme, keep_prompts=self._keep_prompts)

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._minds[slot] = self._mind()
        self._decided.pop(slot, None)

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        """Actions int64 [n]: 0 stop, k the k-th place; inactive slots stop.

        Raises SlotError naming the slots that got no reply. What the others decided is kept, and
        given when they are asked again, so that no prompt is paid for twice.
        """
        slots = np.flatnonzero(active).tolist()
        silent = self._decide([s for s in slots if s not in self._decided], observations)
        if silent:
            raise SlotError(silent)
        actions = np.zeros(len(active), np.int64)
        for slot in slots:
            actions[slot] = self._decided.pop(slot)
        return actions

    def _decide(self, slots: Sequence[int], observations: Observations) -> dict[int, str]:
        """Fill `_decided` for `slots`, round by round; returns why some got no reply."""
        silent: dict[int, str] = {}
        asking = []
        for slot in slots:
            action = self._minds[slot].see(look(observations, slot))
            if action is None:
                asking.append(slot)
            else:
                self._decided[slot] = action
        if self._backend.writes:
            self._sum_up(asking)
        while asking:
            replies = self._backend.answer([self._minds[slot].ask() for slot in asking])
            waiting = []
            for slot, reply in zip(asking, replies, strict=True):
                if reply.error is not None:
                    self._minds[slot].lost(reply)
                    silent[slot] = reply.error
                    continue
                action = self._minds[slot].hear(reply)
                if action is None:
                    waiting.append(slot)
                else:
                    self._decided[slot] = action
            asking = waiting
        return silent

    def _sum_up(self, slots: Sequence[int]) -> None:
        """The summaries that a scheme wants of its last moves, in one call."""
        wanted = [(self._minds[slot], self._minds[slot].ask_summary()) for slot in slots]
        asked = [(mind, request) for mind, request in wanted if request is not None]
        if asked:
            replies = self._backend.answer([request for _, request in asked])
            for (mind, _), reply in zip(asked, replies, strict=True):
                mind.hear_summary(reply)

    def finish_slot(self, slot: int) -> dict[str, Json]:
        """The receipt of `Mind.receipt`: prompts, tokens, failures by kind, every decision."""
        return self._minds[slot].receipt()
