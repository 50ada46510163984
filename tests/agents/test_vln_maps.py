"""Scorers of tours against sums done by hand, training against a known answer, walks on a map."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilotage.agents.vln.maps.grounding import best_named
from pilotage.agents.vln.maps.learned import FEATURES, Features, fit
from pilotage.agents.vln.maps.mobility import MobilityAgent
from pilotage.agents.vln.maps.scorers import Lexical, Mixture, clauses
from pilotage.agents.vln.maps.tour import Tour
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import split_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.types import BASELINE
from pilotage.scripts import cmd_bench_reverie
from pilotage.scripts.reverie_tours import Tours
from pilotage.scripts.vln_mobility import open_mobility


@pytest.fixture
def square() -> Tour:
    """a - b - c in a row of 1 m steps, and a - d - c, where each step is 3 m."""
    return Tour(
        "square",
        ("a", "b", "c", "d"),
        (("lamp",), ("lamp", "chair"), ("bed",), ()),
        ("a hall", "a hall", "a bedroom with a lamp", "a hall"),
        (((1, 1.0), (3, 3.0)), ((0, 1.0), (2, 1.0)), ((1, 1.0), (3, 3.0)), ((0, 3.0), (2, 3.0))),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> R2RData:
    root = tmp_path_factory.mktemp("reverie") / "data"
    write_synthetic(root)
    return R2RData(root)


def test_lexical_sums_the_rarity_of_shared_words(square: Tour) -> None:
    scores = Lexical("names").scores(square, "Take the lamps and a lamp to the chair")
    lamp, chair = math.log(4 / 2), math.log(4 / 1)
    np.testing.assert_allclose(scores, [lamp, lamp + chair, 0, 0])
    captions = Lexical("captions").scores(square, "lamp")
    np.testing.assert_allclose(captions, [0, 0, math.log(4), 0])


def test_a_mixture_gives_its_parts_equal_spread(square: Tour) -> None:
    names = Lexical("names").scores(square, "the bed")
    single = Mixture([Lexical("names")]).scores(square, "the bed")
    np.testing.assert_allclose(single, (names - names.mean()) / names.std())
    assert not Mixture([Lexical("names")]).scores(square, "zebra").any()


def test_clauses_are_cut_at_joints_and_never_none() -> None:
    assert clauses("Go to the hall, then wipe it and sit") == ["Go to the hall", "wipe it", "sit"]
    assert clauses("of the") == ["of the"]


def test_the_way_is_the_shortest_by_metres(square: Tour) -> None:
    assert square.route(0, 2) == [0, 1, 2]
    assert square.route(3, 3) == [3]
    apart = Tour("apart", ("a", "b"), ((), ()), ("", ""), ((), ()))
    with pytest.raises(ValueError, match="no path from a to b"):
        apart.route(0, 1)


def test_the_object_named_is_the_one_whose_words_are_asked_for(square: Tour) -> None:
    seen = (("8", "table lamp"), ("7", "lamp"), ("10", "arm chair"), ("9", "bed"))
    things = (seen, seen[:2], (), seen[2:])
    names = tuple(tuple(name for _, name in frame) for frame in things)
    tour = replace(square, names=names, things=things)  # every word is in two frames of four
    assert best_named(tour, 0, "Go to the chair and take the lamp") == "7"  # asked for last
    assert best_named(tour, 0, "Go to the bed, wipe the table lamp") == "8"  # two words
    assert best_named(tour, 1, "wipe the table lamp") == "8"  # "table" is not lacking
    assert best_named(tour, 2, "wipe the lamp") is None
    assert best_named(tour, 3, "wipe the lamp") == "9"  # nothing fits: the shortest name
    with pytest.raises(ValueError, match="1 things for 4 viewpoints"):
        replace(square, things=(seen,))


def test_fit_is_where_the_slope_is_nothing() -> None:
    """One feature, two frames: share(goal) is 3/4 of the cases with feature 1, so w = log 3."""
    rows = [np.array([[1.0], [0.0]])] * 4
    goals = [np.array([True, False])] * 3 + [np.array([False, True])]
    assert fit(rows, goals, ridge=0.0)[0] == pytest.approx(math.log(3), abs=1e-4)
    with pytest.raises(ValueError, match="at least one goal"):
        fit(rows, [np.array([False, False])] * 4)


def test_features_have_a_column_each(square: Tour) -> None:
    found = Features().of(square, "Go to the bedroom and fetch the chair")
    assert found.shape == (4, len(FEATURES))
    assert found[:, FEATURES.index("names: last clause's first word")].argmax() == 1
    assert found[:, FEATURES.index("captions: first clause")].argmax() == 2


class Toward:
    name = "toward"

    def __init__(self, viewpoint: str) -> None:
        self._viewpoint = viewpoint

    def scores(self, tour: Tour, instruction: str) -> np.ndarray:
        return np.array([float(v == self._viewpoint) for v in tour.viewpoints])


def test_the_agent_walks_a_shortest_path_to_its_frame(data: R2RData) -> None:
    task = split_tasks("reverie", "val_seen", data.root)[0]
    tours, graph = Tours(data), data.graph(task.scene["scan"])
    start = graph.index[task.start["viewpoint"]]
    finite = np.where(np.isfinite(graph.distance[start]), graph.distance[start], -1)
    far = int(finite.argmax())
    agent = MobilityAgent(tours.__getitem__, Toward(graph.viewpoints[far]))
    envs = R2RVectorEnv(1, text=False, data=data.root)
    record = run_episodes(envs, agent, [task], [BASELINE], frames="none", on_error="raise")[0]
    envs.close()
    nodes = np.asarray(record.trace["viewpoint"]).ravel().astype(int)
    walked = [start, *(int(n) for n in nodes)]
    metres = sum(graph.edge_length[a, b] for a, b in itertools.pairwise(walked) if a != b)
    assert walked[-1] == far
    assert metres == pytest.approx(graph.distance[start, far])


@pytest.mark.parametrize("name", ["mobility:oracle", "mobility:lexical@0.3"])
def test_agents_by_name_play(data: R2RData, name: str) -> None:
    tasks = split_tasks("reverie", "val_seen", data.root)
    agent = open_mobility(name, data, tasks, 0)
    envs = R2RVectorEnv(2, text=False, data=data.root)
    records = run_episodes(envs, agent, tasks, [BASELINE], frames="none", on_error="raise")
    envs.close()
    ends = {record.end.value for record in records}
    if name == "mobility:oracle":
        assert ends == {"goal_reached"}
        assert [r.receipt["object"] for r in records] == [t.goal["object"] for t in tasks]
    else:
        assert sum(record.receipt["n_lost"] for record in records) > 0
        assert ends <= {"goal_reached", "agent_stopped"}


def test_wrong_names_are_refused(data: R2RData) -> None:
    tasks = split_tasks("reverie", "val_seen", data.root)
    with pytest.raises(KeyError, match="lexicl"):
        open_mobility("mobility:lexicl", data, tasks, 0)
    with pytest.raises(ValueError, match="'often' is no number"):
        open_mobility("mobility:lexical@often", data, tasks, 0)
    with pytest.raises(ValueError, match=r"lost must be in \[0, 1\)"):
        open_mobility("mobility:lexical@1", data, tasks, 0)
    with pytest.raises(ValueError, match="--family reverie"):
        open_mobility("mobility:lexical", data, split_tasks("r2r", "val_seen", data.root), 0)


def test_retrieval_is_judged_by_who_sees_the_object(data: R2RData) -> None:
    tasks = split_tasks("reverie", "val_seen", data.root)
    tours = Tours(data)
    goal = Toward(tasks[0].goal["seen_from"][0])
    right = cmd_bench_reverie.retrieved(goal, tasks[:1], tours)
    assert [float(v[0]) for v in right.values()] == [1, 1, 1]
    unseen = np.flatnonzero(~cmd_bench_reverie._near(tasks[0], tours))[0]
    away = Toward(tours[tasks[0].scene["scan"]].viewpoints[unseen])
    wrong = cmd_bench_reverie.retrieved(away, tasks[:1], tours)
    assert (wrong["recall_1"][0], wrong["within"][0]) == (0, 0)


def test_chance_is_what_blind_drawing_gives(data: R2RData) -> None:
    tasks = split_tasks("reverie", "val_seen", data.root)[:1]
    tours = Tours(data)
    goal, rng = tours.goals(tasks[0]), np.random.default_rng(0)
    draws = [goal[rng.permutation(len(goal))[:5]] for _ in range(4000)]
    exact = cmd_bench_reverie._chances(tasks, tours)
    assert exact["recall_1"][0] == pytest.approx(goal.mean())
    assert exact["recall_5"][0] == pytest.approx(np.mean([d.any() for d in draws]), abs=0.03)


def test_the_table_as_json(data: R2RData, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*scorers: str) -> list[dict]:
        return cmd_bench_reverie.reverie(
            split="val",
            scorers=scorers,
            episodes=0,
            n_train=12,
            data=Path(data.root),
            seed=0,
            as_json=True,
        )

    rows = call("chance", "lexical", "learned-words")
    assert [row["scorer"] for row in rows] == ["chance", "lexical", "learned-words"]
    gained = rows[2]["recall_1"] - rows[1]["recall_1"]
    assert rows[2]["gain"] == pytest.approx(gained)
    with pytest.raises(KeyError, match="lexicl"):
        call("lexicl")
