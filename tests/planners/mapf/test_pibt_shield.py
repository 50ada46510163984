"""The shield against a recursive PIBT written from the paper, and against the judge."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, MapfSimulator
from pilotage.envs.mapf.validation import lifelong_report
from pilotage.planners.mapf import GridGraph, PibtPolicy, PibtShield
from pilotage.planners.mapf.pibt_shield import resolve


class Wishes:
    """A policy with the preferences that it is given, or with random ones."""

    def __init__(self, wishes=None) -> None:
        self.wishes = wishes
        self.rng = np.random.default_rng(0)

    def preferences(self, cells, goals) -> np.ndarray:
        return self.rng.random((len(cells), 5)) if self.wishes is None else self.wishes


def recursive_pibt(order, choices, here) -> list[int]:
    """Okumura et al. 2022, algorithm 1, with the candidates' order given: sets and recursion."""
    plan: dict[int, int] = {}
    stands = {v: i for i, v in enumerate(here)}

    def settle(i: int, parent: int | None) -> bool:
        for v in choices[i]:
            taken = v in plan.values()
            if v < 0 or taken or (parent is not None and v == here[parent]):
                continue
            plan[i] = v
            j = stands.get(v)
            if j is not None and j not in plan and not settle(j, i):
                continue
            return True
        plan[i] = here[i]
        return False

    for i in order:
        if i not in plan:
            settle(i, None)
    return [plan[i] for i in range(len(here))]


@pytest.mark.parametrize("seed", range(60))
def test_next_cells_are_those_of_the_recursive_algorithm(seed) -> None:
    rng = np.random.default_rng(seed)
    graph = GridGraph(rng.random((5, 6)) < 0.8)
    n = int(rng.integers(1, graph.n_vertices + 1))
    here = rng.permutation(graph.n_vertices)[:n].astype(np.int32)
    order = rng.permutation(n)
    choices = rng.permuted(graph.neighbours[here], axis=1)
    after = resolve(order, choices, here, graph.n_vertices)
    assert after.tolist() == recursive_pibt(order.tolist(), choices.tolist(), here.tolist())
    assert len(set(after.tolist())) == n


@pytest.mark.parametrize("n_agents", [1, 30, 60])
def test_random_wishes_never_conflict(n_agents) -> None:
    free = np.random.default_rng(4).random((9, 9)) < 0.85
    cells = np.random.default_rng(1).permutation(np.argwhere(free))[:n_agents]
    instance = MapfInstance.lifelong(free, cells, [[c] for c in cells[::-1]])
    sim = MapfSimulator(1, n_agents=n_agents, max_height=9, max_width=9)
    sim.reset(0, instance)
    shield = PibtShield(Wishes(), free, n_agents)
    walked = [sim.positions()[0]]
    for _ in range(100):
        sim.step(shield.act(walked[-1], sim.positions("goals")[0])[None])
        assert sim.stopped[0] == 0
        walked.append(sim.positions()[0])
    assert not lifelong_report(instance, np.stack(walked, axis=1)).violations


def test_who_is_longest_on_the_way_gets_its_wish_until_its_goal_changes() -> None:
    """Two agents want the cell between them for ever, whatever their goals are."""
    wishes = np.array([[0, 0, 0, 0, 1.0], [0, 0, 0, 1.0, 0]])
    cells, goals = np.array([[0, 0], [0, 2]]), np.array([[0, 4], [0, 3]])
    shield = PibtShield(Wishes(wishes), np.ones((1, 5), bool), 2, seed=0)

    def winner() -> int:
        (moved,) = np.flatnonzero(shield.act(cells, goals))
        return int(moved)

    first = winner()  # by the tie-breaker
    other = 1 - first
    goals[first] = [0, 1]
    assert winner() == other
    goals[first] = cells[first]
    assert [winner() for _ in range(3)] == [other] * 3  # who rests at its goal has no priority
    goals[:] = [[0, 3], [0, 4]]
    assert winner() == first  # both are new to their goals


def test_preferences_by_distance_are_pibt_where_no_swap_is_needed() -> None:
    """A ring road: agents that go round one behind the other are all moved by both."""
    free = np.ones((3, 3), bool)
    free[1, 1] = False
    ring = np.array([[0, 0], [0, 1], [0, 2], [1, 2], [2, 2], [2, 1], [2, 0], [1, 0]])
    goals = np.roll(ring, -2, axis=0)
    actions = PibtPolicy(free, 8).act(ring, goals)
    assert actions.tolist() == [4, 4, 2, 2, 3, 3, 1, 1]
    assert PibtShield(Wishes(np.eye(5)[actions]), free, 8).act(ring, goals).tolist() == (
        actions.tolist()
    )


def test_bad_arguments_are_refused() -> None:
    cells = np.array([[0, 0], [0, 1]])
    for wishes, message in ((np.zeros((2, 4)), r"\[2, 4\]"), (np.full((2, 5), np.nan), "NaN")):
        with pytest.raises(ValueError, match=message):
            PibtShield(Wishes(wishes), np.ones((1, 2), bool), 2).act(cells, cells)
    with pytest.raises(ValueError, match="two agents stand on one cell"):
        PibtShield(Wishes(), np.ones((1, 2), bool), 2).act(cells[[0, 0]], cells)
    with pytest.raises(ValueError, match="n_agents must be >= 1, got 0"):
        PibtShield(Wishes(), np.ones((1, 2), bool), 0)
