"""Who drives while the expert labels: a policy that is lost is brought back, and then let go."""

from __future__ import annotations

import numpy as np

from pilotage.agents.vla.demos import Driver, _Lane

from .tiny import tiny_task

EXPERT, OTHER = np.array(1), np.array(2)


def _lane() -> _Lane:
    return _Lane(tiny_task(0, "go left"), 0.0, True, [])


def test_without_patience_the_policy_always_drives() -> None:
    lane = _lane()
    assert Driver().patience is None
    assert all(int(lane.driven(OTHER, EXPERT, None)) == 2 for _ in range(20))


def test_the_expert_takes_over_after_disagreement_and_gives_back_after_agreement() -> None:
    lane = _lane()
    chosen = [OTHER] * 3 + [OTHER, EXPERT, OTHER] + [EXPERT] * 3 + [OTHER]
    driven = [int(lane.driven(action, EXPERT, 3)) for action in chosen]
    # The third disagreement in a row is answered by the expert; one agreement is not enough to
    # give back, three are; then the policy errs by itself again.
    assert driven == [2, 2, 1, 1, 1, 1, 1, 1, 1, 2]


def test_disagreement_must_be_in_a_row() -> None:
    lane = _lane()
    driven = [int(lane.driven(a, EXPERT, 2)) for a in [OTHER, EXPERT] * 4]
    assert driven == [2, 1] * 4
    assert not lane.rescued
