"""Rollouts of train tasks under sampled actions, to learn from quick and slow successes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pilotage.agents.vla.rollouts import Rollouts, roll_out
from pilotage.scripts.opening import make_tasks, open_world, progress_bar

N_SLOTS = 16


@dataclass(frozen=True)
class Rolling:
    """n rollouts of each of `tasks` train tasks, action tokens drawn at `temperature`. At least
    `min_pairs` of the tasks must have a quick and a slow success. families: of the tasks; empty:
    all."""

    tasks: int = 16
    n: int = 4
    temperature: float = 1.5
    min_pairs: int = 6
    families: tuple[str, ...] = ()


def play_rollouts(
    vla: Any, env: str, rolling: Rolling, *, sites: Sequence[str], seed: int, quiet: bool
) -> Rollouts:
    """Plain train tasks, other ones than the paired steps of the same seed come from."""
    options: dict[str, Any] = {"manners": "none"} if env == "tabletop" else {}
    tasks = make_tasks(
        env, "train", rolling.tasks, seed=seed + 78, families=rolling.families, **options
    )
    envs = open_world(env, N_SLOTS, for_agent=vla.name)
    bar, move = progress_bar(rolling.tasks * rolling.n, "rollouts", quiet=quiet)
    try:
        with bar:
            return roll_out(
                vla,
                envs,
                tasks,
                n=rolling.n,
                temperature=rolling.temperature,
                sites=sites,
                seed=seed,
                progress=move,
            )
    finally:
        envs.close()
