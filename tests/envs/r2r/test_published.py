"""Numbers that others published for these files, to four decimals. Needs the public data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pilotage.agents.vln.floors import RandomWalkAgent
from pilotage.envs.r2r.continuous import (
    episode_file,
    read_episodes,
    read_traces,
    replayed,
    trace_file,
    walk_of_trace,
)
from pilotage.envs.r2r.dataset import R2RData, shared_data
from pilotage.envs.r2r.predictions import match_predictions, read_predictions
from pilotage.envs.r2r.tasks import split_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.envs.r2r.walks import walk_of, walk_of_record
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.types import BASELINE
from pilotage.episodes.vln_metrics import VLN_METRICS, Walk, vln_metrics

CLOSE = 0.5e-4 + 1e-9  # published with four decimals


@pytest.fixture(scope="module")
def data(data_path: Callable[[str], Path]) -> R2RData:
    return shared_data(data_path("r2r/R2R_val_seen.json").parents[1])


def means(walks: list[Walk], convention: str) -> dict[str, float]:
    found = [vln_metrics(w, convention) for w in walks]
    return {name: float(np.mean([f[name] for f in found])) for name in VLN_METRICS}


def check(found: dict[str, float], **expected: float) -> None:
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=CLOSE)


def test_counts_lengths_and_distances_of_the_splits(data: R2RData) -> None:
    for split, counts, metres, edges in [
        ("train", (4675, 14039, 61), 9.909, 5.003),
        ("val_seen", (340, 1021, 56), 10.186, 5.074),
    ]:
        items = data.items("r2r", split)
        paths = {item.path_id: item for item in items}
        assert (len(paths), len(items), len({i.scan for i in items})) == counts
        lengths = []
        for item in paths.values():
            graph = data.graph(item.scan)
            numbers = graph.numbers(item.path, "")
            length = graph.edge_length[numbers[:-1], numbers[1:]].sum()
            assert length == pytest.approx(graph.distance[numbers[0], numbers[-1]])
            lengths.append(length)
        assert np.mean(lengths) == pytest.approx(metres, abs=1e-3)
        assert np.mean([len(i.path) - 1 for i in paths.values()]) == pytest.approx(edges, abs=1e-3)


def test_stop_and_ground_truth_on_r2r_val_seen(data: R2RData) -> None:
    tasks = split_tasks("r2r", "val_seen", data.root)
    stop = means([walk_of(t, t.info["path"][:1], data) for t in tasks], "r2r")
    check(stop, path_length=0, navigation_error=10.1864, oracle_error=10.1864, success=0)
    check(stop, oracle_success=0, spl=0, ndtw=0.2092, sdtw=0, cls=0.1781)
    truth = means([walk_of(t, t.info["path"], data) for t in tasks], "r2r")
    check(truth, path_length=10.1864, navigation_error=0, oracle_error=0, success=1)
    check(truth, oracle_success=1, spl=1, ndtw=1, sdtw=1, cls=1)


def test_a_published_agents_trajectories_on_r2r_val_seen(
    data: R2RData, data_path: Callable[[str], Path]
) -> None:
    """PREVALENT (Hao et al. 2020, arXiv:2002.10638), all 1021 instructions."""
    folder = data_path("r2r/predictions")
    predictions = read_predictions(folder / "seq2seq_teacher_imagenet_val_seen_iter_36000.json")
    tasks = split_tasks("r2r", "val_seen", data.root)
    matched = match_predictions(predictions, tasks, data)
    assert (len(matched.walks), matched.n_missing, matched.n_jumps) == (1021, 0, 0)
    found = means([w for w in matched.walks if w is not None], "r2r")
    check(found, path_length=10.3041, navigation_error=3.3158)
    check(found, success=0.6611, oracle_success=0.7258, spl=0.6307)
    with pytest.raises(ValueError, match="1009 of 1021 predictions are for instructions that"):
        match_predictions(predictions, split_tasks("r4r", "val_seen", data.root), data)


def test_the_same_path_has_two_spls_on_r4r(data: R2RData) -> None:
    tasks = split_tasks("r4r", "val_seen", data.root)
    walks = [walk_of(t, t.info["path"], data) for t in tasks]
    assert np.mean([t.shortest_path_length for t in tasks]) == pytest.approx(11.108, abs=6e-4)
    assert sum(t.info["path"][0] == t.info["path"][-1] for t in tasks) == 45
    official = means(walks, "r2r")
    check(official, spl=0.5442, success=1)
    assert official["path_length"] == pytest.approx(20.357, abs=6e-4)
    check(means(walks, "duet"), spl=1.0)
    stop = [walk_of(t, t.info["path"][:1], data) for t in tasks]
    assert sum(vln_metrics(w, "r2r")["success"] for w in stop) == 198


def test_r4r_is_all_pairs_of_r2r_paths_that_nearly_touch(data: R2RData) -> None:
    """Joins R2R val-seen by the published rule and compares with the published file."""
    paths = {i.path_id: i for i in data.items("r2r", "val_seen")}.values()
    joined = set()
    for first in paths:
        graph = data.graph(first.scan)
        for second in paths:
            if second.scan != first.scan or second is first:
                continue
            a, b = graph.index[first.path[-1]], graph.index[second.path[0]]
            if graph.distance[a, b] < 3.0:
                bridge = tuple(graph.viewpoints[v] for v in graph.route(a, b)[1:-1])
                middle = second.path[1:] if a == b else (*bridge, *second.path)
                joined.add((first.scan, *first.path, *middle))
    published = {(i.scan, *i.path) for i in data.items("r4r", "val_seen")}
    assert joined == published


def test_the_random_agent_lies_in_the_published_band(data: R2RData) -> None:
    """SR 14.6 +- 0.6, SPL 13.4, NE 9.62, OSR 20.0, TL 9.62 over five seeds; the R2R paper prints
    SR 15.9, OSR 21.4, NE 9.45, TL 9.58."""
    envs = R2RVectorEnv(256, action_space="view", text=False, data=data.root)
    tasks = split_tasks("r2r", "val_seen", data.root)
    rows = []
    for seed in range(3):
        records = run_episodes(
            envs, RandomWalkAgent(), tasks, [BASELINE], seed=seed, frames="none", on_error="raise"
        )
        walks = [walk_of_record(r, data) for r in records]
        rows.append(means([w for w in walks if w is not None], "r2r"))
    envs.close()
    found = {name: float(np.mean([row[name] for row in rows])) for name in VLN_METRICS}
    assert found["success"] == pytest.approx(0.146, abs=0.012)
    assert found["spl"] == pytest.approx(0.134, abs=0.012)
    assert found["oracle_success"] == pytest.approx(0.200, abs=0.015)
    assert found["navigation_error"] == pytest.approx(9.62, abs=0.2)
    assert found["path_length"] == pytest.approx(9.62, abs=0.2)
    assert found["ndtw"] == pytest.approx(0.340, abs=0.012)


def test_reverie_starts_never_see_the_object_in_val_seen(data: R2RData) -> None:
    tasks = split_tasks("reverie", "val_seen", data.root)
    assert len(tasks) == 1384
    stop = means([walk_of(t, t.info["path"][:1], data) for t in tasks], "r2r")
    check(stop, success=0, oracle_success=0)
    blind = [t for t in tasks if not t.info["end_sees_object"]]
    assert len(blind) == 7
    truth = means([walk_of(t, t.info["path"], data) for t in tasks], "r2r")
    assert truth["success"] == pytest.approx(1 - 7 / 1384)


def test_continuous_episodes_are_the_discrete_paths(data: R2RData) -> None:
    episodes = read_episodes(episode_file(data.root, "val_seen"))
    assert len(episodes) == 778
    assert len({e.trajectory_id for e in episodes}) == 259
    items = {i.path_id: i for i in data.items("r2r", "val_seen")}
    gaps, turned = [], []
    for episode in episodes:
        item = items[episode.trajectory_id]
        graph = data.graph(item.scan)
        at = graph.position[graph.numbers(item.path, "")]
        assert (episode.scan, len(episode.reference)) == (item.scan, len(item.path))
        gaps.append(np.linalg.norm(at[:, :2] - episode.reference[:, :2], axis=1))
        assert (at[:, 2] - episode.reference[:, 2] > 0.5).all()  # the camera is above the floor
        turned.append(np.degrees(episode.heading - item.heading))
        assert np.degrees(episode.heading) / 30 % 1 == pytest.approx(0, abs=1e-4) or (
            np.degrees(episode.heading) / 30 % 1 == pytest.approx(1, abs=1e-4)
        )
    every = np.concatenate(gaps)
    assert (every < 1e-3).mean() > 0.98
    assert every.max() < 1.3
    assert np.abs((np.array(turned) + 180) % 360 - 180).max() < 15.01


def test_expert_traces_replay_without_a_mesh(data: R2RData) -> None:
    episodes = read_episodes(episode_file(data.root, "val_seen"))
    traces = read_traces(trace_file(data.root, "val_seen"), episodes)
    walks = [walk_of_trace(e, traces[e.episode_id]) for e in episodes]
    found = means(walks, "vlnce")
    check(found, success=1, ndtw=1)
    assert found["navigation_error"] < 0.5
    assert 0.95 < found["spl"] < 1
    reckoned = [replayed(e, traces[e.episode_id].actions) for e in episodes]
    off = [
        np.linalg.norm(r - traces[e.episode_id].locations[:, :2], axis=1)
        for r, e in zip(reckoned, episodes)
    ]
    assert np.mean([o[1] < 1e-3 for o in off]) > 0.98  # the first move is where it should be
    assert max(o.max() for o in off) < 0.5  # sliding and stairs only
