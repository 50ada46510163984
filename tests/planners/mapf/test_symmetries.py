"""Splits of symmetric conflicts: CBS and EECBS stay optimal, and need few nodes where plain splits
need very many."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, validate_paths
from pilotage.planners.mapf import GridGraph, PlanStatus, cbs, eecbs
from pilotage.planners.mapf.conflict_based_search import find_conflicts
from pilotage.planners.mapf.constraints import BE, FROM, REST, UNTIL, ConstraintTable, earliest_end
from pilotage.planners.mapf.eecbs_paths import LowLevel
from pilotage.planners.mapf.pair_bounds import EXACT_UP_TO, least_total
from pilotage.planners.mapf.results import Problem
from pilotage.planners.mapf.symmetries import Side, Symmetries

ROOMS = ["..####..", "........", "..####.."]  # a passage of four cells between two rooms
BAY = ["#.#####", ".......", "###.###"]


def free_of(rows: list[str]) -> np.ndarray:
    return np.array([[c == "." for c in row] for row in rows])


def drawn(family: str, n: int, *, seed: int) -> list[MapfInstance]:
    """Two agents where conflicts of a kind are common: on an open map (or with a few walls) both go
    from one corner to the other and start equally far from it; else they go anywhere."""
    rng = np.random.default_rng(seed)
    made: list[MapfInstance] = []
    while len(made) < n:
        if family == "open":
            free = rng.random((4, 5)) < rng.choice([0.85, 1.0])
            along = np.argwhere(free).sum(axis=1)
            from_cells = np.argwhere(free)[along == rng.integers(1, 4)]
            to_cells = np.argwhere(free)[along >= 5]
        elif family == "walls":
            free = rng.random((5, 5)) < 0.85
            from_cells = to_cells = np.argwhere(free)
        else:
            free = free_of(ROOMS if rng.random() < 0.6 else BAY)
            from_cells = to_cells = np.argwhere(free)
        if min(len(from_cells), len(to_cells)) < 2:
            continue
        starts, goals = (rng.permutation(cells)[:2] for cells in (from_cells, to_cells))
        made.append(MapfInstance.one_shot(free, starts, goals, name=f"{family} {len(made)}"))
    return made


@pytest.fixture
def splits(monkeypatch) -> Counter[str]:
    """How often each kind of split was made; a rectangle's has several places."""
    counted: Counter[str] = Counter()
    whole = Symmetries.split

    def counting(self, conflict, i, j):
        branches = whole(self, conflict, i, j)
        kinds = {c[3] for _, more in branches for c in more}
        several = max(len(more) for _, more in branches) > 1
        for kind, word in ((REST, "target"), (UNTIL, "corridor"), (BE, "rectangle")):
            counted[word] += kind in kinds and (several or kind != BE)
        return branches

    monkeypatch.setattr(Symmetries, "split", counting)
    return counted


@pytest.mark.parametrize(
    ("family", "kinds"), [("open", ["rectangle", "target"]), ("rooms", ["corridor", "target"])]
)
def test_plans_are_optimal_where_conflicts_are_symmetric(family, kinds, oracle, splits) -> None:
    solved = 0
    for instance in drawn(family, 100, seed=3):
        least = oracle(instance)
        if least is None:
            continue
        for name, result in (
            ("cbs", cbs(instance, time_limit_s=600.0, max_nodes=300)),
            ("eecbs", eecbs(instance, time_limit_s=600.0, suboptimality=1.0, max_nodes=300)),
        ):
            assert result.lower_bound <= least, (instance.name, name)
            if result.status is PlanStatus.SOLVED:
                assert validate_paths(instance, result.paths).success
                assert result.sum_of_costs == least, (instance.name, name)
                solved += 1
    assert solved > 130
    for kind in kinds:
        assert splits[kind] > 10, splits


