"""Tables of worlds of cells do not call a stop beside the goal a success."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pilotage.agents.scripted import ExpertAgent
from pilotage.envs.registry import load_world
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.types import BASELINE
from pilotage.scripts.tabulate import rows_of


@pytest.mark.parametrize("world", ["maze", "pathgraph", "aliased"])
def test_an_expert_has_spl_one_and_a_stop_beside_the_goal_none(world: str) -> None:
    spec = load_world(world)
    tasks = spec.make_tasks("train", 4, seed=1)
    records = run_episodes(
        spec.make_vector(4, expert_actions=True), ExpertAgent(), tasks, [BASELINE]
    )
    (row,) = rows_of(records)
    assert row["spl"] == pytest.approx(1.0)
    (near,) = rows_of([replace(r, trace=_one_further(r.trace)) for r in records])
    assert near["spl"] == 0.0


def test_a_wander_on_a_graph_costs_the_moves_it_took() -> None:
    """There and back once before the way is walked: the length is counted in edges."""
    from pilotage.envs.pathgraph import PathGraphVectorEnv

    spec = load_world("pathgraph")
    task = spec.make_tasks("train", 1, seed=1)[0]
    (record,) = run_episodes(
        PathGraphVectorEnv(1, expert_actions=True), ExpertAgent(), [task], [BASELINE]
    )
    assert record.trace["travelled"].ravel().tolist() == list(range(record.n_steps + 1))
    wandered = {**record.trace, "travelled": record.trace["travelled"] + 2.0}
    (row,) = rows_of([replace(record, trace=wandered)])
    assert row["spl"] == pytest.approx(record.n_steps / (record.n_steps + 2))


def _one_further(trace):
    return {**trace, "distance_to_goal": trace["distance_to_goal"] + 1.0}
