"""The batched simulator against traces of POGEMA, a plain reading of the rules, and the judge."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, MapfSimulator
from pilotage.envs.mapf.instance import MOVES
from pilotage.envs.mapf.moves import draw
from pilotage.envs.mapf.validation import lifelong_report

TRACES = json.loads((Path(__file__).parent / "pogema_traces.json").read_text())


def instance_in(episode: dict) -> MapfInstance:
    free = np.array([[c == "." for c in row] for row in episode["map"]])
    make = MapfInstance.lifelong if episode["lifelong"] else MapfInstance.one_shot
    return make(free, episode["starts"], episode["goals"])


def simulator_for(episodes: list[dict], system: str) -> MapfSimulator:
    instances = [instance_in(e) for e in episodes]
    sim = MapfSimulator(
        len(episodes),
        n_agents=max(x.n_agents for x in instances),
        max_height=max(x.free.shape[0] for x in instances),
        max_width=max(x.free.shape[1] for x in instances),
        collision=system,
        obs_radius=TRACES["obs_radius"],
    )
    for k, instance in enumerate(instances):
        sim.reset(k, instance)
    return sim


def check_traces(system: str, episodes: list[dict]) -> None:
    """All episodes of a system side by side: cells, goals, rewards and windows are POGEMA's."""
    sim = simulator_for(episodes, system)
    joint = np.zeros((len(episodes), sim.n_agents), np.int64)
    n_steps = len(episodes[0]["actions"])
    for t in range(n_steps + 1):
        on_goal = np.zeros(joint.shape, bool)
        if t:
            for k, episode in enumerate(episodes):
                row = [int(c) for c in episode["actions"][t - 1]]
                joint[k, : len(row)] = row
            on_goal, done = sim.step(joint)
        windows = sim.observe()
        for k, episode in enumerate(episodes):
            n, width = len(episode["starts"]), len(episode["map"][0])
            where = f"{system}, episode {k}, step {t}"
            cells, goals = sim.positions()[k, :n], sim.positions("goals")[k, :n]
            assert (cells @ (width, 1)).tolist() == episode["cells"][t], where
            if episode["lifelong"]:
                assert (goals @ (width, 1)).tolist() == episode["targets"][t], where
                rewarded = on_goal[k, :n]
            else:
                rewarded = np.full(n, bool(t) and done[k])
            assert "".join(str(int(r)) for r in rewarded) == episode["rewards"][t], where
            if t % 8 == 0:
                seen = ["".join(str(int(v)) for v in w.ravel()) for w in windows[k, :3]]
                assert seen == episode["observations"][t // 8], where
            assert not windows[k, n:].any()


@pytest.mark.parametrize("system", ["soft", "priority", "block_both"])
def test_traces_of_pogema(system) -> None:
    assert TRACES["pogema"] == "1.4.0"
    episodes = [e for e in TRACES["episodes"] if e["system"] == system]
    assert {e["lifelong"] for e in episodes} == {True, False}
    check_traces(system, episodes)


def soft_by_the_book(free, cells, actions):
    """The rule in words, as loops over sets: who stays makes others stay, until nothing changes."""
    wish = [tuple(c + m) for c, m in zip(cells, MOVES[actions])]
    cells = [tuple(c) for c in cells]
    height, width = free.shape
    stay = set()
    for i, (r, c) in enumerate(wish):
        outside = not (0 <= r < height and 0 <= c < width) or not free[r, c]
        swaps = any(wish[j] == cells[i] and wish[i] == cells[j] for j in range(len(wish)) if j != i)
        if outside or wish[i] == cells[i] or swaps:
            stay.add(i)
    while True:
        held = {cells[i] for i in stay}
        more = {i for i in range(len(wish)) if i not in stay and wish[i] in held}
        for i in range(len(wish)):
            rivals = [j for j in range(len(wish)) if j not in stay and wish[j] == wish[i]]
            if i not in stay and rivals and i != min(rivals):
                more.add(i)
        if not more:
            return [cells[i] if i in stay else wish[i] for i in range(len(wish))]
        stay |= more


def test_soft_moves_as_the_rule_says() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        free = rng.random((5, 6)) < 0.85
        places = rng.permutation(np.argwhere(free))
        n = int(rng.integers(1, len(places) + 1))
        cells = places[:n]
        sim = MapfSimulator(1, n_agents=n, max_height=5, max_width=6)
        sim.reset(0, MapfInstance.one_shot(free, cells, rng.permutation(cells)))
        for _ in range(3):
            before = sim.positions()[0]
            actions = rng.integers(0, 5, n)
            sim.step(actions[None])
            after = [tuple(c) for c in sim.positions()[0].tolist()]
            expected = [tuple(map(int, c)) for c in soft_by_the_book(free, before, actions)]
            assert after == expected


@pytest.mark.parametrize(
    ("system", "cells", "actions", "expected", "stopped"),
    [
        ("soft", [0, 1, 2], [4, 4, 4], [1, 2, 3], 0),  # a chain moves
        ("priority", [0, 1, 2], [4, 4, 4], [0, 1, 3], 2),  # the last one only: index order
        ("priority", [2, 1, 0], [4, 4, 4], [3, 2, 1], 0),
        ("block_both", [0, 1, 2], [4, 4, 4], [0, 1, 3], 2),
        ("soft", [0, 2], [4, 3], [1, 2], 1),  # one cell: the lower index
        ("priority", [0, 2], [4, 3], [1, 2], 1),
        ("block_both", [0, 2], [4, 3], [0, 2], 2),
        ("soft", [0, 1], [4, 3], [0, 1], 2),  # swapping
        ("soft", [0, 1, 2], [4, 4, 0], [0, 1, 2], 2),  # behind one that stays
        ("soft", [0, 3], [3, 4], [0, 3], 2),  # the edge of the map
    ],
)
def test_each_system_in_a_corridor(system, cells, actions, expected, stopped) -> None:
    sim = MapfSimulator(1, n_agents=len(cells), max_height=1, max_width=4, collision=system)
    starts = [[0, c] for c in cells]
    sim.reset(0, MapfInstance.one_shot(np.ones((1, 4), bool), starts, starts[::-1]))
    sim.step(np.array([actions]))
    assert sim.positions()[0, :, 1].tolist() == expected
    assert sim.stopped[0] == stopped


def crowd(seed: int, n: int = 12) -> MapfInstance:
    rng = np.random.default_rng(seed)
    free = rng.random((8, 8)) < 0.9
    cells = rng.permutation(np.argwhere(free))
    return MapfInstance.one_shot(free, cells[:n], rng.permutation(cells)[:n], name=f"crowd {seed}")


def play(sizes: list[int], order: list[int], n_steps: int = 60) -> dict[int, np.ndarray]:
    """Six lifelong episodes with drawn goals, in batches; goals and cells by episode."""
    seen: dict[int, list[np.ndarray]] = {k: [] for k in range(6)}
    waiting = list(order)
    for size in sizes:
        batch, waiting = waiting[:size], waiting[size:]
        sim = MapfSimulator(size, n_agents=14, max_height=9, max_width=10)
        for place, k in enumerate(batch):
            sim.reset(place, crowd(k), seed=k, lifelong=True)
        rngs = [np.random.default_rng(k) for k in batch]
        for _ in range(n_steps):
            sim.step(np.stack([rng.integers(0, 5, 14) for rng in rngs]))
            for place, k in enumerate(batch):
                seen[k].append(np.stack([sim.positions()[place], sim.positions("goals")[place]]))
    return {k: np.stack(rows) for k, rows in seen.items()}


def test_an_episode_is_the_same_at_any_batch_size() -> None:
    alone = play([1] * 6, [0, 1, 2, 3, 4, 5])
    together = play([6], [5, 3, 1, 0, 2, 4])
    pairs = play([2, 2, 2], [4, 0, 1, 5, 3, 2])
    for k in range(6):
        assert np.array_equal(alone[k], together[k])
        assert np.array_equal(alone[k], pairs[k])
    goals = np.stack([alone[k][:, 1] for k in range(6)])
    assert (np.diff(goals, axis=1) != 0).any()  # some were reached


def test_drawn_goals_can_be_reached_and_are_not_here() -> None:
    free = np.ones((3, 7), bool)
    free[:, 3] = False  # two rooms
    instance = MapfInstance.one_shot(free, [[0, 0], [0, 6]], [[0, 0], [0, 6]])
    sim = MapfSimulator(1, n_agents=2, max_height=3, max_width=7)
    sim.reset(0, instance, seed=3, lifelong=True)
    found: list[set] = [set(), set()]
    rng = np.random.default_rng(0)
    for _ in range(600):
        on_goal, _ = sim.step(rng.integers(0, 5, (1, 2)))
        cells, goals = sim.positions()[0], sim.positions("goals")[0]
        for i in np.flatnonzero(on_goal[0]):
            assert cells[i].tolist() != goals[i].tolist()
            found[i].add(tuple(goals[i].tolist()))
    assert {c for _, c in found[0]} == {0, 1, 2}
    assert {c for _, c in found[1]} == {4, 5, 6}


def test_draws_are_even_and_depend_on_each_counter() -> None:
    counts = np.bincount([draw(7, 3, k, 10) for k in range(5000)], minlength=10)
    assert counts.min() > 400
    rows = [[draw(s, a, k, 1000) for k in range(30)] for s, a in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len({tuple(row) for row in rows}) == 4
    assert len(set(np.ravel(rows).tolist())) > 100


def test_goals_reached_are_what_the_judge_counts() -> None:
    rng = np.random.default_rng(1)
    free = np.ones((3, 3), bool)
    lists = [rng.permutation(np.argwhere(free))[:4] for _ in range(3)]
    instance = MapfInstance.lifelong(free, [[0, 0], [1, 1], [2, 2]], lists)
    sim = MapfSimulator(1, n_agents=3, max_height=3, max_width=3)
    sim.reset(0, instance)
    walked = [sim.positions()[0]]
    for _ in range(300):
        sim.step(rng.integers(0, 5, (1, 3)))
        walked.append(sim.positions()[0])
    report = lifelong_report(instance, np.stack(walked, axis=1))
    assert report.violations == ()
    assert report.goals_reached.tolist() == sim.reached[0].tolist()
    assert report.goals_reached.sum() > 10


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="n_envs must be >= 1, got 0"):
        MapfSimulator(0, n_agents=1, max_height=1, max_width=1)
    with pytest.raises(ValueError, match="collision='hard' is unknown; choose soft"):
        MapfSimulator(1, n_agents=1, max_height=1, max_width=1, collision="hard")
    sim = MapfSimulator(2, n_agents=2, max_height=8, max_width=8)
    with pytest.raises(ValueError, match="crowd 0 has 12 agents, more than the 2"):
        sim.reset(0, crowd(0))
    wide = MapfInstance.one_shot(np.ones((1, 9), bool), [[0, 0]], [[0, 1]])
    with pytest.raises(ValueError, match="is 1 x 9, more than the 8 x 8"):
        sim.reset(0, wide)
    lists = MapfInstance.lifelong(np.ones((1, 2), bool), [[0, 0]], [[[0, 1]]])
    with pytest.raises(ValueError, match="can only be played lifelong"):
        sim.reset(0, lists, lifelong=False)
    sim.reset(1, crowd(0, n=2))
    before = sim.positions()
    with pytest.raises(ValueError, match="env 1, agent 1: action 5 is none of"):
        sim.step(np.array([[9, 9], [4, 5]]))
    assert np.array_equal(sim.positions(), before)
    with pytest.raises(ValueError, match=r"expected whole numbers \[2, 2\]"):
        sim.step(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="out has shape"):
        sim.observe(np.zeros(3, np.float32))
