"""What training needs to know of a world: its tasks, its words, and the auxiliary targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import AuxTargets, ClauseOf, Demo, Hasten, Pointing, Siblings
from pilotage.agents.vla.grounding import Views
from pilotage.episodes.types import BASELINE, Agent, Task

WORLDS = ("tabletop", "rooms")

# (n scenes, seed, the agent's configuration, progress) -> views that ground the vision tower, and
# what the expert would do in them (may be none).
Look = Callable[[int, int, VLAConfig, Callable[[int], None]], tuple[Views, list[Demo]]]


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
    look: Look
    hasten: Hasten | None = None
    siblings: Siblings | None = None
    pointing: Pointing | None = None  # labels of the states that episodes visit
    clause_of: ClauseOf | None = None  # likewise
    patience: int | None = None  # of policy-driven episodes, see `Driver`

    def evaluate(self, agent: Agent, envs: Any, tasks: list[Task]) -> dict[str, float]:
        """Success rate per family, and overall."""
        from pilotage.episodes.loop import run_episodes

        records = run_episodes(envs, agent, tasks, [BASELINE], frames="none", on_error="raise")
        rates = {"all": float(np.mean([r.success for r in records]))}
        for family in sorted({r.task.family for r in records}):
            rates[family] = float(np.mean([r.success for r in records if r.task.family == family]))
        rates["steps"] = float(np.mean([r.n_steps for r in records]))
        return {k: round(v, 3) for k, v in rates.items()}


def training_world(name: str) -> TrainingWorld:
    """KeyError listing the worlds that a VLA can be trained in."""
    if name not in WORLDS:
        raise KeyError(f"unknown world {name!r}; there are: {', '.join(WORLDS)}")
    module = import_module(f"pilotage.scripts.world_{name}")
    world: TrainingWorld = module.make()
    return world