def some_shortest_path(rng, states: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """A random way through a decision diagram, from the end back."""
    n = len(neighbours)
    inside = set(states.tolist())
    way = [int(states[-1])]
    while way[-1] >= n:
        step, v = divmod(way[-1], n)
        before = [(step - 1) * n + u for u in neighbours[v].tolist() if u >= 0]
        way.append(int(rng.choice([state for state in before if state in inside])))
    return np.array(way[::-1], np.int32) % n


def both_broken_without_meeting(neighbours, starts, constraints, branches) -> bool:
    """Can the two agents break both branches, keep their own constraints, and not meet? All joint
    walks up to the last step that counts, as a set of (vertex, vertex, broken, broken)."""
    n = len(neighbours)
    barred = [{(c[1], c[2]) for c in own} for own in constraints]
    marks = []
    for _, more in branches:
        marks.append(
            {(t, c[2]) for c in more for t in (range(c[1] + 1) if c[3] == UNTIL else [c[1]])}
        )
    here = np.zeros((n, n, 2, 2), bool)
    here[starts[0], starts[1], 0, 0] = True
    for t in range(1, 1 + max(step for places in marks for step, _ in places)):
        after = np.zeros_like(here)
        for v, w, x, y in np.argwhere(here).tolist():
            for v2, w2 in product(neighbours[v].tolist(), neighbours[w].tolist()):
                apart = min(v2, w2) >= 0 and v2 != w2 and (v2, w2) != (w, v)
                if apart and (t, v2) not in barred[0] and (t, w2) not in barred[1]:
                    broken = int(x or (t, v2) in marks[0]), int(y or (t, w2) in marks[1])
                    after[v2, w2, *broken] = True
        here = after
    return bool(here[:, :, 1, 1].any())


@pytest.mark.parametrize(
    ("family", "kind", "n"), [("open", BE, 60), ("walls", BE, 2000), ("rooms", UNTIL, 500)]
)
def test_no_pair_of_paths_that_do_not_meet_breaks_both_branches(family, kind, n) -> None:
    """Also where agents have constraints already, and waits and detours are allowed."""
    rng = np.random.default_rng(5)
    checked = 0
    for instance in drawn(family, n, seed=4):
        problem = Problem(instance, 600.0)
        if problem.measure() is not None:
            continue
        neighbours = problem.graph.neighbours
        low = LowLevel(problem, problem.fields.table[problem.rows])
        sides = []
        for agent in (0, 1):
            own = tuple(
                (agent, int(rng.integers(1, 7)), int(rng.integers(len(neighbours))), BE)
                for _ in range(rng.integers(5))
            )
            if low.shortest(agent, own) is None:
                break
            diagram = low.diagram(agent, own)
            sides.append(Side(some_shortest_path(rng, diagram.states, neighbours), own, diagram))
        if len(sides) < 2:
            continue
        for conflict in find_conflicts((sides[0].path, sides[1].path)):
            branches = Symmetries(problem, low.table).split(conflict, *sides)
            if {c[3] for _, more in branches for c in more} != {kind}:
                continue
            if kind == BE and max(len(more) for _, more in branches) == 1:
                continue
            constraints = [side.constraints for side in sides]
            starts = problem.starts.tolist()
            assert not both_broken_without_meeting(neighbours, starts, constraints, branches)
            checked += 1
    assert checked > 5


def test_after_they_have_crossed_once_two_agents_need_not_meet_again() -> None:
    """They meet at step 2 and, having changed sides, at step 4. A rectangle around the second
    meeting that began before the first would forbid plans in which they keep their sides."""
    instance = MapfInstance.one_shot(np.ones((6, 6), bool), [[0, 2], [2, 0]], [[5, 5], [5, 4]])
    problem = Problem(instance, 600.0)
    assert problem.measure() is None
    low = LowLevel(problem, problem.fields.table[problem.rows])
    routes = (
        [[0, 2], [1, 2], [2, 2], [3, 2], [3, 3], [3, 4], [3, 5], [4, 5], [5, 5]],
        [[2, 0], [2, 1], [2, 2], [2, 3], [3, 3], [4, 3], [5, 3], [5, 4]],
    )
    i, j = (
        Side(problem.graph.vertices(np.array(route)), (), low.diagram(agent, ()))
        for agent, route in enumerate(routes)
    )
    assert [c[2] for c in find_conflicts((i.path, j.path))] == [2, 4]
    for conflict in find_conflicts((i.path, j.path)):
        branches = Symmetries(problem, low.table).split(conflict, i, j)
        starts = problem.starts.tolist()
        neighbours = problem.graph.neighbours
        assert not both_broken_without_meeting(neighbours, starts, ((), ()), branches)


def test_who_comes_on_time_only_inside_a_rectangle_has_not_crossed_it() -> None:
    """The first has two ways around the wall at (1, 2). By row 2 it is on time from step 1 on; by
    row 0 only at its goal, in the last column of the rectangle, without having met the second. So
    its goal is not forbidden at that step; (2, 0), which it reaches by row 2 alone, is."""
    free = free_of([".....", "..#..", ".....", "...#.", "....."])
    instance = MapfInstance.one_shot(free, [[1, 3], [4, 1]], [[1, 0], [0, 2]])
    problem = Problem(instance, 600.0)
    assert problem.measure() is None
    index, neighbours = problem.graph.index, problem.graph.neighbours
    low = LowLevel(problem, problem.fields.table[problem.rows])
    own = ((), ((1, 2, int(index[2, 1]), BE),))  # the second waits once
    for agent in (0, 1):
        assert low.shortest(agent, own[agent]) is not None
    routes = (
        [[1, 3], [2, 3], [2, 2], [2, 1], [2, 0], [1, 0]],
        [[4, 1], [3, 1], [3, 1], [2, 1], [1, 1], [0, 1], [0, 2]],
    )
    i, j = (
        Side(problem.graph.vertices(np.array(route)), own[k], low.diagram(k, own[k]))
        for k, route in enumerate(routes)
    )
    (conflict,) = find_conflicts((i.path, j.path))
    branches = Symmetries(problem, low.table).split(conflict, i, j)
    assert branches == [
        (0, ((0, 4, int(index[2, 0]), BE),)),
        (1, ((1, 5, int(index[0, 1]), BE),)),
    ]
    starts = problem.starts.tolist()
    assert not both_broken_without_meeting(neighbours, starts, own, branches)


@pytest.mark.parametrize("solver", [cbs, eecbs])
@pytest.mark.parametrize(
    ("kind", "free", "starts", "goals", "above"),
    [
        # both go down and right across 8 x 8 cells that they cannot both cross in time
        ("rectangle", np.ones((10, 10), bool), [[1, 0], [0, 1]], [[8, 9], [9, 8]], 1),
        # the second can be at its end of the passage at step 7, when the first has left it, not 1
        ("corridor", free_of(ROOMS), [[1, 0], [1, 7]], [[1, 7], [1, 0]], 6),
        # the second comes by the first's goal at step 5: it is in the bay beside it until then
        ("target", free_of(["." * 9, "#####.###"]), [[0, 4], [0, 0]], [[0, 5], [0, 8]], 5),
    ],
)
def test_few_nodes_are_enough(kind, free, starts, goals, above, solver, splits) -> None:
    instance = MapfInstance.one_shot(free, starts, goals)
    options = {"suboptimality": 1.0} if solver is eecbs else {}
    result = solver(instance, time_limit_s=600.0, max_nodes=24, **options)
    assert result.status is PlanStatus.SOLVED
    assert splits[kind] > 0
    alone = int(np.abs(np.array(starts) - np.array(goals)).sum())
    assert result.sum_of_costs == alone + above


def test_constraints_in_the_table_by_hand() -> None:
    """On a line of three cells: what each kind forbids, and that the table is clean afterwards."""
    graph = GridGraph(np.ones((1, 3), bool))
    table = ConstraintTable(graph)
    right, left = 4, 3
    into_middle = [(0, right), (1, 0), (2, left)]  # (vertex, action)

    def forbidden(*constraints, n_steps=0) -> dict[int, list[tuple[int, int]]]:
        with table.forbidding(constraints, n_steps) as rows:
            return {
                t: [tuple(place) for place in np.argwhere(row).tolist()]
                for t, row in enumerate(rows)
                if row.any()
            }

    assert forbidden((0, 2, 1, BE)) == {1: into_middle}
    assert forbidden((0, 2, 1, UNTIL)) == {0: into_middle, 1: into_middle}
    assert forbidden((0, 2, 1, FROM), n_steps=4) == dict.fromkeys((1, 2, 3), into_middle)
    assert forbidden((0, 3, 0, right)) == {2: [(0, right)]}
    assert forbidden((0, 3, 2, REST)) == {}
    assert forbidden(n_steps=5) == {}
    assert earliest_end([(0, 3, 2, REST), (0, 1, 2, REST)]) == 4
    assert table.closed([(0, 2, 1, FROM)]).tolist() == [[-1] * 3, [-1] * 3, [-1, 0, -1]]


def test_covers_by_enumeration() -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        n = int(rng.integers(2, 7))
        pairs = {
            (i, j): int(rng.integers(1, 4))
            for i in range(n)
            for j in range(i)
            if rng.random() < 0.5
        }
        least = min(
            sum(x)
            for x in product(range(4), repeat=n)
            if all(x[i] + x[j] >= w for (i, j), w in pairs.items())
        )
        assert least_total(pairs) == least
    ring = {(i, (i + 1) % 15): 1 for i in range(15)}  # more than are looked at exactly
    assert len(ring) > EXACT_UP_TO
    assert least_total(ring) == 7  # a matching; the least cover takes 8
