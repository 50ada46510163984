"""A schema: slots, and where actions lead from each; what is seen there is left open."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Schema:
    """leads: int64 `[slots, actions]`, the slot to which an action leads, or UNKNOWN."""

    leads: np.ndarray

    def __post_init__(self) -> None:
        leads = self.leads
        if leads.ndim != 2 or not leads.size or leads.min() < UNKNOWN or leads.max() >= len(leads):
            raise ValueError(
                f"leads must be [slots, actions] of slots or {UNKNOWN}, got {list(leads.shape)}"
                + (f" of {leads.min()} to {leads.max()}" if leads.size else "")
            )

    @property
    def n_slots(self) -> int:
        return len(self.leads)

    @property
    def n_actions(self) -> int:
        return self.leads.shape[1]

    @property
    def n_known(self) -> int:
        """Pairs of slot and action whose end is known."""
        return int((self.leads != UNKNOWN).sum())

    @cached_property
    def distances(self) -> np.ndarray:
        """Fewest actions from each slot to each, float64 `[slots, slots]`; infinite without way."""
        slots, actions = np.nonzero(self.leads != UNKNOWN)
        edges = slots, self.leads[slots, actions]
        graph = csr_array((np.ones(len(slots)), edges), shape=(self.n_slots, self.n_slots))
        return np.asarray(dijkstra(graph, unweighted=True))

    def toward(self, here: int, targets: np.ndarray) -> int | None:
        """The first action of a shortest way to the nearest of the targets, bool `[slots]`; of
        equal ones the one with the lowest number. None where no way is known, or here is one."""
        left = self.distances[:, targets].min(axis=1, initial=np.inf)
        if left[here] == 0 or np.isinf(left[here]):
            return None
        ends = self.leads[here]
        nearer = (ends != UNKNOWN) & (left[ends] == left[here] - 1)
        return int(nearer.argmax())
