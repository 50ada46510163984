"""What every vector world does the same way: read a reset's options, and show one slot alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.episodes.types import EndReason, Task

# How an episode stands that ends at its goal, by a stop, or when its steps are used up; and the
# end reasons of these, to be indexed by them.
GOING, REACHED, STOPPED, LIMIT = range(4)
REASONS = np.array(
    ["", EndReason.GOAL_REACHED.value, EndReason.AGENT_STOPPED.value, EndReason.STEP_LIMIT.value],
    dtype=object,
)


def tasks_to_begin(
    envs: gym.vector.VectorEnv,
    seed: int | list[int | None] | None,
    options: Mapping[str, Any] | None,
    draw: Callable[[int], Task],
) -> dict[int, Task]:
    """Slot -> task for the slots that a reset begins, in order.

    Args:
        envs: the world; its generator is seeded by an int and asked where a seed is None.
        seed: of each slot. A single int s gives slot i the seed s + i.
        options: "reset_mask" bool [n] (default all) and "tasks" (n of `Task | None`); without
            tasks, `draw` makes one from the seed of each slot in the mask.

    Raises:
        ValueError: a wrong shape or length, or a slot to begin without a task.
    """
    n = envs.num_envs
    options = options or {}
    mask = np.asarray(options.get("reset_mask", np.ones(n, dtype=bool)))
    if mask.shape != (n,) or mask.dtype != bool:
        raise ValueError(f"reset_mask must be bool [{n}], got {mask.dtype} {mask.shape}")
    slots = np.flatnonzero(mask).tolist()
    tasks = options.get("tasks")
    if tasks is not None:
        if len(tasks) != n:
            raise ValueError(f"options['tasks'] has {len(tasks)} entries for {n} slots")
        for slot in slots:
            if tasks[slot] is None:
                raise ValueError(f"slot {slot} is to be reset but options['tasks'] has None for it")
        return {slot: tasks[slot] for slot in slots}
    if seed is None or isinstance(seed, (int, np.integer)):
        gym.vector.VectorEnv.reset(envs, seed=None if seed is None else int(seed))
        first = int(envs.np_random.integers(2**31)) if seed is None else int(seed)
        seeds: list[int | None] = [first + i for i in range(n)]
    else:
        seeds = list(seed)
    if len(seeds) != n:
        raise ValueError(f"seed has {len(seeds)} entries for {n} slots")
    return {slot: draw(_number(envs, seeds[slot])) for slot in slots}


def _number(envs: gym.vector.VectorEnv, seed: int | None) -> int:
    return int(envs.np_random.integers(2**31)) if seed is None else seed


def whole_actions(actions: np.ndarray, live: np.ndarray, n_actions: int, known: str) -> np.ndarray:
    """Actions int64 [n] below `n_actions`, 0 where no episode is under way (`live` bool [n]).

    Raises ValueError: a wrong shape, or an action that is none in a live slot; `known` ends that
    message, and says which there are.
    """
    values = np.asarray(actions)
    if values.shape != live.shape:
        raise ValueError(f"actions must have shape ({len(live)},), got {values.shape}")
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    wrong = live & ((whole != values) | (whole < 0) | (whole >= n_actions))
    if wrong.any():
        slot = int(np.argmax(wrong))
        raise ValueError(f"slot {slot}: action {values[slot]} is {known}")
    return np.where(live, whole, 0)


def first_observation(observations: Mapping[str, Any]) -> dict[str, Any]:
    """The observation of slot 0, as its single space has it."""
    one = {name: values[0] for name, values in observations.items()}
    action = one.get("expert_action")
    if action is not None and np.ndim(action) == 0:  # a discrete one
        one["expert_action"] = np.int64(action)
    return one


def first_info(infos: Mapping[str, Any]) -> dict[str, Any]:
    """The infos of slot 0."""
    info = {name: values[0] for name, values in infos.items() if name != "trace"}
    info["success"] = bool(info["success"])
    info["trace"] = {name: rows[0] for name, rows in infos["trace"].items()}
    return info


def first_step(
    observations: Mapping[str, Any],
    rewards: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    infos: Mapping[str, Any],
) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
    """What a step did in slot 0: `first_step(*envs.step(actions))`."""
    flags = bool(terminated[0]), bool(truncated[0])
    return first_observation(observations), float(rewards[0]), *flags, first_info(infos)
