"""The reference path is as dense as a walk, so that nDTW of a perfect walk is near one."""

from __future__ import annotations

import numpy as np

from pilotage.agents.scripted import ExpertAgent
from pilotage.envs.rooms import RoomsVectorEnv, make_tasks
from pilotage.envs.rooms.tasks import dense
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.metrics import episode_metrics
from pilotage.episodes.types import BASELINE


def test_dense_points_lie_on_the_corner_path() -> None:
    points = dense(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.6]]))
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert steps.max() <= 0.25 + 1e-9
    assert points[0].tolist() == [0.0, 0.0]
    assert points[-1].tolist() == [1.0, 0.6]
    on_first, on_second = np.isclose(points[:, 1], 0), np.isclose(points[:, 0], 1)
    assert (on_first | on_second).all()


def test_the_expert_follows_the_reference() -> None:
    envs = RoomsVectorEnv(4, expert_actions=True, image_size=0)
    records = run_episodes(envs, ExpertAgent(), make_tasks("val", 6), [BASELINE], frames="none")
    envs.close()
    assert min(episode_metrics(r)["ndtw"] for r in records) > 0.7
