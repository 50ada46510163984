"""The contract of a vector world, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np

from .conformance import ContractError, MakeWorld, RandomAgent, World, require, require_same
from .loop import run_episodes
from .types import BASELINE, EndReason, Task


def check_vector_world(
    make_env: MakeWorld,
    tasks: Sequence[Task],
    *,
    seed: int = 0,
    expected_ends: Sequence[EndReason] = (EndReason.STEP_LIMIT,),
) -> None:
    """Check the contract of a vector world; `make_env(n_slots)` builds one.

    Give at least three tasks with small `max_steps` (say 5 to 30), so that random actions reach the
    step limit. Checked: spaces, masked reset, frozen slots, bad actions, ends, flags and reasons,
    own memory of every observation, seeds, and that a record is bit-identical for any number of
    slots, any neighbours, any order, and whatever ran in the slot before.

    Raises ContractError, also when no episode ended by one of `expected_ends`: then the tasks did
    not test the ends.
    """
    require(len(tasks) >= 3, f"give at least three tasks, got {len(tasks)}")
    world = make_env(3)
    try:
        _check_spaces(world, 3)
        _check_masks(world, tasks, seed)
        _check_frozen(world, tasks, seed)
        _check_bad_actions(world, tasks, seed)
        _check_default_reset(world)
    finally:
        world.close()
    _check_slot_invariance(make_env, tasks, seed, expected_ends)


def _check_spaces(world: World, n: int) -> None:
    mode = world.metadata.get("autoreset_mode")
    require(
        mode == gym.vector.AutoresetMode.DISABLED,
        f'metadata["autoreset_mode"] is {mode}, expected AutoresetMode.DISABLED',
    )
    require(world.num_envs == n, f"num_envs is {world.num_envs} for a world of {n} slots")
    space = world.single_observation_space
    require(isinstance(space, gym.spaces.Dict), f"single_observation_space is {type(space)}")


def _reset(
    world: World, tasks: Sequence[Task | None], seeds: Sequence[int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reset the slots that have a task."""
    mask = np.array([task is not None for task in tasks])
    options = {"reset_mask": mask, "tasks": list(tasks)}
    observations, infos = world.reset(seed=list(seeds), options=options)  # type: ignore[arg-type]
    _check_step_output(world, observations, infos)
    return observations, infos


def _check_step_output(
    world: World, observations: Mapping[str, Any], infos: Mapping[str, Any]
) -> None:
    n = world.num_envs
    space = cast(gym.spaces.Dict, world.single_observation_space)
    require(
        set(observations) == set(space.keys()),
        f"observations are {sorted(observations)}, the space has {sorted(space.keys())}",
    )
    for name, values in observations.items():
        require(len(values) == n, f"observation {name!r} has {len(values)} rows, expected {n}")
        part = space[name]
        if isinstance(part, gym.spaces.Box):
            require(
                values.dtype == part.dtype and values.shape == (n, *part.shape),
                f"observation {name!r} is {values.dtype} {values.shape}, the space says "
                f"{part.dtype} {(n, *part.shape)}",
            )
    for name in ("trace", "end_reason", "success", "env_error"):
        require(name in infos, f"infos has no {name!r}")
    for name, values in infos["trace"].items():
        require(
            isinstance(values, np.ndarray) and values.dtype == np.float64,
            f"trace {name!r} is not a float64 array",
        )
        require(len(values) == n, f"trace {name!r} has {len(values)} rows, expected {n}")
        require(np.isfinite(values).all(), f"trace {name!r} is not finite")


def _check_in_space(world: World, observations: Mapping[str, Any], slot: int) -> None:
    space = cast(gym.spaces.Dict, world.single_observation_space)
    for name, part in space.items():
        value = observations[name][slot]
        require(part.contains(value), f"observation {name!r} is outside its space: {value!r}")


def _rows(batch: Mapping[str, Any], slot: int) -> dict[str, bytes]:
    return {name: np.asarray(values[slot]).tobytes() for name, values in batch.items()}


def _action(world: World, rng: np.random.Generator) -> np.ndarray:
    """Random actions for all slots, without the ends of the range (nor action 0 of Discrete)."""
    space = world.single_action_space
    n = world.num_envs
    if isinstance(space, gym.spaces.Box):
        middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
        noise = rng.uniform(-0.9, 0.9, (n, *space.shape))
        return (middle + half * noise).astype(space.dtype)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return rng.integers(space.start, space.start + space.nvec, (n, *space.shape))
    first, last = int(space.start), int(space.start + space.n)  # type: ignore[attr-defined]
    return rng.integers(first + 1, last, n).astype(space.dtype)


def _check_masks(world: World, tasks: Sequence[Task], seed: int) -> None:
    """A masked reset changes the masked slot only; observations own their memory."""
    rng = np.random.default_rng(seed)
    first, _ = _reset(world, tasks[:3], [seed, seed + 1, seed + 2])
    for slot in range(3):
        _check_in_space(world, first, slot)
    kept = {slot: _rows(first, slot) for slot in range(3)}
    stepped, _, _, _, infos = world.step(_action(world, rng))
    _check_step_output(world, stepped, infos)
    for slot in range(3):
        require(_rows(first, slot) == kept[slot], "step changed an earlier observation's memory")
        _check_in_space(world, stepped, slot)
    before = [_rows(stepped, slot) for slot in range(3)]
    trace = [_rows(infos["trace"], slot) for slot in range(3)]
    again, infos = _reset(world, [None, tasks[1], None], [0, seed + 1, 0])
    require(_rows(again, 1) == kept[1], "the same task and seed gave another first observation")
    for slot in (0, 2):
        require(_rows(again, slot) == before[slot], f"a masked reset changed slot {slot} too")
        same = _rows(infos["trace"], slot) == trace[slot]
        require(same, f"a masked reset changed the trace of slot {slot} too")
        require(_rows(stepped, slot) == before[slot], "reset changed an earlier observation")


