"""Explorers of the planning game: their contract, and what knowledge is worth."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.agents.explorers import (
    own_map_explorer,
    schema_explorer,
    structure_known_explorer,
)
from pilotage.envs.aliased import PlanningGameVectorEnv, game_task, make_game_tasks
from pilotage.envs.pathgraph.aliased import AliasedRoom
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_agent
from pilotage.episodes.types import BASELINE
from pilotage.planners.schemas import UNKNOWN, Schema, learn_schema
from pilotage.scripts.bench_planning_game import exploring_play, main


@pytest.mark.parametrize("make", [structure_known_explorer, own_map_explorer])
def test_the_contract_of_agents(make):
    check_agent(make(), PlanningGameVectorEnv, make_game_tasks("val", 4, n_steps=25))


def _rewards(agent, tasks):
    records = run_episodes(PlanningGameVectorEnv(16), agent, tasks, [BASELINE], on_error="raise")
    return np.array([record.rewards.sum() for record in records])


def test_knowing_the_structure_is_worth_what_was_computed_elsewhere():
    """28.9 rewards a game; four standard errors of 60 games are 0.9."""
    tasks = make_game_tasks("test", 60, families=["torus"])
    known = _rewards(structure_known_explorer(), tasks)
    assert abs(known.mean() - 28.9) < 0.9
    assert (known[:12] > _rewards(own_map_explorer(), tasks[:12]) + 5).all()


def test_one_explored_room_teaches_all_there_is_to_know_of_the_others():
    train = make_game_tasks("train", 1, families=["torus"])[0]
    symbols, moves = exploring_play(train, np.random.default_rng(0))
    schema = learn_schema(symbols, moves, n_symbols=16, n_actions=4, n_clones=1, seed=0)
    tasks = make_game_tasks("test", 12, families=["torus"])
    learned = _rewards(schema_explorer([schema]), tasks)
    np.testing.assert_array_equal(learned, _rewards(structure_known_explorer(), tasks))


def test_the_schema_that_fits_is_found_while_playing():
    walled, torus = (
        Schema(AliasedRoom(np.zeros((4, 4), np.int64), wraps).transitions())
        for wraps in (False, True)
    )
    tasks = make_game_tasks("test", 24, families=["walled"])
    both, right, wrong = (
        _rewards(schema_explorer(s), tasks).mean() for s in ([torus, walled], [walled], [torus])
    )
    assert wrong + 3 < both <= right + 1


def test_seen_goals_are_gone_to_straight_and_unseen_ones_are_sought():
    """A ring of five cells. From cell 2 to 0 left by two, collect; back the same way; 4 is unseen:
    it is sought beyond 3, not through 1 and 0."""
    room = AliasedRoom(np.array([[3, 1, 0, 2, 4]]), wraps=True)
    task = game_task(room, 2, [0, 2, 4, 0, 4, 0, 4], 9)
    agent = structure_known_explorer((1, 5), n_symbols=5)
    records = run_episodes(PlanningGameVectorEnv(1), agent, [task], [BASELINE])
    assert records[0].receipt == {"n_random": 0}
    assert records[0].actions.tolist() == [1, 1, 0, 2, 2, 0, 2, 2, 0]


def test_agents_with_other_schemas_have_other_manifests():
    torus, walled = (structure_known_explorer(wraps=wraps).manifest() for wraps in (True, False))
    assert torus.pop("schemas") != walled.pop("schemas")
    assert torus == walled == {"agent": "structure-known", "n_symbols": 16}


def test_without_a_known_way_it_moves_at_random():
    nothing = Schema(np.full((16, 4), UNKNOWN))
    task = make_game_tasks("test", 1, n_steps=20)[0]
    records = run_episodes(PlanningGameVectorEnv(1), schema_explorer([nothing]), [task], [BASELINE])
    assert records[0].receipt["n_random"] >= 15
    assert len(set(records[0].actions.tolist()) - {0}) == 4


def test_the_bench_prints_a_row_for_everyone(capsys):
    assert main(["--episodes", "4", "--training", "1", "--seeds", "0"]) == 0
    printed = capsys.readouterr().out
    for name in (
        "labels known",
        "structure known",
        "random play x 1",
        "exploring play x 1",
        "nothing",
    ):
        assert name in printed
