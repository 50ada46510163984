"""What training needs to know of a world: its tasks, its words, and the auxiliary targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pilotage.agents.vla.demos import AuxTargets, Hasten
from pilotage.episodes.types import BASELINE, Agent, Task


@dataclass(frozen=True)
class TrainingWorld:
    """One world as the training script sees it."""

    name: str
    make_envs: Callable[[int], Any]
    train_tasks: Callable[[int, int], list[Task]]  # (n, seed)
    val_tasks: Callable[[int], list[Task]]
    vocabulary: Callable[[], list[str]]
    aux_targets: AuxTargets
    aux_dim: int
    max_collect_steps: int
    hasten: Hasten | None = None

    def evaluate(self, agent: Agent, envs: Any, n: int) -> dict[str, float]:
        """Success rate per family, and overall, on `n` val tasks."""
        from pilotage.episodes.loop import run_episodes

        records = run_episodes(
            envs, agent, self.val_tasks(n), [BASELINE], frames="none", on_error="raise"
        )
        rates = {"all": float(np.mean([r.success for r in records]))}
        for family in sorted({r.task.family for r in records}):
            rates[family] = float(np.mean([r.success for r in records if r.task.family == family]))
        rates["steps"] = float(np.mean([r.n_steps for r in records]))
        return {k: round(v, 3) for k, v in rates.items()}


def training_world(name: str) -> TrainingWorld:
    """KeyError listing the worlds that a VLA can be trained in."""
    makers = {"tabletop": _tabletop, "rooms": _rooms}
    if name not in makers:
        raise KeyError(f"unknown world {name!r}; there are: {', '.join(makers)}")
    return makers[name]()


def _tabletop() -> TrainingWorld:
    from pilotage.envs.tabletop import TabletopVectorEnv, make_tasks, vocabulary

    def train_tasks(n: int, seed: int) -> list[Task]:
        n_speed = (2 * n) // 5
        mixed = make_tasks("train", n - n_speed, seed=seed)
        return [*mixed, *make_tasks("train", n_speed, seed=seed, manners="speed")]

    def aux_targets(task: Task, row: dict[str, np.ndarray]) -> np.ndarray:
        target = row["object_positions"][task.goal["object"]] - row["ee_position"]
        return np.concatenate([target, row["distance_to_goal"]]) / 0.2

    def hasten(task: Task, action: np.ndarray) -> np.ndarray:
        """Long slow moves are executed at up to 2.5 times the speed that the label says."""
        length = float(np.linalg.norm(action[:3]))
        unhurried = task.info["manner"]["speed"] == "slow" or task.info["manner"]["gentle"]
        if not unhurried or length < 0.08:
            return action
        out = action.copy()
        out[:3] *= max(1.0, min(2.5, 0.4 / length))
        return np.clip(out, -1.0, 1.0)

    return TrainingWorld(
        name="tabletop",
        make_envs=lambda n: TabletopVectorEnv(n, expert_actions=True, wrist=True),
        train_tasks=train_tasks,
        val_tasks=lambda n: make_tasks("val", n, seed=1),
        vocabulary=vocabulary,
        aux_targets=aux_targets,
        aux_dim=4,
        max_collect_steps=110,
        hasten=hasten,
    )


def _rooms() -> TrainingWorld:
    from pilotage.envs.rooms import RoomsVectorEnv, make_tasks, vocabulary

    def train_tasks(n: int, seed: int) -> list[Task]:
        n_other = n // 8
        others = [
            make_tasks("train", n_other, seed=seed, families=[family])
            for family in ("pointnav", "objectnav")
        ]
        told = make_tasks("train", n - 2 * n_other, seed=seed, families=["instruction"])
        return [*told, *others[0], *others[1]]

    @lru_cache(maxsize=4096)
    def dense_path(points: tuple[tuple[float, ...], ...]) -> np.ndarray:
        """The reference path every 0.25 m, float64 [n, 2]."""
        path = np.array(points)[:, :2]
        lengths = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
        at = np.arange(0.0, lengths[-1] + 0.25, 0.25)
        return np.stack([np.interp(at, lengths, path[:, k]) for k in (0, 1)], axis=1)

    def aux_targets(task: Task, row: dict[str, np.ndarray]) -> np.ndarray:
        """Distance left, and in the agent's frame the way 1 m on along the path and the goal."""
        here, heading = row["position"][:2], float(row["heading"][0])
        path = dense_path(tuple(map(tuple, task.reference_path)))
        nearest = int(np.linalg.norm(path - here, axis=1).argmin())
        ahead = path[min(nearest + 4, len(path) - 1)] - here
        turn = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
        way = turn @ ahead / max(float(np.linalg.norm(ahead)), 0.25)
        return np.concatenate([row["distance_to_goal"] / 5, way, turn @ (path[-1] - here) / 5])

    return TrainingWorld(
        name="rooms",
        make_envs=lambda n: RoomsVectorEnv(n, expert_actions=True),
        train_tasks=train_tasks,
        val_tasks=lambda n: make_tasks("val", n, seed=1),
        vocabulary=vocabulary,
        aux_targets=aux_targets,
        aux_dim=5,
        max_collect_steps=160,
    )
