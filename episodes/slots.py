"""One episode while it is being played: collects rows, and turns them into a record at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .types import EndReason, EpisodeRecord, Json
from .work import WorkItem

Rows = dict[str, list[np.ndarray]]
Pictures = Mapping[str, np.ndarray]  # of one step: "frames" uint8 [H, W, 3], "depths" uint16 [H, W]


class EpisodeInProgress:
    """The rows of one episode. Arrays given to it must not be changed afterwards."""

    def __init__(self, item: WorkItem, empty_actions: np.ndarray) -> None:
        """`empty_actions` has shape `[0, *action_shape]`: what an episode of no steps records."""
        self.item = item
        self.begun = False  # the agent has been told of it
        self._empty_actions = empty_actions
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._trace: Rows = {}
        self._agent_trace: Rows = {}
        self._pictures: Rows = {}

    @property
    def n_steps(self) -> int:
        return len(self._actions)

    def start(self, trace: Mapping[str, np.ndarray], pictures: Pictures) -> None:
        """Row 0: the state after reset."""
        self._trace = {name: [row] for name, row in trace.items()}
        self._pictures = {name: [picture] for name, picture in pictures.items()}

    def add(
        self,
        action: np.ndarray,
        reward: float,
        trace: Mapping[str, np.ndarray],
        agent_trace: Mapping[str, np.ndarray],
        pictures: Pictures,
    ) -> None:
        """One completed step: the action, and what the world looked like after it."""
        self._actions.append(action)
        self._rewards.append(reward)
        for name, row in trace.items():
            self._trace[name].append(row)
        for name, row in agent_trace.items():
            self._agent_trace.setdefault(name, []).append(row)
        for name, picture in pictures.items():
            self._pictures[name].append(picture)

    def record(
        self,
        agent_id: str,
        end: EndReason,
        *,
        success: bool,
        receipt: Mapping[str, Json],
        error: str | None,
    ) -> EpisodeRecord:
        return EpisodeRecord(
            task=self.item.task,
            condition=self.item.condition.name,
            seeds=self.item.seeds,
            agent_id=agent_id,
            end=end,
            success=success,
            actions=np.stack(self._actions) if self._actions else self._empty_actions,
            rewards=np.asarray(self._rewards, np.float64),
            trace=_stack(self._trace),
            agent_trace=_stack(self._agent_trace),
            receipt=receipt,
            error=error,
            **_stack(self._pictures),  # type: ignore[arg-type]
        )


def _stack(rows: Rows) -> dict[str, np.ndarray]:
    return {name: np.stack(values) for name, values in rows.items()}


def copy_batch(batch: Mapping[str, Any], n_slots: int, source: str) -> dict[str, np.ndarray]:
    """Own copies of named arrays `[n_slots, ...]`; ValueError names what has another first axis."""
    copies = {name: np.array(values) for name, values in batch.items()}
    for name, values in copies.items():
        if values.ndim == 0 or len(values) != n_slots:
            raise ValueError(
                f"{source}[{name!r}] has shape {list(values.shape)}, expected first axis {n_slots}"
            )
        if values.dtype.kind not in "biuf":
            raise ValueError(f"{source}[{name!r}] has dtype {values.dtype}, expected numbers")
    return copies


def layout(batch: Mapping[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name -> (row shape, dtype): what must stay the same from step to step."""
    return {name: (values.shape[1:], values.dtype.str) for name, values in batch.items()}
