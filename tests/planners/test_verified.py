"""Verified planning: what is accepted is right, and everything is counted."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch

from pilotage.envs.maze import dfs
from pilotage.planners.plan import Plan, PlanStatus
from pilotage.planners.problems import (
    GraphProblem,
    GridProblem,
    exact_graph_planner,
    exact_grid_planner,
    graph_fault,
    grid_fault,
)
from pilotage.planners.verified import Source, VerifiedPlan, VerifiedPlanner

LINE = nx.path_graph(4, create_using=nx.DiGraph)
TASK = GraphProblem(LINE, 0, 3)
RIGHT = Plan(PlanStatus.SOLVED, (0, 1, 2, 3), 3.0)
WRONG = Plan(PlanStatus.SOLVED, (0, 2, 3), 2.0)
LATE = Plan(PlanStatus.TIMED_OUT)
NONE = Plan(PlanStatus.INFEASIBLE)


def scripted(*rounds):
    """A planner whose attempt k gives the k-th plan for every problem."""
    return lambda problems, attempt: [rounds[attempt]] * len(problems)


@pytest.mark.parametrize(
    ("rounds", "fallback", "source", "faults"),
    [
        ([RIGHT], None, Source.ACCEPTED, ()),
        ([WRONG, RIGHT], None, Source.RETRIED, ("not_adjacent",)),
        ([LATE, NONE], RIGHT, Source.FELL_BACK, ("timed_out", "not_infeasible")),
        ([WRONG], None, Source.ABSTAINED, ("not_adjacent",)),
        ([WRONG], NONE, Source.ABSTAINED, ("not_adjacent", "not_infeasible")),
    ],
)
def test_every_way_to_an_answer(rounds, fallback, source, faults):
    planner = VerifiedPlanner(
        scripted(*rounds),
        graph_fault,
        retries=len(rounds) - 1,
        fallback=None if fallback is None else scripted(fallback),
    )
    (answer,) = planner.solve([TASK])
    assert (answer.source, answer.faults) == (source, faults)
    assert answer.plan == (None if source == Source.ABSTAINED else RIGHT)
    assert planner.counts["asked"] == planner.counts[source.value] == 1
    assert sum(n for name, n in planner.counts.items() if name.startswith("fault:")) == len(faults)


def test_no_path_is_an_answer_where_it_is_proved():
    planner = VerifiedPlanner(exact_graph_planner(), graph_fault)
    (answer,) = planner.solve([GraphProblem(LINE, 3, 0)])
    assert answer.source == Source.ACCEPTED
    assert answer.plan is not None
    assert answer.plan.status == PlanStatus.INFEASIBLE


def test_only_what_failed_is_asked_again():
    asked = []

    def sloppy(problems, attempt):
        """Right for even rows on the first attempt, for all on the second."""
        asked.append(len(problems))
        plans = exact_grid_planner()(problems, attempt)
        if attempt:
            return plans
        return [
            p if q.start[0] % 2 == 0 else Plan(PlanStatus.SOLVED, (q.start, q.goal), 1.0)
            for p, q in zip(plans, problems)
        ]

    mazes = dfs(torch.arange(6), 6, 6).numpy()
    problems = [GridProblem(maze, (i, 0), (5 - i, 5)) for i, maze in enumerate(mazes)]
    problems.append(GridProblem(np.zeros((3, 3), np.uint8), (0, 0), (0, 0)))
    planner = VerifiedPlanner(sloppy, grid_fault, retries=2)
    answers = planner.solve(problems)
    assert asked == [7, 3]
    assert [a.source for a in answers[:4]] == [Source.ACCEPTED, Source.RETRIED] * 2
    assert all(
        a.plan is not None and grid_fault(p, a.plan) is None for p, a in zip(problems, answers)
    )
    assert planner.counts == {
        "asked": 7,
        "accepted": 4,
        "retried": 3,
        "fell_back": 0,
        "abstained": 0,
        "fault:not_adjacent": 3,
    }


def test_an_error_is_no_abstention():
    def broken(problems, attempt):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        VerifiedPlanner(broken, graph_fault).solve([TASK])
    with pytest.raises(ValueError, match="gave 0 answers to 1 problems"):
        VerifiedPlanner(lambda problems, attempt: [], graph_fault).solve([TASK])
    with pytest.raises(ValueError, match="retries"):
        VerifiedPlanner(broken, graph_fault, retries=-1)
    with pytest.raises(ValueError, match="abstained with plan"):
        VerifiedPlan(Source.ABSTAINED, RIGHT, ())


def test_a_lie_about_the_cost_is_found():
    plan = Plan(PlanStatus.SOLVED, (0, 1, 2, 3), 2.0)
    assert graph_fault(TASK, plan) == "wrong_cost"
    assert np.isfinite(plan.cost)
