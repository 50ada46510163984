"""Star-graph objectives: what is shown and asked, against tables that are right by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pilotage.planners.alpine.model import PathGPT, PathGPTConfig
from pilotage.planners.alpine.stars import (
    OBJECTIVES,
    StarRecipe,
    find_paths,
    path_loss,
    shares_right,
)

MASK = 9
PROMPTS = np.array([[7, 1], [7, 2]])
PATHS = np.array([[1, 3, 5], [2, 4, 6]])


class Scripted(PathGPT):
    """Says, behind each line it knows, one token; notes the lines it is shown."""

    def __init__(self, answers: dict[tuple[int, ...], int]) -> None:
        super().__init__(PathGPTConfig(10, 8, 4))
        self.answers, self.shown = answers, set[tuple[int, ...]]()

    def forward(self, tokens: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, 10)
        for b, line in enumerate(tokens.tolist()):
            self.shown.add(tuple(line))
            for k in range(len(line)):
                said = self.answers.get(tuple(line[: k + 1]))
                if said is not None:
                    logits[b, k, said] = 5.0
        return logits


def lines(objective: str) -> dict[tuple[int, ...], int]:
    """Answers of a perfect solver: prefix -> token."""
    answers = {}
    for prompt, path in zip(PROMPTS.tolist(), PATHS.tolist()):
        target = path[::-1] if objective == "reversed" else path
        for k, token in enumerate(target):
            before = [MASK] * k if objective == "teacherless" else target[:k]
            answers[(*prompt, *before)] = token
    return answers


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_perfect_solver_is_found_perfect_and_its_loss_small(objective: str) -> None:
    model = Scripted(lines(objective))
    assert np.array_equal(find_paths(model, PROMPTS, 3, objective, mask=MASK), PATHS)
    shares = shares_right(model, PROMPTS, PATHS, objective, mask=MASK)
    assert shares == {"exact": 1.0, "first step": 1.0, "other steps": 1.0}
    parts = torch.from_numpy(PROMPTS), torch.from_numpy(PATHS)
    wanted = np.log(np.exp(5) + 9) - 5
    assert float(path_loss(model, *parts, objective, mask=MASK)) == pytest.approx(wanted, abs=1e-5)


def test_teacherless_never_sees_the_path_and_the_others_never_see_its_end() -> None:
    for objective in OBJECTIVES:
        model = Scripted({})
        path_loss(model, torch.from_numpy(PROMPTS), torch.from_numpy(PATHS), objective, mask=MASK)
        hidden = {"next": (1, 3), "reversed": (5, 3), "teacherless": (MASK, MASK)}[objective]
        assert (7, 1, *hidden) in model.shown
        assert len(model.shown) == 2


def test_a_wrong_first_step_spoils_the_path_but_not_what_follows_the_right_one() -> None:
    """The pitfall: a guess at the fork, and perfect where the teacher has gone before."""
    answers = lines("next") | {(7, 2, 2): 3, (7, 2, 2, 3): 5}
    shares = shares_right(Scripted(answers), PROMPTS, PATHS, "next", mask=MASK)
    assert shares == {"exact": 0.5, "first step": 0.5, "other steps": 1.0}


def test_reversed_is_forced_from_the_goal() -> None:
    """The last of the reversed steps but one is wrong: first step wrong, the others right."""
    answers = lines("reversed") | {(7, 1, 5): 4}
    shares = shares_right(Scripted(answers), PROMPTS, PATHS, "reversed", mask=MASK)
    assert shares == {"exact": 0.5, "first step": 0.5, "other steps": 1.0}


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(ValueError, match=r"objective must be one of .* got 'masked'"):
        StarRecipe("masked")
