"""Finding back from a walk: contracts, exact plans where the structure is known, learned maps."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.agents.recall import RecallAgent, cscg_recall, schema_recall
from pilotage.envs.aliased import AliasedRoomVectorEnv, make_tasks, room_task
from pilotage.envs.pathgraph.aliased import AliasedRoom
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_agent
from pilotage.episodes.types import BASELINE, EndReason
from pilotage.planners.schemas import Schema
from pilotage.scripts.bench_recall import main

TRUTH = Schema(AliasedRoom(np.zeros((4, 4), np.int64)).transitions())


def _worlds(n: int) -> AliasedRoomVectorEnv:
    return AliasedRoomVectorEnv(n, walk_length=300)


def _tasks(split: str, n: int, walk_length: int = 300):
    return make_tasks(split, n, families=["aliased"], walk_length=walk_length)


def _run(agent, tasks):
    return run_episodes(_worlds(4), agent, tasks, [BASELINE], on_error="raise")


@pytest.mark.parametrize("agent", [schema_recall([TRUTH], 8), cscg_recall(n_clones=6)])
def test_the_contract_of_agents(agent):
    check_agent(agent, _worlds, _tasks("val", 4, 120))


def test_with_the_structure_known_every_way_back_is_a_shortest_one():
    tasks = _tasks("test", 20)
    records = _run(schema_recall([TRUTH], 8), tasks)
    assert all(r.end == EndReason.GOAL_REACHED for r in records)
    assert [r.n_steps for r in records] == [t.shortest_path_length for t in tasks]
    assert [r.receipt["n_planned"] for r in records] == [r.n_steps for r in records]


def test_a_map_of_the_walk_leads_back_in_most_rooms():
    records = _run(cscg_recall(n_clones=8), _tasks("test", 12))
    assert sum(r.success for r in records) >= 9


def test_the_walk_is_passed_on_without_its_padding():
    room = AliasedRoom(np.array([[0, 1, 2]]))
    task = room_task(room, 0, [1, 2, 1], 1)
    seen = []

    def plan(symbols, moves, step, _):
        seen.append((symbols.tolist(), moves.tolist(), step))
        return [0]

    records = _run(RecallAgent(plan, name="told"), [task])
    assert seen == [([0, 1, 1, 2], [1, 2, 1], 1)]
    assert records[0].actions.tolist() == [1]
    assert records[0].success


def test_who_knows_no_way_stops():
    tasks = _tasks("test", 3)
    wrong = Schema(AliasedRoom(np.zeros((2, 2), np.int64)).transitions())
    records = _run(schema_recall([wrong], 8), tasks)
    assert [r.end for r in records] == [EndReason.AGENT_STOPPED] * 3
    assert [r.n_steps for r in records] == [1] * 3


def test_the_bench_prints_a_row_for_everyone(capsys):
    options = ["--episodes", "2", "--walks", "60", "--training-steps", "800", "--symbols", "8"]
    assert main(options) == 0
    printed = capsys.readouterr().out
    for name in ("structure known", "schema of another room", "map from the walk", "random"):
        assert name in printed
