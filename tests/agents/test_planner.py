"""Planners in the episode loop: exact ones solve everything, unsure ones abstain."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.agents.planner import maze_planner_agent
from pilotage.envs.maze import MazeVectorEnv, make_tasks
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_agent
from pilotage.episodes.types import BASELINE, EndReason
from pilotage.planners.plan import Plan, PlanStatus
from pilotage.planners.problems import exact_grid_planner, grid_fault
from pilotage.planners.verified import VerifiedPlanner


def worlds(n):
    return MazeVectorEnv(n, max_size=8)


@pytest.mark.parametrize(
    "options", [{}, {"algorithm": "astar"}, {"algorithm": "astar", "tie_break": "searchformer"}]
)
def test_exact_planners_solve_every_maze_on_a_shortest_way(options):
    tasks = make_tasks("test", 40, size=8)
    planner = VerifiedPlanner(exact_grid_planner(**options), grid_fault)
    records = run_episodes(worlds(16), maze_planner_agent(planner), tasks, [BASELINE])
    assert all(r.success and r.end == EndReason.GOAL_REACHED for r in records)
    assert [r.n_steps for r in records] == [t.shortest_path_length for t in tasks]
    assert planner.counts["asked"] == planner.counts["accepted"] == 40


def test_the_contract_of_agents():
    records = check_agent(maze_planner_agent(), worlds, make_tasks("val", 5, size=6))
    assert records[0].receipt["sources"] == ["accepted"]
    assert records[0].receipt["statuses"] == ["solved"]


def through_walls(problems, attempt):
    """Straight to the goal, as if there were no walls."""
    plans = []
    for p in problems:
        cell, path = list(p.start), [p.start]
        for axis in (0, 1):
            while cell[axis] != p.goal[axis]:
                cell[axis] += 1 if p.goal[axis] > cell[axis] else -1
                path.append((cell[0], cell[1]))
        plans.append(Plan(PlanStatus.SOLVED, tuple(path), float(len(path) - 1)))
    return plans


def test_a_planner_that_is_wrong_abstains_or_falls_back():
    tasks = make_tasks("test", 20, families=["dfs"], size=8)
    alone = VerifiedPlanner(through_walls, grid_fault)
    records = run_episodes(worlds(4), maze_planner_agent(alone), tasks, [BASELINE])
    stopped = [r for r in records if r.end == EndReason.AGENT_STOPPED]
    assert len(stopped) == alone.counts["abstained"] > 10
    assert all(r.n_steps == 1 and not r.success for r in stopped)
    assert all(r.receipt["faults"] == [["not_adjacent"]] for r in stopped)
    assert all(r.success for r in records if r not in stopped)

    helped = VerifiedPlanner(through_walls, grid_fault, fallback=exact_grid_planner())
    records = run_episodes(worlds(4), maze_planner_agent(helped), tasks, [BASELINE])
    assert all(r.success for r in records)
    assert helped.counts["fell_back"] == alone.counts["abstained"]


def test_a_plan_is_made_anew_when_the_agent_is_elsewhere():
    task = make_tasks("test", 1, families=["dfs"], size=8)[0]
    env, agent = worlds(1), maze_planner_agent()
    agent.prepare([BASELINE], 1)
    agent.reset_slot(0, task, BASELINE, None)
    obs, _ = env.reset(options={"tasks": [task]})
    agent.act(obs, np.array([True]))
    for _ in range(int(task.shortest_path_length)):  # that action was not executed
        obs, *_, infos = env.step(agent.act(obs, np.array([True])))
    assert infos["success"].all()
    assert agent.finish_slot(0)["sources"] == ["accepted", "accepted"]


def test_another_view_is_refused_with_the_remedy():
    tasks = make_tasks("val", 1, size=6)
    for view in ("local", "text"):
        env = MazeVectorEnv(1, max_size=8, view=view)
        (record,) = run_episodes(env, maze_planner_agent(), tasks, [BASELINE])
        assert record.end == EndReason.AGENT_ERROR
        assert "use view='full'" in (record.error or "")