def _check_frozen(world: World, tasks: Sequence[Task], seed: int) -> None:
    """Play to the end: flags and reasons agree, limits hold, and an ended slot stands still."""
    rng = np.random.default_rng(seed)
    chosen = list(tasks[:3])
    _reset(world, chosen, [seed, seed + 1, seed + 2])
    ended = np.zeros(3, bool)
    last: dict[int, dict[str, bytes]] = {}
    for step in range(1, max(task.max_steps for task in chosen) + 3):
        observations, rewards, terminated, truncated, infos = world.step(_action(world, rng))
        require(np.asarray(rewards).dtype == np.float64, "rewards are not float64")
        for slot in range(3):
            flags = bool(terminated[slot]) or bool(truncated[slot])
            reason = infos["end_reason"][slot]
            if ended[slot]:
                frozen = not flags and rewards[slot] == 0
                require(frozen, "an ended slot must give reward 0 and no flags when stepped")
                require(
                    _rows(observations, slot) == last[slot], "an ended slot changed when stepped"
                )
                continue
            require(
                flags == bool(reason),
                f"flags {terminated[slot], truncated[slot]} with end_reason {reason!r}",
            )
            if flags:
                _check_end(chosen[slot], step, infos, slot, bool(terminated[slot]))
                ended[slot], last[slot] = True, _rows(observations, slot)
            require(
                flags or step < chosen[slot].max_steps,
                f"task {chosen[slot].task_id!r} went on after max_steps",
            )
    require(ended.all(), "an episode did not end")


def _check_end(
    task: Task, step: int, infos: Mapping[str, Any], slot: int, terminated: bool
) -> None:
    reason = EndReason(infos["end_reason"][slot])
    success = bool(infos["success"][slot])
    require(not reason.is_error, f"ended by {reason}: {infos['env_error'][slot]}")
    if reason == EndReason.STEP_LIMIT:
        require(step == task.max_steps, f"step_limit at step {step} of {task.max_steps}")
        require(not terminated, "a step limit is truncated, not terminated")
    if reason == EndReason.GOAL_REACHED:
        require(success, "ended by goal_reached without success")


def _check_bad_actions(world: World, tasks: Sequence[Task], seed: int) -> None:
    """NaN or out of range: ValueError that names the slot, and nothing has moved."""
    space = world.single_action_space
    rng = np.random.default_rng(seed)
    bad: list[np.ndarray] = []
    for value in (np.nan, 1e6) if isinstance(space, gym.spaces.Box) else (-1, 10**6):
        actions = _action(world, rng)
        actions.reshape(3, -1)[1, -1] = value
        bad.append(actions)
    observations, _ = _reset(world, tasks[:3], [seed, seed + 1, seed + 2])
    for actions in bad:
        try:
            world.step(actions)
        except ValueError as error:
            named = re.search(r"slot\D*1", str(error))
            require(named, f"the error does not name slot 1: {error}")
        else:
            raise ContractError(f"step accepted the action {actions[1]} of slot 1")
    clean = _action(world, rng)
    after, *_ = world.step(clean)
    again, _ = _reset(world, tasks[:3], [seed, seed + 1, seed + 2])
    require(_rows(again, 0) == _rows(observations, 0), "a reset is not the same twice")
    expected, *_ = world.step(clean)
    for slot in range(3):
        same = _rows(after, slot) == _rows(expected, slot)
        require(same, "a refused action, or what ran before a reset, left its mark")


def _check_default_reset(world: World) -> None:
    """Without options all slots are reset, the same for the same seed."""
    first, _ = world.reset(seed=3)
    second, _ = world.reset(seed=3)
    for slot in range(world.num_envs):
        require(_rows(first, slot) == _rows(second, slot), "reset(seed=3) differs when repeated")


def _check_slot_invariance(
    make_env: MakeWorld, tasks: Sequence[Task], seed: int, expected_ends: Sequence[EndReason]
) -> None:
    alone = make_env(1)
    agent = RandomAgent(alone.single_action_space)
    reference = run_episodes(alone, agent, tasks, [BASELINE], seed=seed)
    again = run_episodes(alone, agent, tasks[::-1], [BASELINE], seed=seed)
    alone.close()
    require_same(reference, again, "1 slot, tasks in reverse order (what ran before shows)")
    for n_slots in (2, len(tasks) + 1):
        world = make_env(n_slots)
        records = run_episodes(world, agent, tasks, [BASELINE], seed=seed)
        again = run_episodes(world, agent, tasks[::-1], [BASELINE], seed=seed)
        world.close()
        require_same(reference, records, f"{n_slots} slots instead of 1")
        require_same(reference, again, f"{n_slots} slots, tasks in reverse order")
    errors = [record.error for record in reference if record.end.is_error]
    require(not errors, f"episodes of the random agent ended by errors: {errors[:3]}")
    ends = {record.end for record in reference}
    require(
        ends & set(expected_ends),
        f"no episode ended by {[e.value for e in expected_ends]} (found "
        f"{sorted(e.value for e in ends)}); give tasks that do",
    )
