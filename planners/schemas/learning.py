"""Schemas from walks: the map of a clone-structured graph without its symbols, and such maps of
several rooms laid on each other."""

from __future__ import annotations

import numpy as np

from pilotage.planners.cscg import CSCG, LearnedMap, map_walk
from pilotage.planners.schemas.schema import UNKNOWN, Schema


def learn_schema(
    observations: np.ndarray,
    actions: np.ndarray,
    *,
    n_symbols: int,
    n_actions: int,
    n_clones: int,
    seed: int,
    pseudocount: float = 2e-3,
) -> Schema:
    """What a clone-structured graph learns of a walk: observations int `[T]`, actions `[T - 1]`.

    Raises ValueError for sequences that do not fit each other or the numbers.
    """
    model = CSCG(n_symbols, n_clones, n_actions, seed=seed)
    found = map_walk(model, observations, actions, pseudocount=pseudocount)
    return without_symbols(found, n_actions)


def without_symbols(found: LearnedMap, n_actions: int) -> Schema:
    """The likeliest end of every action of a learned map; its states become slots, in order."""
    slots = {state: slot for slot, state in enumerate(sorted(found.graph))}
    leads = np.full((len(slots), n_actions), UNKNOWN)
    for state, after, way in sorted(
        found.graph.edges(data=True), key=lambda edge: float(edge[2]["probability"])
    ):
        leads[slots[state], way["action"]] = slots[after]
    return Schema(leads)


def join(schema: Schema, other: Schema, *, least: int = 8) -> Schema:
    """The larger of both, with the edges that it lacks and the other knows.

    Of all ways to lay a slot of the smaller on one of the larger, and with them all that follows
    along edges that both know, the one counts that agrees in most edges between different slots
    and contradicts in none; the first of equal ones. With fewer than `least` agreements the larger
    is returned as it is; so are slots of the smaller left out that meet none.
    """
    base, added = sorted((schema, other), key=lambda s: (s.n_slots, s.n_known), reverse=True)
    best, most = base, least - 1
    for place in range(base.n_slots):
        for slot in range(added.n_slots):
            names = _laid(base, added, slot, place)
            leads, agreeing = _union(base, added, names)
            if agreeing > most:
                best, most = Schema(leads), agreeing
    return best


def _laid(base: Schema, added: Schema, slot: int, place: int) -> dict[int, int]:
    """Slot of `added` -> slot of `base`, along edges that both know."""
    names = {slot: place}
    waiting = [slot]
    while waiting:
        at = waiting.pop()
        for end, there in zip(added.leads[at].tolist(), base.leads[names[at]].tolist()):
            if UNKNOWN not in (end, there) and end not in names:
                names[end] = there
                waiting.append(end)
    return names


def _union(base: Schema, added: Schema, names: dict[int, int]) -> tuple[np.ndarray, int]:
    """Leads of base with those of added, and in how many edges both agree: -1 where they
    contradict each other, or two slots are laid on one."""
    leads, agreeing = base.leads.copy(), 0
    if len(set(names.values())) < len(names):
        return leads, -1
    for slot, place in names.items():
        for action, end in enumerate(added.leads[slot].tolist()):
            if end not in names:
                continue
            there = leads[place, action]
            if there == UNKNOWN:
                leads[place, action] = names[end]
            elif there != names[end]:
                return leads, -1
            else:
                agreeing += there != place
    return leads, int(agreeing)
