"""Depth pictures of a world that has them are kept beside the frames."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.agents.scripted import ExpertAgent
from pilotage.envs.rooms import RoomsVectorEnv, make_tasks
from pilotage.episodes.lanes import _millimetres
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.types import BASELINE, Seeds


def test_a_record_holds_the_depths_that_the_world_showed() -> None:
    """Stepped by hand with the recorded actions: the same metres, to the millimetre."""
    (task,) = make_tasks("train", 1, seed=2, families=["pointnav"])
    envs = RoomsVectorEnv(1, expert_actions=True)
    (record,) = run_episodes(envs, ExpertAgent(), [task], [BASELINE])
    assert record.success
    assert record.depths is not None
    assert record.frames is not None
    assert record.depths.dtype == np.uint16
    assert record.depths.shape == record.frames.shape[:3]
    options = {"reset_mask": np.array([True]), "tasks": [task]}
    observations, _ = envs.reset(seed=[Seeds.of(task, run_seed=0).world], options=options)
    for action, depth in zip(record.actions, record.depths, strict=False):
        assert np.abs(observations["depth"][0] - depth / 1000).max() <= 0.0005001
        observations, *_ = envs.step(action[None])
    envs.close()
    assert record.without_pictures().depths is None


@pytest.mark.parametrize(
    ("metres", "millimetres"),
    [(0.0, 0), (0.0004, 0), (1.2346, 1235), (65.6, 65_535), (np.inf, 65_535), (np.nan, 65_535)],
)
def test_metres_as_millimetres(metres: float, millimetres: int) -> None:
    assert _millimetres(np.full((1, 1), metres, np.float32))[0, 0] == millimetres
